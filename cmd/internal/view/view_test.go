package view_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

func TestBytes(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want string
	}{{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1 << 20, "1.0 MiB"}, {3 << 29, "1.50 GiB"}} {
		if got := view.Bytes(c.n); got != c.want {
			t.Errorf("Bytes(%d) = %q, want %q", c.n, got, c.want)
		}
	}
}

func TestReasonText(t *testing.T) {
	for _, c := range []struct {
		reason fingerprint.Reason
		want   string
	}{
		{fingerprint.Reason{Code: fingerprint.NeverBuilt}, "never built"},
		{fingerprint.Reason{Code: fingerprint.Interrupted}, "not finished last time"},
		{fingerprint.Reason{Code: fingerprint.ParamChanged, Name: "precision", Old: "BF16", New: "A_BF16_W_INT8", Where: "rule x (llima.hcl:3)"}, "precision: BF16 → A_BF16_W_INT8, rule x (llima.hcl:3)"},
		{fingerprint.Reason{Code: fingerprint.InputChanged, Name: "tensor/a.weight"}, "changed: a.weight"},
		{fingerprint.Reason{Code: fingerprint.InputAdded, Name: "file/tokenizer.json"}, "new: tokenizer.json"},
		{fingerprint.Reason{Code: fingerprint.InputRemoved, Name: "file/tokenizer.json"}, "gone: tokenizer.json"},
		{fingerprint.Reason{Code: fingerprint.OutputMissing, Name: "a.elf"}, "missing: a.elf"},
		{fingerprint.Reason{Code: fingerprint.OutputModified, Name: "a.elf"}, "modified: a.elf"},
		{fingerprint.Reason{Code: fingerprint.ToolChanged, Name: "compile"}, "llima's compile stage is another version"},
	} {
		if got := view.ReasonText(c.reason); got != c.want {
			t.Errorf("ReasonText(%+v) = %q, want %q", c.reason, got, c.want)
		}
	}
}

// show plays events into a progress of 40 columns and returns what it printed.
func show(mode string, now func() time.Time, events ...executor.Event) string {
	var b bytes.Buffer
	p := view.NewProgress(&b, view.ProgressOptions{
		Mode: mode, Now: now, Jobs: 1, Size: func() (int, int) { return 40, 10 },
		Retry: func(target string) string { return "llima build " + target },
	})
	for _, e := range events {
		p.Event(e)
	}
	p.Close()
	return b.String()
}

func target(unit string) *planner.Target {
	return &planner.Target{Addr: addr.Target{Model: "m", Stage: addr.Compile, Unit: unit}}
}

// TestProgress holds what each mode shows: whole lines elsewhere, live lines
// on a terminal that never exceed its width, failures always and in full at
// the end.
func TestProgress(t *testing.T) {
	clock := time.Unix(0, 0)
	now := func() time.Time { return clock }
	one, two := target("prefill.PRE.0"), target("prefill.PRE.1")
	events := []executor.Event{
		{Kind: executor.Started, Target: one, Total: 2},
		{Kind: executor.Started, Target: two, Total: 2},
		{Kind: executor.Failed, Target: one, Err: errors.New("no room"), Message: "one\ntwo\n", LogPath: "logs/one.log", Total: 2},
		{Kind: executor.Finished, Target: two, State: planner.Run, Wall: 120 * time.Millisecond, Done: 1, Total: 2},
	}
	const failure = "FAILED m:compile:prefill.PRE.0: no room\n  | one\n  | two\n  log:\n    logs/one.log\n  to try again:\n    llima build m:compile:prefill.PRE.0\n"
	if got, want := show("plain", now, events...), "FAILED m:compile:prefill.PRE.0\n[1/2] m:compile:prefill.PRE.1  0.12s\n\n"+failure; got != want {
		t.Errorf("plain: %q, want %q", got, want)
	}
	if got := show("quiet", now, events...); got != failure {
		t.Errorf("quiet: %q, want %q", got, failure)
	}
	tty := show("tty", now, events...)
	if !strings.HasSuffix(tty, "\x1b[J\n"+failure) {
		t.Errorf("tty: %q, want it to end with cleared lines and the failure", tty)
	}
	for line := range strings.Lines(strings.TrimSuffix(tty, failure)) {
		at := strings.LastIndex(line, "\x1b[J") + 1
		if n := len([]rune(strings.TrimRight(line[at:], "\n"))); n > 40+len("\x1b[J") {
			t.Errorf("tty: line of %d columns: %q", n, line)
		}
	}
}

// TestProgressOfHistory holds that live lines tell what is left by what
// targets took last time.
func TestProgressOfHistory(t *testing.T) {
	clock := time.Unix(0, 0)
	now := func() time.Time { return clock }
	one, two := target("prefill.PRE.0"), target("prefill.PRE.1")
	got := show("tty", now,
		executor.Event{Kind: executor.Begun, Total: 2, Expected: map[*planner.Target]time.Duration{one: 20 * time.Second, two: 0}},
		executor.Event{Kind: executor.Started, Target: one, Total: 2})
	if want := "[0/2] 0.00s, about 40s left\n  m:compile:prefill.PRE.0  0.00s of ab…"; !strings.Contains(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestProgressFollowsTheTerminal replays what is drawn on a model of a
// terminal that gets narrower: nothing of an earlier frame stays.
func TestProgressFollowsTheTerminal(t *testing.T) {
	var b bytes.Buffer
	columns := 60
	p := view.NewProgress(&b, view.ProgressOptions{Mode: "tty", Now: func() time.Time { return time.Unix(0, 0) }, Size: func() (int, int) { return columns, 4 }})
	for i := range 5 {
		p.Event(executor.Event{Kind: executor.Started, Target: target(fmt.Sprintf("prefill.PRE.%d", i)), Total: 9})
	}
	before := b.String()
	if last := before[strings.LastIndex(before, "\x1b[J")+3:]; strings.Count(last, "\n") != 2 || !strings.HasSuffix(last, "  and 4 more") {
		t.Errorf("five targets on four rows: %q", last)
	}
	b.Reset()
	columns = 20 // lines of 27 columns take two rows now
	p.Close()
	if got := b.String(); got != "\r\x1b[3A\x1b[J" {
		t.Errorf("after the terminal got narrower: %q", got)
	}
}
