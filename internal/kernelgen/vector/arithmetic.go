package vector

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Less and the others are predicates of VCMPPS: false where an operand is NaN, but for unordered.
const (
	Less      = 0x11
	Greater   = 0x1e
	Unordered = 3
)

var constants = map[uint32]Mem{}

// Float returns a constant that fills a vector.
func Float(v float32) Mem { return Bits(math.Float32bits(v)) }

// Bits is [Float] of a number given by its bits.
func Bits(u uint32) Mem {
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

// Add and the operations below it are one instruction each.
func (l Level) Add(a reg.VecVirtual, b Op) reg.VecVirtual { d := l.Vec(); VADDPS(b, a, d); return d }
func (l Level) Sub(a reg.VecVirtual, b Op) reg.VecVirtual { d := l.Vec(); VSUBPS(b, a, d); return d }
func (l Level) Mul(a reg.VecVirtual, b Op) reg.VecVirtual { d := l.Vec(); VMULPS(b, a, d); return d }
func (l Level) Div(a reg.VecVirtual, b Op) reg.VecVirtual { d := l.Vec(); VDIVPS(b, a, d); return d }

// Max is a > b ? a : b.
func (l Level) Max(a reg.VecVirtual, b Op) reg.VecVirtual { d := l.Vec(); VMAXPS(b, a, d); return d }

// Load reads a vector, or copies one.
func (l Level) Load(m Op) reg.VecVirtual { d := l.Vec(); VMOVUPS(m, d); return d }

// Xor is a ^ b.
func (l Level) Xor(a reg.VecVirtual, b Op) reg.VecVirtual {
	d := l.Vec()
	if l.Lanes == 16 {
		VPXORD(b, a, d)
	} else {
		VPXOR(b, a, d)
	}
	return d
}

// And is a & b.
func (l Level) And(a reg.VecVirtual, b Op) reg.VecVirtual {
	d := l.Vec()
	if l.Lanes == 16 {
		VPANDD(b, a, d)
	} else {
		VPAND(b, a, d)
	}
	return d
}

// Choose returns yes where a compares so with b, else no.
func (l Level) Choose(predicate uint64, a reg.VecVirtual, b Op, yes, no reg.VecVirtual) reg.VecVirtual {
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

// Horner evaluates a polynomial of x, its first coefficient leading.
func (l Level) Horner(x reg.VecVirtual, coefficients ...float32) reg.VecVirtual {
	p := l.Load(Float(coefficients[0]))
	for _, c := range coefficients[1:] {
		p = l.Add(l.Mul(p, x), Float(c))
	}
	return p
}

// Negative and Absolute change the sign bit alone.
func (l Level) Negative(x reg.VecVirtual) reg.VecVirtual { return l.Xor(x, Bits(1<<31)) }
func (l Level) Absolute(x reg.VecVirtual) reg.VecVirtual { return l.And(x, Bits(1<<31-1)) }

// Signed turns y's sign where x has one.
func (l Level) Signed(x, y reg.VecVirtual) reg.VecVirtual {
	return l.Xor(y, l.And(x, Bits(1<<31)))
}

// Exp is exp of docs/isa.md §3.
func (l Level) Exp(x reg.VecVirtual) reg.VecVirtual {
	const magic = 12582912
	n := l.Sub(l.Add(l.Mul(x, Float(1.44269504)), Float(magic)), Float(magic))
	r := l.Sub(x, l.Mul(n, Float(0.693359375)))
	r = l.Sub(r, l.Mul(n, Float(-2.12194440e-4)))
	p := l.Horner(r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
	y := l.Add(l.Add(l.Mul(p, l.Mul(r, r)), r), Float(1))
	scale := l.Vec()
	VCVTPS2DQ(n, scale)
	VPADDD(Bits(127), scale, scale)
	VPSLLD(Imm(23), scale, scale)
	y = l.Mul(y, scale)
	zero := l.Vec()
	l.Zero(zero)
	y = l.Choose(Less, x, Float(-86.5), zero, y)
	y = l.Choose(Greater, x, Float(88), l.Load(Float(float32(math.Inf(1)))), y)
	return l.Choose(Unordered, x, x, x, y)
}

// Sigmoid is that of docs/isa.md §3.
func (l Level) Sigmoid(x reg.VecVirtual) reg.VecVirtual {
	return l.Div(l.Load(Float(1)), l.Add(l.Exp(l.Negative(x)), Float(1)))
}

// Broadcast loads a parameter into all lanes.
func (l Level) Broadcast(name string) reg.VecVirtual {
	v := l.Vec()
	p, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(p.Addr, v)
	return v
}

// Elementwise writes a kernel over blocks of 16 numbers.
func Elementwise(l Level, name string, two bool, f func(x, y, imm reg.VecVirtual) reg.VecVirtual) {
	parameters := "dst *float32, x *float32"
	if two {
		parameters += ", y *float32"
	}
	Kernel(name+l.Name, "func("+parameters+", imm float32, n int)", "writes the function of n times 16 numbers.")
	dst, x, n := Load(Param("dst"), GP64()), Load(Param("x"), GP64()), Load(Param("n"), GP64())
	var y reg.Register
	if two {
		y = Load(Param("y"), GP64())
	}
	imm := l.Broadcast("imm")
	Label("loop")
	for i := 0; i < 64; i += l.Bytes() {
		var b reg.VecVirtual
		if two {
			b = l.Load(Mem{Base: y, Disp: i})
		}
		VMOVUPS(f(l.Load(Mem{Base: x, Disp: i}), b, imm), Mem{Base: dst, Disp: i})
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

// Reduce writes a kernel that folds blocks of 16 numbers into 16 lanes.
func Reduce(l Level, name string, start float32, f func(lane, x reg.VecVirtual) reg.VecVirtual) {
	Kernel(name+l.Name, "func(lanes *float32, x *float32, n int)", "folds n times 16 numbers into 16 lanes.")
	lanes, x, n := Load(Param("lanes"), GP64()), Load(Param("x"), GP64()), Load(Param("n"), GP64())
	var v []reg.VecVirtual
	for i := 0; i < 64; i += l.Bytes() {
		v = append(v, l.Load(Float(start)))
	}
	Label("loop")
	for i := range v {
		next := f(v[i], l.Load(Mem{Base: x, Disp: i * l.Bytes()}))
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
