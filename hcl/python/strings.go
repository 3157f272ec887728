package python

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/llima-build/llima/internal/diag"
)

// strings reads one or more adjacent string literals, which are one value.
func (p *parser) strings() *expr {
	e := &expr{kind: exString, start: p.peek().start}
	var pieces []*expr
	formatted := false
	for p.peek().kind == tokString {
		t := p.next()
		n := stringPrefix(t.text)
		prefix := strings.ToLower(t.text[:n])
		quote := t.text[n : n+1]
		if long := strings.Repeat(quote, 3); strings.HasPrefix(t.text[n:], long) && len(t.text) >= n+6 {
			quote = long
		}
		body := t.text[n+len(quote) : len(t.text)-len(quote)]
		from := advance(t.start, t.text[:n+len(quote)])
		raw := strings.Contains(prefix, "r")
		switch {
		case strings.ContainsAny(prefix, "bt"):
			return &expr{kind: exRefused, text: map[bool]string{true: "bytes", false: "t-string"}[strings.Contains(prefix, "b")], start: t.start, end: t.end}
		case strings.Contains(prefix, "f"):
			formatted = true
			pieces = append(pieces, p.formatted(body, from, raw, 0)...)
		default:
			pieces = append(pieces, &expr{kind: exString, text: p.unescape(body, from, raw), start: t.start, end: t.end})
		}
		e.end = t.end
	}
	if formatted {
		e.kind, e.args = exFormatted, pieces
		return e
	}
	for _, piece := range pieces {
		e.text += piece.text
	}
	return e
}

// advance returns the place after some text.
func advance(at diag.Pos, text string) diag.Pos {
	if lines := strings.Count(text, "\n"); lines > 0 {
		at.Line += lines
		at.Column = 1
		at.Byte += len(text)
		at.Column += utf8.RuneCountInString(text[strings.LastIndexByte(text, '\n')+1:])
		return at
	}
	at.Column += utf8.RuneCountInString(text)
	at.Byte += len(text)
	return at
}

// formatted reads the inside of an f-string, or of a format within it.
func (p *parser) formatted(body string, from diag.Pos, raw bool, depth int) []*expr {
	var out []*expr
	literal := func(text string, at diag.Pos) {
		if text != "" {
			text = strings.NewReplacer("{{", "{", "}}", "}").Replace(text)
			out = append(out, &expr{kind: exString, text: p.unescape(text, at, raw), start: at, end: advance(at, text)})
		}
	}
	begin := 0
	for i := 0; i < len(body) && p.err == nil; {
		at := advance(from, body[:i])
		switch {
		case depth == 0 && (strings.HasPrefix(body[i:], "{{") || strings.HasPrefix(body[i:], "}}")):
			i += 2
		case body[i] == '}':
			p.fail(at, advance(at, "}"), `In an f-string a single "}" is written "}}".`)
		case body[i] == '{':
			literal(body[begin:i], advance(from, body[:begin]))
			n := p.field(body[i:], at, raw, depth, &out)
			i += n
			begin = i
		default:
			i++
		}
	}
	if p.err == nil {
		literal(body[begin:], advance(from, body[:begin]))
	}
	return out
}

// field reads {value=!r:format} and returns its length.
func (p *parser) field(text string, at diag.Pos, raw bool, depth int, out *[]*expr) int {
	colon, end := fieldParts(text)
	if end < 0 || depth > 2 {
		p.fail(at, advance(at, "{"), `In an f-string this "{" is not closed; a single "{" is written "{{".`)
		return len(text)
	}
	value := text[1:end]
	if colon >= 0 {
		value = text[1:colon]
	}
	f := &expr{kind: exField, start: at, end: advance(at, text[:end+1])}
	value, conversion := cutConversion(value)
	f.text = conversion
	if shown, ok := selfDocumenting(value); ok {
		*out = append(*out, &expr{kind: exString, text: value, start: at, end: f.end})
		if value = shown; conversion == "" && colon < 0 {
			f.text = "r"
		}
	}
	f.args = []*expr{p.inner(value, advance(at, "{"))}
	if colon >= 0 {
		from := advance(at, text[:colon+1])
		spec := &expr{kind: exFormatted, start: from, end: f.end}
		spec.args = p.formatted(text[colon+1:end], from, raw, depth+1)
		f.args = append(f.args, spec)
	}
	*out = append(*out, f)
	return end + 1
}

// inner parses an expression in the braces of an f-string.
func (p *parser) inner(text string, at diag.Pos) *expr {
	empty := &expr{kind: exEllipsis, start: at, end: advance(at, text)}
	if p.err != nil {
		return empty
	}
	if strings.TrimSpace(text) == "" {
		p.fail(at, advance(at, "}"), "Between the braces of an f-string an expression should stand.")
		return empty
	}
	tokens, err := lex(p.file, p.src, at, at.Byte+len(text), true)
	if err != nil {
		p.err = err
		p.at = len(p.tokens) - 1
		return empty
	}
	q := &parser{file: p.file, src: p.src, tokens: tokens, depth: p.depth + 1, inside: true}
	e := q.expressions()
	if t := q.peek(); q.err == nil && t.kind != tokEOF {
		q.fail(t.start, t.end, "The expression should end here%s.", q.instead())
	}
	if q.err != nil {
		p.err = q.err
		p.at = len(p.tokens) - 1
	}
	return e
}

// fieldParts returns where the format of a field begins, -1 where it has
// none, and where its brace closes, -1 where it does not.
func fieldParts(text string) (colon, end int) {
	colon = -1
	depth := 0
	for i := 1; i < len(text); {
		switch c := text[i]; {
		case (c == '"' || c == '\'') && colon < 0:
			n := scanString(text[i:], 0, false)
			if n < 0 {
				return colon, -1
			}
			i += n
			continue
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == '}' && depth == 0:
			return colon, i
		case c == ')' || c == ']' || c == '}':
			depth--
		case c == ':' && depth == 0 && colon < 0:
			colon = i
		}
		i++
	}
	return colon, -1
}

// cutConversion splits off !r, !s or !a.
func cutConversion(value string) (rest, conversion string) {
	trimmed := strings.TrimRight(value, " ")
	if n := len(trimmed); n > 2 && trimmed[n-2] == '!' && strings.ContainsRune("rsa", rune(trimmed[n-1])) {
		return trimmed[:n-2], trimmed[n-1:]
	}
	return value, ""
}

// selfDocumenting recognises {value=}.
func selfDocumenting(value string) (shown string, ok bool) {
	trimmed := strings.TrimRight(value, " ")
	shown, ok = strings.CutSuffix(trimmed, "=")
	if !ok || shown == "" || strings.ContainsRune("=!<>", rune(shown[len(shown)-1])) {
		return "", false
	}
	return shown, true
}

// simpleEscapes are those of one letter.
var simpleEscapes = map[byte]string{
	'\n': "", '\\': "\\", '\'': "'", '"': "\"", 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
}

// unescape returns the value of the inside of a string.
func (p *parser) unescape(body string, at diag.Pos, raw bool) string {
	body = strings.ReplaceAll(body, "\r\n", "\n")
	if raw || !strings.Contains(body, `\`) {
		return body
	}
	var b strings.Builder
	for i := 0; i < len(body); {
		if body[i] != '\\' || i+1 == len(body) {
			b.WriteByte(body[i])
			i++
			continue
		}
		c := body[i+1]
		if s, ok := simpleEscapes[c]; ok {
			b.WriteString(s)
			i += 2
			continue
		}
		n, base := 0, 16
		switch {
		case c == 'x':
			n = 2
		case c == 'u':
			n = 4
		case c == 'U':
			n = 8
		case c >= '0' && c <= '7':
			for n < 3 && i+1+n < len(body) && body[i+1+n] >= '0' && body[i+1+n] <= '7' {
				n++
			}
			base, i = 8, i-1
		case c == 'N':
			p.fail(at, advance(at, body[:i+2]), `Characters are not known by their names here: write the character, or \uXXXX.`)
			return ""
		default: // both stay, as in Python
			b.WriteString(body[i : i+2])
			i += 2
			continue
		}
		digits := body[i+2 : min(i+2+n, len(body))]
		v, err := strconv.ParseUint(digits, base, 32)
		if err != nil || len(digits) < n || v > utf8.MaxRune || v >= 0xD800 && v < 0xE000 {
			p.fail(at, advance(at, body[:min(i+2, len(body))]), "This escape names no character.")
			return ""
		}
		b.WriteRune(rune(v))
		i += 2 + n
	}
	return b.String()
}
