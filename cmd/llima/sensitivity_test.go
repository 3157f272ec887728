package main_test

import (
	"encoding/json"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix/measure"
)

// sensitivityDocument is what eval --sensitivity --json prints.
type sensitivityDocument struct {
	Model    string   `json:"model"`
	Phases   []string `json:"measured_phases"`
	Size     int64    `json:"size_bytes"`
	Frontier []struct {
		Size     int64   `json:"size_bytes"`
		KL       float64 `json:"kl"`
		Measured *struct {
			KL       float64            `json:"kl"`
			Interval *[2]float64        `json:"kl_ci95"`
			Phases   map[string]float64 `json:"phases"`
		} `json:"measured"`
		Changed []struct {
			Part      string `json:"part"`
			Precision string `json:"precision"`
		} `json:"changed"`
	} `json:"frontier"`
	Changes []struct {
		Part      string  `json:"part"`
		Precision string  `json:"precision"`
		Saved     int64   `json:"saved_bytes"`
		KL        float64 `json:"kl"`
		Floor     float64 `json:"floor"`
		Share     float64 `json:"share"`
	} `json:"changes"`
	Chosen *struct {
		Point  int    `json:"point"`
		Layers string `json:"layers"`
	} `json:"chosen"`
}

func sensitivity(t *testing.T, dir, text string, flags ...string) sensitivityDocument {
	t.Helper()
	var d sensitivityDocument
	out := llima(t, append([]string{"eval", "m", "-C", dir, "--sensitivity", "--text", text, "--window", "128", "--max-windows", "2", "--json", "--progress=quiet"}, flags...)...)
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return d
}

// TestSensitivityPasted pastes the layer blocks of points of the frontier into
// the model and builds it: plan and disk agree with the size that was
// predicted, and what llima eval measures of the build with what was measured
// of its programs one by one.
func TestSensitivityPasted(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for settings, limits := range map[string][]string{
		"": {"--max-kl=0.003"},
		"  enable_filter_sharing = true\n  quantize_embeddings = true\n": {"--max-size=6200KiB"},
	} {
		dir, text := sensitivityProject(t, settings)
		llima(t, "build", "-C", dir, "--progress=quiet", "BF16")
		for _, limit := range limits {
			d := sensitivity(t, dir, text, limit)
			p := d.Frontier[d.Chosen.Point]
			writeProject(t, dir, root, settings+d.Chosen.Layers)
			var plan struct {
				Models []struct {
					Sizes struct {
						Size int64 `json:"size_bytes"`
					} `json:"sizes"`
				} `json:"models"`
			}
			if err := json.Unmarshal(llima(t, "plan", "-C", dir, "--json", "m"), &plan); err != nil {
				t.Fatal(err)
			}
			within(t, limit+": size in the plan", p.Size, plan.Models[0].Sizes.Size, 0.0001)
			llima(t, "build", "-C", dir, "--progress=quiet", "m")
			out := filepath.Join(dir, "out/m/sima_files")
			within(t, limit+": size on disk", p.Size, size(t, filepath.Join(out, "elf_files/*.elf"))+size(t, filepath.Join(out, "devkit/embeddings.bin"))+size(t, filepath.Join(out, "devkit/rope_*.npy")), 0.01)
			for _, phase := range []string{"prefill", "decode"} {
				checkPasted(t, dir, text, limit+" "+phase, phase, p.Measured.Phases[phase], settings != "")
			}
			if limit == "--max-kl=0.003" && p.Measured.KL > 0.003 {
				t.Errorf("%s chose a point that loses %g", limit, p.Measured.KL)
			}
			checkPredicted(t, limit, d)
		}
	}
}

// checkPredicted holds that single parts tell what mixtures of them lose,
// within a quarter on the few tokens of this text.
func checkPredicted(t *testing.T, what string, d sensitivityDocument) {
	t.Helper()
	measured := 0
	for i, p := range d.Frontier {
		if p.Measured == nil || i == 0 {
			continue
		}
		measured++
		t.Logf("%s: point %d: predicted %.3g, measured %.3g", what, i, p.KL, p.Measured.KL)
		if off := p.KL/p.Measured.KL - 1; math.Abs(off) > 0.25 {
			t.Errorf("%s: point %d: predicted %.4g, measured %.4g: off by %.0f %%", what, i, p.KL, p.Measured.KL, 100*off)
		}
	}
	if measured < 6 {
		t.Errorf("%s: %d points are measured, want 6 or more", what, measured)
	}
}

// checkPasted measures a build. Its embeddings may be quantised too, which is
// a loss that no part has.
func checkPasted(t *testing.T, dir, text, what, phase string, want float64, embeddings bool) {
	t.Helper()
	own, reference := openMeasured(t, dir, "m"), openMeasured(t, dir, "BF16")
	id := addr.Prefill
	if phase == "decode" {
		id = addr.Decode
	}
	r, err := measure.Compare(t.Context(), measure.Options{Model: own, Reference: reference, Windows: cutText(t, reference, text)[:2], Phase: id})
	if err != nil {
		t.Fatal(err)
	}
	got := r.Reference.KL.Value
	tolerance := 1e-4*want + 1e-9
	if embeddings {
		tolerance = 0.1*want + 1e-4
	}
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s: the build loses %.8g, its parts together %.8g", what, got, want)
	}
}

// TestSensitivityDocument holds what the document says of each part.
func TestSensitivityDocument(t *testing.T) {
	dir, text := sensitivityProject(t, "  layer \"gone\" {\n    when = layer.part == \"POST\" && layer.index == 1 && !layer.is_group\n    compile = false\n  }\n")
	auto, both := sensitivity(t, dir, text), sensitivity(t, dir, text, "--phase=both", "--jobs=2")
	if !slices.Equal(both.Phases, []string{"prefill", "decode"}) {
		t.Errorf("measured %v, want both phases", both.Phases)
	}
	parts := map[string]bool{}
	sums := map[string]float64{}
	for i, c := range both.Changes {
		parts[c.Part+" "+c.Precision] = true
		phase, _, _ := strings.Cut(c.Part, ".")
		sums[phase+c.Precision] += c.Share
		if a := auto.Changes[i]; a.Part != c.Part || math.Abs(a.KL-c.KL) > 0.01*c.KL {
			t.Errorf("%v measured in both phases, %v with one that stands for both", c, a)
		}
		if c.Saved <= 0 || c.KL <= 0 {
			t.Errorf("%v saves or loses nothing", c)
		}
		if last := strings.HasSuffix(c.Part, "POST.3"); last != (c.Floor == 0) || c.Precision == "A_BF16_W_INT4" && c.Floor > c.KL/2 {
			t.Errorf("%v: the floor is %g", c, c.Floor)
		}
	}
	if len(parts) != 2*(16-1) || parts["decode.POST.1 A_BF16_W_INT8"] {
		t.Errorf("%d changes of 15 parts: %v", len(parts), parts)
	}
	for group, sum := range sums {
		if math.Abs(sum-100) > 1e-6 {
			t.Errorf("shares of %s are %g %% in all", group, sum)
		}
	}
	last := both.Frontier[len(both.Frontier)-1]
	for _, p := range both.Frontier[1:] {
		if len(p.Changed) != 1 {
			t.Errorf("a point changes %v, want one part", p.Changed)
		}
	}
	if first := both.Frontier[0]; first.Size != both.Size || first.KL != 0 || last.Measured == nil {
		t.Errorf("the frontier goes from %+v to %+v", first, last)
	}
}
