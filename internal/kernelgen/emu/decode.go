package main

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/llima-build/llima/internal/kernelgen/vector"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// decoder is how panels hold weights, and how a line becomes operands.
type decoder struct {
	name     string
	inputs   int  // of a line
	operands int  // of a line
	wide     bool // lines are operands
	checked  bool // lines are BF16, of which subnormal ones are reported
	setup    func() []reg.VecVirtual
	// decode gives operand i of line z: an input as F32, or two as BF16. c is
	// what setup made. Operands are taken in order, and z may change.
	decode func(z reg.VecVirtual, c []reg.VecVirtual, w reg.VecVirtual, i int)
}

func wideF32() decoder  { return decoder{name: "Wide", inputs: 1, operands: 1, wide: true} }
func wideBF16() decoder { return decoder{name: "Wide", inputs: 2, operands: 1, wide: true} }

// checkedBF16 is for codes that nothing has looked at.
func checkedBF16() decoder { return decoder{name: "BF16", inputs: 2, operands: 1, checked: true} }

func bf16ToF32(l level) decoder {
	return decoder{
		name: "BF16", inputs: 2, operands: 2,
		setup: func() []reg.VecVirtual { return []reg.VecVirtual{l.Constant(0xffff0000)} },
		decode: func(z reg.VecVirtual, c []reg.VecVirtual, w reg.VecVirtual, i int) {
			switch {
			case i == 0:
				VPSLLD(Imm(16), z, w)
			case l.Lanes == 16:
				VPANDD(c[0], z, w)
			default:
				VPAND(c[0], z, w)
			}
		},
	}
}

func int8ToF32() decoder {
	return decoder{
		name: "INT8", inputs: 4, operands: 4,
		decode: func(z reg.VecVirtual, _ []reg.VecVirtual, w reg.VecVirtual, i int) { int8ToF32At(z, w, i) },
	}
}

func int8ToF32At(z, w reg.VecVirtual, i int) {
	if i < 3 {
		VPSLLD(Imm(uint64(24-8*i)), z, w)
		z = w
	}
	VPSRAD(Imm(24), z, w)
	VCVTDQ2PS(w, w)
}

// nibbleShift is the bit at which input i of a line's dword begins.
func nibbleShift(i int) int { return 16*(i%2) + 4*(i/2) }

func nibbleName(unsigned bool) string {
	if unsigned {
		return "UINT4"
	}
	return "INT4"
}

func nibble(i int, unsigned bool) float32 {
	if unsigned {
		return float32(i)
	}
	return float32(i - 8)
}

// nibblesToF32 looks codes up with AVX-512: VPERMPS takes the low four bits
// of each dword. With AVX2 it converts them.
func nibblesToF32(l level, unsigned bool) decoder {
	d := decoder{name: nibbleName(unsigned), inputs: 8, operands: 8}
	if l.Lanes == 8 {
		d.setup, d.decode = convertNibbles(l, unsigned)
		return d
	}
	name := d.name + "asF32"
	table := GLOBL(name, RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, F32(nibble(i, unsigned)))
	}
	d.setup = func() []reg.VecVirtual { return []reg.VecVirtual{l.Load(table)} }
	d.decode = func(z reg.VecVirtual, c []reg.VecVirtual, w reg.VecVirtual, i int) {
		if i > 0 {
			VPSRLD(Imm(uint64(nibbleShift(i))), z, w)
			z = w
		}
		VPERMPS(c[0], z, w)
	}
	return d
}

func convertNibbles(l level, unsigned bool) (setup func() []reg.VecVirtual, decode func(z reg.VecVirtual, c []reg.VecVirtual, w reg.VecVirtual, i int)) {
	if unsigned {
		return func() []reg.VecVirtual { return []reg.VecVirtual{l.Constant(15)} }, func(z reg.VecVirtual, c []reg.VecVirtual, w reg.VecVirtual, i int) {
			if i > 0 {
				VPSRLD(Imm(uint64(nibbleShift(i))), z, w)
				z = w
			}
			VPAND(c[0], z, w)
			VCVTDQ2PS(w, w)
		}
	}
	// A code less 8 is the code with its top bit turned, as a signed number.
	return func() []reg.VecVirtual { return []reg.VecVirtual{l.Constant(0x88888888)} }, func(z reg.VecVirtual, c []reg.VecVirtual, w reg.VecVirtual, i int) {
		if i == 0 {
			VPXOR(c[0], z, z)
		}
		VPSLLD(Imm(uint64(28-nibbleShift(i))), z, w)
		VPSRAD(Imm(28), w, w)
		VCVTDQ2PS(w, w)
	}
}

// nibblesToBF16 looks two codes up at once: VPERMW takes the low five bits of
// each word, the fifth of which belongs to another code.
func nibblesToBF16(unsigned bool) decoder {
	name := nibbleName(unsigned)
	table := GLOBL(name+"asBF16", RODATA|NOPTR)
	for i := range 16 {
		pair := math.Float32bits(nibble(2*i%16, unsigned))>>16 | math.Float32bits(nibble(2*i%16+1, unsigned))&0xffff0000
		DATA(4*i, U32(pair))
	}
	return decoder{
		name: name, inputs: 8, operands: 4,
		setup: func() []reg.VecVirtual { return []reg.VecVirtual{bf16.Load(table)} },
		decode: func(z reg.VecVirtual, c []reg.VecVirtual, w reg.VecVirtual, i int) {
			if i > 0 {
				VPSRLW(Imm(uint64(4*i)), z, w)
				z = w
			}
			VPERMW(c[0], z, w)
		},
	}
}

// bytesTable is bytes in read-only memory.
func bytesTable(name string, b []byte) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := 0; i < len(b); i += 4 {
		DATA(i, U32(binary.LittleEndian.Uint32(b[i:])))
	}
	return m
}

// int8ToBF16 looks both bytes of the BF16 numbers up by the magnitude of a
// code, for a whole line, and then puts them side by side. A magnitude of 128
// is looked up as 0, which has the same low byte.
func int8ToBF16() decoder {
	const low, high = 0, 2 // in c, two tables each
	var tables [4 * 64]byte
	for i := range 128 {
		u := math.Float32bits(float32(i)) >> 16
		tables[i], tables[128+i] = byte(u), byte(u>>8)
	}
	var pairs [2 * 64]byte // bytes 2i and 2i+1 of each dword's low and high bytes
	for i := range pairs {
		row, at := i%64/4, i%4
		pairs[i] = byte(4*row + at/2 + 2*(i/64) + 64*(at%2))
	}
	table, pair := bytesTable("INT8asBF16", tables[:]), bytesTable("INT8pairs", pairs[:])
	var bothLow, bothHigh reg.VecVirtual
	return decoder{
		name: "INT8", inputs: 4, operands: 2,
		setup: func() []reg.VecVirtual {
			c := []reg.VecVirtual{}
			for i := range 4 {
				c = append(c, bf16.Load(table.Offset(64*i)))
			}
			for i := range 2 {
				c = append(c, bf16.Load(pair.Offset(64*i)))
			}
			return append(c, bf16.Constant(0x80808080), bf16.Constant(0xc3c3c3c3))
		},
		decode: func(z reg.VecVirtual, c []reg.VecVirtual, w reg.VecVirtual, i int) {
			sign, least := c[6], c[7]
			if i == 0 {
				bothLow, bothHigh = ZMM(), ZMM()
				VPABSB(z, bothLow)
				VMOVDQA64(bothLow, bothHigh)
				VPERMI2B(c[low+1], c[low], bothLow)
				VPERMI2B(c[high+1], c[high], bothHigh)
				VPTERNLOGD(Imm(0xf8), sign, z, bothHigh) // or the sign
				k := K()
				VPCMPEQB(sign, z, k) // -128
				VMOVDQU8(least, k, bothHigh)
			}
			VMOVDQA64(c[4+i], w)
			VPERMI2B(bothHigh, bothLow, w)
		},
	}
}

// unpack writes the operands of lines one after the other.
func unpack(l level, d decoder) {
	vector.Kernel(fmt.Sprintf("unpack%s%s", d.name, l.Name), "func(dst *byte, codes *byte, lines int)",
		fmt.Sprintf("writes the weights of lines as operands, for %d outputs.", l.Lanes))
	dst, codes, left := Load(Param("dst"), GP64()), Load(Param("codes"), GP64()), Load(Param("lines"), GP64())
	var c []reg.VecVirtual
	if d.setup != nil {
		c = d.setup()
	}
	Label("line")
	z := l.Vec()
	VMOVUPS(Mem{Base: codes}, z)
	for i := range d.operands {
		w := l.Vec()
		d.decode(z, c, w, i)
		VMOVUPS(w, Mem{Base: dst, Disp: line * i})
	}
	ADDQ(U8(line), codes)
	ADDQ(U32(line*d.operands), dst)
	DECQ(left)
	JNZ(LabelRef("line"))
	VZEROUPPER()
	RET()
}
