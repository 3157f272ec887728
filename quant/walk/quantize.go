package walk

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/calib"
)

// Quantizer quantises the layers of a model in turn, and the head after them.
// What it does to a layer depends on the streams at its border and on nothing
// that came before: given those, it can start at any layer.
type Quantizer struct {
	Model    *Model
	Settings calib.Settings
	// Formats lists the formats that a matrix is wanted in, the coarsest first:
	// the quantised stream goes through that one. None, or 16 bits in its
	// place, leave the stream the matrix as it is.
	Formats func(tensor string) []quant.Format
	// Gradient returns the mean of g·gᵀ for a matrix, [N, N], g the gradient of
	// its outputs as [Model.Gradients] finds it, nil where it is not known: every
	// output then counts alike. It may itself be nil.
	Gradient func(tensor string) ([]float32, error)
	// Progress is told how much of the work on a layer is done; it may be nil.
	Progress func(done, total int)

	Float, Quantised Stream // at the next layer's border
}

// Result is a matrix in one format.
type Result struct {
	Tensor string
	Format quant.Format
	N, K   int
	*calib.Result
}

// Layer quantises the matrices of a layer, in running order, and moves both
// streams past it. After an error the streams hold neither border.
func (q *Quantizer) Layer(ctx context.Context, index int) ([]Result, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	g, err := q.Model.layer(index)
	if err != nil {
		return nil, fmt.Errorf("layer %d: %w", index, err)
	}
	s := q.step(index, g)
	if err := s.groups(ctx, q.wanted(g.groups())); err != nil {
		return nil, err
	}
	if err := s.leave(ctx); err != nil {
		return nil, err
	}
	return s.results, nil
}

// wanted leaves out groups of which no matrix is wanted in any format.
func (q *Quantizer) wanted(list []group) []group {
	return slices.DeleteFunc(list, func(g group) bool {
		return !slices.ContainsFunc(g.gemms, func(n *onnx.Node) bool {
			return slices.ContainsFunc(q.Formats(n.Inputs[1]), func(f quant.Format) bool { return f.Bits != 16 })
		})
	})
}

// heldOut is how many of some texts, the last ones, only choose between
// candidates: an eighth, and one where there are two or more.
func heldOut(texts int) int {
	if texts < 2 {
		return 0
	}
	return max(texts/8, 1)
}

func (q *Quantizer) check() error {
	if n := len(q.Float); n != len(q.Quantised) || n == 0 {
		return fmt.Errorf("walk: %d texts in the float stream and %d in the quantised one: want as many, and some to fit to", n, len(q.Quantised))
	}
	return nil
}

func (q *Quantizer) step(index int, g *graph) *step {
	s := &step{q: q, g: g, index: index, done: map[string]eval.Value{}}
	for i := range q.Float {
		s.float = append(s.float, map[string]eval.Value{"hidden": g.hidden(q.Float[i])})
		s.quantised = append(s.quantised, map[string]eval.Value{"hidden": g.hidden(q.Quantised[i])})
	}
	return s
}

// step is the work on one layer.
type step struct {
	q                *Quantizer
	g                *graph
	index            int
	done             map[string]eval.Value // quantised so far, dequantised
	float, quantised []map[string]eval.Value
	results          []Result
	left             bool // the float stream is past the layer
	at, total        int
}

func (s *step) tick() {
	s.at++
	if s.q.Progress != nil {
		s.q.Progress(s.at, s.total)
	}
}

// groups quantises the matrices of the layer, those that share an input
// together.
func (s *step) groups(ctx context.Context, list []group) error {
	s.total = len(s.float) * (len(list) + 1)
	for _, g := range list {
		s.total += len(g.gemms)
	}
	for i, g := range list {
		if err := s.group(ctx, g, i == len(list)-1); err != nil {
			return err
		}
	}
	return nil
}

// leave moves the quantised stream past the layer, and the float one where
// that has not left with the last group.
func (s *step) leave(ctx context.Context) error {
	return each(ctx, len(s.float), func(i int) (out [2]eval.Value, err error) {
		v, err := s.g.run(s.done, s.quantised[i], leaves)
		if out[1] = v[leaves]; err != nil || s.left {
			return out, err
		}
		v, err = s.g.run(nil, s.float[i], leaves)
		out[0] = v[leaves]
		return out, err
	}, func(i int, v [2]eval.Value) error {
		s.tick()
		for j, to := range []Stream{s.q.Float, s.q.Quantised} {
			if v[j].F == nil {
				continue
			}
			copy(to[i], v[j].F)
			if err := s.q.Model.check(s.index, i, "hidden state", to[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// leaves is what a layer ends in.
const leaves = "hidden_out"

// keepWidth bounds what is kept of a text between passes, in hidden states;
// where it would be more, it is computed again.
const keepWidth = 2

// group quantises the matrices of a group. With the last one the float stream
// leaves the layer, as nothing else reads it.
func (s *step) group(ctx context.Context, g group, last bool) error {
	keep := s.kept(g)
	c := &collector{input: g.input}
	if len(g.gemms) == 1 {
		c.residual = s.g.residual(g.gemms[0])
	}
	want := append([]string{g.input}, keep...)
	if c.residual != "" {
		want = append(want, c.residual)
	}
	s.left = last && !isHead(g.gemms[0])
	fitted := len(s.float) - heldOut(len(s.float))
	err := each(ctx, len(s.float), func(i int) (out [2]map[string]eval.Value, err error) {
		first := want
		if s.left {
			first = append([]string{leaves}, want...)
		}
		if out[0], err = s.g.run(nil, s.float[i], first...); err == nil {
			out[1], err = s.g.run(s.done, s.quantised[i], want...)
		}
		return out, err
	}, func(i int, v [2]map[string]eval.Value) error {
		s.tick()
		for j := range v {
			if err := s.q.Model.check(s.index, i, g.input, v[j][g.input].F); err != nil {
				return err
			}
		}
		to := &c.fit
		if i >= fitted {
			to = &c.held
		}
		to.text(c, v[0], v[1])
		if keep != nil {
			s.float[i], s.quantised[i] = pick(v[0], keep), pick(v[1], keep)
		}
		if !s.left {
			return nil
		}
		copy(s.q.Float[i], v[0][leaves].F)
		s.float[i] = nil
		return s.q.Model.check(s.index, i, "hidden state", s.q.Float[i])
	})
	if err != nil {
		return err
	}
	return s.solve(g, &c.fit, &c.held)
}

// kept lists what to keep of texts for what follows a group; nil where that is
// what is there already.
func (s *step) kept(g group) []string {
	keep := s.g.border(g.first)
	width := 0
	for _, name := range keep {
		if name != "hidden" {
			width += int(s.g.types[name].Dims[len(s.g.types[name].Dims)-1])
		}
	}
	if width > keepWidth*s.q.Model.Arch.HiddenSize {
		return nil
	}
	return keep
}

// solve quantises the matrices of a group by sums over texts.
func (s *step) solve(g group, fitted, out *sums) error {
	fit, held := fitted.moments(), out.moments()
	list := make([]*matrix, len(g.gemms))
	for i, gemm := range g.gemms { // one at a time: it asks the caller
		var err error
		if list[i], err = s.matrix(gemm, fit, held); err != nil {
			return fmt.Errorf("layer %d: %w", s.index, err)
		}
	}
	results, errs := make([][]Result, len(list)), make([]error, len(list))
	var wg sync.WaitGroup
	for i, m := range list {
		wg.Go(func() { results[i], errs[i] = m.solve(s.q.Settings) })
	}
	wg.Wait()
	for i, list := range results {
		if errs[i] != nil {
			return fmt.Errorf("layer %d: %w", s.index, errs[i])
		}
		s.tick()
		if len(list) == 0 {
			continue
		}
		s.results = append(s.results, list...)
		if isHead(g.gemms[i]) { // nothing comes after it
			continue
		}
		r := list[0]
		v := s.g.fixed[r.Tensor]
		v.F = quant.Dequantize(r.Codes, r.Scales, r.N, r.K, r.Format)
		s.done[r.Tensor] = v
	}
	return nil
}

func pick(from map[string]eval.Value, names []string) map[string]eval.Value {
	out := map[string]eval.Value{}
	for _, name := range names {
		out[name] = from[name]
	}
	return out
}

// matrix is a matrix with the formats that it is wanted in.
type matrix struct {
	name    string
	formats []quant.Format
	problem calib.Problem
}

func (s *step) matrix(gemm *onnx.Node, fit, held *calib.Moments) (*matrix, error) {
	m := &matrix{name: gemm.Inputs[1]}
	for _, f := range s.q.Formats(m.name) {
		if f.Bits != 16 {
			m.formats = append(m.formats, f)
		}
	}
	if len(m.formats) == 0 {
		return m, nil
	}
	w := s.g.fixed[m.name]
	m.problem = calib.Problem{N: int(w.Dims[0]), W: w.F, Fit: *fit, Held: held}
	if s.q.Gradient == nil {
		return m, nil
	}
	m.problem.GradTokens = gradientTexts(len(s.float)) * s.q.Model.Tokens
	var err error
	m.problem.Grad, err = s.q.Gradient(m.name)
	return m, err
}

func (m *matrix) solve(settings calib.Settings) ([]Result, error) {
	if len(m.formats) == 0 {
		return nil, nil
	}
	solved, err := calib.Solve(&m.problem, m.formats, settings)
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", m.name, err)
	}
	var out []Result
	for i, r := range solved {
		out = append(out, Result{m.name, m.formats[i], m.problem.N, m.problem.Fit.K, r})
	}
	return out, nil
}

// Head quantises the matrix of the output head, once the streams have left the
// last layer; nothing where no format is wanted for it.
func (q *Quantizer) Head(ctx context.Context) ([]Result, error) {
	last := q.Model.Arch.NumHiddenLayers - 1
	if !slices.ContainsFunc(q.Formats(q.Model.Arch.HeadName()), func(f quant.Format) bool { return f.Bits != 16 }) {
		return nil, nil
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	g, err := q.Model.layer(last)
	if err != nil {
		return nil, fmt.Errorf("head: %w", err)
	}
	s := q.step(last, g)
	for i := range s.float { // the streams have left
		for _, v := range []map[string]eval.Value{s.float[i], s.quantised[i]} {
			v["hidden_out"] = v["hidden"]
		}
	}
	at := slices.IndexFunc(g.model.Graph.Nodes, func(n onnx.Node) bool { return isHead(&n) })
	if at < 0 {
		return nil, fmt.Errorf("llima: internal error: the last layer has no head")
	}
	gemm := &g.model.Graph.Nodes[at]
	if err := g.bindHead(); err != nil {
		return nil, err
	}
	if err := s.groups(ctx, []group{{gemm.Inputs[0], []*onnx.Node{gemm}, at}}); err != nil {
		return nil, err
	}
	return s.results, nil
}

// bindHead reads the matrix of the head.
func (g *graph) bindHead() error {
	name := g.m.Arch.HeadName()
	w, err := g.m.floats(name)
	if err != nil {
		return err
	}
	g.fixed[name] = floats(w, g.m.Arch.VocabSize, g.m.Arch.HiddenSize)
	return nil
}

// Logits computes what follows the last layer, and gives [tokens, vocabSize]
// of each text to f, in order. Another head may take the place of the model's.
func (m *Model) Logits(ctx context.Context, s Stream, w Weights, f func(text int, logits []float32) error) error {
	g, err := m.layer(m.Arch.NumHiddenLayers - 1)
	if err != nil {
		return err
	}
	if err := g.bindHead(); err != nil {
		return err
	}
	values := g.values(w)
	return each(ctx, len(s), func(i int) (map[string]eval.Value, error) {
		return g.run(values, map[string]eval.Value{"hidden_out": g.hidden(s[i])}, "logits")
	}, func(i int, v map[string]eval.Value) error { return f(i, v["logits"].F) })
}
