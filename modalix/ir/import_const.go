package ir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
)

// vector returns input i, an inline vector of cols elements, as an F32 const.
func (im *importer) vector(n *onnx.Node, i, cols int) (*Node, error) {
	v, err := im.arg(n, i)
	if err != nil {
		return nil, err
	}
	if v.kind != kindConst || v.tensor.External != nil {
		return nil, fmt.Errorf("input %q is not an inline initializer", n.Inputs[i])
	}
	data, err := floats(v.tensor, cols)
	if err != nil {
		return nil, fmt.Errorf("input %q: %w", n.Inputs[i], err)
	}
	return im.f.Append(&Node{Op: Const, Type: Type{F32, 1, cols}, Data: data}), nil
}

// floats widens an inline tensor of count elements to float32 bytes.
func floats(t *onnx.Tensor, count int) ([]byte, error) {
	total := int64(1)
	for _, d := range t.Dims {
		total *= d
	}
	if total != int64(count) {
		return nil, fmt.Errorf("shape %v, want %d elements", t.Dims, count)
	}
	switch t.DType { //nolint:exhaustive // vectors have these
	case onnx.Float:
		if len(t.Raw) == 4*count {
			return t.Raw, nil
		}
	case onnx.BFloat16:
		if len(t.Raw) == 2*count {
			out := make([]byte, 0, 4*count)
			for i := range count {
				bits := uint32(binary.LittleEndian.Uint16(t.Raw[2*i:])) << 16
				out = binary.LittleEndian.AppendUint32(out, bits)
			}
			return out, nil
		}
	case onnx.Float16:
		if len(t.Raw) == 2*count {
			out := make([]byte, 0, 4*count)
			for i := range count {
				f := tensor.FromF16(binary.LittleEndian.Uint16(t.Raw[2*i:]))
				out = binary.LittleEndian.AppendUint32(out, math.Float32bits(f))
			}
			return out, nil
		}
	default:
		return nil, fmt.Errorf("type %s is not supported", t.DType)
	}
	return nil, fmt.Errorf("%d bytes for %d elements of %s", len(t.Raw), count, t.DType)
}

// weightName is the checkpoint's name of an initialiser: that of its file,
// "weights/NAME.int8", where it has one of its own.
func weightName(t *onnx.Tensor) string {
	if t.External == nil {
		return t.Name
	}
	base, ok := strings.CutPrefix(t.External.Location, "weights/")
	if !ok {
		return t.Name
	}
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		base = base[:i]
	}
	return base
}

func rangeOf(t *onnx.Tensor) Range {
	if t.External == nil {
		return Range{Inline: t.Raw}
	}
	return Range{Location: t.External.Location, Offset: t.External.Offset, Length: t.External.Length}
}

// integers returns an inline int64 or int32 initialiser.
func integers(v value) ([]int64, error) {
	if v.kind != kindConst || v.tensor.External != nil {
		return nil, errors.New("want an inline integer initializer")
	}
	var out []int64
	raw := v.tensor.Raw
	switch v.tensor.DType { //nolint:exhaustive // shapes and indices have these
	case onnx.Int64:
		for ; len(raw) >= 8; raw = raw[8:] {
			out = append(out, int64(binary.LittleEndian.Uint64(raw)))
		}
	case onnx.Int32:
		for ; len(raw) >= 4; raw = raw[4:] {
			out = append(out, int64(int32(binary.LittleEndian.Uint32(raw))))
		}
	default:
		return nil, fmt.Errorf("type %s, want integers", v.tensor.DType)
	}
	total := int64(1)
	for _, d := range v.tensor.Dims {
		total *= d
	}
	if len(raw) != 0 || total != int64(len(out)) {
		return nil, fmt.Errorf("%d elements for shape %v", len(out), v.tensor.Dims)
	}
	return out, nil
}
