// Package diag holds the diagnostics that a user sees: what is wrong, where,
// why, and how to mend it. Rendering is cmd's business.
package diag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether work can go on.
type Severity uint8

// The severities, worst first.
const (
	Error Severity = iota
	Warning
	Note
)

// String returns "error", "warning" or "note".
func (s Severity) String() string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	case Note:
		return "note"
	}
	return fmt.Sprintf("Severity(%d)", uint8(s))
}

// Pos is a place in a file. Line and Column start at 1, Byte at 0.
type Pos struct {
	Line, Column, Byte int
}

// Range is a half-open piece of a file, or, where it has no line, a place that
// is none: "argument --max_num_tokens".
type Range struct {
	File       string // as the user would write it, relative where possible
	Start, End Pos
}

// String returns "llima.hcl:12".
func (r Range) String() string {
	if r.File == "" || r.Start.Line == 0 {
		return r.File
	}
	return fmt.Sprintf("%s:%d", r.File, r.Start.Line)
}

// Diagnostic is one finding. Summary is constant for its kind; Detail names
// the values, the reason and the fix, with commands on indented lines.
type Diagnostic struct {
	Severity Severity
	Summary  string
	Detail   string
	Subject  *Range   // what is wrong
	Context  *Range   // a wider piece to show
	Block    string   // the block around Subject, `model "a"` for example
	Values   []string // "layer.index as 3", for expressions
}

// List is a set of diagnostics; as an error it reads as its first one.
type List []Diagnostic //nolint:errname // a list that is seldom used as an error

// HasErrors reports whether any diagnostic is an error.
func (l List) HasErrors() bool {
	return slices.ContainsFunc(l, func(d Diagnostic) bool { return d.Severity == Error })
}

// Error implements error.
func (l List) Error() string {
	var b strings.Builder
	for i, d := range l {
		if i > 0 {
			b.WriteString("\n")
		}
		if d.Subject != nil && d.Subject.File != "" {
			fmt.Fprintf(&b, "%s: ", d.Subject)
		}
		b.WriteString(d.Summary)
		if d.Detail != "" {
			b.WriteString(": " + d.Detail)
		}
	}
	return b.String()
}

// Sorted returns the diagnostics by file and byte, errors first at one place,
// without repetitions.
func (l List) Sorted() List {
	out := slices.Clone(l)
	slices.SortStableFunc(out, func(a, b Diagnostic) int {
		x, y := a.at(), b.at()
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Start.Byte, y.Start.Byte),
			cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Summary, b.Summary), cmp.Compare(a.Detail, b.Detail))
	})
	return slices.CompactFunc(out, func(a, b Diagnostic) bool {
		return a.Severity == b.Severity && a.Summary == b.Summary && a.Detail == b.Detail && a.at() == b.at()
	})
}

func (d Diagnostic) at() Range {
	if d.Subject == nil {
		return Range{}
	}
	return *d.Subject
}

// Errorf returns a list of one error without a place.
func Errorf(summary, format string, args ...any) List {
	return List{{Severity: Error, Summary: summary, Detail: fmt.Sprintf(format, args...)}}
}
