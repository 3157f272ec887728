// Package format lays out configuration files in one canonical way. It
// changes layout only: what a file means stays as it was.
package format

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
)

// Source returns the text of a file in canonical layout: two columns of
// indentation a level, equals signs and comments of neighbouring lines
// aligned, one space around operators, names of blocks in quotes, no blank
// lines at the edges of blocks and of the file, and no "${…}" around a whole
// value. A file with syntax errors has no layout: these are returned instead.
func Source(file string, src []byte) ([]byte, diag.List) {
	body, diags := lang.Parse(file, src)
	if diags.HasErrors() || body == nil {
		return nil, diags
	}
	e := editor{src: src, newline: "\n"}
	if i := bytes.IndexByte(src, '\n'); i > 0 && src[i-1] == '\r' {
		e.newline = "\r\n"
	}
	e.body(body)
	edited := e.apply()
	if _, diags := lang.Parse(file, edited); diags.HasErrors() {
		edited = src // never trade layout for meaning
	}
	out := hclwrite.Format(edited)
	if !sameTokens(edited, out) {
		out = edited // the layout of "9 .9" would be another number
	}
	out = bytes.TrimSpace(out)
	if len(out) == 0 {
		return nil, nil
	}
	return append(out, e.newline...), nil
}

// sameTokens reports whether two texts differ in space alone.
func sameTokens(a, b []byte) bool {
	x, _ := hclsyntax.LexConfig(a, "", hcl.InitialPos)
	y, _ := hclsyntax.LexConfig(b, "", hcl.InitialPos)
	return slices.EqualFunc(x, y, func(s, t hclsyntax.Token) bool {
		return s.Type == t.Type && bytes.Equal(bytes.TrimSpace(s.Bytes), bytes.TrimSpace(t.Bytes))
	})
}

// editor collects replacements of pieces of a file, which do not overlap.
type editor struct {
	src     []byte
	newline string
	edits   []edit
}

type edit struct {
	start, end int // bytes of the source, half-open
	text       string
}

func (e *editor) replace(start, end int, text string) {
	if string(e.src[start:end]) != text {
		e.edits = append(e.edits, edit{start, end, text})
	}
}

func (e *editor) apply() []byte {
	slices.SortFunc(e.edits, func(a, b edit) int { return cmp.Compare(a.start, b.start) })
	var out []byte
	at := 0
	for _, x := range e.edits {
		if x.start < at {
			continue
		}
		out = append(append(out, e.src[at:x.start]...), x.text...)
		at = x.end
	}
	return append(out, e.src[at:]...)
}

func (e *editor) body(b *hclsyntax.Body) {
	for _, attr := range b.Attributes {
		e.unwrap(attr.Expr)
	}
	for _, block := range b.Blocks {
		for i, r := range block.LabelRanges {
			if e.src[r.Start.Byte] != '"' {
				e.replace(r.Start.Byte, r.End.Byte, strconv.Quote(block.Labels[i]))
			}
		}
		e.edges(block.OpenBraceRange.End.Byte, block.CloseBraceRange.Start.Byte)
		e.body(block.Body)
	}
}

// edges removes blank lines at the start and the end of a block's inside.
func (e *editor) edges(start, end int) {
	inside := e.src[start:end]
	if len(bytes.TrimSpace(inside)) == 0 {
		if bytes.IndexByte(inside, '\n') >= 0 {
			e.replace(start, end, e.newline)
		}
		return
	}
	lead := inside[:len(inside)-len(bytes.TrimLeft(inside, " \t\r\n"))]
	if bytes.Count(lead, []byte("\n")) > 1 {
		e.replace(start, start+len(lead), e.newline)
	}
	trail := inside[len(bytes.TrimRight(inside, " \t\r\n")):]
	if bytes.Count(trail, []byte("\n")) > 1 {
		e.replace(end-len(trail), end, e.newline)
	}
}

// unwrap removes the template around a whole value: "${x}" is x. Values in
// lists and objects are whole, operands are not: there it may hold them apart.
func (e *editor) unwrap(expr hclsyntax.Expression) {
	switch x := expr.(type) {
	case *hclsyntax.TemplateWrapExpr:
		r := x.SrcRange
		text := e.src[r.Start.Byte:r.End.Byte]
		text, opened := bytes.CutPrefix(text, []byte(`"${`))
		text, closed := bytes.CutSuffix(text, []byte(`}"`))
		if opened && closed && onOneLine(text) && !bytes.HasPrefix(text, []byte("~")) && !bytes.HasSuffix(text, []byte("~")) {
			e.replace(r.Start.Byte, r.End.Byte, string(bytes.TrimSpace(text)))
		}
	case *hclsyntax.TupleConsExpr:
		for _, item := range x.Exprs {
			e.unwrap(item)
		}
	case *hclsyntax.ObjectConsExpr:
		for _, item := range x.Items {
			e.unwrap(item.ValueExpr)
		}
	}
}

// onOneLine reports whether an expression holds neither line breaks nor
// comments, which mean something else outside of a template.
func onOneLine(text []byte) bool {
	tokens, _ := hclsyntax.LexExpression(text, "", hcl.InitialPos)
	return !slices.ContainsFunc(tokens, func(t hclsyntax.Token) bool {
		return t.Type == hclsyntax.TokenComment || bytes.IndexByte(t.Bytes, '\n') >= 0
	})
}
