package lang

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// absent are functions that people know from elsewhere, and why they are not here.
var absent = map[string]string{
	"env": "The environment is not read. Declare a variable with env = \"NAME\" instead.", "getenv": "The environment is not read. Declare a variable with env = \"NAME\" instead.",
	"timestamp": "Nothing may depend on the clock: the same file must build the same bytes.",
	"uuid":      "Nothing may be random: the same file must build the same bytes.", "abspath": "Paths stay relative to the file that states them.",
	"pathexpand": "Home folders are not known here; paths are relative to the file that states them.",
	"startswith": "Use substr, or regex inside can.", "endswith": "Use trimsuffix, or regex inside can.",
	"alltrue": "Write !contains(LIST, false).", "anytrue": "Write contains(LIST, true).",
	"sum": "Add the values up with +.", "basename": "Use regex(\"[^/]*$\", PATH).", "dirname": "Use regexreplace(PATH, \"/[^/]*$\", \"\").",
	"templatefile": "Use file and a template string.", "len": "Did you mean \"length\"?",
}

func (c *checker) call(e *hclsyntax.FunctionCallExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	f, all, ok := lookupFunction(ctx, e.Name)
	if !ok {
		hint := didYouMean(e.Name, all)
		if why := absent[e.Name]; why != "" {
			hint = " " + why
		}
		c.report(Errorf(e.NameRange, "Unknown function", "There is no function called %q.%s", e.Name, hint))
		for _, arg := range e.Args {
			c.visit(arg, ctx)
		}
		return cty.DynamicVal, false
	}
	if e.Name == "try" || e.Name == "can" {
		return c.tolerate(e, ctx)
	}
	good := true
	args := make([]cty.Value, len(e.Args))
	for i, arg := range e.Args {
		v, ok := c.visit(arg, ctx)
		args[i] = v
		good = good && ok && c.argument(e, i, f, v, ctx)
	}
	if e.Name == "contains" && len(e.Args) == 2 && !c.containsEnum(e, args[0]) {
		good = false
	}
	if !good {
		return cty.DynamicVal, false
	}
	if n, want := len(args), len(f.Params()); !e.ExpandFinal && (n < want || n > want && f.VarParam() == nil) {
		_, diags := e.Value(ctx)
		c.report(FromHCL(diags)...)
		return cty.DynamicVal, false
	}
	return c.all(e, ctx, nil)
}

func lookupFunction(ctx *hcl.EvalContext, name string) (function.Function, []string, bool) {
	var all []string
	for ; ctx != nil; ctx = ctx.Parent() {
		if f, ok := ctx.Functions[name]; ok {
			return f, nil, true
		}
		all = append(all, slices.Sorted(maps.Keys(ctx.Functions))...)
	}
	return function.Function{}, all, false
}

// tolerate visits the arguments of try and can, which exist to catch what
// depends on values, and then lets the library compute the call.
func (c *checker) tolerate(e *hclsyntax.FunctionCallExpr, ctx *hcl.EvalContext) (cty.Value, bool) {
	good := true
	for _, arg := range e.Args {
		good = c.visitDead(arg, ctx) && good
	}
	if !good {
		return cty.DynamicVal, false
	}
	return c.all(e, ctx, nil)
}

// argument refuses an unknown string where a function takes a number or bool;
// the library would convert it once it is known, and only then find out.
func (c *checker) argument(e *hclsyntax.FunctionCallExpr, i int, f function.Function, v cty.Value, ctx *hcl.EvalContext) bool {
	if v.IsKnown() || e.ExpandFinal {
		return true
	}
	param := f.VarParam()
	if params := f.Params(); i < len(params) {
		param = &params[i]
	}
	if param == nil || v.Type() == cty.DynamicPseudoType || !v.Type().IsPrimitiveType() || param.Type == v.Type() {
		return true
	}
	if param.Type != cty.Number && param.Type != cty.Bool {
		return true
	}
	c.report(errorIn(e, ctx, e.Args[i].Range(), "Wrong type of argument", "The argument %q of %s is %s; a %s is needed.", param.Name, e.Name, withArticle(v), typeName(param.Type)))
	return false
}

// containsEnum checks contains(["PRE", "POTS"], layer.part).
func (c *checker) containsEnum(e *hclsyntax.FunctionCallExpr, list cty.Value) bool {
	if enumOf(e.Args[1]) == "" || !list.IsWhollyKnown() || list.IsNull() || !list.CanIterateElements() || list.Type().IsMapType() {
		return true
	}
	good := true
	literal, _ := e.Args[0].(*hclsyntax.TupleConsExpr)
	i := 0
	for _, v := range list.Elements() {
		at := e.Args[0]
		if literal != nil && i < len(literal.Exprs) {
			at = literal.Exprs[i]
		}
		good = c.enum(e.Args[1], at, v) && good
		i++
	}
	return good
}
