package ir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
)

// pick imports a row of a matrix, or one column of spans.
func (im *importer) pick(n *onnx.Node) (value, error) {
	x, err := im.arg(n, 0)
	if err != nil {
		return x, err
	}
	if x.kind == kindSpans {
		return im.edge(n, x.spans)
	}
	if n.Op != "Gather" {
		return x, errors.New("only spans can be cut")
	}
	axis, err := wantInt(n, "axis", 0, 0, 1)
	if err != nil {
		return x, err
	}
	if axis == 1 {
		return im.columns(n)
	}
	data, err := im.plain(n, 0)
	if err != nil {
		return x, err
	}
	index, err := im.arg(n, 1)
	if err != nil {
		return x, err
	}
	if index.kind != kindTensor || index.view.node.Type != (Type{I32, 1, 1}) || index.view.node.Op != Input || len(data.dims) != 2 {
		return x, errors.New("want a matrix and an int32 input of one element")
	}
	t := data.node.Type
	t.Rows = 1
	return im.define(&Node{Op: Gather, Type: t, Args: []*Node{data.node, index.view.node}}, []int{1, t.Cols}), nil
}

// edge imports lo or hi of spans [rows, 2].
func (im *importer) edge(n *onnx.Node, spans *Node) (value, error) {
	v := value{kind: kindEdge, spans: spans, shape: []int{spans.Type.Rows, 1}}
	switch n.Op {
	case "Split":
		return v, im.splitSpans(n, v)
	case "Gather":
		if _, err := wantInt(n, "axis", 0, 1, -1); err != nil {
			return v, err
		}
		i, rank, err := im.number(n, 1)
		if err != nil {
			return v, err
		}
		if i != 0 && i != 1 {
			return v, fmt.Errorf("column %d of spans", i)
		}
		if rank == 0 {
			v.shape = v.shape[:1]
		}
		v.edge = int(i)
		return v, nil
	}
	var param [4]int64 // start, end, axis, step
	param[3] = 1
	for i := range param {
		if i == 3 && len(n.Inputs) < 5 {
			break
		}
		var err error
		if param[i], _, err = im.number(n, i+1); err != nil {
			return v, err
		}
	}
	start, end, axis, step := param[0], param[1], param[2], param[3]
	if (axis != 1 && axis != -1) || step != 1 || (start != 0 || end != 1) && (start != 1 || end < 2) {
		return v, fmt.Errorf("columns [%d,%d) of axis %d by %d are not one of spans", start, end, axis, step)
	}
	v.edge = int(start)
	return v, nil
}

// splitSpans defines the second output of a Split of spans; v is the first.
func (im *importer) splitSpans(n *onnx.Node, v value) error {
	if _, err := wantInt(n, "axis", 0, 1, -1); err != nil {
		return err
	}
	if len(n.Outputs) != 2 || im.values[n.Outputs[1]].kind != kindNone {
		return errors.New("want two columns")
	}
	if len(n.Inputs) > 1 && n.Inputs[1] != "" {
		a, err := im.arg(n, 1)
		if err != nil {
			return err
		}
		if sizes, err := integers(a); err != nil || !slices.Equal(sizes, []int64{1, 1}) {
			return errors.New("want two columns")
		}
	}
	v.edge = 1
	im.values[n.Outputs[1]] = v
	return nil
}

// number returns input i, an integer initialiser of one element, and its
// rank.
func (im *importer) number(n *onnx.Node, i int) (v int64, rank int, err error) {
	a, err := im.arg(n, i)
	if err != nil {
		return 0, 0, err
	}
	list, err := integers(a)
	if err != nil {
		return 0, 0, err
	}
	if len(list) != 1 {
		return 0, 0, fmt.Errorf("input %d has %d elements, want 1", i, len(list))
	}
	return list[0], len(a.tensor.Dims), nil
}

// compare imports index >= lo or index < hi, written either way round.
func (im *importer) compare(n *onnx.Node) (value, error) {
	a, err := im.arg(n, 0)
	if err != nil {
		return a, err
	}
	b, err := im.arg(n, 1)
	if err != nil {
		return b, err
	}
	op := n.Op
	if a.kind == kindEdge {
		a, b = b, a
		op = map[string]string{"GreaterOrEqual": "LessOrEqual", "LessOrEqual": "GreaterOrEqual", "Less": "Greater", "Greater": "Less"}[op]
	}
	if a.kind != kindConst || b.kind != kindEdge {
		return a, errors.New("want a constant and a column of spans")
	}
	index, err := integers(a)
	if err != nil {
		return a, err
	}
	dims := a.tensor.Dims
	if !counts(index) || len(dims) == 0 || dims[len(dims)-1] != int64(len(index)) {
		return a, errors.New("the constant is not 0, 1, 2, ... along the last dimension")
	}
	if (op != "GreaterOrEqual" || b.edge != 0) && (op != "Less" || b.edge != 1) {
		return a, errors.New("want index >= lo or index < hi")
	}
	if len(b.shape) < 2 || b.shape[len(b.shape)-1] != 1 || len(dims) > len(b.shape) {
		return a, fmt.Errorf("%v against %v is not supported", dims, b.shape)
	}
	shape := slices.Clone(b.shape)
	shape[len(shape)-1] = len(index)
	return value{kind: kindCompare, spans: b.spans, edge: b.edge, shape: shape}, nil
}

// and joins the two comparisons.
func (im *importer) and(n *onnx.Node) (value, error) {
	a, err := im.arg(n, 0)
	if err != nil {
		return a, err
	}
	b, err := im.arg(n, 1)
	if err != nil {
		return b, err
	}
	if a.kind != kindCompare || b.kind != kindCompare || a.spans != b.spans || a.edge == b.edge || !slices.Equal(a.shape, b.shape) {
		return a, errors.New("want index >= lo and index < hi of the same spans")
	}
	a.kind = kindMask
	return a, nil
}

// where masks scores.
func (im *importer) where(n *onnx.Node) (value, error) {
	mask, err := im.arg(n, 0)
	if err != nil {
		return mask, err
	}
	x, err := im.arg(n, 1)
	if err != nil {
		return x, err
	}
	other, err := im.arg(n, 2)
	if err != nil {
		return x, err
	}
	if mask.kind != kindMask || x.kind != kindTensor || other.kind != kindConst || other.tensor.DType != onnx.Float || other.tensor.External != nil {
		return x, errors.New("want spans, scores and -Inf")
	}
	inf, err := floats(other.tensor, 1)
	if err != nil {
		return x, err
	}
	if !math.IsInf(float64(math.Float32frombits(binary.LittleEndian.Uint32(inf))), -1) {
		return x, errors.New("the masked value is not -Inf")
	}
	node := x.view.node
	if node.Op != Scores && node.Op != Scale && (node.Op != SoftCap || node.Heads == 0) {
		return x, fmt.Errorf("masks %s, want scores", node.Op)
	}
	rows := node.Type.Rows / node.Heads
	last := len(x.view.dims) - 1
	tokens := x.view.order[:len(x.view.order)-len(x.view.dims[last])]
	tokens = tokens[len(tokens)-len(x.view.dims[max(0, last-1)]):]
	ms := mask.shape
	if last < 1 || len(ms) > last+1 || ms[len(ms)-1] != node.Type.Cols || ms[len(ms)-2] != rows || len(withoutOnes(ms[:len(ms)-2])) != 0 ||
		product(x.view.dims[last]) != node.Type.Cols || product(x.view.dims[last-1]) != rows || !slices.Equal(x.view.dims[last-1], tokens) {
		return x, fmt.Errorf("mask %v does not follow the tokens of scores %v", ms, x.view.shape())
	}
	x.kind, x.spans = kindMasked, mask.spans
	return x, nil
}

// softmax imports the softmax of masked scores over the window.
func (im *importer) softmax(n *onnx.Node) (value, error) {
	x, err := im.arg(n, 0)
	if err != nil {
		return x, err
	}
	if x.kind != kindMasked {
		return x, errors.New("want scores masked by spans")
	}
	last := len(x.view.dims) - 1
	if _, err := wantInt(n, "axis", -1, -1, int64(last)); err != nil {
		return x, err
	}
	s := x.view.node
	if last < 0 || product(x.view.dims[last]) != s.Type.Cols {
		return x, fmt.Errorf("the last dimension of %v is not the window", x.view.shape())
	}
	x.view.node = im.f.Append(&Node{
		Op: Softmax, Type: s.Type, Args: []*Node{s, x.spans}, Heads: s.Heads, KVHeads: s.KVHeads, HeadDim: s.HeadDim,
	})
	x.kind, x.spans = kindTensor, nil
	return x, nil
}
