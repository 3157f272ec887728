package rewrite_test

import (
	"path/filepath"
	"testing"

	"github.com/llima-build/llima/formats/arch"
)

const familiesDir = "../../testdata/models/families"

// families lists the folders of checkpoints of every family.
func families(tb testing.TB) []string {
	tb.Helper()
	all, err := filepath.Glob(filepath.Join(familiesDir, "*", "config.json"))
	if err != nil || len(all) < 10 {
		tb.Fatalf("%d families, %v, want 10 or more", len(all), err)
	}
	for i := range all {
		all[i] = filepath.Dir(all[i])
	}
	return all
}

// familySizes have pad rows, groups shorter than windows that slide, and
// several windows.
var familySizes = arch.Params{ContextTokens: 96, GroupTokens: 12, MaskTokens: 24, ReturnLogits: true}

// floatBound is that of float graphs: the order of float32 sums.
const floatBound = 3e-6

// TestFamilies compares the float and the BF16 graphs of every family with
// transformers in float32: hidden states after each layer, and logits. Bounds
// are of the average difference, as a part of the standard deviation.
func TestFamilies(t *testing.T) {
	for _, dir := range families(t) {
		for _, prompt := range []string{"short", "long"} {
			for name, bound := range map[string]struct{ hidden, logits float64 }{"float": {floatBound, floatBound}, "bf16": {0.02, 0.03}} {
				t.Run(filepath.Base(dir)+"/"+prompt+"/"+name, func(t *testing.T) {
					m := openModel(t, dir)
					g := goldenOf(t, dir, prompt, m.cfg.NumHiddenLayers)
					hidden, logits := newRunner(t, m, familySizes, precision[name]).logits(t, g.ids)
					for l, h := range hidden {
						if part := distanceOf(t, h, g.hidden[l]).mean / deviation(g.hidden[l]); part > bound.hidden {
							t.Errorf("hidden.%d differs by %.3g of its standard deviation on average, bound %.3g", l, part, bound.hidden)
						}
					}
					d := distanceOf(t, logits, g.logits)
					part := d.mean / deviation(g.logits)
					t.Logf("logits differ by %.3g of their standard deviation on average", part)
					if part > bound.logits {
						t.Errorf("logits differ by %.3g of their standard deviation on average, bound %.3g", part, bound.logits)
					}
				})
			}
		}
	}
}

// TestGeluShows takes the other gelu: the two are closer to each other than
// BF16 comes to either, but not than float graphs do.
func TestGeluShows(t *testing.T) {
	for _, name := range []string{"gemma", "gemma2", "gemma3_text", "gemma-legacy-gelu"} {
		dir := filepath.Join(familiesDir, name)
		m := openModel(t, dir)
		if m.cfg.Activation != arch.GeluTanh {
			t.Fatalf("%s: activation %s, want %s", name, m.cfg.Activation, arch.GeluTanh)
		}
		m.cfg.Activation = arch.Gelu
		g := goldenOf(t, dir, "long", m.cfg.NumHiddenLayers)
		_, logits := newRunner(t, m, familySizes, nil).logits(t, g.ids)
		p := distanceOf(t, logits, g.logits).mean / deviation(g.logits)
		t.Logf("%s: logits differ by %.3g of their standard deviation with the other gelu", name, p)
		if !(p > 10*floatBound) {
			t.Errorf("%s: logits differ by %.3g of their standard deviation with the other gelu, which the bound of %.3g hides", name, p, floatBound)
		}
	}
}
