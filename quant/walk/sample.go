package walk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/ordered"
)

// Sampling says what text a model writes.
type Sampling struct {
	Texts int   // how many, of the model's Tokens each
	Begin []int // tokens that begin a text
	// End is drawn where a text ends: a new one begins in its place, so that
	// every row is full.
	End  []int
	Seed uint64
	// Progress is told how many of all tokens are drawn; it may be nil.
	Progress func(done, total int)
}

// Bounds on memory, in bytes.
const (
	maxCacheBytes  = 768 << 20 // keys and values of the texts in work
	maxWeightBytes = 2 << 30   // matrices in float32; others are read at each step
)

// cacheStep is by how many tokens the caches of keys and values grow.
const cacheStep = 64

// Sample draws texts from the model itself, each token from the probabilities
// that those before it in its row give, at temperature 1: by PCG of the seed
// and the text's index. The rows of some texts go through a layer together, so
// that a matrix is read once for all; attention and convolutions go text by
// text over what their layer has kept. No result depends on how texts are
// divided, and the probabilities are to the bit those of [Model.Logits].
func (m *Model) Sample(ctx context.Context, o Sampling) ([][]int, error) {
	if o.Texts < 1 || len(o.Begin) == 0 || len(o.Begin) >= m.Tokens {
		return nil, fmt.Errorf("walk: %d texts of %d tokens that begin with %d: want at least one, and room behind its beginning", o.Texts, m.Tokens, len(o.Begin))
	}
	s, err := newSampler(m, o)
	if err != nil {
		return nil, err
	}
	rows := s.rows.Tokens
	batches := (o.Texts + rows - 1) / rows
	texts, errs := make([][]int, batches*rows), make([]error, batches)
	workers := make(chan struct{}, runtime.GOMAXPROCS(0))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for i := range batches {
		workers <- struct{}{}
		wg.Go(func() {
			defer func() { <-workers }()
			if errs[i] = s.batch(ctx, i*rows, texts[i*rows:(i+1)*rows]); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	for _, err := range errs { // the first that is no consequence of another
		if err != nil && !errors.Is(err, context.Canceled) {
			return nil, err
		}
	}
	return texts[:o.Texts], errors.Join(errs...)
}

// sampler is what all batches share.
type sampler struct {
	o      Sampling
	whole  *Model // of texts
	rows   *Model // of one token of each text in a batch
	layers []*graph
	ropes  []arch.Table
	caches []*fixedGraph // of windows of cacheStep more each, up to a whole text
	convs  []*fixedGraph // of layers, nil where they have attention

	mu   sync.Mutex
	done int
}

func newSampler(m *Model, o Sampling) (*sampler, error) {
	s := &sampler{o: o, whole: m, rows: &Model{Arch: m.Arch, Tensor: m.Tensor, Tokens: batchRows(m, o.Texts)}, convs: make([]*fixedGraph, m.Arch.NumHiddenLayers)}
	var err error
	if s.ropes, err = m.Arch.RopeTables(m.Tokens); err != nil {
		return nil, err
	}
	left := maxWeightBytes
	for l := range m.Arch.NumHiddenLayers {
		g, err := s.rows.layer(l)
		if err == nil && l == m.Arch.NumHiddenLayers-1 {
			err = g.bindHead()
		}
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", l, err)
		}
		left = g.turn(left)
		s.layers = append(s.layers, g)
		if !m.Arch.Layers[l].Conv {
			continue
		}
		if s.convs[l], err = m.fixed(addr.PartID{Phase: addr.Prefill, Part: addr.Conv, Index: l}, 1, []string{"state", "gated"}, "conv.out"); err != nil {
			return nil, err
		}
	}
	l := slices.IndexFunc(m.Arch.Layers, func(l arch.Layer) bool { return !l.Conv })
	for w := 0; l >= 0 && w < m.Tokens; {
		w = min(w+cacheStep, m.Tokens)
		c, err := m.fixed(addr.PartID{Phase: addr.Decode, Part: addr.Cache, Index: l}, w, []string{"q", "K.heads", "V.heads", "spans"}, "attention")
		if err != nil {
			return nil, err
		}
		s.caches = append(s.caches, c)
	}
	return s, nil
}

// batchRows returns how many texts go together: what memory allows, divided
// among the processors.
func batchRows(m *Model, texts int) int {
	a := m.Arch
	each := a.NumHiddenLayers * 2 * a.NumKeyValueHeads * a.HeadDim * m.Tokens * 4
	n := runtime.GOMAXPROCS(0)
	rows := max(1, min((texts+n-1)/n, maxCacheBytes/each/n))
	for rows > 1 && a.CheckContext(rows) != nil {
		rows /= 2
	}
	return rows
}

// turn turns the matrices around, as products with several rows read them,
// and forgets those for which no bytes are left.
func (g *graph) turn(left int) int {
	for i := range g.model.Graph.Nodes {
		n := &g.model.Graph.Nodes[i]
		if n.Op != "Gemm" {
			continue
		}
		w, ok := g.fixed[n.Inputs[1]]
		if !ok || len(w.Dims) != 2 {
			continue
		}
		if left -= 4 * len(w.F); left < 0 {
			delete(g.fixed, n.Inputs[1])
			continue
		}
		rows, cols := int(w.Dims[0]), int(w.Dims[1])
		g.fixed[n.Inputs[1]] = floats(ordered.Transpose(ordered.Dense(w.F, rows, cols)).Data, cols, rows)
		n.Attrs = slices.DeleteFunc(slices.Clone(n.Attrs), func(a onnx.Attr) bool { return a.Name == "transB" })
	}
	return left
}

// fixedGraph is a graph that is pruned once.
type fixedGraph struct {
	model *onnx.Model
	fixed map[string]eval.Value
	want  string
}

// fixed builds the graph of a part for some tokens, from values that are given
// to one that is wanted.
func (m *Model) fixed(id addr.PartID, tokens int, given []string, want string) (*fixedGraph, error) {
	one := &Model{Arch: m.Arch, Tensor: m.Tensor, Tokens: tokens}
	p, err := one.part(id)
	if err != nil {
		return nil, err
	}
	g := &graph{m: one, model: &onnx.Model{}, types: map[string]onnx.ValueInfo{}, fixed: map[string]eval.Value{}}
	if err := g.join(p); err != nil {
		return nil, err
	}
	if err := g.constants(); err != nil {
		return nil, err
	}
	in := map[string]eval.Value{}
	model, err := g.prune(func(name string) (eval.Value, bool) {
		if slices.Contains(given, name) {
			t := g.types[name]
			return eval.Value{DType: t.DType, Dims: t.Dims}, true
		}
		v, ok := g.fixed[name]
		return v, ok
	}, in, []string{want})
	for _, name := range given {
		delete(in, name)
	}
	return &fixedGraph{model, in, want}, err
}

func (g *fixedGraph) run(given map[string]eval.Value) ([]float32, error) {
	maps.Copy(given, g.fixed)
	v, err := eval.Run(g.model, nil, given)
	return v[g.want].F, err
}

// batch is some texts that are drawn in lockstep.
type batch struct {
	s     *sampler
	first int // text
	texts [][]int
	drawn []*rand.Rand
	begun []int      // tokens of Begin that are written
	kept  [][]memory // of layers and texts
}

// memory is what a layer keeps of a text: keys [kvHeads, headDim, window] and
// values [kvHeads, window, headDim], or the state of a convolution.
type memory struct {
	window       int
	keys, values []float32
	state        []float32
}

func (s *sampler) batch(ctx context.Context, first int, texts [][]int) error {
	b := &batch{s: s, first: first, texts: texts, begun: make([]int, len(texts)), kept: make([][]memory, len(s.layers))}
	for i := range texts {
		b.drawn = append(b.drawn, rand.New(rand.NewPCG(s.o.Seed, uint64(first+i)))) //nolint:gosec // not negative; seeded so that texts repeat
		b.put(i, -1)
	}
	for l := range b.kept {
		b.kept[l] = make([]memory, len(texts))
	}
	for t := range s.whole.Tokens - 1 {
		logits, err := b.step(ctx, t)
		if err != nil {
			return err
		}
		if err := b.draw(t, logits); err != nil {
			return err
		}
		s.tick(len(texts))
	}
	return nil
}

func (s *sampler) tick(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done += n
	if s.o.Progress != nil {
		total := s.o.Texts * (s.whole.Tokens - 1)
		s.o.Progress(min(s.done, total), total)
	}
}

// put writes a drawn token, or what is next of the beginning of a text, where
// one begins or has ended.
func (b *batch) put(text, id int) {
	o := &b.s.o
	n := b.begun[text]
	if n == len(o.Begin) && slices.Contains(o.End, id) {
		n = 0
	}
	if n < len(o.Begin) {
		id = o.Begin[n]
		n++
	}
	b.begun[text] = n
	b.texts[text] = append(b.texts[text], id)
}

// draw draws the next token of every text.
func (b *batch) draw(t int, logits []float32) error {
	vocab := b.s.whole.Arch.VocabSize
	for i := range b.texts {
		row := logits[i*vocab : (i+1)*vocab]
		for j, v := range row {
			if !finite(v) {
				return fmt.Errorf("text %d, token %d: logit %d is %v", b.first+i, t, j, v)
			}
		}
		softmax(row, row)
		b.put(i, draw(row, b.drawn[i].Float64()))
	}
	return nil
}

// step takes token t of every text through the model: logits [texts, vocabSize].
func (b *batch) step(ctx context.Context, t int) ([]float32, error) {
	ids := make([]int, len(b.texts))
	for i, text := range b.texts {
		ids[i] = text[t]
	}
	stream := b.s.rows.NewStream(1)
	if err := b.s.rows.Embed(stream, [][]int{ids}); err != nil {
		return nil, err
	}
	hidden := stream[0]
	for l, g := range b.s.layers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		run := b.attend
		if b.s.convs[l] != nil {
			run = b.convolve
		}
		var err error
		if hidden, err = run(g, l, t, hidden); err != nil {
			return nil, fmt.Errorf("layer %d: token %d: %w", l, t, err)
		}
	}
	v, err := b.s.layers[len(b.s.layers)-1].run(nil, map[string]eval.Value{"hidden_out": b.hidden(hidden)}, "logits")
	return v["logits"].F, err
}

func (b *batch) hidden(f []float32) eval.Value {
	return floats(f, len(b.texts), b.s.whole.Arch.HiddenSize)
}

// attend runs a layer with attention.
func (b *batch) attend(g *graph, l, t int, hidden []float32) ([]float32, error) {
	a := b.s.whole.Arch
	rope := b.s.ropes[a.Layers[l].Rope]
	turn := func(table []float32) eval.Value {
		return floats(slices.Repeat(table[t*rope.Half:(t+1)*rope.Half], len(b.texts)), 1, len(b.texts), rope.Half)
	}
	given := map[string]eval.Value{"hidden": b.hidden(hidden), "cos.batch": turn(rope.Cos), "sin.batch": turn(rope.Sin)}
	v, err := g.run(nil, given, "q", "k", "v")
	if err != nil {
		return nil, err
	}
	from := 0
	if w := a.Layers[l].Window; w > 0 {
		from = max(0, t+1-w)
	}
	spans := eval.Value{DType: onnx.Int32, Dims: []int64{1, 2}, I: []int64{int64(from), int64(t + 1)}}
	heads, kv, d := a.NumAttentionHeads, a.NumKeyValueHeads, a.HeadDim
	var attention []float32
	for i := range b.texts {
		m := &b.kept[l][i]
		m.append(t, b.s.whole.Tokens, kv, d, v["k"].F[i*kv*d:(i+1)*kv*d], v["v"].F[i*kv*d:(i+1)*kv*d])
		one, err := b.s.caches[(m.window-1)/cacheStep].run(map[string]eval.Value{
			"q": floats(v["q"].F[i*heads*d:(i+1)*heads*d], 1, heads, d), "spans": spans,
			"K.heads": floats(m.keys, kv, d, m.window), "V.heads": floats(m.values, kv, m.window, d),
		})
		if err != nil {
			return nil, err
		}
		attention = append(attention, one...)
	}
	given["attention"] = floats(attention, len(b.texts), heads*d)
	out, err := g.run(nil, given, "hidden_out")
	return out["hidden_out"].F, err
}

// append keeps the key and the value [kv, d] of token t of a text of tokens.
func (m *memory) append(t, tokens, kv, d int, key, value []float32) {
	if t == m.window {
		m.grow(min(m.window+cacheStep, tokens), kv, d)
	}
	for h := range kv {
		for i := range d {
			m.keys[(h*d+i)*m.window+t] = key[h*d+i]
		}
		copy(m.values[(h*m.window+t)*d:], value[h*d:(h+1)*d])
	}
}

func (m *memory) grow(window, kv, d int) {
	old := m.window
	keys, values := make([]float32, kv*d*window), make([]float32, kv*d*window)
	for i := range kv * d {
		copy(keys[i*window:], m.keys[i*old:(i+1)*old])
	}
	for h := range kv {
		copy(values[h*window*d:], m.values[h*old*d:(h+1)*old*d])
	}
	m.window, m.keys, m.values = window, keys, values
}

// convolve runs a layer with a short convolution.
func (b *batch) convolve(g *graph, l, _ int, hidden []float32) ([]float32, error) {
	h, before := b.s.whole.Arch.HiddenSize, b.s.whole.Arch.ConvTaps-1
	given := map[string]eval.Value{"hidden": b.hidden(hidden)}
	v, err := g.run(nil, given, "gated", "conv.c")
	if err != nil {
		return nil, err
	}
	var rows []float32
	for i := range b.texts {
		m := &b.kept[l][i]
		if m.state == nil {
			m.state = make([]float32, before*h)
		}
		gated := v["gated"].F[i*h : (i+1)*h]
		one, err := b.s.convs[l].run(map[string]eval.Value{"state": floats(m.state, before, h), "gated": floats(gated, 1, h)})
		if err != nil {
			return nil, err
		}
		rows = append(rows, one...)
		m.state = append(m.state[h:], gated...)
	}
	given["conv.c"], given["conv.out"] = v["conv.c"], b.hidden(rows)
	out, err := g.run(nil, given, "hidden_out")
	return out["hidden_out"].F, err
}
