package format_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// meaning writes the tree of a file without places and comments.
func meaning(t *testing.T, src []byte) string {
	t.Helper()
	f, diags := hclsyntax.ParseConfig(src, "", hcl.InitialPos)
	body, ok := f.Body.(*hclsyntax.Body)
	if diags.HasErrors() || !ok {
		t.Fatal(diags)
	}
	p := &printer{&strings.Builder{}}
	p.body(body)
	return p.b.String()
}

// printer writes nodes as they are walked; a template around a whole
// expression is that expression.
type printer struct{ b *strings.Builder }

func (p *printer) body(b *hclsyntax.Body) {
	for _, name := range slices.Sorted(maps.Keys(b.Attributes)) {
		fmt.Fprintf(p.b, "%q = ", name)
		_ = hclsyntax.Walk(b.Attributes[name].Expr, p)
		p.b.WriteString("\n")
	}
	for _, block := range b.Blocks {
		fmt.Fprintf(p.b, "%q %q {\n", block.Type, block.Labels)
		p.body(block.Body)
		p.b.WriteString("}\n")
	}
}

func (p *printer) Enter(node hclsyntax.Node) hcl.Diagnostics {
	switch n := node.(type) {
	case *hclsyntax.TemplateWrapExpr:
		return nil
	case *hclsyntax.LiteralValueExpr:
		fmt.Fprintf(p.b, "literal %#v(", n.Val)
	case *hclsyntax.ScopeTraversalExpr:
		fmt.Fprintf(p.b, "traversal %s(", steps(n.Traversal))
	case *hclsyntax.RelativeTraversalExpr:
		fmt.Fprintf(p.b, "relative %s(", steps(n.Traversal))
	case *hclsyntax.FunctionCallExpr:
		fmt.Fprintf(p.b, "call %q %v(", n.Name, n.ExpandFinal)
	case *hclsyntax.ForExpr:
		fmt.Fprintf(p.b, "for %q %q %v(", n.KeyVar, n.ValVar, n.Group)
	case *hclsyntax.BinaryOpExpr:
		fmt.Fprintf(p.b, "binary %p(", n.Op)
	case *hclsyntax.UnaryOpExpr:
		fmt.Fprintf(p.b, "unary %p(", n.Op)
	case *hclsyntax.ObjectConsKeyExpr:
		fmt.Fprintf(p.b, "key %v %s(", n.ForceNonLiteral, hcl.ExprAsKeyword(n))
	default:
		fmt.Fprintf(p.b, "%T(", node)
	}
	return nil
}

func (p *printer) Exit(node hclsyntax.Node) hcl.Diagnostics {
	if _, ok := node.(*hclsyntax.TemplateWrapExpr); !ok {
		p.b.WriteString(")")
	}
	return nil
}

func steps(t hcl.Traversal) string {
	var b strings.Builder
	for _, step := range t {
		switch s := step.(type) {
		case hcl.TraverseRoot:
			fmt.Fprintf(&b, "%q", s.Name)
		case hcl.TraverseAttr:
			fmt.Fprintf(&b, ".%q", s.Name)
		case hcl.TraverseIndex:
			fmt.Fprintf(&b, "[%#v]", s.Key)
		default:
			fmt.Fprintf(&b, "%T", s)
		}
	}
	return b.String()
}
