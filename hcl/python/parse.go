package python

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llima-build/llima/internal/diag"
)

// parser reads statements and expressions by recursive descent; Python's
// reference, chapters 6 to 8. After an error it stands at the end.
type parser struct {
	file   string
	src    string
	tokens []token
	at     int
	depth  int
	inside bool // of the braces of an f-string
	err    *diag.Diagnostic
}

// parse returns the statements of a file.
func parse(file, src string) ([]*stmt, *diag.Diagnostic) {
	if len(src) > maxSourceBytes {
		return nil, &diag.Diagnostic{
			Severity: diag.Error, Summary: "File is too large",
			Detail: fmt.Sprintf("%s has %d bytes; a configuration script has at most %d.", file, len(src), maxSourceBytes),
		}
	}
	tokens, err := lex(file, src, diag.Pos{Line: 1, Column: 1}, len(src), false)
	if err != nil {
		return nil, err
	}
	p := &parser{file: file, src: src, tokens: tokens}
	var body []*stmt
	for p.peek().kind != tokEOF {
		body = append(body, p.statement()...)
	}
	return body, p.err
}

func (p *parser) peek() token { return p.ahead(0) }

// ahead returns the token n after the next one. Past the last stands the end of the file, where a failed parser is too.
func (p *parser) ahead(n int) token { return p.tokens[min(p.at+n, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.peek()
	if t.kind != tokEOF {
		p.at++
	}
	return t
}

func (p *parser) fail(start, end diag.Pos, format string, args ...any) {
	if p.err == nil {
		p.err = &diag.Diagnostic{
			Severity: diag.Error, Summary: "Not valid Python", Detail: fmt.Sprintf(format, args...),
			Subject: &diag.Range{File: p.file, Start: start, End: end},
		}
	}
	p.at = len(p.tokens) - 1
}

// is reports whether the next token is one of some operators or keywords.
func (p *parser) is(texts ...string) bool {
	t := p.peek()
	return (t.kind == tokOp || t.kind == tokName) && slices.Contains(texts, t.text)
}

func (p *parser) accept(text string) bool {
	if p.is(text) {
		p.at++
		return true
	}
	return false
}

func (p *parser) expect(text string) token {
	t := p.peek()
	if !p.is(text) {
		if text == ":" && t.text == "=" {
			p.fail(t.start, t.end, `A comparison is written "==".`)
		}
		p.fail(t.start, t.end, "Here %s should stand%s.", quoted(text), p.instead())
		return t
	}
	p.at++
	return t
}

// quoted writes an operator or keyword for messages.
func quoted(text string) string { return `"` + text + `"` }

// instead says what stands where something else should.
func (p *parser) instead() string {
	t := p.peek()
	switch t.kind { //nolint:exhaustive // the rest is text
	case tokEOF:
		if p.inside {
			return ", but the braces end"
		}
		return ", but the file ends"
	case tokNewline:
		return ", but the line ends"
	case tokIndent:
		return ", but the line is indented"
	case tokDedent:
		return ", but the block ends"
	}
	text, _, more := strings.Cut(t.text, "\n")
	if more {
		text += "…"
	}
	if text = strings.TrimSpace(text); strings.Contains(text, `"`) {
		return ", not " + text
	}
	return ", not " + quoted(text)
}

// keywords cannot be names.
var keywords = []string{
	"False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else",
	"except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise",
	"return", "try", "while", "with", "yield",
}

func (p *parser) name() token {
	t := p.peek()
	if t.kind != tokName || slices.Contains(keywords, t.text) {
		p.fail(t.start, t.end, "Here a name should stand%s.", p.instead())
		return t
	}
	p.at++
	return t
}

// enter counts the depth of expressions, and fails beyond the limit.
func (p *parser) enter() {
	if p.depth++; p.depth > 4*maxNesting {
		t := p.peek()
		p.fail(t.start, t.end, "Expressions nest too deeply.")
	}
}

func (p *parser) leave() { p.depth-- }

// statement reads a compound statement, or a line of simple ones.
func (p *parser) statement() []*stmt {
	t := p.peek()
	if t.kind == tokIndent {
		p.fail(t.end, p.ahead(1).end, "This line is indented, but no block begins here.")
		return nil
	}
	if t.kind == tokNewline {
		p.at++
		return nil
	}
	if s := p.compound(); s != nil {
		return []*stmt{s}
	}
	var out []*stmt
	for {
		if s := p.simple(); s != nil {
			out = append(out, s)
		}
		if !p.accept(";") || p.peek().kind == tokNewline {
			break
		}
	}
	if t := p.peek(); p.err == nil && t.kind != tokNewline {
		if p.tokens[max(p.at-1, 0)].text == "print" {
			p.fail(t.start, t.end, "print is a function: print(…).")
		}
		p.fail(t.start, t.end, "The statement should end here%s.", p.instead())
	}
	p.next()
	return out
}

// block reads what follows a colon.
func (p *parser) block() []*stmt {
	p.expect(":")
	if p.peek().kind != tokNewline {
		return p.statement()
	}
	p.at++
	if t := p.peek(); t.kind != tokIndent {
		p.fail(t.start, t.end, "An indented block should follow%s.", p.instead())
		return nil
	}
	p.at++
	var out []*stmt
	for p.peek().kind != tokDedent && p.peek().kind != tokEOF {
		out = append(out, p.statement()...)
	}
	if p.peek().kind == tokDedent {
		p.at++
	}
	return out
}

// compound reads a statement with blocks; nil where none begins.
func (p *parser) compound() *stmt {
	s := &stmt{start: p.peek().start, end: p.peek().end}
	switch t := p.peek(); {
	case p.accept("if"):
		s.kind = stIf
		p.conditional(s)
	case p.accept("while"):
		s.kind, s.value = stWhile, p.namedExpression()
		s.body = p.block()
		s.orelse = p.elseBlock()
	case p.accept("for"):
		s.kind, s.targets = stFor, []*expr{p.targets()}
		p.expect("in")
		s.value = p.expressions()
		s.body = p.block()
		s.orelse = p.elseBlock()
	case p.accept("def"):
		p.function(s)
	case p.accept("class"):
		p.class(s)
	case p.is("@"):
		return p.decorated()
	case p.matches():
		p.match(s)
	case p.is("try", "with", "async"):
		s.kind, s.text = stRefused, t.text
		p.skipCompound(t.text)
	default:
		return nil
	}
	return s
}

func (p *parser) conditional(s *stmt) {
	s.value = p.namedExpression()
	s.body = p.block()
	t := p.peek()
	if p.accept("elif") {
		inner := &stmt{kind: stIf, start: t.start, end: t.end}
		p.conditional(inner)
		s.orelse = []*stmt{inner}
		return
	}
	s.orelse = p.elseBlock()
}

func (p *parser) elseBlock() []*stmt {
	if p.accept("else") {
		return p.block()
	}
	return nil
}

func (p *parser) function(s *stmt) {
	s.kind, s.text = stDef, p.name().text
	if t := p.peek(); p.is("[") {
		p.fail(t.start, t.end, "Type parameters are not read; leave them out.")
	}
	p.expect("(")
	s.params = p.parameters(")", true)
	s.end = p.expect(")").end
	if p.accept("->") {
		p.expression()
	}
	s.body = p.block()
}

func (p *parser) class(s *stmt) {
	s.kind, s.text = stClass, p.name().text
	if p.accept("(") {
		call := p.call(&expr{kind: exName, start: s.start, end: s.end})
		s.targets = call.args[1:]
	}
	s.end = p.before()
	s.body = p.block()
}

// parameters reads parameters up to a closing token.
func (p *parser) parameters(closing string, typed bool) []param {
	var out []param
	for !p.is(closing) && p.err == nil {
		q := param{start: p.peek().start}
		switch {
		case p.accept("/"): // those before it can be given by name as well
			if !p.accept(",") {
				return out
			}
			continue
		case p.accept("**"):
			q.star = "**"
		case p.accept("*"):
			q.star = "*"
		}
		if q.star != "*" || !p.is(",") {
			q.name = p.name().text
			if typed && p.accept(":") {
				p.starExpression()
			}
			if p.accept("=") {
				q.value = p.expression()
			}
		}
		out = append(out, q)
		if !p.accept(",") {
			break
		}
	}
	return out
}

func (p *parser) decorated() *stmt {
	var decorators []*expr
	start := p.peek().start
	for p.accept("@") {
		decorators = append(decorators, p.namedExpression())
		if p.peek().kind == tokNewline {
			p.at++
		}
	}
	s := p.compound()
	switch {
	case s == nil || s.kind != stDef && s.kind != stClass && s.kind != stRefused:
		t := p.peek()
		p.fail(t.start, t.end, "A decorator stands before a function or a class.")
		return &stmt{kind: stPass, start: start, end: start}
	default:
		s.decorators = decorators
	}
	return s
}

// matches reports whether a match statement begins: match is a name too.
func (p *parser) matches() bool {
	if !p.is("match") {
		return false
	}
	t := p.ahead(1)
	if t.kind == tokOp && !slices.Contains([]string{"(", "[", "{", "-", "*"}, t.text) || t.kind == tokNewline {
		return false
	}
	depth := 0
	for i := p.at + 1; i < len(p.tokens); i++ {
		switch t := p.tokens[i]; {
		case t.kind == tokNewline && depth == 0:
			return p.tokens[i-1].text == ":" && p.tokens[i-1].kind == tokOp
		case t.kind == tokOp && strings.Contains("([{", t.text):
			depth++
		case t.kind == tokOp && strings.Contains(")]}", t.text):
			depth--
		}
	}
	return false
}

// match reads a match statement. Patterns are read as expressions, which
// they look like.
func (p *parser) match(s *stmt) {
	p.at++
	s.kind, s.value = stMatch, p.expressions()
	s.end = p.expect(":").end
	if p.peek().kind != tokNewline || p.ahead(1).kind != tokIndent {
		p.fail(s.start, s.end, "Below match the cases should stand, indented.")
		return
	}
	p.at += 2
	for p.err == nil && p.peek().kind != tokDedent && p.peek().kind != tokEOF {
		t := p.peek()
		c := &stmt{kind: stCase, start: t.start, end: t.end}
		p.expect("case")
		c.targets = []*expr{p.targets()}
		if p.accept("if") {
			c.value = p.namedExpression()
		}
		c.body = p.block()
		s.body = append(s.body, c)
	}
	p.next()
}

// skipCompound skips a statement that is refused, with its blocks.
func (p *parser) skipCompound(what string) {
	for {
		for p.peek().kind != tokNewline && p.peek().kind != tokEOF {
			p.at++
		}
		p.next()
		if p.peek().kind == tokIndent {
			p.skipBlock()
		}
		if what != "try" || !p.is("except", "else", "finally") {
			return
		}
	}
}

func (p *parser) skipBlock() {
	depth := 0
	for p.peek().kind != tokEOF {
		t := p.next()
		if t.kind == tokIndent {
			depth++
		}
		if t.kind == tokDedent {
			if depth--; depth == 0 {
				return
			}
		}
	}
}

// simple reads a statement of one line.
func (p *parser) simple() *stmt {
	t := p.peek()
	s := &stmt{start: t.start, end: t.end}
	switch {
	case p.accept("pass"):
		s.kind = stPass
	case p.accept("break"):
		s.kind = stBreak
	case p.accept("continue"):
		s.kind = stContinue
	case p.accept("return"):
		s.kind = stReturn
		if !p.atEnd() {
			s.value = p.expressions()
		}
	case p.accept("raise"):
		s.kind = stRaise
		if !p.atEnd() {
			s.value = p.expression()
		}
		if p.accept("from") {
			p.expression()
		}
	case p.accept("assert"):
		s.kind, s.value = stAssert, p.expression()
		if p.accept(",") {
			s.targets = []*expr{p.expression()}
		}
	case p.accept("del"):
		s.kind, s.targets = stDelete, []*expr{p.targets()}
	case p.is("import", "from"):
		p.imports(s)
	case p.is("global", "nonlocal"):
		s.kind, s.text = stRefused, p.next().text
		p.targets()
	default:
		p.assignment(s)
	}
	return s
}

func (p *parser) atEnd() bool {
	return p.peek().kind == tokNewline || p.peek().kind == tokEOF || p.is(";")
}

var augmented = []string{"+=", "-=", "*=", "/=", "//=", "%=", "**=", "&=", "|=", "^=", ">>=", "<<=", "@="}

// assignment reads an expression, or an assignment to it.
func (p *parser) assignment(s *stmt) {
	if p.is("type") && p.ahead(1).kind == tokName && p.ahead(2).text == "=" { // type X = …
		p.at++
		s.kind, s.targets = stAnnotate, []*expr{p.expression()}
		p.expect("=")
		p.expression()
		return
	}
	first := p.expressions()
	s.end = first.end
	switch {
	case p.accept(":"):
		s.kind, s.targets = stAnnotate, []*expr{first}
		p.expression()
		if p.accept("=") {
			s.value = p.expressions()
		}
	case p.is(augmented...):
		s.kind, s.targets, s.text = stAugment, []*expr{first}, p.next().text
		s.value = p.expressions()
	case p.is("="):
		s.kind = stAssign
		all := []*expr{first}
		for p.accept("=") {
			all = append(all, p.expressions())
		}
		s.targets, s.value = all[:len(all)-1], all[len(all)-1]
	default:
		s.kind, s.value = stExpr, first
	}
}

func (p *parser) imports(s *stmt) {
	s.kind = stImport
	if p.accept("import") {
		for {
			i := imported{module: p.dotted()}
			if i.as, _, _ = strings.Cut(i.module, "."); p.accept("as") {
				i.as = p.name().text
			}
			s.imports = append(s.imports, i)
			if !p.accept(",") {
				return
			}
		}
	}
	p.expect("from")
	var dots strings.Builder
	for p.is(".", "...") {
		dots.WriteString(p.next().text)
	}
	module := dots.String()
	if !p.is("import") {
		module += p.dotted()
	}
	p.expect("import")
	if p.accept("*") {
		s.imports = append(s.imports, imported{module: module, name: "*"})
		return
	}
	brackets := p.accept("(")
	for p.err == nil {
		i := imported{module: module, name: p.name().text}
		if i.as = i.name; p.accept("as") {
			i.as = p.name().text
		}
		s.imports = append(s.imports, i)
		if !p.accept(",") || p.is(")") {
			break
		}
	}
	if brackets {
		p.expect(")")
	}
}

func (p *parser) dotted() string {
	parts := []string{p.name().text}
	for p.accept(".") {
		parts = append(parts, p.name().text)
	}
	return strings.Join(parts, ".")
}
