package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
)

// maxExpansions bounds what one for_each or matrix can make.
const maxExpansions = 1024

// expansion is one copy of a block; value is NilVal where the block is not
// expanded at all.
type expansion struct {
	key   string
	value cty.Value
}

// object is what the block sees as "each".
func (e expansion) object() cty.Value {
	return cty.ObjectVal(map[string]cty.Value{"key": cty.StringVal(e.key), "value": e.value})
}

// expand returns the copies of a model block, by key.
func (l *loader) expand(b *hclsyntax.Block) []expansion {
	matrix := b.Body.Attributes["matrix"]
	if matrix == nil {
		return l.expandIn(b, l.base)
	}
	if each := b.Body.Attributes["for_each"]; each != nil {
		l.report(diag.List{lang.Errorf(matrix.NameRange, "Two expansions", "A block takes for_each or matrix, not both.")})
		return nil
	}
	v, diags := lang.Eval(matrix.Expr, l.base)
	l.report(diags)
	if diags.HasErrors() || !v.IsWhollyKnown() {
		return nil
	}
	out, err := expandMatrix(v)
	if err != nil {
		l.report(diag.List{lang.Errorf(matrix.Expr.Range(), "Invalid value for matrix", "%s.", capital(err.Error()))})
	}
	return l.checkKeys(out, matrix.Expr.Range())
}

// expandIn evaluates for_each in ctx.
func (l *loader) expandIn(b *hclsyntax.Block, ctx *hcl.EvalContext) []expansion {
	attr := b.Body.Attributes["for_each"]
	if attr == nil {
		return []expansion{{}}
	}
	v, diags := lang.Eval(attr.Expr, ctx)
	l.report(diags)
	if diags.HasErrors() || !v.IsWhollyKnown() {
		return nil
	}
	at := attr.Expr.Range()
	ty := v.Type()
	var out []expansion
	switch {
	case v.IsNull():
		l.report(diag.List{lang.Errorf(at, "Invalid value for for_each", "for_each is a map or a set of strings, not null. An empty map {} makes no copies.")})
	case ty.IsMapType() || ty.IsObjectType():
		for key, val := range v.Elements() {
			out = append(out, expansion{key.AsString(), val})
		}
	case ty.IsSetType() && (ty.ElementType() == cty.String || v.LengthInt() == 0):
		for _, val := range v.Elements() {
			if val.IsNull() {
				l.report(diag.List{lang.Errorf(at, "Invalid value for for_each", "A key of for_each is null.")})
				return nil
			}
			out = append(out, expansion{val.AsString(), val})
		}
	case ty.IsTupleType() || ty.IsListType():
		l.report(diag.List{lang.Errorf(at, "Invalid value for for_each", "for_each is a map or a set of strings, because keys name the copies; a list has none. Write toset([…]) around strings.")})
	default:
		l.report(diag.List{lang.Errorf(at, "Invalid value for for_each", "for_each is a map or a set of strings.")})
	}
	return l.checkKeys(out, at)
}

// checkKeys refuses keys that addresses and paths cannot hold.
func (l *loader) checkKeys(out []expansion, at hcl.Range) []expansion {
	if len(out) > maxExpansions {
		l.report(diag.List{lang.Errorf(at, "Too many copies", "This would make %d copies; at most %d can be made.", len(out), maxExpansions)})
		return nil
	}
	slices.SortFunc(out, func(a, b expansion) int { return strings.Compare(a.key, b.key) })
	var last string
	for i, e := range out {
		if e.value == cty.NilVal {
			continue
		}
		if !labelPattern.MatchString(e.key) {
			l.report(diag.List{lang.Errorf(at, "Invalid key", "%q cannot be a key: keys take letters, digits, _, - and ., because addresses and paths are made of them.", e.key)})
			return nil
		}
		if i > 0 && e.key == last {
			l.report(diag.List{lang.Errorf(at, "Duplicate key", "Two copies would have the key %q.", e.key)})
			return nil
		}
		last = e.key
	}
	return out
}

// expandMatrix returns every combination of the axes' values. Axes are taken
// in order of their names, and the key joins the values with "-".
func expandMatrix(v cty.Value) ([]expansion, error) {
	if v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return nil, fmt.Errorf("matrix is an object of lists: { context = [1024, 4096], … }")
	}
	axes := v.AsValueMap()
	out := []expansion{{value: cty.EmptyObjectVal}}
	for _, axis := range slices.Sorted(maps.Keys(axes)) {
		list := axes[axis]
		if ty := list.Type(); list.IsNull() || !ty.IsTupleType() && !ty.IsListType() && !ty.IsSetType() {
			return nil, fmt.Errorf("the axis %q of matrix is not a list", axis)
		}
		var next []expansion
		for _, e := range out {
			for _, val := range list.Elements() {
				s, err := convert.Convert(val, cty.String)
				if err != nil || s.IsNull() {
					return nil, fmt.Errorf("the axis %q of matrix holds a value that is neither a string nor a number nor a bool", axis)
				}
				attrs := e.value.AsValueMap()
				if attrs == nil {
					attrs = map[string]cty.Value{}
				}
				attrs[axis] = val
				next = append(next, expansion{strings.TrimPrefix(e.key+"-"+s.AsString(), "-"), cty.ObjectVal(attrs)})
			}
			if len(next) > maxExpansions {
				return nil, fmt.Errorf("matrix makes more than %d copies", maxExpansions)
			}
		}
		out = next
	}
	if len(axes) == 0 {
		return nil, fmt.Errorf("matrix has no axes")
	}
	return out, nil
}
