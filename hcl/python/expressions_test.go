package python_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/python"
)

// TestExpressions compares random expressions with what CPython made of them.
// Where CPython raises an exception we refuse, though maybe by another name.
func TestExpressions(t *testing.T) {
	n, wrong := 0, 0
	for line := range strings.Lines(read(t, "testdata/expressions.txt")) {
		text, want, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			t.Fatalf("%q: no tab", line)
		}
		n++
		got := evaluate(text)
		if raised := strings.HasSuffix(want, "Error"); got != want && (!raised || !strings.HasPrefix(got, "refused: ")) {
			if wrong++; wrong <= 40 {
				t.Errorf("%s = %s, CPython gives %s", text, got, want)
			}
		}
	}
	t.Logf("%d of %d differ", wrong, n)
}

// evaluate returns the repr of an expression.
func evaluate(text string) string {
	s, diags := python.Load(context.Background(), "e.py", fmt.Sprintf("def f():\n    return repr(%s)\n", text), "f", nil)
	if diags.HasErrors() {
		return "refused: " + diags[0].Detail
	}
	v, _, problem := s.Call()
	if problem != nil {
		return "refused: " + problem.Detail
	}
	return fmt.Sprint(v)
}

// TestPrograms is [TestExpressions] for random functions.
func TestPrograms(t *testing.T) {
	for line := range strings.Lines(read(t, "testdata/programs.jsonl")) {
		var p struct {
			Source string `json:"source"`
			Result string `json:"result"`
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		var got string
		s, diags := python.Load(t.Context(), "p.py", p.Source+"def g():\n    return repr(f())\n", "g", nil)
		if diags.HasErrors() {
			got = "refused: " + diags[0].Detail
		} else if v, _, problem := s.Call(); problem != nil {
			got = "refused: " + problem.Detail
		} else {
			got = fmt.Sprint(v)
		}
		if raised := strings.HasSuffix(p.Result, "Error"); got != p.Result && (!raised || !strings.HasPrefix(got, "refused: ")) {
			t.Errorf("%s\ngives %s, CPython %s", p.Source, got, p.Result)
		}
	}
}
