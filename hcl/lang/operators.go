package lang

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/llima-build/llima/internal/addr"
)

// opText is how operators are written.
var opText = map[*hclsyntax.Operation]string{
	hclsyntax.OpLogicalOr: "||", hclsyntax.OpLogicalAnd: "&&", hclsyntax.OpLogicalNot: "!",
	hclsyntax.OpEqual: "==", hclsyntax.OpNotEqual: "!=",
	hclsyntax.OpGreaterThan: ">", hclsyntax.OpGreaterThanOrEqual: ">=",
	hclsyntax.OpLessThan: "<", hclsyntax.OpLessThanOrEqual: "<=",
	hclsyntax.OpAdd: "+", hclsyntax.OpSubtract: "-", hclsyntax.OpMultiply: "*",
	hclsyntax.OpDivide: "/", hclsyntax.OpModulo: "%", hclsyntax.OpNegate: "-",
}

func (c *checker) binary(e *hclsyntax.BinaryOpExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	op := opText[e.Op]
	lhs, ok1 := c.visit(e.LHS, ctx)
	if ok1 && (e.Op == hclsyntax.OpLogicalAnd && isFalse(lhs) || e.Op == hclsyntax.OpLogicalOr && isTrue(lhs)) {
		return lhs, c.visitDead(e.RHS, ctx)
	}
	rhs, ok2 := c.visit(e.RHS, ctx)
	if e.Op == hclsyntax.OpEqual || e.Op == hclsyntax.OpNotEqual {
		if !ok1 || !ok2 || !c.equality(e, ctx, lhs, rhs) {
			return cty.UnknownVal(cty.Bool), false
		}
	} else {
		want := cty.Number
		if e.Op == hclsyntax.OpLogicalAnd || e.Op == hclsyntax.OpLogicalOr {
			want = cty.Bool
		}
		ok1 = ok1 && c.operand(e, e.LHS, ctx, lhs, want, "The left operand of "+op)
		ok2 = ok2 && c.operand(e, e.RHS, ctx, rhs, want, "The right operand of "+op)
		if !ok1 || !ok2 {
			return cty.UnknownVal(e.Op.Type), false
		}
	}
	if (e.Op == hclsyntax.OpDivide || e.Op == hclsyntax.OpModulo) && rhs.IsKnown() && rhs.Type() == cty.Number && rhs.AsBigFloat().Sign() == 0 {
		d := errorIn(e.RHS, ctx, e.Range(), "Division by zero", "The right operand of %s is zero. The result would count as infinite, not as an error.", op)
		if len(e.RHS.Variables()) > 0 {
			return c.fail(d)
		}
		c.report(d)
		return cty.UnknownVal(cty.Number), false
	}
	switch {
	case e.Op == hclsyntax.OpLogicalAnd && (isFalse(lhs) || isFalse(rhs)):
		return cty.False, true
	case e.Op == hclsyntax.OpLogicalOr && (isTrue(lhs) || isTrue(rhs)):
		return cty.True, true
	case !lhs.IsWhollyKnown() || !rhs.IsWhollyKnown():
		return ordered(e.Op, lhs, rhs), true
	}
	v, err := e.Op.Impl.Call([]cty.Value{lhs, rhs})
	if err != nil {
		return c.fail(errorIn(e, ctx, e.Range(), "Operation failed", "%s cannot be computed: %s.", op, err))
	}
	return v, true
}

// ordered returns what an operation gives where an operand is not known but
// for its range: layer.index < 0 is false whatever the layer is.
func ordered(op *hclsyntax.Operation, lhs, rhs cty.Value) cty.Value {
	out := cty.UnknownVal(op.Type)
	if lhs.Type() != cty.Number || rhs.Type() != cty.Number || lhs.IsNull() || rhs.IsNull() {
		return out
	}
	least, _ := lhs.Range().NumberLowerBound()
	most, _ := rhs.Range().NumberUpperBound()
	switch op {
	case hclsyntax.OpGreaterThan, hclsyntax.OpGreaterThanOrEqual, hclsyntax.OpLessThan, hclsyntax.OpLessThanOrEqual:
	default:
		return out
	}
	// Only lower bounds are known of numbers that are not, so all that can be
	// told is that one is above the other.
	strict := op == hclsyntax.OpGreaterThan || op == hclsyntax.OpLessThanOrEqual
	if above(least, most, strict) { // lhs > rhs, or lhs >= rhs
		return cty.BoolVal(op == hclsyntax.OpGreaterThan || op == hclsyntax.OpGreaterThanOrEqual)
	}
	least, _ = rhs.Range().NumberLowerBound()
	most, _ = lhs.Range().NumberUpperBound()
	strict = op == hclsyntax.OpLessThan || op == hclsyntax.OpGreaterThanOrEqual
	if above(least, most, strict) { // rhs > lhs, or rhs >= lhs
		return cty.BoolVal(op == hclsyntax.OpLessThan || op == hclsyntax.OpLessThanOrEqual)
	}
	return out
}

// above reports whether a known bound is above another, or as high where it
// need not be strictly above.
func above(a, b cty.Value, strict bool) bool {
	if !a.IsKnown() || !b.IsKnown() || a.IsNull() || b.IsNull() {
		return false
	}
	order := a.AsBigFloat().Cmp(b.AsBigFloat())
	return order > 0 || order == 0 && !strict
}

func isTrue(v cty.Value) bool { return v.IsKnown() && !v.IsNull() && v.Type() == cty.Bool && v.True() }

func isFalse(v cty.Value) bool {
	return v.IsKnown() && !v.IsNull() && v.Type() == cty.Bool && v.False()
}

func (c *checker) unary(e *hclsyntax.UnaryOpExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	v, ok := c.visit(e.Val, ctx)
	want := cty.Number
	if e.Op == hclsyntax.OpLogicalNot {
		want = cty.Bool
	}
	if !ok || !c.operand(e, e.Val, ctx, v, want, "The operand of "+opText[e.Op]) {
		return cty.UnknownVal(want), false
	}
	if !v.IsKnown() {
		return cty.UnknownVal(want), true
	}
	out, err := e.Op.Impl.Call([]cty.Value{v})
	if err != nil {
		return c.fail(errorIn(e, ctx, e.Range(), "Operation failed", "%s cannot be computed: %s.", opText[e.Op], err))
	}
	return out, true
}

// operand checks that v, the value of expr in whole, has the wanted type. Nothing is
// converted: an unknown string would pass as a number.
func (c *checker) operand(whole, expr hclsyntax.Expression, ctx *hcl.EvalContext, v cty.Value, want cty.Type, what string) bool {
	const summary = "Wrong type of operand"
	at := expr.Range()
	fix := ""
	switch {
	case v.IsNull():
		c.fail(errorIn(whole, ctx, at, summary, "%s is null; a %s is needed.", what, typeName(want)))
		return false
	case v.Type() == want || v.Type() == cty.DynamicPseudoType:
		return true
	case v.Type() == cty.String && v.IsKnown():
		if _, err := convert.Convert(v, want); err == nil {
			fix = " Write it without quotes, or use to" + typeName(want) + "()."
		}
	case v.Type() == cty.String && want == cty.Bool && enumOf(expr) != "":
		fix = " Compare it: " + enumOf(expr) + ` == "` + enums[enumOf(expr)][0] + `".`
	}
	if at.Start.Byte > at.End.Byte {
		at = whole.Range()
	}
	d := errorIn(expr, ctx, at, summary, "%s is %s; a %s is needed.%s", what, withArticle(v), typeName(want), fix)
	if v.IsKnown() {
		c.fail(d)
	} else { // it has this type whatever its value
		c.report(d)
	}
	return false
}

func withArticle(v cty.Value) string {
	if v.IsKnown() && v.Type().IsPrimitiveType() {
		return "the " + typeName(v.Type()) + " " + describe(v)
	}
	if v.Type().IsObjectType() {
		return "an object"
	}
	return "a " + typeName(v.Type())
}

// equality checks that the two sides can ever be equal. The language itself
// finds that values of different types differ, and says nothing.
func (c *checker) equality(e *hclsyntax.BinaryOpExpr, ctx *hcl.EvalContext, lhs, rhs cty.Value) bool {
	if lhs.IsNull() || rhs.IsNull() {
		return true
	}
	lt, rt := lhs.Type(), rhs.Type()
	if lt != cty.DynamicPseudoType && rt != cty.DynamicPseudoType && !lt.Equals(rt) && (lt.IsPrimitiveType() || rt.IsPrimitiveType()) {
		fix := ""
		switch {
		case lt == cty.Number && unquotes(rhs, lt):
			fix = " Write it without quotes: " + rhs.AsString() + "."
		case rt == cty.Number && unquotes(lhs, rt):
			fix = " Write it without quotes: " + lhs.AsString() + "."
		case lt == cty.Bool && unquotes(rhs, lt), rt == cty.Bool && unquotes(lhs, rt):
			fix = " Write true and false without quotes."
		case lt.IsPrimitiveType() && (rt.IsTupleType() || rt.IsListType() || rt.IsSetType()):
			fix = " To ask whether a list has a value, write contains(LIST, VALUE)."
		}
		c.report(errorIn(e, ctx, e.Range(), "Comparison of different types",
			"The left side is %s and the right side is %s; values of different types are never equal.%s", withArticle(lhs), withArticle(rhs), fix))
		return false
	}
	ok1 := c.enum(e.LHS, e.RHS, rhs)
	ok2 := c.enum(e.RHS, e.LHS, lhs)
	return ok1 && ok2
}

func unquotes(v cty.Value, want cty.Type) bool {
	if v.Type() != cty.String || !v.IsKnown() {
		return false
	}
	_, err := convert.Convert(v, want)
	return err == nil
}

// layerParts are the values of layer.part. CONV holds a whole layer and
// follows the rules of its PRE.
var layerParts = []string{addr.Pre.String(), addr.Cache.String(), addr.Post.String(), addr.Vision.String()}

// enums are the values that variables of rules can have.
var enums = map[string][]string{
	"layer.part":   layerParts,
	"layer.phase":  {addr.Prefill.String(), addr.Decode.String()},
	"model.format": {"hf", "gguf", "compressed_tensors"},
}

// enumsMeant are other names of these values.
var enumsMeant = map[string]string{
	"group": "prefill", "single": "decode", "ATTENTION": "CACHE", "attention": "CACHE",
	"MLP": "POST", "mlp": "POST", "CONV": "PRE", "huggingface": "hf",
}

// enumOf returns the variable with a fixed set of values that expr is.
func enumOf(expr hclsyntax.Expression) string {
	for {
		p, ok := expr.(*hclsyntax.ParenthesesExpr)
		if !ok {
			break
		}
		expr = p.Expression
	}
	if e, ok := expr.(*hclsyntax.ScopeTraversalExpr); ok {
		if text := traversalText(e.Traversal); enums[text] != nil {
			return text
		}
	}
	return ""
}

// enum checks v, the value of expr, where it is compared with variable.
func (c *checker) enum(variable, expr hclsyntax.Expression, v cty.Value) bool {
	name := enumOf(variable)
	if name == "" || !v.IsKnown() || v.IsNull() || v.Type() != cty.String {
		return true
	}
	given := v.AsString()
	if slices.Contains(enums[name], given) {
		return true
	}
	hint := didYouMean(given, enums[name])
	if meant := enumsMeant[given]; slices.Contains(enums[name], meant) {
		hint = ` Did you mean "` + meant + `"?`
	}
	if given == addr.Conv.String() {
		hint = " A layer without attention follows the rules of its PRE."
	}
	c.report(Errorf(expr.Range(), "Value never occurs", "%s is never %q: it is one of %s.%s", name, given, listed(enums[name]), hint))
	return false
}
