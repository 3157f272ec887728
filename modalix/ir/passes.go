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
			Name: "silu", Does: "x * sigmoid(x) becomes silu", Run: matchSilu,
			After: []string{"casts"}, Reason: "a rounded gate has to be the linear itself",
		},
		{
			Name: "glu", Does: "silu(gate) * up becomes one linear with alternating panels and glu.silu", Run: fuseGLU,
			After: []string{"casts", "silu"}, Reason: "it looks for silu, and rounds both linears alike",
		},
		{
			Name: "siblings", Does: "linears of one operand (q, k, v) become one with a slice each", Run: fuseSiblings,
			After: []string{"glu"}, Reason: "gate and up share an operand too, but alternate",
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
			After: []string{"silu", "glu", "siblings", "casts", "attention", "gather"}, Reason: "they leave dead nodes behind",
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
		case Norm, Linear, Add, Mul, Silu, Sigmoid, GLU, Rope, Softmax, Values, Scale:
			p.Type.DType = BF16
			f.Replace(n, p)
		case Input, Const, Cast, Slice, Append, Cached, Scores, Attention, Gather, TopK, Output:
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
		scores, scale := softmax.Args[0], float32(1)
		if scores.Op == Scale {
			scores, scale = scores.Args[0], scores.Scale
		}
		if scores.Op != Scores || len(users[softmax]) != 1 || len(users[scores]) != 1 {
			return fmt.Errorf("node %d: values without scores of their own", n.ID)
		}
		n.Op, n.Scale = Attention, scale
		n.Args = []*Node{scores.Args[0], scores.Args[1], n.Args[1], softmax.Args[1]}
	}
	return removeDead(f)
}

// hoistGather computes only the gathered row: every operator between the
// inputs and the gather works row by row. Results keep their bits.
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
	switch n.Op {
	case Norm, Linear: // arg 1 is a vector for all rows
		row.Args[0] = rowOf(f, g, n.Args[0], memo)
	case Cast, Add, Mul, Sigmoid, Silu, GLU, Scale, Slice:
		for i, a := range n.Args {
			row.Args[i] = rowOf(f, g, a, memo)
		}
	case Input, Const, Rope, Append, Cached, Scores, Softmax, Values, Attention, Gather, TopK, Output:
		row = Node{Op: Gather, Type: Type{n.Type.DType, 1, n.Type.Cols}, Args: []*Node{n, g.Args[1]}}
	}
	f.InsertBefore(g, &row)
	memo[n] = &row
	return &row
}
