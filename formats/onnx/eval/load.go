package eval

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
)

// bytes returns an initialiser's data, checked against its shape.
func (r *run) bytes(t *onnx.Tensor) ([]byte, error) {
	want, err := t.SizeBytes()
	if err != nil {
		return nil, err
	}
	raw := t.Raw
	if x := t.External; x != nil {
		if r.data == nil {
			return nil, fmt.Errorf("file %s: there are no external files", x.Location)
		}
		file, err := r.data(x.Location)
		if err != nil {
			return nil, err
		}
		if x.Offset < 0 || x.Length < 0 || x.Offset > int64(len(file)) || x.Length > int64(len(file))-x.Offset {
			return nil, fmt.Errorf("file %s: bytes [%d,%d) of %d", x.Location, x.Offset, x.Offset+x.Length, len(file))
		}
		raw = file[x.Offset : x.Offset+x.Length]
	}
	if int64(len(raw)) != want {
		return nil, fmt.Errorf("%d bytes for %v%v, want %d", len(raw), t.DType, t.Dims, want)
	}
	return raw, nil
}

// load reads an initialiser.
func (r *run) load(t *onnx.Tensor) (*Value, error) {
	n, err := elements(t.Dims)
	if err != nil {
		return nil, err
	}
	raw, err := r.bytes(t)
	if err != nil {
		return nil, err
	}
	v := &Value{DType: t.DType, Dims: t.Dims}
	if isFloat(t.DType) {
		v.F = make([]float32, n)
		return v, tensor.ToF32(v.F, raw, floatTypes[t.DType])
	}
	switch t.DType {
	case onnx.Int64:
		v.I = make([]int64, n)
		for i := range v.I {
			v.I[i] = int64(binary.LittleEndian.Uint64(raw[8*i:]))
		}
	case onnx.Int32:
		v.I = make([]int64, n)
		for i := range v.I {
			v.I[i] = int64(int32(binary.LittleEndian.Uint32(raw[4*i:])))
		}
	case onnx.Int8:
		v.codes = make([]int8, n)
		for i := range v.codes {
			v.codes[i] = int8(raw[i])
		}
	case onnx.Int4:
		v.codes = make([]int8, n)
		for i := range v.codes {
			v.codes[i] = int8(raw[i/2]<<(4-i%2*4)) >> 4
		}
	case onnx.Uint4:
		v.codes = make([]int8, n)
		for i := range v.codes {
			v.codes[i] = int8(raw[i/2] >> (i % 2 * 4) & 15)
		}
	case onnx.Undefined, onnx.Float, onnx.Uint8, onnx.Bool, onnx.Float16, onnx.BFloat16:
		return nil, fmt.Errorf("type %v is not supported", t.DType)
	}
	return v, nil
}

var floatTypes = map[onnx.DataType]tensor.DType{
	onnx.Float: tensor.F32, onnx.BFloat16: tensor.BF16, onnx.Float16: tensor.F16,
}

// cast converts elements: floats among each other, and integers among each
// other where the value fits.
func cast(a attrs, args []*Value) ([]*Value, error) {
	x, to := args[0], onnx.DataType(a.integer("to", 0))
	out := &Value{DType: to, Dims: x.Dims}
	switch {
	case isFloat(x.DType) && isFloat(to):
		out.F = make([]float32, len(x.F))
		for i, f := range x.F {
			out.F[i] = narrow(f, to)
		}
	case x.DType == onnx.Int64 && to == onnx.Int32:
		for _, i := range x.I {
			if i != int64(int32(i)) {
				return nil, fmt.Errorf("%d is out of range of %v", i, to)
			}
		}
		out.I = x.I
	default:
		return nil, fmt.Errorf("from %v to %v is not supported", x.DType, to)
	}
	return []*Value{out}, nil
}

// narrow rounds to a float type.
func narrow(f float32, to onnx.DataType) float32 {
	switch to { //nolint:exhaustive // the caller lets only floats through
	case onnx.BFloat16:
		return tensor.FromBF16(tensor.ToBF16(f))
	case onnx.Float16:
		return tensor.FromF16(tensor.ToF16(f))
	default:
		return f
	}
}

// dequantize multiplies codes by scales, one for each index of the axis or for
// each block along it.
func dequantize(a attrs, args []*Value) ([]*Value, error) {
	codes, scales := args[0], args[1]
	if len(args) > 2 && args[2] != nil {
		return nil, errors.New("zero points are not supported")
	}
	if scales.DType != onnx.Float || codes.codes == nil {
		return nil, fmt.Errorf("codes are %v and scales %v, want an initializer of INT8, INT4 or UINT4 and FLOAT", codes.DType, scales.DType)
	}
	axis, err := a.axis(1, len(codes.Dims))
	if err != nil {
		return nil, err
	}
	outer, size, inner := split(codes.Dims, axis)
	want, block := codes.Dims[axis:axis+1], a.integer("block_size", 0)
	switch {
	case block < 0:
		return nil, fmt.Errorf("block_size = %d", block)
	case block > 0:
		want = slices.Clone(codes.Dims)
		want[axis] = (want[axis]-1)/block + 1
	}
	if !slices.Equal(scales.Dims, want) || len(codes.codes) == 0 {
		return nil, fmt.Errorf("scales are %v for codes %v, want %v", scales.Dims, codes.Dims, want)
	}
	out := &Value{DType: onnx.Float, Dims: codes.Dims, F: make([]float32, len(codes.codes))}
	at := 0
	for o := range outer {
		for s := range size {
			var row []float32
			if block > 0 {
				row = scales.F[(o*int(want[axis])+s/int(block))*inner:]
			} else {
				row = scales.F[s:]
			}
			for i := range inner {
				scale := row[0]
				if block > 0 {
					scale = row[i]
				}
				out.F[at] = float32(scale * float32(codes.codes[at]))
				at++
			}
		}
	}
	return []*Value{out}, nil
}

// split returns the products of the dimensions before and after an axis.
func split(dims []int64, axis int) (outer, size, inner int) {
	outer, inner = 1, 1
	for i, d := range dims {
		switch {
		case i < axis:
			outer *= int(d)
		case i == axis:
			size = int(d)
		default:
			inner *= int(d)
		}
	}
	return outer, size, inner
}
