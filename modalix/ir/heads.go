package ir

import (
	"fmt"
	"slices"
)

// splitLinears turns slices of a linear into linears of a part of its outputs
// each, where nobody reads it otherwise. What can be computed together is
// joined again by later passes.
func splitLinears(f *Func) error {
	users := f.Users()
	for _, n := range append([]*Node(nil), f.Nodes...) {
		if n.Op != Linear || len(n.Weights) != 1 || len(users[n]) == 0 ||
			slices.ContainsFunc(users[n], func(u *Node) bool { return u.Op != Slice }) {
			continue
		}
		w := n.Weights[0]
		stored := w.Stored
		if stored == 0 {
			stored = w.N
		}
		for _, u := range users[n] {
			part := *w
			part.First, part.N, part.Stored = w.First+u.Lo, u.Type.Cols, stored
			args := n.Args[:1:1]
			if len(n.Args) == 2 {
				const size = 4
				bias := &Node{Op: Const, Type: Type{F32, 1, part.N}, Data: n.Args[1].Data[u.Lo*size : (u.Lo+part.N)*size]}
				f.InsertBefore(u, bias)
				args = append(args, bias)
			}
			*u = Node{ID: u.ID, Op: Linear, Type: u.Type, Args: args, Weights: []*Weight{&part}}
		}
	}
	return removeDead(f)
}

// padHeads widens heads to a multiple of 32 columns: what a linear gives, the
// buffers q and attention, and the cache. The columns in between are zero.
func padHeads(f *Func) error {
	done := make(map[*Node]bool)
	for _, n := range append([]*Node(nil), f.Nodes...) {
		var err error
		switch n.Op { //nolint:exhaustive // others have no heads of their own
		case Append:
			err = padChain(f, n.Args[0], n.HeadDim, done)
		case Output:
			if n.Heads > 0 {
				err = padChain(f, n.Args[0], n.HeadDim, done)
			}
		case Values:
			err = padAttention(n, done)
		}
		if err != nil {
			return fmt.Errorf("node %d: %s: %w", n.ID, n.Op, err)
		}
	}
	for _, n := range f.Nodes {
		if n.HeadDim%padUnit != 0 && (n.Op == Append || n.Op == Cached) {
			n.widen(n.HeadDim)
		}
		if n.Op == Output {
			n.Type, n.HeadDim = n.Args[0].Type, padded(n.HeadDim)
		}
	}
	return nil
}

// widen pads the heads of a node.
func (n *Node) widen(headDim int) {
	if n.Op.HasValue() {
		n.Type.Cols = n.Type.Cols / headDim * padded(headDim)
	}
	if n.HeadDim > 0 {
		n.HeadDim = padded(headDim)
	}
}

// padChain widens what leads from a linear to n.
func padChain(f *Func, n *Node, headDim int, done map[*Node]bool) error {
	if headDim%padUnit == 0 {
		return nil
	}
	for ; !done[n]; n = n.Args[0] {
		done[n] = true
		switch n.Op { //nolint:exhaustive // the rest has no heads
		case Cast, Norm, Rope:
			if n.Op == Norm && n.Heads == 0 {
				return fmt.Errorf("heads of %d come from a norm of whole rows", headDim)
			}
			n.widen(headDim)
		case Linear:
			if len(n.Weights) != 1 || n.Weights[0].N%headDim != 0 {
				return fmt.Errorf("heads of %d of a linear of %d outputs", headDim, n.Type.Cols)
			}
			w := *n.Weights[0]
			w.HeadDim = headDim
			n.Weights = []*Weight{&w}
			n.widen(headDim)
			if len(n.Args) == 2 {
				bias := &Node{Op: Const, Type: Type{F32, 1, w.Cols()}, Data: padVector(n.Args[1].Data, headDim)}
				f.InsertBefore(n, bias)
				n.Args = []*Node{n.Args[0], bias}
			}
			return nil
		default:
			return fmt.Errorf("heads of %d come from %s", headDim, n.Op)
		}
	}
	return nil
}

// padVector puts zeros behind every headDim numbers.
func padVector(data []byte, headDim int) []byte {
	const size = 4
	var out []byte
	for head := range slices.Chunk(data, headDim*size) {
		out = append(out, head...)
		out = append(out, make([]byte, (padded(headDim)-headDim)*size)...)
	}
	return out
}

// padAttention widens q and everything from the scores on.
func padAttention(values *Node, done map[*Node]bool) error {
	d := values.HeadDim
	if d%padUnit == 0 {
		return nil
	}
	values.widen(d)
	n := values.Args[0]
	for n.Op != Scores {
		if len(n.Args) == 0 {
			return fmt.Errorf("values without scores")
		}
		n.HeadDim = padded(d)
		n = n.Args[0]
	}
	n.HeadDim = padded(d)
	q := n.Args[0]
	if q.Op != Input {
		return fmt.Errorf("queries come from %s, want an input", q.Op)
	}
	if !done[q] {
		done[q] = true
		q.Type.Cols = q.Type.Cols / d * padded(d)
	}
	return nil
}
