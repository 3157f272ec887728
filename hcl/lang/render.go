package lang

import (
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// Render returns a value as the language writes it: on one line where that has
// at most columns, else an element a line. What is not known yet is written as
// its type in brackets.
func Render(v cty.Value, columns int) string {
	var r renderer
	one := r.inline(v)
	if utf8.RuneCountInString(one) <= columns {
		return one
	}
	r.lines(v, "", columns)
	return r.b.String()
}

// Quote writes a string as the language does.
func Quote(s string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes())
}

// QuoteTemplate writes a string that ends with a template.
func QuoteTemplate(s, template string) string {
	return strings.TrimSuffix(Quote(s), `"`) + template + `"`
}

type renderer struct{ b strings.Builder }

// leaf returns the text of a value that holds no others.
func leaf(v cty.Value) (text string, ok bool) {
	ty := v.Type()
	switch {
	case !v.IsKnown():
		return "(" + typeName(ty) + ", not known here)", true
	case v.IsNull():
		return "null", true
	case ty.IsCapsuleType():
		return "(" + typeName(ty) + ")", true
	case ty == cty.Number:
		return numberText(v.AsBigFloat()), true
	case ty.IsPrimitiveType():
		return string(hclwrite.TokensForValue(v).Bytes()), true
	}
	return "", false
}

// brackets returns what stands around the elements of a collection.
func brackets(ty cty.Type) (open, end string) {
	switch {
	case ty.IsObjectType():
		return "{", "}"
	case ty.IsMapType():
		return "tomap({", "})"
	case ty.IsSetType():
		return "toset([", "])"
	case ty.IsListType():
		return "tolist([", "])"
	}
	return "[", "]"
}

func keyed(ty cty.Type) bool { return ty.IsObjectType() || ty.IsMapType() }

func (r *renderer) inline(v cty.Value) string {
	if text, ok := leaf(v); ok {
		return text
	}
	open, end := brackets(v.Type())
	var items []string
	for k, e := range v.Elements() {
		item := r.inline(e)
		if keyed(v.Type()) {
			item = keyText(k) + " = " + item
		}
		items = append(items, item)
	}
	if len(items) > 0 && keyed(v.Type()) {
		return open + " " + strings.Join(items, ", ") + " " + end
	}
	return open + strings.Join(items, ", ") + end
}

// lines writes a collection with an element a line; those that fit stay on it.
func (r *renderer) lines(v cty.Value, indent string, columns int) {
	text, isLeaf := leaf(v)
	if !isLeaf && v.LengthInt() == 0 {
		text, isLeaf = r.inline(v), true
	}
	if isLeaf {
		r.b.WriteString(text)
		return
	}
	open, end := brackets(v.Type())
	width := 0
	if keyed(v.Type()) {
		for k := range v.Elements() {
			width = max(width, utf8.RuneCountInString(keyText(k)))
		}
	}
	r.b.WriteString(open + "\n")
	inner := indent + "  "
	for k, e := range v.Elements() {
		r.b.WriteString(inner)
		taken := len(inner)
		if keyed(v.Type()) {
			key := keyText(k)
			r.b.WriteString(key + strings.Repeat(" ", width-utf8.RuneCountInString(key)) + " = ")
			taken += width + len(" = ")
		}
		if one := r.inline(e); taken+utf8.RuneCountInString(one) < columns {
			r.b.WriteString(one)
		} else {
			r.lines(e, inner, columns)
		}
		if !keyed(v.Type()) {
			r.b.WriteString(",")
		}
		r.b.WriteString("\n")
	}
	r.b.WriteString(indent + end)
}

func keyText(k cty.Value) string {
	if s := k.AsString(); !hclsyntax.ValidIdentifier(s) {
		return string(hclwrite.TokensForValue(k).Bytes())
	}
	return k.AsString()
}
