package lower

import (
	"fmt"
	"slices"

	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/isa"
)

// tree decides which users of n are fed by its chunks, and which of theirs
// in turn, before the first chunk exists.
func (l *lowerer) tree(n *ir.Node) {
	for _, u := range l.users[n] {
		if l.streamed[u] == nil && l.streamable(u, n) {
			l.streamed[u] = n
			l.tree(u)
		}
	}
}

// streamable reports whether u can work on chunks of columns of n.
func (l *lowerer) streamable(u, n *ir.Node) bool {
	switch u.Op {
	case ir.Cast, ir.Sigmoid, ir.SoftCap, ir.Act, ir.GLU, ir.Output, ir.TopK:
		return true
	case ir.Norm:
		return u.Heads > 0 && u.Args[0] == n
	case ir.Rope, ir.Append:
		return u.Args[0] == n
	case ir.Add, ir.Mul:
		other := u.Args[0]
		if other == n {
			other = u.Args[1]
		}
		return other != n && l.available(other)
	case ir.Input, ir.Const, ir.Linear, ir.Ratio, ir.Tanh, ir.Slice, ir.Cached, ir.Scores, ir.Scale, ir.Softmax, ir.Values,
		ir.Attention, ir.Concat, ir.Conv, ir.Gather, ir.Columns:
	}
	return false
}

// flow hands columns [lo, lo+o.cols) of n's value to the users it feeds.
func (l *lowerer) flow(n *ir.Node, o operand, lo int) {
	l.save(n, o, lo)
	for i, u := range l.users[n] {
		if l.streamed[u] == n && l.err == nil && !slices.Contains(l.users[n][:i], u) {
			l.consume(u, n, o, lo)
		}
	}
}

// consume emits u for columns [lo, lo+x.cols) of its argument n, and what
// follows from it.
func (l *lowerer) consume(u, n *ir.Node, x operand, lo int) {
	switch u.Op { //nolint:exhaustive // the rest follows
	case ir.Output:
		l.output(u, x, lo)
		return
	case ir.Append:
		l.appendCache(u, x, lo)
		return
	case ir.TopK:
		l.topK(u, x, lo)
		return
	case ir.GLU:
		d := l.dest(u, lo/2, x.cols/2)
		l.vector(vectorOp{op: isa.GLU, d: d, x: x, mode: functions[u.Fn]})
		l.flow(u, d, lo/2)
		return
	}
	var d operand
	switch u.Op { //nolint:exhaustive // called for what streamable allows
	case ir.Add, ir.Mul:
		other := u.Args[0]
		if other == n {
			other = u.Args[1]
		}
		y := x // a value added to itself
		if other != n {
			y = l.chunk(other, lo, x.cols)
		}
		d = l.reuse(u, n, x, lo)
		op := isa.ADD
		if u.Op == ir.Mul {
			op = isa.MUL
		}
		l.vector(vectorOp{op: op, d: d, x: x, y: y, shape: isa.Full})
	case ir.Cast:
		d = l.dest(u, lo, x.cols)
		l.vector(vectorOp{op: isa.CVT, d: d, x: x})
	case ir.Sigmoid:
		d = l.reuse(u, n, x, lo)
		l.vector(vectorOp{op: isa.ACT, d: d, x: x, mode: isa.FnSigmoid})
	case ir.Act:
		d = l.reuse(u, n, x, lo)
		l.vector(vectorOp{op: isa.ACT, d: d, x: x, mode: functions[u.Fn]})
	case ir.SoftCap:
		d = l.reuse(u, n, x, lo)
		l.vector(vectorOp{op: isa.ACT, d: d, x: x, mode: isa.FnSoftcap, imm: u.Cap})
	case ir.Norm:
		d = l.dest(u, lo, x.cols)
		l.headNorm(u, d, x)
	case ir.Rope:
		table := l.value(u.Args[1])
		d = l.dest(u, lo, x.cols)
		l.rope(d, x, table, u.HeadDim, u.Rotary)
	default:
		l.err = fmt.Errorf("%s cannot work on columns", u.Op)
		return
	}
	l.flow(u, d, lo)
}

// functions maps the functions to those of the vector unit.
var functions = [...]uint32{ir.Silu: isa.FnSilu, ir.GeluTanh: isa.FnGeluTanh, ir.Gelu: isa.FnGeluErf, ir.Relu: isa.FnRelu}

// headNorm normalises every head in x's columns. Padding is copied first and
// stays, for the norm then works in place.
func (l *lowerer) headNorm(u *ir.Node, d, x operand) {
	gamma, heads := l.value(u.Args[1]), x.cols/u.HeadDim
	if u.Live < u.HeadDim {
		l.vector(vectorOp{op: isa.CVT, d: d, x: x})
		x = d
	}
	for h := range heads {
		in, out := x.columns(h*u.HeadDim, u.Live), d.columns(h*u.HeadDim, u.Live)
		op := vectorOp{op: isa.NORM, d: out, x: in, y: gamma, shape: isa.Row, imm: u.Eps}
		if l.rows == 1 { // the heads are rows
			op.rows = heads
			op.d.stride, op.x.stride = int64(u.HeadDim*d.dtype.Size()), int64(u.HeadDim*x.dtype.Size())
		}
		l.vector(op)
		if l.rows == 1 {
			return
		}
	}
}

// reuse is dest, but in place where x is a temporary that only u reads.
func (l *lowerer) reuse(u, n *ir.Node, x operand, lo int) operand {
	_, resident := l.full[n]
	_, waits := l.spilled[n]
	if !resident && !waits && !l.whole(u) && len(l.users[n]) == 1 && x.dtype == u.Type.DType && n.Op != ir.Slice {
		return x
	}
	return l.dest(u, lo, x.cols)
}

func (l *lowerer) output(u *ir.Node, x operand, lo int) {
	size := int64(x.dtype.Size())
	pitch := rowPitch(u.Args[0].Type)
	length := align(int64(x.cols)*size, sAlign) // the pad is the buffer's own
	if int64(lo)*size%sAlign != 0 || lo+x.cols < u.Args[0].Type.Cols && int64(x.cols)*size%sAlign != 0 {
		l.err = fmt.Errorf("%s: columns [%d,%d) are not a multiple of %d bytes", u.Name, lo, lo+x.cols, sAlign)
		return
	}
	offset := l.lay.outputs[u] + int64(l.first)*pitch + int64(lo)*size
	l.emit(store(isa.Out, offset, l.rows, length, x.stride, pitch), inS(x.place))
}

func (l *lowerer) appendCache(u *ir.Node, x operand, lo int) {
	c := l.lay.cache
	position := l.value(u.Args[1])
	in := isa.Inst{
		Op: isa.STK, Seg: isa.KV, M: uint32(l.rows), D: uint32(c.headDim), LdX: uint32(x.stride),
		H: uint32(int64(x.cols) / c.headDim), HPitch: uint32(c.headPitch()),
		Off: uint32(int64(lo) / c.headDim * c.headPitch()),
	}
	if u.Name == "v" {
		in.Mode = 1
		in.PPitch = uint32(c.panelPitch())
		in.Off += uint32(c.values())
	}
	l.emit(in, inX(x.place), inIdx(position.place))
}

// topK merges the columns into the best so far.
func (l *lowerer) topK(u *ir.Node, x operand, lo int) {
	d, ok := l.full[u]
	if !ok {
		d = l.newOperand(l.rows, u.K, ir.Pairs)
		l.full[u] = d
	}
	in := vectorOp{op: isa.TOPK, d: d, x: x, aux: uint32(u.K), index: uint32(lo)}
	if lo > 0 {
		in.mode = 1
	}
	l.vector(in)
	if lo+x.cols == u.Args[0].Type.Cols {
		l.flow(u, d, 0)
	}
}

// endChunk closes the temporaries of a chunk. With slack they keep their
// bytes until the next chunk ends, so that chunks alternate.
func (l *lowerer) endChunk() {
	if l.plan.slack {
		l.keep(l.older)
	}
	l.older, l.temps = l.temps, nil
}
