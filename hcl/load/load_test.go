package load_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/internal/diag"
)

// TestDefaults holds the smallest model.
func TestDefaults(t *testing.T) {
	m := mustLoad(t, `model "a" { source = "models/x" }`).Models[0]
	m.Rules = nil
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	if m.Source != filepath.Join(root, "models", "x") || m.Output != filepath.Join(root, "a") || m.SourceText != "models/x" || m.OutputText != "a" {
		t.Errorf("paths are %q (%q), %q (%q)", m.Source, m.SourceText, m.Output, m.OutputText)
	}
	got := fmt.Sprintf(strings.Repeat(",%v", 13)[1:], m.Format, m.ContextTokens, m.GroupTokens, m.MaskTokens, m.EnableFilterSharing, m.QuantizeEmbeddings,
		m.ReturnLogits, m.ExternalData, m.Precision, m.LoRA, m.LoRARank, m.Convert, len(m.Unsupported))
	if want := "auto,1024,128,128,false,false,false,auto,BF16,LORA_DISABLED,0,,0"; got != want {
		t.Errorf("defaults are %s, want %s", got, want)
	}
}

// TestExpansion holds the names and order of copies.
func TestExpansion(t *testing.T) {
	cfg := mustLoad(t, `
model "each" {
  for_each       = { short = 1024, long = 4096 }
  source         = "../models/x"
  output         = "out/${each.key}"
  context_length = each.value
}
model "set" {
  for_each = toset(["y", "x"])
  source   = each.value
}
model "matrix" {
  matrix         = { ctx = [1024, 2048], board = ["b", "a"] }
  source         = "x/${each.value.board}"
  context_length = each.value.ctx
}
model "none" {
  for_each = {}
  source   = "x"
}`)
	var got []string
	for _, m := range cfg.Models {
		got = append(got, fmt.Sprintf("%s %s %s %d", m.Name, m.SourceText, m.OutputText, m.ContextTokens))
	}
	want := []string{
		"each-long ../models/x out/long 4096", "each-short ../models/x out/short 1024",
		"set-x x set-x 1024", "set-y y set-y 1024",
		"matrix-a-1024 x/a matrix-a-1024 1024", "matrix-a-2048 x/a matrix-a-2048 2048",
		"matrix-b-1024 x/b matrix-b-1024 1024", "matrix-b-2048 x/b matrix-b-2048 2048",
	}
	if !slices.Equal(got, want) {
		t.Errorf("models are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestUnsupported holds blocks of later stages: checked, and named to build.
func TestUnsupported(t *testing.T) {
	cfg := mustLoad(t, `
model "a" {
  source                = "x"
  enable_filter_sharing = true
  lora_rank             = 16
  layer "all" { lora = "LORA_BRANCH" }
  adapter "one" { path = "../adapters/${local.name}" }
  vision {
    height = 448
    width  = 448
  }
  calibration { dataset = "d.txt" }
  quantization { group_size = 64 }
  budget {
    max_size = "4GiB"
    max_dram = plan.dram
  }
  origin {
    repo     = "org/name"
    revision = "main"
  }
}
locals { name = "a" }
model "b" { source = "x.gguf" }
model "c" {
  source = "x"
  output = "c2"
}
eval "e" {
  model   = model.a
  dataset = "d.txt"
  metric  = "kl"
}
backend "modalix" { board = "modalix-16gb" }
executor {
  jobs   = 4
  remote = "grpc://elsewhere"
}
cache { max_size = bytes("1GiB") }
`)
	for i, want := range []int{4, 0, 0} {
		if got := cfg.Models[i].Unsupported; len(got) != want {
			t.Errorf("model %s: %d unsupported, want %d: %v", cfg.Models[i].Name, len(got), want, got)
		}
	}
	if len(cfg.Unsupported) != 1 {
		t.Errorf("%d unsupported, want 1: %v", len(cfg.Unsupported), cfg.Unsupported)
	}
	if o := cfg.Models[0].Origin; o.Repo != "org/name" || o.Revision != "main" {
		t.Errorf("Origin = %+v", o)
	}
}

const variables = `
variable "ctx" {
  type    = number
  default = 1
  env     = "LLIMA_CTX"
}
variable "name" {
  type    = string
  default = "d"
}
locals { unused = 1 }
model "a" {
  source = "x-${var.ctx}-${var.name}"
}
`

// TestVariablePrecedence holds which source of a value wins.
func TestVariablePrecedence(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, load.FileName)
	write := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write(load.FileName, variables)
	var opts load.Options
	check := func(want, from string) {
		t.Helper()
		cfg, diags := load.Load(file, opts)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		v := cfg.Variables[0]
		if got := cfg.Models[0].SourceText; got != want || !strings.HasSuffix(v.From, from) || v.Name != "ctx" {
			t.Errorf("source = %q from %+v, want %q from %s", got, v, want, from)
		}
	}
	check("x-1-d", "default")
	write(load.VarsFileName, "ctx = 2\nname = \"f\"\n")
	check("x-2-f", "llima.vars.hcl:1")
	opts.VarFiles = []string{write("a.hcl", "ctx = 3"), write("b.hcl", "\nctx = 4")}
	check("x-4-f", "b.hcl:2")
	opts.Env = func(name string) (string, bool) { return "5", name == "LLIMA_CTX" }
	check("x-5-f", "LLIMA_CTX")
	opts.Vars = map[string]string{"ctx": "3 * 2", "name": "1 + 1"}
	check("x-6-1 + 1", "--var")

	for name, vars := range map[string]map[string]string{
		"Undeclared variable":        {"ctxt": "1"},
		"Invalid value for variable": {"ctx": "true"},
		"Unknown name":               {"ctx": "local.unused"},
		"Division by zero":           {"ctx": "1 / 0"},
	} {
		if _, diags := load.Load(file, load.Options{Vars: vars}); len(diags) != 1 || diags[0].Summary != name {
			t.Errorf("Load with --var %v = %v, want %s", vars, diags, name)
		}
	}
	write(load.VarsFileName, "ctxx = 2\nblock {}\n")
	if _, diags := load.Load(file, load.Options{}); len(diags) != 2 || !strings.Contains(diags.Error(), `Did you mean "ctx"?`) {
		t.Errorf("Load with a bad %s = %v", load.VarsFileName, diags)
	}
}

// TestRequiredVersion holds the comparisons of versions.
func TestRequiredVersion(t *testing.T) {
	for _, c := range []struct {
		constraint, version string
		ok                  bool
	}{
		{">= 0.1", "0.1.0", true},
		{">= 0.1, < 0.3", "0.2.7", true},
		{">= 0.1, < 0.3", "0.3.0", false},
		{"0.2", "0.2.0", true},
		{"!= 0.2.1", "0.2.1", false},
		{"> 1", "v1.0.1", true},
		{"~> 1", "1.0.0", false},
		{"latest", "1.0.0", false},
		{">= 9", "", true},
	} {
		_, diags := load.Source("llima.hcl", fmt.Appendf(nil, "llima {\n  required_version = %q\n}\n", c.constraint), load.Options{Version: c.version})
		if diags.HasErrors() == c.ok {
			t.Errorf("required_version %q with %q: %v, want ok = %v", c.constraint, c.version, diags, c.ok)
		}
	}
}

// TestFind holds the walk upward and what is said at its end.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	var list diag.List
	if _, err := load.Find(deep); !errors.As(err, &list) || !strings.Contains(list.Error(), "Write one") {
		t.Errorf("Find without a file = %v, want a diagnostic with the fix", err)
	}
	want := filepath.Join(dir, load.FileName)
	if err := os.WriteFile(want, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := load.Find(deep); err != nil || got != want {
		t.Errorf("Find(%s) = %q, %v, want %q", deep, got, err, want)
	}
	t.Chdir(deep)
	if got, err := load.Find("."); err != nil || got != filepath.Join("..", "..", load.FileName) {
		t.Errorf("Find(.) = %q, %v", got, err)
	}
	for _, file := range []string{dir, filepath.Join(dir, "none.hcl")} {
		if cfg, diags := load.Load(file, load.Options{}); cfg == nil || !diags.HasErrors() {
			t.Errorf("Load(%s) = %v, %v, want an error", file, cfg, diags)
		}
	}
}

// TestLinkedOutputs holds that two spellings of one folder are one folder.
func TestLinkedOutputs(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	text := "model \"a\" {\n  source = \"x\"\n  output = \"real/out\"\n}\nmodel \"b\" {\n  source = \"x\"\n  output = \"link/out\"\n}\n"
	_, diags := load.Source(filepath.Join(dir, load.FileName), []byte(text), load.Options{})
	if len(diags) != 1 || diags[0].Summary != "Two models have one output" || !strings.Contains(diags[0].Detail, `"a"`) || !strings.Contains(diags[0].Detail, `"b"`) {
		t.Errorf("Source = %v, want an error that names both models", diags)
	}
}

// TestDeterministic holds that diagnostics do not follow the order of maps.
func TestDeterministic(t *testing.T) {
	src, err := os.ReadFile("testdata/bad/attributes.hcl")
	if err != nil {
		t.Fatal(err)
	}
	_, first := load.Source("llima.hcl", src, load.Options{})
	for range 20 {
		if _, again := load.Source("llima.hcl", src, load.Options{}); listing(again) != listing(first) {
			t.Fatalf("Source says\n%s\nafter\n%s", listing(again), listing(first))
		}
	}
}

// TestGood holds files about which there is nothing to say.
func TestGood(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.hcl")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../examples/bard/llima.hcl") {
		if cfg, diags := load.Load(file, load.Options{}); len(diags) > 0 || len(cfg.Models) == 0 {
			t.Errorf("Load(%s) = %d models, %v", file, len(cfg.Models), diags)
		}
	}
}
