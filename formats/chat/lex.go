package chat

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind says what a token is.
type kind uint8

const (
	textToken  kind = iota // text between tags
	varToken               // {{
	blockToken             // {%
	endToken               // }} or %}
	nameToken
	intToken
	floatToken
	stringToken
	opToken
	eofToken
)

var kindNames = [...]string{"text", "{{", "{%", "the end of the tag", "name", "number", "number", "string", "operator", "the end of the template"}

func (k kind) String() string { return kindNames[k] }

type token struct {
	kind kind
	text string
	line int
}

// lexer cuts a template into tokens. Between tags it applies trim_blocks and
// lstrip_blocks: a block tag takes the line break after it, and the blanks
// before it where it begins a line.
type lexer struct {
	src       string
	pos, line int
	lineStart bool // what stands at pos begins a line
	tokens    []token
}

func lex(src string) []token {
	src = strings.ReplaceAll(src, "\r\n", "\n")
	src = strings.TrimSuffix(src, "\n")
	l := &lexer{src: src, line: 1, lineStart: true}
	for l.pos < len(l.src) {
		open := l.nextTag()
		text := l.src[l.pos:open]
		if open == len(l.src) {
			l.add(textToken, text)
			break
		}
		l.tag(text, open)
	}
	l.add(eofToken, "")
	return l.tokens
}

func (l *lexer) add(k kind, text string) { l.tokens = append(l.tokens, token{k, text, l.line}) }

func (l *lexer) count(s string) { l.line += strings.Count(s, "\n") }

// nextTag returns where the next {{, {% or {# begins.
func (l *lexer) nextTag() int {
	for i := l.pos; ; i++ {
		j := strings.IndexByte(l.src[i:], '{')
		if j < 0 {
			return len(l.src)
		}
		i += j
		if i+1 < len(l.src) && strings.IndexByte("{%#", l.src[i+1]) >= 0 {
			return i
		}
	}
}

// tag reads one tag with the text before it.
func (l *lexer) tag(text string, open int) {
	sort, p := l.src[open+1], open+2
	var sign byte
	if p < len(l.src) && (l.src[p] == '-' || l.src[p] == '+') {
		sign = l.src[p]
		p++
	}
	if kept := l.before(text, sign, sort != '{'); kept != "" {
		l.add(textToken, kept)
	}
	l.count(text)
	switch {
	case sort == '#':
		end := strings.Index(l.src[p:], "#}")
		if end < 0 {
			failAt(l.line, "the comment is not closed")
		}
		l.count(l.src[p : p+end])
		l.close(p+end+2, l.src[p+end-1], true)
	case sort == '%' && l.raw(p):
	case sort == '%':
		l.add(blockToken, "")
		l.expression(p, "%}")
	default:
		l.add(varToken, "")
		l.expression(p, "}}")
	}
}

// before returns what stays of the text before a tag that begins with sign.
func (l *lexer) before(text string, sign byte, block bool) string {
	switch {
	case sign == '-':
		return strings.TrimRightFunc(text, unicode.IsSpace)
	case sign == '+' || !block:
		return text
	}
	begin := strings.LastIndexByte(text, '\n') + 1
	if (begin > 0 || l.lineStart) && strings.TrimSpace(text[begin:]) == "" {
		return text[:begin]
	}
	return text
}

// close moves on to what follows a tag that ends at p. sign is the byte before
// its closing delimiter.
func (l *lexer) close(p int, sign byte, block bool) {
	q := p
	if sign == '-' {
		q = len(l.src) - len(strings.TrimLeftFunc(l.src[p:], unicode.IsSpace))
	} else if block && sign != '+' && q < len(l.src) && l.src[q] == '\n' {
		q++
	}
	l.count(l.src[p:q])
	l.lineStart = q > p && l.src[q-1] == '\n'
	l.pos = q
}

// raw reads {% raw %} to {% endraw %}, where p stands after {%. It reports
// whether that is what there is.
func (l *lexer) raw(p int) bool {
	const blanks = " \t\n"
	rest, ok := strings.CutPrefix(strings.TrimLeft(l.src[p:], blanks), "raw")
	if !ok {
		return false
	}
	rest = strings.TrimLeft(rest, blanks)
	var sign byte
	if strings.HasPrefix(rest, "-") {
		sign, rest = '-', rest[1:]
	}
	if !strings.HasPrefix(rest, "%}") {
		return false
	}
	l.close(len(l.src)-len(rest)+2, sign, false)
	body, lineStart := l.pos, l.lineStart
	for q := body; ; q += 2 {
		i := strings.Index(l.src[q:], "{%")
		if i < 0 {
			failAt(l.line, "raw is not closed")
		}
		q += i
		if !strings.HasPrefix(strings.TrimLeft(l.src[q+2:], "-+"+blanks), "endraw") {
			continue
		}
		end := strings.Index(l.src[q:], "%}")
		if end < 0 {
			failAt(l.line, "endraw is not closed")
		}
		l.lineStart = lineStart
		l.add(textToken, l.before(l.src[body:q], l.src[q+2], true))
		l.count(l.src[body : q+end])
		l.close(q+end+2, l.src[q+end-1], true)
		return true
	}
}

// expression reads the tokens of a tag, from p to its closing delimiter.
func (l *lexer) expression(p int, closer string) {
	depth := 0
	for {
		for p < len(l.src) && strings.IndexByte(" \t\n\r", l.src[p]) >= 0 {
			if l.src[p] == '\n' {
				l.line++
			}
			p++
		}
		if p >= len(l.src) {
			failAt(l.line, "the tag is not closed")
		}
		if depth == 0 {
			rest, sign := l.src[p:], l.src[p]
			if sign == '-' || sign == '+' && closer == "%}" {
				rest = rest[1:]
			}
			if strings.HasPrefix(rest, closer) {
				l.add(endToken, "")
				l.close(len(l.src)-len(rest)+2, sign, closer == "%}")
				return
			}
		}
		switch c := l.src[p]; {
		case c == '"' || c == '\'':
			p = l.quoted(p)
		case c >= '0' && c <= '9':
			p = l.number(p)
		default:
			p = l.nameOrOperator(p, &depth)
		}
	}
}

func (l *lexer) nameOrOperator(p int, depth *int) int {
	r, n := utf8.DecodeRuneInString(l.src[p:])
	if r == '_' || unicode.IsLetter(r) {
		end := strings.IndexFunc(l.src[p:], func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if end < 0 {
			end = len(l.src) - p
		}
		l.add(nameToken, l.src[p:p+end])
		return p + end
	}
	op := l.src[p : p+n]
	for _, two := range []string{"//", "**", "==", "!=", ">=", "<="} {
		if strings.HasPrefix(l.src[p:], two) {
			op = two
		}
	}
	if !strings.Contains("+-/*%~[](){}><=.:|,", op[:1]) && op != "!=" {
		failAt(l.line, "unexpected %q", op)
	}
	switch op {
	case "(", "[", "{":
		*depth++
	case ")", "]", "}":
		*depth--
	}
	l.add(opToken, op)
	return p + len(op)
}

func (l *lexer) number(p int) int {
	digits := func(q int) int {
		for q < len(l.src) && (l.src[q] >= '0' && l.src[q] <= '9' || l.src[q] == '_') {
			q++
		}
		return q
	}
	isDigit := func(q int) bool { return q < len(l.src) && l.src[q] >= '0' && l.src[q] <= '9' }
	k, q := intToken, digits(p)
	if q < len(l.src) && l.src[q] == '.' && isDigit(q+1) {
		k, q = floatToken, digits(q+1)
	}
	if q < len(l.src) && l.src[q]|0x20 == 'e' {
		z := q + 1
		if z < len(l.src) && (l.src[z] == '-' || l.src[z] == '+') {
			z++
		}
		if isDigit(z) {
			k, q = floatToken, digits(z)
		}
	}
	l.add(k, strings.ReplaceAll(l.src[p:q], "_", ""))
	return q
}

// escapes are those of one letter.
var escapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", 'b': "\b", 'f': "\f", '\\': "\\", '\'': "'", '"': `"`, '\n': ""}

// escapeDigits are those with a code in hexadecimal.
var escapeDigits = map[byte]int{'x': 2, 'u': 4, 'U': 8}

func (l *lexer) quoted(p int) int {
	quote := l.src[p]
	var b strings.Builder
	q := p + 1
	for ; ; q++ {
		switch {
		case q >= len(l.src):
			failAt(l.line, "the string is not closed")
		case l.src[q] == quote:
			l.count(l.src[p:q])
			l.add(stringToken, b.String())
			return q + 1
		case l.src[q] != '\\' || q+1 == len(l.src):
			b.WriteByte(l.src[q])
			continue
		}
		q++
		if s, ok := escapes[l.src[q]]; ok {
			b.WriteString(s)
			continue
		}
		n, ok := escapeDigits[l.src[q]]
		if !ok {
			b.WriteByte('\\')
			b.WriteByte(l.src[q])
			continue
		}
		v, err := strconv.ParseUint(l.src[q+1:min(len(l.src), q+1+n)], 16, 32)
		if err != nil || q+1+n > len(l.src) {
			failAt(l.line, "bad escape in a string")
		}
		b.WriteRune(rune(v))
		q += n
	}
}
