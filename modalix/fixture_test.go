package modalix_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/rewrite"
)

// model is a checkpoint in memory with the weight files of quantised graphs
// made on demand.
type model struct {
	cfg     *arch.Config
	tensors map[string]weight
	files   map[string][]byte
	uses    map[string]rewrite.WeightUse
}

// weight is a BF16 tensor.
type weight struct {
	shape []int
	data  []byte
}

func newModel(tb testing.TB, config []byte) *model {
	tb.Helper()
	cfg, err := arch.Parse(config)
	if err != nil {
		tb.Fatal(err)
	}
	return &model{cfg: cfg, tensors: map[string]weight{}, files: map[string][]byte{}, uses: map[string]rewrite.WeightUse{}}
}

// openModel reads bard-3m.
func openModel(tb testing.TB) *model {
	tb.Helper()
	return openFolder(tb, filepath.Join("..", "testdata", "models", "bard-3m"))
}

// openFolder reads a checkpoint of BF16 tensors.
func openFolder(tb testing.TB, dir string) *model {
	tb.Helper()
	ckpt, err := checkpoint.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ckpt.Close() })
	m := newModel(tb, ckpt.Config())
	for _, t := range ckpt.Tensors() {
		b, err := ckpt.Bytes(t)
		if err != nil {
			tb.Fatal(err)
		}
		m.tensors[t.Name] = weight{t.Shape, b}
	}
	return m
}

// oddConfig has what bard-3m lacks: biases, a head of its own, sizes that
// leave panels, groups and head groups ragged.
const oddConfig = `{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":96,"intermediate_size":160,
"num_hidden_layers":2,"num_attention_heads":3,"num_key_value_heads":1,"head_dim":32,"vocab_size":1000,"max_position_embeddings":512,
"rms_norm_eps":1e-6,"attention_bias":true,"mlp_bias":true,"tie_word_embeddings":false,"bos_token_id":0,"eos_token_id":1,"hidden_act":"silu"}`

// oddModel is a model of oddConfig with random weights.
func oddModel(tb testing.TB) *model {
	tb.Helper()
	return randomModel(tb, []byte(oddConfig), 3)
}

// randomModel is a model of a configuration with random weights: matrices
// small, the weights of norms near those that change nothing.
func randomModel(tb testing.TB, config []byte, seed uint64) *model {
	tb.Helper()
	m := newModel(tb, config)
	c := m.cfg
	r := rand.New(rand.NewPCG(seed, 5))
	add := func(name string, shape []int) {
		n := 1
		for _, s := range shape {
			n *= s
		}
		mean, spread := 0.0, 0.1
		if strings.Contains(name, "norm") && !strings.HasPrefix(c.Architecture, "gemma") {
			mean = 1
		}
		if len(shape) == 1 || strings.Contains(name, "conv.conv") {
			spread = 0.3
		}
		data := make([]byte, 2*n)
		for i := range n {
			binary.LittleEndian.PutUint16(data[2*i:], tensor.ToBF16(float32(mean+spread*r.NormFloat64())))
		}
		m.tensors[name] = weight{shape, data}
	}
	add(c.EmbeddingName(), []int{c.VocabSize, c.HiddenSize})
	for _, id := range c.Parts() {
		for _, t := range c.Tensors(id) {
			if _, have := m.tensors[t.Name]; !have {
				add(t.Name, t.Shape)
			}
		}
	}
	return m
}

// lookup places every tensor in a file of its own name.
func (m *model) lookup(name string) (tensor.DType, []int, onnx.External, error) {
	w, ok := m.tensors[name]
	if !ok {
		return 0, nil, onnx.External{}, fmt.Errorf("tensor %q is missing", name)
	}
	return tensor.BF16, w.shape, onnx.External{Location: name, Length: int64(len(w.data))}, nil
}

func (m *model) read(location string) ([]byte, error) { return m.tensors[location].data, nil }

// quantised returns the quantised graphs of a part.
func (m *model) quantised(tb testing.TB, id addr.PartID, p arch.Params, o rewrite.Options) []arch.Graph {
	tb.Helper()
	graphs, err := m.cfg.Build(id, p, m.lookup)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range graphs {
		q, uses, err := rewrite.Rewrite(graphs[i].Model, o, m.read)
		if err != nil {
			tb.Fatal(err)
		}
		graphs[i].Model = q
		for _, u := range uses {
			m.uses[u.Location] = u
		}
	}
	return graphs
}

// data returns a weight file of the quantised graphs.
func (m *model) data(location string) ([]byte, error) {
	if b, ok := m.files[location]; ok {
		return b, nil
	}
	u, ok := m.uses[location]
	if !ok {
		return nil, fmt.Errorf("%s: unknown file", location)
	}
	b := m.tensors[u.Tensor].data
	if u.Carried != nil {
		b = quant.EncodeCoded(randomCodes(u.Carried.Coding, u.N, u.K))
	} else if u.Format.Bits != 16 {
		codes, scales, err := quant.Quantize(b, tensor.BF16, u.N, u.K, u.Format)
		if err != nil {
			return nil, err
		}
		b = quant.Encode(codes, scales, u.N, u.K, u.Format)
	}
	m.files[location] = bytes.Clone(b)
	return m.files[location], nil
}

// precisions are the ways of storing weights under test.
var precisions = []struct {
	name    string
	options rewrite.Options
}{
	{"bf16", inFormat(16, 0)},
	{"int8", inFormat(8, 0)},
	{"int8.g32", inFormat(8, 32)},
	{"int4", rewrite.Options{Matrix: quant.Format{Bits: 4, GroupSize: 32}, Head: quant.Format{Bits: 8}}},
	{"int4.g128", inFormat(4, 128)},
	{"int8.g64", inFormat(8, 64)},
	{"int8.g128", inFormat(8, 128)},
	{"int4.channel", inFormat(4, 0)},
	{"int4.g64", inFormat(4, 64)},
}

// inFormat stores all matrices alike.
func inFormat(bits, groupSize int) rewrite.Options {
	f := quant.Format{Bits: bits, GroupSize: groupSize}
	return rewrite.Options{Matrix: f, Head: f}
}

// variant is one graph to compile.
type variant struct {
	name   string
	id     addr.PartID
	params arch.Params
	window int // CACHE
}

// variants lists every kind of part at M = group and M = 1.
func variants(cfg *arch.Config, group int) []variant {
	windows := 512 / group
	p := arch.Params{ContextTokens: windows * group, GroupTokens: group, MaskTokens: group}
	logits := p
	logits.ReturnLogits = true
	last := cfg.NumHiddenLayers - 1
	var out []variant
	for _, phase := range addr.Phases {
		id := func(part addr.Part, layer int) addr.PartID {
			return addr.PartID{Phase: phase, Part: part, Index: layer}
		}
		out = append(out,
			variant{phase.String() + ".pre", id(addr.Pre, last), p, 0},
			variant{phase.String() + ".cache_first", id(addr.Cache, 0), p, group},
			variant{phase.String() + ".cache_last", id(addr.Cache, 0), p, windows * group},
			variant{phase.String() + ".post", id(addr.Post, 0), p, 0},
			variant{phase.String() + ".post_top", id(addr.Post, last), p, 0},
			variant{phase.String() + ".post_logits", id(addr.Post, last), logits, 0})
	}
	return out
}

func (m *model) graph(tb testing.TB, v variant, o rewrite.Options) *onnx.Model {
	tb.Helper()
	for _, g := range m.quantised(tb, v.id, v.params, o) {
		if g.Window == v.window {
			return g.Model
		}
	}
	tb.Fatalf("%s: no graph of window %d", v.name, v.window)
	return nil
}
