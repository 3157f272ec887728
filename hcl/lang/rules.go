package lang

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/diag"
)

// Layer is one layer block: a rule as it was written.
type Layer struct {
	Name   string
	Policy string // "" for a model's own rule
	Block  *hclsyntax.Block
}

// RuleScope returns a context in which layer and model have their types but
// no values, for checks before the checkpoint is known.
func RuleScope(base *hcl.EvalContext) *hcl.EvalContext {
	ctx := base.NewChild()
	ctx.Variables = map[string]cty.Value{"layer": layerObject(nil), "model": modelObject(nil)}
	return ctx
}

// natural is a whole number that is not known, at least least.
func natural(least int64) cty.Value {
	return cty.UnknownVal(cty.Number).Refine().NotNull().NumberRangeLowerBound(cty.NumberIntVal(least), true).NewValue()
}

func unknown(ty cty.Type) cty.Value { return cty.UnknownVal(ty).RefineNotNull() }

// valueScope returns the context in which a rule decides on one part.
func valueScope(base *hcl.EvalContext, m config.Properties, l config.Layer) *hcl.EvalContext {
	ctx := base.NewChild()
	ctx.Variables = map[string]cty.Value{"layer": layerObject(&l), "model": modelObject(&m)}
	return ctx
}

// layerObject is what rules see as "layer": of nil, the types only.
func layerObject(l *config.Layer) cty.Value {
	if l == nil {
		return cty.ObjectVal(map[string]cty.Value{
			"part": unknown(cty.String), "phase": unknown(cty.String), "is_group": unknown(cty.Bool),
			"index": natural(0), "from_end": natural(1),
		})
	}
	return cty.ObjectVal(map[string]cty.Value{
		"part": cty.StringVal(l.Part.InRules().String()), "phase": cty.StringVal(l.Phase.String()), "is_group": cty.BoolVal(l.IsGroup()),
		"index": cty.NumberIntVal(int64(l.Index)), "from_end": cty.NumberIntVal(int64(l.FromEnd)),
	})
}

// modelObject is what rules see as "model": of nil, the types only.
func modelObject(m *config.Properties) cty.Value {
	if m == nil {
		return cty.ObjectVal(map[string]cty.Value{
			"num_hidden_layers": natural(1), "architecture": unknown(cty.String), "format": unknown(cty.String),
		})
	}
	return cty.ObjectVal(map[string]cty.Value{
		"num_hidden_layers": cty.NumberIntVal(int64(m.NumHiddenLayers)),
		"architecture":      cty.StringVal(m.Architecture), "format": cty.StringVal(m.Format),
	})
}

// Check finds what is wrong in a rule whatever part it is asked about. base is
// the scope around the rule, without layer and model.
func (l Layer) Check(base *hcl.EvalContext) diag.List {
	ctx := RuleScope(base)
	var out diag.List
	for _, a := range layerBlock.Attributes {
		if attr := l.Block.Body.Attributes[a.Name]; attr != nil {
			out = append(out, CheckAttribute(a, attr, ctx)...)
		}
	}
	if attr := l.Block.Body.Attributes["when"]; attr != nil {
		for _, leaf := range leaves(attr.Expr) {
			if v, diags := Check(leaf, ctx); !diags.HasErrors() && v.IsNull() {
				out = append(out, whenNull(leaf, ctx))
			}
		}
	}
	return out
}

func whenNull(expr hcl.Expression, ctx *hcl.EvalContext) diag.Diagnostic {
	return errorIn(expr, ctx, expr.Range(), "Invalid value for when", "when is true or false, not null.")
}

// Defaults is what a model says for parts that no rule decides on.
type Defaults struct {
	Model          string // name, for messages
	Precision      config.Precision
	LoRA           config.LoRA
	Where          diag.Range // of the model's precision, or of the model
	PrecisionGiven bool       // Where is an attribute
	FilterSharing  bool
}

// Rules are the rules of one model, in the order in which they are asked.
type Rules struct {
	rules    []rule
	defaults Defaults
}

var _ config.Rules = (*Rules)(nil)

type rule struct {
	config.Rule
	layer Layer
	base  *hcl.EvalContext
}

// NewRules returns the rules of a model. own is the scope of the model's own
// rules, shared that of its policies'.
func NewRules(defaults Defaults, own, shared *hcl.EvalContext, layers []Layer) *Rules {
	r := &Rules{defaults: defaults}
	for _, l := range layers {
		base := own
		if l.Policy != "" {
			base = shared
		}
		r.rules = append(r.rules, rule{
			Rule:  config.Rule{Name: l.Name, Policy: l.Policy, Range: RangeOf(l.Block.DefRange())},
			layer: l, base: base,
		})
	}
	return r
}

// List implements [config.Rules].
func (r *Rules) List() []config.Rule {
	out := make([]config.Rule, len(r.rules))
	for i := range r.rules {
		out[i] = r.rules[i].Rule
	}
	return out
}

// Decide implements [config.Rules].
func (r *Rules) Decide(m config.Properties, layer config.Layer) (config.Decision, diag.List) {
	for i := range r.rules {
		ctx := valueScope(r.rules[i].base, m, layer)
		ok, diags := r.rules[i].matches(ctx)
		if diags.HasErrors() {
			return r.unmatched(), r.placed(i, diags)
		}
		if ok {
			d, diags := r.decide(i, ctx)
			return d, r.placed(i, diags)
		}
	}
	return r.unmatched(), nil
}

// placed adds the block of a rule to what is said of it.
func (r *Rules) placed(i int, diags diag.List) diag.List {
	rule := &r.rules[i]
	for j := range diags {
		diags[j].Block = fmt.Sprintf("model %q", r.defaults.Model)
		if rule.Policy != "" {
			diags[j].Block = fmt.Sprintf("policy %q", rule.Policy)
		}
		if s := diags[j].Subject; s != nil && s.Start.Byte > rule.Range.Start.Byte {
			diags[j].Block += fmt.Sprintf(", layer %q", rule.Name)
		}
	}
	return diags
}

func (r *Rules) unmatched() config.Decision {
	return config.Decision{Precision: r.defaults.Precision, Compile: true, LoRA: r.defaults.LoRA, Rule: -1, Where: r.defaults.Where}
}

func (r *rule) attribute(name string) *hclsyntax.Attribute {
	return r.layer.Block.Body.Attributes[name]
}

// value returns what the rule says of an attribute, null where it is silent.
func (r *rule) value(name string, ctx *hcl.EvalContext) (cty.Value, diag.List) {
	attr := r.attribute(name)
	a, ok := layerBlock.Attribute(name)
	if attr == nil || !ok {
		return cty.NullVal(cty.DynamicPseudoType), nil
	}
	return a.evalQuick(attr, ctx)
}

func (r *rule) matches(ctx *hcl.EvalContext) (bool, diag.List) {
	v, diags := r.value("when", ctx)
	if diags.HasErrors() || r.attribute("when") == nil {
		return !diags.HasErrors(), diags
	}
	if v.IsNull() {
		return false, diag.List{whenNull(r.attribute("when").Expr, ctx)}
	}
	return v.True(), nil
}

func (r *Rules) decide(i int, ctx *hcl.EvalContext) (config.Decision, diag.List) {
	d := r.unmatched()
	d.Rule, d.Where = i, r.rules[i].Range
	var out diag.List
	precision, diags := r.rules[i].value("precision", ctx)
	out = append(out, diags...)
	if !precision.IsNull() {
		d.Precision = config.Precision(precision.AsString())
		d.Where = RangeOf(r.rules[i].attribute("precision").Range())
	}
	compile, diags := r.rules[i].value("compile", ctx)
	out = append(out, diags...)
	if !compile.IsNull() {
		d.Compile = compile.True()
	}
	lora, diags := r.rules[i].value("lora", ctx)
	out = append(out, diags...)
	if !lora.IsNull() {
		d.LoRA = config.LoRA(lora.AsString())
	}
	if d.LoRA != config.LoRADisabled && !r.defaults.FilterSharing && !lora.IsNull() {
		out = append(out, r.WithoutSharing(r.rules[i].attribute("lora").Range(), d.LoRA))
	}
	return d, out
}

// WithoutSharing says that mode, set at a place, needs filter sharing.
func (r *Rules) WithoutSharing(at hcl.Range, mode config.LoRA) diag.Diagnostic {
	return Errorf(at, "LoRA needs filter sharing",
		"%s adds branches to the weights that prefill and decode share, so model %q must share them:\n\n    enable_filter_sharing = true", mode, r.defaults.Model)
}
