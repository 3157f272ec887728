// Command gen writes the assembly of package kern. It is a module of its own
// so that llima needs no assembler generator to be built.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	block = 32 // inputs whose products are summed before they are scaled
	line  = 64 // bytes: a dword for each of 16 outputs
)

// code is how a line holds weights: decode gives input i of its inputs as
// F32, from line z; c are the constants that setup made.
type code struct {
	name   string
	inputs int
	scaled bool
	setup  func() reg.VecVirtual
	decode func(z, c, w reg.VecVirtual, i int)
}

func main() {
	ConstraintExpr("amd64")
	for _, c := range []code{bf16(), int8s(), int4s()} {
		for _, rows := range []int{1, 2, 4, 8} {
			dot(c, rows)
		}
	}
	widenF16()
	Generate()
}

func constant(v uint32) reg.VecVirtual {
	t, z := GP32(), ZMM()
	MOVL(U32(v), t)
	VPBROADCASTD(t, z)
	return z
}

func bf16() code {
	return code{
		name: "BF16", inputs: 2,
		setup: func() reg.VecVirtual { return constant(0xffff0000) },
		decode: func(z, c, w reg.VecVirtual, i int) {
			if i == 0 {
				VPSLLD(Imm(16), z, w)
			} else {
				VPANDD(c, z, w)
			}
		},
	}
}

func int8s() code {
	return code{
		name: "INT8", inputs: 4, scaled: true,
		setup: func() reg.VecVirtual { return nil },
		decode: func(z, _, w reg.VecVirtual, i int) {
			if i < 3 {
				VPSLLD(Imm(uint64(24-8*i)), z, w)
				z = w
			}
			VPSRAD(Imm(24), z, w)
			VCVTDQ2PS(w, w)
		},
	}
}

// int4s looks codes up: VPERMPS takes the low four bits of each dword.
func int4s() code {
	table := GLOBL("int4Values", RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, F32(float32(i-8)))
	}
	return code{
		name: "INT4", inputs: 8, scaled: true,
		setup: func() reg.VecVirtual {
			z := ZMM()
			VMOVUPS(table, z)
			return z
		},
		decode: func(z, c, w reg.VecVirtual, i int) {
			if i == 0 {
				VPERMPS(c, z, w)
				return
			}
			VPSRLD(Imm(uint64(16*(i%2)+4*(i/2))), z, w)
			VPERMPS(c, w, w)
		},
	}
}

// dot multiplies rows of A with one panel. The sums of the even and of the
// odd inputs of a block are apart, for any number of rows, so that a row's
// bits do not depend on how many rows there are.
func dot(c code, rows int) {
	TEXT(fmt.Sprintf("dot%sx%d", c.name, rows), NOSPLIT,
		"func(acc *float32, a *float32, lda int, codes *byte, scales *float32, groups int, blocks int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("dot%sx%d adds to acc [%d,16] the products of %d rows of a, lda bytes apart, with a panel.", c.name, rows, rows, rows))
	out := Load(Param("acc"), GP64())
	a := address(rows)
	codes := Load(Param("codes"), GP64())
	var scales reg.Register
	if c.scaled {
		scales = Load(Param("scales"), GP64())
	}
	groups := Load(Param("groups"), GP64())
	blocks := Load(Param("blocks"), GP64())
	k := c.setup()
	acc, even, odd := zmms(rows), zmms(rows), zmms(rows)
	for m := range rows {
		VMOVUPS(Mem{Base: out, Disp: 64 * m}, acc[m])
	}
	left, scale := GP64(), reg.VecVirtual(nil)
	Label("group")
	if c.scaled {
		scale = ZMM()
		VMOVUPS(Mem{Base: scales}, scale)
		ADDQ(U8(64), scales)
	}
	MOVQ(blocks, left)
	Label("block")
	z, w := ZMM(), ZMM()
	for l := range block / c.inputs {
		PREFETCHT0(Mem{Base: codes, Disp: line*l + 4096})
		VMOVDQU32(Mem{Base: codes, Disp: line * l}, z)
		for i := range c.inputs {
			c.decode(z, k, w, i)
			at := l*c.inputs + i
			for m := range rows {
				t := even[m]
				if at%2 == 1 {
					t = odd[m]
				}
				if at < 2 {
					VMULPS_BCST(a.row(m, 4*at), w, t)
				} else {
					VFMADD231PS_BCST(a.row(m, 4*at), w, t)
				}
			}
		}
	}
	for m := range rows {
		VADDPS(odd[m], even[m], even[m])
		if c.scaled {
			VFMADD231PS(even[m], scale, acc[m])
		} else {
			VADDPS(even[m], acc[m], acc[m])
		}
	}
	ADDQ(U32(block/c.inputs*line), codes)
	a.advance(4 * block)
	DECQ(left)
	JNZ(LabelRef("block"))
	DECQ(groups)
	JNZ(LabelRef("group"))
	for m := range rows {
		VMOVUPS(acc[m], Mem{Base: out, Disp: 64 * m})
	}
	VZEROUPPER()
	RET()
}

func zmms(n int) []reg.VecVirtual {
	z := make([]reg.VecVirtual, n)
	for i := range z {
		z[i] = ZMM()
	}
	return z
}

// rowsOfA holds what addresses up to eight rows: rows 0 and 4, and one and
// three strides.
type rowsOfA struct{ low, high, lda, lda3 reg.Register }

func address(rows int) *rowsOfA {
	a := &rowsOfA{low: Load(Param("a"), GP64())}
	if rows > 1 {
		a.lda = Load(Param("lda"), GP64())
	}
	if rows > 2 {
		a.lda3 = GP64()
		LEAQ(Mem{Base: a.lda, Index: a.lda, Scale: 2}, a.lda3)
	}
	if rows > 4 {
		a.high = GP64()
		LEAQ(Mem{Base: a.low, Index: a.lda, Scale: 4}, a.high)
	}
	return a
}

func (a *rowsOfA) row(m, disp int) Mem {
	at := Mem{Base: a.low, Disp: disp}
	if m >= 4 {
		at.Base = a.high
	}
	switch m % 4 {
	case 1:
		at.Index, at.Scale = a.lda, 1
	case 2:
		at.Index, at.Scale = a.lda, 2
	case 3:
		at.Index, at.Scale = a.lda3, 1
	}
	return at
}

func (a *rowsOfA) advance(n uint32) {
	ADDQ(U32(n), a.low)
	if a.high != nil {
		ADDQ(U32(n), a.high)
	}
}

func widenF16() {
	TEXT("widenF16", NOSPLIT, "func(dst *float32, src *byte, n int)")
	Pragma("noescape")
	Doc("widenF16 converts n times 16 binary16 numbers to F32, exactly.")
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	n := Load(Param("n"), GP64())
	z := ZMM()
	Label("loop")
	VCVTPH2PS(Mem{Base: src}, z)
	VMOVUPS(z, Mem{Base: dst})
	ADDQ(U8(32), src)
	ADDQ(U8(64), dst)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
