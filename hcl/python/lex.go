package python

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/llima-build/llima/internal/diag"
)

// tokenKind is what a token is.
type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokNewline
	tokIndent
	tokDedent
	tokName
	tokNumber
	tokString
	tokOp
)

// token is a piece of the source. Names, numbers, strings and operators keep
// their text as it was written.
type token struct {
	kind       tokenKind
	text       string
	start, end diag.Pos
}

// maxSourceBytes bounds a file, maxNesting what nests in it.
const (
	maxSourceBytes = 256 << 10
	maxNesting     = 64
)

// operators, longest first.
var operators = []string{
	"**=", "//=", ">>=", "<<=", "...",
	"->", ":=", "==", "!=", "<=", ">=", "<<", ">>", "**", "//", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "@=",
	"+", "-", "*", "/", "%", "@", "&", "|", "^", "~", "<", ">", "(", ")", "[", "]", "{", "}", ",", ":", ".", ";", "=",
}

// lexer cuts source into tokens; Python's reference, chapter 2.
type lexer struct {
	src     string
	at      diag.Pos
	depth   int     // open brackets
	opened  []token // those of them that stand in src
	indents []int   // columns of the open blocks
	tokens  []token
	err     *diag.Diagnostic
}

// lex returns the tokens of a file, or of an expression that stands in
// brackets (the braces of an f-string), from a place on.
func lex(file, src string, from diag.Pos, end int, inBrackets bool) ([]token, *diag.Diagnostic) {
	l := &lexer{src: src[:end], at: from, indents: []int{0}}
	if inBrackets {
		l.depth = 1
	}
	lineStart := !inBrackets
	for l.err == nil && l.at.Byte < len(l.src) {
		if lineStart && l.depth == 0 && l.indentation() {
			continue // a blank line
		}
		lineStart = l.next()
	}
	if n := len(l.opened); n > 0 && l.err == nil {
		open := l.opened[n-1]
		l.at = open.end
		l.fail(open.start, "This bracket is never closed.")
	}
	if l.err != nil {
		l.err.Subject.File = file
		return nil, l.err
	}
	if n := len(l.tokens); !inBrackets && n > 0 && l.tokens[n-1].kind != tokNewline {
		l.add(tokNewline, l.at)
	}
	for range l.indents[1:] {
		l.add(tokDedent, l.at)
	}
	l.add(tokEOF, l.at)
	return l.tokens, nil
}

func (l *lexer) add(kind tokenKind, start diag.Pos) {
	l.tokens = append(l.tokens, token{kind, l.src[start.Byte:l.at.Byte], start, l.at})
}

func (l *lexer) fail(start diag.Pos, format string, args ...any) {
	if l.err == nil {
		l.err = &diag.Diagnostic{
			Severity: diag.Error, Summary: "Not valid Python", Detail: fmt.Sprintf(format, args...),
			Subject: &diag.Range{Start: start, End: l.at},
		}
	}
}

// skip moves over n bytes that hold no line break.
func (l *lexer) skip(n int) {
	l.at.Column += utf8.RuneCountInString(l.src[l.at.Byte : l.at.Byte+n])
	l.at.Byte += n
}

// skipText moves over n bytes that may hold line breaks.
func (l *lexer) skipText(n int) {
	text := l.src[l.at.Byte : l.at.Byte+n]
	if lines := strings.Count(text, "\n"); lines > 0 {
		l.at.Line += lines
		l.at.Column = 1 + utf8.RuneCountInString(text[strings.LastIndexByte(text, '\n')+1:])
		l.at.Byte += n
		return
	}
	l.skip(n)
}

func (l *lexer) rest() string { return l.src[l.at.Byte:] }

// indentation reads the white space at the start of a line, and reports
// whether nothing else stands on it.
func (l *lexer) indentation() (blank bool) {
	start := l.at
	column := 0
	for l.at.Byte < len(l.src) {
		switch l.src[l.at.Byte] {
		case ' ':
			column++
		case '\t':
			column = (column/8 + 1) * 8
		case '\f':
			column = 0
		default:
			return l.indent(column, start)
		}
		l.skip(1)
	}
	return true
}

func (l *lexer) indent(column int, start diag.Pos) (blank bool) {
	rest := l.rest()
	if rest[0] == '#' || rest[0] == '\n' || strings.HasPrefix(rest, "\r\n") {
		l.comment()
		l.newline()
		return true
	}
	top := l.indents[len(l.indents)-1]
	if column > top {
		if len(l.indents) > maxNesting {
			l.fail(start, "Blocks nest at most %d deep.", maxNesting)
		}
		l.indents = append(l.indents, column)
		l.add(tokIndent, start)
	}
	for column < l.indents[len(l.indents)-1] {
		l.indents = l.indents[:len(l.indents)-1]
		l.add(tokDedent, l.at)
	}
	if column != l.indents[len(l.indents)-1] {
		l.fail(start, "This line is indented like none of the blocks around it.")
	}
	return false
}

// comment skips to the end of the line.
func (l *lexer) comment() {
	if strings.HasPrefix(l.rest(), "#") {
		n := strings.IndexByte(l.rest(), '\n')
		if n < 0 {
			n = len(l.rest())
		}
		l.skip(n)
	}
}

// newline skips a line break, if one is next.
func (l *lexer) newline() bool {
	n := 1
	switch rest := l.rest(); {
	case strings.HasPrefix(rest, "\r\n"):
		n = 2
	case !strings.HasPrefix(rest, "\n"):
		return false
	}
	l.at.Byte += n
	l.at.Line++
	l.at.Column = 1
	return true
}

// next reads one token, or what stands between two; lineStart says that a
// logical line ended.
func (l *lexer) next() (lineStart bool) {
	start := l.at
	c := l.src[l.at.Byte]
	switch {
	case c == ' ' || c == '\t' || c == '\f':
		l.skip(1)
	case c == '#':
		l.comment()
	case c == '\n' || c == '\r' && strings.HasPrefix(l.rest(), "\r\n"):
		if l.depth > 0 {
			l.newline()
			return false
		}
		l.tokens = append(l.tokens, token{tokNewline, "", start, start})
		l.newline()
		return true
	case c == '\\':
		l.skip(1)
		if !l.newline() {
			l.fail(start, "A backslash goes on with the next line only where it ends this one.")
		}
	case stringPrefix(l.rest()) >= 0:
		l.stringLiteral(stringPrefix(l.rest()))
	case c >= '0' && c <= '9' || c == '.' && len(l.rest()) > 1 && l.rest()[1] >= '0' && l.rest()[1] <= '9':
		l.number()
	default:
		l.word()
	}
	return false
}

// closing is what closes each bracket.
var closing = map[string]string{"(": ")", "[": "]", "{": "}"}

// word reads a name or an operator.
func (l *lexer) word() {
	start := l.at
	n := 0
	for i, r := range l.rest() {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r) && !unicode.Is(unicode.Mn, r)) {
			break
		}
		n = i + utf8.RuneLen(r)
	}
	if n > 0 {
		l.skip(n)
		l.add(tokName, start)
		return
	}
	for _, op := range operators {
		if !strings.HasPrefix(l.rest(), op) {
			continue
		}
		l.skip(len(op))
		l.add(tokOp, start)
		switch op {
		case "(", "[", "{":
			l.opened = append(l.opened, l.tokens[len(l.tokens)-1])
			if l.depth++; l.depth > maxNesting {
				l.fail(start, "Brackets nest at most %d deep.", maxNesting)
			}
		case ")", "]", "}":
			l.depth--
			if len(l.opened) == 0 {
				l.fail(start, "This bracket closes none.")
				return
			}
			open := l.opened[len(l.opened)-1]
			if l.opened = l.opened[:len(l.opened)-1]; closing[open.text] != op {
				l.fail(start, "Line %d opens %q, which %q cannot close.", open.start.Line, open.text, op)
			}
		}
		return
	}
	r, size := utf8.DecodeRuneInString(l.rest())
	l.skip(size)
	switch r {
	case '!', '$', '?', '`':
		l.fail(start, "%q means nothing here.", r)
	case '“', '”', '‘', '’':
		l.fail(start, "%q is no quote to Python: write \" or '.", r)
	default:
		l.fail(start, "The character %q cannot stand here.", r)
	}
}

// number reads what may be a number; the parser judges it.
func (l *lexer) number() {
	start := l.at
	rest := l.rest()
	hex := len(rest) > 1 && rest[0] == '0' && (rest[1] == 'x' || rest[1] == 'X')
	n := 0
	for n < len(rest) {
		c := rest[n]
		sign := (c == '+' || c == '-') && n > 0 && !hex && (rest[n-1] == 'e' || rest[n-1] == 'E')
		if !sign && c != '_' && c != '.' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			break
		}
		n++
	}
	// 1if x: letters that a keyword starts with belong to the number in our
	// reading; Python warns about such text too.
	l.skip(n)
	l.add(tokNumber, start)
}

// stringPrefix returns the length of the letters before a quote, or -1 where
// no string starts.
func stringPrefix(s string) int {
	for n := 0; n < 4 && n < len(s); n++ {
		switch {
		case s[n] == '"' || s[n] == '\'':
			return n
		case !strings.ContainsRune("rRbBuUfFtT", rune(s[n])):
			return -1
		}
	}
	return -1
}

// stringLiteral reads a string with its prefix and quotes.
func (l *lexer) stringLiteral(prefix int) {
	start := l.at
	formatted := strings.ContainsAny(l.rest()[:prefix], "fFtT")
	n := scanString(l.rest(), prefix, formatted)
	if n < 0 {
		end := strings.IndexByte(l.rest(), '\n')
		if end < 0 {
			end = len(l.rest())
		}
		l.skip(end)
		l.fail(start, "This string has no end.")
		return
	}
	l.skipText(n)
	l.add(tokString, start)
}

// scanString returns the length of a string literal whose quote stands at
// prefix, or -1 where it has no end. Quotes within the braces of a formatted
// string do not end it.
func scanString(s string, prefix int, formatted bool) int {
	quote := s[prefix : prefix+1]
	long := strings.HasPrefix(s[prefix:], strings.Repeat(quote, 3))
	if long {
		quote = strings.Repeat(quote, 3)
	}
	braces := 0
	for i := prefix + len(quote); i < len(s); {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i += 2
		case strings.HasPrefix(s[i:], quote) && (braces == 0 || !long && !closes(s[i+1:], quote)):
			return i + len(quote)
		case s[i] == '\n' && !long:
			return -1
		case formatted && braces == 0 && strings.HasPrefix(s[i:], "{{"):
			i += 2
		case formatted && s[i] == '{':
			braces++
			i++
		case formatted && s[i] == '}' && braces > 0:
			braces--
			i++
		case braces > 0 && (s[i] == '"' || s[i] == '\''):
			n := scanString(s[i:], 0, false)
			if n < 0 {
				return -1
			}
			i += n
		default:
			i++
		}
	}
	return -1
}

// closes reports whether a quote within the braces of an f-string opens a
// string there, because another one and the brace follow on the line.
func closes(rest, quote string) bool {
	line, _, _ := strings.Cut(rest, "\n")
	at := strings.Index(line, quote)
	return at >= 0 && strings.Contains(line[at:], "}")
}
