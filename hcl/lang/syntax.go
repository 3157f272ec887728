package lang

import (
	"bytes"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/llima-build/llima/internal/diag"
)

// Limits of a file. The parser calls itself for everything that nests.
const (
	maxSourceBytes = 256 << 10
	maxNesting     = 64
)

// Parse reads the syntax of a file, whose name goes into ranges. The body is
// nil where there is none.
func Parse(file string, src []byte) (*hclsyntax.Body, diag.List) {
	if d := checkNesting(file, src); d != nil {
		return nil, d
	}
	f, diags := hclsyntax.ParseConfig(src, file, hcl.InitialPos)
	list := retold(FromHCL(diags), src)
	if !list.HasErrors() && !utf8.Valid(src) {
		return nil, append(list, notUTF8(file, src))
	}
	if f == nil {
		return nil, list
	}
	body, _ := f.Body.(*hclsyntax.Body)
	return body, list
}

// notUTF8 says where a text that the parser takes is no UTF-8: it looks at
// some such bytes as if they were letters.
func notUTF8(file string, src []byte) diag.Diagnostic {
	at := 0
	for at < len(src) {
		r, n := utf8.DecodeRune(src[at:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	line := 1 + bytes.Count(src[:at], []byte("\n"))
	column := at - bytes.LastIndexByte(src[:at], '\n')
	r := hcl.Range{Filename: file, Start: hcl.Pos{Line: line, Column: column, Byte: at}, End: hcl.Pos{Line: line, Column: column + 1, Byte: at + 1}}
	return Errorf(r, "Invalid character encoding", "Byte %d of the file, 0x%02x, begins no character of UTF-8. Save the file in UTF-8.", at, src[at])
}

// ParseExpression reads one expression; where stands for a file's name.
func ParseExpression(where string, src []byte) (hclsyntax.Expression, diag.List) {
	if d := checkNesting(where, src); d != nil {
		return nil, d
	}
	expr, diags := hclsyntax.ParseExpression(src, where, hcl.InitialPos)
	return expr, retold(FromHCL(diags), src)
}

// nesting is what tokens add to the depth.
var nesting = map[hclsyntax.TokenType]int{
	hclsyntax.TokenOBrace: 1, hclsyntax.TokenOBrack: 1, hclsyntax.TokenOParen: 1, hclsyntax.TokenOQuote: 1,
	hclsyntax.TokenOHeredoc: 1, hclsyntax.TokenTemplateInterp: 1, hclsyntax.TokenTemplateControl: 1,
	hclsyntax.TokenCBrace: -1, hclsyntax.TokenCBrack: -1, hclsyntax.TokenCParen: -1, hclsyntax.TokenCQuote: -1,
	hclsyntax.TokenCHeredoc: -1, hclsyntax.TokenTemplateSeqEnd: -1,
}

// checkNesting refuses text that would exhaust the stack of the parser.
func checkNesting(file string, src []byte) diag.List {
	if len(src) > maxSourceBytes {
		return diag.Errorf("File is too large", "%s has %d bytes; a configuration has at most %d.", file, len(src), maxSourceBytes)
	}
	tokens, _ := hclsyntax.LexConfig(src, file, hcl.InitialPos)
	depth, signs, questions := 0, 0, 0
	for _, t := range tokens {
		depth += nesting[t.Type]
		if t.Type == hclsyntax.TokenMinus || t.Type == hclsyntax.TokenBang {
			signs++
		} else {
			signs = 0
		}
		if t.Type == hclsyntax.TokenQuestion {
			questions++
		} else if t.Type == hclsyntax.TokenNewline && depth <= 0 {
			questions = 0
		}
		if depth > maxNesting || signs > maxNesting || questions > 4*maxNesting {
			return diag.List{Errorf(t.Range, "Nested too deeply", "Brackets, quotes and operators nest at most %d deep.", maxNesting)}
		}
	}
	return nil
}
