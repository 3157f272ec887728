// Package gradient takes gradients back through ONNX graphs (reverse-mode
// differentiation): through the operators that formats/arch emits, in one
// fixed order, so that its results are the same bits on every CPU. Values come
// from formats/onnx/eval; weights get no gradients.
package gradient

import (
	"fmt"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
)

// Run returns the gradients of some values of a graph, given those of others.
// values has what its nodes read and computed; a node whose values are not
// needed for a wanted gradient need not have them there. What a gradient does
// not reach has a gradient of zeros.
func Run(g *onnx.Graph, values, seeds map[string]eval.Value, want ...string) (map[string]eval.Value, error) {
	r := &run{values: values, grads: map[string][]float32{}, want: want}
	for name, s := range seeds {
		v, ok := values[name]
		if !ok || len(s.F) != len(v.F) {
			return nil, fmt.Errorf("gradient: graph %q: seed %q has %d elements for a value of %d", g.Name, name, len(s.F), len(v.F))
		}
		r.grads[name] = append([]float32(nil), s.F...)
	}
	reached := map[string]bool{} // values that a wanted one leads to
	for _, name := range want {
		reached[name] = true
	}
	for i := range g.Nodes {
		for _, in := range g.Nodes[i].Inputs {
			if reached[in] {
				for _, o := range g.Nodes[i].Outputs {
					reached[o] = true
				}
			}
		}
	}
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		if err := r.node(&g.Nodes[i], reached); err != nil {
			return nil, fmt.Errorf("gradient: graph %q: node %q: %s: %w", g.Name, g.Nodes[i].Name, g.Nodes[i].Op, err)
		}
	}
	out := map[string]eval.Value{}
	for _, name := range want {
		v, ok := values[name]
		if !ok {
			return nil, fmt.Errorf("gradient: graph %q: value %q is missing", g.Name, name)
		}
		f := r.grads[name]
		if f == nil {
			f = make([]float32, len(v.F))
		}
		out[name] = eval.Value{DType: onnx.Float, Dims: v.Dims, F: f}
	}
	return out, nil
}

type run struct {
	values map[string]eval.Value
	grads  map[string][]float32
	want   []string
}

// node is an operator at work: what it read and made, the gradients of what
// it made, and which of what it read want theirs.
type node struct {
	op      *onnx.Node
	in, out []eval.Value
	dy      [][]float32 // nil: zeros
	kept    bool        // dy[0] is wanted itself
	wanted  []bool
	add     func(input int, d []float32) // to the gradient of an input, which d may become
}

// node takes the gradients of a node's outputs to its inputs.
func (r *run) node(n *onnx.Node, reached map[string]bool) error {
	x := &node{op: n}
	some := false
	for _, o := range n.Outputs {
		x.dy = append(x.dy, r.grads[o])
		some = some || r.grads[o] != nil
	}
	any := false
	for _, in := range n.Inputs {
		x.wanted = append(x.wanted, reached[in])
		any = any || reached[in]
	}
	if !some || !any {
		return nil
	}
	x.kept = slices.Contains(r.want, n.Outputs[0])
	rule, ok := rules[n.Op]
	if !ok {
		return fmt.Errorf("operator has no gradient")
	}
	for _, name := range n.Inputs {
		x.in = append(x.in, r.values[name])
	}
	for _, name := range n.Outputs {
		v, ok := r.values[name]
		if !ok {
			return fmt.Errorf("value %q is missing", name)
		}
		x.out = append(x.out, v)
	}
	x.add = func(i int, d []float32) {
		name := n.Inputs[i]
		if sum := r.grads[name]; sum != nil {
			for j, v := range d {
				sum[j] += v
			}
			return
		}
		r.grads[name] = d
	}
	return rule(x)
}

// start returns the gradient of the first output, for that of an input to be
// written over it: a copy where it is read again.
func (n *node) start(i int) []float32 {
	if n.kept || slices.Contains(n.wanted[i+1:], true) {
		return slices.Clone(n.dy[0])
	}
	return n.dy[0]
}

// float returns an input in floats, which has to be there.
func (n *node) float(i int) (eval.Value, error) {
	if i >= len(n.in) || n.in[i].DType != onnx.Float {
		return eval.Value{}, fmt.Errorf("input %d is missing, or not of floats", i)
	}
	return n.in[i], nil
}

func (n *node) floats(count int) error {
	for i := range count {
		if _, err := n.float(i); err != nil {
			return err
		}
	}
	return nil
}

// attr returns an attribute of the node.
func (n *node) attr(name string) (onnx.Attr, bool) {
	for _, a := range n.op.Attrs {
		if a.Name == name {
			return a, true
		}
	}
	return onnx.Attr{}, false
}

func (n *node) integer(name string, def int64) int64 {
	if a, ok := n.attr(name); ok {
		return a.Int
	}
	return def
}
