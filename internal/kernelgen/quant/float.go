package main

import (
	"math"

	"github.com/llima-build/llima/internal/kernelgen/vector"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// peaks finds the greatest and the least of each group.
func peaks(l level) {
	vector.Kernel("peaks"+l.Name, "func(high *float32, low *float32, w *float32, groups int, steps int)",
		"writes the greatest weight of groups of steps times 16, and the negative",
		"of the least.")
	high, low := Load(Param("high"), GP64()), Load(Param("low"), GP64())
	w, groups := Load(Param("w"), GP64()), Load(Param("groups"), GP64())
	steps := GP64()
	sign := l.Constant(1 << 31)
	Label("group")
	most, least := l.Vec(), l.Vec()
	VMOVUPS(Mem{Base: w}, most)
	VMOVAPS(most, least)
	Load(Param("steps"), steps)
	Label("step")
	for i := 0; i < 16; i += l.Lanes {
		v := l.Vec()
		VMOVUPS(Mem{Base: w, Disp: 4 * i}, v)
		VMAXPS(v, most, most)
		VMINPS(v, least, least)
	}
	ADDQ(U8(64), w)
	DECQ(steps)
	JNZ(LabelRef("step"))
	if l.Lanes == 16 {
		VPXORD(sign, least, least)
	} else {
		VXORPS(sign, least, least)
	}
	a, b := l.fold(VMAXPS, most), l.fold(VMAXPS, least)
	c, d := XMM(), XMM()
	VUNPCKLPS(b, a, c)
	VUNPCKHPS(b, a, d)
	VMAXPS(d, c, c) // most, least, most, least
	VMOVHLPS(c, c, d)
	VMAXPS(d, c, c)
	VMOVSS(c, Mem{Base: high})
	VEXTRACTPS(Imm(1), c, Mem{Base: low})
	ADDQ(U8(4), high)
	ADDQ(U8(4), low)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// nearest divides the greatest magnitude by a code.
func nearest(l level) {
	vector.Kernel("nearest"+l.Name, "func(scale *float32, peak *float32, high *float32, low *float32, n int, code float32, sign uint32)",
		"sets peak to the greater of high and low, and scale to peak over code,",
		"with the sign bit where that was high, for n times 16 groups.")
	scale, peak := Load(Param("scale"), GP64()), Load(Param("peak"), GP64())
	high, low := Load(Param("high"), GP64()), Load(Param("low"), GP64())
	n, code, sign := Load(Param("n"), GP64()), l.param("code"), l.param("sign")
	Label("loop")
	for i := 0; i < 16; i += l.Lanes {
		h, m, s := l.Vec(), l.Vec(), l.Vec()
		VMOVUPS(Mem{Base: high, Disp: 4 * i}, h)
		VMOVUPS(Mem{Base: low, Disp: 4 * i}, m)
		VMOVAPS(sign, s)
		l.where(greaterOrEqual, m, h, s)
		VMAXPS(m, h, m)
		VMOVUPS(m, Mem{Base: peak, Disp: 4 * i})
		VDIVPS(code, m, m)
		l.or(s, m, m)
		VMOVUPS(m, Mem{Base: scale, Disp: 4 * i})
	}
	for _, p := range []reg.Register{scale, peak, high, low} {
		ADDQ(U8(64), p)
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// round makes float16 scales.
func round(l level) {
	vector.Kernel("round"+l.Name, "func(f16 *uint16, scale *float32, peak *float32, n int)",
		"rounds n times 16 scales to float16, in place and as bits: 65504 at most",
		"and 2^-24 at least, 0 where the peak is.")
	f16, scale := Load(Param("f16"), GP64()), Load(Param("scale"), GP64())
	peak, n := Load(Param("peak"), GP64()), Load(Param("n"), GP64())
	magnitude, sign := l.Constant(0x7fffffff), l.Constant(1<<31)
	most, least := l.Constant(math.Float32bits(65504)), l.Constant(math.Float32bits(1.0/(1<<24)))
	zero := l.Vec()
	l.Zero(zero)
	Label("loop")
	for i := 0; i < 16; i += l.Lanes {
		v, s, p, h := l.Vec(), l.Vec(), l.Vec(), l.Half()
		VMOVUPS(Mem{Base: scale, Disp: 4 * i}, v)
		l.and(sign, v, s)
		l.and(magnitude, v, v)
		VMINPS(most, v, v)
		VCVTPS2PH(Imm(0), v, h)
		VCVTPH2PS(h, v)
		VMAXPS(least, v, v)
		l.or(s, v, v)
		VMOVUPS(Mem{Base: peak, Disp: 4 * i}, p)
		l.where(greater, zero, p, v)
		VMOVUPS(v, Mem{Base: scale, Disp: 4 * i})
		VCVTPS2PH(Imm(0), v, Mem{Base: f16, Disp: 2 * i})
	}
	ADDQ(U8(32), f16)
	ADDQ(U8(64), scale)
	ADDQ(U8(64), peak)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// fix converts weights to fixed point.
func fix(l level) {
	vector.Kernel("fix"+l.Name, "func(dst *int16, w *float32, peak *float32, groups int, steps int, top float32)",
		"rounds w·(top/peak) to integers, for groups of steps times 16 weights;",
		"to 0 where the peak is below 2^-64.")
	dst, w, peak := Load(Param("dst"), GP64()), Load(Param("w"), GP64()), Load(Param("peak"), GP64())
	groups, steps := Load(Param("groups"), GP64()), GP64()
	top, least := Load(Param("top"), XMM()), XMM()
	t := GP32()
	MOVL(U32(math.Float32bits(1.0/(1<<64))), t)
	VMOVD(t, least)
	Label("group")
	p, f := XMM(), XMM()
	VMOVSS(Mem{Base: peak}, p)
	VDIVSS(p, top, f)
	VCMPSS(Imm(greaterOrEqual), least, p, p)
	VANDPS(p, f, f)
	factor := l.Vec()
	VBROADCASTSS(f, factor)
	Load(Param("steps"), steps)
	Label("step")
	var v []reg.VecVirtual
	for i := 0; i < 16; i += l.Lanes {
		x := l.Vec()
		VMULPS(Mem{Base: w, Disp: 4 * i}, factor, x)
		VCVTPS2DQ(x, x)
		v = append(v, x)
	}
	l.StoreWords(v, Mem{Base: dst}, VPACKSSDW)
	ADDQ(U8(64), w)
	ADDQ(U8(32), dst)
	DECQ(steps)
	JNZ(LabelRef("step"))
	ADDQ(U8(4), peak)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// encode rounds weights to codes.
func encode(l level) {
	vector.Kernel("encode"+l.Name, "func(codes *int8, w *float32, scale *float32, groups int, steps int, low int32, high int32)",
		"rounds w/scale to integers from low to high, for groups of steps times 16",
		"weights; to 0 where the scale is 0.")
	codes, w, scale := Load(Param("codes"), GP64()), Load(Param("w"), GP64()), Load(Param("scale"), GP64())
	groups, steps := Load(Param("groups"), GP64()), GP64()
	low, high := l.param("low"), l.param("high")
	one, zero := XMM(), XMM()
	t := GP32()
	MOVL(U32(math.Float32bits(1)), t)
	VMOVD(t, one)
	VXORPS(zero, zero, zero)
	Label("group")
	s, r, k := XMM(), XMM(), XMM()
	VMOVSS(Mem{Base: scale}, s)
	VDIVSS(s, one, r)
	VCMPSS(Imm(0), zero, s, k)
	VANDNPS(r, k, r)
	by, inverse := l.Vec(), l.Vec()
	VBROADCASTSS(s, by)
	VBROADCASTSS(r, inverse)
	Load(Param("steps"), steps)
	Label("step")
	var v []reg.VecVirtual
	for i := 0; i < 16; i += l.Lanes {
		// A quotient from the rounded inverse, and a correction by what it
		// leaves: w/scale, rounded once (Markstein 1990).
		x, q := l.Vec(), l.Vec()
		VMOVUPS(Mem{Base: w, Disp: 4 * i}, x)
		VMULPS(inverse, x, q)
		VFNMADD231PS(by, q, x)
		VFMADD231PS(inverse, x, q)
		VCVTPS2DQ(q, q)
		VPMAXSD(low, q, q)
		VPMINSD(high, q, q)
		v = append(v, q)
	}
	if l.Lanes == 16 {
		VPMOVDB(v[0], Mem{Base: codes})
	} else {
		a, b := v[0], XMM()
		VPACKSSDW(v[1], a, a)
		VPERMQ(Imm(0xd8), a, a)
		VEXTRACTI128(Imm(1), a, b)
		VPACKSSWB(b, a.AsX(), b)
		VMOVDQU(b, Mem{Base: codes})
	}
	ADDQ(U8(64), w)
	ADDQ(U8(16), codes)
	DECQ(steps)
	JNZ(LabelRef("step"))
	ADDQ(U8(4), scale)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// narrow makes BF16 of F32.
func narrow(l level) {
	vector.Kernel("narrow"+l.Name, "func(dst *byte, src *float32, n int) (lost uint32)",
		"rounds n times 16 numbers to BF16, to nearest even; lost has a bit where a",
		"number lost its own. None is NaN or rounds to infinity.")
	dst, src, n := Load(Param("dst"), GP64()), Load(Param("src"), GP64()), Load(Param("n"), GP64())
	half, one, low := l.Constant(0x7fff), l.Constant(1), l.Constant(0xffff)
	lost := l.Vec()
	l.Zero(lost)
	Label("loop")
	var out []reg.VecVirtual
	for i := 0; i < 16; i += l.Lanes {
		x, t := l.Vec(), l.Vec()
		VMOVUPS(Mem{Base: src, Disp: 4 * i}, x)
		l.and(low, x, t)
		l.or(t, lost, lost)
		VPSRLD(Imm(16), x, t)
		l.and(one, t, t)
		VPADDD(half, t, t)
		VPADDD(x, t, t)
		VPSRLD(Imm(16), t, t)
		out = append(out, t)
	}
	l.StoreWords(out, Mem{Base: dst}, VPACKUSDW)
	ADDQ(U8(64), src)
	ADDQ(U8(32), dst)
	DECQ(n)
	JNZ(LabelRef("loop"))
	x, y, all := l.fold(func(ops ...Op) { VPOR(ops[0], ops[1], ops[2]) }, lost), XMM(), GP64()
	VPSRLDQ(Imm(8), x, y)
	VPOR(y, x, x)
	VMOVQ(x, all)
	high := GP64()
	MOVQ(all, high)
	SHRQ(Imm(32), high)
	ORQ(high, all)
	Store(all.As32(), ReturnIndex(0))
	VZEROUPPER()
	RET()
}
