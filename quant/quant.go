// Package quant turns matrices of a checkpoint into codes and scales, and
// lays those out as quantised ONNX graphs read them. It knows no graph and no
// file. Its results are the same bytes on every CPU: sums run in one order,
// in float64, and every product that meets a sum is rounded explicitly.
package quant

import (
	"fmt"
	"math"

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
	Default Method = iota // Search for 4 bits, Nearest for 8
	Nearest               // the greatest magnitude becomes the last code
	Search                // the least sum of squared errors
)

var methods = [...]string{Default: "default", Nearest: "nearest", Search: "search"}

// String returns the name of a method as llima.hcl spells it.
func (m Method) String() string {
	if int(m) < len(methods) {
		return methods[m]
	}
	return fmt.Sprintf("method %d", uint8(m))
}

// Resolved returns the method of a format, never [Default] where it has codes.
func (f Format) Resolved() Method {
	switch {
	case f.Method != Default, f.Bits == 16:
		return f.Method
	case f.Bits == 4:
		return Search
	}
	return Nearest
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
	case f.Bits == 16 && f.Method != Default || int(f.Method) >= len(methods):
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
	return quantize(src, dt, 0, n, k, f)
}

// quantize is Quantize for rows [first, first+n) of a matrix.
func quantize(src []byte, dt tensor.DType, first, n, k int, f Format) (codes []int8, scales []uint16, err error) {
	if err := f.Check(); err != nil {
		return nil, nil, err
	}
	if f.Bits == 16 {
		return nil, nil, fmt.Errorf("quant: BF16 has no codes")
	}
	if _, err := newRows(src, dt, first, n, k); err != nil {
		return nil, nil, err
	}
	groups := f.Groups(k)
	codes, scales = make([]int8, n*k), make([]uint16, n*groups)
	err = eachRow(n, func() (func(i int) error, error) {
		w, err := newWorker(src, dt, first, n, k, f)
		return func(i int) error {
			return w.row(i, codes[i*k:(i+1)*k], scales[i*groups:(i+1)*groups])
		}, err
	})
	if err != nil {
		return nil, nil, err
	}
	return codes, scales, nil
}

// rows reads rows [first, first+n) of a matrix one by one.
type rows struct {
	src   []byte
	dt    tensor.DType
	first int
	k     int
	row   []float32
}

func newRows(src []byte, dt tensor.DType, first, n, k int) (*rows, error) {
	if err := checkMatrix(n, k); err != nil {
		return nil, err
	}
	if dt != tensor.F32 && dt != tensor.F16 && dt != tensor.BF16 {
		return nil, fmt.Errorf("quant: weights are %v, want F32, F16 or BF16", dt)
	}
	if len(src) != n*k*dt.Bytes() {
		return nil, fmt.Errorf("quant: %d bytes for a matrix [%d, %d] of %v", len(src), n, k, dt)
	}
	return &rows{src: src, dt: dt, first: first, k: k, row: make([]float32, k)}, nil
}

// read returns row first+i, valid until the next call.
func (r *rows) read(i int) ([]float32, error) {
	size := r.k * r.dt.Bytes()
	if err := tensor.ToF32(r.row, r.src[i*size:(i+1)*size], r.dt); err != nil {
		return nil, fmt.Errorf("quant: row %d: %w", r.first+i, err)
	}
	for j, w := range r.row {
		if math.IsNaN(float64(w)) || math.IsInf(float64(w), 0) {
			return nil, fmt.Errorf("quant: row %d, column %d: %v is not finite", r.first+i, j, w)
		}
	}
	return r.row, nil
}

func absMax(w []float32) float32 {
	m := float32(0)
	for _, x := range w {
		m = max(m, x, -x)
	}
	return m
}

const (
	smallestF16 = 0x0001 // 2^-24
	infF16      = 0x7c00
	signF16     = 0x8000
)

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
	return bf16(src, dt, 0, n, k)
}

// bf16 is BF16 for rows [first, first+n) of a matrix.
func bf16(src []byte, dt tensor.DType, first, n, k int) (out []byte, exact bool, err error) {
	r, err := newRows(src, dt, first, n, k)
	if err != nil {
		return nil, false, err
	}
	out, exact = make([]byte, 0, 2*n*k), true
	for i := range n {
		row, err := r.read(i)
		if err != nil {
			return nil, false, err
		}
		for j, w := range row {
			u := tensor.ToBF16(w)
			back := tensor.FromBF16(u)
			if math.IsInf(float64(back), 0) {
				return nil, false, fmt.Errorf("quant: row %d, column %d: %v is past bfloat16's range", first+i, j, w)
			}
			exact = exact && back == w
			out = append(out, byte(u), byte(u>>8))
		}
	}
	return out, exact, nil
}
