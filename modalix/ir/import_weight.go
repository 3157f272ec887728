package ir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
)

// scaleTypes are the types of scales and offsets.
var scaleTypes = map[onnx.DataType]tensor.DType{onnx.Float16: tensor.F16, onnx.BFloat16: tensor.BF16, onnx.Float: tensor.F32}

// dequantize imports a quantised matrix [K, N].
func (im *importer) dequantize(n *onnx.Node) (value, error) {
	codes, err := im.arg(n, 0)
	if err != nil {
		return codes, err
	}
	scales, err := im.arg(n, 1)
	if err != nil {
		return scales, err
	}
	if codes.kind != kindConst || scales.kind != kindConst || len(codes.tensor.Dims) != 2 || scaleTypes[scales.tensor.DType] == 0 {
		return value{}, errors.New("want an initializer of 2 dimensions and scales of FLOAT16, BFLOAT16 or FLOAT")
	}
	if len(n.Inputs) > 2 && n.Inputs[2] != "" {
		return value{}, errors.New("a zero point is not supported")
	}
	w := &Weight{
		Name: weightName(codes.tensor), Layout: KN, K: int(codes.tensor.Dims[0]), N: int(codes.tensor.Dims[1]),
		Codes: rangeOf(codes.tensor), Scales: rangeOf(scales.tensor), ScaleType: scaleTypes[scales.tensor.DType],
	}
	switch codes.tensor.DType { //nolint:exhaustive // codes have these
	case onnx.Int8:
		w.Bits = 8
	case onnx.Int4:
		w.Bits = 4
	case onnx.Uint4:
		w.Bits, w.Unsigned = 4, true
	default:
		return value{}, fmt.Errorf("codes of type %s are not supported", codes.tensor.DType)
	}
	axis, err := wantInt(n, "axis", 1)
	if err != nil {
		return value{}, err
	}
	block, err := wantInt(n, "block_size", 0)
	if err != nil {
		return value{}, err
	}
	switch {
	case block == 0 && (axis == 1 || axis == -1):
	case block >= 16 && block <= maxDim && (axis == 0 || axis == -2):
		w.GroupSize = int(block)
	default:
		return value{}, fmt.Errorf("axis %d with block size %d is not supported", axis, block)
	}
	if want := w.scaleDims(); !slices.Equal(scales.tensor.Dims, want) {
		return value{}, fmt.Errorf("scales are %v, want %v", scales.tensor.Dims, want)
	}
	return value{kind: kindWeight, weight: w}, nil
}

// scaleDims is the shape of scales as DequantizeLinear takes them.
func (w *Weight) scaleDims() []int64 {
	if w.GroupSize == 0 {
		return []int64{int64(w.N)}
	}
	return []int64{(int64(w.K) + int64(w.GroupSize) - 1) / int64(w.GroupSize), int64(w.N)}
}

// regroup imports a Reshape of a dequantised matrix to its groups and back.
func (im *importer) regroup(n *onnx.Node, v value) (value, error) {
	if n.Op != "Reshape" {
		return v, errors.New("of a matrix is not supported")
	}
	s, err := im.arg(n, 1)
	if err != nil {
		return v, err
	}
	list, err := integers(s)
	if err != nil {
		return v, err
	}
	w := v.weight
	flat := []int64{int64(w.K), int64(w.N)}
	switch {
	case v.shape != nil && slices.Equal(list, flat):
		v.shape = nil
	case v.shape == nil && w.GroupSize > 0 && w.K%w.GroupSize == 0 &&
		slices.Equal(list, []int64{int64(w.K / w.GroupSize), int64(w.GroupSize), int64(w.N)}):
		v.shape = []int{w.K / w.GroupSize, w.GroupSize, w.N}
	default:
		return v, fmt.Errorf("of a matrix [%d %d] to %v is not supported", w.K, w.N, list)
	}
	return v, nil
}

// addOffsets imports an Add of one offset for each scale: of a matrix in
// groups, or of one with a scale an output.
func (w *Weight) addOffsets(op string, shape []int, y value) error {
	want := []int64{1, int64(w.N)}
	if shape != nil {
		want = []int64{int64(shape[0]), 1, int64(shape[2])}
	}
	switch {
	case op != "Add" || y.kind != kindConst || scaleTypes[y.tensor.DType] == 0:
		return errors.New("of a matrix and something else than an initializer of offsets is not supported")
	case w.OffsetType != 0:
		return errors.New("a second offset is not supported")
	case (shape == nil) != (w.GroupSize == 0) || !slices.Equal(y.tensor.Dims, want):
		return fmt.Errorf("offsets are %v, want %v", y.tensor.Dims, want)
	}
	w.Offsets, w.OffsetType = rangeOf(y.tensor), scaleTypes[y.tensor.DType]
	return nil
}

// columns imports the order of inputs that a matrix's groups were made in.
func (im *importer) columns(n *onnx.Node) (value, error) {
	x, err := im.plain(n, 0)
	if err != nil {
		return value{}, err
	}
	index, err := im.arg(n, 1)
	if err != nil {
		return index, err
	}
	list, err := integers(index)
	if err != nil {
		return value{}, err
	}
	t := x.node.Type
	if len(x.dims) != 2 || len(list) != t.Cols {
		return value{}, fmt.Errorf("%d columns of %s are not supported, want all of a matrix", len(list), t)
	}
	data := make([]byte, 0, 4*len(list))
	for _, c := range list {
		if c < 0 || c >= int64(t.Cols) {
			return value{}, fmt.Errorf("column %d of %d", c, t.Cols)
		}
		data = binary.LittleEndian.AppendUint32(data, uint32(c))
	}
	order := im.f.Append(&Node{Op: Const, Type: Type{I32, 1, t.Cols}, Data: data})
	return im.define(&Node{Op: Columns, Type: t, Args: []*Node{x.node, order}}, x.shape()), nil
}
