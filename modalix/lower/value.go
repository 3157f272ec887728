package lower

import (
	"fmt"

	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/isa"
)

// operand is a matrix in S: columns of the rows of the block at work.
type operand struct {
	place
	stride int64 // bytes from row to row
	dtype  ir.DType
	cols   int
}

// columns returns columns [lo, lo+cols) of an operand.
func (o operand) columns(lo, cols int) operand {
	o.place = o.at(int64(lo * o.dtype.Size()))
	o.cols = cols
	return o
}

// newOperand takes a fresh buffer. Columns are rounded up to whole panels,
// because the matrix unit writes whole panels, and reads 32 of BF16 at a time.
func (l *lowerer) newOperand(rows, cols int, t ir.DType) operand {
	stride := align(align(int64(cols), panelRows)*int64(t.Size()), sAlign)
	if t == ir.BF16 {
		stride = align(int64(cols), kUnit) * 2
	}
	return operand{place{l.buffer(int64(rows) * stride), 0}, stride, t, cols}
}

// clearPad zeroes the columns that the matrix unit reads beyond those of o:
// what S holds there may be a NaN.
func (l *lowerer) clearPad(o operand) {
	if o.dtype != ir.BF16 || o.cols%kUnit == 0 || l.lay.zeros < 0 {
		return
	}
	last := o.columns(o.cols/kUnit*kUnit, kUnit)
	l.emit(load(isa.Const, l.lay.zeros, l.rows, kUnit*2, o.stride, 0), inS(last.place))
}

// temporary is a fresh operand that lives no longer than the chunk at work.
func (l *lowerer) temporary(rows, cols int, t ir.DType) operand {
	o := l.newOperand(rows, cols, t)
	l.temps = append(l.temps, o.buf)
	return o
}

// value returns the whole of a value, loading it where it is not in S.
func (l *lowerer) value(n *ir.Node) operand {
	if o, ok := l.full[n]; ok {
		return o
	}
	if o, ok := l.consts[n]; ok {
		return o
	}
	t := n.Type
	switch {
	case n.Op == ir.Const:
		o := l.newOperand(t.Rows, t.Cols, t.DType)
		size := align(int64(t.Cols*t.DType.Size()), sAlign)
		l.emit(load(isa.Const, l.lay.consts[n], t.Rows, size, o.stride, rowPitch(t)), inS(o.place))
		l.consts[n] = o
		return o
	case n.Op == ir.Slice:
		return l.value(n.Args[0]).columns(n.Lo, t.Cols)
	case n.Op == ir.Input && t.DType == ir.I32:
		return l.packed(n)
	}
	o := l.newOperand(l.rows, t.Cols, t.DType)
	l.loadColumns(n, o, 0)
	l.full[n] = o
	return o
}

// packed loads the block's part of an index vector or of spans, which lie
// densely whatever their shape. One that does not follow the token rows is
// loaded whole.
func (l *lowerer) packed(n *ir.Node) operand {
	item := int64(4) // bytes a token
	count := int64(n.Type.Cols)
	if n.Type.Rows > 1 || n.Type.Cols == 2 {
		item, count = 8, int64(n.Type.Rows)
	}
	offset := l.lay.inputs[n]
	if count == int64(l.lay.rows) {
		offset += item * int64(l.first)
		count = int64(l.rows)
	}
	size := align(item*count, sAlign)
	o := operand{place{l.buffer(size), 0}, item, ir.I32, n.Type.Cols}
	l.emit(load(isa.In, offset, 1, size, size, size), inS(o.place))
	l.full[n] = o
	return o
}

// loadColumns fills o with columns [lo, lo+o.cols) of an input or of a value
// that waits in TMP.
func (l *lowerer) loadColumns(n *ir.Node, o operand, lo int) {
	pitch := rowPitch(n.Type)
	segment, offset := isa.In, l.lay.inputs[n]+int64(l.first)*pitch
	if at, ok := l.spilled[n]; ok {
		segment, offset, pitch = isa.Tmp, at, spillPitch(n)
	} else if n.Op != ir.Input {
		l.err = fmt.Errorf("operand %s (node %d) is not computed yet", n.Op, n.ID)
		return
	}
	size := int64(n.Type.DType.Size())
	length := int64(o.cols) * size
	if o.dtype == ir.BF16 && lo+o.cols == n.Type.Cols {
		length = align(length, alignment) // with the zeros behind
	}
	l.emit(load(segment, offset+int64(lo)*size, l.rows, length, o.stride, pitch), inS(o.place))
}

// spillPitch returns the distance between rows of a value in TMP, bytes.
func spillPitch(n *ir.Node) int64 {
	return align(int64(n.Type.Cols*n.Type.DType.Size()), alignment)
}

// chunk returns columns [lo, lo+cols) of a value: a view where it lies in S,
// else loaded.
func (l *lowerer) chunk(n *ir.Node, lo, cols int) operand {
	_, inS := l.full[n]
	if inS || n.Op == ir.Const || n.Op == ir.Slice {
		return l.value(n).columns(lo, cols)
	}
	o := l.temporary(l.rows, cols, n.Type.DType)
	l.loadColumns(n, o, lo)
	return o
}

// available reports whether chunk can serve n now.
func (l *lowerer) available(n *ir.Node) bool {
	_, inS := l.full[n]
	_, inTmp := l.spilled[n]
	return inS || inTmp || n.Op == ir.Input || n.Op == ir.Const
}

// dest returns where columns [lo, lo+cols) of n's value are to be written:
// the value's own buffer when someone reads it as a whole, else a temporary.
func (l *lowerer) dest(n *ir.Node, lo, cols int) operand {
	if !l.whole(n) {
		return l.temporary(l.rows, cols, n.Type.DType)
	}
	o, ok := l.full[n]
	if !ok {
		o = l.newWhole(n)
		l.full[n] = o
	}
	return o.columns(lo, cols)
}

// newWhole takes a buffer for the whole of a value. One that a convolution
// reads has room for the rows of state in front.
func (l *lowerer) newWhole(n *ir.Node) operand {
	for _, u := range l.users[n] {
		if u.Op == ir.Conv && u.Args[0] == n {
			before := u.Args[1].Type.Rows
			o := l.newOperand(before+l.rows, n.Type.Cols, n.Type.DType)
			o.place = o.at(int64(before) * o.stride)
			return o
		}
	}
	o := l.newOperand(l.rows, n.Type.Cols, n.Type.DType)
	l.clearPad(o)
	return o
}

// whole reports whether a value must lie in S as a whole: somebody who is not
// fed by its chunks reads it, other than an addition that can read TMP.
func (l *lowerer) whole(n *ir.Node) bool {
	for _, u := range l.users[n] {
		if l.streamed[u] != n && !l.spills(n, u) {
			return true
		}
	}
	return false
}

// spills reports whether u, a later user of n, reads it from TMP.
func (l *lowerer) spills(n, u *ir.Node) bool {
	if !l.plan.spill || l.streamed[u] == n || n.Type.DType != ir.F32 {
		return false
	}
	return u.Op == ir.Add
}

// save stores a chunk of n to TMP when a later user reads it there.
func (l *lowerer) save(n *ir.Node, o operand, lo int) {
	needed := false
	for _, u := range l.users[n] {
		needed = needed || l.spills(n, u)
		if u.Op == ir.Gather && lo+o.cols == n.Type.Cols {
			l.saveRows(n)
		}
	}
	if !needed {
		return
	}
	pitch := spillPitch(n)
	at, ok := l.spilled[n]
	if !ok {
		at = l.tmpSize
		l.spilled[n] = at
		l.tmpSize += align(pitch*int64(l.plan.rows), alignment)
	}
	size := int64(o.dtype.Size())
	l.emit(store(isa.Tmp, at+int64(lo)*size, l.rows, int64(o.cols)*size, o.stride, pitch), inS(o.place))
}

// saveRows stores the block's rows of n, which lies in S as a whole, among all
// of its rows in TMP: a row will be picked once the last block is done.
func (l *lowerer) saveRows(n *ir.Node) {
	pitch := spillPitch(n)
	at, ok := l.picked[n]
	if !ok {
		at = l.tmpSize
		l.picked[n] = at
		l.tmpSize += pitch * int64(l.lay.rows)
	}
	o := l.full[n]
	l.emit(store(isa.Tmp, at+int64(l.first)*pitch, l.rows, min(o.stride, pitch), o.stride, pitch), inS(o.place))
}
