package ir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
)

// rotary imports a rotation of all dims of every head, [batch, tokens,
// hidden] or [batch, heads, tokens, headDim].
func (im *importer) rotary(n *onnx.Node) (value, error) {
	x, err := im.arg(n, 0)
	if err != nil {
		return x, err
	}
	cos, err := im.arg(n, 1)
	if err != nil {
		return x, err
	}
	sin, err := im.arg(n, 2)
	if err != nil {
		return x, err
	}
	if x.kind != kindTensor || cos.kind != kindCos || sin.kind != kindSin {
		return x, errors.New("want a tensor and the inputs cos and sin")
	}
	if _, err := wantInt(n, "interleaved", 0, 0); err != nil {
		return x, err
	}
	dim, err := wantInt(n, "rotary_embedding_dim", 0)
	if err != nil {
		return x, err
	}
	heads, err := wantInt(n, "num_heads", 0)
	if err != nil {
		return x, err
	}
	node := x.view.node
	var headDim int
	switch d := x.view.dims; len(d) {
	case 3:
		if heads < 1 || heads > int64(node.Type.Cols) || !x.view.plain() {
			return x, fmt.Errorf("%d heads of %v", heads, x.view.shape())
		}
		headDim = node.Type.Cols / int(heads)
	case 4:
		headDim = product(d[3])
		heads = int64(product(d[1]))
		if len(d[0]) != 0 || !slices.Equal(slices.Concat(d[2], d[1], d[3]), x.view.order) {
			return x, fmt.Errorf("%v is not [1, heads, tokens, headDim] of the rows", x.view.shape())
		}
	default:
		return x, fmt.Errorf("%d dimensions, want 3 or 4", len(d))
	}
	if err := im.rotaryPositions(n, cos.shape, node.Type.Rows); err != nil {
		return x, err
	}
	if headDim != im.rope.Type.Cols || dim != 0 && dim != int64(headDim) || int(heads)*headDim != node.Type.Cols || im.rope.Type.Rows != node.Type.Rows {
		return x, fmt.Errorf("%d heads of %d with tables for %d dims and %d rows", heads, headDim, im.rope.Type.Cols, im.rope.Type.Rows)
	}
	t := node.Type
	t.DType = F32
	x.view.node = im.f.Append(&Node{Op: Rope, Type: t, Args: []*Node{node, im.rope}, Heads: int(heads), HeadDim: headDim})
	return x, nil
}

// rotaryPositions checks that row m uses row m of the tables: they are
// [1, rows, dims], or [rows, dims] with positions 0, 1, 2, ...
func (im *importer) rotaryPositions(n *onnx.Node, shape []int, rows int) error {
	if len(n.Inputs) < 4 || n.Inputs[3] == "" {
		if len(shape) != 3 || shape[0] != 1 || shape[1] != rows {
			return fmt.Errorf("tables are %v, want [1, %d, dims]", shape, rows)
		}
		return nil
	}
	v, err := im.arg(n, 3)
	if err != nil {
		return err
	}
	ids, err := integers(v)
	if err != nil {
		return fmt.Errorf("positions: %w", err)
	}
	if len(ids) != rows || !counts(ids) {
		return errors.New("positions are not 0, 1, 2 and so on")
	}
	return nil
}

func counts(list []int64) bool {
	for i, v := range list {
		if v != int64(i) {
			return false
		}
	}
	return true
}

// product imports a product of two computed tensors: scores or values of
// attention.
func (im *importer) product(n *onnx.Node) (value, error) {
	a, err := im.arg(n, 0)
	if err != nil {
		return a, err
	}
	b, err := im.arg(n, 1)
	if err != nil {
		return b, err
	}
	c := b.view.node
	if a.kind != kindTensor || c.Op != Cached {
		return a, errors.New("want a tensor and the cache K or V")
	}
	if a.view.node.Type.DType != BF16 {
		return a, fmt.Errorf("input %q is not rounded to BFLOAT16", n.Inputs[0])
	}
	l, r := leading(a.view.dims), leading(b.view.dims)
	if len(l) < 3 || len(r) != 3 || len(l) > 3 {
		return a, fmt.Errorf("%v times %v is not supported", a.view.shape(), b.view.shape())
	}
	if product(l[0]) != product(r[0]) || product(l[2]) != product(r[1]) {
		return a, fmt.Errorf("%v times %v", a.view.shape(), b.view.shape())
	}
	if product(r[0]) != c.KVHeads {
		return a, fmt.Errorf("%d batches, the cache has %d heads", product(r[0]), c.KVHeads)
	}
	prefix := a.view.dims[:len(a.view.dims)-3]
	if c.Name == "k" {
		return im.scores(a.view, b.view, l, r, prefix)
	}
	return im.weighted(a.view, b.view, l, r, prefix)
}

// leading strips dimensions of size one in front of the last three.
func leading(dims [][]axis) [][]axis {
	for len(dims) > 3 && len(dims[0]) == 0 {
		dims = dims[1:]
	}
	return dims
}

// tokensOf returns the axes of a node's rows.
func tokensOf(order []axis, rows int) []axis {
	for i := range order {
		if product(order[:i]) == rows {
			return order[:i]
		}
	}
	return order
}

// scores imports q [kvHeads, group·tokens, headDim] times K^T. The node's
// rows are (kv head, group, token) whatever order ONNX has.
func (im *importer) scores(q, k view, l, r, prefix [][]axis) (value, error) {
	c := k.node
	tokens := tokensOf(q.order, q.node.Type.Rows)
	group := slices.DeleteFunc(slices.Clone(l[1]), func(a axis) bool { return slices.Contains(tokens, a) })
	switch {
	case !slices.Equal(q.order, slices.Concat(tokens, l[0], group, l[2])):
		return value{}, fmt.Errorf("q %v does not group heads by kv head", q.shape())
	case !slices.Equal(k.order, slices.Concat(r[2], r[0], r[1])) || product(r[1]) != c.HeadDim:
		return value{}, fmt.Errorf("keys %v are not [kvHeads, headDim, tokens]", k.shape())
	}
	heads := product(l[0]) * product(group)
	window := im.axes.fresh(c.Type.Rows)
	n := im.f.Append(&Node{
		Op: Scores, Type: Type{F32, q.node.Type.Rows * heads, c.Type.Rows}, Args: []*Node{q.node, c},
		Heads: heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim,
	})
	v := view{node: n, order: slices.Concat(l[0], group, tokens, window)}
	v.dims = append(slices.Clone(prefix), l[0], l[1], window)
	return value{kind: kindTensor, view: v}, nil
}

// weighted imports P [kvHeads, group·tokens, window] times V.
func (im *importer) weighted(p, v view, l, r, prefix [][]axis) (value, error) {
	c, s := v.node, softmaxOf(p.node)
	if s == nil {
		return value{}, errors.New("want the softmax of scores times V")
	}
	rows := s.Type.Rows / s.Heads
	group := l[1]
	var tokens []axis
	for i := len(p.order) - 2; i >= 0 && product(tokens) < rows; i-- {
		tokens = p.order[i : len(p.order)-1]
	}
	if s.Type.Cols == 1 {
		return value{}, errors.New("a window of one token is not supported")
	}
	group = slices.DeleteFunc(slices.Clone(group), func(a axis) bool { return slices.Contains(tokens, a) })
	switch {
	case product(tokens) != rows || !slices.Equal(p.order, slices.Concat(l[0], group, tokens, l[2])):
		return value{}, fmt.Errorf("weights %v are not in the order of their scores", p.shape())
	case !slices.Equal(v.order, slices.Concat(r[1], r[0], r[2])) || product(r[2]) != c.HeadDim:
		return value{}, fmt.Errorf("values %v are not [kvHeads, tokens, headDim]", v.shape())
	}
	dim := im.axes.fresh(c.HeadDim)
	n := im.f.Append(&Node{
		Op: Values, Type: Type{F32, rows, s.Heads * c.HeadDim}, Args: []*Node{p.node, c},
		Heads: s.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim,
	})
	out := view{node: n, order: slices.Concat(tokens, l[0], group, dim)}
	out.dims = append(slices.Clone(prefix), l[0], l[1], dim)
	return value{kind: kindTensor, view: out}, nil
}

// softmaxOf looks through the rounding of the weights.
func softmaxOf(n *Node) *Node {
	if n.Op == Cast {
		n = n.Args[0]
	}
	if n.Op != Softmax {
		return nil
	}
	return n
}

// scale imports scores times a number.
func (im *importer) scale(x value, by *onnx.Tensor) (value, error) {
	if x.kind != kindTensor || x.view.node.Op != Scores || by.External != nil || by.DType != onnx.Float {
		return x, errors.New("only scores can be multiplied by a constant")
	}
	data, err := floats(by, 1)
	if err != nil {
		return x, err
	}
	s := x.view.node
	x.view.node = im.f.Append(&Node{
		Op: Scale, Type: s.Type, Args: []*Node{s}, Heads: s.Heads, KVHeads: s.KVHeads, HeadDim: s.HeadDim,
		Scale: math.Float32frombits(binary.LittleEndian.Uint32(data)),
	})
	return x, nil
}
