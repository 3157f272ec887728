package quant

import "encoding/binary"

// Align is the alignment of the scales within an encoded matrix, in bytes.
const Align = 64

// CodeBytes returns the size of the codes of a matrix [n, k], in bytes; of
// the matrix itself where it is BF16.
func (f Format) CodeBytes(n, k int) int64 {
	return (int64(n)*int64(k)*int64(f.Bits) + 7) / 8
}

// ScalesOffset returns where the scales begin in an encoded matrix, in bytes.
func (f Format) ScalesOffset(n, k int) int64 {
	return (f.CodeBytes(n, k) + Align - 1) / Align * Align
}

// SizeBytes returns the size of an encoded matrix.
func (f Format) SizeBytes(n, k int) int64 {
	if f.Bits == 16 {
		return f.CodeBytes(n, k)
	}
	return f.ScalesOffset(n, k) + 2*int64(n)*int64(f.Groups(k))
}

// Encode lays out codes [n, k] and scales [n, groups] for DequantizeLinear:
// codes transposed to [k, n] (4-bit ones two a byte, the first in the low
// half), zeros up to a multiple of [Align], scales transposed to [groups, n],
// little-endian.
func Encode(codes []int8, scales []uint16, n, k int, f Format) []byte {
	out := make([]byte, f.SizeBytes(n, k))
	copy(out, encodeCodes(codes, n, k, f.Bits))
	copy(out[f.ScalesOffset(n, k):], encodeScales(scales, n))
	return out
}

// encodeCodes transposes codes [n, k] to [k, n].
func encodeCodes(codes []int8, n, k, bits int) []byte {
	out := make([]byte, (n*k*bits+7)/8)
	// A square of the matrix at a time, so that both sides stay in cache.
	const side = 64
	for i0 := 0; i0 < n; i0 += side {
		for j0 := 0; j0 < k; j0 += side {
			for i := i0; i < min(i0+side, n); i++ {
				for j := j0; j < min(j0+side, k); j++ {
					put(out, j*n+i, codes[i*k+j], bits)
				}
			}
		}
	}
	return out
}

// encodeScales transposes scales [n, groups] to [groups, n].
func encodeScales(scales []uint16, n int) []byte {
	out := make([]byte, 0, 2*len(scales))
	groups := len(scales) / n
	for g := range groups {
		for i := range n {
			out = binary.LittleEndian.AppendUint16(out, scales[i*groups+g])
		}
	}
	return out
}

func put(out []byte, element int, code int8, bits int) {
	if bits == 8 {
		out[element] = byte(code)
		return
	}
	out[element/2] |= byte(code) & 15 << (element % 2 * 4)
}
