package emu

import (
	"math"

	"github.com/llima-build/llima/modalix/emu/kern"
	"github.com/llima-build/llima/modalix/isa"
)

// vectorUnit computes rows of D, which are independent of each other: the
// number of workers changes no bit.
type vectorUnit struct {
	pool   *pool
	spaces [maxWorkers]vectorSpace
	job    rowsJob
	rows   func(worker, lo, hi int) // of job
}

// rowsJob is the instruction under way.
type rowsJob struct {
	q  *quad
	in *isa.Inst
	f  func(u *vectorSpace, q *quad, in *isa.Inst, lo, hi uint32)
}

// sharedNumbers is how many elements of D are worth sharing: a microsecond of
// one core or more.
const sharedNumbers = 1 << 13

// run computes all rows of D by f, which is for rows [lo,hi).
func (u *vectorUnit) run(q *quad, in *isa.Inst, f func(u *vectorSpace, q *quad, in *isa.Inst, lo, hi uint32)) {
	if in.M == 1 || in.M*in.N*max(1, in.Aux) < sharedNumbers {
		f(&u.spaces[0], q, in, 0, in.M)
		return
	}
	u.job = rowsJob{q, in, f}
	u.pool.run(int(in.M), u.rows)
	u.job = rowsJob{}
}

// work computes rows [lo,hi) of the job.
func (u *vectorUnit) work(worker, lo, hi int) {
	u.job.f(&u.spaces[worker], u.job.q, u.job.in, uint32(lo), uint32(hi))
}

// use sets the kernels that may be used; nil is none.
func (u *vectorUnit) use(set *kern.Set) {
	for i := range u.spaces {
		u.spaces[i].set = set
	}
}

// vectorSpace is what one worker needs: room for operands that are not F32 in
// S, and the kernels, whose results are those of the plain loops after them.
type vectorSpace struct {
	set        *kern.Set
	x, y, d, g []float32
	lanes      lanes
	top        topList
}

// grow returns n elements of a scratch slice, whose contents are undefined.
func grow(s *[]float32, n int) []float32 {
	if cap(*s) < n {
		*s = make([]float32, n)
	}
	return (*s)[:n]
}

// load returns n elements at an address as F32: S itself when it holds F32.
func (u *vectorSpace) load(q *quad, t isa.Type, at, n int, room *[]float32) []float32 {
	if t == isa.F32 {
		return view[float32](q.s, at, n)
	}
	out := grow(room, n)
	switch t {
	case isa.BF16:
		i := u.set.WidenBF16(out, q.s[at:at+2*n])
		for ; i < n; i++ {
			out[i] = fromBF16(view[uint16](q.s, at, n)[i])
		}
	case isa.I32:
		for i, v := range view[int32](q.s, at, n) {
			out[i] = float32(v)
		}
	case isa.I8:
		for i, v := range view[int8](q.s, at, n) {
			out[i] = float32(v)
		}
	case isa.F32:
	}
	return out
}

// rowX returns row m of X, n elements.
func (u *vectorSpace) rowX(q *quad, in *isa.Inst, m uint32, n int) []float32 {
	return u.load(q, in.TX, int(in.X)+int(m)*int(in.LdX), n, &u.x)
}

// rowY returns row m of a full Y, n elements.
func (u *vectorSpace) rowY(q *quad, in *isa.Inst, m uint32, n int) []float32 {
	stride := strideY(in, int64(n)*int64(in.TY.Size()))
	return u.load(q, in.TY, int(in.Y)+int(m)*int(stride), n, &u.y)
}

// rowD returns where row m of D, n elements, is to be computed.
func (u *vectorSpace) rowD(q *quad, in *isa.Inst, m uint32, n int) []float32 {
	if in.TD == isa.F32 {
		return view[float32](q.s, int(in.D)+int(m)*int(in.LdD), n)
	}
	return grow(&u.d, n)
}

// store rounds a row that rowD gave into D.
func (u *vectorSpace) store(q *quad, in *isa.Inst, m uint32, d []float32) {
	at := int(in.D) + int(m)*int(in.LdD)
	switch in.TD {
	case isa.BF16:
		out := view[uint16](q.s, at, len(d))
		for i := u.set.NarrowBF16(q.s[at:], d); i < len(d); i++ {
			out[i] = toBF16(d[i])
		}
	case isa.I32:
		out := view[int32](q.s, at, len(d))
		for i, v := range d {
			out[i] = toInt(v, math.MinInt32, math.MaxInt32)
		}
	case isa.I8:
		out := view[int8](q.s, at, len(d))
		for i, v := range d {
			out[i] = int8(toInt(v, math.MinInt8, math.MaxInt8))
		}
	case isa.F32:
	}
}

// binary is ADD, SUB, MUL, DIV and MAX.
func (u *vectorSpace) binary(q *quad, in *isa.Inst, lo, hi uint32) {
	n := int(in.N)
	for m := lo; m < hi; m++ {
		x, d := u.rowX(q, in, m, n), u.rowD(q, in, m, n)
		switch in.YShape {
		case isa.Full:
			u.apply(in.Op, d, x, u.rowY(q, in, m, n))
		case isa.Row:
			u.apply(in.Op, d, x, u.rowY(q, in, 0, n))
		case isa.Col:
			u.applyOne(in.Op, d, x, view[float32](q.s, int(in.Y), int(in.M))[m])
		case isa.Imm:
			u.applyOne(in.Op, d, x, math.Float32frombits(in.Imm))
		}
		u.store(q, in, m, d)
	}
}

// binaryKernels are the kernels of ADD, SUB, MUL, DIV and MAX: of two numbers,
// and of one and an immediate.
var binaryKernels = [...]struct {
	two kern.Func2
	one kern.Func
}{{kern.Add, kern.AddImm}, {kern.Sub, kern.SubImm}, {kern.Mul, kern.MulImm}, {kern.Div, kern.DivImm}, {kern.Max, kern.MaxImm}}

// arithmetic is one of binary's operations.
func arithmetic(op isa.Op, x, y float32) float32 {
	switch op { //nolint:exhaustive // called for five
	case isa.ADD:
		return x + y
	case isa.SUB:
		return x - y
	case isa.MUL:
		return x * y
	case isa.DIV:
		return x / y
	default:
		return larger(x, y) // MAX
	}
}

func (u *vectorSpace) apply(op isa.Op, d, x, y []float32) {
	for i := u.set.Apply2(binaryKernels[op-isa.ADD].two, d, x, y, 0); i < len(d); i++ {
		d[i] = arithmetic(op, x[i], y[i])
	}
}

func (u *vectorSpace) applyOne(op isa.Op, d, x []float32, y float32) {
	for i := u.set.Apply(binaryKernels[op-isa.ADD].one, d, x, y); i < len(d); i++ {
		d[i] = arithmetic(op, x[i], y)
	}
}

func (u *vectorSpace) convert(q *quad, in *isa.Inst, lo, hi uint32) {
	n := int(in.N)
	for m := lo; m < hi; m++ {
		if in.TX == isa.I32 && in.TD == isa.I32 || in.TX == isa.F32 && in.TD == isa.F32 {
			size := n * 4
			copy(q.s[int(in.D)+int(m)*int(in.LdD):][:size], q.s[int(in.X)+int(m)*int(in.LdX):][:size])
			continue
		}
		x := u.rowX(q, in, m, n)
		if in.TD == isa.F32 {
			copy(u.rowD(q, in, m, n), x)
			continue
		}
		u.store(q, in, m, x)
	}
}

// functions holds the functions of ACT and GLU, by mode: softcap is written
// out below.
var functions = [...]struct {
	plain  func(float32) float32
	kernel kern.Func
}{
	isa.FnExp: {exp, kern.Exp}, isa.FnRsqrt: {rsqrt, kern.Rsqrt}, isa.FnTanh: {tanh, kern.Tanh},
	isa.FnSigmoid: {sigmoid, kern.Sigmoid}, isa.FnSilu: {silu, kern.Silu}, isa.FnGeluTanh: {geluTanh, kern.GeluTanh},
	isa.FnGeluErf: {geluErf, kern.GeluErf}, isa.FnRecip: {recip, kern.Recip}, isa.FnSoftcap: {nil, kern.Softcap},
	isa.FnRelu: {relu, kern.Relu},
}

// function applies an instruction's function.
func (u *vectorSpace) function(in *isa.Inst, d, x []float32) {
	f, limit := functions[in.Mode], math.Float32frombits(in.Imm)
	for i := u.set.Apply(f.kernel, d, x, limit); i < len(d); i++ {
		if f.plain == nil {
			d[i] = limit * tanh(x[i]/limit)
		} else {
			d[i] = f.plain(x[i])
		}
	}
}

func (u *vectorSpace) act(q *quad, in *isa.Inst, lo, hi uint32) {
	n := int(in.N)
	for m := lo; m < hi; m++ {
		d := u.rowD(q, in, m, n)
		u.function(in, d, u.rowX(q, in, m, n))
		u.store(q, in, m, d)
	}
}

func (u *vectorSpace) glu(q *quad, in *isa.Inst, lo, hi uint32) {
	const panel = isa.PanelRows
	n := int(in.N)
	for m := lo; m < hi; m++ {
		x := u.rowX(q, in, m, 2*n)
		both := grow(&u.g, 2*n) // apart from X, which D may be
		gate, up := both[:n], both[n:]
		for j := 0; j < n; j += panel {
			*(*[panel]float32)(gate[j:]) = [panel]float32(x[2*j:])
			*(*[panel]float32)(up[j:]) = [panel]float32(x[2*j+panel:])
		}
		u.function(in, gate, gate)
		d := u.rowD(q, in, m, n)
		u.apply(isa.MUL, d, gate, up)
		u.store(q, in, m, d)
	}
}

// lanes is the state of a reduction: lane l folds elements l, l+16, ...
type lanes [16]float32

// plus reduces the lanes to their sum, halves onto halves.
func (l *lanes) plus() float32 {
	for w := 8; w > 0; w /= 2 {
		for i := range w {
			l[i] += l[i+w]
		}
	}
	return l[0]
}

func (u *vectorSpace) sum(x []float32) float32 {
	l := u.startLanes(0)
	for i := u.set.Fold(kern.Sum, (*[16]float32)(l), x); i < len(x); i++ {
		l[i%len(l)] += x[i]
	}
	return l.plus()
}

func (u *vectorSpace) sumOfSquares(x []float32) float32 {
	l := u.startLanes(0)
	for i := u.set.Fold(kern.SumSq, (*[16]float32)(l), x); i < len(x); i++ {
		l[i%len(l)] += float32(x[i] * x[i])
	}
	return l.plus()
}

func (u *vectorSpace) maximum(x []float32) float32 {
	l := u.startLanes(-inf)
	for i := u.set.Fold(kern.Maximum, (*[16]float32)(l), x); i < len(x); i++ {
		l[i%len(l)] = larger(x[i], l[i%len(l)])
	}
	for w := 8; w > 0; w /= 2 {
		for i := range w {
			l[i] = larger(l[i], l[i+w])
		}
	}
	return l[0]
}

// startLanes returns the lanes of a reduction, all at v.
func (u *vectorSpace) startLanes(v float32) *lanes {
	for i := range u.lanes {
		u.lanes[i] = v
	}
	return &u.lanes
}

func (u *vectorSpace) reduce(q *quad, in *isa.Inst, lo, hi uint32) {
	d := view[float32](q.s, int(in.D), int(in.M))
	for m := lo; m < hi; m++ {
		x := u.rowX(q, in, m, int(in.N))
		switch in.Mode {
		case isa.RedSum:
			d[m] = u.sum(x)
		case isa.RedSumSq:
			d[m] = u.sumOfSquares(x)
		default: // RedMax
			d[m] = u.maximum(x)
		}
	}
}

func (u *vectorSpace) norm(q *quad, in *isa.Inst, lo, hi uint32) {
	n, eps := int(in.N), math.Float32frombits(in.Imm)
	layer := in.Mode == isa.NormLayer
	rowY := n
	if layer {
		rowY *= 2
	}
	y := u.load(q, in.TY, int(in.Y), rowY, &u.y)
	for m := lo; m < hi; m++ {
		x, d := u.rowX(q, in, m, n), u.rowD(q, in, m, n)
		if layer {
			u.applyOne(isa.SUB, d, x, u.sum(x)/float32(n))
			x = d
		}
		r := rsqrt(float32(u.sumOfSquares(x)/float32(n)) + eps)
		for i := u.set.Apply2(kern.Scale, d, x, y, r); i < n; i++ {
			d[i] = float32(x[i]*r) * y[i]
		}
		if layer {
			u.apply(isa.ADD, d, d, y[n:])
		}
		u.store(q, in, m, d)
	}
}

// exps is exp(x-Y), +0 where x is -Inf.
func (u *vectorSpace) exps(q *quad, in *isa.Inst, lo, hi uint32) {
	n := int(in.N)
	for m := lo; m < hi; m++ {
		x, d := u.rowX(q, in, m, n), u.rowD(q, in, m, n)
		var y []float32
		var column float32
		if in.YShape == isa.Full {
			y = u.rowY(q, in, m, n)
		} else {
			column = view[float32](q.s, int(in.Y), int(in.M))[m]
		}
		for i, v := range x {
			if y != nil {
				column = y[i]
			}
			if v == -inf {
				d[i] = 0
				continue
			}
			d[i] = exp(v - column)
		}
		u.store(q, in, m, d)
	}
}

// conv is a causal convolution of each column: X begins with aux-1 rows of
// state.
func (u *vectorSpace) conv(q *quad, in *isa.Inst, lo, hi uint32) {
	n := int(in.N)
	for m := lo; m < hi; m++ {
		d := grow(&u.d, n)
		clear(d)
		for j := range in.Aux {
			x, y := u.rowX(q, in, m+j, n), u.rowY(q, in, j, n)
			for i := range d {
				d[i] += float32(y[i] * x[i])
			}
		}
		if in.TD == isa.F32 {
			copy(u.rowD(q, in, m, n), d)
			continue
		}
		u.store(q, in, m, d)
	}
}
