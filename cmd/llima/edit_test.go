package main_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/cmd/internal/cli"
	"github.com/llima-build/llima/planner"
)

// TestEditDuringBuild changes a tensor when the target that reads it has begun:
// the build fails and says what to do, keeps nothing of it, and the same
// command then succeeds.
func TestEditDuringBuild(t *testing.T) {
	dir := t.TempDir()
	copyTree(t, "../../testdata/models/bard-3m", filepath.Join(dir, "model"))
	config := "model \"m\" {\n  source = \"model\"\n  output = \"out\"\n  context_length = 128\n  precision = \"A_BF16_W_INT4\"\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	const target = "m:quantize:prefill.POST.1"
	var stderr bytes.Buffer
	env := cli.System()
	env.Stdout, env.Stderr = io.Discard, &stderr
	env.Getenv = func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] }
	env.Step = func(step string, at *planner.Target) error {
		if step != "run" || at.Addr.String() != target {
			return nil
		}
		f, err := os.OpenFile(filepath.Join(dir, "model/model.safetensors"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err = f.WriteAt([]byte{0x11, 0x3c}, 2_400_000); err != nil {
			return err
		}
		return f.Close()
	}
	args := []string{"build", "-C", dir, "-j1", "--progress=quiet"}
	if code := cli.Main(env, args); code != 1 {
		t.Errorf("build: exit code %d, want 1", code)
	}
	const want = "FAILED " + target + ": model.safetensors changed during the build " +
		"(tensor/model.layers.1.mlp.down_proj.weight), so nothing of " + target + " is kept\n  run the same command again\n"
	if !strings.HasPrefix(stderr.String(), want) {
		t.Errorf("build said:\n%s\nwant:\n%s", stderr.String(), want)
	}
	if _, err := os.Stat(filepath.Join(dir, "out")); !os.IsNotExist(err) {
		t.Errorf("the output folder is there: %v", err)
	}
	env.Step = nil
	stderr.Reset()
	if code := cli.Main(env, args); code != 0 {
		t.Errorf("the second build: exit code %d\n%s", code, stderr.String())
	}
}

// TestCutDuringBuild cuts the file of weights when a target that maps it has
// begun, as copying over it does: an error, not the end of the process.
func TestCutDuringBuild(t *testing.T) {
	for _, target := range []string{"m:devkit", "m:quantize:prefill.PRE.0", "m:compile:prefill.POST.1", "m:package"} {
		dir := t.TempDir()
		copyTree(t, "../../testdata/models/bard-3m", filepath.Join(dir, "model"))
		config := "model \"m\" {\n  source = \"model\"\n  output = \"out\"\n  context_length = 128\n}\n"
		if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		env := cli.System()
		env.Stdout, env.Stderr = io.Discard, &stderr
		env.Getenv = func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] }
		env.Step = func(step string, at *planner.Target) error {
			if step == "run" && at.Addr.String() == target {
				return os.Truncate(filepath.Join(dir, "model/model.safetensors"), 100_000)
			}
			return nil
		}
		if code := cli.Main(env, []string{"build", "-C", dir, "-j1", "--progress=quiet"}); code != 1 {
			t.Errorf("%s: exit code %d, want 1", target, code)
		}
		for _, want := range []string{"FAILED " + target + ": ", "model.safetensors", "run the same command again"} {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%s: build said:\n%s\nwant %q in it", target, stderr.String(), want)
			}
		}
	}
}
