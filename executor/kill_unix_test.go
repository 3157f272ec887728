//go:build unix

package executor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/planner"
)

// stats returns what identifies each file of a folder, links included.
func (p *project) stats(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	out := map[string]string{}
	files, err := filepath.Glob(p.path(dir + "/*"))
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			tb.Fatal(err)
		}
		out[f] = fmt.Sprint(st.Mode(), st.Size(), st.ModTime(), st.Sys().(*syscall.Stat_t).Ino, links(tb, f))
	}
	return out
}

func links(tb testing.TB, file string) int {
	tb.Helper()
	st, err := os.Stat(file)
	if err != nil {
		tb.Fatal(err)
	}
	return int(st.Sys().(*syscall.Stat_t).Nlink)
}

// Variables of the helper process.
const (
	killDir  = "LLIMA_TEST_KILL_DIR"
	killStep = "LLIMA_TEST_KILL_STEP" // "0" for none
	// killPrecision and killLayers, where they are set, are those of the project.
	killPrecision = "LLIMA_TEST_KILL_PRECISION"
	killLayers    = "LLIMA_TEST_KILL_LAYERS"
)

// TestHelperProcess is no test: it is the process that TestKillBetweenSettings kills.
func TestHelperProcess(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		return
	}
	at, err := strconv.Atoi(os.Getenv(killStep))
	if err != nil {
		t.Fatal(err)
	}
	p := &project{dir: dir, name: "m", layers: 2, context: 4, output: "out", rules: precision(config.BF16), jobs: 1, now: later}
	if prec := os.Getenv(killPrecision); prec != "" {
		p.rules = precision(config.Precision(prec))
	}
	if layers := os.Getenv(killLayers); layers != "" {
		if p.layers, err = strconv.Atoi(layers); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	p.options = func(o *executor.Options) {
		o.Step = func(string, *planner.Target) error {
			if n++; n == at {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return nil
		}
	}
	p.mustBuild(t)
}

// TestKillBetweenSettings builds, changes the precision, kills that build at one step after
// another, and builds again with either setting: the output equals that of a
// build that was never disturbed.
func TestKillBetweenSettings(t *testing.T) {
	p := newTiny(t, 2)
	want := map[config.Precision]map[string]string{}
	for _, prec := range []config.Precision{config.BF16, config.INT8} {
		p.rules = precision(prec)
		want[prec] = p.clean(t)
	}
	killed, step := 0, 1
	for {
		q := &project{dir: tinyDir(t), name: "m", layers: 2, context: 4, output: "out", rules: precision(config.INT8), jobs: 2, now: later}
		if err := os.CopyFS(q.path("source"), os.DirFS(p.path("source"))); err != nil {
			t.Fatal(err)
		}
		if killed%2 == 0 {
			q.mustBuild(t)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
		cmd.Env = append(os.Environ(), killDir+"="+q.dir, killStep+"="+strconv.Itoa(step))
		out, err := cmd.CombinedOutput()
		if err == nil {
			break // it ran to its end
		}
		if !strings.Contains(err.Error(), "killed") {
			t.Fatalf("step %d: %v\n%s", step, err, out)
		}
		prec := config.BF16
		if killed%4 >= 2 {
			prec = config.INT8
		}
		q.rules = precision(prec)
		q.mustBuild(t)
		if got := files(t, q.path("out")); len(got) == 0 {
			t.Errorf("step %d: nothing is published", step)
		} else {
			sameFiles(t, got, want[prec])
		}
		if left := files(t, q.path(".llima/tmp")); len(left) > 0 {
			t.Errorf("step %d: temporary files are left: %v", step, left)
		}
		if t.Failed() {
			t.Fatalf("after a kill at step %d", step)
		}
		killed++
		step += 3 + killed%13
	}
	t.Logf("killed at %d of %d steps", killed, step)
	if killed < 10 {
		t.Errorf("only %d kills", killed)
	}
}

// TestKilledAtEveryStep kills a build at the steps of the protocol of its
// targets, and builds again: the tree must be that of a build that nobody
// killed, byte for byte. LLIMA_LONG takes every step.
func TestKilledAtEveryStep(t *testing.T) {
	const layers = 4
	source := newTiny(t, layers)
	want := source.clean(t)
	steps := 0
	source.options = func(o *executor.Options) {
		o.Jobs = 1
		o.Step = func(string, *planner.Target) error { steps++; return nil }
	}
	source.mustBuild(t)
	killed := 0
	for _, n := range points(steps, 20) {
		p := &project{dir: tinyDir(t), name: "m", layers: layers, context: 4, output: "out", rules: precision(config.INT8), jobs: 2, now: later}
		if err := os.CopyFS(p.path("source"), os.DirFS(source.path("source"))); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
		cmd.Env = append(os.Environ(), killDir+"="+p.dir, killStep+"="+strconv.Itoa(n),
			killLayers+"="+strconv.Itoa(layers), killPrecision+"="+string(config.INT8))
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("step %d of %d: the build was not killed: %v\n%s", n, steps, err, out)
		}
		recovers(t, p, want)
		if t.Failed() {
			t.Fatalf("killed at step %d of %d", n, steps)
		}
		if err := os.RemoveAll(p.dir); err != nil {
			t.Fatal(err)
		}
		killed++
	}
	t.Logf("killed at %d of %d steps", killed, steps)
	if steps < 200 || killed < 20 {
		t.Errorf("%d steps and %d kills, want at least 200 and 20", steps, killed)
	}
}

// recovers fails the test unless a build after a fault gives what a build that
// nothing happened to gives, without leftovers; and unless everything that is
// taken for fresh is what running it once more gives.
func recovers(t *testing.T, p *project, want map[string]string) {
	t.Helper()
	if plan := p.plan(t); !plan.Stale() {
		sameFiles(t, files(t, p.path("out")), want)
	}
	p.options = func(o *executor.Options) { o.Check = true }
	p.mustBuild(t)
	p.options = nil
	sameFiles(t, files(t, p.path("out")), want)
	if left := files(t, p.path(".llima/tmp")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
	p.mustBuild(t).wantRan(t)
}

// points returns the calls or steps to disturb: all of them in long tests,
// else some that are spread over the run.
func points(calls, sample int) []int {
	step := 1
	if os.Getenv("LLIMA_LONG") == "" {
		step = max(calls/sample, 1)
	}
	var out []int
	for n := 1; n <= calls; n += step {
		out = append(out, n)
	}
	return out
}

// TestSecondBuildWaits runs two builds of one output at once.
func TestSecondBuildWaits(t *testing.T) {
	p := newTiny(t, 1)
	entered, leave := make(chan struct{}), make(chan struct{})
	done := make(chan result)
	first := *p
	first.jobs = 1
	first.options = func(o *executor.Options) {
		once := false
		o.Step = func(string, *planner.Target) error {
			if !once {
				once = true
				close(entered)
				<-leave
			}
			return nil
		}
	}
	go func() { done <- first.build(t) }()
	<-entered

	second := *p
	second.options = func(o *executor.Options) { o.NoWait = true }
	r := second.build(t)
	var held *store.HeldError
	if !errors.As(r.err, &held) || !strings.Contains(held.Error(), "pid 1 on host: llima build") {
		t.Errorf("a build that does not wait says %v, want the holder", r.err)
	}

	third := *p
	waiting := make(chan struct{})
	third.options = func(o *executor.Options) {
		events := o.Events
		o.Events = func(e executor.Event) {
			if e.Kind == executor.Waiting {
				close(waiting)
			}
			events(e)
		}
	}
	finished := make(chan result)
	go func() { finished <- third.build(t) }()
	select {
	case <-waiting:
	case <-time.After(10 * time.Second):
		t.Error("a build that waits does not say so")
	}
	close(leave)
	if r := <-done; r.err != nil {
		t.Errorf("the first build: %v", r.err)
	}
	if r := <-finished; r.err != nil || len(r.ran) != 0 {
		t.Errorf("the build that waited ran %v, %v", r.ran, r.err)
	}
}

// TestSourceIsNotTouched holds that the checkpoint is neither linked nor
// written, and that what readers of ONNX must not find linked is not.
func TestSourceIsNotTouched(t *testing.T) {
	p := newTiny(t, 1)
	before := p.stats(t, "source")
	p.rules = precision(config.BF16)
	p.mustBuild(t)
	for name, st := range p.stats(t, "source") {
		if st != before[name] {
			t.Errorf("%s changed from %s to %s", name, before[name], st)
		}
	}
	for _, pattern := range []string{"out/onnx_files/*.safetensors", "out/sima_files/model_sdk/weights/*"} {
		files, err := filepath.Glob(p.path(pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			if n := links(t, file); n != 1 {
				t.Errorf("%s has %d links, want 1", file, n)
			}
		}
	}
}
