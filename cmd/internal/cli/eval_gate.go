package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// gate holds a model to the bound of its block.
func (e *evaluator) gate(ctx context.Context, b blockEval, job *evaluation, doc *view.Evaluation) (diag.List, error) {
	gate := &view.EvalGate{Metric: b.block.Metric, MaxDelta: b.max.Value, Delta: *doc.Delta}
	how := fmt.Sprintf("has a perplexity of %.4f, %s more than in BF16", doc.Perplexity, threeDigits(gate.Delta))
	if b.block.Metric == "kl" {
		gate.Delta = doc.KL.Mean
		how = fmt.Sprintf("has a mean KL divergence of %s from BF16", threeDigits(gate.Delta))
	}
	doc.Gate = gate
	if gate.Exceeded = gate.Delta > gate.MaxDelta; !gate.Exceeded {
		return nil, nil
	}
	parts := doc.Parts
	if parts == nil {
		var err error
		if parts, err = e.parts(ctx, job); err != nil {
			return nil, err
		}
	}
	at := b.max.Range
	detail := fmt.Sprintf("Model %q %s on %s: %s above the %s allowed.", b.model.Name, how, b.block.DatasetText,
		threeDigits(gate.Delta-gate.MaxDelta), strconv.FormatFloat(gate.MaxDelta, 'f', -1, 64))
	return diag.List{{
		Severity: diag.Error, Summary: "Eval exceeded: max_delta", Subject: &at, Detail: detail + advice(b, job, parts),
	}}, nil
}

// threeDigits writes a number with three digits that count, and no exponent.
func threeDigits(v float64) string {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// wider is the next wider precision.
var wider = map[config.Precision]config.Precision{config.INT4: config.INT8, config.INT8: config.BF16}

// advice names the parts that lose most, and the rule that gives the worst of
// them a wider precision: in both phases, unless these differ.
func advice(b blockEval, job *evaluation, parts []view.EvalPart) string {
	parts = slices.DeleteFunc(slices.Clone(parts), func(p view.EvalPart) bool { return wider[config.Precision(p.Precision)] == "" })
	slices.SortStableFunc(parts, func(x, y view.EvalPart) int { return cmp.Compare(y.Error, x.Error) })
	if len(parts) == 0 {
		return " No part of it has a narrower precision than BF16; what is left are the embeddings:\n\n    quantize_embeddings = false"
	}
	var named []string
	for _, p := range parts[:min(3, len(parts))] {
		named = append(named, fmt.Sprintf("%s (%s, %.2g %%)", p.Part, p.Precision, 100*p.Error))
	}
	worst := parts[0]
	part, _ := addr.ParsePart(worst.Kind)
	when := fmt.Sprintf("layer.part == %q && layer.index == %d", part.InRules(), worst.Layer)
	switch {
	case !job.model.PhasesDiffer():
	case job.phase == addr.Prefill:
		when = "layer.is_group && " + when
	default:
		when = "!layer.is_group && " + when
	}
	text := fmt.Sprintf(" These parts change their output most: %s. A rule before the others gives the first of them more bits:\n\n"+
		"    layer \"careful\" {\n      when      = %s\n      precision = %q\n    }",
		strings.Join(named, ", "), when, wider[config.Precision(worst.Precision)])
	if b.model.Calibration == nil {
		text += "\n\nOr let the quantizer see text that the model is used for:\n\n    calibration { dataset = \"FILE\" }"
	}
	return text + "\n"
}
