package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// exceeds says by how much a model is too far from its reference, and what can
// be done about it.
func exceeds(b blockEval, e *view.Evaluation) diag.Diagnostic {
	at := b.max.Range
	how := fmt.Sprintf("has a perplexity of %.4f, %s more than in BF16", e.Perplexity, threeDigits(e.Gate.Delta))
	if b.block.Metric == "kl" {
		how = fmt.Sprintf("has a mean KL divergence of %s from BF16", threeDigits(e.Gate.Delta))
	}
	detail := fmt.Sprintf("Model %q %s on %s: %s above the %s allowed.", b.model.Name, how, b.block.DatasetText,
		threeDigits(e.Gate.Delta-e.Gate.MaxDelta), strconv.FormatFloat(e.Gate.MaxDelta, 'f', -1, 64))
	return diag.Diagnostic{Severity: diag.Error, Summary: "Eval exceeded: max_delta", Subject: &at, Detail: detail + advice(b, e)}
}

// threeDigits writes a number with three digits that count, and no exponent.
func threeDigits(v float64) string {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// wider is the next wider precision.
var wider = map[config.Precision]config.Precision{config.INT4: config.INT8, config.INT8: config.BF16}

// advice names the parts that lose most, and the rule that gives the worst of
// them a wider precision.
func advice(b blockEval, e *view.Evaluation) string {
	parts := slices.DeleteFunc(slices.Clone(e.Parts), func(p view.EvalPart) bool { return wider[config.Precision(p.Precision)] == "" })
	slices.SortStableFunc(parts, func(x, y view.EvalPart) int { return cmp.Compare(y.Error, x.Error) })
	if len(parts) == 0 {
		return " No part of it has a narrower precision than BF16; what is left are the embeddings:\n\n    quantize_embeddings = false"
	}
	var named []string
	for _, p := range parts[:min(3, len(parts))] {
		named = append(named, fmt.Sprintf("%s (%s, %.2g %%)", p.Part, p.Precision, 100*p.Error))
	}
	worst := parts[0]
	group := "layer.is_group"
	if strings.HasPrefix(worst.Part, addr.Decode.String()) {
		group = "!layer.is_group"
	}
	text := fmt.Sprintf(" These parts change their output most: %s. A rule before the others gives the first of them more bits:\n\n"+
		"    layer \"careful\" {\n      when      = %s && layer.part == %q && layer.index == %d\n      precision = %q\n    }",
		strings.Join(named, ", "), group, worst.Kind, worst.Layer, wider[config.Precision(worst.Precision)])
	if b.model.Calibration == nil {
		text += "\n\nOr let the quantizer see text that the model is used for:\n\n    calibration { dataset = \"FILE\" }"
	}
	return text + "\n"
}
