// Package walk runs a model layer by layer over tokens, once with its own
// weights and once with quantised ones, and quantises each matrix by what it
// sees there. It runs the float graphs of formats/arch on the fixed-order
// evaluator, so its results are the same bits on every CPU. It knows graphs,
// not architectures: a matrix is the weight of a Gemm.
package walk

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/formats/tensor"
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

// Stream is the hidden state of every text at a layer's border, [tokens,
// hiddenSize] each. Its memory is the caller's, and may be a file's: layers
// write over it, and read and write a text as a whole, rising.
type Stream [][]float32

// NewStream makes a stream for some texts, in one piece of memory.
func (m *Model) NewStream(texts int) Stream {
	return m.StreamOver(make([]float32, texts*m.Tokens*m.Arch.HiddenSize))
}

// StreamOver returns the stream that lies in memory, text after text.
func (m *Model) StreamOver(memory []float32) Stream {
	size := m.Tokens * m.Arch.HiddenSize
	s := make(Stream, len(memory)/size)
	for i := range s {
		s[i] = memory[i*size : (i+1)*size : (i+1)*size]
	}
	return s
}

// Embed writes the stream that enters the first layer.
func (m *Model) Embed(s Stream, texts [][]int) error {
	name := m.Arch.EmbeddingName()
	dt, shape, raw, err := m.Tensor(name)
	if err != nil {
		return err
	}
	width := m.Arch.HiddenSize
	if len(shape) != 2 || shape[1] != width {
		return fmt.Errorf("tensor %q has shape %v, want rows of %d", name, shape, width)
	}
	if len(s) != len(texts) {
		return fmt.Errorf("llima: internal error: a stream of %d for %d texts", len(s), len(texts))
	}
	rowBytes := width * dt.Bytes()
	for i, ids := range texts {
		if len(ids) != m.Tokens {
			return fmt.Errorf("text %d has %d tokens, want %d", i, len(ids), m.Tokens)
		}
		for t, id := range ids {
			if id < 0 || id >= shape[0] {
				return fmt.Errorf("text %d: token %d is outside the vocabulary of %d", i, id, shape[0])
			}
			row := s[i][t*width : (t+1)*width]
			if err := tensor.ToF32(row, raw[id*rowBytes:(id+1)*rowBytes], dt); err != nil {
				return fmt.Errorf("tensor %q: row %d: %w", name, id, err)
			}
			for j, v := range row {
				if row[j] = float32(v * m.Arch.EmbeddingScale); !finite(row[j]) {
					return fmt.Errorf("tensor %q: row %d, column %d: %v is not finite", name, id, j, v)
				}
			}
		}
	}
	return nil
}

func finite(f float32) bool { return math.Float32bits(f)&0x7f800000 != 0x7f800000 }

// Weights holds matrices that take the place of the checkpoint's, [N, K] by name.
type Weights map[string][]float32

// values gives weights the shapes that a graph has for them.
func (g *graph) values(w Weights) map[string]eval.Value {
	out := map[string]eval.Value{}
	for name, f := range w {
		if v, ok := g.fixed[name]; ok {
			v.F = f
			out[name] = v
		}
	}
	return out
}

// Advance moves a stream through a layer with the given weights, those of the
// checkpoint where there are none: a layer that stays as it is, or one whose
// codes are known.
func (m *Model) Advance(ctx context.Context, index int, s Stream, w Weights) error {
	g, err := m.layer(index)
	if err != nil {
		return fmt.Errorf("layer %d: %w", index, err)
	}
	values := g.values(w)
	return each(ctx, len(s), func(i int) (map[string]eval.Value, error) {
		return g.run(values, map[string]eval.Value{"hidden": g.hidden(s[i])}, "hidden_out")
	}, func(i int, v map[string]eval.Value) error {
		copy(s[i], v["hidden_out"].F)
		return m.check(index, i, "hidden state", s[i])
	})
}

func (g *graph) hidden(f []float32) eval.Value { return floats(f, g.m.Tokens, g.m.Arch.HiddenSize) }

// check reports an activation that is not finite.
func (m *Model) check(layer, text int, name string, f []float32) error {
	for i, v := range f {
		if !finite(v) {
			width := len(f) / m.Tokens
			return fmt.Errorf("layer %d: text %d, token %d: %s: element %d is %v", layer, text, i/width, name, i%width, v)
		}
	}
	return nil
}

// each computes something for every text below n, a few at once, and takes
// what came out in order.
func each[T any](ctx context.Context, n int, compute func(i int) (T, error), take func(i int, v T) error) error {
	width := runtime.GOMAXPROCS(0)
	results, errs := make([]T, width), make([]error, width)
	for first := 0; first < n; first += width {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := min(width, n-first)
		var wg sync.WaitGroup
		for j := range part {
			wg.Go(func() { results[j], errs[j] = compute(first + j) })
		}
		wg.Wait()
		for j := range part {
			if errs[j] != nil {
				return fmt.Errorf("text %d: %w", first+j, errs[j])
			}
			if err := take(first+j, results[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

// data reads a tensor of the checkpoint as the graphs declare it: matrices in F32.
func (m *Model) data(name string) ([]byte, error) {
	values, err := m.floats(name)
	if err != nil {
		return nil, err
	}
	if _, shape, raw, err := m.Tensor(name); err != nil || len(shape) != 2 {
		return raw, err
	}
	out := make([]byte, 0, 4*len(values))
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out, nil
}

// floats returns a tensor in float32; all of it is finite.
func (m *Model) floats(name string) ([]float32, error) {
	dt, shape, raw, err := m.Tensor(name)
	if err != nil {
		return nil, err
	}
	out := make([]float32, len(raw)/dt.Bytes())
	if err := tensor.ToF32(out, raw, dt); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", name, err)
	}
	for i, v := range out {
		if !finite(v) {
			width := shape[len(shape)-1]
			return nil, fmt.Errorf("tensor %q: row %d, column %d: %v is not finite", name, i/width, i%width, v)
		}
	}
	return out, nil
}

func floats(f []float32, dims ...int) eval.Value {
	v := eval.Value{DType: onnx.Float, F: f}
	for _, d := range dims {
		v.Dims = append(v.Dims, int64(d))
	}
	return v
}
