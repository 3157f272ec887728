package ir

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Verify checks that the function is well formed: arguments stand before
// their users, types agree with operators, buffers have one name each. The
// error names the node by its ID and operator.
func (f *Func) Verify() error {
	seen := make(map[*Node]bool, len(f.Nodes))
	names := make(map[string]bool)
	for _, n := range f.Nodes {
		fail := func(err error) error { return fmt.Errorf("ir: %s: node %d: %s: %w", f.Name, n.ID, n.Op, err) }
		if seen[n] {
			return fail(errors.New("stands twice"))
		}
		for i, a := range n.Args {
			if !seen[a] {
				return fail(fmt.Errorf("argument %d is not defined before its use", i))
			}
			if !a.Op.HasValue() {
				return fail(fmt.Errorf("argument %d is an %s, not a value", i, a.Op))
			}
		}
		seen[n] = true
		if n.Op.HasValue() && (n.Type.Rows <= 0 || n.Type.Cols <= 0) {
			return fail(fmt.Errorf("type %s is empty", n.Type))
		}
		if n.Op == Input || n.Op == Output || n.Op == Append {
			key := n.Op.String() + " " + n.Name
			if n.Name == "" || names[key] {
				return fail(fmt.Errorf("name %q is empty or taken", n.Name))
			}
			names[key] = true
		}
		if err := n.check(); err != nil {
			return fail(err)
		}
	}
	return nil
}

// arity is how many arguments an operator takes: [least, most].
var arity = [...][2]int{
	Input: {0, 0}, Const: {0, 0}, Cast: {1, 1}, Norm: {2, 2}, Linear: {1, 2}, Add: {2, 2}, Mul: {2, 2}, Sigmoid: {1, 1},
	Ratio: {1, 1}, Tanh: {1, 1}, SoftCap: {1, 1}, Act: {1, 1}, Concat: {2, 2}, Conv: {3, 4}, Columns: {2, 2}, GLU: {1, 1}, Rope: {2, 2}, Slice: {1, 1}, Append: {2, 2}, Cached: {0, 0}, Scores: {2, 2}, Scale: {1, 1},
	Softmax: {2, 2}, Values: {2, 2}, Attention: {4, 4}, Gather: {2, 2}, TopK: {1, 1}, Output: {1, 1},
}

// check holds a node against its operator's rule.
func (n *Node) check() error {
	if int(n.Op) >= len(arity) {
		return errors.New("operator is unknown")
	}
	if c := arity[n.Op]; len(n.Args) < c[0] || len(n.Args) > c[1] {
		return fmt.Errorf("%d arguments, want %d to %d", len(n.Args), c[0], c[1])
	}
	t := n.Type
	same := func(args ...int) error {
		for _, i := range args {
			if a := n.Args[i].Type; a.Rows != t.Rows || a.Cols != t.Cols {
				return fmt.Errorf("argument %d is %s, result %s", i, a, t)
			}
		}
		return nil
	}
	want := func(i int, d DType, rows, cols int) error {
		if a := n.Args[i].Type; a != (Type{d, rows, cols}) {
			return fmt.Errorf("argument %d is %s, want %s", i, a, Type{d, rows, cols})
		}
		return nil
	}
	switch n.Op {
	case Const:
		if len(n.Data) != t.Rows*t.Cols*t.DType.Size() {
			return fmt.Errorf("%d bytes for %s", len(n.Data), t)
		}
	case Cast, Sigmoid, Scale, Ratio, Tanh:
		return same(0)
	case Act, SoftCap:
		if (n.Op == SoftCap) != (n.Cap != 0) || !(n.Cap >= 0) || int(n.Fn) >= len(fnNames) {
			return fmt.Errorf("cap %v, function %s", n.Cap, n.Fn)
		}
		return same(0)
	case Concat:
		a, b := n.Args[0].Type, n.Args[1].Type
		if a.Cols != b.Cols || a.DType != b.DType || t != (Type{a.DType, a.Rows + b.Rows, a.Cols}) {
			return fmt.Errorf("%s from %s and %s", t, a, b)
		}
	case Columns:
		index := n.Args[1]
		if index.Op != Const || n.Args[0].Type != t {
			return fmt.Errorf("%s of %s, by a constant", t, n.Args[0].Type)
		}
		if err := want(1, I32, 1, t.Cols); err != nil {
			return err
		}
		for i := range t.Cols {
			if c := int32(binary.LittleEndian.Uint32(index.Data[4*i:])); c < 0 || int(c) >= t.Cols {
				return fmt.Errorf("column %d of %d", c, t.Cols)
			}
		}
	case Conv:
		taps := n.Args[2].Type.Rows
		if n.Args[2].Op != Const || len(n.Args) == 4 && n.Args[3].Op != Const {
			return errors.New("taps and bias are no constants")
		}
		err := errors.Join(want(0, F32, t.Rows, t.Cols), want(1, F32, taps-1, t.Cols), want(2, F32, taps, t.Cols))
		if len(n.Args) == 4 {
			err = errors.Join(err, want(3, F32, 1, t.Cols))
		}
		return err
	case Add, Mul:
		return same(0, 1)
	case Norm:
		if !(n.Eps >= 0) {
			return fmt.Errorf("eps %v is negative", n.Eps)
		}
		if n.Heads == 0 {
			return errors.Join(same(0), want(1, F32, 1, t.Cols))
		}
		if n.Heads < 0 || n.HeadDim <= 0 || t.Cols/n.Heads != n.HeadDim || t.Cols%n.Heads != 0 || n.Live <= 0 || n.Live > n.HeadDim {
			return fmt.Errorf("%d heads of %d, %d of them live, in %d columns", n.Heads, n.HeadDim, n.Live, t.Cols)
		}
		return errors.Join(same(0), want(1, F32, 1, n.Live))
	case Linear:
		return n.checkLinear()
	case GLU:
		if a := n.Args[0]; a.Op != Linear || !a.Interleave || a.Type.Cols != 2*t.Cols || a.Type.Rows != t.Rows {
			return fmt.Errorf("argument is %s %s, want an interleaved linear of twice the columns", a.Op, a.Type)
		}
	case Rope:
		if n.Heads <= 0 || n.HeadDim <= 0 || n.HeadDim%2 != 0 || t.Cols/n.Heads != n.HeadDim || t.Cols%n.Heads != 0 {
			return fmt.Errorf("%d heads of %d in %d columns", n.Heads, n.HeadDim, t.Cols)
		}
		if n.Rotary <= 0 || n.Rotary > n.HeadDim || n.Rotary%2 != 0 {
			return fmt.Errorf("%d dims of heads of %d turn", n.Rotary, n.HeadDim)
		}
		return errors.Join(same(0), want(1, F32, t.Rows, n.Rotary))
	case Slice:
		if a := n.Args[0].Type; a.Rows != t.Rows || a.DType != t.DType || n.Lo < 0 || n.Lo > a.Cols-t.Cols {
			return fmt.Errorf("columns [%d,%d) as %s of %s", n.Lo, n.Lo+t.Cols, t, a)
		}
	case Append:
		a := n.Args[0].Type
		if n.Name != "k" && n.Name != "v" {
			return fmt.Errorf("name %q, want k or v", n.Name)
		}
		return errors.Join(want(0, BF16, a.Rows, n.KVHeads*n.HeadDim), want(1, I32, 1, a.Rows))
	case Cached:
		if n.KVHeads <= 0 || n.HeadDim <= 0 || t.Cols/n.KVHeads != n.HeadDim || t.Cols%n.KVHeads != 0 || t.DType != BF16 {
			return fmt.Errorf("%d heads of %d in %s", n.KVHeads, n.HeadDim, t)
		}
	case Scores, Softmax, Values, Attention:
		return n.checkAttention()
	case Gather:
		if a := n.Args[0].Type; t.Rows != 1 || a.Cols != t.Cols || a.DType != t.DType {
			return fmt.Errorf("%s of %s", t, a)
		}
		return want(1, I32, 1, 1)
	case TopK:
		if a := n.Args[0].Type; a.DType != F32 || t != (Type{Pairs, a.Rows, n.K}) || n.K > a.Cols {
			return fmt.Errorf("%s of %s", t, a)
		}
	case Input, Output:
	}
	return nil
}

func (n *Node) checkLinear() error {
	if len(n.Weights) == 0 {
		return errors.New("no weight")
	}
	cols := 0
	for _, w := range n.Weights {
		if w.N <= 0 || w.K != n.Args[0].Type.Cols {
			return fmt.Errorf("weight %q is [%d,%d], argument %s", w.Name, w.N, w.K, n.Args[0].Type)
		}
		if w.Format() != n.Weights[0].Format() {
			return fmt.Errorf("weight %q is %s, others %s", w.Name, w.Format(), n.Weights[0].Format())
		}
		if w.Stored < 0 || w.First < 0 || w.Stored != 0 && w.First > w.Stored-w.N {
			return fmt.Errorf("weight %q is outputs [%d,%d) of %d", w.Name, w.First, w.First+w.N, w.Stored)
		}
		if w.HeadDim < 0 || w.HeadDim > 0 && w.N%w.HeadDim != 0 {
			return fmt.Errorf("weight %q: %d outputs in heads of %d", w.Name, w.N, w.HeadDim)
		}
		cols += w.Cols()
	}
	if n.Interleave && (len(n.Weights) != 2 || n.Weights[0].Cols() != n.Weights[1].Cols() || n.Weights[0].Cols()%16 != 0) {
		return errors.New("only two weights of equal, 16-fold outputs interleave")
	}
	if n.Type.Cols != cols || n.Type.Rows != n.Args[0].Type.Rows {
		return fmt.Errorf("result is %s, want %d columns", n.Type, cols)
	}
	if len(n.Args) == 2 && n.Args[1].Type != (Type{F32, 1, cols}) {
		return fmt.Errorf("bias is %s, want f32[1,%d]", n.Args[1].Type, cols)
	}
	return nil
}

// checkAttention checks the operators over heads. Tokens are the rows of q.
func (n *Node) checkAttention() error {
	if n.Heads <= 0 || n.KVHeads <= 0 || n.HeadDim <= 0 || n.Heads%n.KVHeads != 0 {
		return fmt.Errorf("%d heads over %d of %d", n.Heads, n.KVHeads, n.HeadDim)
	}
	want := func(i int, t Type) error {
		if a := n.Args[i].Type; a != t {
			return fmt.Errorf("argument %d is %s, want %s", i, a, t)
		}
		return nil
	}
	cached := func(i int) Type { return Type{BF16, n.Args[i].Type.Rows, n.KVHeads * n.HeadDim} }
	a := n.Args[0].Type
	switch n.Op { //nolint:exhaustive // called for these
	case Scores:
		if n.Type != (Type{F32, a.Rows * n.Heads, n.Args[1].Type.Rows}) {
			return fmt.Errorf("result is %s", n.Type)
		}
		return errors.Join(want(0, Type{BF16, a.Rows, n.Heads * n.HeadDim}), want(1, cached(1)))
	case Softmax:
		if a.Rows%n.Heads != 0 || a.Rows != n.Type.Rows || a.Cols != n.Type.Cols {
			return fmt.Errorf("result is %s of %s", n.Type, a)
		}
		return want(1, Type{I32, a.Rows / n.Heads, 2})
	case Values:
		if a.Rows%n.Heads != 0 || n.Type.Rows != a.Rows/n.Heads || n.Type.Cols != n.Heads*n.HeadDim || n.Args[1].Type.Rows != a.Cols {
			return fmt.Errorf("result is %s of %s", n.Type, a)
		}
		return want(1, cached(1))
	case Attention:
		if n.Type.Rows != a.Rows || n.Type.Cols != a.Cols || n.Args[1].Type.Rows != n.Args[2].Type.Rows {
			return fmt.Errorf("result is %s of %s", n.Type, a)
		}
		return errors.Join(want(0, Type{BF16, a.Rows, n.Heads * n.HeadDim}), want(1, cached(1)), want(2, cached(2)), want(3, Type{I32, a.Rows, 2}))
	}
	return nil
}
