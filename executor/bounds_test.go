package executor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
)

// TestMaxMemory holds that targets that run at once stay within the bound,
// that one that exceeds it runs alone, and that all of them run.
func TestMaxMemory(t *testing.T) {
	for _, c := range []struct{ bound, each, want int64 }{
		{0, 100, 4}, {1000, 100, 4}, {250, 100, 2}, {199, 100, 1}, {50, 100, 1},
	} {
		p := newTiny(t, 2)
		g, s := p.graph(t), p.store(t)
		var running, most atomic.Int64
		opt := executor.Options{Jobs: 4, MaxMemoryBytes: c.bound, Costs: map[*planner.Target]executor.Cost{}, Stages: map[addr.Stage]executor.Stage{}, Now: time.Now}
		for _, target := range g.Order {
			opt.Costs[target] = executor.Cost{MemoryBytes: c.each}
		}
		for kind, stage := range stages {
			opt.Stages[kind] = stageFunc(func(ctx context.Context, a *executor.Action) error {
				n := running.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(2 * time.Millisecond)
				defer running.Add(-1)
				return stage.Run(ctx, a)
			})
		}
		sum, err := executor.Build(t.Context(), g, s, opt)
		if err != nil || sum.Ran+sum.Restored != len(g.Order) {
			t.Errorf("bound %d: %+v, %v, want all %d targets", c.bound, sum, err, len(g.Order))
		}
		if got := most.Load(); got != c.want {
			t.Errorf("bound %d, %d each: %d at once, want %d", c.bound, c.each, got, c.want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTooSmallDisk holds that a build that does not fit is not begun, and says
// both numbers; and that it is where that is asked for.
func TestTooSmallDisk(t *testing.T) {
	p := newTiny(t, 1)
	g, s := p.graph(t), p.store(t)
	opt := executor.Options{Jobs: 2, Costs: map[*planner.Target]executor.Cost{}, Stages: stages, Now: time.Now}
	for _, target := range g.Order {
		opt.Costs[target] = executor.Cost{StoreBytes: 1 << 50, OutputBytes: 1 << 49}
	}
	_, err := executor.Build(t.Context(), g, s, opt)
	var small *executor.NoSpaceError
	if !errors.As(err, &small) || small.Err != nil || len(small.Rooms) != 1 {
		t.Fatalf("Build = %v, want a disk that is too small", err)
	}
	r := small.Rooms[0]
	if want := int64(len(g.Order))<<50 + 1<<49; r.NeedBytes != want || r.FreeBytes <= 0 || r.FreeBytes >= r.NeedBytes || len(r.Folders) != 2 {
		t.Errorf("%+v, want %d bytes needed", r, want)
	}
	if got := files(t, p.path(".llima/records")); len(got) > 0 {
		t.Errorf("records were written: %v", got)
	}
	opt.NoSpaceCheck = true
	if _, err := executor.Build(t.Context(), g, s, opt); err != nil {
		t.Errorf("without the check: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestCheck holds that a target that gives other bytes the second time is
// found, before anything is published, whether or not it is fresh.
func TestCheck(t *testing.T) {
	p := newTiny(t, 1)
	p.options = func(o *executor.Options) { o.Check = true }
	if r := p.mustBuild(t); r.Checked == 0 {
		t.Errorf("%+v, want some checked", r.Summary)
	}
	if r := p.mustBuild(t); r.Checked == 0 || len(r.ran) != 0 {
		t.Errorf("%+v, ran %v, want all fresh and checked", r.Summary, r.ran)
	}
	n := 0
	unsteady := func(kind addr.Stage, s executor.Stage) executor.Stage {
		return stageFunc(func(ctx context.Context, a *executor.Action) error {
			if kind == addr.Compile && a.Target.Addr.Unit == "decode.PRE.0" {
				n++
				return a.WriteFile("single_pre_0.elf", fmt.Appendf(nil, "%d", n))
			}
			return s.Run(ctx, a)
		})
	}
	q := newTiny(t, 1)
	q.jobs, q.wrap, q.options = 1, unsteady, p.options
	r := q.build(t)
	var failed *executor.FailedError
	if !errors.As(r.err, &failed) || len(failed.Targets) != 1 || failed.Targets[0] != "m:compile:decode.PRE.0" {
		t.Fatalf("Build = %v, want m:compile:decode.PRE.0 to differ", r.err)
	}
	for _, e := range r.events {
		var differ *executor.DifferError
		if e.Kind == executor.Failed && (!errors.As(e.Err, &differ) || len(differ.Outputs) != 1 || !strings.HasPrefix(differ.Outputs[0], "single_pre_0.elf: ")) {
			t.Errorf("it says %v, want the output that differs", e.Err)
		}
	}
	if _, err := os.Stat(q.path("out/sima_files")); err == nil {
		t.Error("something was published")
	}
}

// TestForce runs fresh targets, and nothing that depends on what stays equal.
func TestForce(t *testing.T) {
	p := newTiny(t, 1)
	p.mustBuild(t)
	before := files(t, p.path("out"))
	g, s := p.graph(t), p.store(t)
	for _, target := range g.Order {
		target.Force = target.Addr.Stage == addr.Quantize
	}
	sum, err := executor.Build(t.Context(), g, s, executor.Options{Jobs: 2, Stages: stages, Now: time.Now})
	if err = errors.Join(err, s.Close()); err != nil || sum.Ran != 6 || sum.Restored != 0 {
		t.Errorf("Build = %+v, %v, want the six of QUANTIZE to run", sum, err)
	}
	sameFiles(t, files(t, p.path("out")), before)
}

// TestLogs holds that each target has a log of its last run, and that a
// failure tells its end.
func TestLogs(t *testing.T) {
	p := newTiny(t, 1)
	lines := 100
	p.wrap = func(kind addr.Stage, s executor.Stage) executor.Stage {
		return stageFunc(func(ctx context.Context, a *executor.Action) error {
			if kind != addr.Compile || a.Target.Part.Part != addr.Pre {
				return s.Run(ctx, a)
			}
			for i := range lines {
				fmt.Fprintf(a.Log, "line %d\n", i)
			}
			if lines == 100 {
				return errors.New("boom")
			}
			return s.Run(ctx, a)
		})
	}
	p.options = func(o *executor.Options) { o.KeepGoing = true }
	r := p.build(t)
	failures := 0
	for _, e := range r.events {
		if e.Kind != executor.Failed {
			continue
		}
		failures++
		tail := strings.Split(e.Message, "\n")
		if len(tail) != 40 || tail[0] != "line 60" || tail[39] != "line 99" {
			t.Errorf("%s: the tail is %q", e.Target.Addr, e.Message)
		}
		b, err := os.ReadFile(e.LogPath)
		if err != nil || !strings.HasPrefix(string(b), "line 0\n") || !strings.HasSuffix(string(b), "line 99\nfailed: boom\n") {
			t.Errorf("%s: the log is %q, %v", e.Target.Addr, b, err)
		}
	}
	if failures != 2 {
		t.Errorf("%d failures, want both phases of PRE", failures)
	}
	lines = 3
	p.mustBuild(t)
	b, err := os.ReadFile(p.path(".llima/logs/m%3acompile%3adecode.PRE.0.log"))
	if err != nil || !strings.HasPrefix(string(b), "line 0\nline 1\nline 2\n") || strings.Contains(string(b), "boom") {
		t.Errorf("after a success the log is %.60q, %v", b, err)
	}
}
