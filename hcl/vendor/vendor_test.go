package vendor_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/vendor"
	"github.com/llima-build/llima/internal/addr"
)

var update = flag.Bool("update", false, "rewrite golden files")

var (
	props = config.Properties{NumHiddenLayers: 28, Architecture: "llama", Format: "hf"}
	layer = config.Layer{PartID: addr.PartID{Part: addr.Pre}, FromEnd: 28}
)

// partsOf lists the parts of a model with layers layers, and of its vision
// tower where it has one.
func partsOf(layers int, vision bool) []addr.PartID {
	var out []addr.PartID
	if vision {
		out = append(out, addr.PartID{Part: addr.Vision})
	}
	for l := range layers {
		for _, phase := range addr.Phases {
			for _, part := range []addr.Part{addr.Pre, addr.Cache, addr.Post} {
				out = append(out, addr.PartID{Phase: phase, Part: part, Index: l})
			}
		}
	}
	return out
}

// TestImport holds what each configuration file becomes for a model of 28
// layers and a vision tower. Import itself proves that it decides alike.
func TestImport(t *testing.T) {
	files, err := filepath.Glob("../python/testdata/configs/*.py")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d scripts: %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".py")
		t.Run(name, func(t *testing.T) {
			line := []string{"-c", filepath.Base(file), "Llama-3.2-3B-Instruct", "-o", "out/" + name, "--enable_filter_sharing"}
			a, err := vendor.Parse(line)
			if err != nil {
				t.Fatal(err)
			}
			dir, err := filepath.Abs(filepath.Dir(file))
			if err != nil {
				t.Fatal(err)
			}
			cfg, diags := a.Config(t.Context(), dir, nil)
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			text, diags := vendor.Import(a, line, filepath.Join(dir, "llima.hcl"), cfg.Models[0], props, partsOf(28, true))
			got := string(text)
			for _, d := range diags {
				got += d.Subject.String() + ": " + d.Summary + ": " + d.Detail + "\n  " + strings.Join(d.Values, ", ") + "\n"
			}
			golden(t, filepath.Join("testdata", name+".golden"), got)
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// TestQuantised asks a configuration file about a model whose weights are
// quantised already: its precisions are not used, and a note says so.
func TestQuantised(t *testing.T) {
	dir := t.TempDir()
	script := "def get_layer_configuration(m, layer):\n    if layer['part'] == 'CACHE':\n        return {'precision': 'BF16', 'compile': layer['index'] < 2}\n    return {'precision': 'A_BF16_W_INT4'}\n"
	if err := os.WriteFile(filepath.Join(dir, "config.py"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	line := []string{"x.gguf", "-c", "config.py"}
	a, err := vendor.Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	cfg, diags := a.Config(t.Context(), dir, nil)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	quantised := props
	quantised.Format = "gguf"
	d, notes := cfg.Models[0].Rules.Decide(quantised, layer)
	if d.Precision != config.BF16 || len(notes) != 1 || notes.HasErrors() || notes[0].Summary != "Precision has no effect" {
		t.Errorf("Decide = %+v, %v, want the default and a note", d, notes)
	}
	text, diags := vendor.Import(a, line, filepath.Join(dir, "llima.hcl"), cfg.Models[0], quantised, partsOf(4, false))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if s := string(text); strings.Contains(s, "precision") || !strings.Contains(s, `layer.part == "CACHE" && layer.index >= 2`) || !strings.Contains(s, `output = "x"`) {
		t.Errorf("Import = %s, want no precision, and the rule for CACHE", s)
	}
}

// TestImportNames imports command lines whose paths HCL would take apart if
// they were not written with care.
func TestImportNames(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a b", `q"uote`, "${var.x}", "%{if true}", `back\slash`, "#x", "tab\tnew\nline", "模型", "-dash", "a'b", "..hidden", "$${x}"} {
		line := []string{"--max_num_tokens", "512", "--output", "out/" + name, "--", name}
		a, err := vendor.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		cfg, diags := a.Config(t.Context(), dir, nil)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		text, diags := vendor.Import(a, line, filepath.Join(dir, "llima.hcl"), cfg.Models[0], config.Properties{}, nil)
		if diags.HasErrors() {
			t.Errorf("%q: %v\n%s", name, diags, text)
		}
	}
}

// TestEndless asks a configuration file that never answers: once is enough.
func TestEndless(t *testing.T) {
	dir := t.TempDir()
	script := "def get_layer_configuration(m, layer):\n    while layer['index'] > 3:\n        pass\n    return {}\n"
	if err := os.WriteFile(filepath.Join(dir, "config.py"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	a, err := vendor.Parse([]string{"m", "-c", "config.py"})
	if err != nil {
		t.Fatal(err)
	}
	cfg, diags := a.Config(t.Context(), dir, nil)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	errors := 0
	for _, id := range partsOf(28, false) {
		_, diags := cfg.Models[0].Rules.Decide(props, config.Layer{PartID: id, FromEnd: 28 - id.Index})
		errors += len(diags)
	}
	if errors != 1 {
		t.Errorf("%d errors, want 1", errors)
	}
}
