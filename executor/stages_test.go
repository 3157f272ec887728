package executor_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/executor/stage"
	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/internal/addr"
)

// narrowed builds some stages of a project, or says which stages of what they
// read are missing.
func narrowed(t *testing.T, dir string, stages ...addr.Stage) (missing []addr.Stage, sum executor.Summary) {
	t.Helper()
	g, st, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	lacks, err := g.Narrow(stages, st)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range lacks {
		if !slices.Contains(missing, d.Target.Addr.Stage) {
			missing = append(missing, d.Target.Addr.Stage)
		}
	}
	if len(lacks) == 0 {
		sum, err = executor.Build(t.Context(), g, st, executor.Options{Jobs: 2, Stages: stage.List(hashBackend{}), Now: later, Holder: "a test"})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	return missing, sum
}

// foldersOf lists the folders of an output that hold files.
func foldersOf(t *testing.T, dir string) string {
	t.Helper()
	seen := map[string]bool{}
	for name := range tree(t, filepath.Join(dir, "out")) {
		seen[strings.TrimPrefix(filepath.ToSlash(filepath.Dir(name)), "/")] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(seen)), " ")
}

// TestNarrow builds stage by stage: each publishes what is there, runs nothing
// of another stage, and together they are what one build makes.
func TestNarrow(t *testing.T) {
	whole := newProject(t, mixed)
	mustBuild(t, whole)
	dir := newProject(t, mixed)
	const (
		onnx   = "onnx_files"
		sdk    = " sima_files/model_sdk sima_files/model_sdk/weights"
		binary = " sima_files/elf_files"
		devkit = " sima_files/devkit"
	)
	if missing, _ := narrowed(t, dir, addr.Compile, addr.MPK); !slices.Equal(missing, []addr.Stage{addr.ONNX, addr.Quantize}) {
		t.Errorf("compile of nothing misses %v, want onnx and quantize", missing)
	}
	for _, c := range []struct {
		stages []addr.Stage
		want   string
		ran    int
	}{
		{[]addr.Stage{addr.ONNX}, onnx, 19}, // PRE and POST, 4 layers, 2 phases; CACHE once a phase; PACKAGE
		{[]addr.Stage{addr.ONNX}, onnx, 0},
		{[]addr.Stage{addr.Quantize}, onnx + sdk, 19},
		{[]addr.Stage{addr.Devkit}, onnx + devkit + sdk, 2},
		{[]addr.Stage{addr.Compile, addr.MPK}, onnx + devkit + binary + sdk + " sima_files/mpk", 24}, // and 5 archives
	} {
		missing, sum := narrowed(t, dir, c.stages...)
		if len(missing) > 0 {
			t.Errorf("%v misses %v", c.stages, missing)
		}
		if got := foldersOf(t, dir); got != c.want {
			t.Errorf("%v: the output holds %s, want %s", c.stages, got, c.want)
		}
		if sum.Ran != c.ran {
			t.Errorf("%v: %d targets ran, want %d", c.stages, sum.Ran, c.ran)
		}
	}
	if a, b := tree(t, filepath.Join(whole, "out")), tree(t, filepath.Join(dir, "out")); !maps.Equal(a, b) {
		t.Errorf("stage by stage: %d files, at once: %d, or other bytes", len(b), len(a))
	}
	if sum := mustBuild(t, dir); sum.Ran != 0 {
		t.Errorf("a build after all stages ran %d targets, want 0", sum.Ran)
	}

	// What belongs to another configuration is not left lying about.
	writeFile(t, filepath.Join(dir, load.FileName), []byte(strings.Replace(mixed, "INT8", "INT4", 1)))
	if missing, _ := narrowed(t, dir, addr.Compile, addr.MPK); !slices.Equal(missing, []addr.Stage{addr.Quantize}) {
		t.Errorf("compile after an edit of the precision misses %v, want quantize", missing)
	}
	narrowed(t, dir, addr.Quantize)
	if got, want := foldersOf(t, dir), onnx+devkit+sdk; got != want {
		t.Errorf("after quantising anew the output holds %s, want %s", got, want)
	}
}
