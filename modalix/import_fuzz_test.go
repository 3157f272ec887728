package modalix_test

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/modalix"
)

// TestImportNames checks that what is not supported is reported by name,
// operator and reason.
func TestImportNames(t *testing.T) {
	m := openModel(t)
	for _, c := range []struct {
		name, want string
		spoil      func(g *onnx.Graph)
	}{
		{"operator", `node "gate.sigmoid": Erf: operator is not supported`, func(g *onnx.Graph) { find(g, "gate.sigmoid").Op = "Erf" }},
		{"attribute", `node "o_proj": Gemm: attribute alpha = 2 is not supported`, func(g *onnx.Graph) {
			n := find(g, "o_proj")
			n.Attrs = append(n.Attrs, onnx.Attr{Name: "alpha", Kind: onnx.AttrFloat, Float: 2})
		}},
		{"missing input", `node "post_norm": RMSNormalization: input "nowhere" is not defined`, func(g *onnx.Graph) { find(g, "post_norm").Inputs[0] = "nowhere" }},
		{"unrounded", `is not rounded to BFLOAT16`, func(g *onnx.Graph) { find(g, "down_proj").Inputs[0] = "mlp" }},
		{"output", `output "hidden_out"`, func(g *onnx.Graph) { g.Outputs[0].Dims = []int64{3, 3} }},
	} {
		v := variants(m.cfg, 16)[3]
		g := m.graph(t, v, precisions[0].options)
		c.spoil(&g.Graph)
		_, err := modalix.DumpIR(g, modalix.Options{Name: v.name})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: DumpIR = %v, want an error with %q", c.name, err, c.want)
		}
	}
}

func find(g *onnx.Graph, name string) *onnx.Node {
	for i := range g.Nodes {
		if g.Nodes[i].Name == name {
			return &g.Nodes[i]
		}
	}
	return &onnx.Node{Inputs: make([]string, 1)}
}

// FuzzCompile mutates graphs of every kind of part: each is compiled or
// refused, without a panic.
func FuzzCompile(f *testing.F) {
	m := openModel(f)
	list := variants(m.cfg, 16)
	f.Add(uint8(0), []byte{})
	f.Add(uint8(1), []byte{1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add(uint8(4), []byte{0, 0, 0, 3, 4, 5})
	f.Fuzz(func(t *testing.T, which uint8, edits []byte) {
		v := list[int(which)%len(list)]
		g := m.graph(t, v, precisions[int(which)/len(list)%len(precisions)].options)
		mutate(&g.Graph, edits)
		zero := func(string) ([]byte, error) { return nil, io.ErrUnexpectedEOF }
		_ = modalix.CompilePart(g, zero, modalix.Options{Name: v.name}, io.Discard) // any error will do
	})
}

// FuzzCompileFamilies does the same with what other families have.
func FuzzCompileFamilies(f *testing.F) {
	type graph struct {
		m *model
		v variant
	}
	var list []graph
	for _, name := range []string{"lfm2-bias", "lfm2", "phi3-partial", "gemma2-full-first", "gemma3_text", "qwen2"} {
		m := openFolder(f, filepath.Join("..", "testdata", "models", "families", name))
		for _, v := range kindsOf(m.cfg, familySizes) {
			list = append(list, graph{m, v})
		}
	}
	for i := range list {
		f.Add(uint8(i), []byte{0, byte(i), 9, 5, byte(i), 3})
	}
	f.Fuzz(func(t *testing.T, which uint8, edits []byte) {
		x := list[int(which)%len(list)]
		g := x.m.graph(t, x.v, precisions[int(which)%3].options)
		mutate(&g.Graph, edits)
		_ = modalix.CompilePart(g, x.m.data, modalix.Options{Name: x.v.name}, io.Discard) // any error will do
	})
}

// mutate applies edits of three bytes: what, where, how.
func mutate(g *onnx.Graph, edits []byte) {
	for ; len(edits) >= 3; edits = edits[3:] {
		what, where, how := edits[0]%10, int(edits[1]), int(edits[2])
		if len(g.Nodes) == 0 || len(g.Initializers) == 0 {
			return
		}
		n := &g.Nodes[where%len(g.Nodes)]
		other := &g.Nodes[how%len(g.Nodes)]
		init := &g.Initializers[where%len(g.Initializers)]
		switch what {
		case 0:
			n.Op = other.Op
		case 1:
			if len(n.Inputs) > 0 && len(other.Outputs) > 0 {
				n.Inputs[how%len(n.Inputs)] = other.Outputs[0]
			}
		case 2:
			n.Inputs = other.Inputs
		case 3:
			n.Attrs = other.Attrs
		case 4:
			if len(n.Inputs) > 0 {
				n.Inputs = n.Inputs[:how%len(n.Inputs)]
			}
		case 5:
			in := &g.Inputs[where%len(g.Inputs)]
			if len(in.Dims) > 0 {
				in.Dims[how%len(in.Dims)] = []int64{0, 1, 2, -1, 33, 1 << 40, 48, 64}[how%8]
			}
		case 6:
			if len(init.Dims) > 0 {
				init.Dims[how%len(init.Dims)] = []int64{0, 1, 2, -1, 33, 1 << 40, 48, 64}[how%8]
			}
		case 7:
			init.Raw = init.Raw[:len(init.Raw)/2]
			init.DType = onnx.DataType(how % 24)
		case 8:
			g.Outputs[where%len(g.Outputs)] = onnx.ValueInfo{Name: g.Inputs[how%len(g.Inputs)].Name, DType: onnx.Float, Dims: []int64{16, 256}}
		case 9:
			if len(init.Raw) > 0 {
				init.Raw[how%len(init.Raw)] ^= byte(where)
			}
		}
	}
}
