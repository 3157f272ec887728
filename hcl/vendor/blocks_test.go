package vendor_test

import (
	"math/rand/v2"
	"testing"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/hcl/vendor"
	"github.com/llima-build/llima/internal/addr"
)

// weightParts lists the parts with weights of a model whose layers attend, but for
// those that are listed.
func weightParts(layers int, conv ...int) []addr.PartID {
	isConv := map[int]bool{}
	for _, l := range conv {
		isConv[l] = true
	}
	var out []addr.PartID
	for _, phase := range addr.Phases {
		for l := range layers {
			if isConv[l] {
				out = append(out, addr.PartID{Phase: phase, Part: addr.Conv, Index: l})
				continue
			}
			out = append(out, addr.PartID{Phase: phase, Part: addr.Pre, Index: l}, addr.PartID{Phase: phase, Part: addr.Post, Index: l})
		}
	}
	return out
}

// TestLayerBlocks pastes blocks into a model and asks its rules about each part.
func TestLayerBlocks(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for n := range 60 {
		layers := 1 + rng.IntN(12)
		parts := weightParts(layers)
		if n%3 == 0 && layers > 2 {
			parts = weightParts(layers, 0, layers-1)
		}
		want := map[addr.PartID]config.Precision{}
		for _, id := range parts {
			p := config.Precisions[rng.IntN(3)]
			if n%2 == 0 && id.Phase == addr.Prefill && id.Index > 1 { // what a search finds is not all random
				p = config.INT8
			}
			want[id] = p
		}
		blocks, diags := vendor.LayerBlocks(want)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		text := "model \"m\" {\n  source = \"x\"\n\n" + blocks + "}\n"
		cfg, diags := load.Source("llima.hcl", []byte(text), load.Options{})
		if diags.HasErrors() {
			t.Fatalf("%v\n%s", diags, text)
		}
		props := config.Properties{NumHiddenLayers: layers, Architecture: "llama", Format: "hf"}
		for _, id := range parts {
			d, ds := cfg.Models[0].Rules.Decide(props, config.Layer{PartID: id, FromEnd: layers - id.Index})
			if ds.HasErrors() || d.Precision != want[id] || !d.Compile || d.Rule < 0 {
				t.Errorf("%v is %v by rule %d, want %v; %v\n%s", id, d.Precision, d.Rule, want[id], ds, text)
			}
		}
	}
}

// TestLayerBlocksText holds what a person pastes.
func TestLayerBlocksText(t *testing.T) {
	want := map[addr.PartID]config.Precision{}
	for _, id := range weightParts(4) {
		want[id] = config.INT4
		if id.Part == addr.Post && id.Index == 3 {
			want[id] = config.BF16
		} else if id.Phase == addr.Prefill && id.Part == addr.Pre {
			want[id] = config.INT8
		}
	}
	got, diags := vendor.LayerBlocks(want)
	const text = `  layer "pre_prefill" {
    when      = layer.part == "PRE" && layer.is_group
    precision = "A_BF16_W_INT8"
  }

  layer "post_layer_3" {
    when      = layer.part == "POST" && layer.index == 3
    precision = "BF16"
  }

  layer "rest" {
    precision = "A_BF16_W_INT4"
  }
`
	if diags.HasErrors() || got != text {
		t.Errorf("%v\n%s, want\n%s", diags, got, text)
	}
}
