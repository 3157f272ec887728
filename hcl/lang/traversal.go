package lang

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/diag"
)

// onlyIn says where a name is known that the current scope lacks.
var onlyIn = map[string]string{
	"layer":  "layer is known only in the attributes of layer blocks, where it is the part that a rule is asked about.",
	"model":  "model is known only in the attributes of layer blocks, where it is the model that a rule is asked about.",
	"each":   "each is known only in a block with for_each or matrix.",
	"policy": "policy is known only in the attribute policies of a model.",
	"plan":   "plan is known only in max_size, max_dram, on_exceed and max_delta: it is what a model is estimated to take.",
}

// rootsMeant are names that people try, and what they are called here.
var rootsMeant = map[string]string{"variable": "var", "variables": "var", "vars": "var", "locals": "local", "self": "model", "count": "each"}

func (c *checker) traversal(e *hclsyntax.ScopeTraversalExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	root := e.Traversal.RootName()
	v, ok := lookup(ctx, root)
	if !ok {
		c.report(unknownName(e, ctx, root))
		return cty.DynamicVal, false
	}
	v, ok = c.steps(e, ctx, v, e.Traversal[1:], root)
	if ok && !c.refer(v) {
		c.report(Errorf(e.Range(), "Too much work", "This expression names values of more than %d elements in all.", maxReferred))
		return cty.DynamicVal, false
	}
	return v, ok
}

// maxReferred bounds the elements of the values that one expression names,
// each as often as it does: the library walks through all of them.
const maxReferred = 1 << 20

// refer counts the elements of a value that is named, and reports whether
// there is room for them.
func (c *checker) refer(v cty.Value) bool {
	if c.referred > maxReferred {
		return true // reported already
	}
	_ = cty.Walk(v, func(cty.Path, cty.Value) (bool, error) { // its function fails never
		c.referred++
		return c.referred <= maxReferred, nil
	})
	return c.referred <= maxReferred
}

// lookup finds a variable in ctx or the contexts around it.
func lookup(ctx *hcl.EvalContext, name string) (cty.Value, bool) {
	for ; ctx != nil; ctx = ctx.Parent() {
		if v, ok := ctx.Variables[name]; ok {
			return v, true
		}
	}
	return cty.DynamicVal, false
}

// scopeNames returns every variable of ctx and the contexts around it, sorted.
func scopeNames(ctx *hcl.EvalContext) []string {
	all := map[string]bool{}
	for ; ctx != nil; ctx = ctx.Parent() {
		for name := range ctx.Variables {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

const unknownNameSummary = "Unknown name"

func unknownName(e *hclsyntax.ScopeTraversalExpr, ctx *hcl.EvalContext, root string) diag.Diagnostic {
	at := e.Traversal[0].SourceRange()
	const summary = unknownNameSummary
	if where, ok := onlyIn[root]; ok {
		return Errorf(at, summary, "%s", where)
	}
	known := scopeNames(ctx)
	if meant, ok := rootsMeant[root]; ok {
		return Errorf(at, summary, "There is no %q here. Did you mean %q?", root, meant)
	}
	if len(e.Traversal) == 1 {
		for _, values := range [][]string{names(config.Precisions), names(config.LoRAModes), layerParts} {
			if slices.Contains(values, root) {
				return Errorf(at, summary, "There is nothing called %s. Strings are written in quotes: %q.", root, root)
			}
		}
		for _, owner := range []string{"layer", "model"} {
			if v, ok := lookup(ctx, owner); ok && v.Type().IsObjectType() && v.Type().HasAttribute(root) {
				return Errorf(at, summary, "There is nothing called %q. Did you mean %q?", root, owner+"."+root)
			}
		}
	}
	if hint := didYouMean(root, known); hint == "" && len(e.Traversal) == 1 {
		return Errorf(at, summary, "There is nothing called %q here. If text is meant, write it in quotes: %q.", root, root)
	}
	if len(known) == 0 {
		return Errorf(at, summary, "There is nothing called %q here: this value can use literals and functions only.", root)
	}
	return Errorf(at, summary, "There is nothing called %q here; this place knows %s.%s", root, Join(known, "and"), didYouMean(root, known))
}

// steps follows the attributes and indexes after v. root is the name of the
// variable that v was read from, "" where it comes from elsewhere.
func (c *checker) steps(e hcl.Expression, ctx *hcl.EvalContext, v cty.Value, steps hcl.Traversal, root string) (cty.Value, bool) {
	for i, step := range steps {
		at := step.SourceRange()
		if attr, ok := step.(hcl.TraverseAttr); ok && at.End.Byte-at.Start.Byte == len(attr.Name)+1 {
			at.Start.Byte++ // leave out the dot
			at.Start.Column++
		}
		key, named := stepName(step)
		if named && !hasKey(v, key) {
			d := unknownKey(v, key, root, at, i == 0)
			if i == 0 && fixedRoots[root] {
				c.report(d)
				return cty.DynamicVal, false
			}
			return c.fail(d)
		}
		var diags hcl.Diagnostics
		switch s := step.(type) {
		case hcl.TraverseAttr:
			v, diags = hcl.GetAttr(v, s.Name, &at)
		case hcl.TraverseIndex:
			v, diags = hcl.Index(v, s.Key, &at)
		default:
			return cty.DynamicVal, true
		}
		if diags.HasErrors() {
			for _, d := range diags {
				d.Expression, d.EvalContext = e, ctx
			}
			return c.fail(FromHCL(diags)...)
		}
	}
	return v, true
}

// fixedRoots have the attributes of the language; try cannot excuse a typo.
var fixedRoots = map[string]bool{"layer": true, "model": true, "each": true, "var": true, "local": true, "policy": true, "plan": true}

// stepName returns the name that a step asks an object or map for.
func stepName(step hcl.Traverser) (string, bool) {
	switch s := step.(type) {
	case hcl.TraverseAttr:
		return s.Name, true
	case hcl.TraverseIndex:
		if s.Key.Type() == cty.String && s.Key.IsKnown() && !s.Key.IsNull() {
			return s.Key.AsString(), true
		}
	}
	return "", false
}

// hasKey reports whether v may have an attribute called key.
func hasKey(v cty.Value, key string) bool {
	ty := v.Type()
	switch {
	case v.IsNull():
		return true
	case ty.IsObjectType():
		return ty.HasAttribute(key)
	case ty.IsMapType() && v.IsKnown():
		return v.HasIndex(cty.StringVal(key)).True()
	}
	return true
}

func keysOf(v cty.Value) []string {
	var keys []string
	if ty := v.Type(); ty.IsObjectType() {
		return slices.Sorted(maps.Keys(ty.AttributeTypes()))
	}
	for key := range v.Elements() {
		keys = append(keys, key.AsString())
	}
	return keys // maps iterate in order
}

func unknownKey(v cty.Value, key, root string, at hcl.Range, first bool) diag.Diagnostic {
	known := keysOf(v)
	hint := didYouMean(key, known)
	if first {
		switch root {
		case "var":
			return Errorf(at, "Unknown variable", "No variable %q is declared.%s", key, orDeclare(hint, `Declare it: variable "`+key+`" { type = number }`))
		case "local":
			return Errorf(at, "Unknown local", "No local %q is defined.%s", key, orDeclare(hint, "Define it in a locals block."))
		case "policy":
			return Errorf(at, "Unknown policy", "No policy %q is declared; there is %s.%s", key, Join(known, "and"), hint)
		case "layer", "model", "each", "plan":
			return Errorf(at, "Unknown attribute", "%s has no attribute %q. It has %s.%s", root, key, Join(known, "and"), hint)
		}
	}
	if len(known) > 12 {
		return Errorf(at, "Unknown attribute", "There is no attribute %q.%s", key, hint)
	}
	return Errorf(at, "Unknown attribute", "There is no attribute %q; there is %s.%s", key, Join(known, "and"), hint)
}

func orDeclare(hint, declare string) string {
	if hint != "" {
		return hint
	}
	return " " + declare
}
