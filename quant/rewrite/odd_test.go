package rewrite_test

import (
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/rewrite"
)

// oddConfig has what bard-3m lacks: biases, a head of its own, sizes that no
// group and no byte divides.
const oddConfig = `{"model_type":"llama","hidden_size":72,"intermediate_size":104,"num_hidden_layers":2,"num_attention_heads":3,
"num_key_value_heads":1,"head_dim":24,"vocab_size":301,"max_position_embeddings":64,"rms_norm_eps":1e-6,"attention_bias":true,
"mlp_bias":true,"tie_word_embeddings":false,"bos_token_id":0,"eos_token_id":1}`

// oddModel is a random model of oddConfig, stored as dt.
func oddModel(tb testing.TB, dt tensor.DType) *model {
	tb.Helper()
	cfg, err := arch.Parse([]byte(oddConfig))
	if err != nil {
		tb.Fatal(err)
	}
	m := &model{cfg: cfg, files: map[string][]byte{}, tensors: map[string]stored{}}
	r := rand.New(rand.NewPCG(11, 12))
	names := []string{cfg.EmbeddingName()}
	for _, id := range cfg.Parts() {
		if id.Phase == addr.Prefill {
			names = append(names, cfg.TensorNames(id)...)
		}
	}
	for _, name := range names {
		shape, err := cfg.Shape(name)
		if err != nil {
			tb.Fatal(err)
		}
		info := tensor.Info{Name: name, DType: dt, Shape: shape}
		n, err := info.Elements()
		if err != nil {
			tb.Fatal(err)
		}
		w := make([]float32, n)
		for i := range w {
			w[i] = float32(r.NormFloat64() * 0.2)
			if len(shape) == 1 && strings.Contains(name, "norm") {
				w[i] += 1
			}
		}
		b := make([]byte, int(n)*dt.Bytes())
		if err := tensor.FromF32(b, w, dt); err != nil {
			tb.Fatal(err)
		}
		const file = "model.safetensors"
		at := (len(m.files[file]) + 7) / 8 * 8
		m.files[file] = append(append(m.files[file], make([]byte, at-len(m.files[file]))...), b...)
		m.tensors[name] = stored{dt, shape, onnx.External{Location: file, Offset: int64(at), Length: int64(len(b))}}
	}
	return m
}

var oddSizes = arch.Params{ContextTokens: 24, GroupTokens: 6, MaskTokens: 12, ReturnLogits: true}

// oddOptions adds to the precisions what bard-3m does not try.
func oddOptions() map[string]*rewrite.Options {
	all := map[string]*rewrite.Options{
		"bf16head": {Matrix: int4g32, Head: bf16},
	}
	for _, bits := range []int{8, 4} {
		for _, group := range []int{0, 16, 32, 64, 128} {
			f := quant.Format{Bits: bits, GroupSize: group}
			all[f.String()] = &rewrite.Options{Matrix: f, Head: f}
		}
	}
	maps.Copy(all, precision)
	return all
}

// TestOddModel runs a model of odd sizes in every precision and compares the
// quantised logits with the float ones.
func TestOddModel(t *testing.T) {
	for _, dt := range []tensor.DType{tensor.BF16, tensor.F16, tensor.F32} {
		m := oddModel(t, dt)
		ids := []int{3, 300, 7, 9, 11, 250, 42, 5}
		_, want := newRunner(t, m, oddSizes, nil).logits(t, ids)
		for name, o := range oddOptions() {
			if o == nil {
				continue
			}
			_, got := newRunner(t, m, oddSizes, o).logits(t, ids)
			bound := map[quant.Format]float64{{Bits: 16}: 0.05, {Bits: 8}: 0.08, {Bits: 4}: 0.7}[quant.Format{Bits: o.Matrix.Bits}]
			d := distanceOf(t, got, want)
			t.Logf("%v %s: mean %.3g, relative %.3g", dt, name, d.mean, d.relative)
			if d.relative > bound {
				t.Errorf("%v %s: logits differ by %.3g of the largest, bound %.3g", dt, name, d.relative, bound)
			}
		}
	}
}

// writeOddParts writes the graphs of an odd model for ONNX Runtime.
func writeOddParts(t *testing.T, dir string, o *rewrite.Options) {
	t.Helper()
	m := oddModel(t, tensor.BF16)
	w := newWriter(t, dir)
	r := newRunner(t, m, oddSizes, o)
	r.record = w.part
	e := m.embed(t, []int{3, 300, 7, 9, 11, 250, 42, 5})
	h := m.cfg.HiddenSize
	r.forward(t, addr.Prefill, 0, e[:6*h])
	r.forward(t, addr.Prefill, 6, e[6*h:])
	r.forward(t, addr.Decode, 8, e[:h])
	r.forward(t, addr.Decode, 13, e[h:2*h])
	w.finish(m, 2*2*m.cfg.NumHiddenLayers+4)
}
