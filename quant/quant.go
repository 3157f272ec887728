// Package quant turns matrices of a checkpoint into codes and scales, and
// lays those out as quantised ONNX graphs read them. It knows no graph and no
// file. Its results are the same bytes on every CPU: what is computed is
// stated in quant/kern, sums are of integers and every product is rounded.
package quant

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/llima-build/llima/formats/tensor"
)

// Format is how a matrix [N, K] is stored, and how its codes are found.
type Format struct {
	Bits      int    // 16: BF16 without scales; 8 or 4: signed codes with float16 scales
	GroupSize int    // weights of a row that share a scale; 0: the whole row, an output channel
	Method    Method // of 8 and 4 bits
}

// Method is how scales are found without data. Codes are the nearest in any
// case.
type Method uint8

// The methods.
const (
	Search  Method = iota // the least sum of squared errors
	Nearest               // the greatest magnitude becomes the last code
)

var methods = [...]string{Search: "search", Nearest: "nearest"}

// String returns the name of a method as llima.hcl spells it.
func (m Method) String() string {
	if int(m) < len(methods) {
		return methods[m]
	}
	return fmt.Sprintf("method %d", uint8(m))
}

// maxGroup bounds group sizes.
const maxGroup = 1 << 16

// Check reports a format that does not exist.
func (f Format) Check() error {
	switch {
	case f.Bits != 16 && f.Bits != 8 && f.Bits != 4:
		return fmt.Errorf("quant: %d bits, want 16, 8 or 4", f.Bits)
	case f.Bits == 16 && f.GroupSize != 0:
		return fmt.Errorf("quant: BF16 takes no group size, not %d", f.GroupSize)
	case f.Bits == 16 && f.Method != 0 || int(f.Method) >= len(methods):
		return fmt.Errorf("quant: %d bits with %v, which is no method of theirs", f.Bits, f.Method)
	case f.GroupSize < 0 || f.GroupSize > maxGroup || f.GroupSize%16 != 0:
		return fmt.Errorf("quant: group size %d, want a multiple of 16 up to %d, or 0 for the channel", f.GroupSize, maxGroup)
	}
	return nil
}

// String returns the file extension of the format, which says nothing of the
// method: "bf16", "int8", "int4g32".
func (f Format) String() string {
	switch {
	case f.Bits == 16:
		return "bf16"
	case f.GroupSize == 0:
		return fmt.Sprintf("int%d", f.Bits)
	}
	return fmt.Sprintf("int%dg%d", f.Bits, f.GroupSize)
}

// Groups returns how many scales a row of k weights has.
func (f Format) Groups(k int) int {
	switch {
	case f.Bits == 16:
		return 0
	case f.GroupSize == 0:
		return 1
	}
	return (k + f.GroupSize - 1) / f.GroupSize
}

// maxElements bounds matrices, so that no size overflows.
const maxElements = 1 << 40

func checkMatrix(n, k int) error {
	if n < 1 || k < 1 || n > maxElements/k {
		return fmt.Errorf("quant: matrix [%d, %d] is out of range", n, k)
	}
	return nil
}

// Quantize rounds a matrix [n, k] of F32, F16 or BF16, little-endian, to
// codes [n, k] and float16 scales [n, groups]; a weight becomes scale·code.
//
// Codes are -8 to 7 or -127 to 127: the nearest under the group's scale, ties
// to even. With [Nearest] the scale is the weight of greatest magnitude, the
// first of equals, over -8, or the greatest magnitude over 127, rounded to
// float16, 2^-24 at least. [Search] gives scales of less squared error, of either sign where
// codes have 4 bits. A row that is not a multiple of the group size ends in a
// shorter group. A group of zeros has scale 0. A weight that is not finite,
// or needs a scale past float16's range, is an error that names its row and
// column.
func Quantize(src []byte, dt tensor.DType, n, k int, f Format) (codes []int8, scales []uint16, err error) {
	if err := checkCodes(dt, n, k, f); err != nil {
		return nil, nil, err
	}
	if len(src) != n*k*dt.Bytes() {
		return nil, nil, fmt.Errorf("quant: %d bytes for a matrix [%d, %d] of %v", len(src), n, k, dt)
	}
	return quantize(bytes.NewReader(src), dt, n, k, f)
}

// quantize is Quantize of what src reads.
func quantize(src io.ReaderAt, dt tensor.DType, n, k int, f Format) (codes []int8, scales []uint16, err error) {
	codes, scales = make([]int8, n*k), make([]uint16, n*f.Groups(k))
	err = eachRun(src, dt, 0, n, k, f, func(r *run) {
		for i := range r.count {
			copy(codes[(r.first+i)*k:][:k], r.codes[i*r.pitch:])
		}
		copy(scales[r.first*r.groups:], r.scales[:r.count*r.groups])
	})
	if err != nil {
		return nil, nil, err
	}
	return codes, scales, nil
}

// checkCodes reports what cannot be quantised to codes.
func checkCodes(dt tensor.DType, n, k int, f Format) error {
	if err := f.Check(); err != nil {
		return err
	}
	if f.Bits == 16 {
		return fmt.Errorf("quant: BF16 has no codes")
	}
	return checkWeights(dt, n, k)
}

// checkWeights reports a matrix that cannot be read.
func checkWeights(dt tensor.DType, n, k int) error {
	if err := checkMatrix(n, k); err != nil {
		return err
	}
	if dt != tensor.F32 && dt != tensor.F16 && dt != tensor.BF16 {
		return fmt.Errorf("quant: weights are %v, want F32, F16 or BF16", dt)
	}
	return nil
}

// Dequantize returns the weights that codes and scales stand for, [n, k],
// each product rounded to float32 (it is exact but for overflow).
func Dequantize(codes []int8, scales []uint16, n, k int, f Format) []float32 {
	group := f.GroupSize
	if group == 0 {
		group = k
	}
	perRow := f.Groups(k)
	out := make([]float32, n*k)
	for i := range n {
		for j := range k {
			out[i*k+j] = float32(tensor.FromF16(scales[i*perRow+j/group]) * float32(codes[i*k+j]))
		}
	}
	return out
}

// BF16 rounds a matrix [n, k] of F32, F16 or BF16 to BF16, little-endian, and
// reports whether every weight kept its value. Weights that are not finite,
// or would not be, are errors that name row and column.
func BF16(src []byte, dt tensor.DType, n, k int) (out []byte, exact bool, err error) {
	if err := checkWeights(dt, n, k); err != nil {
		return nil, false, err
	}
	if len(src) != n*k*dt.Bytes() {
		return nil, false, fmt.Errorf("quant: %d bytes for a matrix [%d, %d] of %v", len(src), n, k, dt)
	}
	out = make([]byte, 2*n*k)
	var inexact atomic.Bool
	err = eachBlock(bytes.NewReader(src), dt, n, k, k, func(r *run) error {
		same, err := r.bf16(out[2*r.first*k:][:2*len(r.w)])
		if !same {
			inexact.Store(true)
		}
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return out, !inexact.Load(), nil
}
