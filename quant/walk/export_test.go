package walk

import "github.com/llima-build/llima/formats/onnx/eval"

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
