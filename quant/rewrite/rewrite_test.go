package rewrite_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/rewrite"
)

// TestGraphsAreSound checks what every reader of a graph relies on: names that
// are unique, definitions before uses, a type for every value, matrices that
// are external and vectors that are not.
func TestGraphsAreSound(t *testing.T) {
	m := oddModel(t, tensor.BF16)
	for name, o := range oddOptions() {
		for _, id := range m.cfg.Parts() {
			for _, g := range m.build(t, id, oddSizes, o) {
				for _, problem := range problems(&g.Model.Graph, o != nil) {
					t.Errorf("%s %s: %s", name, g.Name, problem)
				}
				back, err := onnx.Decode(g.Model.Encode())
				if err != nil || !bytes.Equal(back.Encode(), g.Model.Encode()) {
					t.Errorf("%s %s does not survive encoding: %v", name, g.Name, err)
				}
			}
		}
	}
}

func problems(g *onnx.Graph, quantised bool) (out []string) {
	defined, typed, nodes := map[string]bool{}, map[string]bool{}, map[string]bool{}
	define := func(name string) {
		if defined[name] {
			out = append(out, name+" is defined twice")
		}
		defined[name] = true
	}
	for _, v := range g.Inputs {
		define(v.Name)
	}
	for _, i := range g.Initializers {
		define(i.Name)
		if quantised && len(i.Dims) == 1 && i.External != nil && !strings.HasSuffix(i.Name, ".scales") {
			out = append(out, i.Name+" is an external vector")
		}
	}
	for _, v := range slices.Concat(g.Values, g.Outputs) {
		if typed[v.Name] {
			out = append(out, v.Name+" has two types")
		}
		typed[v.Name] = true
	}
	for _, n := range g.Nodes {
		if nodes[n.Name] || n.Name == "" {
			out = append(out, "two nodes are called "+n.Name)
		}
		nodes[n.Name] = true
		for _, in := range n.Inputs {
			if !defined[in] {
				out = append(out, n.Name+" reads "+in+", which is not defined yet")
			}
		}
		for _, o := range n.Outputs {
			define(o)
			if !typed[o] {
				out = append(out, o+" has no type")
			}
		}
	}
	return out
}

// TestCacheIsShared checks that the graphs without weights are the same bytes
// whatever the precision.
func TestCacheIsShared(t *testing.T) {
	m := oddModel(t, tensor.BF16)
	id := addr.PartID{Part: addr.Cache, Index: 1}
	want := m.build(t, id, oddSizes, precision["bf16"])
	for name, o := range oddOptions() {
		if o == nil {
			continue
		}
		for i, g := range m.build(t, id, oddSizes, o) {
			if !bytes.Equal(g.Model.Encode(), want[i].Model.Encode()) {
				t.Errorf("%s: %s differs from that of BF16", name, g.Name)
			}
		}
	}
}

func TestWeightUses(t *testing.T) {
	m := oddModel(t, tensor.F16)
	post := addr.PartID{Part: addr.Post, Index: 1}
	float := m.build(t, post, oddSizes, nil)[0].Model
	before := float.Encode()
	_, uses, err := rewrite.Rewrite(float, *precision["int4"], m.data)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, float.Encode()) {
		t.Error("Rewrite changed the float graph")
	}
	int4 := quant.Format{Bits: 4, GroupSize: 32}
	want := []rewrite.WeightUse{
		use("model.layers.1.self_attn.o_proj.weight", int4, 72, 72),
		use("model.layers.1.mlp.gate_proj.weight", int4, 104, 72),
		use("model.layers.1.mlp.up_proj.weight", int4, 104, 72),
		use("model.layers.1.mlp.down_proj.weight", int4, 72, 104),
		use("lm_head.weight", quant.Format{Bits: 8}, 301, 72),
	}
	if !slices.Equal(uses, want) {
		t.Errorf("Rewrite = %+v, want %+v", uses, want)
	}
}

func use(name string, f quant.Format, n, k int) rewrite.WeightUse {
	return rewrite.WeightUse{Tensor: name, Location: "weights/" + name + "." + f.String(), Format: f, N: n, K: k, SizeBytes: f.SizeBytes(n, k)}
}

func TestRewriteErrors(t *testing.T) {
	m := oddModel(t, tensor.BF16)
	pre := addr.PartID{Part: addr.Pre}
	graph := func() *onnx.Model { return m.build(t, pre, oddSizes, nil)[0].Model }
	gone := errors.New("gone")
	for _, c := range []struct {
		o      rewrite.Options
		data   rewrite.Data
		change func(g *onnx.Graph)
		want   string
	}{
		{rewrite.Options{Matrix: quant.Format{Bits: 2}}, m.data, nil, "2 bits, want 16, 8 or 4"},
		{rewrite.Options{Matrix: quant.Format{Bits: 4, GroupSize: 20}}, m.data, nil, "group size 20"},
		{*precision["bf16"], func(string) ([]byte, error) { return nil, gone }, nil, "gone"},
		{*precision["bf16"], func(string) ([]byte, error) { return make([]byte, 10), nil }, nil, "which has 10"},
		{*precision["bf16"], m.data, func(g *onnx.Graph) {
			i := slices.IndexFunc(g.Nodes, func(n onnx.Node) bool { return n.Op == "Gemm" })
			g.Nodes[i].Inputs[1] = "hidden"
		}, `operand "hidden" is no matrix of the checkpoint`},
	} {
		g := graph()
		if c.change != nil {
			c.change(&g.Graph)
		}
		if _, _, err := rewrite.Rewrite(g, c.o, c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Rewrite(%+v) = %v, want %q", c.o, err, c.want)
		}
	}
}
