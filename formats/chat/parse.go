package chat

import (
	"slices"
)

// expression and statement are what the parser makes of a template: closures
// over what was parsed.
type (
	expression func(c *scope) any
	statement  func(c *scope)
)

type parser struct {
	tokens []token
	i      int
	depth  int // of expressions and blocks
	loops  int // for blocks around what is parsed
	names  *names
}

func (p *parser) current() token { return p.tokens[p.i] }

// peek returns the token after the current one.
func (p *parser) peek() token { return p.tokens[min(p.i+1, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.tokens[p.i]
	if p.i < len(p.tokens)-1 {
		p.i++
	}
	return t
}

func (p *parser) at(k kind, text string) bool {
	t := p.current()
	return t.kind == k && t.text == text
}

// operator and keyword take the next token if it is the one.
func (p *parser) operator(s string) bool { return p.take(opToken, s) }
func (p *parser) keyword(s string) bool  { return p.take(nameToken, s) }

func (p *parser) take(k kind, s string) bool {
	if !p.at(k, s) {
		return false
	}
	p.next()
	return true
}

// need takes the next token, which must be of a kind, and have a text unless
// that is empty.
func (p *parser) need(k kind, text string) token {
	t := p.next()
	if t.kind != k || text != "" && t.text != text {
		want := text
		if want == "" {
			want = k.String()
		}
		failAt(t.line, "expected %s, found %s %q", want, t.kind, t.text)
	}
	return t
}

func (p *parser) needEnd() { p.need(endToken, "") }

// enter and leave bound nesting.
func (p *parser) enter() {
	if p.depth++; p.depth > maxNesting {
		failAt(p.current().line, "nested more than %d deep", maxNesting)
	}
}

func (p *parser) leave() { p.depth-- }

// block parses statements up to a block tag named in ends, and leaves the
// parser after that name.
func (p *parser) block(ends ...string) (body []statement, end string) {
	p.enter()
	defer p.leave()
	for {
		t := p.next()
		switch t.kind {
		case eofToken:
			if len(ends) > 0 {
				failAt(t.line, "expected %q before the end of the template", ends[len(ends)-1])
			}
			return body, ""
		case textToken:
			body = append(body, func(c *scope) { c.write(t.text) })
		case varToken:
			e := p.tuple()
			p.needEnd()
			body = append(body, func(c *scope) {
				c.step(t.line)
				c.write(str(c, e(c)))
			})
		case blockToken:
			name := p.need(nameToken, "").text
			if slices.Contains(ends, name) {
				return body, name
			}
			body = append(body, p.statement(name, t.line))
		case endToken, nameToken, intToken, floatToken, stringToken, opToken:
			failAt(t.line, "unexpected %s", t.kind)
		}
	}
}

// body parses the rest of a block's tag and the block up to its end.
func (p *parser) body(end string) []statement {
	p.needEnd()
	b, _ := p.block(end)
	p.needEnd()
	return b
}

func (p *parser) statement(name string, line int) statement {
	switch name {
	case "if":
		return p.ifBlock(line)
	case "for":
		return p.forBlock(line)
	case "set":
		return p.setTag(line)
	case "macro":
		return p.macroBlock()
	case "call":
		return p.callBlock(line)
	case "filter":
		return p.filterBlock(line)
	case "generation":
		body := p.body("endgeneration")
		return func(c *scope) { c.inner(body) }
	case "with":
		return p.withBlock()
	case "break", "continue":
		p.needEnd()
		if p.loops == 0 {
			failAt(line, "%s outside of a loop", name)
		}
		s := breakLoop
		if name == "continue" {
			s = continueLoop
		}
		return func(c *scope) { c.signal = s }
	}
	failAt(line, "unknown tag %q", name)
	return nil
}

func (p *parser) ifBlock(line int) statement {
	type arm struct {
		condition expression
		body      []statement
	}
	var arms []arm
	var otherwise []statement
	for end := "elif"; end == "elif"; {
		condition := p.conditional()
		p.needEnd()
		var body []statement
		body, end = p.block("elif", "else", "endif")
		arms = append(arms, arm{condition, body})
		switch end {
		case "else":
			otherwise = p.body("endif")
		case "endif":
			p.needEnd()
		}
	}
	return func(c *scope) {
		c.step(line)
		for _, a := range arms {
			if truth(a.condition(c)) {
				run(c, a.body)
				return
			}
		}
		run(c, otherwise)
	}
}

func (p *parser) forBlock(line int) statement {
	f := &forLoop{line: line, target: p.target()}
	p.need(nameToken, "in")
	items := p.tupleOf(p.or)
	if p.keyword("if") {
		f.filter = p.conditional()
	}
	f.recursive = p.keyword("recursive")
	p.needEnd()
	p.loops++
	var end string
	f.body, end = p.block("endfor", "else")
	p.loops--
	if end == "else" {
		f.otherwise = p.body("endfor")
	} else {
		p.needEnd()
	}
	return func(c *scope) { f.run(c, items(c), 1) }
}

func (p *parser) setTag(line int) statement {
	if t := p.current(); t.kind == nameToken && p.peek().kind == opToken && p.peek().text == "." {
		p.next()
		p.next()
		name := p.need(nameToken, "").text
		value := p.setValue()
		return func(c *scope) {
			c.step(line)
			ns, ok := c.get(t.text).(*namespace)
			if !ok {
				fail("cannot assign attribute on non-namespace object")
			}
			ns.attrs.set(name, value(c))
		}
	}
	target := p.target()
	value := p.setValue()
	return func(c *scope) {
		c.step(line)
		target(c, value(c))
	}
}

// setValue parses what is assigned: an expression, or a block.
func (p *parser) setValue() expression {
	if p.operator("=") {
		e := p.tuple()
		p.needEnd()
		return e
	}
	f := p.filters(pending)
	body := p.body("endset")
	return func(c *scope) any { return c.capture(body, f) }
}

// pending is the text that a filter block hands to its filters.
func pending(c *scope) any { return c.pending }

func (p *parser) filterBlock(line int) statement {
	// The first filter stands without its bar.
	p.i--
	p.tokens[p.i] = token{opToken, "|", line}
	f := p.filters(pending)
	body := p.body("endfilter")
	return func(c *scope) {
		c.step(line)
		c.write(str(c, c.capture(body, f)))
	}
}

func (p *parser) macroBlock() statement {
	name := p.need(nameToken, "").text
	m := &macro{name: name, params: p.params()}
	m.body = p.outsideLoops("endmacro")
	return func(c *scope) { c.vars[name] = m.bind(c) }
}

func (p *parser) callBlock(line int) statement {
	m := &macro{name: "caller"}
	if p.at(opToken, "(") {
		m.params = p.params()
	}
	e := p.conditional()
	m.body = p.outsideLoops("endcall")
	return func(c *scope) {
		c.step(line)
		d := c.child()
		d.caller = m.bind(c)
		c.write(str(c, e(d)))
	}
}

// outsideLoops parses a block whose break and continue see no loop around it.
func (p *parser) outsideLoops(end string) []statement {
	loops := p.loops
	p.loops = 0
	b := p.body(end)
	p.loops = loops
	return b
}

func (p *parser) withBlock() statement {
	var targets []func(*scope, any)
	var values []expression
	for !p.at(endToken, "") {
		targets = append(targets, p.target())
		p.need(opToken, "=")
		values = append(values, p.conditional())
		if !p.operator(",") && !p.at(endToken, "") {
			p.need(opToken, ",")
		}
	}
	body := p.body("endwith")
	return func(c *scope) {
		d := c.child()
		for i, v := range values {
			targets[i](d, v(c))
		}
		run(d, body)
		c.signal = d.signal
	}
}

// target parses what is assigned to: a name or a tuple of targets.
func (p *parser) target() func(*scope, any) {
	p.enter()
	defer p.leave()
	var parts []func(*scope, any)
	tuple := false
	for {
		if p.operator("(") {
			parts = append(parts, p.target())
			p.need(opToken, ")")
		} else {
			name := p.need(nameToken, "").text
			parts = append(parts, func(c *scope, v any) { c.vars[name] = v })
		}
		if !p.operator(",") {
			break
		}
		tuple = true
		if p.current().kind != nameToken && !p.at(opToken, "(") {
			break
		}
	}
	if !tuple {
		return parts[0]
	}
	return func(c *scope, v any) {
		items := iterate(c, v)
		if len(items) != len(parts) {
			fail("cannot unpack %d values into %d names", len(items), len(parts))
		}
		for i, part := range parts {
			part(c, items[i])
		}
	}
}

// params parses the parameters of a macro.
func (p *parser) params() []param {
	var out []param
	p.need(opToken, "(")
	for !p.operator(")") {
		q := param{name: p.need(nameToken, "").text}
		if p.operator("=") {
			q.value = p.conditional()
		}
		out = append(out, q)
		if !p.operator(",") {
			p.need(opToken, ")")
			break
		}
	}
	return out
}
