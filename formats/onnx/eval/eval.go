// Package eval runs ONNX graphs of parts on plain float32 arithmetic: exactly
// the operators that formats/arch and quant/rewrite emit, one kernel each, in
// one fixed order, so that its results are the same bits on every CPU. It is
// the reference for what a part computes; it knows neither architectures nor
// precisions. Order and functions are those of docs/isa.md, so that a vector
// instruction and the operator that it came from agree to the bit.
package eval

import (
	"errors"
	"fmt"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
)

// Value is a tensor: of Float, BFloat16 and Float16 in F, the latter two as
// the float32 numbers that they hold; of an integer type or Bool in I.
type Value struct {
	DType onnx.DataType
	Dims  []int64
	F     []float32
	I     []int64

	codes []int8 // of an initialiser of Int8, Int4 or Uint4, in place of I
}

// Bounds of tensors: of what a file holds, so that no size overflows, and of
// what an operator makes larger than its operands.
const (
	maxElements = 1 << 32
	maxResult   = 1 << 28
)

// Run computes a graph's outputs from its inputs. data returns the bytes of an
// external file; nil will do for a graph without any. An error names the node.
func Run(m *onnx.Model, data func(location string) ([]byte, error), inputs map[string]Value) (map[string]Value, error) {
	r := &run{data: data, values: map[string]*Value{}, tensors: map[string]*onnx.Tensor{}}
	if err := r.bind(&m.Graph, inputs); err != nil {
		return nil, fmt.Errorf("eval: graph %q: %w", m.Graph.Name, err)
	}
	for i := range m.Graph.Nodes {
		n := &m.Graph.Nodes[i]
		if err := r.node(n); err != nil {
			return nil, fmt.Errorf("eval: graph %q: node %q: %s: %w", m.Graph.Name, n.Name, n.Op, err)
		}
	}
	out := map[string]Value{}
	for _, o := range m.Graph.Outputs {
		v, ok := r.values[o.Name]
		if !ok {
			return nil, fmt.Errorf("eval: graph %q: output %q is not computed", m.Graph.Name, o.Name)
		}
		if v.DType != o.DType || !slices.Equal(v.Dims, o.Dims) {
			return nil, fmt.Errorf("eval: graph %q: output %q is %v%v, declared %v%v", m.Graph.Name, o.Name, v.DType, v.Dims, o.DType, o.Dims)
		}
		out[o.Name] = *v
	}
	return out, nil
}

type run struct {
	data    func(location string) ([]byte, error)
	values  map[string]*Value
	tensors map[string]*onnx.Tensor // initialisers that nothing has read yet
}

// bind checks the inputs against the graph's.
func (r *run) bind(g *onnx.Graph, inputs map[string]Value) error {
	for _, want := range g.Inputs {
		v, ok := inputs[want.Name]
		if !ok {
			return fmt.Errorf("input %q is missing", want.Name)
		}
		if v.DType != want.DType || !slices.Equal(v.Dims, want.Dims) {
			return fmt.Errorf("input %q is %v%v, want %v%v", want.Name, v.DType, v.Dims, want.DType, want.Dims)
		}
		if err := v.check(); err != nil {
			return fmt.Errorf("input %q: %w", want.Name, err)
		}
		r.values[want.Name] = &v
	}
	if len(inputs) != len(g.Inputs) {
		return fmt.Errorf("%d inputs, want %d", len(inputs), len(g.Inputs))
	}
	for i := range g.Initializers {
		r.tensors[g.Initializers[i].Name] = &g.Initializers[i]
	}
	return nil
}

// check reports a value whose elements do not fill its shape.
func (v *Value) check() error {
	n, err := elements(v.Dims)
	if err != nil {
		return err
	}
	have := len(v.I)
	if isFloat(v.DType) {
		have = len(v.F)
	}
	if have != n {
		return fmt.Errorf("%d elements for shape %v", have, v.Dims)
	}
	return nil
}

func isFloat(d onnx.DataType) bool {
	return d == onnx.Float || d == onnx.BFloat16 || d == onnx.Float16
}

// elements returns the number of elements of a shape.
func elements(dims []int64) (int, error) { return bounded(dims, maxElements) }

// bounded is [elements] up to a limit; no product of dimensions exceeds it,
// even where another is 0.
func bounded(dims []int64, limit int64) (int, error) {
	n, nonzero := int64(1), int64(1)
	for _, d := range dims {
		if d < 0 || d > limit || nonzero*max(d, 1) > limit {
			return 0, fmt.Errorf("shape %v is out of range", dims)
		}
		nonzero *= max(d, 1)
		n *= d
	}
	return int(n), nil
}

// node runs one node.
func (r *run) node(n *onnx.Node) error {
	k, ok := kernels[n.Op]
	if !ok {
		return errors.New("operator is not known")
	}
	if len(n.Inputs) < k.inputs || len(n.Outputs) < k.outputs {
		return fmt.Errorf("%d inputs and %d outputs, want %d and %d", len(n.Inputs), len(n.Outputs), k.inputs, k.outputs)
	}
	args := make([]*Value, len(n.Inputs))
	for i, name := range n.Inputs {
		if name == "" {
			continue
		}
		v, err := r.value(name)
		if err != nil {
			return err
		}
		if v.codes != nil && n.Op != "DequantizeLinear" {
			return fmt.Errorf("%q is %v, which only DequantizeLinear takes", name, v.DType)
		}
		args[i] = v
	}
	if slices.Contains(args[:k.inputs], nil) {
		return errors.New("an input is missing")
	}
	out, err := k.run(attrs(n.Attrs), args)
	if err != nil {
		return err
	}
	for i, name := range n.Outputs {
		if name == "" || i >= len(out) {
			continue
		}
		if _, dup := r.values[name]; dup {
			return fmt.Errorf("value %q is computed twice", name)
		}
		r.values[name] = out[i]
	}
	return nil
}

// value returns a value by name, reading an initialiser on first use.
func (r *run) value(name string) (*Value, error) {
	if v, ok := r.values[name]; ok {
		return v, nil
	}
	t, ok := r.tensors[name]
	if !ok {
		return nil, fmt.Errorf("value %q is not computed", name)
	}
	v, err := r.load(t)
	if err != nil {
		return nil, fmt.Errorf("initializer %q: %w", name, err)
	}
	r.values[name] = v
	return v, nil
}

// attrs are a node's attributes.
type attrs []onnx.Attr

func (a attrs) find(name string) (onnx.Attr, bool) {
	i := slices.IndexFunc(a, func(x onnx.Attr) bool { return x.Name == name })
	if i < 0 {
		return onnx.Attr{}, false
	}
	return a[i], true
}

func (a attrs) integer(name string, def int64) int64 {
	if x, ok := a.find(name); ok {
		return x.Int
	}
	return def
}

// axis returns the attribute of that name as an index of one of rank
// dimensions.
func (a attrs) axis(def int64, rank int) (int, error) {
	x := a.integer("axis", def)
	if x < 0 {
		x += int64(rank)
	}
	if x < 0 || x >= int64(rank) {
		return 0, fmt.Errorf("axis = %d of %d dimensions", a.integer("axis", def), rank)
	}
	return int(x), nil
}

// only fails where an attribute has another value than the one that is
// supported.
func (a attrs) only(name string, want int64) error {
	if x := a.integer(name, want); x != want {
		return fmt.Errorf("%s = %d, only %d is supported", name, x, want)
	}
	return nil
}
