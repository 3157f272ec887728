package modalix_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/lower"
	"github.com/llima-build/llima/quant/rewrite"
)

// TestHubShapes makes programs of every kind of part in the shapes of models
// on the hub, without weights: they fit into the machine, in each precision,
// with groups of 128 tokens and windows of up to 4096.
func TestHubShapes(t *testing.T) {
	b, err := os.ReadFile("../formats/arch/testdata/configs.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name   string
		Config json.RawMessage
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	models := 0
	for _, c := range cases {
		if strings.Contains(c.Name, "{") {
			continue // a variation
		}
		models++
		cfg, err := arch.Parse(c.Config)
		if err != nil {
			t.Fatal(err)
		}
		m := &model{cfg: cfg, tensors: map[string]weight{}, files: map[string][]byte{}, uses: map[string]rewrite.WeightUse{}}
		p := arch.Params{ContextTokens: 4096, GroupTokens: 128, MaskTokens: 128}
		for _, o := range []rewrite.Options{inFormat(16, 0), inFormat(4, 32)} {
			for _, v := range kindsOf(cfg, p) {
				t.Run(c.Name+"/"+o.Matrix.String()+"/"+v.name, func(t *testing.T) { lowerOnly(t, m, v, o) })
			}
		}
	}
	if models < 15 {
		t.Errorf("%d models, want 15 or more", models)
	}
}

// lowerOnly makes a program whose vectors are zero and whose matrices nobody
// reads.
func lowerOnly(t *testing.T, m *model, v variant, o rewrite.Options) {
	t.Helper()
	lookup := func(name string) (tensor.DType, []int, onnx.External, error) {
		shape, err := m.cfg.Shape(name)
		info := tensor.Info{Name: name, DType: tensor.BF16, Shape: shape}
		size, err2 := info.SizeBytes()
		if err == nil {
			err = err2
		}
		return tensor.BF16, shape, onnx.External{Location: name, Length: size}, err
	}
	zeros := func(name string) ([]byte, error) {
		_, _, at, err := lookup(name)
		return make([]byte, at.Length), err
	}
	graphs, err := m.cfg.Build(v.id, v.params, lookup)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range graphs {
		if g.Window != v.window {
			continue
		}
		q, _, err := rewrite.Rewrite(g.Model, o, zeros)
		if err != nil {
			t.Fatal(err)
		}
		f, err := ir.Import(q, v.name)
		if err != nil {
			t.Fatal(err)
		}
		if err := ir.Run(f); err != nil {
			t.Fatal(err)
		}
		p, err := lower.Lower(f, lower.MachineLimits())
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Code) < 3 {
			t.Errorf("%d instructions", len(p.Code))
		}
	}
}
