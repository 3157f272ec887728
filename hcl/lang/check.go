// Package lang gives expressions of llima.hcl their meaning: which blocks and
// attributes there are, what a scope holds, what functions do, which
// comparisons make sense, and how rules decide. It reads no configuration
// files and knows nothing about how models are built. The language is
// described in docs/language.md.
package lang

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/llima-build/llima/internal/diag"
)

// Check finds what is wrong in expr whatever its unknown variables turn out to
// be: every operand on both sides of && and ||, in both arms of a conditional.
// The library alone drops the errors of a side that does not decide. The
// value is unknown where it depends on unknown variables.
func Check(expr hcl.Expression, ctx *hcl.EvalContext) (cty.Value, diag.List) {
	syntax, ok := expr.(hclsyntax.Expression)
	if !ok {
		v, diags := expr.Value(ctx)
		return v, FromHCL(diags)
	}
	c := &checker{}
	v, ok := c.visit(syntax, ctx)
	if !ok {
		v = cty.DynamicVal
	}
	return v, c.diags
}

// Eval checks expr and returns its value.
func Eval(expr hcl.Expression, ctx *hcl.EvalContext) (cty.Value, diag.List) {
	if _, diags := Check(expr, ctx); diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	v, diags := expr.Value(ctx)
	if !diags.HasErrors() && tooLarge(v) {
		return cty.DynamicVal, diag.List{Errorf(expr.Range(), "Value is too large",
			"This value holds more than %d elements or %d bytes of text.", maxElements, maxTextBytes)}
	}
	return v, FromHCL(diags)
}

func tooLarge(v cty.Value) bool {
	elements, text := 0, 0
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		elements++
		if v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
			text += len(v.AsString())
		}
		return elements <= maxElements && text <= maxTextBytes, nil
	})
	return elements > maxElements || text > maxTextBytes
}

// checker computes an expression with whatever is known, operand by operand.
type checker struct {
	diags diag.List
	// tolerant counts the enclosing calls of try and can and the enclosing
	// operands that another one has ruled out. Inside of them only mistakes
	// that no value can mend are reported.
	tolerant int
	// forDepth and splatDepth count the enclosing expressions that multiply work.
	forDepth, splatDepth int
	referred             int // elements of the values that it names
}

func (c *checker) report(d ...diag.Diagnostic) { c.diags = append(c.diags, d...) }

// fail reports what depends on values, which try, can and conditions are there
// to guard against.
func (c *checker) fail(d ...diag.Diagnostic) (cty.Value, bool) {
	if c.tolerant == 0 {
		c.report(d...)
	}
	return cty.DynamicVal, false
}

// visit returns the value of expr as far as it is known, and whether it and
// everything below is free of errors.
func (c *checker) visit(expr hclsyntax.Expression, ctx *hcl.EvalContext) (cty.Value, bool) {
	switch e := expr.(type) {
	case *hclsyntax.ParenthesesExpr:
		return c.visit(e.Expression, ctx)
	case *hclsyntax.LiteralValueExpr:
		return e.Val, true
	case *hclsyntax.ScopeTraversalExpr:
		return c.traversal(e, ctx)
	case *hclsyntax.RelativeTraversalExpr:
		v, ok := c.visit(e.Source, ctx)
		if !ok {
			return v, false
		}
		return c.steps(e, ctx, v, e.Traversal, "")
	case *hclsyntax.BinaryOpExpr:
		return c.binary(e, ctx)
	case *hclsyntax.UnaryOpExpr:
		return c.unary(e, ctx)
	case *hclsyntax.ConditionalExpr:
		return c.conditional(e, ctx)
	case *hclsyntax.FunctionCallExpr:
		return c.call(e, ctx)
	case *hclsyntax.ForExpr:
		return c.forExpr(e, ctx)
	case *hclsyntax.TemplateWrapExpr:
		return c.visit(e.Wrapped, ctx)
	case *hclsyntax.TemplateExpr:
		return c.template(e, ctx)
	case *hclsyntax.TemplateJoinExpr:
		return c.all(e, ctx, []hclsyntax.Expression{e.Tuple})
	case *hclsyntax.TupleConsExpr:
		return c.tuple(e, ctx)
	case *hclsyntax.ObjectConsExpr:
		return c.object(e, ctx)
	case *hclsyntax.IndexExpr:
		return c.index(e, ctx)
	case *hclsyntax.SplatExpr:
		return c.splat(e, ctx)
	default:
		return c.all(e, ctx, nil)
	}
}

// all visits the children of e, then lets the library compute e itself.
func (c *checker) all(e hclsyntax.Expression, ctx *hcl.EvalContext, children []hclsyntax.Expression) (cty.Value, bool) {
	good := true
	for _, child := range children {
		_, ok := c.visit(child, ctx)
		good = good && ok
	}
	if !good {
		return cty.DynamicVal, false
	}
	v, diags := e.Value(ctx)
	if diags.HasErrors() {
		return c.fail(FromHCL(diags)...)
	}
	return v, true
}

// template visits the parts of a template, and refuses one whose text would
// be too large before it is put together.
func (c *checker) template(e *hclsyntax.TemplateExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	good, size := true, 0
	for _, part := range e.Parts {
		v, ok := c.visit(part, ctx)
		good = good && ok
		size += len(textOf([]cty.Value{v}, 0))
	}
	if !good {
		return cty.DynamicVal, false
	}
	if size > maxTextBytes {
		c.report(Errorf(e.Range(), "Value is too large", "This text has %d bytes; at most %d can be made.", size, maxTextBytes))
		return cty.DynamicVal, false
	}
	return c.all(e, ctx, nil)
}

func (c *checker) index(e *hclsyntax.IndexExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	coll, ok1 := c.visit(e.Collection, ctx)
	key, ok2 := c.visit(e.Key, ctx)
	if !ok1 || !ok2 {
		return cty.DynamicVal, false
	}
	at := e.BracketRange
	v, diags := hcl.Index(coll, key, &at)
	if diags.HasErrors() {
		for _, d := range diags {
			d.Expression, d.EvalContext = e.Key, ctx
		}
		return c.fail(FromHCL(diags)...)
	}
	return v, true
}

func (c *checker) splat(e *hclsyntax.SplatExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	if c.splatDepth == maxSplatDepth {
		c.report(Errorf(e.MarkerRange, "Nested too deeply", "At most %d splats can follow each other.", maxSplatDepth))
		return cty.DynamicVal, false
	}
	c.splatDepth++
	v, ok := c.visit(e.Source, ctx)
	c.splatDepth--
	if !ok {
		return v, false
	}
	return c.all(e, ctx, nil)
}

func (c *checker) tuple(e *hclsyntax.TupleConsExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	good := true
	vals := make([]cty.Value, len(e.Exprs))
	for i, child := range e.Exprs {
		v, ok := c.visit(child, ctx)
		vals[i] = v
		good = good && ok
	}
	return cty.TupleVal(vals), good
}

func (c *checker) object(e *hclsyntax.ObjectConsExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	good := true
	seen := map[string]hcl.Range{}
	vals := map[string]cty.Value{}
	for _, item := range e.Items {
		v, ok := c.visit(item.ValueExpr, ctx)
		good = good && ok
		key, diags := item.KeyExpr.Value(ctx)
		if diags.HasErrors() {
			_, ok = c.fail(FromHCL(diags)...)
			good = good && ok
			continue
		}
		if key, err := convert.Convert(key, cty.String); err == nil && key.IsKnown() && !key.IsNull() {
			name := key.AsString()
			if first, twice := seen[name]; twice {
				c.report(Errorf(item.KeyExpr.Range(), "Duplicate key",
					"The key %q was given on line %d already; of two values with one key only the last would count.", name, first.Start.Line))
				good = false
			}
			seen[name] = item.KeyExpr.Range()
			vals[name] = v
		}
	}
	if !good {
		return cty.DynamicVal, false
	}
	if len(vals) == len(e.Items) {
		return cty.ObjectVal(vals), true
	}
	v, diags := e.Value(ctx)
	if diags.HasErrors() {
		return c.fail(FromHCL(diags)...)
	}
	return v, true
}

func (c *checker) conditional(e *hclsyntax.ConditionalExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	cond, ok1 := c.visit(e.Condition, ctx)
	ok1 = ok1 && c.operand(e, e.Condition, ctx, cond, cty.Bool, "The condition of ?:")
	if ok1 && cond.IsKnown() && cond.Type() == cty.Bool {
		chosen, dead := e.TrueResult, e.FalseResult
		if cond.False() {
			chosen, dead = dead, chosen
		}
		v, ok := c.visit(chosen, ctx)
		return v, c.visitDead(dead, ctx) && ok
	}
	yes, ok2 := c.visit(e.TrueResult, ctx)
	no, ok3 := c.visit(e.FalseResult, ctx)
	if !ok1 || !ok2 || !ok3 {
		return cty.DynamicVal, false
	}
	ty, _ := convert.UnifyUnsafe([]cty.Type{yes.Type(), no.Type()})
	nulls := yes.IsNull() || no.IsNull()
	if !nulls && (ty == cty.NilType || primitive(yes.Type()) != primitive(no.Type())) {
		_, diags := e.Value(ctx)
		if diags.HasErrors() {
			return c.fail(FromHCL(diags)...)
		}
		return cty.DynamicVal, true
	}
	if nulls {
		return cty.DynamicVal, true
	}
	return cty.UnknownVal(ty), true
}

// visitDead visits an operand that does not count because another one decides,
// and reports whether it is free of mistakes that no value can mend.
func (c *checker) visitDead(expr hclsyntax.Expression, ctx *hcl.EvalContext) bool {
	before := len(c.diags)
	c.tolerant++
	c.visit(expr, ctx)
	c.tolerant--
	return len(c.diags) == before
}

func primitive(ty cty.Type) bool { return ty.IsPrimitiveType() || ty == cty.DynamicPseudoType }

// What can stand within its own kind, at most.
const (
	maxForDepth   = 2
	maxSplatDepth = 4
)

func (c *checker) forExpr(e *hclsyntax.ForExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	if c.forDepth == maxForDepth {
		c.report(Errorf(e.Range(), "Nested too deeply", "At most %d for expressions can stand within each other. Give an inner one a name in locals.", maxForDepth))
		return cty.DynamicVal, false
	}
	coll, good := c.visit(e.CollExpr, ctx)
	child := ctx.NewChild()
	key, val := elementTypes(coll)
	child.Variables = map[string]cty.Value{e.ValVar: val}
	if e.KeyVar != "" {
		child.Variables[e.KeyVar] = key
	}
	c.forDepth++
	for _, sub := range []hclsyntax.Expression{e.KeyExpr, e.ValExpr, e.CondExpr} {
		if sub == nil {
			continue
		}
		_, ok := c.visit(sub, child)
		good = good && ok
	}
	c.forDepth--
	if !good {
		return cty.DynamicVal, false
	}
	if c.forDepth == 0 {
		if d := checkWork(e, ctx, maxSteps); d != nil {
			c.report(d...)
			return cty.DynamicVal, false
		}
	}
	return c.all(e, ctx, nil)
}

// elementTypes returns unknown values of the type of a collection's keys and
// elements.
func elementTypes(coll cty.Value) (key, val cty.Value) {
	ty := coll.Type()
	key, val = cty.UnknownVal(cty.Number), cty.DynamicVal
	switch {
	case ty.IsMapType():
		return cty.UnknownVal(cty.String), cty.UnknownVal(ty.ElementType())
	case ty.IsListType():
		return key, cty.UnknownVal(ty.ElementType())
	case ty.IsSetType():
		return cty.UnknownVal(ty.ElementType()), cty.UnknownVal(ty.ElementType())
	case ty.IsObjectType():
		return cty.UnknownVal(cty.String), val
	case ty.IsTupleType():
		return key, val
	}
	return cty.DynamicVal, val
}
