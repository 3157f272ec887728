package cli

import (
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/internal/atomicio"
	"github.com/llima-build/llima/internal/plot"
)

// writePlot writes a drawing into a folder, which it makes.
func writePlot(dir, name string, svg []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return atomicio.WriteFile(filepath.Join(dir, name), svg, 0o644)
}

// plotEvaluation draws how the tokens' KL are spread, and the error of each
// part. prefix tells files of several evaluations apart.
func plotEvaluation(dir, prefix string, e *view.Evaluation) error {
	if e.KL == nil {
		return nil
	}
	model := e.Output
	if e.Model != "" {
		model = e.Model
	}
	title := fmt.Sprintf("%s against %s, %s", model, e.Against, e.Phase)
	values := make([]float64, len(e.TokenKL))
	for i, v := range e.TokenKL {
		values[i] = float64(v)
	}
	histogram := plot.Histogram{
		Labels: plot.Labels{
			Title: title,
			Description: fmt.Sprintf("KL divergence of each of %d tokens of %s: mean %.4g, 99 %% of them below %.4g, the largest %.4g nats.",
				e.Tokens, e.Text, e.KL.Mean, e.KL.P99, e.KL.Max),
			X: "KL divergence of a token, nats", Y: "tokens",
		},
		Values: values, Unit: "tokens",
		Rules: []plot.Rule{{Name: "mean", Value: e.KL.Mean}, {Name: "99 %", Value: e.KL.P99}},
	}
	if err := writePlot(dir, prefix+"kl.svg", histogram.SVG()); err != nil || len(e.Parts) == 0 {
		return err
	}
	return writePlot(dir, prefix+"parts.svg", partBars(title, e.Parts).SVG())
}

// partBars is a series a kind of part, a group of bars a layer.
func partBars(title string, parts []view.EvalPart) plot.Bars {
	b := plot.Bars{
		Labels: plot.Labels{
			Title:       title,
			Description: "Error of the output of each part on the inputs of the reference, as a part of its own size.",
			X:           "layer", Y: "relative output error, %",
		},
		Category: "layer",
	}
	index := map[string]int{}
	worst := parts[0]
	for _, p := range parts {
		i, known := index[p.Kind]
		if !known {
			i = len(b.Series)
			index[p.Kind] = i
			b.Series = append(b.Series, plot.Series{Name: p.Kind})
		}
		s := &b.Series[i]
		for len(s.Values) < p.Layer {
			s.Values = append(s.Values, math.NaN())
		}
		s.Values = append(s.Values, 100*p.Error)
		if p.Error > worst.Error {
			worst = p
		}
	}
	b.Description += fmt.Sprintf(" The largest is %.3g %%, of %s.", 100*worst.Error, worst.Part)
	return b
}
