package ir

import (
	"errors"
	"fmt"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
)

// node imports one node: it defines the node's first output, and the second
// of TopK.
func (im *importer) node(n *onnx.Node) error {
	if len(n.Outputs) == 0 || n.Outputs[0] == "" {
		return errors.New("has no output")
	}
	if im.values[n.Outputs[0]].kind != kindNone {
		return fmt.Errorf("value %q is defined twice", n.Outputs[0])
	}
	var v value
	var err error
	switch n.Op {
	case "Cast":
		v, err = im.cast(n)
	case "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Identity":
		v, err = im.rearrange(n)
	case "RMSNormalization":
		v, err = im.norm(n)
	case "Gemm":
		v, err = im.gemm(n)
	case "MatMul":
		v, err = im.matMul(n)
	case "DequantizeLinear":
		v, err = im.dequantize(n)
	case "Add", "Mul":
		v, err = im.binary(n)
	case "Div":
		v, err = im.ratio(n)
	case "Tanh":
		v, err = im.tanh(n)
	case "Sigmoid":
		v, err = im.unary(n, &Node{Op: Sigmoid})
	case "Gelu":
		v, err = im.gelu(n)
	case "Relu":
		v, err = im.unary(n, &Node{Op: Act, Fn: Relu})
	case "Concat":
		v, err = im.concat(n)
	case "Conv":
		v, err = im.conv(n)
	case "RotaryEmbedding":
		v, err = im.rotary(n)
	case "Gather", "Slice":
		v, err = im.pick(n)
	case "Split":
		v, err = im.split(n)
	case "GreaterOrEqual", "LessOrEqual", "Less", "Greater":
		v, err = im.compare(n)
	case "And":
		v, err = im.and(n)
	case "Where":
		v, err = im.where(n)
	case "Softmax":
		v, err = im.softmax(n)
	case "TopK":
		v, err = im.topK(n)
	default:
		err = errors.New("operator is not supported")
	}
	if err != nil {
		return err
	}
	if v.kind != kindNone {
		im.values[n.Outputs[0]] = v
	}
	return nil
}

// arg returns what input i of a node stands for.
func (im *importer) arg(n *onnx.Node, i int) (value, error) {
	if i >= len(n.Inputs) || n.Inputs[i] == "" {
		return value{}, fmt.Errorf("input %d is missing", i)
	}
	v := im.values[n.Inputs[i]]
	if v.kind == kindNone {
		return v, fmt.Errorf("input %q is not defined", n.Inputs[i])
	}
	return v, nil
}

// plain returns input i as a node whose elements stand in order.
func (im *importer) plain(n *onnx.Node, i int) (view, error) {
	v, err := im.arg(n, i)
	if err != nil {
		return view{}, err
	}
	if v.kind != kindTensor || !v.view.plain() {
		return view{}, fmt.Errorf("input %q is not a matrix in row-major order", n.Inputs[i])
	}
	return v.view, nil
}

func (im *importer) define(n *Node, shape []int) value {
	return value{kind: kindTensor, view: im.axes.newView(im.f.Append(n), shape)}
}

func attr(n *onnx.Node, name string) (onnx.Attr, bool) {
	for _, a := range n.Attrs {
		if a.Name == name {
			return a, true
		}
	}
	return onnx.Attr{}, false
}

// wantInt fails unless an integer attribute is absent (then def) or one of
// want.
func wantInt(n *onnx.Node, name string, def int64, want ...int64) (int64, error) {
	got := def
	if a, ok := attr(n, name); ok {
		got = a.Int
	}
	if len(want) > 0 && !slices.Contains(want, got) {
		return got, fmt.Errorf("attribute %s = %d is not supported", name, got)
	}
	return got, nil
}

// cast imports a rounding to BF16. Widening is free: operators read BF16.
func (im *importer) cast(n *onnx.Node) (value, error) {
	v, err := im.arg(n, 0)
	if err != nil {
		return v, err
	}
	a, _ := attr(n, "to")
	to := onnx.DataType(a.Int)
	switch v.kind {
	case kindConst, kindWeight, kindCos, kindSin, kindSpans, kindEdge, kindTopIDs:
		if v.kind == kindTopIDs && to != onnx.Int32 && to != onnx.Int64 {
			return v, fmt.Errorf("to %s is not supported here", to)
		}
		if v.kind == kindSpans && to != onnx.Int32 && to != onnx.Int64 {
			return v, fmt.Errorf("to %s is not supported here", to)
		}
		if (v.kind == kindCos || v.kind == kindSin || v.kind == kindWeight) && to != onnx.Float {
			return v, fmt.Errorf("to %s is not supported here", to)
		}
		return v, nil
	case kindTensor:
	case kindNone, kindCompare, kindMask, kindMasked, kindTopValues:
		return v, errors.New("is not supported here")
	}
	have := v.view.node.Type.DType
	switch {
	case to == onnx.Float && (have == F32 || have == BF16), to == onnx.BFloat16 && have == BF16:
		return v, nil
	case have == I32 && (to == onnx.Int64 || to == onnx.Int32):
		return v, nil
	case to != onnx.BFloat16 || have != F32:
		return v, fmt.Errorf("%s to %s is not supported", have, to)
	}
	t := v.view.node.Type
	t.DType = BF16
	v.view.node = im.f.Append(&Node{Op: Cast, Type: t, Args: []*Node{v.view.node}, Heads: 0})
	return v, nil
}

// norm imports RMSNormalization over the last dimension, which is a whole row
// or the dims of every head of one.
func (im *importer) norm(n *onnx.Node) (value, error) {
	v, err := im.arg(n, 0)
	if err != nil {
		return value{}, err
	}
	x := v.view
	if v.kind != kindTensor || len(x.dims) == 0 || !slices.Equal(slices.Concat(x.dims...), x.order) {
		return value{}, fmt.Errorf("input %q is not in row-major order", n.Inputs[0])
	}
	live := product(x.dims[len(x.dims)-1])
	if x.node.Type.Cols%live != 0 {
		return value{}, fmt.Errorf("%v of rows of %d", x.shape(), x.node.Type.Cols)
	}
	if _, err := wantInt(n, "axis", -1, -1, int64(len(x.dims)-1)); err != nil {
		return value{}, err
	}
	eps := float32(1e-5)
	if a, ok := attr(n, "epsilon"); ok {
		eps = a.Float
	}
	gamma, err := im.vector(n, 1, live)
	if err != nil {
		return value{}, err
	}
	node := &Node{Op: Norm, Type: Type{F32, x.node.Type.Rows, x.node.Type.Cols}, Args: []*Node{x.node, gamma}, Eps: eps}
	if live < x.node.Type.Cols || len(x.dims) == 3 && len(x.dims[1]) == 0 {
		node.Heads, node.HeadDim, node.Live = x.node.Type.Cols/live, live, live
	}
	return im.define(node, x.shape()), nil
}

// gemm imports a linear on a BF16 matrix.
func (im *importer) gemm(n *onnx.Node) (value, error) {
	for _, name := range []string{"alpha", "beta"} {
		if a, ok := attr(n, name); ok && a.Float != 1 {
			return value{}, fmt.Errorf("attribute %s = %v is not supported", name, a.Float)
		}
	}
	if _, err := wantInt(n, "transA", 0, 0); err != nil {
		return value{}, err
	}
	trans, err := wantInt(n, "transB", 0, 0, 1)
	if err != nil {
		return value{}, err
	}
	w, err := im.weight(n, 1, trans == 1)
	if err != nil {
		return value{}, err
	}
	v, err := im.linear(n, w)
	if err != nil || len(n.Inputs) < 3 || n.Inputs[2] == "" {
		return v, err
	}
	return v, im.addBias(n, 2, v.view.node)
}

// weight returns input i as the matrix of a linear.
func (im *importer) weight(n *onnx.Node, i int, transposed bool) (*Weight, error) {
	v, err := im.arg(n, i)
	if err != nil {
		return nil, err
	}
	if v.kind == kindWeight {
		if transposed {
			return nil, fmt.Errorf("input %q: a quantised matrix is [K, N], not transposed", n.Inputs[i])
		}
		return v.weight, nil
	}
	if v.kind != kindConst || v.tensor.DType != onnx.BFloat16 || len(v.tensor.Dims) != 2 {
		return nil, fmt.Errorf("input %q is not a BFLOAT16 matrix", n.Inputs[i])
	}
	t := v.tensor
	w := &Weight{Name: weightName(t), Bits: 16, Codes: rangeOf(t), Layout: KN, K: int(t.Dims[0]), N: int(t.Dims[1])}
	if transposed {
		w.Layout, w.N, w.K = NK, w.K, w.N
	}
	return w, nil
}

// linear appends the product of input 0 and a weight.
func (im *importer) linear(n *onnx.Node, w *Weight) (value, error) {
	x, err := im.plain(n, 0)
	if err != nil {
		return value{}, err
	}
	if x.node.Type.DType != BF16 {
		return value{}, fmt.Errorf("input %q is not rounded to BFLOAT16", n.Inputs[0])
	}
	if x.node.Type.Cols != w.K {
		return value{}, fmt.Errorf("input %q has %d columns, the weight %d inputs", n.Inputs[0], x.node.Type.Cols, w.K)
	}
	shape := x.shape()
	shape[len(shape)-1] = w.N
	return im.define(&Node{Op: Linear, Type: Type{F32, x.node.Type.Rows, w.N}, Args: []*Node{x.node}, Weights: []*Weight{w}}, shape), nil
}

// addBias gives a linear that nobody has used yet the vector input i.
func (im *importer) addBias(n *onnx.Node, i int, linear *Node) error {
	bias, err := im.vector(n, i, linear.Type.Cols)
	if err != nil {
		return err
	}
	at := slices.Index(im.f.Nodes, linear)
	im.f.Nodes = slices.Insert(im.f.Nodes[:len(im.f.Nodes)-1], at, bias)
	linear.Args = append(linear.Args, bias)
	return nil
}

func (im *importer) matMul(n *onnx.Node) (value, error) {
	b, err := im.arg(n, 1)
	if err != nil {
		return b, err
	}
	if b.kind == kindTensor {
		return im.product(n)
	}
	w, err := im.weight(n, 1, false)
	if err != nil {
		return value{}, err
	}
	return im.linear(n, w)
}

// binary imports a sum or product of equal shapes, a sum with a bias, or a
// product of scores with a number.
func (im *importer) binary(n *onnx.Node) (value, error) {
	x, err := im.arg(n, 0)
	if err != nil {
		return x, err
	}
	y, err := im.arg(n, 1)
	if err != nil {
		return y, err
	}
	if x.kind == kindConst && y.kind == kindConst {
		return im.fold(n.Op, x.tensor, y.tensor)
	}
	if x.kind == kindWeight {
		return x, x.weight.addOffsets(n.Op, x.shape, y)
	}
	swapped := *n
	if x.kind == kindConst {
		x, y = y, x
		swapped.Inputs = []string{n.Inputs[1], n.Inputs[0]}
	}
	if y.kind == kindConst {
		if n.Op == "Mul" {
			return im.scale(x, y.tensor)
		}
		return im.bias(&swapped, x)
	}
	a, err := im.plain(n, 0)
	if err != nil {
		return value{}, err
	}
	b, err := im.plain(n, 1)
	if err != nil {
		return value{}, err
	}
	if !slices.Equal(a.shape(), b.shape()) || a.node.Type.DType == I32 || b.node.Type.DType == I32 {
		return value{}, fmt.Errorf("%v and %v do not agree", a.shape(), b.shape())
	}
	op := Add
	if n.Op == "Mul" {
		op = Mul
	}
	return im.define(&Node{Op: op, Type: Type{F32, a.node.Type.Rows, a.node.Type.Cols}, Args: []*Node{a.node, b.node}}, a.shape()), nil
}

// bias folds a vector into the linear that it is added to.
func (im *importer) bias(n *onnx.Node, x value) (value, error) {
	if x.kind != kindTensor || x.view.node.Op != Linear || len(x.view.node.Args) != 1 || im.uses[n.Inputs[0]] != 1 || !x.view.plain() {
		return x, errors.New("a constant can be added to a fresh matrix product only")
	}
	return x, im.addBias(n, 1, x.view.node)
}

// unary imports a function of every element.
func (im *importer) unary(n *onnx.Node, node *Node) (value, error) {
	x, err := im.plain(n, 0)
	if err != nil {
		return value{}, err
	}
	node.Type, node.Args = Type{F32, x.node.Type.Rows, x.node.Type.Cols}, []*Node{x.node}
	return im.define(node, x.shape()), nil
}

func (im *importer) gelu(n *onnx.Node) (value, error) {
	switch a, _ := attr(n, "approximate"); a.Str {
	case "", "none":
		return im.unary(n, &Node{Op: Act, Fn: Gelu})
	case "tanh":
		return im.unary(n, &Node{Op: Act, Fn: GeluTanh})
	default:
		return value{}, fmt.Errorf("attribute approximate = %q is not supported", a.Str)
	}
}

func (im *importer) topK(n *onnx.Node) (value, error) {
	x, err := im.plain(n, 0)
	if err != nil {
		return value{}, err
	}
	kv, err := im.arg(n, 1)
	if err != nil {
		return value{}, err
	}
	k, err := integers(kv)
	if err != nil {
		return value{}, err
	}
	if _, err := wantInt(n, "axis", -1, -1, int64(len(x.dims)-1)); err != nil {
		return value{}, err
	}
	if _, err := wantInt(n, "largest", 1, 1); err != nil {
		return value{}, err
	}
	const most = 64
	if len(k) != 1 || k[0] < 1 || k[0] > most || len(n.Outputs) != 2 {
		return value{}, fmt.Errorf("k = %v, want 1 to %d", k, most)
	}
	node := im.f.Append(&Node{Op: TopK, Type: Type{Pairs, x.node.Type.Rows, int(k[0])}, Args: []*Node{x.node}, K: int(k[0])})
	if im.values[n.Outputs[1]].kind != kindNone {
		return value{}, fmt.Errorf("value %q is defined twice", n.Outputs[1])
	}
	im.values[n.Outputs[1]] = value{kind: kindTopIDs, view: view{node: node}}
	return value{kind: kindTopValues, view: view{node: node}}, nil
}
