package ir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
)

// split imports columns that are cut apart, or the two columns of spans.
func (im *importer) split(n *onnx.Node) (value, error) {
	v, err := im.arg(n, 0)
	if err != nil || v.kind == kindSpans {
		if err != nil {
			return v, err
		}
		return im.pick(n)
	}
	x, err := im.plain(n, 0)
	if err != nil {
		return v, err
	}
	if _, err := wantInt(n, "axis", 0, 1, -1); err != nil {
		return v, err
	}
	arg, err := im.arg(n, 1)
	if err != nil {
		return v, err
	}
	sizes, err := integers(arg)
	if err != nil {
		return v, err
	}
	if len(x.dims) != 2 || len(sizes) != len(n.Outputs) {
		return v, fmt.Errorf("%d parts of %v to %d outputs", len(sizes), x.shape(), len(n.Outputs))
	}
	var first value
	lo, t := 0, x.node.Type
	for i, size := range sizes {
		if size < 1 || size > int64(t.Cols-lo) {
			return v, fmt.Errorf("sizes %v of %d columns", sizes, t.Cols)
		}
		part := im.define(&Node{Op: Slice, Type: Type{t.DType, t.Rows, int(size)}, Args: []*Node{x.node}, Lo: lo}, []int{t.Rows, int(size)})
		lo += int(size)
		switch {
		case i == 0:
			first = part
		case im.values[n.Outputs[i]].kind != kindNone:
			return v, fmt.Errorf("value %q is defined twice", n.Outputs[i])
		default:
			im.values[n.Outputs[i]] = part
		}
	}
	if lo != t.Cols {
		return v, fmt.Errorf("sizes %v of %d columns", sizes, t.Cols)
	}
	return first, nil
}

// concat imports rows of state in front of rows of the tokens.
func (im *importer) concat(n *onnx.Node) (value, error) {
	if _, err := wantInt(n, "axis", 0, 0); err != nil || len(n.Inputs) != 2 {
		return value{}, errors.New("want two operands along axis 0")
	}
	a, err := im.plain(n, 0)
	if err != nil {
		return value{}, err
	}
	b, err := im.plain(n, 1)
	if err != nil {
		return value{}, err
	}
	s, x := a.node.Type, b.node.Type
	if s.DType != F32 || x.DType != F32 || s.Cols != x.Cols || a.node.Op != Input || len(a.dims) != 2 || len(b.dims) != 2 {
		return value{}, fmt.Errorf("%s and %s, want an f32 input and f32 rows", s, x)
	}
	t := Type{F32, s.Rows + x.Rows, x.Cols}
	return im.define(&Node{Op: Concat, Type: t, Args: []*Node{a.node, b.node}}, []int{t.Rows, t.Cols}), nil
}

// conv imports a convolution of [1, columns, rows], each column with taps of
// its own, over the rows of a concat.
func (im *importer) conv(n *onnx.Node) (value, error) {
	x, err := im.arg(n, 0)
	if err != nil {
		return x, err
	}
	for _, name := range []string{"auto_pad", "dilations", "pads", "strides"} {
		if _, ok := attr(n, name); ok {
			return x, fmt.Errorf("attribute %s is not supported", name)
		}
	}
	rows := x.view.node
	d := x.view.dims
	if x.kind != kindTensor || rows.Op != Concat || len(d) != 3 || len(d[0]) != 0 || !slices.Equal(slices.Concat(d[2], d[1]), x.view.order) {
		return x, errors.New("want [1, columns, rows] of joined rows")
	}
	cols := rows.Type.Cols
	if _, err := wantInt(n, "group", 1, int64(cols)); err != nil {
		return x, err
	}
	taps, err := im.taps(n, cols)
	if err != nil {
		return x, err
	}
	state, gated := rows.Args[0], rows.Args[1]
	if state.Type.Rows != taps.Type.Rows-1 {
		return x, fmt.Errorf("%d rows of state for %d taps", state.Type.Rows, taps.Type.Rows)
	}
	args := []*Node{gated, state, taps}
	if len(n.Inputs) > 2 && n.Inputs[2] != "" {
		bias, err := im.vector(n, 2, cols)
		if err != nil {
			return x, err
		}
		args = append(args, bias)
	}
	node := im.f.Append(&Node{Op: Conv, Type: gated.Type, Args: args})
	m, h := im.axes.fresh(gated.Type.Rows), im.axes.fresh(cols)
	return value{kind: kindTensor, view: view{node: node, order: slices.Concat(m, h), dims: [][]axis{nil, h, m}}}, nil
}

// taps returns input 1, [cols, 1, taps], as a const [taps, cols].
func (im *importer) taps(n *onnx.Node, cols int) (*Node, error) {
	w, err := im.arg(n, 1)
	if err != nil {
		return nil, err
	}
	if w.kind != kindConst || w.tensor.External != nil || len(w.tensor.Dims) != 3 {
		return nil, errors.New("taps are not an inline initializer of 3 dimensions")
	}
	d := w.tensor.Dims
	if d[0] != int64(cols) || d[1] != 1 || d[2] < 1 || d[2] > 64 {
		return nil, fmt.Errorf("taps are %v, want [%d, 1, up to 64]", d, cols)
	}
	taps := int(d[2])
	data, err := floats(w.tensor, cols*taps)
	if err != nil {
		return nil, err
	}
	const size = 4
	out := make([]byte, len(data))
	for c := range cols {
		for t := range taps {
			copy(out[(t*cols+c)*size:][:size], data[(c*taps+t)*size:])
		}
	}
	return im.f.Append(&Node{Op: Const, Type: Type{F32, taps, cols}, Data: out}), nil
}

// fold computes a sum of constants: a vector and a number.
func (im *importer) fold(op string, x, y *onnx.Tensor) (value, error) {
	if op != "Add" || len(x.Dims) != 1 || x.External != nil {
		return value{}, errors.New("only a number can be added to a constant vector")
	}
	f, err := single(y)
	if err != nil {
		return value{}, err
	}
	data, err := floats(x, int(x.Dims[0]))
	if err != nil {
		return value{}, err
	}
	sum := make([]byte, 0, len(data))
	for ; len(data) > 0; data = data[4:] {
		v := math.Float32frombits(binary.LittleEndian.Uint32(data)) + f
		sum = binary.LittleEndian.AppendUint32(sum, math.Float32bits(v))
	}
	return value{kind: kindConst, tensor: &onnx.Tensor{Name: x.Name, DType: onnx.Float, Dims: x.Dims, Raw: sum}}, nil
}
