package walk_test

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/calib"
	"github.com/llima-build/llima/quant/walk"
)

// odd is a small model with one tensor changed.
func odd(t *testing.T, name string, edit func(w []float32, width int)) *walk.Model {
	t.Helper()
	s := open(t, filepath.Join(families, "llama"))
	return &walk.Model{Arch: s.cfg, Tokens: 24, Tensor: func(n string) (tensor.DType, []int, []byte, error) {
		dt, shape, raw, err := s.tensor(n)
		if err != nil || n != name {
			return dt, shape, raw, err
		}
		w := make([]float32, len(raw)/dt.Bytes())
		if err := tensor.ToF32(w, raw, dt); err != nil {
			return 0, nil, nil, err
		}
		edit(w, shape[len(shape)-1])
		out := make([]byte, 4*len(w))
		return tensor.F32, shape, out, tensor.FromF32(out, w, tensor.F32)
	}}
}

// all quantises every layer of a model on drawn tokens, the last text held out.
func all(t *testing.T, m *walk.Model, f quant.Format) ([]walk.Result, error) {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 8))
	texts := make([][]int, 6)
	for i := range texts {
		for range m.Tokens {
			texts[i] = append(texts[i], r.IntN(m.Arch.VocabSize))
		}
	}
	grads := map[string][]float32{}
	err := m.Gradients(t.Context(), texts, func(name string, n int) ([]float32, error) {
		grads[name] = make([]float32, calib.GradientSize(n))
		return grads[name], nil
	}, nil)
	if err != nil {
		return nil, err
	}
	q := &walk.Quantizer{
		Model: m, Settings: calib.Defaults(), Formats: func(string) []quant.Format { return []quant.Format{f} },
		Gradient: func(name string) ([]float32, error) { return grads[name], nil },
		Float:    m.NewStream(len(texts)), Quantised: m.NewStream(len(texts)),
	}
	for _, s := range []walk.Stream{q.Float, q.Quantised} {
		if err := m.Embed(s, texts); err != nil {
			return nil, err
		}
	}
	var out []walk.Result
	for l := range m.Arch.NumHiddenLayers {
		results, err := q.Layer(t.Context(), l)
		if err != nil {
			return nil, err
		}
		out = append(out, results...)
	}
	return out, nil
}

// TestNotFinite checks that errors name the tensor and the place in it, or
// where in the texts an activation is not finite.
func TestNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, c := range []struct {
		name, tensor, want string
		edit               func(w []float32, width int)
	}{
		{
			"a matrix", "model.layers.1.mlp.up_proj.weight", `tensor "model.layers.1.mlp.up_proj.weight": row 2, column 3: NaN is not finite`,
			func(w []float32, width int) { w[2*width+3] = nan },
		},
		{
			"a norm", "model.layers.0.input_layernorm.weight", `tensor "model.layers.0.input_layernorm.weight": row 0, column 5: -Inf is not finite`,
			func(w []float32, _ int) { w[5] = inf },
		},
		{
			"embeddings", "model.embed_tokens.weight", `tensor "model.embed_tokens.weight": row `,
			func(w []float32, width int) {
				for i := 4; i < len(w); i += width {
					w[i] = nan
				}
			},
		},
		{
			"activations", "model.layers.1.post_attention_layernorm.weight", "layer 1: text 0, token 0: ",
			func(w []float32, _ int) {
				for i := range w {
					w[i] = 3e38
				}
			},
		},
	} {
		_, err := all(t, odd(t, c.tensor, c.edit), quant.Format{Bits: 4, GroupSize: 32})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestOdd quantises models with weights that are unusual but sound.
func TestOdd(t *testing.T) {
	const name = "model.layers.0.mlp.up_proj.weight"
	for _, c := range []struct {
		name, tensor string
		edit         func(w []float32, width int)
	}{
		{"a row of zeros", name, func(w []float32, width int) { clear(w[width : 2*width]) }},
		{"groups of zeros", name, func(w []float32, width int) {
			for i := 0; i < len(w); i += width {
				clear(w[i : i+32])
			}
		}},
		{"a matrix of zeros", name, func(w []float32, _ int) { clear(w) }},
		{"outliers", name, func(w []float32, width int) { w[3], w[width+40], w[5*width] = 1e4, -1e4, 3e4 }},
		{"a constant row", name, func(w []float32, width int) {
			for i := range width {
				w[i] = 0.01
			}
		}},
		{"rows that are the same", name, func(w []float32, width int) {
			for i := width; i < len(w); i += width {
				copy(w[i:i+width], w[:width])
			}
		}},
		{"dead inputs", "model.layers.0.post_attention_layernorm.weight", func(w []float32, _ int) { clear(w[:len(w)/2]) }},
		{"inputs of zeros", "model.layers.0.post_attention_layernorm.weight", func(w []float32, _ int) { clear(w) }},
		{"large inputs", "model.layers.0.post_attention_layernorm.weight", func(w []float32, _ int) { w[1] = 1e4 }},
	} {
		for _, f := range []quant.Format{{Bits: 4, GroupSize: 32}, {Bits: 4}, {Bits: 8}} {
			m := odd(t, c.tensor, c.edit)
			results, err := all(t, m, f)
			if err != nil {
				t.Errorf("%s as %v: %v", c.name, f, err)
				continue
			}
			for _, r := range results {
				best := math.Inf(1)
				for _, x := range r.Report.Candidates {
					best = min(best, x.Held)
				}
				for _, x := range r.Report.Candidates {
					if x.Method == r.Report.Method && x.Held != best {
						t.Errorf("%s as %v: %s: took %v of %+v", c.name, f, r.Tensor, r.Report.Method, r.Report.Candidates)
					}
				}
				for i, v := range quant.Dequantize(r.Codes, r.Scales, r.N, r.K, f) {
					if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
						t.Fatalf("%s as %v: %s: weight %d is %v", c.name, f, r.Tensor, i, v)
					}
				}
			}
			if c.name == "a row of zeros" {
				for _, q := range results[5].Codes[results[5].K : 2*results[5].K] {
					if q != 0 || results[5].Tensor != name {
						t.Errorf("%s as %v: %s has code %d", c.name, f, results[5].Tensor, q)
					}
				}
			}
		}
	}
}

// TestCheck checks what a quantiser refuses.
func TestCheck(t *testing.T) {
	m := odd(t, "", nil)
	q := &walk.Quantizer{Model: m}
	if _, err := q.Layer(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "some to fit to") {
		t.Errorf("no texts: %v", err)
	}
	q.Float, q.Quantised = m.NewStream(2), m.NewStream(1)
	if _, err := q.Layer(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "want as many") {
		t.Errorf("streams of two lengths: %v", err)
	}
	if err := m.Embed(m.NewStream(1), [][]int{make([]int, 23)}); err == nil || !strings.Contains(err.Error(), "23 tokens, want 24") {
		t.Errorf("a short text: %v", err)
	}
	long := make([]int, 24)
	long[7] = 1 << 20
	if err := m.Embed(m.NewStream(1), [][]int{long}); err == nil || !strings.Contains(err.Error(), "outside the vocabulary") {
		t.Errorf("a token outside the vocabulary: %v", err)
	}
}
