package eval

import (
	"errors"
	"fmt"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
)

// conv is a convolution of every channel with taps of its own:
// x [1, C, T], w [C, 1, taps] → [1, C, T-taps+1]. Products are added with the
// taps rising, the bias last.
func conv(a attrs, args []*Value) ([]*Value, error) {
	x, w := args[0], args[1]
	for _, name := range []string{"pads", "dilations", "strides", "auto_pad"} {
		if _, ok := a.find(name); ok {
			return nil, fmt.Errorf("%s is not supported", name)
		}
	}
	if len(x.Dims) != 3 || len(w.Dims) != 3 || x.DType != onnx.Float || w.DType != onnx.Float {
		return nil, fmt.Errorf("%v%v by %v%v", x.DType, x.Dims, w.DType, w.Dims)
	}
	channels, rows, taps := x.Dims[1], x.Dims[2], w.Dims[2]
	if x.Dims[0] != 1 || w.Dims[0] != channels || w.Dims[1] != 1 || a.integer("group", 1) != channels || taps < 1 || taps > rows {
		return nil, fmt.Errorf("%v by %v in %d groups", x.Dims, w.Dims, a.integer("group", 1))
	}
	n, t, have := int(rows-taps+1), int(taps), int(rows)
	out := &Value{DType: onnx.Float, Dims: []int64{1, channels, int64(n)}, F: make([]float32, int(channels)*n)}
	for c := range int(channels) {
		in, taps, dst := x.F[c*have:(c+1)*have], w.F[c*t:(c+1)*t], out.F[c*n:(c+1)*n]
		for m := range dst {
			for j, v := range taps {
				dst[m] += float32(v * in[m+j])
			}
		}
	}
	if len(args) > 2 && args[2] != nil {
		bias := args[2]
		if bias.DType != onnx.Float || len(bias.F) != int(channels) {
			return nil, fmt.Errorf("bias is %v%v, want %d elements", bias.DType, bias.Dims, channels)
		}
		for i := range out.F {
			out.F[i] += bias.F[i/n]
		}
	}
	return []*Value{out}, nil
}

// concat joins FLOAT tensors along the first dimension.
func concat(a attrs, args []*Value) ([]*Value, error) {
	if err := a.only("axis", 0); err != nil {
		return nil, err
	}
	out := &Value{DType: onnx.Float}
	for i, v := range args {
		switch {
		case v == nil || v.DType != onnx.Float || len(v.Dims) == 0:
			return nil, errors.New("want FLOAT tensors")
		case i == 0:
			out.Dims = slices.Clone(v.Dims)
		case !slices.Equal(v.Dims[1:], out.Dims[1:]):
			return nil, fmt.Errorf("%v beside %v", v.Dims, out.Dims)
		default:
			out.Dims[0] += v.Dims[0]
		}
		if _, err := bounded(out.Dims, maxResult); err != nil {
			return nil, err
		}
		out.F = append(out.F, v.F...)
	}
	return []*Value{out}, nil
}

// splitColumns cuts a tensor apart along an axis, in the given sizes.
func splitColumns(a attrs, args []*Value) ([]*Value, error) {
	x, sizes := args[0], args[1]
	axis, err := a.axis(0, len(x.Dims))
	if err != nil {
		return nil, err
	}
	if sizes.DType != onnx.Int64 {
		return nil, fmt.Errorf("sizes are %v, want INT64", sizes.DType)
	}
	outer, size, inner := split(x.Dims, axis)
	var out []*Value
	lo := int64(0)
	for _, n := range sizes.I {
		if n < 1 || n > int64(size)-lo {
			return nil, fmt.Errorf("sizes %v of %d", sizes.I, size)
		}
		var at []int
		for o := range outer {
			for i := range int(n) * inner {
				at = append(at, (o*size+int(lo))*inner+i)
			}
		}
		dims := slices.Clone(x.Dims)
		dims[axis] = n
		out = append(out, pick(x, dims, at)...)
		lo += n
	}
	if lo != int64(size) {
		return nil, fmt.Errorf("sizes %v of %d", sizes.I, size)
	}
	return out, nil
}

// geluOf is gelu, or its approximation by tanh.
func geluOf(a attrs, args []*Value) ([]*Value, error) {
	f := gelu
	switch v, _ := a.find("approximate"); v.Str {
	case "", "none":
	case "tanh":
		f = geluTanh
	default:
		return nil, fmt.Errorf("approximate = %q", v.Str)
	}
	return unary(each(f))(a, args)
}
