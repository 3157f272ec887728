package quant

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/llima-build/llima/formats/tensor"
)

// Align is the alignment of scales and offsets within an encoded matrix, in
// bytes.
const Align = 64

// Layout says where codes, scales and offsets of a matrix lie in its file:
// codes from its start, each of the others at a multiple of [Align].
type Layout struct {
	CodeBytes, Scales, ScaleBytes, Offsets, OffsetBytes, SizeBytes int64
}

// LayoutOf returns the layout of codes [n, k].
func LayoutOf(c tensor.Coding, n, k int) Layout {
	groups := int64(c.Groups(k)) * int64(n)
	l := Layout{CodeBytes: (int64(n)*int64(k)*int64(c.Codes.Bits()) + 7) / 8, ScaleBytes: groups * int64(c.Scale.Bytes())}
	l.Scales = align(l.CodeBytes)
	l.SizeBytes = l.Scales + l.ScaleBytes
	if c.Offset != 0 {
		l.Offsets, l.OffsetBytes = align(l.SizeBytes), groups*int64(c.Offset.Bytes())
		l.SizeBytes = l.Offsets + l.OffsetBytes
	}
	return l
}

func align(n int64) int64 { return (n + Align - 1) / Align * Align }

// Coding returns how a format holds weights; BF16 has none.
func (f Format) Coding() tensor.Coding {
	c := tensor.Coding{Codes: tensor.Int8, GroupSize: f.GroupSize, Scale: tensor.F16}
	if f.Bits == 4 {
		c.Codes = tensor.Int4
	}
	return c
}

// CodeBytes returns the size of the codes of a matrix [n, k], in bytes; of
// the matrix itself where it is BF16.
func (f Format) CodeBytes(n, k int) int64 {
	if f.Bits == 16 {
		return 2 * int64(n) * int64(k)
	}
	return LayoutOf(f.Coding(), n, k).CodeBytes
}

// ScalesOffset returns where the scales begin in an encoded matrix, in bytes.
func (f Format) ScalesOffset(n, k int) int64 { return LayoutOf(f.Coding(), n, k).Scales }

// SizeBytes returns the size of an encoded matrix.
func (f Format) SizeBytes(n, k int) int64 {
	if f.Bits == 16 {
		return f.CodeBytes(n, k)
	}
	return LayoutOf(f.Coding(), n, k).SizeBytes
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

// Decode reads what Encode lays out.
func Decode(b []byte, n, k int, f Format) (codes []int8, scales []uint16, err error) {
	if err := errors.Join(f.Check(), checkMatrix(n, k)); err != nil {
		return nil, nil, err
	}
	if f.Bits == 16 || int64(len(b)) != f.SizeBytes(n, k) {
		return nil, nil, fmt.Errorf("quant: %d bytes, want %d of a matrix [%d, %d] in %v", len(b), f.SizeBytes(n, k), n, k, f)
	}
	codes = make([]int8, n*k)
	for j := range k {
		for i := range n {
			if f.Bits == 8 {
				codes[i*k+j] = int8(b[j*n+i])
				continue
			}
			at := j*n + i
			codes[i*k+j] = int8(b[at/2]<<(4*(1-at%2))) >> 4
		}
	}
	groups := f.Groups(k)
	scales = make([]uint16, n*groups)
	at := f.ScalesOffset(n, k)
	for g := range groups {
		for i := range n {
			scales[i*groups+g] = binary.LittleEndian.Uint16(b[at+2*int64(g*n+i):])
		}
	}
	return codes, scales, nil
}

// EncodeCoded lays out a matrix that a source holds as codes in the same way,
// offsets behind the scales. It has been checked.
func EncodeCoded(m *tensor.Coded) []byte {
	l := LayoutOf(m.Coding, m.Rows, m.Cols)
	out := make([]byte, l.SizeBytes)
	copy(out, encodeCodes(m.Codes, m.Rows, m.Cols, m.Coding.Codes.Bits()))
	encodeFloats(out[l.Scales:l.Scales+l.ScaleBytes], m.Scales, m.Rows, m.Scale)
	if m.Offset != 0 {
		encodeFloats(out[l.Offsets:l.Offsets+l.OffsetBytes], m.Offsets, m.Rows, m.Offset)
	}
	return out
}

// encodeFloats transposes values [n, groups] to [groups, n] of a type that
// holds them.
func encodeFloats(dst []byte, values []float32, n int, dt tensor.DType) {
	groups, size := len(values)/n, dt.Bytes()
	row := make([]float32, n)
	for g := range groups {
		for i := range row {
			row[i] = values[i*groups+g]
		}
		if err := tensor.FromF32(dst[g*n*size:(g+1)*n*size], row, dt); err != nil {
			panic("llima: internal error: scales of " + dt.String())
		}
	}
}

// encodeCodes transposes codes [n, k] to [k, n].
func encodeCodes(codes []int8, n, k, bits int) []byte {
	out := make([]byte, (n*k*bits+7)/8)
	if bits == 8 || n%2 == 0 {
		set.Pack(out, n*bits/8, codes, k, n, k, bits)
		return out
	}
	for i := range n { // rows of the result begin within a byte
		for j := range k {
			element := j*n + i
			out[element/2] |= byte(codes[i*k+j]) & 15 << (element % 2 * 4)
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
