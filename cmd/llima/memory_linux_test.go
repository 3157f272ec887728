package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestMemory plans and builds a checkpoint of the shapes of Llama-3.2-3B, 6.4
// GB that take a megabyte of disk, and bounds what is resident at most: 2 GB
// is less than a third of the checkpoint, and the head alone is 788 MB.
func TestMemory(t *testing.T) {
	if os.Getenv("LLIMA_LONG") == "" {
		t.Skip("LLIMA_LONG is not set")
	}
	dir := t.TempDir()
	if out, err := exec.Command("python3", "../../testdata/real/sparse.py", filepath.Join(dir, "ck")).CombinedOutput(); err != nil {
		t.Fatalf("sparse.py: %v\n%s", err, out)
	}
	config := "model \"m\" {\n  source = \"ck\"\n  output = \"out\"\n  precision = \"A_BF16_W_INT4\"\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	const limit = 2_000_000_000
	for _, args := range [][]string{
		{"plan"},
		{"build", "-j2", "--progress=quiet", "m:quantize"},
		{"build", "-j2", "--progress=quiet", "m:mpk:layer_27"}, // the head's programs are the largest
	} {
		cmd := exec.Command("llima", append(args, "-C", dir)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("llima %v: %v\n%s", args, err, out)
		}
		peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024
		t.Logf("llima %v: at most %d MB resident", args, peak/1_000_000)
		if peak > limit {
			t.Errorf("llima %v: %d bytes were resident at most, want %d", args, peak, limit)
		}
	}
	if graphs, err := filepath.Glob(filepath.Join(dir, ".llima/blobs/*/*")); err != nil || len(graphs) < 28 {
		t.Errorf("the store has %d blobs (%v), so little was built", len(graphs), err)
	}
}
