// Package rewrite turns the float graph of a part into a quantised one: it
// states every rounding of an activation to BF16 as a pair of Casts, and
// replaces matrices by the codes and scales of a precision. It knows how
// graphs of formats/arch look; it computes no weight.
package rewrite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant"
)

// Options says how the weights of a part are stored.
type Options struct {
	Matrix quant.Format // of matrices
	Head   quant.Format // of the output head, in the last part
	// Carried says how the source holds a matrix as codes; ok is false where
	// the formats above decide. It may be nil.
	Carried func(tensor string) (c Carried, ok bool)
}

// Carried is how a source holds a matrix as codes.
type Carried struct {
	tensor.Coding
	Columns []int // as in [tensor.Coded]
}

// Data returns the bytes of an external file of a graph.
type Data func(location string) ([]byte, error)

// WeightUse is a file of weights that a quantised graph reads.
type WeightUse struct {
	Tensor    string // name in the checkpoint
	Location  string // relative to the folder of the graph, slashes
	Format    quant.Format
	Carried   *Carried // not nil: the source's codes as they are, Format is not set
	N, K      int      // shape of the tensor
	SizeBytes int64
}

// format returns how the matrix of a node is stored.
func (o Options) format(node string) (quant.Format, error) {
	f := o.Matrix
	if slices.Contains(headNodes, node) {
		f = o.Head
	}
	return f, f.Check()
}

// precisions are what rules call the widths of weights.
var precisions = map[int]string{16: "BF16", 8: "A_BF16_W_INT8", 4: "A_BF16_W_INT4"}

// headNodes are what the product that gives logits is called, without a cap
// and with one: its result stays FLOAT.
var headNodes = []string{"logits", "logits.raw"}

// rounded names the graph inputs and outputs that are BF16.
var rounded = []string{"q", "k", "v", "K", "V", "attention"}

// Rewrite returns the quantised form of a float graph and the files of
// weights that it reads, in the order of the graph. Both operands of a matrix
// product are rounded to BF16, and so is what a matrix of weights gives but
// for the logits; q, k, v, K, V and attention are BF16 at the
// border, the residual stream, tables and logits stay FLOAT. Vectors are
// copied into the graph. A graph without weights is the same for every
// format. The float graph is left as it was.
func Rewrite(m *onnx.Model, o Options, data Data) (*onnx.Model, []WeightUse, error) {
	r := &rewriter{
		o: o, data: data, src: &m.Graph,
		out:   onnx.Model{Opset: m.Opset, Producer: m.Producer, Graph: onnx.Graph{Name: m.Graph.Name}},
		types: map[string]onnx.ValueInfo{}, tensors: map[string]*onnx.Tensor{}, rename: map[string]string{},
		exact: map[string]bool{}, float: map[string]string{}, produced: map[string]bool{},
	}
	if err := r.graph(); err != nil {
		return nil, nil, fmt.Errorf("rewrite: graph %q: %w", m.Graph.Name, err)
	}
	r.out.Metadata = slices.Clone(m.Metadata)
	if len(r.uses) > 0 {
		r.out.Metadata = append(r.out.Metadata, onnx.Property{Key: "llima.precision", Value: precisions[o.Matrix.Bits]})
		slices.SortFunc(r.out.Metadata, func(a, b onnx.Property) int { return strings.Compare(a.Key, b.Key) })
	}
	return &r.out, r.uses, nil
}

type rewriter struct {
	o    Options
	data Data
	src  *onnx.Graph
	out  onnx.Model
	uses []WeightUse

	types    map[string]onnx.ValueInfo // of the float graph's values
	tensors  map[string]*onnx.Tensor   // its initialisers
	rename   map[string]string         // float value → what stands for it
	exact    map[string]bool           // new value: FLOAT whose elements are BF16 numbers
	float    map[string]string         // new value → its rounded form
	produced map[string]bool           // initialisers that stand in the new graph
}

func (r *rewriter) graph() error {
	for _, list := range [][]onnx.ValueInfo{r.src.Inputs, r.src.Values, r.src.Outputs} {
		for _, v := range list {
			r.types[v.Name] = v
		}
	}
	for i := range r.src.Initializers {
		t := &r.src.Initializers[i]
		r.tensors[t.Name] = t
	}
	for _, in := range r.src.Inputs {
		r.input(in)
	}
	for _, out := range r.src.Outputs {
		if border(out) {
			r.rename[out.Name] = out.Name + ".float"
		}
	}
	for i := range r.src.Nodes {
		n := &r.src.Nodes[i]
		if err := r.node(n); err != nil {
			return fmt.Errorf("node %q: %s: %w", n.Name, n.Op, err)
		}
	}
	for _, out := range r.src.Outputs {
		r.output(out)
	}
	return nil
}

// border reports whether a graph input or output is rounded.
func border(v onnx.ValueInfo) bool {
	return v.DType == onnx.Float && slices.Contains(rounded, v.Name)
}

// name returns what stands for a value of the float graph.
func (r *rewriter) name(v string) string {
	if n, ok := r.rename[v]; ok {
		return n
	}
	return v
}

func (r *rewriter) input(in onnx.ValueInfo) {
	if !border(in) {
		r.out.Graph.Inputs = append(r.out.Graph.Inputs, in)
		return
	}
	wide := in.Name + ".float"
	in.DType = onnx.BFloat16
	r.out.Graph.Inputs = append(r.out.Graph.Inputs, in)
	r.cast(in.Name, wide, onnx.Float, in.Dims)
	r.rename[in.Name] = wide
	r.exact[wide] = true
}

func (r *rewriter) output(out onnx.ValueInfo) {
	if border(out) {
		out.DType = onnx.BFloat16
		r.cast(out.Name+".float", out.Name, onnx.BFloat16, out.Dims)
	}
	r.out.Graph.Outputs = append(r.out.Graph.Outputs, out)
	r.out.Graph.Values = slices.DeleteFunc(r.out.Graph.Values, func(v onnx.ValueInfo) bool { return v.Name == out.Name })
}

func (r *rewriter) node(n *onnx.Node) error {
	switch n.Op {
	case "Cast":
		if t, ok := r.tensors[n.Inputs[0]]; ok {
			return r.widen(n, t)
		}
	case "Gemm":
		return r.gemm(n)
	case "MatMul":
		return r.copyRounded(n, 2)
	}
	return r.copyRounded(n, 0)
}

// copyRounded copies a node whose first operands are rounded.
func (r *rewriter) copyRounded(n *onnx.Node, operands int) error {
	c := onnx.Node{Name: r.name(n.Name), Op: n.Op, Attrs: n.Attrs} // named as its first output
	for i, in := range n.Inputs {
		if err := r.initializer(in); err != nil {
			return err
		}
		in = r.name(in)
		if i < operands {
			in = r.round(in, n.Inputs[i])
		}
		c.Inputs = append(c.Inputs, in)
	}
	moves := slices.Contains([]string{"Reshape", "Transpose", "Gather", "Split"}, n.Op)
	for _, out := range n.Outputs {
		name := r.name(out)
		c.Outputs = append(c.Outputs, name)
		v := r.types[out]
		r.value(name, v.DType, v.Dims)
		r.exact[name] = moves && r.exact[c.Inputs[0]]
	}
	r.out.Graph.Nodes = append(r.out.Graph.Nodes, c)
	return nil
}

// round returns a value's form rounded to BF16; float is its name in the
// float graph.
func (r *rewriter) round(name, float string) string {
	if r.exact[name] {
		return name
	}
	if done, ok := r.float[name]; ok {
		return done
	}
	dims := r.types[float].Dims
	narrow := r.cast(name, name+".bf16", onnx.BFloat16, dims)
	wide := r.cast(narrow, narrow+".float", onnx.Float, dims)
	r.exact[wide] = true
	r.float[name] = wide
	return wide
}

func (r *rewriter) value(name string, dt onnx.DataType, dims []int64) {
	r.out.Graph.Values = append(r.out.Graph.Values, onnx.ValueInfo{Name: name, DType: dt, Dims: dims})
}

// append adds a node named as its output.
func (r *rewriter) append(op, out string, dt onnx.DataType, dims []int64, attrs []onnx.Attr, in ...string) string {
	r.out.Graph.Nodes = append(r.out.Graph.Nodes, onnx.Node{Name: out, Op: op, Inputs: in, Outputs: []string{out}, Attrs: attrs})
	r.value(out, dt, dims)
	return out
}

func (r *rewriter) cast(in, out string, to onnx.DataType, dims []int64) string {
	return r.append("Cast", out, to, dims, []onnx.Attr{intAttr("to", int64(to))}, in)
}

func intAttr(name string, v int64) onnx.Attr {
	return onnx.Attr{Name: name, Kind: onnx.AttrInt, Int: v}
}
