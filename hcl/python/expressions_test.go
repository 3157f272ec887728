package python_test

import (
	"context"
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
