package planner_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// savedExample is a plan of one target that is to run.
func savedExample(tb testing.TB) (text []byte, plan *planner.Plan, f *facts) {
	tb.Helper()
	f = &facts{digests: map[string]fingerprint.Digest{"tensor/w": "sha256:1"}}
	tt := target()
	d, err := planner.Decide(tt, upstream, f)
	if err != nil {
		tb.Fatal(err)
	}
	plan = &planner.Plan{Graph: &planner.Graph{}, Decisions: []planner.Decision{d}}
	var b bytes.Buffer
	r := planner.Request{File: "llima.hcl", Targets: []string{"m"}, Variables: []planner.SavedVariable{{Name: "v", Value: "1", From: "default"}}}
	if err := planner.Save(&b, r, plan); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes(), plan, f
}

func TestSavedPlan(t *testing.T) {
	text, plan, f := savedExample(t)
	if !planner.IsSavedPlan(text) {
		t.Errorf("%q does not begin as a saved plan", text[:20])
	}
	s, err := planner.ReadSaved(bytes.NewReader(text))
	if err != nil || s.Request.File != "llima.hcl" || !slices.Equal(s.Request.Targets, []string{"m"}) || len(s.Decisions) != 1 {
		t.Fatalf("ReadSaved = %+v, %v", s, err)
	}
	if drift := s.Drift(plan, f); len(drift) != 0 {
		t.Errorf("Drift of the plan itself = %+v", drift)
	}
	f.digests["tensor/w"] = "sha256:2"
	d, err := planner.Decide(plan.Decisions[0].Target, upstream, f)
	if err != nil {
		t.Fatal(err)
	}
	now := &planner.Plan{Graph: plan.Graph, Decisions: []planner.Decision{d}}
	want := fingerprint.Reason{Code: fingerprint.InputChanged, Name: "tensor/w", Old: "sha256:1", New: "sha256:2"}
	if drift := s.Drift(now, f); len(drift) != 1 || drift[0].Was != "run" || drift[0].Is != "run" || !slices.Equal(drift[0].Reasons, []fingerprint.Reason{want}) {
		t.Errorf("Drift after a tensor changed = %+v, want %+v", drift, want)
	}
	// A target less, and one more.
	now.Decisions = nil
	if drift := s.Drift(now, f); len(drift) != 1 || drift[0].Was != "run" || drift[0].Is != "" {
		t.Errorf("Drift without the target = %+v", drift)
	}
	s.Decisions = nil
	if drift := s.Drift(plan, f); len(drift) != 1 || drift[0].Was != "" || drift[0].Is != "run" {
		t.Errorf("Drift with a new target = %+v", drift)
	}
}

// TestDamagedSavedPlan has one text for each rule that it breaks.
func TestDamagedSavedPlan(t *testing.T) {
	text, _, _ := savedExample(t)
	lines := strings.SplitAfter(string(text), "\n")
	for _, c := range []struct{ text, want string }{
		{"", "ends before its last line"},
		{lines[0], "ends before its last line"},
		{lines[0] + lines[1], "ends before its last line"},
		{string(text) + lines[1], "line 4: stands behind the end"},
		{lines[0] + lines[2], "line 2: the plan was changed"},
		{strings.Replace(string(text), `"run"`, `"fresh"`, 1), "line 3: the plan was changed"},
		{strings.Replace(string(text), `"llima_plan":1`, `"llima_plan":2`, 1), "version 2 of the format"},
		{lines[0] + `{"place":"x"}` + "\n" + lines[2], "line 2: json: unknown field"},
		{lines[0] + "{} {}\n" + lines[2], "line 2: more than one value"},
		{"{\n", "line 1: unexpected EOF"},
	} {
		if _, err := planner.ReadSaved(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ReadSaved(%q): %v, want %q", c.text, err, c.want)
		}
	}
}

func FuzzReadSaved(f *testing.F) {
	text, _, _ := savedExample(f)
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := planner.ReadSaved(bytes.NewReader(text))
		if err == nil && s.Request.Version != 1 {
			t.Errorf("ReadSaved accepts version %d", s.Request.Version)
		}
	})
}
