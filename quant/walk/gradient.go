package walk

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/ordered"
)

// Gradient returns the mean of g·gᵀ, [hiddenSize, hiddenSize]: g is what the
// log probability of a token drawn from the model's own distribution changes
// by with the residual stream at the end (the Fisher information). It stands
// for the stream at every layer. The draw depends on nothing but the texts.
func (m *Model) Gradient(texts [][]int) ([]float32, error) {
	s, err := m.Embed(texts)
	if err != nil {
		return nil, err
	}
	for l := range m.Arch.NumHiddenLayers {
		if s, err = m.Advance(l, s, nil); err != nil {
			return nil, err
		}
	}
	e, err := m.end()
	if err != nil {
		return nil, err
	}
	h := m.Arch.HiddenSize
	sum := make([]float32, h*h)
	r := rand.New(rand.NewPCG(0x9e3779b9, uint64(m.Tokens)))
	for i, hidden := range s {
		g, err := e.backward(hidden, r)
		if err != nil {
			return nil, fmt.Errorf("text %d: %w", i, err)
		}
		add(sum, g, g, m.Tokens, h, h)
	}
	return scale(sum, m.Tokens*len(texts)), nil
}

// end is what follows the last layer.
type end struct {
	m      *Model
	post   *part
	head   []float32 // [vocabSize, hiddenSize]
	gamma  []float32 // of the final norm
	normed string    // the value that the head reads
}

func (m *Model) end() (*end, error) {
	l, err := m.layer(m.Arch.NumHiddenLayers - 1)
	if err != nil {
		return nil, err
	}
	p := l.post
	e := &end{m: m, post: p}
	for i := range p.model.Graph.Nodes {
		n := &p.model.Graph.Nodes[i]
		if n.Op != "Gemm" || !isHead(n) {
			continue
		}
		name, err := matrixOf(p.model, n)
		if err != nil {
			return nil, err
		}
		e.normed = n.Inputs[0]
		if e.head, err = m.floats(name); err != nil {
			return nil, err
		}
	}
	// The norm of ones is what it multiplies with, but for epsilon.
	ones := make([]float32, m.Tokens*m.Arch.HiddenSize)
	for i := range ones {
		ones[i] = 1
	}
	v, err := e.run(ones, e.normed)
	if err != nil {
		return nil, err
	}
	e.gamma = v[e.normed].F[:m.Arch.HiddenSize]
	return e, nil
}

func (e *end) run(hidden []float32, want ...string) (map[string]eval.Value, error) {
	return e.post.run(nil, map[string]eval.Value{"hidden_out": floats(hidden, e.m.Tokens, e.m.Arch.HiddenSize)}, want...)
}

// backward returns the gradients at the end of a text, [tokens, hiddenSize].
func (e *end) backward(hidden []float32, r *rand.Rand) ([]float32, error) {
	v, err := e.run(hidden, "logits")
	if err != nil {
		return nil, err
	}
	logits := v["logits"].F
	tokens, width, vocab := e.m.Tokens, e.m.Arch.HiddenSize, e.m.Arch.VocabSize
	for t := range tokens {
		p := logits[t*vocab : (t+1)*vocab]
		slopes := e.slopes(p)
		softmax(p)
		p[draw(p, r.Float64())]--
		for i, d := range slopes {
			p[i] *= d
		}
	}
	g := make([]float32, tokens*width)
	ordered.Multiply(ordered.Dense(g, tokens, width), ordered.Dense(logits, tokens, vocab), ordered.Dense(e.head, vocab, width))
	for t := range tokens {
		e.norm(g[t*width:(t+1)*width], hidden[t*width:(t+1)*width])
	}
	return g, nil
}

// slopes are the derivatives of capped logits, nil where they are not capped.
func (e *end) slopes(logits []float32) []float32 {
	limit := e.m.Arch.LogitCap
	if limit == 0 {
		return nil
	}
	out := make([]float32, len(logits))
	for i, v := range logits {
		t := v / limit
		out[i] = 1 - float32(t*t)
	}
	return out
}

// norm takes a gradient back through the final norm of x.
func (e *end) norm(g, x []float32) {
	var squares, dot float64
	for i, v := range x {
		g[i] *= e.gamma[i]
		squares += float64(float64(v) * float64(v))
		dot += float64(float64(g[i]) * float64(v))
	}
	n := float64(len(x))
	r := 1 / math.Sqrt(squares/n+1e-12)
	along := dot / n * r * r
	for i, v := range x {
		g[i] = float32(r * (float64(g[i]) - float64(along*float64(v))))
	}
}

// softmax turns logits into probabilities, in an order and with an exponential
// of our own.
func softmax(x []float32) {
	top := x[0]
	for _, v := range x {
		top = max(top, v)
	}
	sum := 0.0
	for i, v := range x {
		x[i] = eval.Exp(v - top)
		sum += float64(x[i])
	}
	for i := range x {
		x[i] = float32(float64(x[i]) / sum)
	}
}

// draw returns the token at which the probabilities below u end.
func draw(p []float32, u float64) int {
	for i, v := range p {
		if u -= float64(v); u < 0 {
			return i
		}
	}
	return len(p) - 1
}

// isHead reports whether a product gives logits, before they are capped.
func isHead(n *onnx.Node) bool { return n.Name == "logits" || n.Name == "logits.raw" }

// gradient returns the moments of the gradients of a product's outputs, nil
// where they are not known: every output then counts alike. What is added to
// the residual stream has the stream's; through the product after an
// elementwise function come those of the products before it.
func (s *step) gradient(p *part, gemm *onnx.Node, float []map[string]eval.Value) ([]float32, error) {
	if residualOf(p.model, gemm) != "" {
		return s.q.Gradient, nil
	}
	if gemm.Name == "v_proj" {
		return s.throughAttention()
	}
	list := groups(p.model)
	for i := range list[:len(list)-1] {
		next := list[i+1].gemms[0]
		if list[i].has(gemm) && len(list[i+1].gemms) == 1 && residualOf(p.model, next) != "" {
			return s.throughProduct(p, gemm, next, float)
		}
	}
	return nil, nil
}

func (g group) has(n *onnx.Node) bool { return slices.Contains(g.gemms, n) }

// pull returns wᵀ·g·w, [k, k], for w [n, k].
func pull(g, w []float32, n, k int) []float32 {
	t, out := make([]float32, n*k), make([]float32, k*k)
	ordered.Multiply(ordered.Dense(t, n, k), ordered.Dense(g, n, n), ordered.Dense(w, n, k))
	add(out, w, t, n, k, k)
	return out
}

// throughProduct takes the stream's moments back through the product next,
// and through the function that makes its input of gemm's output.
func (s *step) throughProduct(p *part, gemm, next *onnx.Node, float []map[string]eval.Value) ([]float32, error) {
	name, err := matrixOf(p.model, next)
	if err != nil {
		return nil, err
	}
	w, err := s.q.Model.floats(name)
	if err != nil {
		return nil, err
	}
	h := s.q.Model.Arch.HiddenSize
	k := len(w) / h
	tokens := s.q.Model.Tokens
	slopes := make([]float32, k*k)
	for _, in := range float {
		d, err := slope(p, gemm, next, in)
		if err != nil {
			return nil, err
		}
		if len(d) != tokens*k {
			return nil, nil // several outputs make one input, as in a fused matrix
		}
		add(slopes, d, d, tokens, k, k)
	}
	out := pull(s.q.Gradient, w, h, k)
	for i, v := range scale(slopes, tokens*len(float)) {
		out[i] *= v
	}
	return out, nil
}

// slope is the derivative of next's input by gemm's output, element by element.
func slope(p *part, gemm, next *onnx.Node, in map[string]eval.Value) ([]float32, error) {
	var outs []string
	for _, g := range groups(p.model) {
		if g.has(gemm) {
			for _, n := range g.gemms {
				outs = append(outs, n.Outputs[0])
			}
		}
	}
	at, err := p.run(nil, in, outs...)
	if err != nil {
		return nil, err
	}
	const h = 1.0 / 64
	var side [2][]float32
	for i, sign := range []float32{1, -1} {
		moved := map[string]eval.Value{}
		for name, v := range at {
			if name == gemm.Outputs[0] {
				f := make([]float32, len(v.F))
				for j, x := range v.F {
					f[j] = x + sign*h
				}
				v.F = f
			}
			moved[name] = v
		}
		v, err := p.run(nil, moved, next.Inputs[0])
		if err != nil {
			return nil, err
		}
		side[i] = v[next.Inputs[0]].F
	}
	for i, v := range side[1] {
		side[0][i] = (side[0][i] - v) / (2 * h)
	}
	if len(side[0]) != len(at[gemm.Outputs[0]].F) {
		return nil, nil
	}
	return side[0], nil
}

// throughAttention takes the stream's moments back through the output
// projection to the values: each value head serves some query heads, and
// attention passes a mean of it on.
func (s *step) throughAttention() ([]float32, error) {
	p := s.l.post
	first := groups(p.model)[0]
	if len(first.gemms) != 1 || first.input != "attention" {
		return nil, nil
	}
	name, err := matrixOf(p.model, first.gemms[0])
	if err != nil {
		return nil, err
	}
	w, err := s.q.Model.floats(name)
	if err != nil {
		return nil, err
	}
	a := s.q.Model.Arch
	h, d, share := a.HiddenSize, a.HeadDim, a.NumAttentionHeads/a.NumKeyValueHeads
	n := a.NumKeyValueHeads * d
	out := make([]float32, n*n)
	one := make([]float32, h*d)
	for head := range a.NumAttentionHeads {
		for i := range h {
			copy(one[i*d:(i+1)*d], w[(i*a.NumAttentionHeads+head)*d:])
		}
		g := pull(s.q.Gradient, one, h, d)
		at := head / share * d
		for i := range d {
			ordered.Axpy(out[(at+i)*n+at:(at+i)*n+at+d], g[i*d:(i+1)*d], 1)
		}
	}
	return out, nil
}

// floats returns a tensor in float32.
func (m *Model) floats(name string) ([]float32, error) {
	dt, _, raw, err := m.Tensor(name)
	if err != nil {
		return nil, err
	}
	out := make([]float32, len(raw)/dt.Bytes())
	if err := tensor.ToF32(out, raw, dt); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", name, err)
	}
	return out, nil
}
