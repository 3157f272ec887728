package rewrite_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/internal/addr"
)

// TestRoundingsShow evaluates every part of a group with the roundings of its
// activations and without: the difference is what a runtime that drops them
// would show, and must stand out from what TestONNXRuntime lets through.
func TestRoundingsShow(t *testing.T) {
	m := openBard(t)
	p := prompts[1].p
	r := newRunner(t, m, p, precision["int8"])
	r.record = func(name string, model *onnx.Model, in, out map[string]eval.Value) {
		plain := *model
		plain.Graph.Nodes = slices.Clone(model.Graph.Nodes)
		for i, n := range plain.Graph.Nodes {
			if n.Op == "Cast" && strings.HasSuffix(n.Name, ".bf16") {
				plain.Graph.Nodes[i].Attrs = []onnx.Attr{{Name: "to", Kind: onnx.AttrInt, Int: int64(onnx.Float)}}
			}
		}
		got, err := eval.Run(&plain, m.data, in)
		if err != nil {
			t.Fatal(err)
		}
		for o, v := range out {
			d := distanceOf(t, got[o].F, v.F)
			var average float64
			for _, x := range v.F {
				average += float64(max(x, -x)) / float64(len(v.F))
			}
			if d.mean < 0.0004*average {
				t.Errorf("%s: %s without roundings differs by %.3g of the average, want more than 0.0004", name, o, d.mean/average)
			}
		}
	}
	g := readGolden(t, "medium", m.cfg.NumHiddenLayers)
	e := m.embed(t, g.ids)
	group := p.GroupTokens * m.cfg.HiddenSize
	r.forward(t, addr.Prefill, 0, e[:group])
	r.forward(t, addr.Prefill, p.GroupTokens, e[group:])
}
