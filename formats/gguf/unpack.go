package gguf

import (
	"encoding/binary"
	"math"

	"github.com/llima-build/llima/formats/tensor"
)

// The types with one scale a block (ggml-common.h, "block_q4_0" and after).

func half(b []byte) float32 { return tensor.FromF16(binary.LittleEndian.Uint16(b)) }

// nibbles takes bytes apart: the low halves, then the high halves.
func nibbles(codes []int8, b []byte, minus int8) {
	lo, hi := codes[:len(b)], codes[len(b):2*len(b)]
	for i, v := range b {
		lo[i], hi[i] = int8(v&15)-minus, int8(v>>4)-minus
	}
}

// lookUp does the same, by a table of the sixteen values.
func lookUp(codes []int8, b []byte, table *[16]int8) {
	lo, hi := codes[:len(b)], codes[len(b):2*len(b)]
	for i, v := range b {
		lo[i], hi[i] = table[v&15], table[v>>4]
	}
}

func unpackQ1(b []byte, codes []int8, scales, _ []float32) {
	scales[0] = half(b)
	for i := range codes {
		codes[i] = int8(b[2+i/8]>>(i%8)&1)*2 - 1
	}
}

func unpackQ4(b []byte, codes []int8, scales, _ []float32) {
	scales[0] = half(b)
	nibbles(codes, b[2:], 8)
}

func unpackQ4Min(b []byte, codes []int8, scales, offsets []float32) {
	scales[0], offsets[0] = half(b), half(b[2:])
	nibbles(codes, b[4:], 0)
}

func unpackQ5(b []byte, codes []int8, scales, _ []float32) {
	scales[0] = half(b)
	fiveBits(b[2:], codes, 16)
}

func unpackQ5Min(b []byte, codes []int8, scales, offsets []float32) {
	scales[0], offsets[0] = half(b), half(b[2:])
	fiveBits(b[4:], codes, 0)
}

// fiveBits reads the fifth bits of 32 codes, then the other four.
func fiveBits(b []byte, codes []int8, minus int8) {
	high := binary.LittleEndian.Uint32(b)
	nibbles(codes, b[4:], minus)
	for i := range codes {
		codes[i] += int8(high>>i&1) << 4
	}
}

func unpackQ8(b []byte, codes []int8, scales, _ []float32) {
	scales[0] = half(b)
	for i, v := range b[2:] {
		codes[i] = int8(v)
	}
}

func unpackIQ4NL(b []byte, codes []int8, scales, _ []float32) {
	scales[0] = half(b)
	lookUp(codes, b[2:], &nonLinear)
}

func unpackMXFP4(b []byte, codes []int8, scales, _ []float32) {
	scales[0] = float32(math.Ldexp(1, int(b[0])-128)) // half, for the codes are doubled
	lookUp(codes, b[1:], &e2m1)
}

func unpackNVFP4(b []byte, codes []int8, scales, _ []float32) {
	for g := range scales {
		scales[g] = e4m3(b[g]) / 2
		lookUp(codes[16*g:16*g+16], b[4+8*g:12+8*g], &e2m1)
	}
}

// e4m3 decodes an unsigned FP8 E4M3 number. The sign bit is ignored and the
// NaN counts as zero, as in the reference.
func e4m3(u uint8) float32 {
	exp, man := int(u>>3&15), float64(u&7)
	switch {
	case u == 0x7f:
		return 0
	case exp == 0:
		return float32(math.Ldexp(man, -9))
	}
	return float32(math.Ldexp(8+man, exp-10))
}

// unpackTQ1 reads five ternary digits a byte, the leading one as the integer
// part of a fraction of 243/256 times three.
func unpackTQ1(b []byte, codes []int8, scales, _ []float32) {
	scales[0] = half(b[52:])
	at := 0
	for _, run := range []struct{ from, to, digits int }{{0, 32, 5}, {32, 48, 5}, {48, 52, 4}} {
		power := uint8(1)
		for range run.digits {
			for _, v := range b[run.from:run.to] {
				codes[at] = int8(uint16(v*power)*3>>8) - 1
				at++
			}
			power *= 3
		}
	}
}

func unpackTQ2(b []byte, codes []int8, scales, _ []float32) {
	scales[0] = half(b[64:])
	twoBits(codes, b[:64])
	for i := range codes {
		codes[i]--
	}
}

// twoBits takes runs of 32 bytes apart: the lowest two bits of each, then the
// next two, up to the highest.
func twoBits(codes []int8, b []byte) {
	for i, v := range b {
		at := i/32*128 + i%32
		codes[at], codes[at+32], codes[at+64], codes[at+96] = int8(v&3), int8(v>>2&3), int8(v>>4&3), int8(v>>6)
	}
}
