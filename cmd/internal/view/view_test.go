package view_test

import (
	"bytes"
	"errors"
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

// TestProgress holds what each mode shows: whole lines elsewhere, one live
// line on a terminal that never exceeds its width, failures always.
func TestProgress(t *testing.T) {
	target := &planner.Target{Addr: addr.Target{Model: "m", Stage: addr.Compile, Unit: "prefill.PRE.0"}}
	clock := time.Unix(0, 0)
	now := func() time.Time { return clock }
	play := func(mode string) string {
		var b bytes.Buffer
		p := view.NewProgress(&b, mode, 40, false, now)
		p.Event(executor.Event{Kind: executor.Started, Target: target, Total: 2})
		p.Event(executor.Event{Kind: executor.Finished, Target: target, State: planner.Run, Wall: 120 * time.Millisecond, Done: 1, Total: 2})
		p.Event(executor.Event{Kind: executor.Failed, Target: target, Err: errors.New("no room"), Message: "one\ntwo\n", Done: 1, Total: 2})
		p.Close()
		return b.String()
	}
	const failure = "FAILED m:compile:prefill.PRE.0: no room\n  | one\n  | two\n  to try again:\n    llima build m:compile:prefill.PRE.0\n"
	if got, want := play("plain"), "[1/2] m:compile:prefill.PRE.0  0.12s\n"+failure; got != want {
		t.Errorf("plain: %q, want %q", got, want)
	}
	if got := play("quiet"); got != failure {
		t.Errorf("quiet: %q, want %q", got, failure)
	}
	tty := play("tty")
	if !strings.Contains(tty, failure) || !strings.HasSuffix(tty, "\r\x1b[K") {
		t.Errorf("tty: %q, want the failure, and a cleared line at the end", tty)
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(tty, "\r\x1b[K", "\n"), "\n") {
		if n := len([]rune(line)); n > 40 && !strings.Contains(failure, line) {
			t.Errorf("tty: line of %d columns: %q", n, line)
		}
	}
}
