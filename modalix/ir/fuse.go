package ir

// panelCols is the width of a weight panel, by which gate and up alternate.
const panelCols = 16

// matchSilu turns mul(x, sigmoid(x)) into act silu.
func matchSilu(f *Func) error {
	users := f.Users()
	for _, n := range f.Nodes {
		if n.Op != Mul {
			continue
		}
		for i, s := range n.Args {
			if s.Op == Sigmoid && s.Args[0] == n.Args[1-i] && len(users[s]) == 1 {
				n.Op, n.Fn, n.Args = Act, Silu, []*Node{n.Args[1-i]}
				break
			}
		}
	}
	return removeDead(f)
}

// fuseGLU turns mul(act(gate), up) into glu of one interleaved linear.
// Pairs that differ in operand or format stay as they are.
func fuseGLU(f *Func) error {
	users := f.Users()
	for _, n := range append([]*Node(nil), f.Nodes...) {
		if n.Op != Mul {
			continue
		}
		for i, s := range n.Args {
			up := n.Args[1-i]
			if s.Op != Act || !fusable(users, s.Args[0], up) || len(users[s]) != 1 {
				continue
			}
			gate := s.Args[0]
			if gate.Weights[0].N != up.Weights[0].N || up.Weights[0].N%panelCols != 0 {
				continue
			}
			both := &Node{
				Op: Linear, Type: Type{gate.Type.DType, gate.Type.Rows, 2 * gate.Type.Cols}, Args: gate.Args[:1:1],
				Weights: []*Weight{gate.Weights[0], up.Weights[0]}, Interleave: true,
			}
			nodes := []*Node{both}
			if bias := joinBias([]*Node{gate, up}, true); bias != nil {
				nodes = []*Node{bias, both}
				both.Args = append(both.Args, bias)
			}
			f.InsertBefore(n, nodes...)
			n.Op, n.Fn, n.Args = GLU, s.Fn, []*Node{both}
			break
		}
	}
	return removeDead(f)
}

// fusable reports whether two linears are single, used once, and read the
// same operand with weights of one format.
func fusable(users map[*Node][]*Node, a, b *Node) bool {
	return a != b && a.Op == Linear && b.Op == Linear && a.Args[0] == b.Args[0] && !a.Interleave && !b.Interleave &&
		len(a.Weights) == 1 && len(b.Weights) == 1 && a.Weights[0].Format() == b.Weights[0].Format() && a.Type.DType == b.Type.DType &&
		len(users[a]) == 1 && len(users[b]) == 1
}

// fuseSiblings joins linears that read the same operand, in program order.
// All but the last must fill whole panels.
func fuseSiblings(f *Func) error {
	users := f.Users()
	done := make(map[*Node]bool)
	for _, n := range append([]*Node(nil), f.Nodes...) {
		if n.Op != Linear || done[n] {
			continue
		}
		group := []*Node{n}
		for _, u := range users[n.Args[0]] {
			last := group[len(group)-1]
			if u != n && !done[u] && fusable(users, n, u) && last.Type.Cols%panelCols == 0 {
				group = append(group, u)
			}
		}
		if len(group) < 2 {
			continue
		}
		all := &Node{Op: Linear, Type: Type{n.Type.DType, n.Type.Rows, 0}, Args: n.Args[:1:1]}
		for _, g := range group {
			done[g] = true
			all.Type.Cols += g.Type.Cols
			all.Weights = append(all.Weights, g.Weights...)
		}
		nodes := []*Node{all}
		if bias := joinBias(group, false); bias != nil {
			nodes = []*Node{bias, all}
			all.Args = append(all.Args, bias)
		}
		f.InsertBefore(n, nodes...)
		lo := 0
		for _, g := range group {
			*g = Node{ID: g.ID, Op: Slice, Type: g.Type, Args: []*Node{all}, Lo: lo}
			lo += g.Type.Cols
		}
	}
	return removeDead(f)
}

// joinBias returns the bias of a fused linear: the vectors one after another,
// or alternating by panels. Absent ones count as zero; nil when all are.
func joinBias(linears []*Node, interleave bool) *Node {
	cols, some := 0, false
	for _, l := range linears {
		cols += l.Type.Cols
		some = some || len(l.Args) == 2
	}
	if !some {
		return nil
	}
	const size = 4
	out := make([]byte, 0, cols*size)
	part := func(l *Node, lo, hi int) {
		if len(l.Args) < 2 {
			out = append(out, make([]byte, (hi-lo)*size)...)
			return
		}
		out = append(out, l.Args[1].Data[lo*size:hi*size]...)
	}
	if interleave {
		for lo := 0; lo < linears[0].Type.Cols; lo += panelCols {
			for _, l := range linears {
				part(l, lo, lo+panelCols)
			}
		}
	} else {
		for _, l := range linears {
			part(l, 0, l.Type.Cols)
		}
	}
	return &Node{Op: Const, Type: Type{F32, 1, cols}, Data: out}
}
