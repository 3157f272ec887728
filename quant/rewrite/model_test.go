package rewrite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/rewrite"
)

const bardDir = "../../testdata/models/bard-3m"

// model is a checkpoint with the files that its graphs refer to.
type model struct {
	cfg     *arch.Config
	tensors map[string]stored
	files   map[string][]byte
	// change edits every float graph, for experiments.
	change func(m *onnx.Model)
}

// stored is a tensor within a file.
type stored struct {
	dtype tensor.DType
	shape []int
	at    onnx.External
}

func openBard(tb testing.TB) *model {
	tb.Helper()
	return openModel(tb, bardDir)
}

func openModel(tb testing.TB, dir string) *model {
	tb.Helper()
	ckpt, err := checkpoint.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = ckpt.Close() }()
	cfg, err := arch.Parse(ckpt.Config())
	if err != nil {
		tb.Fatal(err)
	}
	m := &model{cfg: cfg, tensors: map[string]stored{}, files: map[string][]byte{}}
	for _, t := range ckpt.Tensors() {
		m.tensors[t.Name] = stored{t.DType, t.Shape, onnx.External{Location: t.File, Offset: t.Offset, Length: t.Length}}
	}
	for _, name := range ckpt.Files() {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			tb.Fatal(err)
		}
		m.files[name] = b
	}
	return m
}

func (m *model) lookup(name string) (tensor.DType, []int, onnx.External, error) {
	t, ok := m.tensors[name]
	if !ok {
		return 0, nil, onnx.External{}, fmt.Errorf("tensor %q is missing", name)
	}
	return t.dtype, t.shape, t.at, nil
}

// bytes returns a tensor's data.
func (m *model) bytes(name string) []byte {
	x := m.tensors[name].at
	return m.files[x.Location][x.Offset : x.Offset+x.Length]
}

func (m *model) data(location string) ([]byte, error) {
	b, ok := m.files[location]
	if !ok {
		return nil, fmt.Errorf("%s: no such file", location)
	}
	return b, nil
}

// build returns a part's graphs: float where o is nil, else quantised, with
// the weight files made.
func (m *model) build(tb testing.TB, id addr.PartID, p arch.Params, o *rewrite.Options) []arch.Graph {
	tb.Helper()
	graphs, err := m.cfg.Build(id, p, m.lookup)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range graphs {
		if m.change != nil {
			m.change(graphs[i].Model)
		}
		if o == nil {
			continue
		}
		q, uses, err := rewrite.Rewrite(graphs[i].Model, *o, m.data)
		if err != nil {
			tb.Fatal(err)
		}
		graphs[i].Model = q
		for _, u := range uses {
			m.quantise(tb, u)
		}
	}
	return graphs
}

func (m *model) quantise(tb testing.TB, u rewrite.WeightUse) {
	tb.Helper()
	if _, done := m.files[u.Location]; done {
		return
	}
	dt, b := m.tensors[u.Tensor].dtype, m.bytes(u.Tensor)
	if u.Format.Bits == 16 {
		var err error
		if b, _, err = quant.BF16(b, dt, u.N, u.K); err != nil {
			tb.Fatal(err)
		}
	} else {
		codes, scales, err := quant.Quantize(b, dt, u.N, u.K, u.Format)
		if err != nil {
			tb.Fatal(err)
		}
		b = quant.Encode(codes, scales, u.N, u.K, u.Format)
	}
	if int64(len(b)) != u.SizeBytes {
		tb.Fatalf("%s has %d bytes, WeightUse says %d", u.Location, len(b), u.SizeBytes)
	}
	m.files[u.Location] = b
}

// golden is a prompt with what transformers computes for it, in float32.
type golden struct {
	ids    []int
	hidden [][]float32 // by layer, [T, H]; nil where the file has none
	logits []float32   // [rows, V], of the last rows tokens
	rows   int
}

func readGolden(tb testing.TB, name string, layers int) golden {
	tb.Helper()
	return goldenOf(tb, bardDir, name, layers)
}

func goldenOf(tb testing.TB, dir, name string, layers int) golden {
	tb.Helper()
	f, err := safetensors.Open(filepath.Join(dir, "golden", name+".safetensors"))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	g := golden{hidden: make([][]float32, layers+1)}
	for _, e := range f.Tensors() {
		b := f.Bytes(e)
		var layer int
		switch e.Name {
		case "input_ids":
			for i := 0; i < len(b); i += 8 {
				g.ids = append(g.ids, int(b[i])|int(b[i+1])<<8)
			}
		case "logits", "logits_last64":
			g.rows, g.logits = e.Shape[0], floats(tb, b, e.DType)
		default:
			if n, _ := fmt.Sscanf(e.Name, "hidden.%d", &layer); n == 1 {
				g.hidden[layer] = floats(tb, b, e.DType)
			}
		}
	}
	return g
}

func floats(tb testing.TB, b []byte, dt tensor.DType) []float32 {
	tb.Helper()
	out := make([]float32, len(b)/dt.Bytes())
	if err := tensor.ToF32(out, b, dt); err != nil {
		tb.Fatal(err)
	}
	return out
}

// embed returns the embeddings of ids, scaled.
func (m *model) embed(tb testing.TB, ids []int) []float32 {
	tb.Helper()
	name := m.cfg.EmbeddingName()
	dt, b := m.tensors[name].dtype, m.bytes(name)
	row := m.cfg.HiddenSize * dt.Bytes()
	var out []float32
	for _, id := range ids {
		out = append(out, floats(tb, b[id*row:(id+1)*row], dt)...)
	}
	for i := range out {
		out[i] *= m.cfg.EmbeddingScale
	}
	return out
}

// runner runs a model part by part, as the run time does.
type runner struct {
	m      *model
	p      arch.Params
	o      *rewrite.Options
	graphs map[string]*onnx.Model
	k, v   [][]float32 // by layer, [context, kvHeads·D]
	state  [][]float32 // by layer, [taps-1, H]
	ropes  []arch.Table
	long   bool // the sequence exceeds what the short rope holds for
	// record, where set, sees the inputs and outputs of every part.
	record func(name string, m *onnx.Model, in, out map[string]eval.Value)
}

func newRunner(tb testing.TB, m *model, p arch.Params, o *rewrite.Options) *runner {
	tb.Helper()
	r := &runner{m: m, p: p, o: o, graphs: map[string]*onnx.Model{}}
	for range m.cfg.NumHiddenLayers {
		size := p.ContextTokens * m.cfg.NumKeyValueHeads * m.cfg.HeadDim
		r.k, r.v = append(r.k, make([]float32, size)), append(r.v, make([]float32, size))
		r.state = append(r.state, make([]float32, max(0, m.cfg.ConvTaps-1)*m.cfg.HiddenSize))
	}
	var err error
	if r.ropes, err = m.cfg.RopeTables(p.ContextTokens); err != nil {
		tb.Fatal(err)
	}
	return r
}

// part runs one part; window is that of CACHE.
func (r *runner) part(tb testing.TB, id addr.PartID, window int, in map[string]eval.Value) map[string]eval.Value {
	tb.Helper()
	name := id.FileName()
	if id.Part == addr.Cache {
		name = arch.CacheName(id.Phase, window, r.p)
	}
	if r.graphs[name] == nil {
		for _, g := range r.m.build(tb, id, r.p, r.o) {
			r.graphs[g.Name] = g.Model
		}
	}
	g := r.graphs[name]
	for _, i := range g.Graph.Inputs { // BF16 or FLOAT, as the graph has it
		v := in[i.Name]
		v.DType, v.Dims = i.DType, i.Dims
		in[i.Name] = v
	}
	out, err := eval.Run(g, r.m.data, in)
	if err != nil {
		tb.Fatal(err)
	}
	if r.record != nil {
		r.record(name, g, in, out)
	}
	return out
}

// forward runs tokens at positions from start on, at most a group of them in
// prefill and one in decode, and returns their hidden states by layer and the
// outputs of the last part.
func (r *runner) forward(tb testing.TB, phase addr.Phase, start int, embedded []float32) (hidden [][]float32, last map[string]eval.Value) {
	tb.Helper()
	c := r.m.cfg
	rows := r.p.Rows(phase)
	tokens := len(embedded) / c.HiddenSize
	h := make([]float32, rows*c.HiddenSize)
	copy(h, embedded)
	for l := range c.Layers {
		hidden = append(hidden, h[:tokens*c.HiddenSize])
		in := map[string]eval.Value{"hidden": {F: h}}
		if l == c.NumHiddenLayers-1 && phase == addr.Prefill && !r.p.ReturnLogits {
			in["last_row"] = eval.Value{I: []int64{int64(tokens - 1)}}
		}
		id := addr.PartID{Phase: phase, Part: addr.Post, Index: l}
		if c.Layers[l].Conv {
			id.Part = addr.Conv
			in["state"] = eval.Value{F: slices.Clone(r.state[l])}
		} else {
			in["attention"] = r.attention(tb, phase, l, start, tokens, h)
		}
		last = r.part(tb, id, 0, in)
		if c.Layers[l].Conv {
			all := slices.Concat(r.state[l], last["gated"].F[:tokens*c.HiddenSize])
			copy(r.state[l], all[len(all)-len(r.state[l]):])
		}
		h = last["hidden_out"].F
	}
	return hidden, last
}

// attention runs PRE and CACHE of a layer.
func (r *runner) attention(tb testing.TB, phase addr.Phase, l, start, tokens int, h []float32) eval.Value {
	tb.Helper()
	c, rows, step := r.m.cfg, r.p.Rows(phase), r.p.GroupTokens
	if phase == addr.Decode {
		step = r.p.MaskTokens
	}
	window := (start + rows + step - 1) / step * step
	rope := r.ropes[c.Layers[l].Rope]
	if r.long {
		rope = r.ropes[len(r.ropes)-1]
	}
	table := func(t []float32) eval.Value { return eval.Value{F: t[start*rope.Half : (start+rows)*rope.Half]} }
	spans := make([]int64, 0, 2*rows)
	for i := range rows {
		lo := 0
		if w := c.Layers[l].Window; w > 0 {
			lo = max(0, start+i+1-w)
		}
		if i >= tokens { // a pad row sees itself
			lo = start + i
		}
		spans = append(spans, int64(lo), int64(start+i+1))
	}
	kv := c.NumKeyValueHeads * c.HeadDim
	id := func(p addr.Part) addr.PartID { return addr.PartID{Phase: phase, Part: p, Index: l} }
	pre := r.part(tb, id(addr.Pre), 0, map[string]eval.Value{"hidden": {F: h}, "cos": table(rope.Cos), "sin": table(rope.Sin)})
	copy(r.k[l][start*kv:], pre["k"].F)
	copy(r.v[l][start*kv:], pre["v"].F)
	return r.part(tb, id(addr.Cache), window, map[string]eval.Value{
		"q": pre["q"], "K": {F: r.k[l][:window*kv]}, "V": {F: r.v[l][:window*kv]}, "spans": {I: spans},
	})["attention"]
}

// logits runs a whole prompt and returns hidden states by layer and logits of
// every token.
func (r *runner) logits(tb testing.TB, ids []int) (hidden [][]float32, logits []float32) {
	tb.Helper()
	r.long = r.m.cfg.LongFrom() > 0 && len(ids) > r.m.cfg.LongFrom()
	e := r.m.embed(tb, ids)
	hidden = make([][]float32, r.m.cfg.NumHiddenLayers)
	for at := 0; at < len(ids); at += r.p.GroupTokens {
		n := min(r.p.GroupTokens, len(ids)-at)
		h, last := r.forward(tb, addr.Prefill, at, e[at*r.m.cfg.HiddenSize:(at+n)*r.m.cfg.HiddenSize])
		for l := range hidden {
			hidden[l] = append(hidden[l], h[l]...)
		}
		logits = append(logits, last["logits"].F[:n*r.m.cfg.VocabSize]...)
	}
	return hidden, logits
}
