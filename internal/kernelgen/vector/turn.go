package vector

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Turn writes a kernel that transposes dwords; pointers are to what the
// package keeps in them.
func Turn(kind string) {
	Kernel("turnAVX2", fmt.Sprintf("func(dst *%[1]s, dstPitch int, src *%[1]s, srcPitch int, n int)", kind),
		"transposes n blocks of 8 × 8 dwords: those of src lie beside each other,",
		"those of dst below each other. Pitches are bytes.")
	dst, to := Load(Param("dst"), GP64()), Load(Param("dstPitch"), GP64())
	src, from := Load(Param("src"), GP64()), Load(Param("srcPitch"), GP64())
	n := Load(Param("n"), GP64())
	Label("block")
	at := GP64()
	MOVQ(src, at)
	// Halves of rows i and i+4, so that no lane is crossed later.
	x := make([]reg.VecVirtual, 8)
	high := GP64()
	LEAQ(Mem{Base: src, Index: from, Scale: 4}, high)
	for i := range 4 {
		x[i], x[i+4] = YMM(), YMM()
		VMOVDQU(Mem{Base: at}, x[i].AsX())
		VMOVDQU(Mem{Base: at, Disp: 16}, x[i+4].AsX())
		VINSERTI128(Imm(1), Mem{Base: high}, x[i], x[i])
		VINSERTI128(Imm(1), Mem{Base: high, Disp: 16}, x[i+4], x[i+4])
		if i < 3 {
			ADDQ(from, at)
			ADDQ(from, high)
		}
	}
	for i := 0; i < 8; i += 4 {
		a, b, c, d := YMM(), YMM(), YMM(), YMM()
		VPUNPCKLDQ(x[i+1], x[i], a)
		VPUNPCKHDQ(x[i+1], x[i], b)
		VPUNPCKLDQ(x[i+3], x[i+2], c)
		VPUNPCKHDQ(x[i+3], x[i+2], d)
		for _, p := range [][2]reg.VecVirtual{{a, c}, {b, d}} {
			y := YMM()
			VPUNPCKLQDQ(p[1], p[0], y)
			VMOVDQU(y, Mem{Base: dst})
			ADDQ(to, dst)
			VPUNPCKHQDQ(p[1], p[0], y)
			VMOVDQU(y, Mem{Base: dst})
			ADDQ(to, dst)
		}
	}
	ADDQ(U8(32), src)
	DECQ(n)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}
