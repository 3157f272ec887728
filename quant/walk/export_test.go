package walk

import (
	"context"

	"github.com/llima-build/llima/formats/onnx/eval"
)

// Values computes values of a layer from some that are given.
func (m *Model) Values(index int, given map[string]eval.Value, want ...string) (map[string]eval.Value, error) {
	g, err := m.layer(index)
	if err != nil {
		return nil, err
	}
	if err := g.bindHead(); err != nil {
		return nil, err
	}
	return g.run(nil, given, want...)
}

// Back returns the gradients of a layer's input and of what its matrices give.
func (m *Model) Back(index int, hidden []float32, end string, seed func([]float32) []float32) (map[string]eval.Value, error) {
	g, err := m.layer(index)
	if err != nil {
		return nil, err
	}
	if err := g.bindHead(); err != nil {
		return nil, err
	}
	return g.back(hidden, end, seed)
}

// StepLogits takes given texts through the path of Sample, and gives the
// logits of each position to f.
func (m *Model) StepLogits(ctx context.Context, texts [][]int, f func(text, position int, logits []float32)) error {
	s, err := newSampler(m, Sampling{Texts: len(texts), Begin: texts[0][:1]})
	if err != nil {
		return err
	}
	rows := s.rows.Tokens
	for first := 0; first < len(texts); first += rows {
		b := &batch{s: s, first: first, texts: make([][]int, rows), kept: make([][]memory, len(s.layers))}
		for i := range b.texts {
			b.texts[i] = texts[min(first+i, len(texts)-1)]
		}
		for l := range b.kept {
			b.kept[l] = make([]memory, rows)
		}
		for t := range m.Tokens {
			logits, err := b.step(ctx, t)
			if err != nil {
				return err
			}
			for i := range min(rows, len(texts)-first) {
				f(first+i, t, logits[i*m.Arch.VocabSize:(i+1)*m.Arch.VocabSize])
			}
		}
	}
	return nil
}

// Draw draws by logits, over which it writes.
func Draw(logits []float32, u float64) int {
	softmax(logits, logits)
	return draw(logits, u)
}
