// Package view is everything that a person sees: it renders what the libraries
// return as text for terminals and logs and as JSON, and decides nothing.
package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"

	"github.com/llima-build/llima/internal/diag"
)

// Diagnostics prints what a person has to know: each finding with the line
// that it is about, the piece of it underlined, and the reason. sources holds
// the files by the names that ranges use; columns wraps text, 0 does not.
func Diagnostics(w io.Writer, l diag.List, sources map[string][]byte, columns int, color bool) {
	p := diagnosticPrinter{columns: columns, color: color}
	for i, d := range l {
		if i > 0 {
			p.b.WriteByte('\n')
		}
		p.print(d, sources)
	}
	_, _ = io.WriteString(w, p.b.String()) // a terminal that is gone cannot be told
}

// Escapes of the terminal.
const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	blue   = "\x1b[34m"
	dim    = "\x1b[2m"
	reset  = "\x1b[0m"
)

// maxTextColumns keeps lines of prose readable on wide terminals.
const maxTextColumns = 100

type diagnosticPrinter struct {
	b       strings.Builder
	columns int
	color   bool
}

func (p *diagnosticPrinter) paint(text string, escapes ...string) string {
	if !p.color || text == "" {
		return text
	}
	return strings.Join(escapes, "") + text + reset
}

func (p *diagnosticPrinter) print(d diag.Diagnostic, sources map[string][]byte) {
	label, hue := severityLabel(d.Severity)
	fmt.Fprintf(&p.b, "%s %s\n", p.paint(label+":", bold, hue), p.paint(printable(d.Summary), bold))
	if d.Subject != nil && d.Subject.File != "" {
		p.b.WriteByte('\n')
		p.place(d, sources, hue)
	}
	if d.Detail != "" {
		p.b.WriteByte('\n')
		p.wrapped(d.Detail)
	}
	for i, v := range d.Values {
		word, comma := "with ", ","
		if i > 0 {
			word = "     "
		} else {
			p.b.WriteByte('\n')
		}
		if i == len(d.Values)-1 {
			comma = ""
		}
		p.b.WriteString("  " + p.paint(word+printable(v)+comma, dim) + "\n")
	}
}

func severityLabel(s diag.Severity) (label, hue string) {
	switch s {
	case diag.Error:
		return "Error", red
	case diag.Warning:
		return "Warning", yellow
	case diag.Note:
	}
	return "Note", blue
}

// place prints where the finding is, and the line with the subject underlined.
func (p *diagnosticPrinter) place(d diag.Diagnostic, sources map[string][]byte, hue string) {
	if d.Subject.Start.Line == 0 {
		fmt.Fprintf(&p.b, "  on %s\n", printable(d.Subject.File))
		return
	}
	fmt.Fprintf(&p.b, "  on %s line %d", printable(d.Subject.File), d.Subject.Start.Line)
	if d.Block != "" {
		p.b.WriteString(", in " + printable(d.Block))
	}
	s, ok := snippetOf(*d.Subject, sources[d.Subject.File])
	if !ok {
		p.b.WriteByte('\n')
		return
	}
	p.b.WriteString(":\n")
	number := fmt.Sprintf("%4d: ", d.Subject.Start.Line)
	before, marked, after := expandTabs(s.line[:s.start]), expandTabs(s.line[s.start:s.end]), expandTabs(s.line[s.end:])
	before, marked, after = p.clip(before, marked, after, len(number))
	p.b.WriteString(strings.TrimRight(p.paint(number, dim)+before+p.paint(marked, bold, hue)+after, " ") + "\n")
	p.b.WriteString(strings.Repeat(" ", len(number)+cells(before)) + p.paint(strings.Repeat("^", max(1, cells(marked))), hue) + "\n")
}

// clip shortens a long line around what is marked.
func (p *diagnosticPrinter) clip(before, marked, after string, taken int) (_, _, _ string) {
	room := p.columns - taken
	if p.columns <= 0 {
		room = 400
	}
	room = max(room, 20)
	if cells(before)+cells(marked)+cells(after) <= room {
		return before, marked, after
	}
	if cells(marked) > room/2 {
		marked = head(marked, room/2-1) + "…"
		after = ""
	}
	if keep := room - cells(marked) - min(cells(after), room/4); cells(before) > keep {
		before = "…" + tail(before, keep-1)
	}
	if keep := room - cells(marked) - cells(before); cells(after) > keep {
		after = head(after, keep-1) + "…"
	}
	return before, marked, after
}

// head returns the first n runes of s, tail the last.
func head(s string, n int) string {
	r := []rune(s)
	return string(r[:min(max(n, 0), len(r))])
}

func tail(s string, n int) string {
	r := []rune(s)
	return string(r[len(r)-min(max(n, 0), len(r)):])
}

// snippet is one line and the bytes [start, end) of it that are meant.
type snippet struct {
	line       string
	start, end int
}

func snippetOf(r diag.Range, src []byte) (snippet, bool) {
	if src == nil || r.Start.Byte < 0 || r.Start.Byte > len(src) || r.Start.Line < 1 {
		return snippet{}, false
	}
	from := bytes.LastIndexByte(src[:r.Start.Byte], '\n') + 1
	to := len(src)
	if n := bytes.IndexByte(src[r.Start.Byte:], '\n'); n >= 0 {
		to = r.Start.Byte + n
	}
	line := strings.TrimRight(string(src[from:to]), "\r")
	start := min(r.Start.Byte-from, len(line))
	end := min(max(r.End.Byte-from, start), len(line))
	return snippet{line: line, start: start, end: end}, true
}

// wrapped prints text two columns in. Lines that are indented themselves are
// commands and file text, which stay as they are.
func (p *diagnosticPrinter) wrapped(text string) {
	room := 0
	if p.columns > 0 {
		room = max(min(p.columns, maxTextColumns)-2, 20)
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" {
			p.b.WriteByte('\n')
			continue
		}
		line = printable(line)
		if room == 0 || strings.HasPrefix(line, " ") || cells(line) <= room {
			p.b.WriteString("  " + line + "\n")
			continue
		}
		at := 0
		for i, word := range strings.Fields(line) {
			switch {
			case i == 0:
				p.b.WriteString("  ")
			case at+1+cells(word) > room:
				p.b.WriteString("\n  ")
				at = 0
			default:
				p.b.WriteByte(' ')
				at++
			}
			p.b.WriteString(word)
			at += cells(word)
		}
		p.b.WriteByte('\n')
	}
}

// expandTabs makes text printable with two columns for a tab.
func expandTabs(s string) string { return printable(strings.ReplaceAll(s, "\t", "  ")) }

// printable replaces what could steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) {
			return '·'
		}
		return r
	}, s)
}

// cells counts the columns that text takes on a terminal.
func cells(s string) int {
	n := 0
	for _, r := range s {
		switch kind := width.LookupRune(r).Kind(); {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

// diagnosticsDocument is the JSON form of diagnostics.
type diagnosticsDocument struct {
	FormatVersion int              `json:"format_version"`
	Valid         bool             `json:"valid"`
	Errors        int              `json:"error_count"`
	Warnings      int              `json:"warning_count"`
	Diagnostics   []diagnosticJSON `json:"diagnostics"`
}

type diagnosticJSON struct {
	Severity string     `json:"severity"`
	Summary  string     `json:"summary"`
	Detail   string     `json:"detail,omitempty"`
	Block    string     `json:"block,omitempty"`
	Range    *rangeJSON `json:"range,omitempty"`
	Code     string     `json:"code,omitempty"` // the line of the range's start
	Values   []string   `json:"values,omitempty"`
}

type rangeJSON struct {
	File  string  `json:"file"`
	Start posJSON `json:"start"`
	End   posJSON `json:"end"`
}

type posJSON struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

// DiagnosticsJSON writes the diagnostics as one JSON document, in the order
// given. Detail and values are complete; code holds the line of the subject.
func DiagnosticsJSON(w io.Writer, l diag.List, sources map[string][]byte) error {
	doc := diagnosticsDocument{FormatVersion: 1, Valid: !l.HasErrors(), Diagnostics: []diagnosticJSON{}}
	for _, d := range l {
		switch d.Severity {
		case diag.Error:
			doc.Errors++
		case diag.Warning:
			doc.Warnings++
		case diag.Note:
		}
		j := diagnosticJSON{Severity: d.Severity.String(), Summary: d.Summary, Detail: d.Detail, Block: d.Block, Values: d.Values}
		if r := d.Subject; r != nil {
			j.Range = &rangeJSON{File: r.File, Start: posJSON(r.Start), End: posJSON(r.End)}
			if s, ok := snippetOf(*r, sources[r.File]); ok {
				j.Code = s.line
			}
		}
		doc.Diagnostics = append(doc.Diagnostics, j)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}
