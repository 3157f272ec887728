package lang

import (
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/diag"
)

// quantised lists the precisions whose weights are quantised.
var quantised = []config.Precision{config.INT8, config.INT4}

// checkPerPrecision checks one value for all precisions, or an object of them.
func (a Attribute) checkPerPrecision(expr hcl.Expression, ctx *hcl.EvalContext, v cty.Value) diag.List {
	if !v.IsKnown() {
		return nil
	}
	if ty := v.Type(); !ty.IsObjectType() && !ty.IsMapType() {
		return a.checkOne(expr, ctx, expr.Range(), v)
	}
	var out diag.List
	for _, key := range keysOf(v) {
		at := itemRange(expr, key)
		switch {
		case key == string(config.BF16):
			out = append(out, errorIn(expr, ctx, at, "Invalid value for "+a.Name, "Weights in BF16 are not quantised; the keys of %s are %s.", a.Name, listed(names(quantised))))
		case !slices.Contains(names(quantised), key):
			out = append(out, errorIn(expr, ctx, at, "Invalid value for "+a.Name, "The keys of %s are %s, not %q.%s", a.Name, listed(names(quantised)), key, didYouMean(key, names(quantised))))
		default:
			out = append(out, a.checkOne(expr, ctx, at, v.AsValueMap()[key])...)
		}
	}
	return out
}

// checkOne checks the value for one precision, which stands at a place.
func (a Attribute) checkOne(expr hcl.Expression, ctx *hcl.EvalContext, at hcl.Range, v cty.Value) diag.List {
	if !v.IsKnown() || v.IsNull() {
		return nil
	}
	given := describe(v)
	if v.Type() == cty.String {
		given = v.AsString()
		if _, err := strconv.Atoi(given); err == nil {
			return diag.List{errorIn(expr, ctx, at, "Invalid value for "+a.Name, "%s is %s. Write it without quotes: %s.", a.Name, withArticle(v), given)}
		}
	}
	if slices.Contains(a.Values, given) {
		return nil
	}
	return diag.List{errorIn(expr, ctx, at, "Invalid value for "+a.Name, "%s is one of %s, not %s.%s", a.Name, Join(a.literals(), "and"), describe(v), didYouMean(given, a.Values))}
}

// literals returns the values as HCL writes them.
func (a Attribute) literals() []string {
	out := slices.Clone(a.Values)
	for i, s := range out {
		if _, err := strconv.Atoi(s); err != nil {
			out[i] = strconv.Quote(s)
		}
	}
	return out
}

// itemRange returns the place of the value under a key of an object that is
// written out, or of the whole expression.
func itemRange(expr hcl.Expression, key string) hcl.Range {
	if object, ok := expr.(*hclsyntax.ObjectConsExpr); ok {
		for _, item := range object.Items {
			if v, diags := item.KeyExpr.Value(nil); !diags.HasErrors() && v.Type() == cty.String && v.IsKnown() && !v.IsNull() && v.AsString() == key {
				return hcl.RangeBetween(item.KeyExpr.Range(), item.ValueExpr.Range())
			}
		}
	}
	return expr.Range()
}

// PerPrecision returns a checked value of kind [PerPrecision] by precision.
func (a Attribute) PerPrecision(v cty.Value) map[config.Precision]string {
	text := func(v cty.Value) string {
		if v.Type() == cty.String {
			return v.AsString()
		}
		return describe(v)
	}
	out := map[config.Precision]string{}
	for _, p := range quantised {
		one := v
		if ty := v.Type(); ty.IsObjectType() || ty.IsMapType() {
			one = v.AsValueMap()[string(p)]
		}
		if one != cty.NilVal && !one.IsNull() {
			out[p] = text(one)
		}
	}
	return out
}
