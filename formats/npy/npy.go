// Package npy reads and writes NumPy's .npy files, version 1.0, little-endian
// and in C order (numpy, doc/neps/nep-0001-npy-format.rst). It knows no BF16:
// the format has no name for it.
package npy

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/llima-build/llima/formats/tensor"
)

const (
	magic       = "\x93NUMPY\x01\x00"
	prefixBytes = len(magic) + 2 // the length of the header, 16 bits
	alignBytes  = 64             // of the data
	growDigits  = 21             // room that NumPy leaves for the first dimension to grow
)

// Array is the contents of a file.
type Array struct {
	DType tensor.DType
	Shape []int  // outermost first
	Data  []byte // little-endian, C order
}

var descrs = []struct {
	dtype tensor.DType
	descr string
}{
	{tensor.F64, "<f8"},
	{tensor.F32, "<f4"},
	{tensor.F16, "<f2"},
	{tensor.I64, "<i8"},
	{tensor.I32, "<i4"},
	{tensor.I16, "<i2"},
	{tensor.I8, "|i1"},
	{tensor.U64, "<u8"},
	{tensor.U32, "<u4"},
	{tensor.U16, "<u2"},
	{tensor.U8, "|u1"},
	{tensor.Bool, "|b1"},
}

// F32 returns the elements of an F32 or F16 array, widened exactly; nil for
// another type.
func (a Array) F32() []float32 {
	if a.DType != tensor.F32 && a.DType != tensor.F16 {
		return nil
	}
	values := make([]float32, len(a.Data)/a.DType.Bytes())
	if err := tensor.ToF32(values, a.Data, a.DType); err != nil {
		return nil
	}
	return values
}

// Write writes a file, byte for byte as NumPy does.
func Write(w io.Writer, dtype tensor.DType, shape []int, data []byte) error {
	header, err := encodeHeader(dtype, shape, len(data))
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// EncodeF32 returns a file of float32 values.
func EncodeF32(values []float32, shape ...int) ([]byte, error) {
	sizeBytes := len(values) * tensor.F32.Bytes()
	header, err := encodeHeader(tensor.F32, shape, sizeBytes)
	if err != nil {
		return nil, err
	}
	b := slices.Grow(header, sizeBytes)[:len(header)+sizeBytes]
	return b, tensor.FromF32(b[len(header):], values, tensor.F32)
}

func encodeHeader(dtype tensor.DType, shape []int, dataBytes int) ([]byte, error) {
	descr := ""
	for _, d := range descrs {
		if d.dtype == dtype {
			descr = d.descr
		}
	}
	if descr == "" {
		return nil, fmt.Errorf("npy: %v has no name in the format", dtype)
	}
	size, err := tensor.Info{DType: dtype, Shape: shape}.SizeBytes()
	if err != nil {
		return nil, fmt.Errorf("npy: %w", err)
	}
	if size != int64(dataBytes) {
		return nil, fmt.Errorf("npy: %d bytes, want %d for %v of %v", dataBytes, size, shape, dtype)
	}
	dims := make([]string, len(shape))
	grow := 0
	for i, d := range shape {
		dims[i] = strconv.Itoa(d)
	}
	tuple := strings.Join(dims, ", ")
	if len(dims) > 0 {
		grow = growDigits - len(dims[0])
	}
	if len(dims) == 1 {
		tuple += ","
	}
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }%*s", descr, tuple, grow, "")
	unpadded := prefixBytes + len(header) + 1
	header += strings.Repeat(" ", (alignBytes-unpadded%alignBytes)%alignBytes) + "\n"
	if len(header) > 0xffff {
		return nil, fmt.Errorf("npy: header of %d bytes, the limit is %d", len(header), 0xffff)
	}
	return append([]byte(magic), string([]byte{byte(len(header)), byte(len(header) >> 8)})+header...), nil
}
