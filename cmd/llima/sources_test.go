package main_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/npy"
	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/internal/doctable"
)

// sourceCase is a model whose weights are quantised already, or come as GGUF.
type sourceCase struct {
	name, format, path, golden string
	cases                      []string
}

// sourceCases lists what is compared. Metadata of GGUF lack Mistral's window,
// so only a prompt within it is; Gemma 2 and 3 of these sizes lack the scale of
// their scores, so theirs are not (docs/sources.md).
func sourceCases(root string) []sourceCase {
	both := []string{"short", "medium"}
	var out []sourceCase
	for _, q := range []string{"Q4_K_M", "Q4_1"} {
		name := "bard-3m-" + q
		out = append(out, sourceCase{name, "GGUF " + q, filepath.Join(root, "testdata/gguf", name+".gguf"), filepath.Join(root, "testdata/gguf/golden", name), both})
	}
	for _, family := range []string{"gemma", "lfm2", "llama", "llama3", "mistral", "phi3", "qwen2", "qwen3"} {
		cases := []string{"short", "long"}
		if family == "mistral" {
			cases = cases[:1]
		}
		out = append(out, sourceCase{
			family, "GGUF BF16, F32", filepath.Join(root, "testdata/gguf", family+".gguf"),
			filepath.Join(root, "testdata/models/families", family, "golden"), cases,
		})
	}
	for name, format := range map[string]string{"awq-w4a16-asym-g128": "AWQ, INT4 asymmetric g128", "gidx-w4a16-g64": "GPTQ, INT4 g64, activation order"} {
		path := filepath.Join(root, "testdata/models/compressed-tensors", name)
		out = append(out, sourceCase{name, format, path, filepath.Join(path, "golden"), both})
	}
	slices.SortFunc(out, func(a, b sourceCase) int { return strings.Compare(a.format+a.name, b.format+b.name) })
	return out
}

// TestSources builds every source that is no plain checkpoint, runs it on the
// emulator and compares all logits of its prompts with transformers', which
// computes in float32 on the dequantised weights. docs/support.md has the
// figures; -update writes them.
func TestSources(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var hcl strings.Builder
	list := sourceCases(root)
	for _, c := range list {
		fmt.Fprintf(&hcl, "model %q {\n  source = %q\n  return_logits = true\n  convert = \"bf16\"\n", c.name, c.path)
		if !strings.HasPrefix(c.name, "bard") && !strings.Contains(c.name, "-") {
			hcl.WriteString("  context_length = 96\n  language_group_size = 12\n  future_token_mask_size = 8\n")
		}
		hcl.WriteString("}\n")
	}
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(hcl.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	llima(t, "build", "-C", dir, "--progress=quiet")
	rows := []string{"| checkpoint | source | logits | bound | oracle |", "|---|---|---|---|---|"}
	const bound = 0.03
	for _, c := range list {
		worst := 0.0
		for _, name := range c.cases {
			ids, want, width := goldenLogits(t, filepath.Join(c.golden, name+".safetensors"))
			file := filepath.Join(dir, "logits.npy")
			llima(t, "run", filepath.Join(dir, c.name), "--ids", ids, "--max-tokens", "0", "--logits", file, "--json")
			got := readLogits(t, file, width)
			if len(got) < len(want) {
				t.Fatalf("%s %s: %d logits, want %d", c.name, name, len(got), len(want))
			}
			worst = max(worst, apart(got[:len(want)], want))
		}
		if !(worst < bound) {
			t.Errorf("%s: logits differ by %.2f %% of their standard deviation, bound %.0f %%", c.name, 100*worst, 100*bound)
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %.2f %% | %.0f %% | transformers 5.23, float32 |", c.name, c.format, 100*worst, 100*bound))
	}
	doctable.Table{
		File: filepath.Join(root, "docs/support.md"), Name: "sources", Command: "go test ./cmd/llima -run TestSources -update",
	}.Check(t, *update, rows, doctable.SamePercent)
}

// goldenLogits returns a prompt and its logits, [tokens, width].
func goldenLogits(t *testing.T, path string) (ids string, logits []float32, width int) {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, e := range f.Tensors() {
		b := f.Bytes(e)
		switch e.Name {
		case "input_ids":
			var all []string
			for ; len(b) > 0; b = b[8:] {
				all = append(all, fmt.Sprint(binary.LittleEndian.Uint64(b)))
			}
			ids = strings.Join(all, ",")
		case "logits":
			width = e.Shape[1]
			for ; len(b) > 0; b = b[4:] {
				logits = append(logits, math.Float32frombits(binary.LittleEndian.Uint32(b)))
			}
		}
	}
	return ids, logits, width
}

func readLogits(t *testing.T, path string, width int) []float32 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a, err := npy.Read(b)
	if err != nil || len(a.Shape) != 2 || a.Shape[1] != width {
		t.Fatalf("%s: shape %v, %v, want rows of %d", path, a.Shape, err, width)
	}
	return a.F32()
}

// apart is the mean difference as a part of the standard deviation of want.
func apart(got, want []float32) float64 {
	var diff, sum, squares float64
	for i, w := range want {
		diff += math.Abs(float64(got[i]) - float64(w))
		sum += float64(w)
		squares += float64(w) * float64(w)
	}
	n := float64(len(want))
	return diff / n / math.Sqrt(squares/n-(sum/n)*(sum/n))
}
