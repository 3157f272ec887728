package lang

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/internal/diag"
)

// RangeOf converts a range of the HCL library.
func RangeOf(r hcl.Range) diag.Range {
	return diag.Range{File: r.Filename, Start: posOf(r.Start), End: posOf(r.End)}
}

func posOf(p hcl.Pos) diag.Pos { return diag.Pos{Line: p.Line, Column: p.Column, Byte: p.Byte} }

// FromHCL converts diagnostics of the HCL library, with the values of the
// variables that their expressions name.
func FromHCL(diags hcl.Diagnostics) diag.List {
	var out diag.List
	for _, d := range diags {
		n := diag.Diagnostic{Severity: diag.Error, Summary: d.Summary, Detail: d.Detail}
		if d.Severity == hcl.DiagWarning {
			n.Severity = diag.Warning
		}
		if d.Subject != nil {
			r := RangeOf(*d.Subject)
			n.Subject = &r
		}
		if d.Context != nil {
			r := RangeOf(*d.Context)
			n.Context = &r
		}
		if d.Expression != nil && d.EvalContext != nil {
			n.Values = valuesOf(d.Expression, d.EvalContext)
		}
		out = append(out, n)
	}
	return out
}

// Errorf returns an error at a place.
func Errorf(at hcl.Range, summary, format string, args ...any) diag.Diagnostic {
	r := RangeOf(at)
	return diag.Diagnostic{Severity: diag.Error, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &r}
}

// errorIn is [Errorf] with the values of the variables in expr.
func errorIn(expr hcl.Expression, ctx *hcl.EvalContext, at hcl.Range, summary, format string, args ...any) diag.Diagnostic {
	d := Errorf(at, summary, format, args...)
	d.Values = valuesOf(expr, ctx)
	return d
}

// valuesOf returns "layer.index as 3" for each variable whose value is known.
func valuesOf(expr hcl.Expression, ctx *hcl.EvalContext) []string {
	var out []string
	for _, t := range expr.Variables() {
		v, diags := t.TraverseAbs(ctx)
		if diags.HasErrors() || v == cty.NilVal || !v.IsKnown() || v.Type().IsCapsuleType() {
			continue
		}
		text := traversalText(t) + " as " + describe(v)
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return out
}

// PathError returns the text of a conversion error, with the piece of the
// value that it is about.
func PathError(err error) string {
	var at cty.PathError
	if !errors.As(err, &at) || len(at.Path) == 0 {
		return err.Error()
	}
	var b strings.Builder
	for _, step := range at.Path {
		switch s := step.(type) {
		case cty.GetAttrStep:
			b.WriteString("." + s.Name)
		case cty.IndexStep:
			b.WriteString("[" + describe(s.Key) + "]")
		}
	}
	return strings.TrimPrefix(b.String(), ".") + ": " + err.Error()
}

// traversalText returns a traversal as HCL writes it.
func traversalText(t hcl.Traversal) string {
	var b strings.Builder
	for _, step := range t {
		switch s := step.(type) {
		case hcl.TraverseRoot:
			b.WriteString(s.Name)
		case hcl.TraverseAttr:
			b.WriteString("." + s.Name)
		case hcl.TraverseIndex:
			b.WriteString("[" + describe(s.Key) + "]")
		case hcl.TraverseSplat:
			b.WriteString("[*]")
		}
	}
	return b.String()
}

// describe returns a value as a person would name it, on one short line.
func describe(v cty.Value) string {
	ty := v.Type()
	switch {
	case !v.IsKnown():
		return "a " + typeName(ty)
	case v.IsNull():
		return "null"
	case ty == cty.String:
		s := v.AsString()
		if r := []rune(s); len(r) > 60 {
			s = string(r[:60]) + "…"
		}
		return fmt.Sprintf("%q", s)
	case ty == cty.Number:
		return numberText(v.AsBigFloat())
	case ty == cty.Bool:
		if v.True() {
			return "true"
		}
		return "false"
	case ty.IsObjectType() || ty.IsMapType():
		return counted(v.LengthInt(), typeName(ty), "attribute")
	case ty.IsTupleType() || ty.IsListType() || ty.IsSetType():
		return counted(v.LengthInt(), typeName(ty), "element")
	}
	return "a " + typeName(ty)
}

// numberText returns a number in full where it is whole, else to 17 digits.
func numberText(n *big.Float) string {
	if n.IsInt() && n.MantExp(nil) < 128 {
		return n.Text('f', 0)
	}
	return n.Text('g', 17)
}

func counted(n int, what, unit string) string { return what + " with " + plural(n, unit) }

func plural(n int, unit string) string {
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// typeName returns a type as the documents call it.
func typeName(ty cty.Type) string {
	switch {
	case ty == cty.DynamicPseudoType:
		return "value"
	case ty.IsTupleType():
		return "list"
	case ty.IsObjectType():
		return "object"
	case ty.IsListType():
		return "list"
	case ty.IsSetType():
		return "set"
	case ty.IsMapType():
		return "map"
	case ty.IsCapsuleType():
		return ty.FriendlyName()
	}
	return ty.FriendlyName()
}
