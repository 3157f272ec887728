package python

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"go.starlark.net/syntax"

	"github.com/llima-build/llima/internal/diag"
)

// translator turns Python's tree into Starlark's. Where the two languages
// differ it calls builtins whose names no script can spell: "$+", "$." and so on.
type translator struct {
	file    string
	entry   string // the function that will be called
	diags   diag.List
	places  []diag.Range    // of nodes; Starlark's "line" is an index into it, from 1
	foreign map[string]bool // names that come from modules that are not there
	depth   int             // of functions
	within  string          // the outermost function
	temps   int
	returns []diag.Range // of the entry
}

func (t *translator) report(start, end diag.Pos, summary, format string, args ...any) {
	t.diags = append(t.diags, diag.Diagnostic{
		Severity: diag.Error, Summary: summary, Detail: fmt.Sprintf(format, args...),
		Subject: &diag.Range{File: t.file, Start: start, End: end},
	})
}

// pos returns a place for Starlark that stands for a whole range.
func (t *translator) pos(start, end diag.Pos) syntax.Position {
	t.places = append(t.places, diag.Range{File: t.file, Start: start, End: end})
	return syntax.MakePosition(&t.file, int32(len(t.places)), 1)
}

func (t *translator) ident(name string, at syntax.Position) *syntax.Ident {
	return &syntax.Ident{Name: name, NamePos: at}
}

func (t *translator) text(s string, at syntax.Position) syntax.Expr {
	return &syntax.Literal{Token: syntax.STRING, TokenPos: at, Value: s}
}

// ours begins the names of builtins that scripts cannot spell.
const ours = "$"

// builtin calls one of our builtins.
func (t *translator) builtin(name string, e *expr, args ...syntax.Expr) syntax.Expr {
	at := t.pos(e.start, e.end)
	return &syntax.CallExpr{Fn: t.ident(ours+name, at), Lparen: at, Args: args, Rparen: at}
}

func (t *translator) exprs(list []*expr) []syntax.Expr {
	out := make([]syntax.Expr, len(list))
	for i, e := range list {
		out[i] = t.expr(e)
	}
	return out
}

// expr translates an expression.
func (t *translator) expr(e *expr) syntax.Expr {
	at := t.pos(e.start, e.end)
	switch e.kind {
	case exName:
		if id := t.ident(e.text, at); !t.foreign[e.text] {
			return id
		}
		return t.builtin("use", e, t.ident(e.text, at))
	case exNumber:
		return t.number(e, at)
	case exString:
		return t.text(e.text, at)
	case exFormatted:
		return t.builtin("f", e, t.exprs(e.args)...)
	case exField:
		spec := t.text("", at)
		if len(e.args) > 1 {
			spec = t.expr(e.args[1])
		}
		return t.builtin("format field", e, t.expr(e.args[0]), t.text(e.text, at), spec)
	case exTuple, exList, exSet:
		return t.sequence(e, at)
	case exDict:
		return t.dict(e, at)
	case exComp:
		return t.comprehension(e, at)
	case exUnary:
		op := map[string]syntax.Token{"not": syntax.NOT, "-": syntax.MINUS, "+": syntax.PLUS, "~": syntax.TILDE}[e.text]
		x := t.expr(e.args[0])
		if op != syntax.NOT {
			x = t.builtin("number", e, x)
		}
		return &syntax.UnaryExpr{OpPos: at, Op: op, X: x}
	case exBinary:
		if e.text == "@" {
			t.refuse("@", e.start, e.end)
		}
		return t.builtin(e.text, e, t.exprs(e.args)...)
	case exBool:
		op := syntax.AND
		if e.text == "or" {
			op = syntax.OR
		}
		return &syntax.ParenExpr{Lparen: at, X: &syntax.BinaryExpr{X: t.expr(e.args[0]), OpPos: at, Op: op, Y: t.expr(e.args[1])}, Rparen: at}
	case exCompare:
		return t.compare(e, at)
	case exCond:
		return &syntax.CondExpr{If: at, Cond: t.expr(e.args[0]), True: t.expr(e.args[1]), ElsePos: at, False: t.expr(e.args[2])}
	case exLambda:
		t.depth++
		params := t.params(e.params)
		body := t.expr(e.args[0])
		t.depth--
		return &syntax.LambdaExpr{Lambda: at, Params: params, Body: &syntax.BinaryExpr{X: t.builtin("enter", e), OpPos: at, Op: syntax.AND, Y: body}}
	case exCall:
		return t.call(e, at)
	case exAttr:
		return t.builtin(".", e, t.expr(e.args[0]), t.text(e.text, at))
	case exIndex:
		return t.index(e, at)
	case exSlice:
		return t.builtin("slice", e, t.optional(e.args[0], at), t.optional(e.args[1], at), t.optional(e.args[2], at))
	case exStar:
		t.refuse("*", e.start, e.end)
	case exEllipsis:
		t.refuse("...", e.start, e.end)
	case exRefused:
		t.refuse(e.text, e.start, e.end)
	}
	return t.ident("None", at)
}

func (t *translator) optional(e *expr, at syntax.Position) syntax.Expr {
	if e == nil {
		return t.ident("None", at)
	}
	return t.expr(e)
}

func (t *translator) number(e *expr, at syntax.Position) syntax.Expr {
	text := e.text
	lower := strings.ToLower(text)
	based := strings.HasPrefix(lower, "0x") || strings.HasPrefix(lower, "0o") || strings.HasPrefix(lower, "0b")
	plain := strings.ReplaceAll(text, "_", "")
	bad := strings.Contains(text, "__") || strings.HasSuffix(text, "_") || strings.Contains(text, "._") || strings.Contains(text, "_.")
	switch {
	case bad:
	case based || !strings.ContainsAny(lower, ".ejinf"):
		base := 10
		if based {
			base = 0
		} else if len(plain) > 1 && plain[0] == '0' && strings.Trim(plain, "0") != "" {
			break // 012 was octal in Python 2
		}
		if n, ok := new(big.Int).SetString(plain, base); ok {
			if n.IsInt64() {
				return &syntax.Literal{Token: syntax.INT, TokenPos: at, Value: n.Int64()}
			}
			return &syntax.Literal{Token: syntax.INT, TokenPos: at, Value: n}
		}
	case !strings.ContainsAny(lower, "jinfpx"):
		if f, err := strconv.ParseFloat(plain, 64); err == nil {
			return &syntax.Literal{Token: syntax.FLOAT, TokenPos: at, Value: f}
		}
	}
	t.report(e.start, e.end, "Not valid Python", "%s is not a number.", text)
	return t.ident("None", at)
}

// sequence translates a tuple, a list or a set; what is starred is unpacked.
func (t *translator) sequence(e *expr, at syntax.Position) syntax.Expr {
	starred := slices.ContainsFunc(e.args, func(x *expr) bool { return x.kind == exStar })
	if !starred {
		items := t.exprs(e.args)
		switch e.kind { //nolint:exhaustive // exList is the third
		case exTuple:
			return &syntax.TupleExpr{Lparen: at, List: items, Rparen: at}
		case exSet:
			return t.builtin("{}", e, &syntax.ListExpr{Lbrack: at, List: items, Rbrack: at})
		default:
			return &syntax.ListExpr{Lbrack: at, List: items, Rbrack: at}
		}
	}
	kind := map[exprKind]string{exTuple: "(*)", exList: "[*]", exSet: "{*}"}[e.kind]
	var pieces []syntax.Expr
	for _, x := range e.args {
		if x.kind == exStar {
			pieces = append(pieces, t.expr(x.args[0]))
			continue
		}
		pieces = append(pieces, &syntax.ListExpr{Lbrack: at, List: []syntax.Expr{t.expr(x)}, Rbrack: at})
	}
	return t.builtin(kind, e, pieces...)
}

// dict translates a dict display. Later entries win over earlier ones, which
// Starlark's own display refuses.
func (t *translator) dict(e *expr, at syntax.Position) syntax.Expr {
	var pieces []syntax.Expr
	for i := 0; i < len(e.args); i += 2 {
		value := t.expr(e.args[i+1])
		if e.args[i] == nil {
			pieces = append(pieces, value)
			continue
		}
		pieces = append(pieces, &syntax.TupleExpr{Lparen: at, List: []syntax.Expr{t.expr(e.args[i]), value}, Rparen: at})
	}
	return t.builtin("{**}", e, pieces...)
}

func (t *translator) comprehension(e *expr, at syntax.Position) syntax.Expr {
	c := &syntax.Comprehension{Lbrack: at, Rbrack: at}
	for _, cl := range e.clauses {
		p := t.pos(cl.start, cl.value.end)
		if cl.target == nil {
			c.Clauses = append(c.Clauses, &syntax.IfClause{If: p, Cond: t.expr(cl.value)})
			continue
		}
		c.Clauses = append(c.Clauses, &syntax.ForClause{For: p, Vars: t.target(cl.target), In: p, X: t.builtin("iter", cl.value, t.expr(cl.value))})
	}
	switch e.text {
	case "{:":
		c.Curly = true
		c.Body = &syntax.DictEntry{Key: t.expr(e.args[0]), Colon: at, Value: t.expr(e.args[1])}
		return c
	case "{":
		c.Body = t.expr(e.args[0])
		return t.builtin("{}", e, c)
	case "(":
		t.refuse("(for", e.start, e.end) // calls translate theirs themselves
	}
	c.Body = t.expr(e.args[0])
	return c
}

// compare translates a comparison. In a chain each operand is evaluated once,
// and those after a false comparison not at all.
func (t *translator) compare(e *expr, at syntax.Position) syntax.Expr {
	if len(e.names) == 1 {
		return t.compareTwo(e, e.names[0], e.args[0], e.args[1], t.expr(e.args[0]), t.expr(e.args[1]))
	}
	// (lambda a: (lambda b: a < b and b < c)(second))(first)
	first := t.temp()
	inner := &expr{kind: exCompare, start: e.start, end: e.end, names: e.names, args: e.args}
	return t.bind(first, e, at, t.expr(e.args[0]), t.chain(inner, 0, first, at))
}

func (t *translator) temp() string {
	t.temps++
	return fmt.Sprintf("operand %d", t.temps)
}

// bind evaluates body with a name for value.
func (t *translator) bind(name string, e *expr, at syntax.Position, value, body syntax.Expr) syntax.Expr {
	fn := &syntax.LambdaExpr{Lambda: at, Params: []syntax.Expr{t.ident(name, at)}, Body: body}
	return &syntax.CallExpr{Fn: fn, Lparen: t.pos(e.start, e.end), Args: []syntax.Expr{value}, Rparen: at}
}

func (t *translator) chain(e *expr, i int, left string, at syntax.Position) syntax.Expr {
	x, y := e.args[i], e.args[i+1]
	if i == len(e.names)-1 {
		return t.compareTwo(e, e.names[i], x, y, t.ident(left, at), t.expr(y))
	}
	right := t.temp()
	test := t.compareTwo(e, e.names[i], x, y, t.ident(left, at), t.ident(right, at))
	rest := &syntax.BinaryExpr{X: test, OpPos: at, Op: syntax.AND, Y: t.chain(e, i+1, right, at)}
	return t.bind(right, e, at, t.expr(y), rest)
}

func (t *translator) compareTwo(e *expr, op string, x, y *expr, left, right syntax.Expr) syntax.Expr {
	if op == "is" || op == "is not" {
		constant := func(e *expr) bool {
			return e.kind == exName && slices.Contains([]string{"None", "True", "False"}, e.text)
		}
		typ := func(e *expr) bool { return e.kind == exCall && e.args[0].kind == exName && e.args[0].text == "type" }
		if !constant(x) && !constant(y) && !typ(x) && !typ(y) {
			t.refuse("is", e.start, e.end)
		}
	}
	return t.builtin(op, e, left, right)
}

// consumers take a generator and use it up at once.
var consumers = []string{
	"any", "all", "sum", "min", "max", "sorted", "list", "tuple", "set", "frozenset", "dict", "len", "enumerate", "zip", "map", "filter",
}

func (t *translator) call(e *expr, at syntax.Position) syntax.Expr {
	fn := e.args[0]
	name := ""
	if fn.kind == exName {
		name = fn.text
	}
	if fn.kind == exAttr && slices.Contains([]string{"join", "update", "extend", "union"}, fn.text) {
		name = "list"
	}
	c := &syntax.CallExpr{Lparen: at, Rparen: at}
	if name == "next" {
		if len(e.args) < 2 || e.args[1].kind != exComp || e.args[1].text != "(" {
			t.refuse("next", e.start, e.end)
		}
		c.Fn = t.ident(ours+"first of", at)
	} else {
		c.Fn = t.expr(fn)
	}
	t.arguments(c, e, func(i int, arg *expr) *expr {
		if arg.kind == exComp && arg.text == "(" && (slices.Contains(consumers, name) || name == "next" && i == 0) {
			list := *arg
			list.text = "["
			return &list
		}
		return arg
	})
	return c
}

// arguments translates those of a call. Starlark wants positions, names, *
// and ** in this order and once each.
func (t *translator) arguments(c *syntax.CallExpr, e *expr, adapt func(i int, arg *expr) *expr) {
	at := t.pos(e.start, e.end)
	one := func(x syntax.Expr) syntax.Expr {
		return &syntax.ListExpr{Lbrack: at, List: []syntax.Expr{x}, Rbrack: at}
	}
	var named, starred, dicts []syntax.Expr
	for i, arg := range e.args[1:] {
		x := t.expr(adapt(i, arg))
		switch keyword := e.names[i]; keyword {
		case "":
			if starred == nil {
				c.Args = append(c.Args, x)
			} else {
				starred = append(starred, one(x))
			}
		case "*":
			starred = append(starred, x)
		case "**":
			dicts = append(dicts, x)
		default:
			named = append(named, &syntax.BinaryExpr{X: t.ident(keyword, at), OpPos: at, Op: syntax.EQ, Y: x})
		}
	}
	c.Args = append(c.Args, named...)
	if starred != nil {
		c.Args = append(c.Args, &syntax.UnaryExpr{OpPos: at, Op: syntax.STAR, X: t.builtin("[*]", e, starred...)})
	}
	if dicts != nil {
		c.Args = append(c.Args, &syntax.UnaryExpr{OpPos: at, Op: syntax.STARSTAR, X: t.builtin("{**}", e, dicts...)})
	}
}

func (t *translator) index(e *expr, at syntax.Position) syntax.Expr {
	if s := e.args[1]; s.kind == exSlice {
		x := &syntax.SliceExpr{X: t.builtin("sliced", e, t.expr(e.args[0])), Lbrack: at, Rbrack: at}
		for i, part := range []*syntax.Expr{&x.Lo, &x.Hi, &x.Step} {
			if s.args[i] != nil {
				*part = t.builtin("bound", s.args[i], t.expr(s.args[i]))
			}
		}
		return x
	}
	return t.builtin("[]", e, t.exprs(e.args)...)
}

// params translates parameters.
func (t *translator) params(list []param) []syntax.Expr {
	var out []syntax.Expr
	for _, q := range list {
		at := t.pos(q.start, advance(q.start, q.star+q.name))
		switch {
		case q.star == "**":
			out = append(out, &syntax.UnaryExpr{OpPos: at, Op: syntax.STARSTAR, X: t.ident(q.name, at)})
		case q.star == "*" && q.name == "":
			out = append(out, &syntax.UnaryExpr{OpPos: at, Op: syntax.STAR})
		case q.star == "*":
			out = append(out, &syntax.UnaryExpr{OpPos: at, Op: syntax.STAR, X: t.ident(q.name, at)})
		case q.value != nil:
			out = append(out, &syntax.BinaryExpr{X: t.ident(q.name, at), OpPos: at, Op: syntax.EQ, Y: t.expr(q.value)})
		default:
			out = append(out, t.ident(q.name, at))
		}
	}
	return out
}
