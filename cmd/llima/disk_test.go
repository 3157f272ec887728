package main_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/llima-build/llima/cmd/internal/cli"
)

// TestDiskEstimate builds in each precision and compares what the build said
// it would need with what it wrote: a bound, and no more than a quarter above.
func TestDiskEstimate(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, extra := range map[string]string{
		"bf16":    ``,
		"int8":    `precision = "A_BF16_W_INT8"`,
		"int4":    "precision = \"A_BF16_W_INT4\"\n quantize_embeddings = true",
		"sharing": "enable_filter_sharing = true\n return_logits = true\n context_length = 512",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			text := fmt.Sprintf("model \"m\" {\n source = %q\n output = \"out\"\n %s\n}\n", relative(t, dir, filepath.Join(root, "testdata/models/bard-3m")), extra)
			if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			env := cli.System()
			var stderr bytes.Buffer
			env.Stderr, env.Stdout = &stderr, io.Discard
			if code := cli.Main(env, []string{"build", "-C", dir, "--progress=plain"}); code != 0 {
				t.Fatalf("build: exit code %d\n%s", code, stderr.String())
			}
			m := regexp.MustCompile(`needs up to ([0-9.]+) MiB of disk`).FindSubmatch(stderr.Bytes())
			if m == nil {
				t.Fatalf("the build does not say what it needs:\n%s", stderr.String())
			}
			need, err := strconv.ParseFloat(string(m[1]), 64)
			if err != nil {
				t.Fatal(err)
			}
			wrote := float64(diskUsage(t, dir)) / (1 << 20)
			t.Logf("needs up to %.1f MiB, wrote %.1f", need, wrote)
			if wrote > need || need > 1.25*wrote {
				t.Errorf("the build says up to %.1f MiB, and wrote %.1f", need, wrote)
			}
		})
	}
}

func relative(t *testing.T, dir, path string) string {
	t.Helper()
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.ToSlash(rel)
}

// diskUsage adds up the sizes of the files of a folder, each inode once.
func diskUsage(t *testing.T, dir string) int64 {
	t.Helper()
	var seen []os.FileInfo
	sum := int64(0)
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		for _, other := range seen {
			if os.SameFile(st, other) {
				return nil
			}
		}
		seen = append(seen, st)
		sum += st.Size()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
