package eval_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
)

func f32(dims []int64, values ...float32) eval.Value {
	return eval.Value{DType: onnx.Float, Dims: dims, F: values}
}

func i32(dims []int64, values ...int64) eval.Value {
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

// single is a graph of one node: its inputs are those of the graph, then the
// initialisers.
func single(op string, inputs []eval.Value, inits []onnx.Tensor, attrs []onnx.Attr, outputs ...onnx.ValueInfo) (*onnx.Model, map[string]eval.Value) {
	m := &onnx.Model{Graph: onnx.Graph{Name: "test", Initializers: inits, Outputs: outputs}}
	n := onnx.Node{Name: "node", Op: op, Attrs: attrs}
	in := map[string]eval.Value{}
	for i, v := range inputs {
		name := fmt.Sprintf("x%d", i)
		in[name] = v
		n.Inputs = append(n.Inputs, name)
		m.Graph.Inputs = append(m.Graph.Inputs, onnx.ValueInfo{Name: name, DType: v.DType, Dims: v.Dims})
	}
	for _, t := range inits {
		n.Inputs = append(n.Inputs, t.Name)
	}
	for _, o := range outputs {
		n.Outputs = append(n.Outputs, o.Name)
	}
	m.Graph.Nodes = []onnx.Node{n}
	return m, in
}

var inf = float32(math.Inf(1))

func TestOperators(t *testing.T) {
	nan := float32(math.NaN())
	half := []int64{1, 2, 1}
	for _, c := range []struct {
		op     string
		inputs []eval.Value
		inits  []onnx.Tensor
		attrs  []onnx.Attr
		want   []eval.Value
	}{
		{"Add", []eval.Value{f32([]int64{2, 2}, 1, 2, 3, 4), f32([]int64{2}, 10, 20)}, nil, nil, []eval.Value{f32([]int64{2, 2}, 11, 22, 13, 24)}},
		{"Add", []eval.Value{f32([]int64{1}, 1), f32([]int64{1}, 2)}, nil, nil, []eval.Value{f32([]int64{1}, 3)}},
		{"Mul", []eval.Value{f32([]int64{2, 1}, 2, 3), f32([]int64{1, 2}, 5, 7)}, nil, nil, []eval.Value{f32([]int64{2, 2}, 10, 14, 15, 21)}},
		{ // an element that is repeated along its row differs from the one before in its sign alone
			"Div",
			[]eval.Value{f32([]int64{1, 2}, 1, -1), f32([]int64{3, 1}, 0, float32(math.Copysign(0, -1)), 0)},
			nil, nil,
			[]eval.Value{f32([]int64{3, 2}, inf, -inf, -inf, inf, inf, -inf)},
		},
		{
			"Where",
			[]eval.Value{{DType: onnx.Bool, Dims: []int64{3, 1}, I: []int64{1, 0, 1}}, f32([]int64{3, 2}, 1, 2, 3, 4, 5, 6), f32([]int64{2}, 7, 8)},
			nil, nil,
			[]eval.Value{f32([]int64{3, 2}, 1, 2, 7, 8, 5, 6)},
		},
		{"Mul", []eval.Value{f32([]int64{2}, 2, 3), f32(nil, 5)}, nil, nil, []eval.Value{f32([]int64{2}, 10, 15)}},
		{
			"And",
			[]eval.Value{{DType: onnx.Bool, Dims: []int64{2}, I: []int64{1, 1}}, {DType: onnx.Bool, Dims: []int64{2}, I: []int64{0, 1}}},
			nil, nil,
			[]eval.Value{{DType: onnx.Bool, Dims: []int64{2}, I: []int64{0, 1}}},
		},
		{"GreaterOrEqual", []eval.Value{i32([]int64{3}, 0, 1, 2), i32([]int64{1, 1}, 1)}, nil, nil, []eval.Value{{DType: onnx.Bool, Dims: []int64{1, 3}, I: []int64{0, 1, 1}}}},
		{"Less", []eval.Value{i32([]int64{3}, 0, 1, 2), i32([]int64{2, 1}, 1, 3)}, nil, nil, []eval.Value{{DType: onnx.Bool, Dims: []int64{2, 3}, I: []int64{1, 0, 0, 1, 1, 1}}}},
		{
			"Where",
			[]eval.Value{{DType: onnx.Bool, Dims: []int64{2}, I: []int64{1, 0}}, f32([]int64{2, 2}, 1, 2, 3, 4), f32(nil, -inf)},
			nil, nil,
			[]eval.Value{f32([]int64{2, 2}, 1, -inf, 3, -inf)},
		},
		{"Cast", []eval.Value{f32([]int64{3}, 1.00390625, 1.01171875, -inf)}, nil, []onnx.Attr{intAttr("to", 16)}, []eval.Value{{DType: onnx.BFloat16, Dims: []int64{3}, F: []float32{1, 1.015625, -inf}}}},
		{"Cast", []eval.Value{{DType: onnx.Int64, Dims: []int64{1}, I: []int64{7}}}, nil, []onnx.Attr{intAttr("to", 6)}, []eval.Value{i32([]int64{1}, 7)}},
		{"Gather", []eval.Value{f32([]int64{2, 2}, 1, 2, 3, 4), i32([]int64{1}, 1)}, nil, nil, []eval.Value{f32([]int64{1, 2}, 3, 4)}},
		{"Gather", []eval.Value{i32([]int64{2, 2}, 1, 2, 3, 4), i32([]int64{1}, 1)}, nil, []onnx.Attr{intAttr("axis", 1)}, []eval.Value{i32([]int64{2, 1}, 2, 4)}},
		{
			"Gemm",
			[]eval.Value{f32([]int64{1, 2}, 1, 2), f32([]int64{5, 2}, 1, 0, 0, 1, 1, 1, 2, 2, -1, 3), f32([]int64{5}, 1, 1, 1, 1, 1)},
			nil,
			[]onnx.Attr{intAttr("transB", 1)},
			[]eval.Value{f32([]int64{1, 5}, 2, 3, 4, 7, 6)},
		},
		{"Gemm", []eval.Value{f32([]int64{1, 2}, 1, 2), f32([]int64{2, 2}, 1, 2, 3, 4)}, nil, nil, []eval.Value{f32([]int64{1, 2}, 7, 10)}},
		{"MatMul", []eval.Value{f32([]int64{2, 1, 2}, 1, 2, 3, 4), f32([]int64{2, 2, 1}, 1, 1, 2, 2)}, nil, nil, []eval.Value{f32([]int64{2, 1, 1}, 3, 14)}},
		{
			"RMSNormalization",
			[]eval.Value{f32([]int64{2, 2}, 3, 4, 0, 0), f32([]int64{2}, 1, 2)},
			nil,
			[]onnx.Attr{{Name: "epsilon", Kind: onnx.AttrFloat, Float: 12.5}},
			[]eval.Value{f32([]int64{2, 2}, 0.6, 1.6, 0, 0)},
		},
		{"Reshape", []eval.Value{f32([]int64{2, 2}, 1, 2, 3, 4)}, []onnx.Tensor{int64s("shape", 1, 4)}, nil, []eval.Value{f32([]int64{1, 4}, 1, 2, 3, 4)}},
		{
			"RotaryEmbedding",
			[]eval.Value{f32([]int64{1, 2, 4}, 1, 2, 3, 4, 5, 6, 7, 8), f32(half, 0, 1), f32(half, 1, 0)},
			nil,
			[]onnx.Attr{intAttr("num_heads", 2)},
			[]eval.Value{f32([]int64{1, 2, 4}, -2, 1, -4, 3, 5, 6, 7, 8)},
		},
		{
			"RotaryEmbedding",
			[]eval.Value{f32([]int64{1, 1, 4}, 1, 2, 3, 4), f32([]int64{1, 1, 1}, 0), f32([]int64{1, 1, 1}, 1)},
			nil,
			[]onnx.Attr{intAttr("num_heads", 1), intAttr("rotary_embedding_dim", 2)},
			[]eval.Value{f32([]int64{1, 1, 4}, -2, 1, 3, 4)},
		},
		{"Concat", []eval.Value{f32([]int64{1, 2}, 1, 2), f32([]int64{2, 2}, 3, 4, 5, 6)}, nil, nil, []eval.Value{f32([]int64{3, 2}, 1, 2, 3, 4, 5, 6)}},
		{
			"Conv",
			[]eval.Value{f32([]int64{1, 2, 3}, 1, 2, 3, 10, 20, 30), f32([]int64{2, 1, 2}, 1, 2, 3, 4), f32([]int64{2}, 0.5, -1)},
			nil,
			[]onnx.Attr{intAttr("group", 2)},
			[]eval.Value{f32([]int64{1, 2, 2}, 5.5, 8.5, 109, 179)},
		},
		{"Div", []eval.Value{f32([]int64{2}, 2, 3), f32(nil, 4)}, nil, nil, []eval.Value{f32([]int64{2}, 0.5, 0.75)}},
		{"Gelu", []eval.Value{f32([]int64{2}, 0, 20)}, nil, nil, []eval.Value{f32([]int64{2}, 0, 20)}},
		{"Relu", []eval.Value{f32([]int64{3}, -1, 2, nan)}, nil, nil, []eval.Value{f32([]int64{3}, 0, 2, 0)}},
		{"Split", []eval.Value{f32([]int64{2, 3}, 1, 2, 3, 4, 5, 6)}, []onnx.Tensor{int64s("sizes", 1, 2)}, []onnx.Attr{intAttr("axis", 1)}, []eval.Value{f32([]int64{2, 1}, 1, 4), f32([]int64{2, 2}, 2, 3, 5, 6)}},
		{"Tanh", []eval.Value{f32([]int64{3}, 0, -inf, inf)}, nil, nil, []eval.Value{f32([]int64{3}, 0, -1, 1)}},
		{"Sigmoid", []eval.Value{f32([]int64{3}, 0, -inf, inf)}, nil, nil, []eval.Value{f32([]int64{3}, 0.5, 0, 1)}},
		{"Softmax", []eval.Value{f32([]int64{2, 2}, 5, 5, -inf, 1)}, nil, nil, []eval.Value{f32([]int64{2, 2}, 0.5, 0.5, 0, 1)}},
		{
			"TopK",
			[]eval.Value{f32([]int64{1, 5}, 1, nan, 3, 3, -inf)},
			[]onnx.Tensor{int64s("k", 5)},
			nil,
			[]eval.Value{f32([]int64{1, 5}, 3, 3, 1, -inf, nan), {DType: onnx.Int64, Dims: []int64{1, 5}, I: []int64{2, 3, 0, 4, 1}}},
		},
		{
			"Transpose",
			[]eval.Value{f32([]int64{1, 2, 3}, 1, 2, 3, 4, 5, 6)},
			nil,
			[]onnx.Attr{{Name: "perm", Kind: onnx.AttrInts, Ints: []int64{2, 0, 1}}},
			[]eval.Value{f32([]int64{3, 1, 2}, 1, 4, 2, 5, 3, 6)},
		},
		{
			"DequantizeLinear", nil,
			[]onnx.Tensor{
				{Name: "codes", DType: onnx.Int4, Dims: []int64{3, 2}, Raw: []byte{0x21, 0x8f, 0x03}},
				{Name: "scales", DType: onnx.Float, Dims: []int64{2, 2}, Raw: floatBytes(1, 10, 100, 1000)},
			},
			[]onnx.Attr{intAttr("axis", 0), intAttr("block_size", 2)},
			[]eval.Value{f32([]int64{3, 2}, 1, 20, -1, -80, 300, 0)},
		},
		{
			"DequantizeLinear", nil,
			[]onnx.Tensor{
				{Name: "codes", DType: onnx.Int8, Dims: []int64{2, 2}, Raw: []byte{1, 2, 0xff, 0x81}},
				{Name: "scales", DType: onnx.Float, Dims: []int64{2}, Raw: floatBytes(0.5, 10)},
			},
			nil,
			[]eval.Value{f32([]int64{2, 2}, 0.5, 20, -0.5, -1270)},
		},
	} {
		var outputs []onnx.ValueInfo
		for i, w := range c.want {
			outputs = append(outputs, onnx.ValueInfo{Name: fmt.Sprintf("y%d", i), DType: w.DType, Dims: w.Dims})
		}
		m, in := single(c.op, c.inputs, c.inits, c.attrs, outputs...)
		got, err := eval.Run(m, nil, in)
		if err != nil {
			t.Errorf("%s: %v", c.op, err)
			continue
		}
		for i, w := range c.want {
			g := got[outputs[i].Name]
			same := slices.EqualFunc(g.F, w.F, func(a, b float32) bool { return a == b || a != a && b != b })
			if !same || !slices.Equal(g.I, w.I) || !slices.Equal(g.Dims, w.Dims) {
				t.Errorf("%s = %v, want %v", c.op, g, w)
			}
		}
	}
}

func floatBytes(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func TestErrors(t *testing.T) {
	x := f32([]int64{1, 2}, 1, 2)
	for _, c := range []struct {
		op     string
		inputs []eval.Value
		inits  []onnx.Tensor
		attrs  []onnx.Attr
		want   string
	}{
		{"Erf", []eval.Value{x}, nil, nil, `eval: graph "test": node "node": Erf: operator is not known`},
		{"Add", []eval.Value{x}, nil, nil, "1 inputs and 1 outputs, want 2 and 1"},
		{"Add", []eval.Value{x, f32([]int64{3}, 1, 2, 3)}, nil, nil, "[3] does not broadcast to [1 2]"},
		{"MatMul", []eval.Value{x, x}, nil, nil, "[1 2] times [1 2]"},
		{"Gemm", []eval.Value{x, x}, nil, []onnx.Attr{intAttr("transA", 1)}, "transA = 1, only 0 is supported"},
		{"Gather", []eval.Value{x, i32([]int64{1}, 1)}, nil, nil, "index 1 of 1"},
		{"Gather", []eval.Value{x, i32([]int64{1}, -1)}, nil, nil, "index -1 of 1"},
		{"Reshape", []eval.Value{x}, []onnx.Tensor{int64s("shape", 3)}, nil, "2 elements for shape [3]"},
		{"Reshape", []eval.Value{x}, []onnx.Tensor{int64s("shape", -1)}, nil, "shape [-1] is out of range"},
		{"Softmax", []eval.Value{x}, nil, []onnx.Attr{intAttr("axis", 0)}, "over the last dimension"},
		{"Softmax", []eval.Value{x}, nil, []onnx.Attr{intAttr("axis", 5)}, "axis = 5 of 2 dimensions"},
		{"TopK", []eval.Value{x}, []onnx.Tensor{int64s("k", 3)}, nil, "2 inputs and 1 outputs, want 2 and 2"},
		{"Transpose", []eval.Value{x}, nil, []onnx.Attr{{Name: "perm", Ints: []int64{0, 0}}}, "perm [0 0] of 2 dimensions"},
		{"Cast", []eval.Value{x}, nil, []onnx.Attr{intAttr("to", 7)}, "from FLOAT to INT64 is not supported"},
		{"Sigmoid", nil, []onnx.Tensor{{Name: "w", DType: onnx.Float, Dims: []int64{2}, Raw: make([]byte, 7)}}, nil, `initializer "w": 7 bytes for FLOAT[2], want 8`},
		{"Sigmoid", nil, []onnx.Tensor{{Name: "w", DType: onnx.Float, Dims: []int64{2}, External: &onnx.External{Location: "f"}}}, nil, "file f: there are no external files"},
		{"Sigmoid", nil, []onnx.Tensor{{Name: "w", DType: onnx.Int8, Dims: []int64{2}, Raw: make([]byte, 2)}}, nil, `"w" is INT8, which only DequantizeLinear takes`},
		{"DequantizeLinear", []eval.Value{x, x}, nil, nil, "codes are FLOAT"},
		{"Concat", []eval.Value{x, f32([]int64{1, 3}, 1, 2, 3)}, nil, nil, "[1 3] beside [1 2]"},
		{"Conv", []eval.Value{f32([]int64{1, 2, 3}, 1, 2, 3, 4, 5, 6), f32([]int64{2, 1, 4}, 1, 2, 3, 4, 5, 6, 7, 8)}, nil, []onnx.Attr{intAttr("group", 2)}, "[1 2 3] by [2 1 4] in 2 groups"},
		{"Gelu", []eval.Value{x}, nil, []onnx.Attr{{Name: "approximate", Kind: onnx.AttrString, Str: "cosh"}}, `approximate = "cosh"`},
		{"Split", []eval.Value{x}, []onnx.Tensor{int64s("sizes", 1, 2)}, []onnx.Attr{intAttr("axis", 1)}, "sizes [1 2] of 2"},
		{"RotaryEmbedding", []eval.Value{f32([]int64{1, 1, 4}, 1, 2, 3, 4), x, x}, nil, []onnx.Attr{intAttr("num_heads", 1), intAttr("rotary_embedding_dim", 6)}, "rotary_embedding_dim = 6 of heads of 4"},
	} {
		m, in := single(c.op, c.inputs, c.inits, c.attrs, onnx.ValueInfo{Name: "y", DType: onnx.Float, Dims: []int64{1, 2}})
		if _, err := eval.Run(m, nil, in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Run(%s) = %v, want %q", c.op, err, c.want)
		}
	}
	m, in := single("Sigmoid", []eval.Value{x}, nil, nil, onnx.ValueInfo{Name: "y", DType: onnx.Float, Dims: []int64{2}})
	if _, err := eval.Run(m, nil, in); err == nil || !strings.Contains(err.Error(), `output "y" is FLOAT[1 2], declared FLOAT[2]`) {
		t.Errorf("Run = %v, want an error about the output's shape", err)
	}
	in["x0"] = f32([]int64{2}, 1, 2)
	if _, err := eval.Run(m, nil, in); err == nil || !strings.Contains(err.Error(), `input "x0" is FLOAT[2], want FLOAT[1 2]`) {
		t.Errorf("Run = %v, want an error about the input's shape", err)
	}
	delete(in, "x0")
	if _, err := eval.Run(m, nil, in); err == nil || !strings.Contains(err.Error(), `input "x0" is missing`) {
		t.Errorf("Run = %v, want a missing input", err)
	}
}

// TestProductsAgree checks that a product's bits depend neither on the layout
// of the matrix nor on how columns are divided among processors.
func TestProductsAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const m, k, n = 3, 1000, 131
	x, w, wt := make([]float32, m*k), make([]float32, k*n), make([]float32, k*n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for i := range k {
		for j := range n {
			w[i*n+j] = float32(r.NormFloat64())
			wt[j*k+i] = w[i*n+j]
		}
	}
	y := onnx.ValueInfo{Name: "y", DType: onnx.Float, Dims: []int64{m, n}}
	run := func(op string, b eval.Value, attrs ...onnx.Attr) []float32 {
		g, in := single(op, []eval.Value{f32([]int64{m, k}, x...), b}, nil, attrs, y)
		out, err := eval.Run(g, nil, in)
		if err != nil {
			t.Fatal(err)
		}
		return out["y"].F
	}
	got := run("MatMul", f32([]int64{k, n}, w...))
	if !slices.Equal(got, run("Gemm", f32([]int64{n, k}, wt...), intAttr("transB", 1))) {
		t.Error("Gemm with transB and MatMul differ in bits")
	}
	for i := range m {
		for j := range n {
			var total float32
			for k0 := 0; k0 < k; k0 += 32 {
				var sum float32
				for l := k0; l < min(k0+32, k); l++ {
					sum += float32(x[i*k+l] * w[l*n+j])
				}
				total += sum
			}
			if got[i*n+j] != total {
				t.Fatalf("MatMul[%d,%d] = %v, want %v", i, j, got[i*n+j], total)
			}
		}
	}
}

// TestFunctions measures the others against float64, with the bounds that
// docs/isa.md states.
func TestFunctions(t *testing.T) {
	for _, c := range []struct {
		name     string
		got      func(float32) float32
		want     func(float64) float64
		bound    float64
		absolute bool
	}{
		{"tanh", eval.Tanh, math.Tanh, 2.5e-7, false},
		{"gelu", eval.Gelu, func(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }, 1.5e-6, true},
		{"gelu_tanh", eval.GeluTanh, func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}, 1.5e-6, true},
	} {
		worst := 0.0
		for x := float32(-12); x < 12; x += 0.00137 {
			want := c.want(float64(x))
			d := math.Abs(float64(c.got(x)) - want)
			if !c.absolute {
				d /= math.Abs(want)
			}
			worst = max(worst, d)
		}
		if !(worst <= c.bound) {
			t.Errorf("%s is %.3g off, want at most %.3g", c.name, worst, c.bound)
		}
	}
}

// FuzzRun mutates encoded graphs: whatever decodes must run or fail, never
// panic.
func FuzzRun(f *testing.F) {
	x := f32([]int64{2, 4}, 1, 2, 3, 4, 5, 6, 7, 8)
	y := onnx.ValueInfo{Name: "y", DType: onnx.Float, Dims: []int64{2, 4}}
	for i, op := range slices.Sorted(slices.Values(eval.Operators())) {
		inputs := []eval.Value{x, x, x}[:1+i%3]
		m, _ := single(op, inputs, []onnx.Tensor{int64s("k", 4, 2)}, []onnx.Attr{intAttr("axis", 1)}, y)
		f.Add(m.Encode())
	}
	m, _ := single("DequantizeLinear", nil, []onnx.Tensor{
		{Name: "codes", DType: onnx.Int4, Dims: []int64{4, 2}, Raw: []byte{1, 2, 3, 4}},
		{Name: "scales", DType: onnx.Float, Dims: []int64{2, 2}, Raw: floatBytes(1, 2, 3, 4)},
	}, []onnx.Attr{intAttr("axis", 0), intAttr("block_size", 2)}, y)
	f.Add(m.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := onnx.Decode(b)
		if err != nil {
			return
		}
		in := map[string]eval.Value{}
		for _, v := range m.Graph.Inputs {
			n := int64(1)
			for _, d := range v.Dims {
				if d < 0 || d > 1<<10 || n*d > 1<<10 {
					return
				}
				n *= d
			}
			in[v.Name] = eval.Value{DType: v.DType, Dims: v.Dims, F: make([]float32, n), I: make([]int64, n)}
		}
		_, _ = eval.Run(m, nil, in)
	})
}

// BenchmarkGemm multiplies a group of tokens with a layer's matrix.
func BenchmarkGemm(b *testing.B) {
	const m, n, k = 128, 512, 256
	g := &onnx.Model{Opset: 23, Graph: onnx.Graph{
		Name:   "gemm",
		Inputs: []onnx.ValueInfo{{Name: "x", DType: onnx.Float, Dims: []int64{m, k}}, {Name: "w", DType: onnx.Float, Dims: []int64{n, k}}},
		Nodes: []onnx.Node{{Name: "y", Op: "Gemm", Inputs: []string{"x", "w"}, Outputs: []string{"y"}, Attrs: []onnx.Attr{
			{Name: "transB", Kind: onnx.AttrInt, Int: 1},
		}}},
		Outputs: []onnx.ValueInfo{{Name: "y", DType: onnx.Float, Dims: []int64{m, n}}},
	}}
	in := map[string]eval.Value{
		"x": {DType: onnx.Float, Dims: []int64{m, k}, F: make([]float32, m*k)},
		"w": {DType: onnx.Float, Dims: []int64{n, k}, F: make([]float32, n*k)},
	}
	for b.Loop() {
		if _, err := eval.Run(g, nil, in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(2*m*n*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}
