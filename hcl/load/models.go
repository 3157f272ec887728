package load

import (
	"path/filepath"
	"reflect"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
)

// policy is a policy block; expressions hold it as a capsule.
type policy struct {
	name   string
	layers []lang.Layer
}

var policyType = cty.Capsule("policy", reflect.TypeFor[policy]())

func (l *loader) readPolicies() {
	l.policies = map[string]*policy{}
	for _, b := range l.body.Blocks {
		if b.Type != "policy" || len(b.Labels) != 1 || l.policies[b.Labels[0]] != nil {
			continue
		}
		p := &policy{name: b.Labels[0], layers: layers(b.Body, b.Labels[0])}
		l.policies[p.name] = p
		for _, rule := range p.layers {
			l.report(rule.Check(l.base))
		}
	}
}

// layers returns the rules of a body in order.
func layers(body *hclsyntax.Body, policyName string) []lang.Layer {
	var out []lang.Layer
	for _, b := range body.Blocks {
		if b.Type == "layer" && len(b.Labels) == 1 {
			out = append(out, lang.Layer{Name: b.Labels[0], Policy: policyName, Block: b})
		}
	}
	return out
}

// readModel adds the expansions of a model block.
func (l *loader) readModel(b *hclsyntax.Block) {
	if l.labels == nil {
		l.labels, l.contexts = map[string][]string{}, map[string]*hcl.EvalContext{}
	}
	_, again := l.labels[b.Labels[0]] // reported already
	if !again {
		l.labels[b.Labels[0]] = nil
	}
	for _, e := range l.expand(b) {
		ctx := l.base
		name := b.Labels[0]
		if e.value != cty.NilVal {
			ctx = l.scope(l.base, map[string]cty.Value{"each": e.object()})
			name += "-" + e.key
		}
		if !again {
			l.labels[b.Labels[0]] = append(l.labels[b.Labels[0]], name)
			l.contexts[name] = ctx
		}
		if m := l.model(b, name, ctx); m != nil && !again {
			l.cfg.Models = append(l.cfg.Models, m)
		}
	}
}

// sizes are the attributes that must fit together.
var sizes = []string{"context_length", "language_group_size", "future_token_mask_size"}

// model evaluates one expansion; nil where it has no usable source.
func (l *loader) model(b *hclsyntax.Block, name string, ctx *hcl.EvalContext) *config.Model {
	schema, _ := lang.Root.Block("model")
	vals := l.attributes(b.Body, schema, ctx)
	at := func(attr string) diag.Range {
		if a := b.Body.Attributes[attr]; a != nil {
			return lang.RangeOf(a.SrcRange)
		}
		return lang.RangeOf(b.DefRange())
	}
	m := &config.Model{
		Name: name, Decl: lang.RangeOf(b.DefRange()), SourceRange: at("source"),
		SourceText: text(vals, "source", ""), OutputText: text(vals, "output", name),
		Format:        text(vals, "format", "auto"),
		ContextTokens: number(vals, "context_length", 1024), ContextRange: at("context_length"),
		GroupTokens: number(vals, "language_group_size", 128), GroupRange: at("language_group_size"),
		MaskTokens: number(vals, "future_token_mask_size", 128), MaskRange: at("future_token_mask_size"),
		EnableFilterSharing: flag(vals, "enable_filter_sharing"), QuantizeEmbeddings: flag(vals, "quantize_embeddings"),
		ReturnLogits: flag(vals, "return_logits"), ExternalData: text(vals, "external_data", "auto"),
		Precision: config.Precision(text(vals, "precision", string(config.BF16))),
		LoRA:      config.LoRA(text(vals, "lora", string(config.LoRADisabled))),
		LoRARank:  number(vals, "lora_rank", 0), Convert: text(vals, "convert", ""),
	}
	l.nested(b, ctx, m)
	rules := l.rules(b, m, vals, ctx)
	m.Rules = rules
	for _, a := range schema.Attributes {
		if v, ok := vals[a.Name]; ok {
			if d, found := a.Unsupported(v, b.Body.Attributes[a.Name].SrcRange); found {
				m.Unsupported = append(m.Unsupported, d)
			}
		}
	}
	m.Unsupported = l.placed(append(m.Unsupported, rules.Unsupported()...).Sorted())
	if _, ok := vals["source"]; !ok {
		return nil
	}
	ok := l.path(b, "source", m.SourceText, &m.Source)
	ok = l.path(b, "output", m.OutputText, &m.Output) && ok
	if !ok {
		return nil
	}
	if !slices.ContainsFunc(sizes, func(name string) bool { return b.Body.Attributes[name] != nil && vals[name] == cty.NilVal }) {
		l.report(m.CheckSizes())
	}
	l.checkFormat(m, rules)
	return m
}

// rules returns the rules of a model: its own, then those of its policies.
func (l *loader) rules(b *hclsyntax.Block, m *config.Model, vals map[string]cty.Value, ctx *hcl.EvalContext) *lang.Rules {
	all := layers(b.Body, "")
	for _, rule := range all {
		l.report(rule.Check(ctx))
	}
	for _, p := range l.chosenPolicies(b, ctx) {
		all = append(all, p.layers...)
	}
	_, given := vals["precision"]
	where := m.Decl
	if given {
		where = lang.RangeOf(b.Body.Attributes["precision"].SrcRange)
	}
	rules := lang.NewRules(lang.Defaults{
		Model: m.Name, Precision: m.Precision, LoRA: m.LoRA, Where: where, PrecisionGiven: given, FilterSharing: m.EnableFilterSharing,
	}, ctx, l.base, all)
	l.report(rules.Check())
	if attr := b.Body.Attributes["lora"]; attr != nil && m.LoRA != config.LoRADisabled && !m.EnableFilterSharing {
		l.report(diag.List{rules.WithoutSharing(attr.SrcRange, m.LoRA)})
	}
	return rules
}

// chosenPolicies evaluates the attribute policies.
func (l *loader) chosenPolicies(b *hclsyntax.Block, ctx *hcl.EvalContext) []*policy {
	attr := b.Body.Attributes["policies"]
	if attr == nil {
		return nil
	}
	known := map[string]cty.Value{}
	for name, p := range l.policies {
		known[name] = cty.CapsuleVal(policyType, p)
	}
	v, diags := lang.Eval(attr.Expr, l.scope(ctx, map[string]cty.Value{"policy": object(known)}))
	l.report(diags)
	if diags.HasErrors() || v.IsNull() || !v.IsWhollyKnown() {
		return nil
	}
	refused := diag.List{lang.Errorf(attr.Expr.Range(), "Invalid value for policies", "policies is a list of policies:\n\n    policies = [policy.NAME]")}
	if ty := v.Type(); !ty.IsTupleType() && !ty.IsListType() {
		l.report(refused)
		return nil
	}
	var out []*policy
	seen := map[*policy]bool{}
	for _, e := range v.Elements() {
		var p *policy
		if e.Type() == policyType && !e.IsNull() {
			p, _ = e.EncapsulatedValue().(*policy)
		}
		if p == nil {
			l.report(refused)
			return nil
		}
		if seen[p] {
			l.report(diag.List{lang.Errorf(attr.Expr.Range(), "Duplicate policy", "Policy %q is listed twice; its rules would be shadowed by themselves.", p.name)})
			continue
		}
		seen[p] = true
		out = append(out, p)
	}
	return out
}

// checkFormat applies what depends on the kind of checkpoint, where the
// configuration tells it.
func (l *loader) checkFormat(m *config.Model, rules *lang.Rules) {
	format := m.Format
	if format == "auto" && filepath.Ext(m.SourceText) == ".gguf" {
		format = "gguf"
	}
	l.report(append(rules.CheckFormat(format), m.CheckQuantisable(format)...))
}

func text(vals map[string]cty.Value, name, otherwise string) string {
	if v, ok := vals[name]; ok {
		return v.AsString()
	}
	return otherwise
}

func number(vals map[string]cty.Value, name string, otherwise int) int {
	if v, ok := vals[name]; ok {
		n, _ := v.AsBigFloat().Int64()
		return int(n)
	}
	return otherwise
}

func flag(vals map[string]cty.Value, name string) bool {
	v, ok := vals[name]
	return ok && v.True()
}
