package modalix_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix"
	"github.com/llima-build/llima/modalix/lower"
	"github.com/llima-build/llima/quant/rewrite"
)

// families lists the folders of a checkpoint of each family, and of two that
// have what the others have not.
func families(tb testing.TB) []string {
	tb.Helper()
	root := filepath.Join("..", "testdata", "models", "families")
	all, err := filepath.Glob(filepath.Join(root, "*", "golden", "config_expect.json"))
	if err != nil || len(all) < 10 {
		tb.Fatalf("%d families, %v, want 10 or more", len(all), err)
	}
	for i := range all {
		all[i] = filepath.Dir(filepath.Dir(all[i]))
	}
	return append(all, filepath.Join(root, "phi3-partial"), filepath.Join(root, "lfm2-bias"))
}

// kindsOf lists one graph of every kind that a model has: of a first layer
// of each type, of the last layer in both forms, and two windows of CACHE.
func kindsOf(cfg *arch.Config, p arch.Params) []variant {
	var out []variant
	logits := p
	logits.ReturnLogits = true
	seen := map[string]bool{}
	for _, id := range cfg.Parts() {
		last := id.Index == cfg.NumHiddenLayers-1
		kind := fmt.Sprint(id.Phase, id.Part, last && id.Part != addr.Pre && id.Part != addr.Cache)
		if seen[kind] {
			continue
		}
		seen[kind] = true
		switch name := id.FileName(); {
		case id.Part == addr.Cache:
			w := cfg.Windows(id.Phase, p)
			out = append(out, variant{name + "_first", id, p, w[0]}, variant{name + "_last", id, p, w[len(w)-1]})
		case last && id.Part != addr.Pre:
			out = append(out, variant{name + "_top", id, p, 0}, variant{name + "_logits", id, logits, 0})
		default:
			out = append(out, variant{name, id, p, 0})
		}
	}
	return out
}

var familySizes = arch.Params{ContextTokens: 128, GroupTokens: 16, MaskTokens: 32}

// TestFamilyGolden holds the intermediate form of what each family adds.
func TestFamilyGolden(t *testing.T) {
	for _, dir := range families(t) {
		m := openFolder(t, dir)
		for _, v := range kindsOf(m.cfg, familySizes) {
			if v.id.Phase == addr.Decode || v.params.ReturnLogits || v.window == familySizes.ContextTokens {
				continue
			}
			name := filepath.Base(dir) + "." + v.name
			got, err := modalix.DumpIR(m.graph(t, v, precisions[0].options), modalix.Options{Name: v.name})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			path := filepath.Join("testdata", "ir", "families", name+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(path); err != nil || got != string(want) {
				t.Errorf("%s: %v\n%swant\n%s", name, err, got, want)
			}
		}
	}
}

// TestFamiliesMatchEvaluator runs every kind of part of every family on the
// emulator and compares with the ONNX evaluator on the same graph.
func TestFamiliesMatchEvaluator(t *testing.T) {
	for _, dir := range families(t) {
		m := openFolder(t, dir)
		for _, i := range []int{0, 1, 3} { // one of each width
			matchKinds(t, filepath.Base(dir)+"/"+precisions[i].name, m, familySizes, precisions[i].options, lower.Limits{})
		}
		matchKinds(t, filepath.Base(dir)+"/small", m, familySizes, precisions[0].options, lower.Limits{S: 24 << 10, Tile: 2112})
	}
}

func matchKinds(t *testing.T, name string, m *model, p arch.Params, o rewrite.Options, limits lower.Limits) {
	t.Helper()
	for _, v := range kindsOf(m.cfg, p) {
		if v.id.Part == addr.Cache && o.Matrix.Bits != 16 {
			continue // no weights: equal programs
		}
		t.Run(name+"/"+v.name, func(t *testing.T) { compareWithin(t, m, v, o, limits, bounds{stepBound, stepBound}) })
	}
}
