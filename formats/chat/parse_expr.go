package chat

import (
	"slices"
	"strconv"
	"strings"
)

// tuple parses an expression that may be a tuple without parentheses.
func (p *parser) tuple() expression { return p.tupleOf(p.conditional) }

func (p *parser) tupleOf(item func() expression) expression {
	e := item()
	if !p.at(opToken, ",") {
		return e
	}
	items := []expression{e}
	for p.operator(",") {
		if k := p.current(); k.kind == endToken || k.kind == opToken && (k.text == ")" || k.text == "]") {
			break
		}
		items = append(items, item())
	}
	return newListOf(items, true)
}

func newListOf(items []expression, tuple bool) expression {
	return func(c *scope) any {
		l := &list{items: make([]any, len(items)), tuple: tuple}
		c.allocate(16 * len(items))
		for i, e := range items {
			l.items[i] = e(c)
		}
		return l
	}
}

// conditional parses A if B else C.
func (p *parser) conditional() expression {
	p.enter()
	defer p.leave()
	e := p.or()
	for p.keyword("if") {
		then, condition := e, p.or()
		otherwise := func(*scope) any { return undefined{"the inline if-expression"} }
		if p.keyword("else") {
			otherwise = p.conditional()
		}
		e = func(c *scope) any {
			if truth(condition(c)) {
				return then(c)
			}
			return otherwise(c)
		}
	}
	return e
}

func (p *parser) or() expression {
	a := p.and()
	for p.keyword("or") {
		left, right := a, p.and()
		a = func(c *scope) any {
			if v := left(c); truth(v) {
				return v
			}
			return right(c)
		}
	}
	return a
}

func (p *parser) and() expression {
	a := p.not()
	for p.keyword("and") {
		left, right := a, p.not()
		a = func(c *scope) any {
			if v := left(c); !truth(v) {
				return v
			}
			return right(c)
		}
	}
	return a
}

func (p *parser) not() expression {
	if !p.keyword("not") {
		return p.comparison()
	}
	p.enter()
	defer p.leave()
	e := p.not()
	return func(c *scope) any { return !truth(e(c)) }
}

// comparisonOperator takes ==, <, in, not in and the like, or returns "".
func (p *parser) comparisonOperator() string {
	t := p.current()
	switch {
	case t.kind == opToken && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.text):
		p.next()
		return t.text
	case p.keyword("in"):
		return "in"
	case p.at(nameToken, "not") && p.peek().kind == nameToken && p.peek().text == "in":
		p.next()
		p.next()
		return "not in"
	}
	return ""
}

// comparison parses chains as a < b <= c.
func (p *parser) comparison() expression {
	first := p.sum()
	type link struct {
		op string
		e  expression
	}
	var links []link
	for op := p.comparisonOperator(); op != ""; op = p.comparisonOperator() {
		links = append(links, link{op, p.sum()})
	}
	if links == nil {
		return first
	}
	return func(c *scope) any {
		left := first(c)
		for _, l := range links {
			right := l.e(c)
			if !compare(c, l.op, left, right) {
				return false
			}
			left = right
		}
		return true
	}
}

func (p *parser) sum() expression     { return p.binary(p.concat, "+", "-") }
func (p *parser) concat() expression  { return p.binary(p.product, "~") }
func (p *parser) product() expression { return p.binary(p.power, "*", "/", "//", "%") }
func (p *parser) power() expression   { return p.binary(p.filtered, "**") }

// binary parses operators of one precedence, left to right.
func (p *parser) binary(operand func() expression, ops ...string) expression {
	a := operand()
	for {
		t := p.current()
		if t.kind != opToken || !slices.Contains(ops, t.text) {
			return a
		}
		p.next()
		left, right := a, operand()
		a = func(c *scope) any { return arithmetic(c, t.text, left(c), right(c)) }
	}
}

// filtered parses an operand with its filters and tests.
func (p *parser) filtered() expression { return p.filters(p.unary()) }

func (p *parser) unary() expression {
	p.enter()
	defer p.leave()
	switch {
	case p.operator("-"):
		e := p.unary()
		return p.postfix(func(c *scope) any { return arithmetic(c, "-", 0, e(c)) })
	case p.operator("+"):
		return p.postfix(p.unary())
	}
	return p.postfix(p.primary())
}

func (p *parser) primary() expression {
	t := p.next()
	switch t.kind {
	case nameToken:
		switch t.text {
		case "true", "True":
			return constant(true)
		case "false", "False":
			return constant(false)
		case "none", "None":
			return constant(nil)
		}
		return func(c *scope) any { return c.get(t.text) }
	case intToken:
		v, err := strconv.Atoi(t.text)
		if err != nil {
			failAt(t.line, "number %s is too large", t.text)
		}
		return constant(v)
	case floatToken:
		v, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			failAt(t.line, "number %s is too large", t.text)
		}
		return constant(v)
	case stringToken:
		parts := []string{t.text}
		for p.current().kind == stringToken {
			parts = append(parts, p.next().text)
		}
		return constant(strings.Join(parts, ""))
	case opToken:
		if e := p.bracketed(t.text); e != nil {
			return e
		}
	case textToken, varToken, blockToken, endToken, eofToken:
	}
	failAt(t.line, "unexpected %s %q", t.kind, t.text)
	return nil
}

func constant(v any) expression { return func(*scope) any { return v } }

// bracketed parses a tuple, list or dict whose opening bracket was taken.
func (p *parser) bracketed(open string) expression {
	switch open {
	case "(":
		if p.operator(")") {
			return newListOf(nil, true)
		}
		e := p.tuple()
		p.need(opToken, ")")
		return e
	case "[":
		var items []expression
		for !p.operator("]") {
			items = append(items, p.conditional())
			if !p.operator(",") {
				p.need(opToken, "]")
				break
			}
		}
		return newListOf(items, false)
	case "{":
		return p.dictDisplay()
	}
	return nil
}

func (p *parser) dictDisplay() expression {
	var keys, values []expression
	for !p.operator("}") {
		keys = append(keys, p.conditional())
		p.need(opToken, ":")
		values = append(values, p.conditional())
		if !p.operator(",") {
			p.need(opToken, "}")
			break
		}
	}
	return func(c *scope) any {
		d := newDict()
		c.allocate(64 * len(keys))
		for i := range keys {
			d.set(keys[i](c), values[i](c))
		}
		return d
	}
}

// callArgs are the arguments of a call as they are written.
type callArgs struct {
	positional []expression
	names      []string
	named      []expression
	star       expression // *args
	doubleStar expression // **kwargs
}

// args parses arguments whose opening parenthesis was taken.
func (p *parser) args() callArgs {
	var a callArgs
	for !p.operator(")") {
		switch {
		case p.operator("**"):
			a.doubleStar = p.conditional()
		case p.operator("*"):
			a.star = p.conditional()
		case p.current().kind == nameToken && p.peek().kind == opToken && p.peek().text == "=":
			a.names = append(a.names, p.next().text)
			p.next()
			a.named = append(a.named, p.conditional())
		default:
			a.positional = append(a.positional, p.conditional())
		}
		if !p.operator(",") {
			p.need(opToken, ")")
			break
		}
	}
	return a
}

func (a *callArgs) eval(c *scope) args {
	out := args{named: newDict()}
	for _, e := range a.positional {
		out.list = append(out.list, e(c))
	}
	if a.star != nil {
		out.list = append(out.list, iterate(c, a.star(c))...)
	}
	for i, name := range a.names {
		out.named.set(name, a.named[i](c))
	}
	if a.doubleStar != nil {
		if d, ok := a.doubleStar(c).(*dict); ok {
			c.allocate(64 * len(d.keys))
			for _, k := range d.keys {
				if _, ok := k.(string); !ok {
					fail("keywords must be strings")
				}
				out.named.set(k, d.values[k])
			}
		}
	}
	return out
}

// postfix parses attributes, subscripts and calls.
func (p *parser) postfix(e expression) expression {
	for {
		object := e
		switch {
		case p.operator("."):
			e = p.attribute(object)
		case p.operator("["):
			e = p.subscript(object)
		case p.operator("("):
			e = p.call(object)
		default:
			return e
		}
	}
}

// attribute parses a name, or the index that stands like one, after its dot.
func (p *parser) attribute(object expression) expression {
	if p.current().kind == intToken {
		t := p.next()
		i, err := strconv.Atoi(t.text)
		if err != nil {
			failAt(t.line, "number %s is too large", t.text)
		}
		return func(c *scope) any { return item(c, object(c), i) }
	}
	name := p.need(nameToken, "").text
	return func(c *scope) any { return attribute(c, object(c), name) }
}

func (p *parser) call(object expression) expression {
	a, line := p.args(), p.current().line
	return func(c *scope) any {
		f := object(c)
		given := a.eval(c)
		c.step(line)
		return call(c, f, given)
	}
}

// subscript parses [index] or [start:stop:step] after its opening bracket.
func (p *parser) subscript(object expression) expression {
	var parts [3]expression
	n, slice := 0, false
	for !p.operator("]") {
		switch {
		case p.operator(":"):
			slice = true
			n++
		case n < len(parts) && parts[n] == nil:
			parts[n] = p.tuple()
			continue
		default:
			p.need(opToken, "]")
		}
		if n == len(parts) {
			failAt(p.current().line, "a slice has three parts at most")
		}
	}
	if !slice {
		index := parts[0]
		if index == nil {
			failAt(p.current().line, "a subscript without an index")
		}
		return func(c *scope) any { return item(c, object(c), index(c)) }
	}
	return func(c *scope) any {
		var v [3]any
		for i, e := range parts {
			if e != nil {
				v[i] = e(c)
			}
		}
		return slicing(c, object(c), v)
	}
}

// filters parses | and is, and what these can be followed by.
func (p *parser) filters(e expression) expression {
	for {
		object := e
		switch {
		case p.operator("|"):
			e = p.filter(object)
		case p.keyword("is"):
			e = p.test(object)
		case p.operator("("):
			e = p.call(object)
		default:
			return e
		}
	}
}

// filter parses a filter after its bar. That there is none of a name shows
// only when it runs.
func (p *parser) filter(object expression) expression {
	t := p.need(nameToken, "")
	var a callArgs
	if p.operator("(") {
		a = p.args()
	}
	f, ok := p.names.filters[t.text]
	return func(c *scope) any {
		c.step(t.line)
		if !ok {
			fail("no filter named %q", t.text)
		}
		v := object(c)
		c.touch(sizeOf(v))
		return f(c, v, a.eval(c))
	}
}

// test parses a test after is.
func (p *parser) test(object expression) expression {
	negate := p.keyword("not")
	name := p.need(nameToken, "")
	var a callArgs
	if p.operator("(") {
		a = p.args()
	} else if p.beginsOperand() {
		a.positional = []expression{p.postfix(p.primary())}
	}
	f, ok := p.names.tests[name.text]
	return func(c *scope) any {
		c.step(name.line)
		if !ok {
			fail("no test named %q", name.text)
		}
		v := object(c)
		return f(c, v, a.eval(c)) != negate
	}
}

// beginsOperand reports whether the argument of a test without parentheses
// follows.
func (p *parser) beginsOperand() bool {
	t := p.current()
	switch t.kind {
	case stringToken, intToken, floatToken:
		return true
	case nameToken:
		return !slices.Contains([]string{"else", "or", "and", "if", "is", "in", "not", "recursive"}, t.text)
	case opToken:
		return t.text == "[" || t.text == "{"
	case textToken, varToken, blockToken, endToken, eofToken:
	}
	return false
}
