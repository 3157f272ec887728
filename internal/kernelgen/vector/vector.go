// Package vector is what the generators of assembly share: vectors of one
// width or another. The module is one of its own, so that llima needs no
// assembler generator to be built.
package vector

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Level is a set of instructions: its name and how many dwords a vector holds.
type Level struct {
	Name  string
	Lanes int
}

// The levels that every generator writes.
var (
	AVX2   = Level{"AVX2", 8}
	AVX512 = Level{"AVX512", 16}
)

// Vec returns a new vector register.
func (l Level) Vec() reg.VecVirtual {
	if l.Lanes == 8 {
		return YMM()
	}
	return ZMM()
}

// Half returns a new register of half the width.
func (l Level) Half() reg.VecVirtual {
	if l.Lanes == 8 {
		return XMM()
	}
	return YMM()
}

// Bytes is the size of a vector.
func (l Level) Bytes() int { return 4 * l.Lanes }

// Zero clears a register.
func (l Level) Zero(v reg.VecVirtual) {
	if l.Lanes == 8 {
		VXORPS(v, v, v)
		return
	}
	VPXORD(v, v, v)
}

// Constant returns a vector of equal dwords.
func (l Level) Constant(v uint32) reg.VecVirtual {
	t := GP32()
	MOVL(U32(v), t)
	return l.Spread(t)
}

// Spread returns a vector of equal dwords.
func (l Level) Spread(t reg.Register) reg.VecVirtual {
	z := l.Vec()
	if l.Lanes == 16 {
		VPBROADCASTD(t, z)
		return z
	}
	x := XMM()
	VMOVD(t, x)
	VPBROADCASTD(x, z)
	return z
}

// StoreWords stores 16 dwords, one vector or two, as words: pack makes words
// of two vectors where one does not hold them all.
func (l Level) StoreWords(v []reg.VecVirtual, at Op, pack func(ops ...Op)) {
	if l.Lanes == 16 {
		VPMOVDW(v[0], at)
		return
	}
	pack(v[1], v[0], v[0]) // of each 128 bits apart
	VPERMQ(Imm(0xd8), v[0], v[0])
	VMOVDQU(v[0], at)
}

// Kernel begins a kernel.
func Kernel(name, signature string, doc ...string) {
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
	doc[0] = name + " " + doc[0]
	Doc(doc...)
}
