package doctable_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/internal/doctable"
)

// recorder is a test that notes its failures.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(r)
}

// check runs Check on a document and returns how it failed.
func check(t *testing.T, doc string, update bool, lines []string, same func(a, b string) bool) (string, []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &recorder{TB: t}
	func() {
		defer func() {
			if e := recover(); e != nil && e != any(r) {
				panic(e)
			}
		}()
		doctable.Table{File: file, Name: "a", Command: "go test"}.Check(r, update, lines, same)
	}()
	after, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(after), r.failures
}

const doc = "before\n<!-- a: made by go test -->\n| x | 1.00 % |\n<!-- end -->\nafter\n<!-- b: made by go test -->\n<!-- end -->\n"

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name, doc, line, want string
		same                  func(a, b string) bool
	}{
		{name: "same", doc: doc, line: "| x | 1.00 % |"},
		{name: "other", doc: doc, line: "| x | 1.05 % |", want: "want\n| x | 1.05 %"},
		{name: "near", doc: doc, line: "| x | 1.05 % |", same: doctable.SamePercent},
		{name: "far", doc: doc, line: "| x | 1.30 % |", same: doctable.SamePercent, want: "want\n| x | 1.30 %"},
		{name: "name", doc: doc, line: "| y | 1.00 % |", same: doctable.SamePercent, want: "want\n| y |"},
		{name: "lines", doc: doc, line: "| x | 1.00 % |\n| y | 1.00 % |", want: "has 1 lines, want 2"},
		{name: "marks", doc: "nothing", line: "| x | 1.00 % |", want: "lacks the marks"},
	} {
		after, failures := check(t, c.doc, false, strings.Split(c.line, "\n"), c.same)
		if got := strings.Join(failures, "\n"); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: failures %q, want %q", c.name, got, c.want)
		}
		if after != c.doc {
			t.Errorf("%s: Check changed the document", c.name)
		}
	}
}

func TestUpdate(t *testing.T) {
	after, failures := check(t, doc, true, []string{"| y |", "| z |"}, nil)
	want := strings.Replace(doc, "| x | 1.00 % |", "| y |\n| z |", 1)
	if after != want || failures != nil {
		t.Errorf("update wrote\n%s\nwant\n%s\nfailures %q", after, want, failures)
	}
}
