package walk

import (
	"fmt"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/internal/addr"
)

// layer is the parts of one layer and what they read besides hidden states: a
// short convolution has POST only, which is all of it.
type layer struct {
	m                *Model
	pre, cache, post *part
	cos, sin, spans  eval.Value
	state            []float32 // of a convolution before the first token
}

func (m *Model) layer(index int) (*layer, error) {
	l := &layer{m: m}
	a := m.Arch
	parts := []struct {
		part addr.Part
		to   **part
	}{{addr.Pre, &l.pre}, {addr.Cache, &l.cache}, {addr.Post, &l.post}}
	if a.Layers[index].Conv {
		parts = parts[2:]
		parts[0].part = addr.Conv
		l.state = make([]float32, (a.ConvTaps-1)*a.HiddenSize)
	}
	for _, p := range parts {
		g, err := m.graph(addr.PartID{Phase: addr.Prefill, Part: p.part, Index: index})
		if err != nil {
			return nil, err
		}
		*p.to = g
	}
	if l.state != nil {
		return l, nil
	}
	tables, err := a.RopeTables(m.Tokens)
	if err != nil {
		return nil, err
	}
	t := tables[a.Layers[index].Rope]
	l.cos, l.sin = floats(t.Cos, m.Tokens, t.Half), floats(t.Sin, m.Tokens, t.Half)
	l.spans = eval.Value{DType: onnx.Int32, Dims: []int64{int64(m.Tokens), 2}}
	sees := a.Layers[index].Window
	if sees == 0 {
		sees = m.Tokens
	}
	for t := range m.Tokens {
		l.spans.I = append(l.spans.I, int64(max(0, t+1-sees)), int64(t+1))
	}
	return l, nil
}

// preInputs and postInputs are what the graphs of PRE and POST read.
func (l *layer) preInputs(hidden []float32) map[string]eval.Value {
	return map[string]eval.Value{"hidden": floats(hidden, l.m.Tokens, l.m.Arch.HiddenSize), "cos": l.cos, "sin": l.sin}
}

func (l *layer) postInputs(w Weights, hidden []float32) (map[string]eval.Value, error) {
	in := map[string]eval.Value{"hidden": floats(hidden, l.m.Tokens, l.m.Arch.HiddenSize)}
	if l.state != nil {
		in["state"] = floats(l.state, len(l.state)/l.m.Arch.HiddenSize, l.m.Arch.HiddenSize)
		return in, nil
	}
	v, err := l.pre.run(w, l.preInputs(hidden), "q", "k", "v")
	if err != nil {
		return nil, err
	}
	out, err := l.cache.run(nil, map[string]eval.Value{"q": v["q"], "K": v["k"], "V": v["v"], "spans": l.spans}, "attention")
	in["attention"] = out["attention"]
	return in, err
}

// Advance moves a stream through a layer with the given weights.
func (m *Model) Advance(index int, s Stream, w Weights) (Stream, error) {
	l, err := m.layer(index)
	if err != nil {
		return nil, err
	}
	out := make(Stream, len(s))
	for i, hidden := range s {
		in, err := l.postInputs(w, hidden)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", index, err)
		}
		v, err := l.post.run(w, in, "hidden_out")
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", index, err)
		}
		out[i] = v["hidden_out"].F
	}
	return out, nil
}

// Logits computes what follows the last layer, [tokens, vocabSize] of one text.
func (m *Model) Logits(hidden []float32) ([]float32, error) {
	l, err := m.layer(m.Arch.NumHiddenLayers - 1)
	if err != nil {
		return nil, err
	}
	v, err := l.post.run(nil, map[string]eval.Value{"hidden_out": floats(hidden, m.Tokens, m.Arch.HiddenSize)}, "logits")
	return v["logits"].F, err
}
