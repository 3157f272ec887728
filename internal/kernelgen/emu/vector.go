package main

import (
	"math"

	"github.com/llima-build/llima/internal/kernelgen/vector"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The vector unit of docs/isa.md §3 is exact: these are its formulas, one
// instruction for each operation, none of them fused.

func (l level) tanh(x reg.VecVirtual) reg.VecVirtual {
	a := l.Absolute(x)
	z := l.Mul(x, x)
	p := l.Horner(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
	near := l.Add(l.Mul(l.Mul(p, z), x), x)
	t := l.Exp(l.Mul(a, vector.Float(-2)))
	one := l.Load(vector.Float(1))
	far := l.Signed(x, l.Div(l.Sub(one, t), l.Add(t, vector.Float(1))))
	return l.Choose(vector.Less, a, vector.Float(0.625), near, far)
}

func (l level) erf(x reg.VecVirtual) reg.VecVirtual {
	one := l.Load(vector.Float(1))
	t := l.Div(one, l.Add(l.Mul(l.Absolute(x), vector.Float(0.3275911)), vector.Float(1)))
	p := l.Horner(t, 1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
	e := l.Mul(l.Mul(t, p), l.Exp(l.Negative(l.Mul(x, x))))
	return l.Signed(x, l.Sub(l.Load(vector.Float(1)), e))
}

func (l level) sqrt(x reg.VecVirtual) reg.VecVirtual { d := l.Vec(); VSQRTPS(x, d); return d }

// ofOne are functions of one number; imm is a vector of the immediate.
var ofOne = []struct {
	name string
	f    func(l level, x, imm reg.VecVirtual) reg.VecVirtual
}{
	{"exp", func(l level, x, _ reg.VecVirtual) reg.VecVirtual { return l.Exp(x) }},
	{"rsqrt", func(l level, x, _ reg.VecVirtual) reg.VecVirtual { return l.Div(l.Load(vector.Float(1)), l.sqrt(x)) }},
	{"tanh", func(l level, x, _ reg.VecVirtual) reg.VecVirtual { return l.tanh(x) }},
	{"sigmoid", func(l level, x, _ reg.VecVirtual) reg.VecVirtual { return l.Sigmoid(x) }},
	{"silu", func(l level, x, _ reg.VecVirtual) reg.VecVirtual {
		return l.Div(x, l.Add(l.Exp(l.Negative(x)), vector.Float(1)))
	}},
	{"geluTanh", func(l level, x, _ reg.VecVirtual) reg.VecVirtual {
		inner := l.Add(l.Mul(l.Mul(l.Mul(x, x), x), vector.Float(0.044715)), x)
		return l.Mul(l.Mul(x, vector.Float(0.5)), l.Add(l.tanh(l.Mul(inner, vector.Float(0.79788456))), vector.Float(1)))
	}},
	{"geluErf", func(l level, x, _ reg.VecVirtual) reg.VecVirtual {
		return l.Mul(l.Mul(x, vector.Float(0.5)), l.Add(l.erf(l.Mul(x, vector.Float(0.70710678))), vector.Float(1)))
	}},
	{"recip", func(l level, x, _ reg.VecVirtual) reg.VecVirtual { return l.Div(l.Load(vector.Float(1)), x) }},
	{"softcap", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.Mul(l.tanh(l.Div(x, imm)), imm) }},
	{"relu", func(l level, x, _ reg.VecVirtual) reg.VecVirtual { return l.Max(x, vector.Float(0)) }},
	{"expSub", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.Exp(l.Sub(x, imm)) }},
	{"addImm", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.Add(x, imm) }},
	{"subImm", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.Sub(x, imm) }},
	{"mulImm", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.Mul(x, imm) }},
	{"divImm", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.Div(x, imm) }},
	{"maxImm", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.Max(x, imm) }},
}

// ofTwo are functions of two numbers.
var ofTwo = []struct {
	name string
	f    func(l level, x, y, imm reg.VecVirtual) reg.VecVirtual
}{
	{"add", func(l level, x, y, _ reg.VecVirtual) reg.VecVirtual { return l.Add(x, y) }},
	{"sub", func(l level, x, y, _ reg.VecVirtual) reg.VecVirtual { return l.Sub(x, y) }},
	{"mul", func(l level, x, y, _ reg.VecVirtual) reg.VecVirtual { return l.Mul(x, y) }},
	{"div", func(l level, x, y, _ reg.VecVirtual) reg.VecVirtual { return l.Div(x, y) }},
	{"max", func(l level, x, y, _ reg.VecVirtual) reg.VecVirtual { return l.Max(x, y) }},
	{"scale", func(l level, x, y, imm reg.VecVirtual) reg.VecVirtual { return l.Mul(l.Mul(x, imm), y) }},
}

// fold are reductions: start is what lanes begin with.
var fold = []struct {
	name  string
	start float32
	f     func(l level, lane, x reg.VecVirtual) reg.VecVirtual
}{
	{"sum", 0, func(l level, lane, x reg.VecVirtual) reg.VecVirtual { return l.Add(lane, x) }},
	{"sumSq", 0, func(l level, lane, x reg.VecVirtual) reg.VecVirtual { return l.Add(lane, l.Mul(x, x)) }},
	{"maximum", float32(math.Inf(-1)), func(l level, lane, x reg.VecVirtual) reg.VecVirtual { return l.Max(x, lane) }},
}

func vectorUnit(l level) {
	for _, u := range ofOne {
		vector.Elementwise(l.Level, u.name, false, func(x, _, imm reg.VecVirtual) reg.VecVirtual { return u.f(l, x, imm) })
	}
	for _, b := range ofTwo {
		vector.Elementwise(l.Level, b.name, true, func(x, y, imm reg.VecVirtual) reg.VecVirtual { return b.f(l, x, y, imm) })
	}
	for _, f := range fold {
		vector.Reduce(l.Level, f.name, f.start, func(lane, x reg.VecVirtual) reg.VecVirtual { return f.f(l, lane, x) })
	}
	rotate(l)
	notLess(l)
}

// rotate writes the kernel of ROPE in halves.
func rotate(l level) {
	vector.Kernel("rotate"+l.Name, "func(dst *float32, x *float32, half int, cos *float32, sin *float32, n int)",
		"rotates n times 16 pairs, whose second numbers lie half bytes behind the first.")
	dst, x, n := Load(Param("dst"), GP64()), Load(Param("x"), GP64()), Load(Param("n"), GP64())
	half, cos, sin := Load(Param("half"), GP64()), Load(Param("cos"), GP64()), Load(Param("sin"), GP64())
	Label("loop")
	for i := 0; i < 64; i += l.Bytes() {
		c, s := l.Load(Mem{Base: cos, Disp: i}), l.Load(Mem{Base: sin, Disp: i})
		a, b := l.Load(Mem{Base: x, Disp: i}), l.Load(Mem{Base: x, Index: half, Scale: 1, Disp: i})
		first := l.Sub(l.Mul(a, c), l.Mul(b, s))
		second := l.Add(l.Mul(b, c), l.Mul(a, s))
		VMOVUPS(first, Mem{Base: dst, Disp: i})
		VMOVUPS(second, Mem{Base: dst, Index: half, Scale: 1, Disp: i})
	}
	for _, p := range []reg.Register{x, cos, sin, dst} {
		ADDQ(U8(64), p)
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// notLess writes the search of TOPK.
func notLess(l level) {
	vector.Kernel("notLess"+l.Name, "func(x *float32, limit float32, n int) int",
		"returns how many blocks of 16 numbers, of n, come before one that is not all less than limit.")
	x, n := Load(Param("x"), GP64()), Load(Param("n"), GP64())
	limit, left, found := l.Broadcast("limit"), GP64(), GP32()
	MOVQ(n, left)
	const notLessThan = 5 // or unordered
	Label("loop")
	if l.Lanes == 16 {
		k := K()
		VCMPPS(Imm(notLessThan), limit, l.Load(Mem{Base: x}), k)
		KMOVW(k, found)
	} else {
		a, b := l.Load(Mem{Base: x}), l.Load(Mem{Base: x, Disp: 32})
		VCMPPS(Imm(notLessThan), limit, a, a)
		VCMPPS(Imm(notLessThan), limit, b, b)
		VORPS(b, a, a)
		VMOVMSKPS(a, found)
	}
	TESTL(found, found)
	JNZ(LabelRef("done"))
	ADDQ(U8(64), x)
	DECQ(left)
	JNZ(LabelRef("loop"))
	Label("done")
	SUBQ(left, n)
	Store(n, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
