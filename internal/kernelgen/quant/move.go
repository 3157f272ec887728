package main

import (
	"github.com/llima-build/llima/internal/kernelgen/vector"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// pack transposes codes, as bytes or as two a byte.
func pack(nibbles bool) {
	name, doc := "pack8AVX2", "16 rows of codes, a byte each."
	if nibbles {
		name, doc = "pack4AVX2", "32 rows of codes, two a byte, the first in the low half."
	}
	vector.Kernel(name, "func(dst *byte, dstPitch int, src *int8, srcPitch int, n int)",
		"transposes n times 32 columns of", doc)
	dst, to := Load(Param("dst"), GP64()), Load(Param("dstPitch"), GP64())
	src, from := Load(Param("src"), GP64()), Load(Param("srcPitch"), GP64())
	n := Load(Param("n"), GP64())
	room := AllocLocal(8 * 32)
	var low, high reg.VecVirtual
	rows := 8
	if nibbles {
		low, high = YMM(), YMM()
		t := GP32()
		MOVL(U32(0x0f0f0f0f), t)
		x := XMM()
		VMOVD(t, x)
		VPBROADCASTD(x, low)
		VPSLLD(Imm(4), low, high)
		rows = 16
	}
	wide := GP64()
	MOVQ(to, wide)
	SHLQ(Imm(4), wide)
	Label("block")
	// eight leaves columns 2i and 2i+1 of eight rows in x[i].
	eight := func(at reg.GPVirtual) []reg.VecVirtual {
		x := make([]reg.VecVirtual, 8)
		half := GP64() // four rows further down
		step := from
		if nibbles {
			step = GP64()
			LEAQ(Mem{Base: from, Index: from, Scale: 1}, step)
		}
		LEAQ(Mem{Base: at, Index: step, Scale: 4}, half)
		row := func(p reg.GPVirtual) reg.VecVirtual {
			v := YMM()
			VMOVDQU(Mem{Base: p}, v)
			if nibbles {
				second := YMM()
				VMOVDQU(Mem{Base: p, Index: from, Scale: 1}, second)
				VPSLLD(Imm(4), second, second)
				VPAND(low, v, v)
				VPAND(high, second, second)
				VPOR(second, v, v)
			}
			return v
		}
		for i := range 4 {
			a, b := row(at), row(half)
			x[2*i], x[2*i+1] = YMM(), YMM()
			VPUNPCKLBW(b, a, x[2*i])
			VPUNPCKHBW(b, a, x[2*i+1])
			if i < 3 {
				ADDQ(step, at)
				ADDQ(step, half)
			}
		}
		for range 2 {
			y := make([]reg.VecVirtual, 8)
			for i := range 4 {
				y[2*i], y[2*i+1] = YMM(), YMM()
				VPUNPCKLBW(x[i+4], x[i], y[2*i])
				VPUNPCKHBW(x[i+4], x[i], y[2*i+1])
			}
			x = y
		}
		return x
	}
	second := GP64()
	MOVQ(from, second)
	if rows == 8 {
		SHLQ(Imm(3), second)
	} else {
		SHLQ(Imm(4), second)
	}
	ADDQ(src, second)
	for i, v := range eight(second.(reg.GPVirtual)) {
		VMOVDQU(v, room.Offset(32*i))
	}
	first := GP64()
	MOVQ(src, first)
	left, right := GP64(), GP64()
	MOVQ(dst, left)
	for i, v := range eight(first.(reg.GPVirtual)) {
		if i == 0 {
			LEAQ(Mem{Base: dst, Index: wide, Scale: 1}, right)
		}
		x := YMM()
		for j := range 2 {
			if j == 0 {
				VPUNPCKLQDQ(room.Offset(32*i), v, x)
			} else {
				VPUNPCKHQDQ(room.Offset(32*i), v, x)
			}
			VMOVDQU(x.AsX(), Mem{Base: left})
			VEXTRACTI128(Imm(1), x, Mem{Base: right})
			ADDQ(to, left)
			ADDQ(to, right)
		}
	}
	ADDQ(U8(32), src)
	LEAQ(Mem{Base: dst, Index: wide, Scale: 2}, dst)
	DECQ(n)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}
