package walk

import (
	"fmt"
	"slices"
	"sync"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/internal/ordered"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/calib"
)

// Quantizer quantises the layers of a model in turn.
type Quantizer struct {
	Model    *Model
	Settings calib.Settings
	// Format says how a matrix is stored; 16 bits leave it as it is.
	Format func(tensor string) quant.Format
	// Gradient is the mean of g·gᵀ, g the gradient of the residual stream
	// [hiddenSize], nil for none; see [Model.Gradient].
	Gradient []float32

	Float, Quantised Stream // at the next layer's border
}

// group is the Gemms of a graph that read one value.
type group struct {
	input string
	gemms []*onnx.Node
}

// groups lists the products with matrices in running order; heads are left out.
func groups(m *onnx.Model) []group {
	var out []group
	for i := range m.Graph.Nodes {
		n := &m.Graph.Nodes[i]
		if n.Op != "Gemm" || isHead(n) {
			continue
		}
		if at := slices.IndexFunc(out, func(g group) bool { return g.input == n.Inputs[0] }); at >= 0 {
			out[at].gemms = append(out[at].gemms, n)
			continue
		}
		out = append(out, group{n.Inputs[0], []*onnx.Node{n}})
	}
	return out
}

// matrixOf returns the tensor that a Gemm multiplies with.
func matrixOf(m *onnx.Model, gemm *onnx.Node) (string, error) {
	name := gemm.Inputs[1]
	for i := range m.Graph.Nodes {
		if n := &m.Graph.Nodes[i]; n.Op == "Cast" && n.Outputs[0] == name {
			name = n.Inputs[0]
		}
	}
	for i := range m.Graph.Initializers {
		if t := &m.Graph.Initializers[i]; t.Name == name && t.External != nil && len(t.Dims) == 2 {
			return name, nil
		}
	}
	return "", fmt.Errorf("llima: internal error: %q multiplies with no matrix of the checkpoint", gemm.Name)
}

// residualOf returns the value that a Gemm's result is added to, where it is
// added to one as it is.
func residualOf(m *onnx.Model, gemm *onnx.Node) string {
	for i := range m.Graph.Nodes {
		n := &m.Graph.Nodes[i]
		if n.Op == "Add" && len(n.Inputs) == 2 {
			switch gemm.Outputs[0] {
			case n.Inputs[0]:
				return n.Inputs[1]
			case n.Inputs[1]:
				return n.Inputs[0]
			}
		}
	}
	return ""
}

// Layer quantises the matrices of a layer, the first not yet done, and moves
// both streams past it.
func (q *Quantizer) Layer(index int) (map[string]*calib.Result, error) {
	l, err := q.Model.layer(index)
	if err != nil {
		return nil, err
	}
	s := &step{q: q, l: l, done: Weights{}, results: map[string]*calib.Result{}}
	n := len(q.Float)
	float, quantised := make([]map[string]eval.Value, n), make([]map[string]eval.Value, n)
	if l.pre != nil {
		for i := range n {
			float[i], quantised[i] = l.preInputs(q.Float[i]), l.preInputs(q.Quantised[i])
		}
		if err := s.part(l.pre, float, quantised); err != nil {
			return nil, fmt.Errorf("layer %d: %w", index, err)
		}
	}
	for i := range n {
		if float[i], err = l.postInputs(nil, q.Float[i]); err == nil {
			quantised[i], err = l.postInputs(s.done, q.Quantised[i])
		}
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", index, err)
		}
	}
	if err := s.part(l.post, float, quantised); err != nil {
		return nil, fmt.Errorf("layer %d: %w", index, err)
	}
	for i := range n {
		a, err := l.post.run(nil, float[i], "hidden_out")
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", index, err)
		}
		b, err := l.post.run(s.done, quantised[i], "hidden_out")
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", index, err)
		}
		q.Float[i], q.Quantised[i] = a["hidden_out"].F, b["hidden_out"].F
	}
	return s.results, nil
}

// step is the work on one layer.
type step struct {
	q       *Quantizer
	l       *layer
	done    Weights // quantised so far, dequantised
	results map[string]*calib.Result
}

// part quantises the matrices of one graph, those that share an input together.
func (s *step) part(p *part, float, quantised []map[string]eval.Value) error {
	for _, g := range groups(p.model) {
		if err := s.group(p, g, float, quantised); err != nil {
			return fmt.Errorf("%s: %w", g.gemms[0].Name, err)
		}
	}
	return nil
}

// moments are means over tokens of products of a group's inputs.
type moments struct {
	h, cross []float32
	lag      []float32 // of the residual that the group's only product is added to
	tokens   int
}

// add adds to sum [n, k] the products yᵀ·x of rows.
func add(sum, y, x []float32, rows, n, k int) {
	left := ordered.Transpose(ordered.Dense(y, rows, n))
	const part = 64 // rows of the sum, which are independent
	var wg sync.WaitGroup
	for i := 0; i < n; i += part {
		w := min(part, n-i)
		wg.Go(func() {
			ordered.Multiply(ordered.Dense(sum[i*k:], w, k), ordered.Dense(left.Data[i*rows:], w, rows), ordered.Dense(x, rows, k))
		})
	}
	wg.Wait()
}

func scale(sum []float32, tokens int) []float32 {
	for i := range sum {
		sum[i] /= float32(tokens)
	}
	return sum
}

func (s *step) group(p *part, g group, float, quantised []map[string]eval.Value) error {
	want := []string{g.input}
	residual := ""
	if len(g.gemms) == 1 {
		if residual = residualOf(p.model, g.gemms[0]); residual != "" {
			want = append(want, residual)
		}
	}
	var m moments
	for i := range float {
		f, err := p.run(nil, float[i], want...)
		if err != nil {
			return err
		}
		x, err := p.run(s.done, quantised[i], want...)
		if err != nil {
			return err
		}
		m.text(f[g.input], x[g.input], f[residual], x[residual])
	}
	m.h, m.cross = scale(m.h, m.tokens), scale(m.cross, m.tokens)
	if m.lag != nil {
		m.lag = scale(m.lag, m.tokens)
	}
	for _, gemm := range g.gemms {
		if err := s.matrix(p, gemm, &m, float); err != nil {
			return err
		}
	}
	return nil
}

// text adds the tokens of one text: inputs of both models, and residuals.
func (m *moments) text(f, x, rf, rx eval.Value) {
	rows := int(x.Dims[0])
	k := len(x.F) / rows
	if m.h == nil {
		m.h, m.cross = make([]float32, k*k), make([]float32, k*k)
	}
	add(m.h, x.F, x.F, rows, k, k)
	add(m.cross, f.F, x.F, rows, k, k)
	if rx.F != nil {
		n := len(rx.F) / rows
		if m.lag == nil {
			m.lag = make([]float32, n*k)
		}
		diff := make([]float32, len(rx.F))
		for i, v := range rf.F {
			diff[i] = v - rx.F[i]
		}
		add(m.lag, diff, x.F, rows, n, k)
	}
	m.tokens += rows
}

func (s *step) matrix(p *part, gemm *onnx.Node, m *moments, float []map[string]eval.Value) error {
	name, err := matrixOf(p.model, gemm)
	if err != nil {
		return err
	}
	f := s.q.Format(name)
	if f.Bits == 16 {
		return nil
	}
	_, shape, _, err := s.q.Model.Tensor(name)
	if err != nil {
		return err
	}
	w, err := s.q.Model.floats(name)
	if err != nil {
		return err
	}
	problem := &calib.Problem{N: shape[0], K: shape[1], W: w, H: m.h, Cross: m.cross, Lag: m.lag, Format: f}
	if s.q.Gradient != nil {
		if problem.Grad, err = s.gradient(p, gemm, float); err != nil {
			return err
		}
	}
	r, err := calib.Solve(problem, s.q.Settings)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	s.results[name] = r
	s.done[name] = quant.Dequantize(r.Codes, r.Scales, shape[0], shape[1], f)
	return nil
}
