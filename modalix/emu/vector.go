package emu

import (
	"math"

	"github.com/llima-build/llima/modalix/isa"
)

// vectorUnit has room for operands that are not F32 in S.
type vectorUnit struct {
	x, y, d []float32
	top     topList
}

// grow returns n elements of a scratch slice, whose contents are undefined.
func grow(s *[]float32, n int) []float32 {
	if cap(*s) < n {
		*s = make([]float32, n)
	}
	return (*s)[:n]
}

// load returns n elements at an address as F32: S itself when it holds F32.
func load(q *quad, t isa.Type, at, n int, room *[]float32) []float32 {
	if t == isa.F32 {
		return view[float32](q.s, at, n)
	}
	out := grow(room, n)
	switch t {
	case isa.BF16:
		for i, v := range view[uint16](q.s, at, n) {
			out[i] = fromBF16(v)
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
func (u *vectorUnit) rowX(q *quad, in *isa.Inst, m uint32, n int) []float32 {
	return load(q, in.TX, int(in.X)+int(m)*int(in.LdX), n, &u.x)
}

// rowY returns row m of a full Y, n elements.
func (u *vectorUnit) rowY(q *quad, in *isa.Inst, m uint32, n int) []float32 {
	stride := strideY(in, int64(n)*int64(in.TY.Size()))
	return load(q, in.TY, int(in.Y)+int(m)*int(stride), n, &u.y)
}

// rowD returns where row m of D, n elements, is to be computed.
func (u *vectorUnit) rowD(q *quad, in *isa.Inst, m uint32, n int) []float32 {
	if in.TD == isa.F32 {
		return view[float32](q.s, int(in.D)+int(m)*int(in.LdD), n)
	}
	return grow(&u.d, n)
}

// store rounds a row that rowD gave into D.
func (u *vectorUnit) store(q *quad, in *isa.Inst, m uint32, d []float32) {
	at := int(in.D) + int(m)*int(in.LdD)
	switch in.TD {
	case isa.BF16:
		out := view[uint16](q.s, at, len(d))
		for i, v := range d {
			out[i] = toBF16(v)
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
func (u *vectorUnit) binary(q *quad, in *isa.Inst) {
	n := int(in.N)
	for m := range in.M {
		x, d := u.rowX(q, in, m, n), u.rowD(q, in, m, n)
		switch in.YShape {
		case isa.Full:
			apply(in.Op, d, x, u.rowY(q, in, m, n))
		case isa.Row:
			apply(in.Op, d, x, u.rowY(q, in, 0, n))
		case isa.Col:
			applyOne(in.Op, d, x, view[float32](q.s, int(in.Y), int(in.M))[m])
		case isa.Imm:
			applyOne(in.Op, d, x, math.Float32frombits(in.Imm))
		}
		u.store(q, in, m, d)
	}
}

func apply(op isa.Op, d, x, y []float32) {
	x, y = x[:len(d)], y[:len(d)]
	switch op { //nolint:exhaustive // called for five
	case isa.ADD:
		for i := range d {
			d[i] = x[i] + y[i]
		}
	case isa.SUB:
		for i := range d {
			d[i] = x[i] - y[i]
		}
	case isa.MUL:
		for i := range d {
			d[i] = x[i] * y[i]
		}
	case isa.DIV:
		for i := range d {
			d[i] = x[i] / y[i]
		}
	default: // MAX
		for i := range d {
			d[i] = larger(x[i], y[i])
		}
	}
}

func applyOne(op isa.Op, d, x []float32, y float32) {
	x = x[:len(d)]
	switch op { //nolint:exhaustive // called for five
	case isa.ADD:
		for i := range d {
			d[i] = x[i] + y
		}
	case isa.SUB:
		for i := range d {
			d[i] = x[i] - y
		}
	case isa.MUL:
		for i := range d {
			d[i] = x[i] * y
		}
	case isa.DIV:
		for i := range d {
			d[i] = x[i] / y
		}
	default: // MAX
		for i := range d {
			d[i] = larger(x[i], y)
		}
	}
}

func (u *vectorUnit) convert(q *quad, in *isa.Inst) {
	n := int(in.N)
	for m := range in.M {
		if in.TX == isa.I32 && in.TD == isa.I32 || in.TX == isa.F32 && in.TD == isa.F32 {
			size := n * 4
			copy(q.s[int(in.D)+int(m)*int(in.LdD):][:size], q.s[int(in.X)+int(m)*int(in.LdX):][:size])
			continue
		}
		x, d := u.rowX(q, in, m, n), u.rowD(q, in, m, n)
		copy(d, x)
		u.store(q, in, m, d)
	}
}

// functions holds the functions of ACT and GLU but softcap, by mode.
var functions = [...]func(float32) float32{
	isa.FnExp: exp, isa.FnRsqrt: rsqrt, isa.FnTanh: tanh, isa.FnSigmoid: sigmoid, isa.FnSilu: silu,
	isa.FnGeluTanh: geluTanh, isa.FnGeluErf: geluErf, isa.FnRecip: recip, isa.FnSoftcap: nil, isa.FnRelu: relu,
}

// function applies an instruction's function to one value.
func function(in *isa.Inst, x float32) float32 {
	if f := functions[in.Mode]; f != nil {
		return f(x)
	}
	limit := math.Float32frombits(in.Imm)
	return limit * tanh(x/limit)
}

func (u *vectorUnit) act(q *quad, in *isa.Inst) {
	n := int(in.N)
	for m := range in.M {
		x, d := u.rowX(q, in, m, n), u.rowD(q, in, m, n)
		for i, v := range x {
			d[i] = function(in, v)
		}
		u.store(q, in, m, d)
	}
}

func (u *vectorUnit) glu(q *quad, in *isa.Inst) {
	n := int(in.N)
	for m := range in.M {
		x := u.rowX(q, in, m, 2*n)
		d := grow(&u.d, n) // D may be X
		for j := range n {
			at := j/16*32 + j%16
			d[j] = function(in, x[at]) * x[at+16]
		}
		if in.TD == isa.F32 {
			copy(u.rowD(q, in, m, n), d)
			continue
		}
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

func sum(x []float32) float32 {
	var l lanes
	for ; len(x) >= len(l); x = x[len(l):] {
		for i, v := range x[:len(l)] {
			l[i] += v
		}
	}
	for i, v := range x {
		l[i] += v
	}
	return l.plus()
}

func sumOfSquares(x []float32) float32 {
	var l lanes
	for ; len(x) >= len(l); x = x[len(l):] {
		for i, v := range x[:len(l)] {
			l[i] += float32(v * v)
		}
	}
	for i, v := range x {
		l[i] += float32(v * v)
	}
	return l.plus()
}

func maximum(x []float32) float32 {
	var l lanes
	for i := range l {
		l[i] = -inf
	}
	for i, v := range x {
		l[i%len(l)] = larger(v, l[i%len(l)])
	}
	for w := 8; w > 0; w /= 2 {
		for i := range w {
			l[i] = larger(l[i], l[i+w])
		}
	}
	return l[0]
}

func (u *vectorUnit) reduce(q *quad, in *isa.Inst) {
	d := view[float32](q.s, int(in.D), int(in.M))
	for m := range in.M {
		x := u.rowX(q, in, m, int(in.N))
		switch in.Mode {
		case isa.RedSum:
			d[m] = sum(x)
		case isa.RedSumSq:
			d[m] = sumOfSquares(x)
		default: // RedMax
			d[m] = maximum(x)
		}
	}
}

func (u *vectorUnit) norm(q *quad, in *isa.Inst) {
	n, eps := int(in.N), math.Float32frombits(in.Imm)
	layer := in.Mode == isa.NormLayer
	rowY := n
	if layer {
		rowY *= 2
	}
	y := load(q, in.TY, int(in.Y), rowY, &u.y)
	for m := range in.M {
		x, d := u.rowX(q, in, m, n), u.rowD(q, in, m, n)
		if layer {
			mean := sum(x) / float32(n)
			for i, v := range x {
				d[i] = v - mean
			}
			x = d
		}
		r := rsqrt(float32(sumOfSquares(x)/float32(n)) + eps)
		for i, v := range x {
			w := float32(float32(v*r) * y[i])
			if layer {
				w += y[n+i]
			}
			d[i] = w
		}
		u.store(q, in, m, d)
	}
}

// exps is exp(x-Y), +0 where x is -Inf.
func (u *vectorUnit) exps(q *quad, in *isa.Inst) {
	n := int(in.N)
	for m := range in.M {
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
func (u *vectorUnit) conv(q *quad, in *isa.Inst) {
	n := int(in.N)
	for m := range in.M {
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
