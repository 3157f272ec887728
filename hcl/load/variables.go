package load

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
)

// VarsFileName is the file beside llima.hcl that gives variables values.
const VarsFileName = "llima.vars.hcl"

// variable is a declaration and the value that won.
type variable struct {
	block *hclsyntax.Block
	ty    cty.Type
	value cty.Value // NilVal while there is none
	from  string
	env   string
}

// readVariables fills l.variables. What failed is unknown, so that the errors
// of whoever uses it are not reported as well.
func (l *loader) readVariables() {
	decls := map[string]*variable{}
	for _, b := range l.body.Blocks {
		if b.Type == "variable" && len(b.Labels) == 1 && decls[b.Labels[0]] == nil {
			decls[b.Labels[0]] = l.declare(b)
		}
	}
	l.varFiles(decls)
	l.environment(decls)
	for _, name := range slices.Sorted(maps.Keys(l.opts.Vars)) {
		if v := decls[name]; v != nil {
			l.set(v, name, l.text(v.ty, "--var "+name, l.opts.Vars[name]), "--var")
		} else {
			l.report(diag.Errorf("Undeclared variable", "--var names %q, which %s does not declare.%s", name, filepath.Base(l.file), suggestion(name, decls)))
		}
	}
	l.variables = map[string]cty.Value{}
	for _, name := range slices.Sorted(maps.Keys(decls)) {
		v := decls[name]
		if v.value == cty.NilVal {
			l.report(diag.List{lang.Errorf(v.block.DefRange(), "Variable has no value",
				"Variable %q has no default, so a value must be given:\n\n    --var %s=VALUE\n\nor a line in %s:\n\n    %s = VALUE", name, name, VarsFileName, name)})
			v.value = cty.DynamicVal
		}
		l.variables[name] = v.value
		if v.value.IsWhollyKnown() {
			l.cfg.Variables = append(l.cfg.Variables, config.Variable{
				Name: name, Value: strings.TrimSpace(string(hclwrite.TokensForValue(v.value).Bytes())), From: v.from,
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(decls)) {
		l.validate(name, decls[name])
	}
}

func suggestion(name string, decls map[string]*variable) string {
	return meant(name, slices.Sorted(maps.Keys(decls)))
}

func (l *loader) declare(b *hclsyntax.Block) *variable {
	v := &variable{block: b, ty: cty.DynamicPseudoType}
	schema, _ := lang.Root.Block("variable")
	attrs := l.attributes(b.Body, schema, l.scope(nil, nil))
	if attr := b.Body.Attributes["type"]; attr != nil {
		ty, diags := typeexpr.TypeConstraint(attr.Expr)
		if diags.HasErrors() {
			detail := diags[0].Detail
			if v, d := attr.Expr.Value(nil); !d.HasErrors() && v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
				detail = "Types are written without quotes."
			}
			l.report(diag.List{lang.Errorf(attr.Expr.Range(), "Invalid type", "%s The types are string, number, bool, any, list(T), set(T), map(T), tuple([T, …]) and object({ name = T, … }).", detail)})
			v.value = cty.DynamicVal
		} else {
			v.ty = ty
		}
	}
	if attr := b.Body.Attributes["default"]; attr != nil {
		value, given := attrs["default"]
		switch {
		case given:
			l.set(v, b.Labels[0], evaluated{value, attr.Expr.Range(), true}, "default")
		case isNull(attr.Expr):
			v.value, v.from = cty.NullVal(v.ty), "default"
		default:
			v.value = cty.DynamicVal
		}
	}
	if env, ok := attrs["env"]; ok {
		v.env = env.AsString()
	}
	return v
}

func isNull(expr hclsyntax.Expression) bool {
	lit, ok := expr.(*hclsyntax.LiteralValueExpr)
	return ok && lit.Val.IsNull()
}

// evaluated is a value and where it was written.
type evaluated struct {
	value cty.Value
	at    hcl.Range
	ok    bool
}

// set gives a variable a value of its type.
func (l *loader) set(v *variable, name string, e evaluated, from string) {
	v.from = from
	if !e.ok {
		v.value = cty.DynamicVal
		return
	}
	value, err := convert.Convert(e.value, v.ty)
	if err == nil && e.value.Type().IsPrimitiveType() && v.ty.IsPrimitiveType() && e.value.Type() != v.ty {
		err = fmt.Errorf("%s required, but this is a %s", v.ty.FriendlyName(), e.value.Type().FriendlyName())
	}
	if err != nil {
		l.report(diag.List{lang.Errorf(e.at, "Invalid value for variable", "Variable %q cannot have this value: %s.", name, lang.PathError(err))})
		v.value = cty.DynamicVal
		return
	}
	v.value = value
}

// text reads a value from the command line or the environment: as it is for a
// string, else as an expression.
func (l *loader) text(ty cty.Type, where, text string) evaluated {
	at := hcl.Range{Filename: where, Start: hcl.InitialPos, End: hcl.Pos{Line: 1, Column: len(text) + 1, Byte: len(text)}}
	l.cfg.Sources[where] = []byte(text)
	if ty == cty.String {
		return evaluated{cty.StringVal(text), at, true}
	}
	expr, diags := lang.ParseExpression(where, []byte(text))
	if diags.HasErrors() {
		if ty == cty.DynamicPseudoType {
			return evaluated{cty.StringVal(text), at, true}
		}
		l.report(diags)
		return evaluated{at: at}
	}
	value, list := lang.Eval(expr, l.scope(nil, nil))
	l.report(list)
	return evaluated{value, at, !list.HasErrors()}
}

// varFiles reads llima.vars.hcl and the files of --var-file.
func (l *loader) varFiles(decls map[string]*variable) {
	names := append([]string{filepath.Join(filepath.Dir(l.file), VarsFileName)}, l.opts.VarFiles...)
	for i, name := range names {
		src, err := os.ReadFile(name)
		if i == 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			l.report(diag.Errorf("Unreadable variables", "%v.", err))
			continue
		}
		l.cfg.Sources[name] = src
		l.cfg.Files = append(l.cfg.Files, l.relative(name))
		body, diags := lang.Parse(name, src)
		l.report(diags)
		if body == nil || diags.HasErrors() {
			continue
		}
		for _, b := range body.Blocks {
			l.report(diag.List{lang.Errorf(b.TypeRange, "Unknown block", "A file of variables holds lines NAME = VALUE only. Blocks belong into %s.", FileName)})
		}
		for _, attr := range sortedAttributes(body) {
			v := decls[attr.Name]
			if v == nil {
				l.report(diag.List{lang.Errorf(attr.NameRange, "Undeclared variable", "%s does not declare a variable %q.%s", filepath.Base(l.file), attr.Name, suggestion(attr.Name, decls))})
				continue
			}
			value, list := lang.Eval(attr.Expr, l.scope(nil, nil))
			l.report(list)
			l.set(v, attr.Name, evaluated{value, attr.Expr.Range(), !list.HasErrors()}, lang.RangeOf(attr.SrcRange).String())
		}
	}
}

// relative returns a path relative to the root where there is one.
func (l *loader) relative(name string) string {
	abs, err := filepath.Abs(name)
	if err != nil {
		return filepath.ToSlash(name)
	}
	rel, err := filepath.Rel(l.cfg.Root, abs)
	if err != nil {
		return filepath.ToSlash(abs)
	}
	return filepath.ToSlash(rel)
}

func (l *loader) environment(decls map[string]*variable) {
	if l.opts.Env == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(decls)) {
		v := decls[name]
		if v.env == "" {
			continue
		}
		if text, ok := l.opts.Env(v.env); ok {
			l.set(v, name, l.text(v.ty, "environment variable "+v.env, text), v.env)
		}
	}
}

// validate runs the validation blocks of a variable.
func (l *loader) validate(name string, v *variable) {
	for _, b := range v.block.Body.Blocks {
		condition, message := b.Body.Attributes["condition"], b.Body.Attributes["error_message"]
		if b.Type != "validation" || condition == nil || message == nil {
			continue
		}
		schema, _ := lang.Root.Block("variable")
		schema, _ = schema.Block("validation")
		attrs := l.attributes(b.Body, schema, l.scope(nil, map[string]cty.Value{"var": object(l.variables)}))
		ok, known := attrs["condition"]
		text, said := attrs["error_message"]
		if !known || !said || ok.True() {
			continue
		}
		at := lang.RangeOf(condition.Expr.Range())
		value := strings.TrimSpace(string(hclwrite.TokensForValue(v.value).Bytes()))
		from := v.from
		if from == "default" {
			from = "its default"
		}
		l.report(diag.List{{
			Severity: diag.Error, Summary: "Invalid value for variable",
			Detail:  fmt.Sprintf("%s\n\nvar.%s is %s, from %s.", text.AsString(), name, value, from),
			Subject: &at,
		}})
	}
}

// object returns an object of the given attributes.
func object(attrs map[string]cty.Value) cty.Value {
	if len(attrs) == 0 {
		return cty.EmptyObjectVal
	}
	return cty.ObjectVal(attrs)
}
