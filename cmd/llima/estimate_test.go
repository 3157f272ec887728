package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/cmd/internal/cli"
	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/isa"
	"github.com/llima-build/llima/modalix/runtime"
)

// TestEstimates builds bard-3m in every mix of precisions and compares what
// plan said before with what came out: weights, embeddings, output and
// archives within 1 %, the KV cache exactly, and buffers with what the run
// time allocates, to which a program may add one residual.
func TestEstimates(t *testing.T) {
	dir := t.TempDir()
	source, err := filepath.Abs("../../testdata/models/bard-3m")
	if err != nil {
		t.Fatal(err)
	}
	var hcl strings.Builder
	for _, c := range []struct{ name, more, prefill, decode string }{
		{"bf16", "", "BF16", "BF16"},
		{"int8", "context_length = 512", "A_BF16_W_INT8", "A_BF16_W_INT8"},
		{"int4", "return_logits = true", "A_BF16_W_INT4", "A_BF16_W_INT4"},
		{"mixed", "language_group_size = 32", "A_BF16_W_INT8", "A_BF16_W_INT4"},
		{"shared", "enable_filter_sharing = true", "A_BF16_W_INT8", "A_BF16_W_INT8"},
		{"small", "quantize_embeddings = true", "BF16", "A_BF16_W_INT4"},
		{"grouped", "quantization {\n group_size = { A_BF16_W_INT8 = 64, A_BF16_W_INT4 = \"channel\" }\n method = \"nearest\"\n head = \"A_BF16_W_INT8\"\n }", "A_BF16_W_INT8", "A_BF16_W_INT4"},
	} {
		fmt.Fprintf(&hcl, "model %q {\n  source = %q\n  %s\n  layer \"prefill\" {\n    when = layer.is_group\n    precision = %q\n  }\n  layer \"decode\" {\n    precision = %q\n  }\n}\n",
			c.name, filepath.ToSlash(source), c.more, c.prefill, c.decode)
	}
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(hcl.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var plan struct {
		Models []struct {
			Name  string
			Sizes map[string]int64
		}
	}
	if err := json.Unmarshal(llima(t, "plan", "-C", dir, "--json"), &plan); err != nil {
		t.Fatal(err)
	}
	if len(plan.Models) != 7 {
		t.Fatalf("plan lists %d models, want 7", len(plan.Models))
	}
	llima(t, "build", "-C", dir, "--progress=quiet")
	for _, m := range plan.Models {
		out := filepath.Join(dir, m.Name, "sima_files")
		weights, archives := programs(t, out)
		embeddings := size(t, filepath.Join(out, "devkit/embeddings.bin"))
		deployed := size(t, filepath.Join(out, "elf_files/*.elf")) + embeddings + size(t, filepath.Join(out, "devkit/*.npy"))
		within(t, m.Name+": weights", m.Sizes["weight_bytes"], weights, 0.01)
		within(t, m.Name+": embeddings", m.Sizes["embedding_bytes"], embeddings, 0)
		within(t, m.Name+": size", m.Sizes["size_bytes"], deployed, 0.01)
		within(t, m.Name+": archives", m.Sizes["archive_bytes"], archives, 0.01)

		loaded, err := runtime.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := loaded.Generate(context.Background(), []int{5, 300, 77, 12}, runtime.Options{MaxTokens: 2, Greedy: true, IgnoreEOS: true}, func(int, string) error { return nil }); err != nil {
			t.Fatal(err)
		}
		mem := loaded.Memory()
		if err := loaded.Close(); err != nil {
			t.Fatal(err)
		}
		within(t, m.Name+": KV cache", m.Sizes["kv_cache_bytes"], mem.KVCacheBytes, 0)
		residual := int64(128 * 256 * 4) // group, hidden size, float32
		if got := m.Sizes["buffer_bytes"]; got < mem.BufferBytes || got > mem.BufferBytes+residual {
			t.Errorf("%s: buffers: estimated %d bytes, the run time holds %d and may hold %d more", m.Name, got, mem.BufferBytes, residual)
		}
	}
}

func within(t *testing.T, what string, estimated, measured int64, tolerance float64) {
	t.Helper()
	off := float64(estimated-measured) / float64(measured)
	t.Logf("%s: estimated %d, measured %d: %+.3f %%", what, estimated, measured, 100*off)
	if !(off <= tolerance && off >= -tolerance) {
		t.Errorf("%s: estimated %d bytes, measured %d: off by %.2f %%, want %g %% at most", what, estimated, measured, 100*off, 100*tolerance)
	}
}

// programs sums up what weights and constants take in all programs of an
// output, and its archives.
func programs(t *testing.T, out string) (weights, archives int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(out, "elf_files/*.elf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no programs, %v", out, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p, err := emu.Load(b)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if _, elsewhere := p.External(isa.Weights); !elsewhere {
			weights += p.SegmentSize(isa.Weights)
		}
		weights += p.SegmentSize(isa.Const)
	}
	return weights, size(t, filepath.Join(out, "mpk/*.tar.gz"))
}

// size sums up files.
func size(t *testing.T, pattern string) (sum int64) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no files, %v", pattern, err)
	}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	return sum
}

// llima runs a command and returns what it prints.
func llima(t *testing.T, args ...string) []byte {
	t.Helper()
	env := cli.System()
	var stdout, stderr bytes.Buffer
	env.Stdout, env.Stderr = &stdout, &stderr
	env.Getenv = func(string) string { return "" }
	if code := cli.Main(env, args); code != 0 {
		t.Fatalf("llima %v: exit %d\n%s", args, code, stderr.String())
	}
	return stdout.Bytes()
}
