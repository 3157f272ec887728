package lang

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/llima-build/llima/internal/diag"
)

// EvalAttribute evaluates an attribute and checks its value against the
// schema. A null counts as leaving the attribute out, and stands for a value
// that depends on what failed elsewhere.
func EvalAttribute(a Attribute, attr *hclsyntax.Attribute, ctx *hcl.EvalContext) (cty.Value, diag.List) {
	v, diags := Eval(attr.Expr, ctx)
	return a.checked(attr, ctx, v, diags)
}

// evalQuick is [EvalAttribute] for an expression that [CheckAttribute] has
// seen: in rules that are asked about thousands of parts.
func (a Attribute) evalQuick(attr *hclsyntax.Attribute, ctx *hcl.EvalContext) (cty.Value, diag.List) {
	if d := checkWork(attr.Expr, ctx, maxRuleSteps); d != nil {
		return cty.NullVal(cty.DynamicPseudoType), d
	}
	v, diags := attr.Expr.Value(ctx)
	return a.checked(attr, ctx, v, FromHCL(diags))
}

func (a Attribute) checked(attr *hclsyntax.Attribute, ctx *hcl.EvalContext, v cty.Value, diags diag.List) (cty.Value, diag.List) {
	if diags.HasErrors() {
		return cty.NullVal(cty.DynamicPseudoType), diags
	}
	if !v.IsWhollyKnown() { // it depends on something that failed and was reported
		return cty.NullVal(cty.DynamicPseudoType), diags
	}
	out := a.check(attr.Expr, ctx, v)
	if !out.HasErrors() && v.IsNull() && a.Required {
		out = append(out, errorIn(attr.Expr, ctx, attr.Expr.Range(), "Missing value", "%s must be given, and this is null.", a.Name))
	}
	if out.HasErrors() {
		return cty.NullVal(cty.DynamicPseudoType), append(diags, out...)
	}
	return v, append(diags, out...)
}

// CheckAttribute is [EvalAttribute] for an attribute that is evaluated later,
// in a context whose variables are unknown as yet. Every result that the
// expression can have, both arms of a conditional, is checked.
func CheckAttribute(a Attribute, attr *hclsyntax.Attribute, ctx *hcl.EvalContext) diag.List {
	v, diags := Check(attr.Expr, ctx)
	if diags.HasErrors() {
		return diags
	}
	if v.IsKnown() {
		return append(diags, a.check(attr.Expr, ctx, v)...)
	}
	for _, leaf := range leaves(attr.Expr) {
		if v, d := Check(leaf, ctx); !d.HasErrors() {
			diags = append(diags, a.check(leaf, ctx, v)...)
		}
	}
	return diags
}

// leaves returns the expressions one of which is the result of expr.
func leaves(expr hcl.Expression) []hclsyntax.Expression {
	switch e := expr.(type) {
	case *hclsyntax.ParenthesesExpr:
		return leaves(e.Expression)
	case *hclsyntax.ConditionalExpr:
		return append(leaves(e.TrueResult), leaves(e.FalseResult)...)
	case hclsyntax.Expression:
		return []hclsyntax.Expression{e}
	}
	return nil
}

// check reports what is wrong with a value, which may be unknown.
func (a Attribute) check(expr hcl.Expression, ctx *hcl.EvalContext, v cty.Value) diag.List {
	if v.IsNull() || a.Kind == Any || a.Kind == TypeOf || a.Kind == Policies || v.Type() == cty.DynamicPseudoType {
		return nil
	}
	wrong := func(format string, args ...any) diag.List {
		return diag.List{errorIn(expr, ctx, expr.Range(), "Invalid value for "+a.Name, format, args...)}
	}
	if a.Kind == PerPrecision {
		return a.checkPerPrecision(expr, ctx, v)
	}
	want, ok := a.accepts(v)
	if !ok {
		fix := ""
		if want == "a whole number" || want == "a number" {
			if unquotes(v, cty.Number) {
				fix = " Write it without quotes: " + v.AsString() + "."
			}
		} else if want == "true or false" && unquotes(v, cty.Bool) {
			fix = " Write it without quotes."
		} else if a.Kind == Strings && v.Type() == cty.String && v.IsKnown() {
			fix = " Write [" + describe(v) + "]."
		}
		return wrong("%s is %s, not %s.%s", a.Name, want, withArticle(v), fix)
	}
	if !v.IsWhollyKnown() {
		return nil
	}
	switch a.Kind {
	case Enum:
		return a.checkEnum(v.AsString(), wrong)
	case Integer:
		return a.checkInteger(v.AsBigFloat(), wrong)
	case Number:
		if v.AsBigFloat().Sign() < 0 {
			return wrong("%s is at least 0, not %s.", a.Name, describe(v))
		}
	case Size:
		n, err := bytesOf(v)
		if err != nil {
			return wrong("%v.", err)
		}
		if n == 0 {
			return wrong("%s is at least one byte. To set no limit, leave %s out.", a.Name, a.Name)
		}
	case Any, String, Bool, Strings, TypeOf, Policies, PerPrecision:
	}
	return nil
}

func (a Attribute) checkEnum(given string, wrong func(string, ...any) diag.List) diag.List {
	if slices.Contains(a.Values, given) {
		return nil
	}
	if len(a.Values) == 1 {
		return wrong("%s can only be %q, not %q.", a.Name, a.Values[0], given)
	}
	return wrong("%s is one of %s, not %q.%s", a.Name, listed(a.Values), given, didYouMean(given, a.Values))
}

func (a Attribute) checkInteger(n *big.Float, wrong func(string, ...any) diag.List) diag.List {
	if !n.IsInt() {
		return wrong("%s is a whole number, not %s.", a.Name, n.Text('g', 10))
	}
	if n.Cmp(big.NewFloat(float64(a.Min))) < 0 {
		return wrong("%s is at least %d, not %s.", a.Name, a.Min, n.Text('g', 20))
	}
	limit := 1 << 31
	if a.Max > 0 {
		limit = a.Max
	}
	if n.Cmp(big.NewFloat(float64(limit))) > 0 {
		return wrong("%s is at most %d, not %s.", a.Name, limit, n.Text('g', 20))
	}
	return nil
}

// accepts names the type that the attribute takes and reports whether v has it.
func (a Attribute) accepts(v cty.Value) (string, bool) {
	ty := v.Type()
	switch a.Kind {
	case String, Enum:
		return "a string", ty == cty.String
	case Integer:
		return "a whole number", ty == cty.Number
	case Number:
		return "a number", ty == cty.Number
	case Bool:
		return "true or false", ty == cty.Bool
	case Strings:
		_, err := convert.Convert(v, cty.List(cty.String))
		return "a list of strings", err == nil && !ty.IsPrimitiveType()
	case Size:
		return `a number of bytes, or a string such as "16GiB"`, ty == cty.Number || ty == cty.String
	case Any, TypeOf, Policies, PerPrecision:
	}
	return "a value", true
}

// bytesOf returns the bytes of a value of kind Size.
func bytesOf(v cty.Value) (int64, error) {
	if v.Type() == cty.String {
		return ParseBytes(v.AsString())
	}
	f := v.AsBigFloat()
	n, _ := f.Int64() // rounds down: plan.bf16_size / 3 is a size
	if f.Sign() < 0 || f.IsInf() || n > maxBytes {
		return 0, fmt.Errorf("%s bytes are no size, which is 1 to %d bytes", describe(v), int64(maxBytes))
	}
	return n, nil
}

// Unsupported says that this version cannot build what the attribute asks
// for; ok is false where it can.
func (a Attribute) Unsupported(v cty.Value, at hcl.Range) (d diag.Diagnostic, ok bool) {
	given := ""
	switch {
	case v.IsNull() || !v.IsWhollyKnown():
		return d, false
	case v.Type() == cty.Bool || v.Type() == cty.String:
		given = describe(v)
		if v.Type() == cty.String {
			given = v.AsString()
		}
	}
	if !a.CheckOnly && (a.Builds == nil || slices.Contains(a.Builds, given)) {
		return d, false
	}
	d = Errorf(at, "Not supported by this version", "This version of llima checks %s = %s, but cannot build with it yet.", a.Name, describe(v))
	if a.Builds != nil {
		q := slices.Clone(a.Builds)
		if a.Kind == Enum {
			for i, s := range q {
				q[i] = `"` + s + `"`
			}
		}
		d.Detail += " It can build with " + a.Name + " = " + Join(q, "or") + "."
	}
	return d, true
}
