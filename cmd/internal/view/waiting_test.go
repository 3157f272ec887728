package view_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/executor"
)

// TestSilence holds that nothing takes long without a word: what runs, what is
// read before a build, and whose lock is waited for.
func TestSilence(t *testing.T) {
	play := func(mode string, what func(p *view.Progress)) (out string) {
		synctest.Test(t, func(*testing.T) {
			var b bytes.Buffer
			p := view.NewProgress(&b, view.ProgressOptions{Mode: mode, Now: time.Now, Size: func() (int, int) { return 80, 24 }})
			what(p)
			p.Close()
			out = b.String()
		})
		return out
	}
	running := func(p *view.Progress) {
		p.Event(executor.Event{Kind: executor.Started, Target: target("prefill.PRE.0"), Total: 3})
		p.Event(executor.Event{Kind: executor.Started, Target: target("prefill.PRE.1"), Total: 3})
		time.Sleep(21 * time.Second)
	}
	part := func(p *view.Progress) {
		one := target("prefill.PRE.0")
		p.Event(executor.Event{Kind: executor.Started, Target: one, Total: 3})
		time.Sleep(5 * time.Second)
		p.Event(executor.Event{Kind: executor.Advanced, Target: one, Step: 21, Steps: 63, Total: 3})
		time.Sleep(6 * time.Second)
	}
	reading := func(p *view.Progress) {
		for i := range int64(8) {
			p.Reading(i<<20, 8<<20)
			time.Sleep(time.Second)
		}
		p.Reading(0, 0)
	}
	waiting := func(p *view.Progress) {
		p.Event(executor.Event{Kind: executor.Waiting, Message: "out is being built by process 7"})
		time.Sleep(3 * time.Second)
	}
	for _, c := range []struct {
		mode string
		what func(p *view.Progress)
		want string
	}{
		{"plain", running, "[0/3] running m:compile:prefill.PRE.0 for 10s and 1 more\n[0/3] running m:compile:prefill.PRE.0 for 20s and 1 more\n"},
		{"plain", reading, "reading files that changed: 6.0 MiB of 8.0 MiB\n"},
		{"plain", waiting, "waiting: out is being built by process 7\n"},
		{"plain", part, "[0/3] running m:compile:prefill.PRE.0 for 10s, 33%\n"},
		{"quiet", running, ""},
		{"quiet", reading, ""},
		{"quiet", waiting, ""},
	} {
		if got := play(c.mode, c.what); got != c.want {
			t.Errorf("%s: %q, want %q", c.mode, got, c.want)
		}
	}
	for name, c := range map[string]struct {
		what func(p *view.Progress)
		want string
	}{
		"running": {running, "\x1b[J[0/3] 20s\n  m:compile:prefill.PRE.0  20s\n  m:compile:prefill.PRE.1  20s"},
		"a part":  {part, "\x1b[J[0/3] 11s\n  m:compile:prefill.PRE.0  11s  [######..............]  33%, about 22s left"},
		"reading": {reading, "\x1b[Jreading files that changed: 5.0 MiB of 8.0 MiB"},
		"waiting": {waiting, "\x1b[Jwaiting 2.50s"},
	} {
		got := play("tty", c.what)
		if !strings.Contains(got, c.want) || !strings.HasSuffix(got, "\x1b[J") {
			t.Errorf("%s on a terminal: %q, want %q and a cleared end", name, got[max(0, len(got)-200):], c.want)
		}
	}
}
