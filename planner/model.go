package planner

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// Inspect reads a model's configuration, no weights, and asks the rules about
// every part.
func Inspect(c *config.Model) (*Model, diag.List) {
	raw, format, err := source.ReadConfig(c.Source, c.Format)
	if err != nil {
		return nil, diag.List{sourceError(c, err)}
	}
	a, err := arch.Parse(raw)
	if err != nil {
		return nil, diag.List{sourceError(c, err)}
	}
	if err := a.CheckContext(c.ContextTokens); err != nil {
		return nil, diag.List{sourceError(c, err)}
	}
	m := &Model{Config: c, Arch: a, Format: format, Params: arch.Params{
		ContextTokens: c.ContextTokens, GroupTokens: c.GroupTokens, MaskTokens: c.MaskTokens, ReturnLogits: c.ReturnLogits,
	}}
	props := m.Properties()
	var diags diag.List
	for _, id := range a.Parts() {
		d, ds := c.Rules.Decide(props, config.Layer{PartID: id, FromEnd: a.NumHiddenLayers - id.Index})
		diags = append(diags, ds...)
		m.Parts = append(m.Parts, Part{
			ID: id, Decision: d, WeightBytes: m.weightBytes(id, d.Precision, nil), FloatBytes: m.weightBytes(id, config.BF16, nil),
		})
	}
	return m, diags
}

func sourceError(c *config.Model, err error) diag.Diagnostic {
	r := c.SourceRange
	// The source as it was written, so that the text is the same everywhere.
	detail := fmt.Sprintf("Model %q: %s.", c.Name, strings.ReplaceAll(err.Error(), c.Source, c.SourceText))
	if errors.Is(err, fs.ErrNotExist) {
		if hint := c.DownloadHint(); hint != "" {
			detail += hint
		} else {
			detail += " source is the folder of a checkpoint, with config.json and all of its weights; relative to the folder of llima.hcl, not to yours."
		}
	}
	return diag.Diagnostic{Severity: diag.Error, Summary: "Unusable model source", Subject: &r, Detail: detail}
}

// settleHead gives the model the output head that its checkpoint has: one that
// is not the embeddings counts although the configuration calls the two tied,
// as transformers has it.
func (m *Model) settleHead() error {
	if !m.Arch.TieWordEmbeddings {
		return nil
	}
	embeddings, ok := m.Checkpoint.Weight(m.Arch.EmbeddingName())
	head, ok2 := m.Checkpoint.Weight(m.Arch.UntiedHeadName())
	if !ok || !ok2 {
		return nil
	}
	if !embeddings.Raw || !head.Raw {
		m.Arch.Untie() // codes of the same weights would not be stored twice
		return nil
	}
	a, err := m.Checkpoint.Bytes(embeddings)
	if err != nil {
		return err
	}
	b, err := m.Checkpoint.Bytes(head)
	if err != nil {
		return err
	}
	if head.DType != embeddings.DType || !bytes.Equal(a, b) {
		m.Arch.Untie()
	}
	return nil
}

// Properties returns what rules see as "model".
func (m *Model) Properties() config.Properties {
	return config.Properties{NumHiddenLayers: m.Arch.NumHiddenLayers, Architecture: m.Arch.Architecture, Format: m.Format}
}

// Program is a line of elf_files/index.json: the program of a part, or of one
// cache window of it.
type Program struct {
	Phase  string `json:"phase"`
	Part   string `json:"part"`
	Layer  int    `json:"layer"`
	Window int    `json:"window,omitempty"` // tokens
	File   string `json:"file"`
}

// Programs lists the programs of a model that are compiled.
func (m *Model) Programs() []Program {
	var out []Program
	for _, p := range m.Parts {
		if !p.Decision.Compile {
			continue
		}
		line := Program{Phase: p.ID.Phase.String(), Part: p.ID.Part.String(), Layer: p.ID.Index, File: p.ID.FileName() + ".elf"}
		if p.ID.Part != addr.Cache {
			out = append(out, line)
			continue
		}
		for _, w := range m.Arch.Windows(p.ID.Phase, m.Params) {
			line.Window, line.File = w, arch.CacheName(p.ID.Phase, w, m.Params)+".elf"
			out = append(out, line)
		}
	}
	return out
}

// PartPrecision is a line of devkit/precision.json. What the quantization
// block says is there where the model has one.
type PartPrecision struct {
	Part      string           `json:"part"`
	Index     int              `json:"idx"`
	Precision config.Precision `json:"precision"`
	GroupSize string           `json:"group_size,omitempty"`
	Head      config.Precision `json:"head,omitempty"`
}

// Precisions lists what precision.json says, layer by layer.
func (m *Model) Precisions() []PartPrecision {
	var out []PartPrecision
	for l := range m.Arch.NumHiddenLayers {
		for _, phase := range addr.Phases {
			for _, part := range []addr.Part{addr.Pre, addr.Post, addr.Conv} {
				i := slices.IndexFunc(m.Parts, func(p Part) bool { return p.ID == addr.PartID{Phase: phase, Part: part, Index: l} })
				if i < 0 || !m.Parts[i].Decision.Compile {
					continue
				}
				p := &m.Parts[i]
				line := PartPrecision{Part: phase.FilePrefix() + "_" + strings.ToLower(part.String()), Index: l, Precision: p.Decision.Precision}
				if m.Config.Quantization != nil {
					line.GroupSize = m.Stored(p, false).GroupSize
					if m.HasHead(p.ID) {
						line.Head = m.Stored(p, true).Precision
					}
				}
				out = append(out, line)
			}
		}
	}
	return out
}
