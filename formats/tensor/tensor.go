// Package tensor describes tensors as files store them: element types, shapes,
// sizes in bytes, and exact conversions between the float types. It knows no
// file format.
package tensor

import (
	"fmt"
	"math"
	"math/bits"
)

// DType is the type of a tensor's elements. The zero value is no type.
type DType uint8

// The element types, under the names that safetensors gives them.
const (
	F32 DType = iota + 1
	F16
	BF16
	F64
	F8E4M3
	F8E5M2
	I64
	I32
	I16
	I8
	U64
	U32
	U16
	U8
	Bool
)

var dtypes = [...]struct {
	name      string
	sizeBytes int
}{
	F32:    {"F32", 4},
	F16:    {"F16", 2},
	BF16:   {"BF16", 2},
	F64:    {"F64", 8},
	F8E4M3: {"F8_E4M3", 1},
	F8E5M2: {"F8_E5M2", 1},
	I64:    {"I64", 8},
	I32:    {"I32", 4},
	I16:    {"I16", 2},
	I8:     {"I8", 1},
	U64:    {"U64", 8},
	U32:    {"U32", 4},
	U16:    {"U16", 2},
	U8:     {"U8", 1},
	Bool:   {"BOOL", 1},
}

// DTypes lists every type in canonical order.
func DTypes() []DType {
	all := make([]DType, 0, len(dtypes)-1)
	for i := 1; i < len(dtypes); i++ {
		all = append(all, DType(i))
	}
	return all
}

// String returns the name of the type, "BF16" for example.
func (d DType) String() string {
	if d.known() {
		return dtypes[d].name
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// ParseDType is the inverse of [DType.String].
func ParseDType(name string) (DType, bool) {
	for i := 1; i < len(dtypes); i++ {
		if dtypes[i].name == name {
			return DType(i), true
		}
	}
	return 0, false
}

// Bytes returns the size of one element in bytes, 0 for no type.
func (d DType) Bytes() int {
	if d.known() {
		return dtypes[d].sizeBytes
	}
	return 0
}

func (d DType) known() bool { return d > 0 && int(d) < len(dtypes) }

// Info is a tensor without its data.
type Info struct {
	Name  string
	DType DType
	Shape []int // outermost first; empty for a scalar
}

// Elements returns the number of elements, the product of the shape. A
// negative dimension or a product past the range of int64 is an error.
func (i Info) Elements() (int64, error) {
	n := uint64(1)
	for axis, d := range i.Shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v: dimension %d is negative", i.Shape, axis)
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, fmt.Errorf("shape %v: too many elements", i.Shape)
		}
		n = lo
	}
	return int64(n), nil
}

// SizeBytes returns the size of the data in bytes, under the same checks as
// [Info.Elements].
func (i Info) SizeBytes() (int64, error) {
	if !i.DType.known() {
		return 0, fmt.Errorf("unknown dtype %v", i.DType)
	}
	n, err := i.Elements()
	if err != nil {
		return 0, err
	}
	size := int64(i.DType.Bytes())
	if n > math.MaxInt64/size {
		return 0, fmt.Errorf("shape %v of %v: too many bytes", i.Shape, i.DType)
	}
	return n * size, nil
}
