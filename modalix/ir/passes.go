package ir

import (
	"fmt"
	"slices"
)

// Pass is one rewrite of a function.
type Pass struct {
	Name   string
	Does   string
	After  []string // passes that must have run
	Reason string   // why after those
	Run    func(*Func) error
}

// Passes returns every pass in the order in which [Run] applies them.
func Passes() []Pass {
	return []Pass{
		{Name: "casts", Does: "a rounding to bf16 moves into the only producer of its operand", Run: foldCasts},
		{
			Name: "silu", Does: "x * sigmoid(x) becomes act silu", Run: matchSilu,
			After: []string{"casts"}, Reason: "a rounded gate has to be the linear itself",
		},
		{
			Name: "split", Does: "a linear that is read by slices only becomes one linear for each", Run: splitLinears,
			After: []string{"casts"}, Reason: "slices of what is rounded have to be slices of the linear",
		},
		{
			Name: "heads", Does: "heads are padded to a multiple of 32 dims, as the cache keeps them", Run: padHeads,
			After: []string{"split"}, Reason: "q, k and v of a fused linear are padded each by itself",
		},
		{
			Name: "glu", Does: "act(gate) * up becomes one linear with alternating panels and glu", Run: fuseGLU,
			After: []string{"casts", "silu", "split"}, Reason: "it looks for activations of linears, and rounds both alike",
		},
		{
			Name: "siblings", Does: "linears of one operand (q, k, v) become one with a slice each", Run: fuseSiblings,
			After: []string{"glu", "heads"}, Reason: "gate and up share an operand too, but alternate; padding changes columns",
		},
		{
			Name: "attention", Does: "scores, scale, softmax, values become attention", Run: matchAttention,
			After: []string{"casts"}, Reason: "softmax must be seen to round to bf16",
		},
		{
			Name: "gather", Does: "picking one row moves to the inputs, so that one row is computed", Run: hoistGather,
			After: []string{"glu", "casts"}, Reason: "it copies nodes, which would hide them from matching",
		},
		{
			Name: "dead", Does: "nodes without users go, inputs stay", Run: removeDead,
			After: []string{"silu", "split", "glu", "siblings", "casts", "attention", "gather"}, Reason: "they leave dead nodes behind",
		},
	}
}

// Run applies every pass to f and verifies it after each. An error names the
// pass.
func Run(f *Func) error {
	for _, p := range Passes() {
		if err := p.Run(f); err != nil {
			return fmt.Errorf("ir: %s: pass %s: %w", f.Name, p.Name, err)
		}
		if err := f.Verify(); err != nil {
			return fmt.Errorf("pass %s: %w", p.Name, err)
		}
	}
	return nil
}

// removeDead drops nodes whose value nobody uses. Inputs are part of the
// program's interface and stay.
func removeDead(f *Func) error {
	live := make(map[*Node]bool, len(f.Nodes))
	for _, n := range slices.Backward(f.Nodes) {
		if n.Op == Input || !n.Op.HasValue() {
			live[n] = true
		}
		if live[n] {
			for _, a := range n.Args {
				live[a] = true
			}
		}
	}
	kept := f.Nodes[:0]
	for _, n := range f.Nodes {
		if live[n] {
			kept = append(kept, n)
		}
	}
	clear(f.Nodes[len(kept):])
	f.Nodes = kept
	return nil
}

// foldCasts lets a producer round its own result where nobody reads the
// unrounded value. Every operator of the vector and matrix unit rounds once.
func foldCasts(f *Func) error {
	users := f.Users()
	for _, n := range f.Nodes {
		if n.Op != Cast || n.Type.DType != BF16 || len(users[n.Args[0]]) != 1 {
			continue
		}
		p := n.Args[0]
		switch p.Op {
		case Linear, Add, Mul, Act, SoftCap, Sigmoid, GLU, Rope, Softmax, Values, Scale, Conv:
			p.Type.DType = BF16
			f.Replace(n, p)
		case Norm:
			if p.Heads == 0 { // that of heads works in place, on float32
				p.Type.DType = BF16
				f.Replace(n, p)
			}
		case Input, Const, Cast, Ratio, Tanh, Slice, Append, Cached, Scores, Attention, Concat, Gather, Columns, TopK, Output:
		}
	}
	return removeDead(f)
}

// matchAttention turns the four pieces into one operator, which lower may
// then schedule a head at a time.
func matchAttention(f *Func) error {
	users := f.Users()
	for _, n := range f.Nodes {
		if n.Op != Values {
			continue
		}
		softmax := n.Args[0]
		if softmax.Op != Softmax || softmax.Type.DType != BF16 {
			return fmt.Errorf("node %d: values of %s, want a softmax rounded to bf16", n.ID, softmax.Op)
		}
		scores, scale, limit := softmax.Args[0], float32(1), float32(0)
		if scores.Op == SoftCap {
			scores, limit = scores.Args[0], scores.Cap
		}
		if scores.Op == Scale {
			scores, scale = scores.Args[0], scores.Scale
		}
		if scores.Op != Scores || len(users[softmax]) != 1 || len(users[scores]) != 1 {
			return fmt.Errorf("node %d: values without scores of their own", n.ID)
		}
		n.Op, n.Scale, n.Cap = Attention, scale, limit
		n.Args = []*Node{scores.Args[0], scores.Args[1], n.Args[1], softmax.Args[1]}
	}
	return removeDead(f)
}

// hoistGather computes only the gathered row where operators between the
// inputs and the gather work row by row; what a convolution feeds is computed
// whole, and its row is picked. Results keep their bits.
func hoistGather(f *Func) error {
	for _, g := range append([]*Node(nil), f.Nodes...) {
		if g.Op != Gather || g.Args[0].Op == Input {
			continue
		}
		memo := make(map[*Node]*Node)
		f.Replace(g, rowOf(f, g, g.Args[0], memo))
	}
	return removeDead(f)
}

// rowOf returns a node for the row of n that g picks, inserted before g.
func rowOf(f *Func, g, n *Node, memo map[*Node]*Node) *Node {
	if m, ok := memo[n]; ok {
		return m
	}
	row := *n
	row.Type.Rows = 1
	row.Args = append([]*Node(nil), n.Args...)
	op := n.Op
	for _, a := range n.Args {
		if a.Op == Conv {
			op = Conv
		}
	}
	switch op {
	case Norm, Linear, Columns: // arg 1 is a vector for all rows
		row.Args[0] = rowOf(f, g, n.Args[0], memo)
	case Cast, Add, Mul, Sigmoid, Ratio, Tanh, SoftCap, Act, GLU, Scale, Slice:
		for i, a := range n.Args {
			row.Args[i] = rowOf(f, g, a, memo)
		}
	case Input, Const, Rope, Append, Cached, Scores, Softmax, Values, Attention, Concat, Conv, Gather, TopK, Output:
		row = Node{Op: Gather, Type: Type{n.Type.DType, 1, n.Type.Cols}, Args: []*Node{n, g.Args[1]}}
	}
	f.InsertBefore(g, &row)
	memo[n] = &row
	return &row
}
