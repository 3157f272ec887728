package planner

import (
	"fmt"

	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/diag"
)

// conversionNote says which matrices of the checkpoint become BF16: those that
// are F16 or F32, of parts in BF16 and of the embeddings.
func (m *Model) conversionNote() diag.List {
	if m.Format == source.GGUF {
		return nil // what is no BF16 there is refused, or converted as the model asks
	}
	seen := map[string]bool{}
	first, kind := "", tensor.BF16
	look := func(name string) {
		t, ok := m.Checkpoint.Weight(name)
		if !ok || seen[name] || t.DType != tensor.F16 && t.DType != tensor.F32 {
			return
		}
		if seen[name] = true; first == "" {
			first, kind = name, t.DType
		}
	}
	if !m.Config.QuantizeEmbeddings {
		look(m.Arch.EmbeddingName())
	}
	for _, p := range m.Parts {
		if !p.Decision.Compile || p.Decision.Precision != config.BF16 {
			continue
		}
		for _, t := range m.Arch.Tensors(p.ID) {
			if len(t.Shape) == 2 {
				look(t.Name)
			}
		}
	}
	if first == "" {
		return nil
	}
	r := m.Config.SourceRange
	more := ""
	if len(seen) > 1 {
		more = fmt.Sprintf(", and %d more", len(seen)-1)
	}
	return diag.List{{
		Severity: diag.Note, Summary: "Weights become BF16", Subject: &r,
		Detail: fmt.Sprintf("Model %q: tensor %q is %v%s. The machine multiplies BF16 numbers, so these are rounded to the nearest one; those that BF16 holds keep their value.",
			m.Config.Name, first, kind, more),
	}}
}
