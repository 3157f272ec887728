package python

import (
	"slices"

	"github.com/llima-build/llima/internal/diag"
)

// expressions reads one expression, or a tuple of them without brackets;
// either may be starred.
func (p *parser) expressions() *expr {
	if t := p.peek(); p.is("yield") {
		return p.refused("yield", t)
	}
	first := p.starExpression()
	if !p.is(",") {
		return first
	}
	e := &expr{kind: exTuple, start: first.start, args: []*expr{first}}
	for p.accept(",") {
		if p.atEnd() || p.is("=", ")", "]", "}", ":") || p.is(augmented...) {
			break
		}
		e.args = append(e.args, p.starExpression())
	}
	e.end = p.before()
	return e
}

// before returns the end of the token before the next.
func (p *parser) before() diag.Pos { return p.tokens[max(p.at-1, 0)].end }

// refused reads an expression after a keyword that is refused.
func (p *parser) refused(what string, t token) *expr {
	p.at++
	if what == "yield" {
		p.accept("from")
	}
	if !p.atEnd() && !p.is(")", "]", "}") {
		p.expressions()
	}
	return &expr{kind: exRefused, text: what, start: t.start, end: t.end}
}

func (p *parser) starExpression() *expr {
	t := p.peek()
	if p.accept("*") {
		x := p.binary(0)
		return &expr{kind: exStar, start: t.start, end: x.end, args: []*expr{x}}
	}
	return p.namedExpression()
}

// targets reads what a loop or del works on: names and their like, without
// the operator "in".
func (p *parser) targets() *expr {
	one := func() *expr {
		t := p.peek()
		if p.accept("*") {
			x := p.binary(0)
			return &expr{kind: exStar, start: t.start, end: x.end, args: []*expr{x}}
		}
		return p.binary(0)
	}
	first := one()
	if !p.is(",") {
		return first
	}
	e := &expr{kind: exTuple, start: first.start, args: []*expr{first}}
	for p.accept(",") {
		if p.is("in") || p.atEnd() {
			break
		}
		e.args = append(e.args, one())
	}
	e.end = p.before()
	return e
}

func (p *parser) namedExpression() *expr {
	e := p.expression()
	if p.is(":=") {
		t := p.next()
		p.expression()
		return &expr{kind: exRefused, text: ":=", start: t.start, end: t.end}
	}
	return e
}

// expression reads a lambda, or a condition.
func (p *parser) expression() *expr {
	p.enter()
	defer p.leave()
	t := p.peek()
	if p.accept("lambda") {
		e := &expr{kind: exLambda, start: t.start, params: p.parameters(":", false)}
		p.expect(":")
		body := p.expression()
		e.args, e.end = []*expr{body}, body.end
		return e
	}
	then := p.or()
	if !p.accept("if") {
		return then
	}
	cond := p.or()
	p.expect("else")
	otherwise := p.expression()
	return &expr{kind: exCond, start: then.start, end: otherwise.end, args: []*expr{cond, then, otherwise}}
}

func (p *parser) or() *expr {
	return p.chain("or", func() *expr { return p.chain("and", p.not) })
}

func (p *parser) chain(op string, operand func() *expr) *expr {
	e := operand()
	for p.accept(op) {
		right := operand()
		e = &expr{kind: exBool, text: op, start: e.start, end: right.end, args: []*expr{e, right}}
	}
	return e
}

func (p *parser) not() *expr {
	t := p.peek()
	if !p.accept("not") {
		return p.comparison()
	}
	p.enter()
	defer p.leave()
	x := p.not()
	return &expr{kind: exUnary, text: "not", start: t.start, end: x.end, args: []*expr{x}}
}

func (p *parser) comparison() *expr {
	first := p.binary(0)
	e := &expr{kind: exCompare, start: first.start, args: []*expr{first}}
	for p.err == nil {
		op := ""
		switch t := p.peek(); {
		case p.is("==", "!=", "<", "<=", ">", ">=", "in"):
			op = p.next().text
		case p.is("is"):
			p.at++
			if op = "is"; p.accept("not") {
				op = "is not"
			}
		case p.is("not") && p.ahead(1).text == "in":
			p.at += 2
			op = "not in"
		case t.kind == tokOp && t.text == "=" && len(e.names) > 0:
			p.fail(t.start, t.end, `A comparison is written "==".`)
		}
		if op == "" {
			break
		}
		e.names = append(e.names, op)
		e.args = append(e.args, p.binary(0))
	}
	if len(e.names) == 0 {
		return first
	}
	e.end = e.args[len(e.args)-1].end
	return e
}

// binaryLevels are the operators of arithmetic, the weakest first.
var binaryLevels = [][]string{{"|"}, {"^"}, {"&"}, {"<<", ">>"}, {"+", "-"}, {"*", "/", "//", "%", "@"}}

func (p *parser) binary(level int) *expr {
	if level == len(binaryLevels) {
		return p.unary()
	}
	e := p.binary(level + 1)
	for p.peek().kind == tokOp && slices.Contains(binaryLevels[level], p.peek().text) {
		op := p.next()
		right := p.binary(level + 1)
		e = &expr{kind: exBinary, text: op.text, start: e.start, end: right.end, args: []*expr{e, right}}
	}
	return e
}

func (p *parser) unary() *expr {
	t := p.peek()
	if t.kind == tokOp && p.is("-", "+", "~") {
		p.enter()
		defer p.leave()
		p.at++
		x := p.unary()
		return &expr{kind: exUnary, text: t.text, start: t.start, end: x.end, args: []*expr{x}}
	}
	if t.kind == tokName && p.accept("await") {
		p.unary()
		return &expr{kind: exRefused, text: "await", start: t.start, end: t.end}
	}
	e := p.primary()
	if p.accept("**") {
		p.enter()
		defer p.leave()
		right := p.unary()
		return &expr{kind: exBinary, text: "**", start: e.start, end: right.end, args: []*expr{e, right}}
	}
	return e
}

// primary reads an atom with its calls, attributes and subscripts.
func (p *parser) primary() *expr {
	p.enter()
	defer p.leave()
	e := p.atom()
	for p.err == nil {
		switch {
		case p.accept("."):
			t := p.name()
			e = &expr{kind: exAttr, text: t.text, start: e.start, end: t.end, args: []*expr{e}}
		case p.accept("("):
			e = p.call(e)
		case p.accept("["):
			index := p.subscripts()
			end := p.expect("]").end
			e = &expr{kind: exIndex, start: e.start, end: end, args: []*expr{e, index}}
		default:
			return e
		}
	}
	return e
}

func (p *parser) call(fn *expr) *expr {
	e := &expr{kind: exCall, start: fn.start, args: []*expr{fn}}
	for !p.is(")") && p.err == nil {
		name := ""
		switch {
		case p.accept("**"):
			name = "**"
		case p.accept("*"):
			name = "*"
		case p.peek().kind == tokName && p.ahead(1).kind == tokOp && p.ahead(1).text == "=":
			name = p.name().text
			p.at++
		}
		start := p.peek().start
		arg := p.namedExpression()
		if name == "" && p.is("for", "async") {
			arg = p.comprehension("(", start, []*expr{arg})
			arg.end = p.before()
		}
		e.args, e.names = append(e.args, arg), append(e.names, name)
		if !p.accept(",") {
			break
		}
	}
	e.end = p.expect(")").end
	return e
}

func (p *parser) subscripts() *expr {
	first := p.subscript()
	if !p.is(",") {
		return first
	}
	e := &expr{kind: exTuple, start: first.start, args: []*expr{first}}
	for p.accept(",") && !p.is("]") {
		e.args = append(e.args, p.subscript())
	}
	e.end = p.before()
	return e
}

func (p *parser) subscript() *expr {
	start := p.peek().start
	var low *expr
	if !p.is(":") {
		if low = p.starExpression(); !p.is(":") {
			return low
		}
	}
	e := &expr{kind: exSlice, start: start, args: []*expr{low, nil, nil}}
	for i := 1; i < 3 && p.accept(":"); i++ {
		if !p.is(":", "]", ",") {
			e.args[i] = p.expression()
		}
	}
	e.end = p.before()
	return e
}

func (p *parser) atom() *expr {
	t := p.peek()
	e := &expr{start: t.start, end: t.end, text: t.text}
	switch {
	case t.kind == tokName && !slices.Contains(keywords, t.text), p.is("None", "True", "False"):
		p.at++
		e.kind = exName
	case t.kind == tokNumber:
		p.at++
		e.kind = exNumber
	case t.kind == tokString:
		return p.strings()
	case p.accept("..."):
		e.kind = exEllipsis
	case p.accept("("):
		return p.brackets(t.start)
	case p.accept("["):
		return p.list(t.start)
	case p.accept("{"):
		return p.braces(t.start)
	default:
		p.fail(t.start, t.end, "Here an expression should stand%s.", p.instead())
	}
	return e
}

// brackets reads what "(" begins: a tuple, a generator, or an expression.
func (p *parser) brackets(start diag.Pos) *expr {
	e := &expr{kind: exTuple, start: start}
	if p.accept(")") {
		e.end = p.before()
		return e
	}
	first := p.expressions()
	if p.is("for", "async") {
		e = p.comprehension("(", start, []*expr{first})
		e.end = p.expect(")").end
		return e
	}
	end := p.expect(")").end
	if first.kind == exTuple && first.start != start { // so that the brackets belong to it
		first.start, first.end = start, end
	}
	return first
}

func (p *parser) list(start diag.Pos) *expr {
	e := &expr{kind: exList, start: start}
	if !p.is("]") {
		first := p.starExpression()
		if p.is("for", "async") {
			e = p.comprehension("[", start, []*expr{first})
		} else {
			e.args = p.rest(first, "]")
		}
	}
	e.end = p.expect("]").end
	return e
}

// rest reads the elements after the first, up to a closing bracket.
func (p *parser) rest(first *expr, closing string) []*expr {
	out := []*expr{first}
	for p.accept(",") && !p.is(closing) {
		out = append(out, p.starExpression())
	}
	return out
}

// braces reads a dict or a set.
func (p *parser) braces(start diag.Pos) *expr {
	e := &expr{kind: exDict, start: start}
	for first := true; !p.is("}") && p.err == nil; first = false {
		if p.accept("**") {
			e.args = append(e.args, nil, p.binary(0))
		} else {
			key := p.starExpression()
			if first && !p.is(":") {
				e = p.set(start, key)
				break
			}
			p.expect(":")
			value := p.expression()
			if first && p.is("for", "async") {
				e = p.comprehension("{:", start, []*expr{key, value})
				break
			}
			e.args = append(e.args, key, value)
		}
		if !p.accept(",") {
			break
		}
	}
	e.end = p.expect("}").end
	return e
}

func (p *parser) set(start diag.Pos, first *expr) *expr {
	if p.is("for", "async") {
		return p.comprehension("{", start, []*expr{first})
	}
	return &expr{kind: exSet, start: start, args: p.rest(first, "}")}
}

func (p *parser) comprehension(form string, start diag.Pos, what []*expr) *expr {
	e := &expr{kind: exComp, text: form, start: start, args: what}
	for p.err == nil {
		t := p.peek()
		switch {
		case p.accept("for"):
			target := p.targets()
			p.expect("in")
			e.clauses = append(e.clauses, clause{t.start, target, p.or()})
		case p.accept("if"):
			e.clauses = append(e.clauses, clause{start: t.start, value: p.or()})
		case p.is("async"):
			p.at++
			e.args[0] = &expr{kind: exRefused, text: "async", start: t.start, end: t.end}
		default:
			return e
		}
	}
	return e
}
