package gguf

import _ "embed" // for the code books

// gridBytes holds the code books of the I types, as grids.py writes them.
//
//go:embed grids.bin
var gridBytes string

// grid is one code book: vectors of int8, one after the other.
type grid struct{ start, width int }

var (
	gridIQ2XXS = grid{0, 8}                   // 256 vectors
	gridIQ2XS  = grid{gridIQ2XXS.end(256), 8} // 512
	gridIQ2S   = grid{gridIQ2XS.end(512), 8}  // 1024
	gridIQ3XXS = grid{gridIQ2S.end(1024), 4}  // 256
	gridIQ3S   = grid{gridIQ3XXS.end(256), 4} // 512
	gridIQ1    = grid{gridIQ3S.end(512), 8}   // 2048
)

func (g grid) end(vectors int) int { return g.start + vectors*g.width }

// vector returns a vector of the code book, a byte for each int8.
func (g grid) vector(i int) string {
	at := g.start + i*g.width
	return gridBytes[at : at+g.width]
}

// signed puts a vector of the code book into codes, negated where the bits of
// signs are set, from bit 0 on.
func (g grid) signed(codes []int8, i int, signs uint8) {
	for j, v := range []byte(g.vector(i)) {
		c := int8(v)
		if signs>>j&1 != 0 {
			c = -c
		}
		codes[j] = c
	}
}

// evenSigns completes seven sign bits by an eighth, so that an even number of
// bits is set.
func evenSigns(seven uint32) uint8 {
	s := uint8(seven & 0x7f)
	p := s ^ s>>4
	p ^= p >> 2
	p ^= p >> 1
	return s | p<<7
}

// nonLinear are the values of the sixteen codes of IQ4_NL and IQ4_XS
// (ggml-common.h, "kvalues_iq4nl").
var nonLinear = [16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// e2m1 are the values of the sixteen codes of MXFP4 and NVFP4, doubled (OCP
// Microscaling Formats 1.0, section 5.3.3).
var e2m1 = [16]int8{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}
