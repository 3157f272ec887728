package runtime

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
)

// Fits reports why programs of other cannot stand in for those of m: both
// must be built of models of one shape, with the same context and steps. What
// the last POST returns, and how weights are stored, may differ.
func (m *Model) Fits(other *Model) error {
	a, b := &m.cfg, &other.cfg
	for _, f := range []struct {
		name string
		a, b any
	}{
		{"architecture", a.Architecture, b.Architecture},
		{"num_hidden_layers", a.NumHiddenLayers, b.NumHiddenLayers},
		{"hidden_size", a.HiddenSize, b.HiddenSize},
		{"num_attention_heads", a.NumAttentionHeads, b.NumAttentionHeads},
		{"num_key_value_heads", a.NumKeyValueHeads, b.NumKeyValueHeads},
		{"head_dim", a.HeadDim, b.HeadDim},
		{"vocab_size", a.VocabSize, b.VocabSize},
		{"layer_types", strings.Join(a.LayerTypes, " "), strings.Join(b.LayerTypes, " ")},
		{"max_num_tokens", a.MaxNumTokens, b.MaxNumTokens},
		{"language_group_size", a.LanguageGroupSize, b.LanguageGroupSize},
		{"future_token_mask_size", a.FutureTokenMask, b.FutureTokenMask},
	} {
		if f.a != f.b {
			return fmt.Errorf("%s is %v in one and %v in the other", f.name, f.a, f.b)
		}
	}
	return nil
}

// Use makes m run the program that other has for a part; m itself as other
// takes that back. other must fit, stay open, and not run at the same time.
// Of CACHE all windows are taken.
func (m *Model) Use(id addr.PartID, other *Model) error {
	if err := m.Fits(other); err != nil {
		return err
	}
	if id.Index < 0 || id.Index >= m.cfg.NumHiddenLayers || int(id.Phase) >= len(m.layers) {
		return fmt.Errorf("%v: the model has no such part", id)
	}
	if m.own[id.Phase] == nil {
		m.own[id.Phase] = append([]layerPrograms(nil), m.layers[id.Phase]...)
	}
	to, from := &m.layers[id.Phase][id.Index], &other.layers[id.Phase][id.Index]
	if other == m {
		from = &m.own[id.Phase][id.Index]
	}
	switch attention := from.pre != nil; {
	case id.Part == addr.Pre && attention:
		to.pre = from.pre
	case id.Part == addr.Cache && attention:
		to.cache = from.cache
	case id.Part == m.postPart(id.Index):
		to.post = from.post
	default:
		return fmt.Errorf("%v: the model has no such part", id)
	}
	return nil
}

// Parts lists the parts of a phase that hold weights, in running order.
func (m *Model) Parts(phase addr.Phase) []addr.PartID {
	var out []addr.PartID
	for layer := range m.cfg.NumHiddenLayers {
		if m.cfg.layerType(layer) != layerConv {
			out = append(out, addr.PartID{Phase: phase, Part: addr.Pre, Index: layer})
		}
		out = append(out, addr.PartID{Phase: phase, Part: m.postPart(layer), Index: layer})
	}
	return out
}

// beside is another model whose parts run on what those of this one get.
type beside struct {
	other *Model
	see   func(id addr.PartID, own, other []float32) error
}

// Beside makes the parts of other that hold weights run before each of m's, on
// the inputs that m's get, and hands what both return to see: of PRE the
// queries, keys and values, of the last part the logits, of others the hidden
// states, for all rows with tokens, in the same order. What other returns goes
// nowhere else. see nil ends it. other must fit.
func (m *Model) Beside(other *Model, see func(id addr.PartID, own, other []float32) error) error {
	m.beside = nil
	if see == nil {
		return nil
	}
	if err := m.Fits(other); err != nil {
		return err
	}
	m.beside = &beside{other, see}
	return nil
}

// runPre runs PRE of a layer.
func (m *Model) runPre(ctx context.Context, p pass, layer int) error {
	pre := m.layers[p.phase][layer].pre
	if m.beside == nil {
		return m.launch(ctx, pre, layer)
	}
	return m.runBeside(ctx, addr.PartID{Phase: p.phase, Part: addr.Pre, Index: layer}, pre, p)
}

// runBeside runs the other model's program of a part, then m's, which
// overwrites what the first left in the cache, and hands both results on.
func (m *Model) runBeside(ctx context.Context, id addr.PartID, own *program, p pass) error {
	other := m.beside.other.programOf(id)
	for _, name := range []string{"in.hidden", "in.rope", "in.positions", "in.attention"} {
		if own.has(name) {
			copy(other.bytes(name), own.bytes(name))
		}
	}
	theirs, err := m.outputs(ctx, id, other, p)
	if err != nil {
		return err
	}
	ours, err := m.outputs(ctx, id, own, p)
	if err != nil {
		return err
	}
	return m.beside.see(id, ours, theirs)
}

func (m *Model) programOf(id addr.PartID) *program {
	l := &m.layers[id.Phase][id.Index]
	if id.Part == addr.Pre {
		return l.pre
	}
	return l.post
}

// outputs runs a program and returns what it gives for the rows with tokens.
func (m *Model) outputs(ctx context.Context, id addr.PartID, prog *program, p pass) ([]float32, error) {
	var out []float32
	if id.Part != addr.Pre && id.Index == m.cfg.NumHiddenLayers-1 {
		p.rows = func(_ int, logits []float32, _ bool) { out = append(out, logits...) }
		return out, m.runLast(ctx, prog, id.Index, p)
	}
	if err := m.launch(ctx, prog, id.Index); err != nil {
		return nil, err
	}
	if id.Part == addr.Pre {
		q := prog.bytes("out.q")
		out = appendBF16(out, q[:len(q)/m.rows(p.phase)*p.valid])
		return m.appendKV(out, m.kv[id.Index], p.start, p.start+p.valid), nil
	}
	all := prog.f32("out.hidden_out")
	pitch := len(all) / m.rows(p.phase)
	for i := range p.valid {
		out = append(out, all[i*pitch:][:m.cfg.HiddenSize]...)
	}
	return out, nil
}

// appendKV adds keys and values of the tokens [lo,hi), which lie in the cache
// as docs/isa.md has it: K in panels of 16 tokens, V in panels of 16 dims.
func (m *Model) appendKV(out []float32, kv []byte, lo, hi int) []float32 {
	dims := int(m.headBytes()) / 2
	headPitch := int(m.capacity()) * dims * 2
	panelPitch := int(m.capacity()) * 32
	at := func(i int) float32 { return tensor.FromBF16(binary.LittleEndian.Uint16(kv[i:])) }
	for h := range m.cfg.NumKeyValueHeads {
		k, v := h*headPitch, (m.cfg.NumKeyValueHeads+h)*headPitch
		for t := lo; t < hi; t++ {
			for e := range dims {
				out = append(out, at(k+t/16*32*dims+e/2*64+t%16*4+e%2*2), at(v+e/16*panelPitch+t/2*64+e%16*4+t%2*2))
			}
		}
	}
	return out
}

func appendBF16(out []float32, b []byte) []float32 {
	for ; len(b) >= 2; b = b[2:] {
		out = append(out, tensor.FromBF16(binary.LittleEndian.Uint16(b)))
	}
	return out
}
