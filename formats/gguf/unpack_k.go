package gguf

import "encoding/binary"

// The K types: 256 elements in groups with scales of their own, which count
// in units of one float16 of the block (ggml-common.h, "block_q2_K" and after).

func unpackQ2K(b []byte, codes []int8, scales, offsets []float32) {
	d, dmin := half(b[80:]), half(b[82:])
	for g, v := range b[:16] {
		scales[g], offsets[g] = d*float32(v&15), -(dmin * float32(v>>4))
	}
	twoBits(codes, b[16:80])
}

func unpackQ3K(b []byte, codes []int8, scales, _ []float32) {
	mask, packed, d := b[:32], b[96:108], half(b[108:])
	for g := range scales {
		low := packed[g%8] >> (g / 8 * 4) & 15
		high := packed[8+g%4] >> (g / 4 * 2) & 3
		scales[g] = d * float32(int(low|high<<4)-32)
	}
	twoBits(codes, b[32:96])
	for i, v := range mask {
		for bit := range 8 {
			codes[32*bit+i] -= int8(^v>>bit&1) << 2
		}
	}
}

// scalesAndMins reads the eight scales and minima of six bits each that Q4_K
// and Q5_K have, behind their units.
func scalesAndMins(b []byte, scales, offsets []float32) {
	d, dmin, packed := half(b), half(b[2:]), b[4:16]
	for g := range 4 {
		scales[g] = d * float32(packed[g]&63)
		offsets[g] = -(dmin * float32(packed[4+g]&63))
		scales[4+g] = d * float32(packed[8+g]&15|packed[g]>>2&0x30)
		offsets[4+g] = -(dmin * float32(packed[8+g]>>4|packed[4+g]>>2&0x30))
	}
}

func unpackQ4K(b []byte, codes []int8, scales, offsets []float32) {
	scalesAndMins(b, scales, offsets)
	for c := range 4 {
		nibbles(codes[64*c:], b[16+32*c:48+32*c], 0)
	}
}

func unpackQ5K(b []byte, codes []int8, scales, offsets []float32) {
	scalesAndMins(b, scales, offsets)
	for c := range 4 {
		nibbles(codes[64*c:], b[48+32*c:80+32*c], 0)
	}
	for i, v := range b[16:48] {
		for bit := range 8 {
			codes[32*bit+i] |= int8(v>>bit&1) << 4
		}
	}
}

func unpackQ6K(b []byte, codes []int8, scales, _ []float32) {
	d := half(b[208:])
	for g := range scales {
		scales[g] = d * float32(int8(b[192+g]))
	}
	for c := range 2 {
		part, low, high := codes[128*c:128*c+128], b[64*c:64*c+64], b[128+32*c:160+32*c]
		twoBits(part, high)
		for i, v := range low {
			part[i] = int8(v&15) | part[i]<<4
			part[64+i] = int8(v>>4) | part[64+i]<<4
		}
	}
	for i := range codes {
		codes[i] -= 32
	}
}

func unpackIQ4XS(b []byte, codes []int8, scales, _ []float32) {
	d, high := half(b), binary.LittleEndian.Uint16(b[2:])
	for g := range scales {
		s := int(b[4+g/2]>>(g%2*4)&15) | int(high>>(2*g)&3)<<4
		scales[g] = d * float32(s-32)
		lookUp(codes[32*g:], b[8+16*g:24+16*g], &nonLinear)
	}
}
