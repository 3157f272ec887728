package lang

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/diag"
)

// Session evaluates expressions that a person types, in the scopes of a
// configuration.
type Session struct {
	base   *hcl.EvalContext            // var and local
	models map[string]*hcl.EvalContext // by name of the model
	where  Place
}

// Place is where in a configuration an expression stands.
type Place struct {
	Model      string             // "" for outside of models
	Properties *config.Properties // of the model's checkpoint, nil where it is not known
	Layer      *config.Layer      // nil for outside of rules
}

// NewSession returns a session outside of models. models holds the scope of
// each model.
func NewSession(base *hcl.EvalContext, models map[string]*hcl.EvalContext) *Session {
	return &Session{base: base, models: models}
}

// At puts the session into a place.
func (s *Session) At(p Place) { s.where = p }

// Place returns where the session is.
func (s *Session) Place() Place { return s.where }

func (s *Session) scope() *hcl.EvalContext {
	base := s.base
	if ctx := s.models[s.where.Model]; ctx != nil {
		base = ctx
	}
	if s.where.Layer == nil {
		return base
	}
	layer := layerObject(s.where.Layer).AsValueMap()
	if s.where.Properties == nil {
		layer["from_end"] = unknown(cty.Number)
	}
	ctx := base.NewChild()
	ctx.Variables = map[string]cty.Value{"model": modelObject(s.where.Properties), "layer": cty.ObjectVal(layer)}
	return ctx
}

// Eval evaluates text and returns its value as the language writes it, in
// lines of at most columns where that can be. where stands for a file's name.
func (s *Session) Eval(where, text string, columns int) (string, diag.List) {
	v, diags := s.value(where, text)
	if diags.HasErrors() {
		return "", diags
	}
	return Render(v, columns), diags
}

// TypeOf evaluates text and returns its type.
func (s *Session) TypeOf(where, text string) (string, diag.List) {
	v, diags := s.value(where, text)
	if diags.HasErrors() {
		return "", diags
	}
	return typeexpr.TypeString(v.Type()), diags
}

func (s *Session) value(where, text string) (cty.Value, diag.List) {
	expr, diags := ParseExpression(where, []byte(text))
	if diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	v, more := Eval(expr, s.scope())
	for i, d := range more {
		if r := d.Subject; r != nil && d.Summary == unknownNameSummary && r.End.Byte <= len(text) {
			more[i].Detail += enter[text[r.Start.Byte:r.End.Byte]]
		}
	}
	return v, append(diags, more...)
}

// enter says how a session gets to names that it lacks.
var enter = map[string]string{
	"each":  "\n\n    :model NAME        or, on the command line, --model NAME",
	"layer": "\n\n    :layer decode.POST.0        or, on the command line, --layer decode.POST.0",
	"model": "\n\n    :layer decode.POST.0        or, on the command line, --layer decode.POST.0",
}

// Names returns what an expression can begin with here: names with their
// attributes, and functions with their bracket; sorted.
func (s *Session) Names() []string {
	var out []string
	ctx := s.scope()
	for _, name := range scopeNames(ctx) {
		v, _ := lookup(ctx, name)
		if !v.Type().IsObjectType() {
			out = append(out, name)
			continue
		}
		for attr := range v.Type().AttributeTypes() {
			out = append(out, name+"."+attr)
		}
	}
	for ; ctx != nil; ctx = ctx.Parent() {
		for f := range maps.Keys(ctx.Functions) {
			out = append(out, f+"(")
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Incomplete reports whether text is the beginning of an expression that goes
// on in the next line: a bracket or a heredoc is open.
func Incomplete(text string) bool {
	tokens, _ := hclsyntax.LexExpression([]byte(text), "", hcl.InitialPos)
	depth := 0
	for _, t := range tokens {
		if t.Type != hclsyntax.TokenOQuote && t.Type != hclsyntax.TokenCQuote { // a quote ends on its line
			depth += nesting[t.Type]
		}
	}
	return depth > 0
}
