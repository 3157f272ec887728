package python

import (
	"slices"

	"go.starlark.net/syntax"

	"github.com/llima-build/llima/internal/diag"
)

// statements translates a block, which is never empty in Starlark.
func (t *translator) statements(list []*stmt) []syntax.Stmt {
	var out []syntax.Stmt
	for _, s := range list {
		out = append(out, t.stmt(s)...)
	}
	if len(out) == 0 && len(list) > 0 {
		out = []syntax.Stmt{&syntax.BranchStmt{Token: syntax.PASS, TokenPos: t.pos(list[0].start, list[0].end)}}
	}
	return out
}

func (t *translator) run(x syntax.Expr) []syntax.Stmt { return []syntax.Stmt{&syntax.ExprStmt{X: x}} }

func (t *translator) assign(target, value syntax.Expr, at syntax.Position) syntax.Stmt {
	return &syntax.AssignStmt{OpPos: at, Op: syntax.EQ, LHS: target, RHS: value}
}

// assignTo assigns a value to any target. Elements are set by a builtin, also
// those within a tuple, whose values get names first.
func (t *translator) assignTo(target *expr, value syntax.Expr, at syntax.Position) []syntax.Stmt {
	if target.kind == exIndex && target.args[1].kind != exSlice {
		return t.run(t.builtin("set", target, value, t.expr(target.args[0]), t.expr(target.args[1])))
	}
	if target.kind != exTuple && target.kind != exList {
		return []syntax.Stmt{t.assign(t.target(target), value, at)}
	}
	named := *target
	named.args = slices.Clone(target.args)
	var after []syntax.Stmt
	for i, x := range target.args {
		if x.kind == exIndex || x.kind == exTuple || x.kind == exList {
			name := t.temp()
			named.args[i] = &expr{kind: exName, text: name, start: x.start, end: x.end}
			after = append(after, t.assignTo(x, t.ident(name, at), at)...)
		}
	}
	return append([]syntax.Stmt{t.assign(t.target(&named), value, at)}, after...)
}

// stmt translates a statement; none where it does nothing.
func (t *translator) stmt(s *stmt) []syntax.Stmt {
	at := t.pos(s.start, s.end)
	here := &expr{start: s.start, end: s.end}
	switch s.kind {
	case stExpr:
		if s.value.kind == exString || s.value.kind == exEllipsis {
			return nil // a documentation string
		}
		return t.run(t.expr(s.value))
	case stAssign:
		return t.assignAll(s, at)
	case stAugment:
		return t.augment(s, at)
	case stAnnotate:
		if s.value == nil {
			return nil
		}
		return t.assignTo(s.targets[0], t.expr(s.value), at)
	case stReturn:
		return t.returns1(s, at)
	case stPass:
		return nil
	case stBreak:
		return []syntax.Stmt{&syntax.BranchStmt{Token: syntax.BREAK, TokenPos: at}}
	case stContinue:
		return []syntax.Stmt{&syntax.BranchStmt{Token: syntax.CONTINUE, TokenPos: at}}
	case stIf:
		return []syntax.Stmt{&syntax.IfStmt{If: at, Cond: t.expr(s.value), True: t.statements(s.body), ElsePos: at, False: t.statements(s.orelse)}}
	case stMatch:
		return t.match(s, at)
	case stCase: // only within stMatch
	case stWhile, stFor:
		return t.loop(s, at)
	case stDef:
		return t.def(s, at)
	case stClass:
		return t.class(s, at)
	case stImport:
		return t.imports(s, at)
	case stRaise:
		var what []syntax.Expr
		if s.value != nil {
			what = []syntax.Expr{t.expr(s.value)}
		}
		return t.run(t.builtin("raise", here, what...))
	case stAssert:
		var message []syntax.Expr
		if len(s.targets) > 0 {
			message = t.exprs(s.targets)
		}
		test := &syntax.UnaryExpr{OpPos: at, Op: syntax.NOT, X: t.expr(s.value)}
		failed := t.builtin("assert", &expr{start: s.start, end: s.value.end}, message...)
		return []syntax.Stmt{&syntax.IfStmt{If: at, Cond: test, True: t.run(failed)}}
	case stDelete:
		return t.deletions(s)
	case stRefused:
		t.refuse(s.text, s.start, s.end)
	}
	return nil
}

// target translates what is assigned to.
func (t *translator) target(e *expr) syntax.Expr {
	at := t.pos(e.start, e.end)
	switch e.kind { //nolint:exhaustive // nothing else can be assigned to
	case exName:
		if slices.Contains(keywords, e.text) {
			t.report(e.start, e.end, "Not valid Python", "Nothing can be assigned to %s.", e.text)
		}
		return t.ident(e.text, at)
	case exTuple, exList:
		list := make([]syntax.Expr, len(e.args))
		for i, x := range e.args {
			list[i] = t.target(x)
		}
		return &syntax.TupleExpr{Lparen: at, List: list, Rparen: at}
	case exIndex:
		if e.args[1].kind == exSlice {
			t.refuse("slice", e.start, e.end)
			break
		}
		return &syntax.IndexExpr{X: t.expr(e.args[0]), Lbrack: at, Y: t.expr(e.args[1]), Rbrack: at}
	case exAttr:
		t.refuse(".target", e.start, e.end)
	case exStar:
		t.refuse("*target", e.start, e.end)
	default:
		t.refuse("target", e.start, e.end)
	}
	return t.ident("nothing", at)
}

// assignAll translates a = b = value: the value once, then left to right.
func (t *translator) assignAll(s *stmt, at syntax.Position) []syntax.Stmt {
	value := t.expr(s.value)
	if len(s.targets) == 1 {
		return t.assignTo(s.targets[0], value, at)
	}
	name := t.temp()
	out := []syntax.Stmt{t.assign(t.ident(name, at), value, at)}
	for _, target := range s.targets {
		out = append(out, t.assignTo(target, t.ident(name, at), at)...)
	}
	return out
}

func (t *translator) augment(s *stmt, at syntax.Position) []syntax.Stmt {
	target := s.targets[0]
	here := &expr{start: s.start, end: s.value.end}
	op := s.text
	if op == "@=" {
		t.refuse("@", s.start, s.end)
		return nil
	}
	switch {
	case target.kind == exName:
		return []syntax.Stmt{t.assign(t.target(target), t.builtin(op, here, t.expr(target), t.expr(s.value)), at)}
	case target.kind == exIndex && target.args[1].kind != exSlice:
		return t.run(t.builtin("[]=", here, t.expr(target.args[0]), t.expr(target.args[1]), t.text(op, at), t.expr(s.value)))
	}
	t.target(target)
	return nil
}

// returns1 translates return. In the function that is called from outside it
// also leaves a note of its place.
func (t *translator) returns1(s *stmt, at syntax.Position) []syntax.Stmt {
	if t.depth == 0 {
		t.refuse("return", s.start, s.end)
		return nil
	}
	var value syntax.Expr = t.ident("None", at)
	end := s.end
	if s.value != nil {
		value, end = t.expr(s.value), s.value.end
	}
	if t.depth == 1 && t.within == t.entry {
		n := &syntax.Literal{Token: syntax.INT, TokenPos: at, Value: int64(len(t.returns))}
		t.returns = append(t.returns, diag.Range{File: t.file, Start: s.start, End: end})
		value = t.builtin("return", &expr{start: s.start, end: end}, n, value)
	}
	return []syntax.Stmt{&syntax.ReturnStmt{Return: at, Result: value}}
}

func (t *translator) loop(s *stmt, at syntax.Position) []syntax.Stmt {
	if len(s.orelse) > 0 {
		t.refuse("else", s.orelse[0].start, s.orelse[0].end)
	}
	if s.kind == stWhile {
		return []syntax.Stmt{&syntax.WhileStmt{While: at, Cond: t.expr(s.value), Body: t.statements(s.body)}}
	}
	values := t.builtin("iter", s.value, t.expr(s.value))
	return []syntax.Stmt{&syntax.ForStmt{For: at, Vars: t.target(s.targets[0]), X: values, Body: t.statements(s.body)}}
}

// match translates a match statement to conditions on a name for its subject.
func (t *translator) match(s *stmt, at syntax.Position) []syntax.Stmt {
	subject := t.temp()
	out := []syntax.Stmt{t.assign(t.ident(subject, at), t.expr(s.value), at)}
	var chain []syntax.Stmt
	for _, c := range slices.Backward(s.body) {
		p := t.pos(c.start, c.end)
		test := t.pattern(c.targets[0], func() syntax.Expr { return t.ident(subject, p) }, 0)
		if c.value != nil {
			test = &syntax.BinaryExpr{X: test, OpPos: p, Op: syntax.AND, Y: t.expr(c.value)}
		}
		chain = []syntax.Stmt{&syntax.IfStmt{If: p, Cond: test, True: t.statements(c.body), ElsePos: p, False: chain}}
	}
	return append(out, chain...)
}

// pattern translates the test of a value against a pattern: literals, None,
// True, False, alternatives, "_", sequences and dicts of these. Names would
// be assigned to, which nobody should have to guess.
func (t *translator) pattern(e *expr, value func() syntax.Expr, depth int) syntax.Expr {
	at := t.pos(e.start, e.end)
	and := func(x, y syntax.Expr) syntax.Expr { return &syntax.BinaryExpr{X: x, OpPos: at, Op: syntax.AND, Y: y} }
	within := func(key syntax.Expr) func() syntax.Expr {
		return func() syntax.Expr { return t.builtin("[]", e, value(), key) }
	}
	whole := func(i int) syntax.Expr { return &syntax.Literal{Token: syntax.INT, TokenPos: at, Value: int64(i)} }
	switch {
	case depth > maxNesting/8:
	case e.kind == exName && e.text == "_":
		return t.ident("True", at)
	case e.kind == exName && slices.Contains(keywords, e.text):
		return t.builtin("is", e, value(), t.expr(e))
	case e.kind == exNumber, e.kind == exString, e.kind == exAttr, e.kind == exUnary && e.args[0].kind == exNumber:
		return t.builtin("==", e, value(), t.expr(e))
	case e.kind == exBinary && e.text == "|":
		return &syntax.ParenExpr{Lparen: at, X: &syntax.BinaryExpr{
			X: t.pattern(e.args[0], value, depth+1), OpPos: at, Op: syntax.OR, Y: t.pattern(e.args[1], value, depth+1),
		}, Rparen: at}
	case e.kind == exTuple, e.kind == exList:
		test := t.builtin("sequence of", e, value(), whole(len(e.args)))
		for i, x := range e.args {
			test = and(test, t.pattern(x, within(whole(i)), depth+1))
		}
		return test
	case e.kind == exDict && !slices.Contains(e.args, nil):
		test := t.builtin("dict with", e, value())
		for i := 0; i < len(e.args); i += 2 {
			test = and(test, t.builtin("dict with", e, value(), t.expr(e.args[i])))
			test = and(test, t.pattern(e.args[i+1], within(t.expr(e.args[i])), depth+1))
		}
		return test
	}
	t.refuse("pattern", e.start, e.end)
	return t.ident("True", at)
}

func (t *translator) def(s *stmt, at syntax.Position) []syntax.Stmt {
	params := t.params(s.params)
	outer := t.within
	if t.depth == 0 {
		t.within = s.text
	}
	t.depth++
	body := append(t.run(t.builtin("enter", &expr{start: s.start, end: s.end})), t.statements(s.body)...)
	t.depth--
	t.within = outer
	name := t.ident(s.text, at)
	out := []syntax.Stmt{&syntax.DefStmt{Def: at, Name: name, Lparen: at, Params: params, Rparen: at, Body: body}}
	for _, d := range slices.Backward(s.decorators) {
		p := t.pos(d.start, d.end)
		call := &syntax.CallExpr{Fn: t.expr(d), Lparen: p, Args: []syntax.Expr{t.ident(s.text, p)}, Rparen: p}
		out = append(out, t.assign(t.ident(s.text, p), call, p))
	}
	return out
}

// class translates a class that only names constants: a function whose names
// they are, which is called once.
func (t *translator) class(s *stmt, at syntax.Position) []syntax.Stmt {
	plain := len(s.decorators) == 0 && !slices.ContainsFunc(s.targets, func(e *expr) bool { return e.kind != exName || e.text != "object" })
	members := []syntax.Expr{t.text(s.text, at)}
	for _, b := range s.body {
		switch {
		case b.kind == stPass, b.kind == stExpr && b.value.kind == exString, b.kind == stAnnotate && b.value == nil:
		case (b.kind == stAssign && len(b.targets) == 1 || b.kind == stAnnotate) && b.targets[0].kind == exName:
			name := b.targets[0].text
			members = append(members, &syntax.TupleExpr{Lparen: at, List: []syntax.Expr{t.text(name, at), t.ident(name, at)}, Rparen: at})
		default:
			plain = false
		}
	}
	if !plain {
		t.refuse("class", s.start, s.end)
		return nil
	}
	t.depth++
	body := t.statements(s.body)
	t.depth--
	here := &expr{start: s.start, end: s.end}
	body = append(body, &syntax.ReturnStmt{Return: at, Result: t.builtin("class", here, members...)})
	name := t.ident(ours+"class "+s.text, at)
	def := &syntax.DefStmt{Def: at, Name: name, Lparen: at, Rparen: at, Body: body}
	call := &syntax.CallExpr{Fn: t.ident(name.Name, at), Lparen: at, Rparen: at}
	return []syntax.Stmt{def, t.assign(t.ident(s.text, at), call, at)}
}

func (t *translator) imports(s *stmt, at syntax.Position) []syntax.Stmt {
	var out []syntax.Stmt
	here := &expr{start: s.start, end: s.end}
	for _, i := range s.imports {
		if i.name == "*" {
			t.refuse("import *", s.start, s.end)
			continue
		}
		t.foreign[i.as] = true
		value := t.builtin("import", here, t.text(i.module, at), t.text(i.name, at))
		out = append(out, t.assign(t.ident(i.as, at), value, at))
	}
	return out
}

func (t *translator) deletions(s *stmt) []syntax.Stmt {
	var out []syntax.Stmt
	list := s.targets
	if list[0].kind == exTuple {
		list = list[0].args
	}
	for _, e := range list {
		switch {
		case e.kind == exName: // nothing can tell, but code that would fail
		case e.kind == exIndex && e.args[1].kind != exSlice:
			out = append(out, t.run(t.builtin("del", e, t.exprs(e.args)...))...)
		default:
			t.target(e)
		}
	}
	return out
}
