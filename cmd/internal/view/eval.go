package view

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/llima-build/llima/hcl/config"
)

// Evaluation is the document of llima eval --json. What a reference is needed
// for is nil without one; an interval is of 95 % confidence, and nil for a
// single window. Clocks stand in Time only.
type Evaluation struct {
	FormatVersion int    `json:"format_version,omitempty"` // absent in a list
	Eval          string `json:"eval,omitempty"`           // block of llima.hcl
	Model         string `json:"model,omitempty"`          // of the block
	Output        string `json:"output,omitempty"`
	Against       string `json:"against,omitempty"`
	Text          string `json:"text"`

	Windows EvalWindows `json:"windows"`
	Phase   string      `json:"phase"`
	Tokens  int         `json:"tokens"`

	Perplexity         float64        `json:"perplexity"`
	PerplexityInterval *[2]float64    `json:"perplexity_ci95,omitempty"`
	Reference          *EvalReference `json:"reference,omitempty"`
	Delta              *float64       `json:"perplexity_delta,omitempty"`
	DeltaInterval      *[2]float64    `json:"perplexity_delta_ci95,omitempty"`
	KL                 *EvalKL        `json:"kl,omitempty"`
	SameTop1           *float64       `json:"same_top1,omitempty"` // percent
	TokenKL            []float32      `json:"-"`                   // for plots

	Parts []EvalPart `json:"parts,omitempty"` // with --per-layer
	Gate  *EvalGate  `json:"gate,omitempty"`  // of a block with max_delta
	Time  EvalTime   `json:"time"`
}

// EvalWindows says how the text was cut.
type EvalWindows struct {
	Scored string `json:"scored"` // "all", "llama"
	Tokens int    `json:"tokens"`
	Count  int    `json:"count"`
}

// EvalReference is the reference's own.
type EvalReference struct {
	Perplexity         float64     `json:"perplexity"`
	PerplexityInterval *[2]float64 `json:"perplexity_ci95,omitempty"`
}

// EvalKL is the divergence of a token's distributions, in nats.
type EvalKL struct {
	Mean         float64     `json:"mean"`
	MeanInterval *[2]float64 `json:"mean_ci95,omitempty"`
	P99          float64     `json:"p99"`
	Max          float64     `json:"max"`
}

// EvalPart is the output error of a part on the inputs of the reference.
type EvalPart struct {
	Part      string  `json:"part"` // "prefill.PRE.0"
	Layer     int     `json:"layer"`
	Kind      string  `json:"kind"` // "PRE"
	Precision string  `json:"precision,omitempty"`
	Error     float64 `json:"error"` // ‖y_model − y‖ / ‖y‖
}

// EvalGate is what a block allows.
type EvalGate struct {
	Metric   string  `json:"metric"`
	Delta    float64 `json:"delta"`
	MaxDelta float64 `json:"max_delta"`
	Exceeded bool    `json:"exceeded"`
}

// EvalTime is how long it took.
type EvalTime struct {
	WallMillis   float64 `json:"wall_ms"`
	TokensPerSec float64 `json:"tok_per_s"` // of the text, both models
}

// Eval shows an evaluation as a table of at most 80 columns.
func Eval(w io.Writer, e *Evaluation, columns int) error {
	var b strings.Builder
	evalHead(&b, e, columns)
	t := table{align: "lrll"}
	if e.PerplexityInterval != nil { // more than one window
		t.add("", "", "95 % confidence")
	}
	t.add("perplexity", fmt.Sprintf("%.4f", e.Perplexity), span(e.PerplexityInterval, "%.4f"))
	if r := e.Reference; r != nil {
		t.add("  of the reference", fmt.Sprintf("%.4f", r.Perplexity), span(r.PerplexityInterval, "%.4f"))
		t.add("  difference", fmt.Sprintf("%+.4f", *e.Delta), span(e.DeltaInterval, "%+.4f"))
		t.add("KL divergence, mean", nats(e.KL.Mean), natsSpan(e.KL.MeanInterval))
		t.add("  99 % of tokens below", nats(e.KL.P99))
		t.add("  largest", nats(e.KL.Max))
		t.add("same most likely token", fmt.Sprintf("%.2f %%", *e.SameTop1))
	}
	if g := e.Gate; g != nil {
		verdict := "kept"
		if g.Exceeded {
			verdict = "exceeded"
		}
		t.add("max_delta of "+g.Metric, strconv.FormatFloat(g.MaxDelta, 'g', 6, 64), verdict)
	}
	t.write(&b)
	if len(e.Parts) > 0 {
		b.WriteString("\n")
		evalParts(&b, e)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func evalHead(b *strings.Builder, e *Evaluation, columns int) {
	what := e.Output
	if e.Eval != "" {
		what = fmt.Sprintf("%s: %s", e.Eval, e.Model)
	}
	if e.Against != "" {
		what += " against " + e.Against
	}
	for _, line := range flow([]string{printable(what), e.Phase}, ", ", columns) {
		fmt.Fprintln(b, line)
	}
	how := ""
	if e.Windows.Scored != "all" {
		how = ", as " + e.Windows.Scored + " does"
	}
	for _, line := range flow([]string{printable(e.Text), fmt.Sprintf("%s scored in %s of %d%s", plural(e.Tokens, "token"), plural(e.Windows.Count, "window"), e.Windows.Tokens, how)}, ": ", columns) {
		fmt.Fprintln(b, "  "+line)
	}
	b.WriteString("\n")
}

// span is an interval, each end in a format.
func span(in *[2]float64, format string) string {
	if in == nil {
		return ""
	}
	return fmt.Sprintf(format+" to "+format, in[0], in[1])
}

// nats is a divergence with as many digits as it is worth.
func nats(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := 5
	for small := 0.01; v > 0 && v < small && digits < 12; small /= 10 {
		digits++
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

func natsSpan(in *[2]float64) string {
	if in == nil {
		return ""
	}
	return nats(in[0]) + " to " + nats(in[1])
}

// evalParts is a row a layer and a column a kind of part.
func evalParts(b *strings.Builder, e *Evaluation) {
	var kinds []string
	cells := map[string]string{}
	layers := 0
	for _, p := range e.Parts {
		known := false
		for _, k := range kinds {
			known = known || k == p.Kind
		}
		if !known {
			kinds = append(kinds, p.Kind)
		}
		cells[p.Kind+strconv.Itoa(p.Layer)] = percent(p.Error) + " " + precisionMark(p.Precision)
		layers = max(layers, p.Layer+1)
	}
	t := table{align: "r" + strings.Repeat("r", len(kinds))}
	t.add(append([]string{"layer"}, kinds...)...)
	for l := range layers {
		row := []string{strconv.Itoa(l)}
		for _, k := range kinds {
			row = append(row, cells[k+strconv.Itoa(l)])
		}
		t.add(row...)
	}
	b.WriteString("  error of each part's output, on the inputs of the reference\n")
	t.write(b)
	b.WriteString("  B BF16 · 8 INT8 · 4 INT4\n")
}

// precisionMark is the letter of a precision, as the map of a plan has it.
func precisionMark(p string) string {
	switch config.Precision(p) {
	case config.BF16:
		return "B"
	case config.INT8:
		return "8"
	case config.INT4:
		return "4"
	}
	return " "
}

func percent(v float64) string {
	if v != 0 && v < 0.0001 {
		return fmt.Sprintf("%.1g %%", 100*v)
	}
	return fmt.Sprintf("%.3f %%", 100*v)
}

// Evals shows several evaluations, one below the other.
func Evals(w io.Writer, list []*Evaluation, columns int) error {
	for i, e := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := Eval(w, e, columns); err != nil {
			return err
		}
	}
	return nil
}
