package main

import (
	"fmt"
	"math"

	"github.com/llima-build/llima/internal/kernelgen/vector"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The vector unit of docs/isa.md §3 is exact: these are its formulas, one
// instruction for each operation, none of them fused.

// Predicates of VCMPPS: false where an operand is NaN, but for unordered.
const (
	less      = 0x11
	greater   = 0x1e
	unordered = 3
)

var constants = map[uint32]Mem{}

// f32 returns a constant that fills a vector.
func f32(v float32) Mem { return bits(math.Float32bits(v)) }

func bits(u uint32) Mem {
	m, ok := constants[u]
	if !ok {
		m = GLOBL(fmt.Sprintf("c%08x", u), RODATA|NOPTR)
		for i := range 16 {
			DATA(4*i, U32(u))
		}
		constants[u] = m
	}
	return m
}

func (l level) add(a reg.VecVirtual, b Op) reg.VecVirtual { d := l.Vec(); VADDPS(b, a, d); return d }
func (l level) sub(a reg.VecVirtual, b Op) reg.VecVirtual { d := l.Vec(); VSUBPS(b, a, d); return d }
func (l level) mul(a reg.VecVirtual, b Op) reg.VecVirtual { d := l.Vec(); VMULPS(b, a, d); return d }
func (l level) div(a reg.VecVirtual, b Op) reg.VecVirtual { d := l.Vec(); VDIVPS(b, a, d); return d }

// max is a > b ? a : b.
func (l level) max(a reg.VecVirtual, b Op) reg.VecVirtual { d := l.Vec(); VMAXPS(b, a, d); return d }

func (l level) load(m Op) reg.VecVirtual { d := l.Vec(); VMOVUPS(m, d); return d }

func (l level) xor(a reg.VecVirtual, b Op) reg.VecVirtual {
	d := l.Vec()
	if l.Lanes == 16 {
		VPXORD(b, a, d)
	} else {
		VPXOR(b, a, d)
	}
	return d
}

func (l level) and(a reg.VecVirtual, b Op) reg.VecVirtual {
	d := l.Vec()
	if l.Lanes == 16 {
		VPANDD(b, a, d)
	} else {
		VPAND(b, a, d)
	}
	return d
}

// choose returns yes where a compares so with b, else no.
func (l level) choose(predicate uint64, a reg.VecVirtual, b Op, yes, no reg.VecVirtual) reg.VecVirtual {
	d := l.Vec()
	if l.Lanes == 16 {
		k := K()
		VCMPPS(Imm(predicate), b, a, k)
		VBLENDMPS(yes, no, k, d)
		return d
	}
	m := l.Vec()
	VCMPPS(Imm(predicate), b, a, m)
	VBLENDVPS(m, yes, no, d)
	return d
}

// horner evaluates a polynomial of x, its first coefficient leading.
func (l level) horner(x reg.VecVirtual, coefficients ...float32) reg.VecVirtual {
	p := l.load(f32(coefficients[0]))
	for _, c := range coefficients[1:] {
		p = l.add(l.mul(p, x), f32(c))
	}
	return p
}

func (l level) negative(x reg.VecVirtual) reg.VecVirtual { return l.xor(x, bits(1<<31)) }
func (l level) absolute(x reg.VecVirtual) reg.VecVirtual { return l.and(x, bits(1<<31-1)) }

// signed turns y's sign where x has one.
func (l level) signed(x, y reg.VecVirtual) reg.VecVirtual {
	return l.xor(y, l.and(x, bits(1<<31)))
}

func (l level) exp(x reg.VecVirtual) reg.VecVirtual {
	const magic = 12582912
	n := l.sub(l.add(l.mul(x, f32(1.44269504)), f32(magic)), f32(magic))
	r := l.sub(x, l.mul(n, f32(0.693359375)))
	r = l.sub(r, l.mul(n, f32(-2.12194440e-4)))
	p := l.horner(r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
	y := l.add(l.add(l.mul(p, l.mul(r, r)), r), f32(1))
	scale := l.Vec()
	VCVTPS2DQ(n, scale)
	VPADDD(bits(127), scale, scale)
	VPSLLD(Imm(23), scale, scale)
	y = l.mul(y, scale)
	zero := l.Vec()
	l.Zero(zero)
	y = l.choose(less, x, f32(-86.5), zero, y)
	y = l.choose(greater, x, f32(88), l.load(f32(float32(math.Inf(1)))), y)
	return l.choose(unordered, x, x, x, y)
}

func (l level) tanh(x reg.VecVirtual) reg.VecVirtual {
	a := l.absolute(x)
	z := l.mul(x, x)
	p := l.horner(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
	near := l.add(l.mul(l.mul(p, z), x), x)
	t := l.exp(l.mul(a, f32(-2)))
	one := l.load(f32(1))
	far := l.signed(x, l.div(l.sub(one, t), l.add(t, f32(1))))
	return l.choose(less, a, f32(0.625), near, far)
}

func (l level) erf(x reg.VecVirtual) reg.VecVirtual {
	one := l.load(f32(1))
	t := l.div(one, l.add(l.mul(l.absolute(x), f32(0.3275911)), f32(1)))
	p := l.horner(t, 1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
	e := l.mul(l.mul(t, p), l.exp(l.negative(l.mul(x, x))))
	return l.signed(x, l.sub(l.load(f32(1)), e))
}

func (l level) sqrt(x reg.VecVirtual) reg.VecVirtual { d := l.Vec(); VSQRTPS(x, d); return d }

// ofOne are functions of one number; imm is a vector of the immediate.
var ofOne = []struct {
	name string
	f    func(l level, x, imm reg.VecVirtual) reg.VecVirtual
}{
	{"exp", func(l level, x, _ reg.VecVirtual) reg.VecVirtual { return l.exp(x) }},
	{"rsqrt", func(l level, x, _ reg.VecVirtual) reg.VecVirtual { return l.div(l.load(f32(1)), l.sqrt(x)) }},
	{"tanh", func(l level, x, _ reg.VecVirtual) reg.VecVirtual { return l.tanh(x) }},
	{"sigmoid", func(l level, x, _ reg.VecVirtual) reg.VecVirtual {
		return l.div(l.load(f32(1)), l.add(l.exp(l.negative(x)), f32(1)))
	}},
	{"silu", func(l level, x, _ reg.VecVirtual) reg.VecVirtual {
		return l.div(x, l.add(l.exp(l.negative(x)), f32(1)))
	}},
	{"geluTanh", func(l level, x, _ reg.VecVirtual) reg.VecVirtual {
		inner := l.add(l.mul(l.mul(l.mul(x, x), x), f32(0.044715)), x)
		return l.mul(l.mul(x, f32(0.5)), l.add(l.tanh(l.mul(inner, f32(0.79788456))), f32(1)))
	}},
	{"geluErf", func(l level, x, _ reg.VecVirtual) reg.VecVirtual {
		return l.mul(l.mul(x, f32(0.5)), l.add(l.erf(l.mul(x, f32(0.70710678))), f32(1)))
	}},
	{"recip", func(l level, x, _ reg.VecVirtual) reg.VecVirtual { return l.div(l.load(f32(1)), x) }},
	{"softcap", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.mul(l.tanh(l.div(x, imm)), imm) }},
	{"relu", func(l level, x, _ reg.VecVirtual) reg.VecVirtual { return l.max(x, f32(0)) }},
	{"expSub", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.exp(l.sub(x, imm)) }},
	{"addImm", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.add(x, imm) }},
	{"subImm", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.sub(x, imm) }},
	{"mulImm", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.mul(x, imm) }},
	{"divImm", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.div(x, imm) }},
	{"maxImm", func(l level, x, imm reg.VecVirtual) reg.VecVirtual { return l.max(x, imm) }},
}

// ofTwo are functions of two numbers.
var ofTwo = []struct {
	name string
	f    func(l level, x, y, imm reg.VecVirtual) reg.VecVirtual
}{
	{"add", func(l level, x, y, _ reg.VecVirtual) reg.VecVirtual { return l.add(x, y) }},
	{"sub", func(l level, x, y, _ reg.VecVirtual) reg.VecVirtual { return l.sub(x, y) }},
	{"mul", func(l level, x, y, _ reg.VecVirtual) reg.VecVirtual { return l.mul(x, y) }},
	{"div", func(l level, x, y, _ reg.VecVirtual) reg.VecVirtual { return l.div(x, y) }},
	{"max", func(l level, x, y, _ reg.VecVirtual) reg.VecVirtual { return l.max(x, y) }},
	{"scale", func(l level, x, y, imm reg.VecVirtual) reg.VecVirtual { return l.mul(l.mul(x, imm), y) }},
}

// fold are reductions: start is what lanes begin with.
var fold = []struct {
	name  string
	start float32
	f     func(l level, lane, x reg.VecVirtual) reg.VecVirtual
}{
	{"sum", 0, func(l level, lane, x reg.VecVirtual) reg.VecVirtual { return l.add(lane, x) }},
	{"sumSq", 0, func(l level, lane, x reg.VecVirtual) reg.VecVirtual { return l.add(lane, l.mul(x, x)) }},
	{"maximum", float32(math.Inf(-1)), func(l level, lane, x reg.VecVirtual) reg.VecVirtual { return l.max(x, lane) }},
}

func vectorUnit(l level) {
	for _, u := range ofOne {
		elementwise(l, u.name, false, func(x, _, imm reg.VecVirtual) reg.VecVirtual { return u.f(l, x, imm) })
	}
	for _, b := range ofTwo {
		elementwise(l, b.name, true, func(x, y, imm reg.VecVirtual) reg.VecVirtual { return b.f(l, x, y, imm) })
	}
	for _, f := range fold {
		reduce(l, f.name, f.start, f.f)
	}
	rotate(l)
	notLess(l)
}

// broadcast loads a parameter into all lanes.
func (l level) broadcast(name string) reg.VecVirtual {
	v := l.Vec()
	p, err := Param(name).Resolve()
	fatal(err)
	VBROADCASTSS(p.Addr, v)
	return v
}

// elementwise writes a kernel over blocks of 16 numbers.
func elementwise(l level, name string, two bool, f func(x, y, imm reg.VecVirtual) reg.VecVirtual) {
	parameters := "dst *float32, x *float32"
	if two {
		parameters += ", y *float32"
	}
	vector.Kernel(name+l.Name, "func("+parameters+", imm float32, n int)", "writes the function of n times 16 numbers.")
	dst, x, n := Load(Param("dst"), GP64()), Load(Param("x"), GP64()), Load(Param("n"), GP64())
	var y reg.Register
	if two {
		y = Load(Param("y"), GP64())
	}
	imm := l.broadcast("imm")
	Label("loop")
	for i := 0; i < 64; i += l.Bytes() {
		var b reg.VecVirtual
		if two {
			b = l.load(Mem{Base: y, Disp: i})
		}
		VMOVUPS(f(l.load(Mem{Base: x, Disp: i}), b, imm), Mem{Base: dst, Disp: i})
	}
	ADDQ(U8(64), x)
	if two {
		ADDQ(U8(64), y)
	}
	ADDQ(U8(64), dst)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// reduce writes a kernel that folds blocks of 16 numbers into 16 lanes.
func reduce(l level, name string, start float32, f func(l level, lane, x reg.VecVirtual) reg.VecVirtual) {
	vector.Kernel(name+l.Name, "func(lanes *float32, x *float32, n int)", "folds n times 16 numbers into 16 lanes.")
	lanes, x, n := Load(Param("lanes"), GP64()), Load(Param("x"), GP64()), Load(Param("n"), GP64())
	var v []reg.VecVirtual
	for i := 0; i < 64; i += l.Bytes() {
		v = append(v, l.load(f32(start)))
	}
	Label("loop")
	for i := range v {
		next := f(l, v[i], l.load(Mem{Base: x, Disp: i * l.Bytes()}))
		VMOVAPS(next, v[i])
	}
	ADDQ(U8(64), x)
	DECQ(n)
	JNZ(LabelRef("loop"))
	for i := range v {
		VMOVUPS(v[i], Mem{Base: lanes, Disp: i * l.Bytes()})
	}
	VZEROUPPER()
	RET()
}

// rotate writes the kernel of ROPE in halves.
func rotate(l level) {
	vector.Kernel("rotate"+l.Name, "func(dst *float32, x *float32, half int, cos *float32, sin *float32, n int)",
		"rotates n times 16 pairs, whose second numbers lie half bytes behind the first.")
	dst, x, n := Load(Param("dst"), GP64()), Load(Param("x"), GP64()), Load(Param("n"), GP64())
	half, cos, sin := Load(Param("half"), GP64()), Load(Param("cos"), GP64()), Load(Param("sin"), GP64())
	Label("loop")
	for i := 0; i < 64; i += l.Bytes() {
		c, s := l.load(Mem{Base: cos, Disp: i}), l.load(Mem{Base: sin, Disp: i})
		a, b := l.load(Mem{Base: x, Disp: i}), l.load(Mem{Base: x, Index: half, Scale: 1, Disp: i})
		first := l.sub(l.mul(a, c), l.mul(b, s))
		second := l.add(l.mul(b, c), l.mul(a, s))
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
	limit, left, found := l.broadcast("limit"), GP64(), GP32()
	MOVQ(n, left)
	const notLessThan = 5 // or unordered
	Label("loop")
	if l.Lanes == 16 {
		k := K()
		VCMPPS(Imm(notLessThan), limit, l.load(Mem{Base: x}), k)
		KMOVW(k, found)
	} else {
		a, b := l.load(Mem{Base: x}), l.load(Mem{Base: x, Disp: 32})
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
