package emu

import (
	"encoding/binary"
	"math"

	"github.com/llima-build/llima/modalix/isa"
)

const lineSize = 64 // bytes: a dword for each row of a panel

// decodeBlock unpacks the q of size inputs of a panel: w[k][row].
func decodeBlock(w *[maxBlock][panelRows]float32, codes []byte, code isa.Code, size int) {
	switch code {
	case isa.CodeBF16:
		for k := 0; k < size; k += 2 {
			line := (*[lineSize]byte)(codes[k/2*lineSize:])
			even, odd := &w[k], &w[k+1]
			for r := range panelRows {
				d := binary.LittleEndian.Uint32(line[r*4:])
				even[r] = math.Float32frombits(d << 16)
				odd[r] = math.Float32frombits(d &^ 0xffff)
			}
		}
	case isa.CodeINT8:
		for k := 0; k < size; k += 4 {
			line := (*[lineSize]byte)(codes[k/4*lineSize:])
			w0, w1, w2, w3 := &w[k], &w[k+1], &w[k+2], &w[k+3]
			for r := range panelRows {
				w0[r] = float32(int8(line[r*4]))
				w1[r] = float32(int8(line[r*4+1]))
				w2[r] = float32(int8(line[r*4+2]))
				w3[r] = float32(int8(line[r*4+3]))
			}
		}
	case isa.CodeINT4:
		decodeNibbles(w, codes, &int4, size)
	case isa.CodeUINT4:
		decodeNibbles(w, codes, &uint4, size)
	}
}

// Values of the 4-bit codes.
var (
	int4  = [16]float32{-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7}
	uint4 = [16]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
)

// decodeNibbles unpacks 4-bit codes: the low half of a dword holds inputs
// 0 2 4 6 of its eight, the high half 1 3 5 7.
func decodeNibbles(w *[maxBlock][panelRows]float32, codes []byte, value *[16]float32, size int) {
	for k := 0; k < size; k += 8 {
		line := (*[lineSize]byte)(codes[k/8*lineSize:])
		w := (*[8][panelRows]float32)(w[k:])
		for r := range panelRows {
			d := binary.LittleEndian.Uint32(line[r*4:])
			w[0][r] = value[d&15]
			w[1][r] = value[d>>16&15]
			w[2][r] = value[d>>4&15]
			w[3][r] = value[d>>20&15]
			w[4][r] = value[d>>8&15]
			w[5][r] = value[d>>24&15]
			w[6][r] = value[d>>12&15]
			w[7][r] = value[d>>28]
		}
	}
}

// readScales reads the scales or offsets of one group.
func readScales(out *[panelRows]float32, b []byte, kind isa.Scale) {
	switch kind {
	case isa.ScaleF16:
		for r := range out {
			out[r] = fromF16(binary.LittleEndian.Uint16(b[r*2:]))
		}
	case isa.ScaleBF16:
		for r := range out {
			out[r] = fromBF16(binary.LittleEndian.Uint16(b[r*2:]))
		}
	case isa.ScaleF32:
		for r := range out {
			out[r] = math.Float32frombits(binary.LittleEndian.Uint32(b[r*4:]))
		}
	case isa.ScaleNone:
	}
}
