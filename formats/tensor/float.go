package tensor

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/x448/float16"
)

// ToBF16 rounds to bfloat16, to nearest with ties to even. Values past the
// largest finite bfloat16 become infinite as IEEE 754-2019 §4.3.1 has it; a
// NaN stays a (quiet) NaN with its sign.
func ToBF16(f float32) uint16 {
	u := math.Float32bits(f)
	if u&0x7fffffff > 0x7f800000 {
		return uint16(u>>16) | 0x0040
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// FromBF16 widens a bfloat16, exactly.
func FromBF16(u uint16) float32 { return math.Float32frombits(uint32(u) << 16) }

// ToF16 rounds to float16, to nearest with ties to even, past 65504 to
// infinity; a NaN stays a NaN.
func ToF16(f float32) uint16 { return float16.Fromfloat32(f).Bits() }

// FromF16 widens a float16, exactly.
func FromF16(u uint16) float32 { return float16.Frombits(u).Float32() }

// ToF32 widens the little-endian F32, F16 or BF16 elements of src into dst,
// exactly. src holds len(dst) elements; another length or type is an error.
func ToF32(dst []float32, src []byte, dt DType) error {
	if err := checkFloats(len(dst), len(src), dt); err != nil {
		return err
	}
	switch dt { //nolint:exhaustive // checkFloats let only these through
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = FromF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = FromBF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	}
	return nil
}

// FromF32 rounds src into little-endian F32, F16 or BF16 elements, as [ToF16]
// and [ToBF16] do. dst has room for len(src) elements, no more and no less.
func FromF32(dst []byte, src []float32, dt DType) error {
	if err := checkFloats(len(src), len(dst), dt); err != nil {
		return err
	}
	switch dt { //nolint:exhaustive // checkFloats let only these through
	case F32:
		for i, f := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(f))
		}
	case F16:
		for i, f := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], ToF16(f))
		}
	case BF16:
		for i, f := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], ToBF16(f))
		}
	}
	return nil
}

func checkFloats(elements, sizeBytes int, dt DType) error {
	if dt != F32 && dt != F16 && dt != BF16 {
		return fmt.Errorf("tensor: %v is not F32, F16 or BF16", dt)
	}
	if sizeBytes%dt.Bytes() != 0 || sizeBytes/dt.Bytes() != elements {
		return fmt.Errorf("tensor: %d elements of %v do not fill %d bytes", elements, dt, sizeBytes)
	}
	return nil
}
