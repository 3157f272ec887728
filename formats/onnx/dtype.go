package onnx

import (
	"fmt"
	"math"
	"math/bits"
)

// String returns the name that onnx.proto gives the type, "BFLOAT16" for
// example.
func (d DataType) String() string {
	switch d {
	case Undefined:
		return "UNDEFINED"
	case Float:
		return "FLOAT"
	case Uint8:
		return "UINT8"
	case Int8:
		return "INT8"
	case Int32:
		return "INT32"
	case Int64:
		return "INT64"
	case Bool:
		return "BOOL"
	case Float16:
		return "FLOAT16"
	case BFloat16:
		return "BFLOAT16"
	case Uint4:
		return "UINT4"
	case Int4:
		return "INT4"
	}
	return fmt.Sprintf("DataType(%d)", int32(d))
}

// Bits returns the size of one element in bits, 0 for a type that llima does
// not use.
func (d DataType) Bits() int {
	switch d {
	case Undefined:
		return 0
	case Uint4, Int4:
		return 4
	case Uint8, Int8, Bool:
		return 8
	case Float16, BFloat16:
		return 16
	case Float, Int32:
		return 32
	case Int64:
		return 64
	}
	return 0
}

// SizeBytes returns the size of the tensor's data in bytes; an odd number of
// 4-bit elements is rounded up. A negative dimension, an unknown type or a
// size past the range of int64 is an error.
func (t *Tensor) SizeBytes() (int64, error) {
	width := t.DType.Bits()
	if width == 0 {
		return 0, fmt.Errorf("data type %v is not supported", t.DType)
	}
	sizeBits := uint64(width)
	for axis, d := range t.Dims {
		if d < 0 {
			return 0, fmt.Errorf("dims %v: dimension %d is negative", t.Dims, axis)
		}
		hi, lo := bits.Mul64(sizeBits, uint64(d))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, fmt.Errorf("dims %v of %v: too large", t.Dims, t.DType)
		}
		sizeBits = lo
	}
	return int64((sizeBits + 7) / 8), nil
}
