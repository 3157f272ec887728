package gradient_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/formats/onnx/gradient"
)

func floats(r *rand.Rand, dims ...int64) eval.Value {
	v := eval.Value{DType: onnx.Float, Dims: dims}
	n := 1
	for _, d := range dims {
		n *= int(d)
	}
	for range n {
		f := r.NormFloat64()
		v.F = append(v.F, float32(f+math.Copysign(0.1, f))) // none near a kink at 0
	}
	return v
}

func ints(dims []int64, values ...int64) eval.Value {
	return eval.Value{DType: onnx.Int32, Dims: dims, I: values}
}

func intAttr(name string, v int64) onnx.Attr {
	return onnx.Attr{Name: name, Kind: onnx.AttrInt, Int: v}
}

func int64s(name string, values ...int64) onnx.Tensor {
	t := onnx.Tensor{Name: name, DType: onnx.Int64, Dims: []int64{int64(len(values))}}
	for _, v := range values {
		t.Raw = binary.LittleEndian.AppendUint64(t.Raw, uint64(v))
	}
	return t
}

// one is a graph of one node. wrt says which inputs want gradients.
type one struct {
	name    string
	op      string
	in      []eval.Value
	inits   []onnx.Tensor
	attrs   []onnx.Attr
	outputs [][]int64
	wrt     []int
}

func (o *one) model() (*onnx.Model, map[string]eval.Value) {
	m := &onnx.Model{}
	n := onnx.Node{Name: "node", Op: o.op, Attrs: o.attrs}
	values := map[string]eval.Value{}
	for i, v := range o.in {
		name := fmt.Sprintf("x%d", i)
		n.Inputs = append(n.Inputs, name)
		m.Graph.Inputs = append(m.Graph.Inputs, onnx.ValueInfo{Name: name, DType: v.DType, Dims: v.Dims})
		values[name] = v
	}
	for _, t := range o.inits {
		n.Inputs = append(n.Inputs, t.Name)
	}
	m.Graph.Initializers = o.inits
	for i, dims := range o.outputs {
		name := fmt.Sprintf("y%d", i)
		n.Outputs = append(n.Outputs, name)
		m.Graph.Outputs = append(m.Graph.Outputs, onnx.ValueInfo{Name: name, DType: onnx.Float, Dims: dims})
	}
	m.Graph.Nodes = []onnx.Node{n}
	return m, values
}

func mask(dims []int64, values ...int64) eval.Value {
	return eval.Value{DType: onnx.Bool, Dims: dims, I: values}
}

func cases(r *rand.Rand) []one {
	d := func(dims ...int64) []int64 { return dims }
	out := func(dims ...int64) [][]int64 { return [][]int64{dims} }
	scalar := func() eval.Value { return eval.Value{DType: onnx.Float, F: []float32{1.7}} }
	tanh := onnx.Attr{Name: "approximate", Kind: onnx.AttrString, Str: "tanh"}
	none := onnx.Attr{Name: "approximate", Kind: onnx.AttrString, Str: "none"}
	perm := func(p ...int64) []onnx.Attr { return []onnx.Attr{{Name: "perm", Kind: onnx.AttrInts, Ints: p}} }
	near := floats(r, 3, 5)
	copy(near.F, []float32{0, 1e-4, -1e-3, 0.005, -0.0079, 0.0079, 4, -4, 9, -9})
	return []one{
		{"Add", "Add", []eval.Value{floats(r, 3, 4), floats(r, 3, 4)}, nil, nil, out(3, 4), []int{0, 1}},
		{"Add a row", "Add", []eval.Value{floats(r, 3, 4), floats(r, 4)}, nil, nil, out(3, 4), []int{0, 1}},
		{"Mul", "Mul", []eval.Value{floats(r, 3, 4), floats(r, 3, 4)}, nil, nil, out(3, 4), []int{0, 1}},
		{"Mul by a scalar", "Mul", []eval.Value{floats(r, 3, 4), scalar()}, nil, nil, out(3, 4), []int{0, 1}},
		{"Div", "Div", []eval.Value{floats(r, 3, 4), scalar()}, nil, nil, out(3, 4), []int{0}},
		{"Cast", "Cast", []eval.Value{floats(r, 3, 4)}, nil, []onnx.Attr{intAttr("to", 1)}, out(3, 4), []int{0}},
		{"Concat", "Concat", []eval.Value{floats(r, 2, 4), floats(r, 3, 4)}, nil, []onnx.Attr{intAttr("axis", 0)}, out(5, 4), []int{0, 1}},
		{"Conv", "Conv", []eval.Value{floats(r, 1, 3, 9), floats(r, 3, 1, 4)}, nil, []onnx.Attr{intAttr("group", 3)}, out(1, 3, 6), []int{0}},
		{"Conv with bias", "Conv", []eval.Value{floats(r, 1, 3, 9), floats(r, 3, 1, 4), floats(r, 3)}, nil, []onnx.Attr{intAttr("group", 3)}, out(1, 3, 6), []int{0}},
		{"Gather", "Gather", []eval.Value{floats(r, 4, 3), ints(d(2), 2, 2)}, nil, []onnx.Attr{intAttr("axis", 0)}, out(2, 3), []int{0}},
		{"Gather columns", "Gather", []eval.Value{floats(r, 4, 3), ints(d(2), 2, 0)}, nil, []onnx.Attr{intAttr("axis", 1)}, out(4, 2), []int{0}},
		{"Gelu", "Gelu", []eval.Value{near}, nil, []onnx.Attr{none}, out(3, 5), []int{0}},
		{"Gelu by tanh", "Gelu", []eval.Value{near}, nil, []onnx.Attr{tanh}, out(3, 5), []int{0}},
		{"Gemm", "Gemm", []eval.Value{floats(r, 5, 6), floats(r, 7, 6)}, nil, []onnx.Attr{intAttr("transB", 1)}, out(5, 7), []int{0}},
		{"Gemm with bias", "Gemm", []eval.Value{floats(r, 5, 6), floats(r, 7, 6), floats(r, 7)}, nil, []onnx.Attr{intAttr("transB", 1)}, out(5, 7), []int{0}},
		{"MatMul", "MatMul", []eval.Value{floats(r, 2, 5, 6), floats(r, 2, 6, 3)}, nil, nil, out(2, 5, 3), []int{0, 1}},
		{"RMSNormalization", "RMSNormalization", []eval.Value{floats(r, 4, 6), floats(r, 6)}, nil, []onnx.Attr{intAttr("axis", -1), {Name: "epsilon", Kind: onnx.AttrFloat, Float: 0.01}}, out(4, 6), []int{0}},
		{"RMSNormalization of heads", "RMSNormalization", []eval.Value{floats(r, 3, 2, 6), floats(r, 6)}, nil, []onnx.Attr{intAttr("axis", -1)}, out(3, 2, 6), []int{0}},
		{"Relu", "Relu", []eval.Value{floats(r, 3, 4)}, nil, nil, out(3, 4), []int{0}},
		{"Reshape", "Reshape", []eval.Value{floats(r, 3, 4)}, []onnx.Tensor{int64s("shape", 2, 6)}, nil, out(2, 6), []int{0}},
		{"RotaryEmbedding", "RotaryEmbedding", []eval.Value{floats(r, 1, 3, 16), floats(r, 1, 3, 4), floats(r, 1, 3, 4)}, nil, []onnx.Attr{intAttr("num_heads", 2)}, out(1, 3, 16), []int{0}},
		{"RotaryEmbedding in part", "RotaryEmbedding", []eval.Value{floats(r, 1, 3, 16), floats(r, 1, 3, 3), floats(r, 1, 3, 3)}, nil, []onnx.Attr{intAttr("num_heads", 2), intAttr("rotary_embedding_dim", 6)}, out(1, 3, 16), []int{0}},
		{"Sigmoid", "Sigmoid", []eval.Value{floats(r, 3, 4)}, nil, nil, out(3, 4), []int{0}},
		{"Softmax", "Softmax", []eval.Value{floats(r, 2, 3, 5)}, nil, []onnx.Attr{intAttr("axis", -1)}, out(2, 3, 5), []int{0}},
		{"Split", "Split", []eval.Value{floats(r, 3, 6)}, []onnx.Tensor{int64s("sizes", 2, 1, 3)}, []onnx.Attr{intAttr("axis", 1)}, [][]int64{d(3, 2), d(3, 1), d(3, 3)}, []int{0}},
		{"Tanh", "Tanh", []eval.Value{floats(r, 3, 4)}, nil, nil, out(3, 4), []int{0}},
		{"Transpose", "Transpose", []eval.Value{floats(r, 2, 3, 4)}, nil, perm(2, 0, 1), out(4, 2, 3), []int{0}},
		{"Transpose rows", "Transpose", []eval.Value{floats(r, 2, 3, 4)}, nil, perm(1, 0, 2), out(3, 2, 4), []int{0}},
		{"Where", "Where", []eval.Value{mask(d(2, 3), 1, 0, 1, 0, 0, 1), floats(r, 4, 2, 3), scalar()}, nil, nil, out(4, 2, 3), []int{1, 2}},
	}
}

// TestOperators compares with differences of what the evaluator computes.
func TestOperators(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range cases(r) {
		t.Run(c.name, func(t *testing.T) {
			m, values := c.model()
			y, err := eval.Run(m, nil, values)
			if err != nil {
				t.Fatal(err)
			}
			seeds := map[string]eval.Value{}
			for name, v := range y {
				values[name] = v
				seeds[name] = floats(r, v.Dims...)
			}
			var want []string
			for _, i := range c.wrt {
				want = append(want, fmt.Sprintf("x%d", i))
			}
			got, err := gradient.Run(&m.Graph, values, seeds, want...)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range want {
				check(t, m, values, seeds, name, got[name].F)
			}
		})
	}
}

// check compares a gradient, element by element, with a central difference.
func check(t *testing.T, m *onnx.Model, values, seeds map[string]eval.Value, name string, got []float32) {
	t.Helper()
	const h = 1.0 / 256
	for i := range got {
		var side [2]float64
		for j, by := range []float32{h, -h} {
			in := map[string]eval.Value{}
			for _, x := range m.Graph.Inputs {
				v := values[x.Name]
				if x.Name == name {
					v.F = append([]float32(nil), v.F...)
					v.F[i] += by
				}
				in[x.Name] = v
			}
			y, err := eval.Run(m, nil, in)
			if err != nil {
				t.Fatal(err)
			}
			for o, v := range y {
				for k, f := range v.F {
					side[j] += float64(f) * float64(seeds[o].F[k])
				}
			}
		}
		want := (side[0] - side[1]) / (2 * h)
		// The difference has an error of h² and of the last digits of what was subtracted.
		if d := math.Abs(float64(got[i]) - want); !(d <= 1e-3*(1+math.Abs(want))) {
			t.Errorf("gradient of %s[%d] = %v, differences give %v", name, i, got[i], want)
		}
	}
}

// TestSums checks that a value that is read twice sums its gradients, and that
// nodes which lead to no wanted value need no values.
func TestSums(t *testing.T) {
	x := eval.Value{DType: onnx.Float, Dims: []int64{2}, F: []float32{3, -1}}
	g := &onnx.Graph{Nodes: []onnx.Node{
		{Op: "TopK", Inputs: []string{"other"}, Outputs: []string{"z"}},
		{Op: "Mul", Inputs: []string{"x", "x"}, Outputs: []string{"square"}},
		{Op: "Add", Inputs: []string{"square", "x"}, Outputs: []string{"y"}},
	}}
	square := eval.Value{DType: onnx.Float, Dims: x.Dims, F: []float32{9, 1}}
	y := eval.Value{DType: onnx.Float, Dims: x.Dims, F: []float32{12, 0}}
	values := map[string]eval.Value{"x": x, "square": square, "y": y, "aside": x}
	got, err := gradient.Run(g, values, map[string]eval.Value{"y": {DType: onnx.Float, Dims: x.Dims, F: []float32{1, 10}}}, "x", "aside", "square", "y")
	if err != nil {
		t.Fatal(err)
	}
	if f := got["x"].F; f[0] != 7 || f[1] != -10 {
		t.Errorf("gradient of x²+x = %v, want [7 -10]", f)
	}
	for _, name := range []string{"square", "y"} { // on the way to x, and wanted as well
		if f := got[name].F; f[0] != 1 || f[1] != 10 {
			t.Errorf("gradient of %s = %v, want [1 10]", name, f)
		}
	}
	if f := got["aside"].F; f[0] != 0 || f[1] != 0 {
		t.Errorf("gradient of what leads nowhere = %v", f)
	}
	for _, c := range []struct {
		name, want string
		edit       func()
	}{
		{"an operator without gradient", "operator has no gradient", func() { g.Nodes[1].Op = "TopK" }},
		{"a missing value", `value "y" is missing`, func() { delete(values, "y") }},
	} {
		c.edit()
		seeds := map[string]eval.Value{"y": {F: []float32{1, 10}}}
		if c.name == "a missing value" {
			seeds = map[string]eval.Value{"square": {F: []float32{1, 10}}}
			g.Nodes[1].Op, g.Nodes[1].Outputs = "Mul", []string{"square", "y"}
		}
		if _, err := gradient.Run(g, values, seeds, "x"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := gradient.Run(g, values, map[string]eval.Value{"x": {F: []float32{1}}}, "x"); err == nil {
		t.Error("a seed of another size is accepted")
	}
}
