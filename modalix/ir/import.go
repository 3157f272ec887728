package ir

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/llima-build/llima/formats/onnx"
)

// Import reads a quantised ONNX graph of one part. It understands what
// quant/rewrite emits; anything else is an error that names the node, its
// operator and the reason.
//
// The interface changes to the device's: cos and sin become one input rope,
// outputs k and v become appends at a new input positions, inputs K and V
// become the cache, top_values and top_ids one output top.
func Import(m *onnx.Model, name string) (*Func, error) {
	im := &importer{f: &Func{Name: name}, values: make(map[string]value), uses: make(map[string]int)}
	for _, p := range m.Metadata {
		if p.Key == "llima.context" {
			n, err := strconv.Atoi(p.Value)
			if err != nil || n < 1 || n > maxDim {
				return nil, fmt.Errorf("ir: %s: metadata llima.context: %q is not a number of tokens", name, p.Value)
			}
			im.f.ContextTokens = n
		}
	}
	if err := im.graph(&m.Graph); err != nil {
		return nil, fmt.Errorf("ir: %s: %w", name, err)
	}
	return im.f, im.f.Verify()
}

// maxDim bounds dimensions, so that products of two fit in an int64.
const maxDim = 1 << 30

// value is what an ONNX value name stands for during the import.
type value struct {
	kind   valueKind
	view   view         // kindTensor, kindMasked, kindTopValues, kindTopIDs
	tensor *onnx.Tensor // kindConst
	weight *Weight      // kindWeight
	spans  *Node        // kindSpans, kindEdge, kindCompare, kindMask, kindMasked
	edge   int          // kindEdge, kindCompare: 0 lo, 1 hi
	shape  []int        // kindEdge, kindCompare, kindMask, and kindWeight in groups: [groups, group, N]
}

type valueKind uint8

const (
	kindNone      valueKind = iota
	kindTensor              // elements of a node
	kindConst               // an initialiser
	kindWeight              // a matrix of a linear
	kindCos                 // the first half of each row of input rope
	kindSin                 // the second
	kindSpans               // input spans, [rows, 2]
	kindEdge                // one column of spans
	kindCompare             // column index against one edge
	kindMask                // column index within the span
	kindMasked              // scores, -Inf outside the span
	kindTopValues           // first result of a TopK node
	kindTopIDs              // its second
)

type importer struct {
	f      *Func
	axes   axes
	values map[string]value
	uses   map[string]int
	rope   *Node
}

func (im *importer) graph(g *onnx.Graph) error {
	for i := range g.Initializers {
		t := &g.Initializers[i]
		if _, dup := im.values[t.Name]; dup {
			return fmt.Errorf("initializer %q: stands twice", t.Name)
		}
		if _, err := smallShape(t.Dims); err != nil {
			return fmt.Errorf("initializer %q: %w", t.Name, err)
		}
		im.values[t.Name] = value{kind: kindConst, tensor: t}
	}
	for i := range g.Inputs {
		if err := im.input(&g.Inputs[i]); err != nil {
			return fmt.Errorf("input %q: %w", g.Inputs[i].Name, err)
		}
	}
	positions := im.positions(g)
	for i := range g.Nodes {
		for _, in := range g.Nodes[i].Inputs {
			im.uses[in]++
		}
	}
	for _, o := range g.Outputs {
		im.uses[o.Name]++
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if err := im.node(n); err != nil {
			label := n.Name
			if label == "" && len(n.Outputs) > 0 {
				label = n.Outputs[0]
			}
			return fmt.Errorf("node %q: %s: %w", label, n.Op, err)
		}
	}
	for i := range g.Outputs {
		if err := im.output(&g.Outputs[i], positions); err != nil {
			return fmt.Errorf("output %q: %w", g.Outputs[i].Name, err)
		}
	}
	return nil
}

// smallShape converts dimensions, all within [1,maxDim] as is their product.
func smallShape(dims []int64) ([]int, error) {
	out := make([]int, len(dims))
	total := int64(1)
	for i, d := range dims {
		if d < 1 || d > maxDim || total*d > 1<<40 {
			return nil, fmt.Errorf("shape %v is out of range", dims)
		}
		total *= d
		out[i] = int(d)
	}
	return out, nil
}

// elementType maps an ONNX type of a tensor that a part computes on.
func elementType(d onnx.DataType) (DType, error) {
	switch d { //nolint:exhaustive // a part computes on these
	case onnx.Float:
		return F32, nil
	case onnx.BFloat16:
		return BF16, nil
	case onnx.Int32:
		return I32, nil
	default:
		return 0, fmt.Errorf("type %s is not supported", d)
	}
}

// input defines a graph input under the device's interface.
func (im *importer) input(in *onnx.ValueInfo) error {
	if _, dup := im.values[in.Name]; dup {
		return errors.New("name is taken")
	}
	shape, err := smallShape(in.Dims)
	if err != nil {
		return err
	}
	t, err := elementType(in.DType)
	if err != nil {
		return err
	}
	if len(shape) == 0 {
		return errors.New("a scalar is not supported")
	}
	rows, cols := shape[0], 1
	for _, s := range shape[1:] {
		cols *= s
	}
	if cols > maxDim {
		return fmt.Errorf("shape %v is out of range", shape)
	}
	switch in.Name {
	case "cos", "sin":
		return im.ropeInput(in.Name, Type{t, rows, cols}, len(shape))
	case "K", "V":
		if len(shape) != 3 || t != BF16 {
			return fmt.Errorf("%s%v, want BF16 [tokens, kvHeads, headDim]", t, shape)
		}
		name := "k"
		if in.Name == "V" {
			name = "v"
		}
		n := im.f.Append(&Node{Op: Cached, Name: name, Type: Type{BF16, rows, cols}, KVHeads: shape[1], HeadDim: shape[2]})
		im.values[in.Name] = value{kind: kindTensor, view: im.axes.newView(n, shape)}
		return nil
	}
	n := im.f.Append(&Node{Op: Input, Name: in.Name, Type: Type{t, rows, cols}})
	v := value{kind: kindTensor, view: im.axes.newView(n, shape)}
	if t == I32 && len(shape) == 2 && cols == 2 {
		v = value{kind: kindSpans, spans: n}
	}
	im.values[in.Name] = v
	return nil
}

// ropeInput joins cos and sin, in whichever order they come.
func (im *importer) ropeInput(name string, t Type, rank int) error {
	if t.DType != F32 || rank != 2 {
		return fmt.Errorf("%s of %d dimensions, want f32 of 2", t, rank)
	}
	want := Type{F32, t.Rows, 2 * t.Cols}
	if im.rope == nil {
		im.rope = im.f.Append(&Node{Op: Input, Name: "rope", Type: want})
	}
	if im.rope.Type != want {
		return fmt.Errorf("%s differs from the other table", t)
	}
	kind := kindCos
	if name == "sin" {
		kind = kindSin
	}
	im.values[name] = value{kind: kind, shape: []int{t.Rows, t.Cols}}
	return nil
}

// positions adds the input that appends need; nil when there are none.
func (im *importer) positions(g *onnx.Graph) *Node {
	for _, o := range g.Outputs {
		if (o.Name == "k" || o.Name == "v") && len(o.Dims) > 0 && o.Dims[0] > 0 && o.Dims[0] <= maxDim {
			return im.f.Append(&Node{Op: Input, Name: "positions", Type: Type{I32, 1, int(o.Dims[0])}})
		}
	}
	return nil
}

// output ends the function in a store, an append, or nothing for the second
// half of a pair.
func (im *importer) output(o *onnx.ValueInfo, positions *Node) error {
	v := im.values[o.Name]
	if v.kind != kindTensor && v.kind != kindTopValues && v.kind != kindTopIDs {
		return errors.New("is not computed")
	}
	n := v.view.node
	switch v.kind { //nolint:exhaustive // the rest follows
	case kindTopValues:
		im.f.Append(&Node{Op: Output, Name: "top", Type: n.Type, Args: []*Node{n}})
		return nil
	case kindTopIDs:
		return nil
	}
	shape, err := smallShape(o.Dims)
	if err != nil {
		return err
	}
	flat := v.view
	if len(flat.dims) > 0 {
		if flat, err = im.axes.reshape(v.view, []int{n.Type.Rows, n.Type.Cols}); err != nil {
			return err
		}
	}
	t, err := elementType(o.DType)
	if err != nil {
		return err
	}
	if !flat.plain() || len(shape) == 0 || shape[0] != n.Type.Rows || t != n.Type.DType {
		return fmt.Errorf("%s%v of %s in another order or type", t, shape, n.Type)
	}
	if o.Name != "k" && o.Name != "v" {
		out := im.f.Append(&Node{Op: Output, Name: o.Name, Type: n.Type, Args: []*Node{n}})
		if len(shape) == 3 {
			out.Heads, out.HeadDim = shape[1], shape[2]
		}
		return nil
	}
	if len(shape) != 3 || positions == nil {
		return fmt.Errorf("shape %v, want [tokens, kvHeads, headDim]", shape)
	}
	im.f.Append(&Node{Op: Append, Name: o.Name, Args: []*Node{n, positions}, KVHeads: shape[1], HeadDim: shape[2]})
	return nil
}
