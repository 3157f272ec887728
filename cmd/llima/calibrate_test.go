package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCalibratedExample builds examples/calibrated and measures it on a play
// that it was not calibrated on. The bounds are what was measured, and the
// 4 % by which recipes differ on one text.
func TestCalibratedExample(t *testing.T) {
	if os.Getenv("LLIMA_LONG") == "" {
		t.Skip("LLIMA_LONG is not set")
	}
	text, err := os.ReadFile("../../examples/calibrated/llima.hcl")
	if err != nil {
		t.Fatal(err)
	}
	data, err := filepath.Abs("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	// The folder for datasets must be within reach of a relative path.
	dir := t.TempDir()
	rel, err := filepath.Rel(dir, data)
	if err != nil {
		t.Fatal(err)
	}
	hcl := strings.ReplaceAll(string(text), "../../testdata", filepath.ToSlash(rel))
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(hcl), 0o600); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Evals []struct {
			Eval string
			KL   struct{ Mean float64 }
		}
	}
	if err := json.Unmarshal(llima(t, "eval", "-C", dir, "--json"), &got); err != nil {
		t.Fatal(err)
	}
	bounds := map[string]float64{"plain": 0.0098, "calibrated": 0.0026}
	for _, e := range got.Evals {
		t.Logf("%s: mean KL divergence %.5f", e.Eval, e.KL.Mean)
		if bound := bounds[e.Eval]; !(e.KL.Mean > 0 && e.KL.Mean < bound) {
			t.Errorf("%s: mean KL divergence %.5f, want less than %g", e.Eval, e.KL.Mean, bound)
		}
		delete(bounds, e.Eval)
	}
	if len(bounds) > 0 {
		t.Errorf("nothing was measured of %v", bounds)
	}
}
