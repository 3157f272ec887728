package planner

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/quant"
)

// FormatOf returns how a model's parts of a precision store their matrices, or
// the output head: with the group sizes and methods of the quantization block,
// where the model has one. Its method is that without data where [MethodOf]
// asks for data.
func FormatOf(c *config.Model, p config.Precision, head bool) quant.Format {
	if head {
		p = HeadPrecision(c, p)
	}
	var f quant.Format
	switch p {
	case config.INT8:
		f = quant.Format{Bits: 8, GroupSize: groupSize(c, p)}
	case config.INT4:
		f = quant.Format{Bits: 4, GroupSize: groupSize(c, p)}
	case config.BF16:
		return quant.Format{Bits: 16}
	}
	if MethodOf(c, f) == config.Nearest {
		f.Method = quant.Nearest
	}
	return f
}

// HeadPrecision returns the precision of the output head where its part has
// precision p. In an INT4 part it is INT8, unless the model says otherwise: 4
// bits there cost more than in any other matrix.
func HeadPrecision(c *config.Model, p config.Precision) config.Precision {
	switch {
	case c.Quantization != nil && c.Quantization.Head != "":
		return c.Quantization.Head
	case p == config.INT4:
		return config.INT8
	default:
		return p
	}
}

// defaultGroupSize is where the model does not say.
var defaultGroupSize = map[config.Precision]int{config.INT8: config.PerChannel, config.INT4: 32}

func groupSize(c *config.Model, p config.Precision) int {
	if c.Quantization != nil {
		if n, ok := c.Quantization.GroupSize[p]; ok {
			return n
		}
	}
	return defaultGroupSize[p]
}

// MethodOf returns how codes and scales of a format are chosen, "" for BF16.
func MethodOf(c *config.Model, f quant.Format) config.Method {
	var p config.Precision
	switch f.Bits {
	case 8:
		p = config.INT8
	case 4:
		p = config.INT4
	default:
		return ""
	}
	method := config.Search
	if c.Calibration != nil {
		method = config.Calibrated
	}
	if c.Quantization != nil && c.Quantization.Method[p] != "" {
		return c.Quantization.Method[p]
	}
	return method
}

// FormatOf returns how a part stores its matrices, or its output head.
func (p *Part) FormatOf(m *Model, head bool) quant.Format {
	return FormatOf(m.Config, p.Decision.Precision, head)
}

// Stored returns how a part stores its matrices, or its output head. CACHE has
// none.
func (m *Model) Stored(p *Part, head bool) Stored {
	if p.ID.Part == addr.Cache {
		return Stored{Precision: p.Decision.Precision}
	}
	return m.StoredIn(p.Decision.Precision, head)
}

// HasHead reports whether a part holds the output head.
func (m *Model) HasHead(id addr.PartID) bool {
	return id.Index == m.Arch.NumHiddenLayers-1 && (id.Part == addr.Post || id.Part == addr.Conv)
}

// formatParams sets what QUANTIZE of a part depends on beside its inputs: the
// precision, which alone says how matrices are stored in a model that does not
// say more, and what its quantization block makes different.
func (m *Model) formatParams(t *Target, p *Part) {
	t.Params.Set("precision", p.Decision.Precision)
	t.Where["precision"] = m.ruleAt(p.Decision)
	m.formatParam(t, "", m.Stored(p, false))
	if !m.HasHead(p.ID) {
		return
	}
	head := m.Stored(p, true)
	if head.Precision != HeadPrecision(&config.Model{}, p.Decision.Precision) {
		t.Params.Set("head", head.Precision)
	}
	t.Where["head"] = m.quantizationAt(func(q *config.Quantization) diag.Range { return q.HeadRange })
	m.formatParam(t, "head_", head)
}

func (m *Model) formatParam(t *Target, prefix string, s Stored) {
	plain := storedIn(&config.Model{}, s.Precision, false)
	if s.GroupSize != plain.GroupSize {
		t.Params.Set(prefix+"group_size", s.GroupSize)
	}
	t.Where[prefix+"group_size"] = m.quantizationAt(func(q *config.Quantization) diag.Range { return q.GroupSizeRange })
	if s.Method != plain.Method {
		t.Params.Set(prefix+"method", s.Method)
	}
	t.Where[prefix+"method"] = m.quantizationAt(func(q *config.Quantization) diag.Range { return q.MethodRange })
}

// quantizationAt names a line of the quantization block, "" without one.
func (m *Model) quantizationAt(line func(*config.Quantization) diag.Range) string {
	if m.Config.Quantization == nil {
		return ""
	}
	return line(m.Config.Quantization).String()
}

// channel is the group size of weights with one scale for each output channel,
// as llima.hcl has it.
const channel = "channel"

// GroupText says how many weights share a scale, as llima.hcl does.
func GroupText(f quant.Format) string {
	if f.GroupSize == config.PerChannel {
		return channel
	}
	return strconv.Itoa(f.GroupSize)
}

// Stored is how matrices are stored.
type Stored struct {
	Precision config.Precision
	GroupSize string        // "32", "channel"; "" for BF16
	Method    config.Method // "" for BF16
}

// StoredIn returns how parts of a precision store their matrices, or the
// output head.
func (m *Model) StoredIn(p config.Precision, head bool) Stored {
	if m.Format != source.HF { // matrices stay what they are
		return Stored{Precision: p}
	}
	return storedIn(m.Config, p, head)
}

func storedIn(c *config.Model, p config.Precision, head bool) Stored {
	if head {
		p = HeadPrecision(c, p)
	}
	f := FormatOf(c, p, false)
	if f.Bits == 16 {
		return Stored{Precision: p}
	}
	return Stored{p, GroupText(f), MethodOf(c, f)}
}

// String names the precision, and the group size and the method where they
// are not those of a model that does not say: "A_BF16_W_INT4 g64 nearest".
func (s Stored) String() string {
	text, plain := string(s.Precision), storedIn(&config.Model{}, s.Precision, false)
	switch s.GroupSize {
	case plain.GroupSize:
	case channel:
		text += " " + channel
	default:
		text += " g" + s.GroupSize
	}
	if s.Method != plain.Method {
		text += " " + string(s.Method)
	}
	return text
}

// Heads lists how compiled parts store the output head, where that is not how
// they store everything else.
func (m *Model) Heads() []Stored {
	var out []Stored
	for _, p := range m.Parts {
		if !p.Decision.Compile || !m.HasHead(p.ID) {
			continue
		}
		head := m.StoredIn(p.Decision.Precision, true)
		if head != m.StoredIn(p.Decision.Precision, false) && !slices.Contains(out, head) {
			out = append(out, head)
		}
	}
	return out
}

// CheckQuantization warns about a quantization block that decides nothing.
func (m *Model) CheckQuantization() diag.List {
	if m.Config.Quantization == nil || m.Format != source.HF {
		return nil
	}
	for _, p := range m.Parts {
		quantised := p.FormatOf(m, false).Bits < 16 || m.HasHead(p.ID) && p.FormatOf(m, true).Bits < 16
		if p.Decision.Compile && p.ID.Part != addr.Cache && quantised {
			return nil
		}
	}
	r := m.Config.Quantization.Decl
	return diag.List{{
		Severity: diag.Warning, Summary: "Quantization has no effect", Subject: &r,
		Detail: fmt.Sprintf("Every compiled part of model %q has its weights in BF16, which is where no rule and no precision of the model says otherwise. Quantise some:\n\n    precision = %q", m.Config.Name, config.INT4),
	}}
}
