// Command quant writes the assembly of package kern of quant; make kernels runs it.
package main

import (
	"github.com/llima-build/llima/internal/kernelgen/vector"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// level adds to vectors what the kernels of this package do with them.
type level struct{ vector.Level }

// and sets dst to a & b.
func (l level) and(a Op, b, dst reg.VecVirtual) {
	if l.Lanes == 8 {
		VPAND(a, b, dst)
		return
	}
	VPANDD(a, b, dst)
}

// or sets dst to a | b.
func (l level) or(a Op, b, dst reg.VecVirtual) {
	if l.Lanes == 8 {
		VPOR(a, b, dst)
		return
	}
	VPORD(a, b, dst)
}

// param returns a vector of an argument of 32 bits in every lane.
func (l level) param(name string) reg.VecVirtual {
	at, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	v := l.Vec()
	VBROADCASTSS(at.Addr, v)
	return v
}

// where keeps the lanes of v in which a compares with b like imm says.
func (l level) where(imm uint64, b Op, a, v reg.VecVirtual) {
	if l.Lanes == 16 {
		k := K()
		VCMPPS(Imm(imm), b, a, k)
		VMOVAPS_Z(v, k, v)
		return
	}
	m := YMM()
	VCMPPS(Imm(imm), b, a, m)
	VPAND(m, v, v)
}

// The comparisons of VCMPPS and VCMPPD that are false for NaN.
const (
	greater        = 0x1e
	greaterOrEqual = 0x1d
)

func main() {
	ConstraintExpr("amd64")
	for _, l := range []level{{vector.AVX2}, {vector.AVX512}} {
		for _, from := range []string{"BF16", "F16", "F32"} {
			widen(l, from)
		}
		peaks(l)
		nearest(l)
		round(l)
		fix(l)
		searches(l, false)
		encode(l)
		narrow(l)
	}
	searches(level{vector.AVX512}, true)
	vector.Turn("int16")
	pack(true)
	pack(false)
	Generate()
}

func searches(l level, vnni bool) {
	for _, signed := range []bool{true, false} {
		for _, long := range []bool{false, true} {
			(&search{level: l, signed: signed, long: long, vnni: vnni}).generate()
		}
	}
}

// widen converts 16 numbers at a time to F32, exactly, and finds the greatest.
func widen(l level, from string) {
	vector.Kernel("widen"+from+l.Name, "func(dst *float32, src *byte, n int) (most uint32)",
		"converts n times 16 "+from+" numbers to F32, exactly, and returns the",
		"bits of the greatest magnitude; those of a NaN exceed all others.")
	dst, src, n := Load(Param("dst"), GP64()), Load(Param("src"), GP64()), Load(Param("n"), GP64())
	magnitude, most := l.Constant(0x7fffffff), l.Vec()
	l.Zero(most)
	size := map[string]int{"BF16": 2, "F16": 2, "F32": 4}[from]
	Label("loop")
	for i := 0; i < 16; i += l.Lanes {
		v, at := l.Vec(), Mem{Base: src, Disp: size * i}
		switch from {
		case "BF16":
			VPMOVZXWD(at, v)
			VPSLLD(Imm(16), v, v)
		case "F16":
			VCVTPH2PS(at, v)
		default:
			VMOVUPS(at, v)
		}
		VMOVUPS(v, Mem{Base: dst, Disp: 4 * i})
		l.and(magnitude, v, v)
		VPMAXUD(v, most, most)
	}
	ADDQ(Imm(uint64(16*size)), src)
	ADDQ(U8(64), dst)
	DECQ(n)
	JNZ(LabelRef("loop"))
	x := l.fold(VPMAXUD, most)
	y := XMM()
	VPSHUFD(Imm(0x4e), x, y)
	VPMAXUD(y, x, x)
	VPSHUFD(Imm(0xb1), x, y)
	VPMAXUD(y, x, x)
	out := GP32()
	VMOVD(x, out)
	Store(out, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// fold reduces a vector to four lanes.
func (l level) fold(op func(ops ...Op), v reg.VecVirtual) reg.VecVirtual {
	x, y := XMM(), v.AsY()
	if l.Lanes == 16 {
		high := YMM()
		VEXTRACTF64X4(Imm(1), v, high)
		op(y, high, high)
		y = high
	}
	high := XMM()
	VEXTRACTF128(Imm(1), y, high)
	VMOVAPS(y.(reg.VecVirtual).AsX(), x)
	op(high, x, x)
	return x
}
