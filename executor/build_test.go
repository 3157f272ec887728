package executor_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/executor/stage"
	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// hashBackend stands in for the compiler: a program is the digest of what it
// was made from, so that tests of the build take no time.
type hashBackend struct{}

func (hashBackend) Compile(m *onnx.Model, data func(string) ([]byte, error), name string, _ []byte, w io.Writer) error {
	h := sha256.New()
	h.Write(m.Encode())
	for _, t := range m.Graph.Initializers {
		if t.External == nil {
			continue
		}
		b, err := data(t.External.Location)
		if err != nil {
			return err
		}
		h.Write(b)
	}
	_, err := fmt.Fprintf(w, "%s %x", name, h.Sum(nil))
	return err
}

func (hashBackend) Archive(name string, programs []stage.Program, w io.Writer) error {
	fmt.Fprintln(w, name)
	for _, p := range programs {
		if _, err := fmt.Fprintf(w, "%s %s\n", p.Name, p.Data); err != nil {
			return err
		}
	}
	return nil
}

const mixed = `
model "m" {
  source         = "model"
  output         = "out"
  context_length = 128
  layer "prefill" {
    when      = layer.is_group
    precision = "A_BF16_W_INT8"
  }
}
`

// newProject makes a folder with a configuration and a checkpoint.
func newProject(tb testing.TB, config string) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "model"), 0o755); err != nil {
		tb.Fatal(err)
	}
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json"} {
		b, err := os.ReadFile(filepath.Join("../testdata/models/bard-3m", name))
		if err != nil {
			tb.Fatal(err)
		}
		writeFile(tb, filepath.Join(dir, "model", name), b)
	}
	writeFile(tb, filepath.Join(dir, load.FileName), []byte(config))
	return dir
}

func writeFile(tb testing.TB, path string, b []byte) {
	tb.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		tb.Fatal(err)
	}
}

// open plans a project. The clock is a minute ahead, so that files just
// written are old enough for their digests to be remembered.
func open(dir string) (*planner.Graph, *store.Store, error) {
	cfg, diags := load.Load(filepath.Join(dir, load.FileName), load.Options{})
	if diags.HasErrors() {
		return nil, nil, diags
	}
	g, diags := planner.New(cfg.Models, nil)
	if diags.HasErrors() {
		return nil, nil, diags
	}
	st, err := store.Open(dir, later)
	return g, st, err
}

func later() time.Time { return time.Now().Add(time.Minute) }

func build(ctx context.Context, dir string, change func(*executor.Options)) (executor.Summary, error) {
	g, st, err := open(dir)
	if err != nil {
		return executor.Summary{}, err
	}
	opt := executor.Options{Jobs: 2, Stages: stage.List(hashBackend{}), Now: later, Holder: "a test"}
	if change != nil {
		change(&opt)
	}
	sum, err := executor.Build(ctx, g, st, opt)
	return sum, errors.Join(err, st.Close(), g.Close())
}

func mustBuild(tb testing.TB, dir string) executor.Summary {
	tb.Helper()
	sum, err := build(tb.Context(), dir, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return sum
}

// tree returns the files below a folder with their digests.
func tree(tb testing.TB, dir string) map[string]fingerprint.Digest {
	tb.Helper()
	out := map[string]fingerprint.Digest{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir)] = fingerprint.Sum(b)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func sameTree(tb testing.TB, got, want map[string]fingerprint.Digest) {
	tb.Helper()
	for name, d := range want {
		if got[name] != d {
			tb.Errorf("%s is %q, want %q", name, got[name].Short(), d.Short())
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			tb.Errorf("%s should not be there", name)
		}
	}
}

func TestBuildTwice(t *testing.T) {
	dir := newProject(t, mixed)
	first := mustBuild(t, dir)
	if first.Ran == 0 || first.Fresh != 0 {
		t.Errorf("first build: %+v, want everything to run", first)
	}
	// Attention is the same in every layer: it ran once a phase and stage.
	if want := 3 * 2 * 3; first.Restored != want {
		t.Errorf("first build restored %d targets, want %d", first.Restored, want)
	}
	second := mustBuild(t, dir)
	if second.Ran != 0 || second.Restored != 0 || second.Fresh != first.Ran+first.Restored {
		t.Errorf("second build: %+v, want all %d fresh", second, first.Ran+first.Restored)
	}
}

// TestEarlyCutoff changes a tensor so that its INT8 codes stay as they were:
// what depends on them does not run.
func TestEarlyCutoff(t *testing.T) {
	dir := newProject(t, strings.Replace(mixed, "layer.is_group", "true", 1))
	mustBuild(t, dir)
	path := filepath.Join(dir, "model/model.safetensors")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The lowest bit of a weight that rounds to code 0 or stays within its
	// step: look for one byte whose change leaves the quantised tensor equal.
	at := 8 + 4608 + 2400000
	b[at] ^= 1
	writeFile(t, path, b)
	sum := mustBuild(t, dir)
	if sum.Ran == 0 {
		t.Errorf("nothing ran after a change: %+v", sum)
	}
	if got := tree(t, filepath.Join(dir, "out"))["/onnx_files/model.safetensors"]; got != fingerprint.Sum(b) {
		t.Errorf("the published shard is %s, want the new one", got.Short())
	}
}

// TestHelperBuild is no test: TestKilled runs it as a process that dies.
func TestHelperBuild(t *testing.T) {
	dir := os.Getenv("LLIMA_TEST_PROJECT")
	if dir == "" {
		return
	}
	at, err := strconv.Atoi(os.Getenv("LLIMA_TEST_KILL"))
	if err != nil {
		t.Fatal(err)
	}
	var steps atomic.Int64
	_, err = build(t.Context(), dir, func(o *executor.Options) {
		o.Step = func(string, *planner.Target) error {
			if steps.Add(1) == int64(at) {
				p, err := os.FindProcess(os.Getpid())
				if err != nil {
					return err
				}
				if err := p.Kill(); err != nil {
					return err
				}
				select {} // until the signal arrives
			}
			return nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestKilled kills a build with the real stages at some of its steps, and builds
// again: the tree must be that of a build that nobody killed.
// TestKilledAtEveryStep does so at all steps, with smaller stages.
func TestKilled(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot kill itself there")
	}
	clean := newProject(t, mixed)
	steps := 0
	if _, err := build(t.Context(), clean, func(o *executor.Options) {
		o.Jobs = 1
		o.Step = func(string, *planner.Target) error { steps++; return nil }
	}); err != nil {
		t.Fatal(err)
	}
	want := tree(t, filepath.Join(clean, "out"))
	stride := max(steps/3, 1)
	if os.Getenv("LLIMA_LONG") != "" {
		stride = max(steps/30, 1)
	}
	dir := newProject(t, mixed)
	points := 0
	for at := 1 + stride/2; at <= steps; at += stride {
		for _, d := range []string{store.Dir, "out"} {
			if err := os.RemoveAll(filepath.Join(dir, d)); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelperBuild$")
		cmd.Env = append(os.Environ(), "LLIMA_TEST_PROJECT="+dir, "LLIMA_TEST_KILL="+strconv.Itoa(at))
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("step %d of %d: the build was not killed: %v\n%s", at, steps, err, out)
		}
		sum := mustBuild(t, dir)
		sameTree(t, tree(t, filepath.Join(dir, "out")), want)
		if left, _ := os.ReadDir(filepath.Join(dir, store.Dir, "tmp")); len(left) > 0 {
			t.Errorf("step %d: %d temporary folders are left", at, len(left))
		}
		if again := mustBuild(t, dir); again.Ran+again.Restored != 0 {
			t.Errorf("step %d: after %+v a third build did %+v", at, sum, again)
		}
		if t.Failed() {
			t.Fatalf("killed at step %d of %d", at, steps)
		}
		points++
	}
	t.Logf("%d of %d steps", points, steps)
}

// TestFailedAtEveryStage lets each kind of target fail once.
func TestFailedAtEveryStage(t *testing.T) {
	dir := newProject(t, mixed)
	broken := errors.New("broken on purpose")
	for _, s := range []addr.Stage{addr.Devkit, addr.ONNX, addr.Quantize, addr.Compile, addr.MPK, addr.Package} {
		// While one target fails others may finish, so each stage starts anew.
		if err := os.RemoveAll(filepath.Join(dir, store.Dir)); err != nil {
			t.Fatal(err)
		}
		var failed []string
		_, err := build(t.Context(), dir, func(o *executor.Options) {
			o.Step = func(step string, target *planner.Target) error {
				if step == "check" && target.Addr.Stage == s {
					return broken
				}
				return nil
			}
			o.Events = func(e executor.Event) {
				if e.Kind == executor.Failed {
					failed = append(failed, e.Target.Addr.String())
				}
			}
		})
		var fe *executor.FailedError
		if !errors.As(err, &fe) || len(failed) == 0 || !strings.HasPrefix(failed[0], "m:"+s.String()) {
			t.Errorf("stage %v: Build = %v, failed %v", s, err, failed)
		}
	}
	mustBuild(t, dir)
	clean := newProject(t, mixed)
	mustBuild(t, clean)
	sameTree(t, tree(t, filepath.Join(dir, "out")), tree(t, filepath.Join(clean, "out")))
}

// TestEditedDuringBuild edits the checkpoint while a target runs: nothing of
// it may be recorded.
func TestEditedDuringBuild(t *testing.T) {
	dir := newProject(t, mixed)
	path := filepath.Join(dir, "model/model.safetensors")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[8+4608+1049088+100] ^= 0x40 // layer 0's down_proj
	_, err = build(t.Context(), dir, func(o *executor.Options) {
		o.Jobs = 1
		o.Step = func(step string, target *planner.Target) error {
			if step == "check" && target.Addr.String() == "m:quantize:prefill.POST.0" {
				writeFile(t, path, bad)
			}
			return nil
		}
	})
	if err == nil || !strings.Contains(err.Error(), "m:quantize:prefill.POST.0") {
		t.Fatalf("Build = %v, want m:quantize:prefill.POST.0 to fail", err)
	}
	_, st, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	target := addr.Target{Model: "m", Stage: addr.Quantize, Unit: "prefill.POST.0"}
	if rec, ok, _ := st.Record(target); ok && rec.Key != "" {
		t.Errorf("a record of %v was written", target)
	}
	mustBuild(t, dir)
	clean := newProject(t, mixed)
	writeFile(t, filepath.Join(clean, "model/model.safetensors"), bad)
	mustBuild(t, clean)
	sameTree(t, tree(t, filepath.Join(dir, "out")), tree(t, filepath.Join(clean, "out")))
}

// TestCancelled cancels a build; the next one goes on where it stopped.
func TestCancelled(t *testing.T) {
	dir := newProject(t, mixed)
	ctx, cancel := context.WithCancel(t.Context())
	finished := 0
	_, err := build(ctx, dir, func(o *executor.Options) {
		o.Events = func(e executor.Event) {
			if e.Kind == executor.Finished {
				if finished++; finished == 20 {
					cancel()
				}
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Build = %v, want it cancelled", err)
	}
	if sum := mustBuild(t, dir); sum.Fresh < 20 {
		t.Errorf("after a cancelled build: %+v, want at least 20 fresh", sum)
	}
}

// TestKeepGoing builds what does not depend on a failed target.
func TestKeepGoing(t *testing.T) {
	dir := newProject(t, mixed)
	sum, err := build(t.Context(), dir, func(o *executor.Options) {
		o.KeepGoing = true
		o.Step = func(step string, target *planner.Target) error {
			if step == "run" && target.Addr.String() == "m:onnx:prefill.PRE.2" {
				return errors.New("broken on purpose")
			}
			return nil
		}
	})
	// Its quantize, compile, archive, and the package.
	if err == nil || sum.Failed != 1 || sum.Skipped != 4 {
		t.Errorf("Build = %+v, %v, want 1 failed and 4 skipped", sum, err)
	}
}

func TestJobsGiveSameBytes(t *testing.T) {
	var trees []map[string]fingerprint.Digest
	for _, jobs := range []int{1, 8} {
		dir := newProject(t, mixed)
		if _, err := build(t.Context(), dir, func(o *executor.Options) { o.Jobs = jobs }); err != nil {
			t.Fatal(err)
		}
		trees = append(trees, tree(t, filepath.Join(dir, "out")))
	}
	sameTree(t, trees[1], trees[0])
}

// TestPlanEqualsBuild holds that what plan says is what build does, and that
// planning writes nothing but the memory of digests.
func TestPlanEqualsBuild(t *testing.T) {
	dir := newProject(t, mixed)
	mustBuild(t, dir)
	edited := strings.Replace(mixed, "layer.is_group", "layer.is_group && layer.index > 0", 1)
	writeFile(t, filepath.Join(dir, load.FileName), []byte(edited))
	before := tree(t, dir)
	g, st, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := planner.Evaluate(g, st)
	if err != nil {
		t.Fatal(err)
	}
	var run []string
	for _, d := range plan.Decisions {
		if d.State == planner.Run {
			run = append(run, d.Target.Addr.String())
		}
	}
	if err := errors.Join(st.Flush(), st.Close(), g.Close()); err != nil {
		t.Fatal(err)
	}
	after := tree(t, dir)
	delete(before, "/.llima/digests")
	delete(after, "/.llima/digests")
	sameTree(t, after, before)
	// The package lists the precisions, so it runs for certain.
	if want := []string{"m:quantize:prefill.PRE.0", "m:quantize:prefill.POST.0", "m:package"}; !slices.Equal(run, want) {
		t.Errorf("plan says %v run, want %v", run, want)
	}
	var ran []string
	if _, err := build(t.Context(), dir, func(o *executor.Options) {
		o.Jobs = 1
		o.Events = func(e executor.Event) {
			if e.Kind == executor.Started && slices.Contains([]addr.Stage{addr.Quantize, addr.Package}, e.Target.Addr.Stage) {
				ran = append(ran, e.Target.Addr.String())
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ran, run) {
		t.Errorf("build ran %v, plan said %v", ran, run)
	}
}
