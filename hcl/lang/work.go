package lang

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/internal/diag"
)

// How often the bodies of the for expressions of one expression may be
// computed. Rules are asked about every part of a model.
const (
	maxSteps     = 1 << 14
	maxRuleSteps = 1 << 10
)

// work counts how often bodies of for expressions are computed, and the text
// that they make.
type work struct{ steps, most, textBytes int }

func (w *work) tooMuch() bool { return w.steps > w.most || w.textBytes > maxTextBytes }

// checkWork refuses an expression whose for expressions would take too long.
func checkWork(expr hclsyntax.Expression, ctx *hcl.EvalContext, most int) diag.List {
	w := work{most: most}
	w.count(expr, ctx)
	switch {
	case !w.tooMuch():
		return nil
	case w.steps <= most:
		return diag.List{Errorf(expr.Range(), "Value is too large", "The for expressions in here would make more than %d bytes of text.", maxTextBytes)}
	}
	return diag.List{Errorf(expr.Range(), "Too much work",
		"The for expressions in here would compute more than %d elements. Give what they share a name in locals, or take fewer.", most)}
}

// count adds the steps of expr. It computes the bodies, inner loops first, and
// stops where they are too much.
func (w *work) count(expr hclsyntax.Expression, ctx *hcl.EvalContext) {
	for _, loop := range loopsIn(expr) {
		w.count(loop.CollExpr, ctx)
		if w.tooMuch() {
			return
		}
		coll, diags := loop.CollExpr.Value(ctx)
		if diags.HasErrors() {
			continue
		}
		n := lengthOf(coll)
		if w.steps += n; n == 0 {
			continue
		}
		for k, v := range coll.Elements() {
			if w.tooMuch() {
				return
			}
			child := ctx.NewChild()
			child.Variables = map[string]cty.Value{loop.ValVar: v}
			if loop.KeyVar != "" {
				child.Variables[loop.KeyVar] = k
			}
			w.body(loop, child)
		}
	}
}

func (w *work) body(loop *hclsyntax.ForExpr, ctx *hcl.EvalContext) {
	for _, e := range []hclsyntax.Expression{loop.KeyExpr, loop.CondExpr, loop.ValExpr} {
		if e == nil {
			continue
		}
		w.count(e, ctx)
		if w.tooMuch() {
			return
		}
		if v, diags := e.Value(ctx); !diags.HasErrors() {
			w.textBytes += textSize(v)
		}
	}
}

// loopsIn returns the for expressions of expr that stand within no other one.
func loopsIn(expr hclsyntax.Expression) []*hclsyntax.ForExpr {
	var f loopFinder
	_ = hclsyntax.Walk(expr, &f) // the finder reports nothing
	return f.found
}

type loopFinder struct {
	depth int
	found []*hclsyntax.ForExpr
}

// Enter implements [hclsyntax.Walker].
func (f *loopFinder) Enter(node hclsyntax.Node) hcl.Diagnostics {
	if loop, ok := node.(*hclsyntax.ForExpr); ok {
		if f.depth == 0 {
			f.found = append(f.found, loop)
		}
		f.depth++
	}
	return nil
}

// Exit implements [hclsyntax.Walker].
func (f *loopFinder) Exit(node hclsyntax.Node) hcl.Diagnostics {
	if _, ok := node.(*hclsyntax.ForExpr); ok {
		f.depth--
	}
	return nil
}
