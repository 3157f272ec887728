package gguf

import (
	"encoding/binary"
)

// The I types: vectors of code books with signs (ggml-common.h,
// "block_iq2_xxs" and after).

func unpackIQ2XXS(b []byte, codes []int8, scales, _ []float32) {
	d := half(b)
	for g := range scales {
		index := b[2+8*g : 6+8*g]
		rest := binary.LittleEndian.Uint32(b[6+8*g:])
		scales[g] = d * float32(2*(rest>>28)+1) / 8
		for v, i := range index {
			gridIQ2XXS.signed(codes[32*g+8*v:], int(i), evenSigns(rest>>(7*v)))
		}
	}
}

// halfScales reads groups' scales of four bits each, in eighths of an odd number.
func halfScales(d float32, packed []byte, scales []float32) {
	for g := range scales {
		s := packed[g/2] >> (g % 2 * 4) & 15
		scales[g] = d * float32(2*int(s)+1) / 8
	}
}

func unpackIQ2XS(b []byte, codes []int8, scales, _ []float32) {
	halfScales(half(b), b[66:], scales)
	for v := range 32 {
		u := binary.LittleEndian.Uint16(b[2+2*v:])
		gridIQ2XS.signed(codes[8*v:], int(u&511), evenSigns(uint32(u>>9)))
	}
}

func unpackIQ2S(b []byte, codes []int8, scales, _ []float32) {
	halfScales(half(b), b[74:], scales)
	for v := range 32 {
		high := b[66+v/4] >> (v % 4 * 2) & 3
		gridIQ2S.signed(codes[8*v:], int(b[2+v])|int(high)<<8, b[34+v])
	}
}

func unpackIQ3XXS(b []byte, codes []int8, scales, _ []float32) {
	d := half(b)
	for g := range scales {
		rest := binary.LittleEndian.Uint32(b[66+4*g:])
		scales[g] = d * float32(2*(rest>>28)+1) / 4
		for v := range 4 {
			signs, at := evenSigns(rest>>(7*v)), 32*g+8*v
			gridIQ3XXS.signed(codes[at:], int(b[2+at/4]), signs)
			gridIQ3XXS.signed(codes[at+4:], int(b[3+at/4]), signs>>4)
		}
	}
}

func unpackIQ3S(b []byte, codes []int8, scales, _ []float32) {
	d := half(b)
	for g := range scales {
		s := b[106+g/2] >> (g % 2 * 4) & 15
		scales[g] = d * float32(2*int(s)+1)
	}
	for v := range 64 {
		high := b[66+v/8] >> (v % 8) & 1
		signs := b[74+v/2] >> (v % 2 * 4)
		gridIQ3S.signed(codes[4*v:], int(b[2+v])|int(high)<<8, signs)
	}
}

// shifted puts a vector of the code book plus or minus an eighth into codes,
// in eighths.
func shifted(codes []int8, i int, minus bool) {
	eighth := int8(1)
	if minus {
		eighth = -1
	}
	for j, v := range []byte(gridIQ1.vector(i)) {
		codes[j] = int8(v)*8 + eighth
	}
}

func unpackIQ1S(b []byte, codes []int8, scales, _ []float32) {
	d := half(b)
	for g := range scales {
		u := binary.LittleEndian.Uint16(b[34+2*g:])
		scales[g] = d * float32(2*(u>>12&7)+1) / 8
		for v := range 4 {
			shifted(codes[32*g+8*v:], int(b[2+4*g+v])|int(u>>(3*v)&7)<<8, u&0x8000 != 0)
		}
	}
}

func unpackIQ1M(b []byte, codes []int8, scales, _ []float32) {
	var packed [4]uint16
	top := uint16(0)
	for i := range packed {
		packed[i] = binary.LittleEndian.Uint16(b[48+2*i:])
		top |= packed[i] >> 12 << (4 * i)
	}
	d := half([]byte{byte(top), byte(top >> 8)})
	for g := range scales {
		scales[g] = d * float32(2*(packed[g/4]>>(g%4*3)&7)+1) / 8
	}
	for v := range 32 {
		high := b[32+v/2] >> (v % 2 * 4)
		shifted(codes[8*v:], int(b[v])|int(high&7)<<8, high&8 != 0)
	}
}
