package ir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
)

// rotary imports a rotation of the first dims of every head, [batch, tokens,
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
	if dim == 0 {
		dim = int64(headDim)
	}
	if dim > int64(headDim) || int(dim) != im.rope.Type.Cols || int(heads)*headDim != node.Type.Cols || im.rope.Type.Rows != node.Type.Rows {
		return x, fmt.Errorf("%d dims of %d heads of %d with tables for %d dims and %d rows", dim, heads, headDim, im.rope.Type.Cols, im.rope.Type.Rows)
	}
	t := node.Type
	t.DType = F32
	x.view.node = im.f.Append(&Node{Op: Rope, Type: t, Args: []*Node{node, im.rope}, Heads: int(heads), HeadDim: headDim, Rotary: int(dim)})
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
	before := p.order // the window's axis
	if s.Type.Cols > 1 {
		before = before[:len(before)-1]
	}
	var tokens []axis
	for i := len(before) - 1; i >= 0 && product(tokens) < rows; i-- {
		tokens = before[i:]
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

// scale imports scores times a number, or the end of a cap:
// number · tanh(x / number).
func (im *importer) scale(x value, by *onnx.Tensor) (value, error) {
	if x.kind != kindTensor || x.view.node.Op != Scores && x.view.node.Op != Tanh {
		return x, errors.New("only scores and a tanh can be multiplied by a constant")
	}
	f, err := single(by)
	if err != nil {
		return x, err
	}
	if x.view.node.Op == Scores {
		return im.over(x, &Node{Op: Scale, Scale: f}), nil
	}
	ratio := x.view.node.Args[0]
	if ratio.Scale != f || !(f > 0) {
		return x, fmt.Errorf("tanh of a ratio by %v is multiplied by %v", ratio.Scale, f)
	}
	x.view.node = ratio.Args[0]
	return im.over(x, &Node{Op: SoftCap, Cap: f}), nil
}

// over defines a node of the same shape on x, in the same view.
func (im *importer) over(x value, node *Node) value {
	s := x.view.node
	node.Type, node.Args = Type{F32, s.Type.Rows, s.Type.Cols}, []*Node{s}
	node.Heads, node.KVHeads, node.HeadDim = s.Heads, s.KVHeads, s.HeadDim
	x.view.node = im.f.Append(node)
	return x
}

// ratio imports the beginning of a cap.
func (im *importer) ratio(n *onnx.Node) (value, error) {
	x, err := im.arg(n, 0)
	if err != nil {
		return x, err
	}
	by, err := im.arg(n, 1)
	if err != nil {
		return x, err
	}
	if x.kind != kindTensor || x.view.node.Type.DType != F32 || by.kind != kindConst {
		return x, errors.New("only a float32 tensor can be divided, by a constant")
	}
	f, err := single(by.tensor)
	if err != nil {
		return x, err
	}
	return im.over(x, &Node{Op: Ratio, Scale: f}), nil
}

func (im *importer) tanh(n *onnx.Node) (value, error) {
	x, err := im.arg(n, 0)
	if err != nil {
		return x, err
	}
	if x.kind != kindTensor || x.view.node.Op != Ratio {
		return x, errors.New("want a tensor divided by a constant")
	}
	return im.over(x, &Node{Op: Tanh}), nil
}

// single returns an inline float32 number.
func single(t *onnx.Tensor) (float32, error) {
	if t.External != nil || t.DType != onnx.Float {
		return 0, errors.New("the constant is not an inline FLOAT")
	}
	data, err := floats(t, 1)
	if err != nil {
		return 0, err
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(data)), nil
}
