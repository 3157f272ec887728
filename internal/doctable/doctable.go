// Package doctable holds tables of documents to what tests measure. It knows
// marks and lines, not what a table says.
package doctable

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

// Table is lines of a document between two marks, which a test makes.
type Table struct {
	File    string // the document
	Name    string // of the table in it
	Command string // that writes the lines anew
}

// Check fails where the document's lines are not the measured ones. Lines are
// held to be the same if same says so; nil wants the same text. With update it
// writes them instead.
func (d Table) Check(tb testing.TB, update bool, lines []string, same func(have, want string) bool) {
	tb.Helper()
	doc, err := os.ReadFile(d.File)
	if err != nil {
		tb.Fatal(err)
	}
	begin := "<!-- " + d.Name + ": made by " + d.Command + " -->\n"
	const end = "<!-- end -->"
	head, rest, ok := strings.Cut(string(doc), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		tb.Fatalf("%s lacks the marks of a table: %s%s", d.File, begin, end)
	}
	if update {
		text := head + begin + strings.Join(lines, "\n") + "\n" + end + tail
		if err := os.WriteFile(d.File, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		return
	}
	have := strings.Split(strings.TrimSuffix(old, "\n"), "\n")
	if len(have) != len(lines) {
		tb.Fatalf("%s: table %q has %d lines, want %d; run %s", d.File, d.Name, len(have), len(lines), d.Command)
	}
	for i, want := range lines {
		if have[i] != want && (same == nil || !same(have[i], want)) {
			tb.Errorf("%s: table %q says\n%s\nwant\n%s\nor run %s", d.File, d.Name, have[i], want, d.Command)
		}
	}
}

// SamePercent compares the cells of two rows as text, and percentages within
// a tenth: kernels of different CPUs add in different orders.
func SamePercent(have, want string) bool {
	x, y := strings.Split(have, "|"), strings.Split(want, "|")
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		var p, q float64
		n, _ := fmt.Sscanf(x[i], "%f %%", &p)
		m, _ := fmt.Sscanf(y[i], "%f %%", &q)
		near := n == 1 && m == 1 && math.Abs(p-q) <= 0.1*max(p, q)+0.01
		if !near && x[i] != y[i] {
			return false
		}
	}
	return true
}
