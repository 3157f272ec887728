// Package walk runs a model layer by layer over tokens, once with its own
// weights and once with quantised ones, and quantises each matrix by what it
// sees there. It runs the float graphs of formats/arch on the fixed-order
// evaluator, so its results are the same bits on every CPU. It knows graphs,
// not architectures: a matrix is the weight of a Gemm.
package walk

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
)

// Tensor returns a tensor of the checkpoint: its type, shape and bytes.
type Tensor func(name string) (tensor.DType, []int, []byte, error)

// Model is what a walk reads. Texts all have as many tokens.
type Model struct {
	Arch   *arch.Config
	Tensor Tensor
	Tokens int // in a text
}

// params are the sizes of the graphs: a text is one group and one window.
func (m *Model) params() arch.Params {
	return arch.Params{ContextTokens: m.Tokens, GroupTokens: m.Tokens, MaskTokens: m.Tokens, ReturnLogits: true}
}

// Stream is the hidden state of every text at a layer's border, [tokens, hiddenSize] each.
type Stream [][]float32

// Embed returns the stream that enters the first layer.
func (m *Model) Embed(texts [][]int) (Stream, error) {
	name := m.Arch.EmbeddingName()
	dt, shape, raw, err := m.Tensor(name)
	if err != nil {
		return nil, err
	}
	if len(shape) != 2 || shape[1] != m.Arch.HiddenSize {
		return nil, fmt.Errorf("tensor %q has shape %v, want rows of %d", name, shape, m.Arch.HiddenSize)
	}
	width := m.Arch.HiddenSize
	rowBytes := width * dt.Bytes()
	var out Stream
	for i, ids := range texts {
		if len(ids) != m.Tokens {
			return nil, fmt.Errorf("text %d has %d tokens, want %d", i, len(ids), m.Tokens)
		}
		h := make([]float32, len(ids)*width)
		for t, id := range ids {
			if id < 0 || id >= shape[0] {
				return nil, fmt.Errorf("text %d: token %d is outside the vocabulary of %d", i, id, shape[0])
			}
			if err := tensor.ToF32(h[t*width:(t+1)*width], raw[id*rowBytes:(id+1)*rowBytes], dt); err != nil {
				return nil, fmt.Errorf("tensor %q: row %d: %w", name, id, err)
			}
		}
		for j := range h {
			h[j] *= m.Arch.EmbeddingScale
		}
		out = append(out, h)
	}
	return out, nil
}

// Weights holds matrices that take the place of the checkpoint's, [N, K] by name.
type Weights map[string][]float32

// part is the graph of a part, with matrices that can be replaced.
type part struct {
	m     *Model
	model *onnx.Model
}

// graph builds the float graph of a part; its matrices are F32, so that
// replaced ones fit.
func (m *Model) graph(id addr.PartID) (*part, error) {
	look := func(name string) (tensor.DType, []int, onnx.External, error) {
		dt, shape, raw, err := m.Tensor(name)
		if err != nil {
			return 0, nil, onnx.External{}, err
		}
		n := int64(len(raw))
		if len(shape) == 2 {
			dt, n = tensor.F32, n/int64(dt.Bytes())*4
		}
		return dt, shape, onnx.External{Location: name, Length: n}, nil
	}
	graphs, err := m.Arch.Build(id, m.params(), look)
	if err != nil {
		return nil, err
	}
	if len(graphs) != 1 {
		return nil, fmt.Errorf("llima: internal error: %v has %d graphs", id, len(graphs))
	}
	return &part{m: m, model: graphs[0].Model}, nil
}

// data returns what reads external tensors, replaced ones first.
func (m *Model) data(w Weights) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		values, replaced := w[name]
		if !replaced {
			dt, shape, raw, err := m.Tensor(name)
			if err != nil || len(shape) != 2 || dt == tensor.F32 {
				return raw, err
			}
			if values, err = m.floats(name); err != nil {
				return nil, err
			}
		}
		out := make([]byte, 4*len(values))
		for i, v := range values {
			binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v))
		}
		return out, nil
	}
}

// run computes values of the part's graph.
func (p *part) run(w Weights, in map[string]eval.Value, want ...string) (map[string]eval.Value, error) {
	g, err := prune(p.model, in, want)
	if err != nil {
		return nil, err
	}
	used := map[string]eval.Value{}
	for _, v := range g.Graph.Inputs {
		used[v.Name] = in[v.Name]
	}
	return eval.Run(g, p.m.data(w), used)
}

// prune returns the nodes that some values of a graph need, from inputs that
// are given: also values within the graph.
func prune(m *onnx.Model, given map[string]eval.Value, want []string) (*onnx.Model, error) {
	g := &m.Graph
	types := map[string]onnx.ValueInfo{}
	for _, list := range [][]onnx.ValueInfo{g.Inputs, g.Values, g.Outputs} {
		for _, v := range list {
			types[v.Name] = v
		}
	}
	out := &onnx.Model{Opset: m.Opset, Producer: m.Producer, Graph: onnx.Graph{Name: g.Name}}
	needed := map[string]bool{}
	for _, name := range want {
		v, ok := types[name]
		if !ok {
			return nil, fmt.Errorf("llima: internal error: graph %q has no value %q", g.Name, name)
		}
		out.Graph.Outputs = append(out.Graph.Outputs, v)
		needed[name] = true
	}
	for _, n := range slices.Backward(g.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(o string) bool {
			_, isGiven := given[o]
			return needed[o] && !isGiven
		}) {
			continue
		}
		out.Graph.Nodes = append(out.Graph.Nodes, n)
		for _, in := range n.Inputs {
			needed[in] = true
		}
	}
	slices.Reverse(out.Graph.Nodes)
	for name := range given {
		if needed[name] {
			out.Graph.Inputs = append(out.Graph.Inputs, types[name])
		}
	}
	for i := range g.Initializers {
		if needed[g.Initializers[i].Name] {
			out.Graph.Initializers = append(out.Graph.Initializers, g.Initializers[i])
		}
	}
	out.Graph.Values = g.Values
	return out, nil
}

func floats(f []float32, dims ...int) eval.Value {
	v := eval.Value{DType: onnx.Float, F: f}
	for _, d := range dims {
		v.Dims = append(v.Dims, int64(d))
	}
	return v
}
