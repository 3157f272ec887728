package lang

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// Check finds what is wrong with the rules as a whole while the checkpoint is
// not known: LoRA without filter sharing, whatever part asks for it.
func (r *Rules) Check() diag.List {
	if r.defaults.FilterSharing {
		return nil
	}
	var out diag.List
	for i := range r.rules {
		attr := r.rules[i].attribute("lora")
		if attr == nil {
			continue
		}
		ctx := RuleScope(r.rules[i].base)
		for _, leaf := range leaves(attr.Expr) {
			if mode, ok := knownString(leaf, ctx); ok && mode != string(config.LoRADisabled) && slices.Contains(names(config.LoRAModes), mode) {
				out = append(out, r.WithoutSharing(leaf.Range(), config.LoRA(mode)))
			}
		}
	}
	return out
}

// Unsupported says which rules ask for what this version cannot build.
func (r *Rules) Unsupported() diag.List {
	var out diag.List
	for i := range r.rules {
		for _, a := range layerBlock.Attributes {
			attr := r.rules[i].attribute(a.Name)
			if attr == nil || a.Builds == nil {
				continue
			}
			ctx := RuleScope(r.rules[i].base)
			for _, leaf := range leaves(attr.Expr) {
				v, diags := Check(leaf, ctx)
				if diags.HasErrors() {
					continue
				}
				if d, found := a.Unsupported(v, leaf.Range()); found {
					out = append(out, d)
				}
			}
		}
	}
	return out
}

func knownString(expr hcl.Expression, ctx *hcl.EvalContext) (string, bool) {
	v, diags := Check(expr, ctx)
	if diags.HasErrors() || v.IsNull() || !v.IsKnown() {
		return "", false
	}
	if v.Type() != cty.String {
		return "", false
	}
	return v.AsString(), true
}

// CheckFormat refuses precisions where the checkpoint's weights are quantised
// already. format is "hf", "gguf" or "compressed_tensors".
func (r *Rules) CheckFormat(format string) diag.List {
	what := map[string]string{"gguf": "a GGUF file", "compressed_tensors": "a checkpoint of compressed tensors"}[format]
	if what == "" {
		return nil
	}
	refuse := func(at diag.Range) diag.Diagnostic {
		return diag.Diagnostic{
			Severity: diag.Error, Summary: "Precision of quantised weights",
			Detail: fmt.Sprintf("Model %q is read from %s, whose weights are quantised already: they are carried over as they are, and quantising them again would only lose accuracy. Remove precision, or start from the original Hugging Face checkpoint.",
				r.defaults.Model, what),
			Subject: &at,
		}
	}
	var out diag.List
	if r.defaults.PrecisionGiven {
		out = append(out, refuse(r.defaults.Where))
	}
	for i := range r.rules {
		if attr := r.rules[i].attribute("precision"); attr != nil {
			out = append(out, refuse(RangeOf(attr.Range())))
		}
	}
	return out
}

// CheckRules asks the rules of a model about every part and reports what
// only the checkpoint can tell: rules that match nothing, rules that earlier
// ones shadow, and expressions that fail for some part.
func CheckRules(m *config.Model, props config.Properties, parts []addr.PartID) diag.List {
	r, ok := m.Rules.(*Rules)
	if !ok || len(parts) == 0 {
		return nil
	}
	out := r.CheckFormat(props.Format)
	found := make([]findings, len(r.rules))
	for _, id := range parts {
		layer := config.Layer{PartID: id, FromEnd: props.NumHiddenLayers - id.Index}
		winner := -1
		for i := range r.rules {
			if found[i].failed { // once is enough
				continue
			}
			ctx := valueScope(r.rules[i].base, props, layer)
			match, diags := r.rules[i].matches(ctx)
			if diags.HasErrors() {
				found[i].failed = true
				out = append(out, r.placed(i, diags)...)
				continue
			}
			switch {
			case !match:
			case winner < 0:
				winner = i
				found[i].wins++
				_, diags = r.decide(i, ctx)
				out = append(out, r.placed(i, diags)...)
			default:
				found[i].lostTo(winner)
			}
		}
	}
	for i := range found {
		if d, ok := r.report(i, found[i], len(parts), props); ok {
			out = append(out, r.placed(i, diag.List{d})...)
		}
	}
	return out.Sorted()
}

// CheckRulesAlone is [CheckRules] without a checkpoint: it reports rules that
// match nothing and rules that are shadowed whatever the number of layers is.
func CheckRulesAlone(m *config.Model) diag.List {
	r, ok := m.Rules.(*Rules)
	if !ok {
		return nil
	}
	kinds := []config.Layer{{PartID: addr.PartID{Part: addr.Vision}}}
	for _, phase := range addr.Phases {
		for _, part := range []addr.Part{addr.Pre, addr.Cache, addr.Post} {
			kinds = append(kinds, config.Layer{PartID: addr.PartID{Phase: phase, Part: part}})
		}
	}
	var out diag.List
	certain := make([]int, len(kinds)) // first rule that matches each kind for certain, or len(r.rules)
	for k := range kinds {
		certain[k] = len(r.rules)
	}
	for i := range r.rules {
		never, shadowed := true, true
		by := map[int]bool{}
		for k := range kinds {
			yes, no := r.rules[i].certainly(kinds[k])
			never = never && no
			switch {
			case no:
			case certain[k] < i:
				by[certain[k]] = true
			default:
				shadowed = false
			}
			if yes && certain[k] == len(r.rules) {
				certain[k] = i
			}
		}
		if never {
			out = append(out, r.placed(i, diag.List{r.neverAlone(i)})...)
		} else if shadowed {
			out = append(out, r.placed(i, diag.List{r.shadowedAlone(i, by)})...)
		}
	}
	return out.Sorted()
}

// certainly reports whether the rule matches parts of a kind, or does not,
// whatever their layer and model are.
func (r *rule) certainly(kind config.Layer) (yes, no bool) {
	attr := r.attribute("when")
	if attr == nil {
		return true, false
	}
	layer := layerObject(&kind).AsValueMap()
	layer["index"], layer["from_end"] = natural(0), natural(1)
	if kind.Part == addr.Vision {
		layer["index"] = cty.Zero
	}
	ctx := r.base.NewChild()
	ctx.Variables = map[string]cty.Value{"layer": cty.ObjectVal(layer), "model": modelObject(nil)}
	v, diags := Check(attr.Expr, ctx)
	if diags.HasErrors() {
		return false, false
	}
	return isTrue(v), isFalse(v)
}

func (r *Rules) neverAlone(i int) diag.Diagnostic {
	d := r.never(i)
	d.Detail = fmt.Sprintf("Rule %q of model %q matches no part, whatever the checkpoint: its when is false for each part, phase and layer.", r.rules[i].Name, r.defaults.Model)
	return d
}

func (r *Rules) shadowedAlone(i int, winners map[int]bool) diag.Diagnostic {
	var by []string
	for w := range i {
		if winners[w] {
			by = append(by, fmt.Sprintf("%q (%s)", r.rules[w].Name, r.rules[w].Range))
		}
	}
	at := r.rules[i].Range
	return diag.Diagnostic{
		Severity: diag.Warning, Summary: "Rule is shadowed",
		Detail: fmt.Sprintf("Rule %q of model %q decides on nothing: earlier rules match whatever it could match: %s. The first match decides everything; move the narrower rule up, or remove this one.",
			r.rules[i].Name, r.defaults.Model, Join(by, "and")),
		Subject: &at,
	}
}

// findings is what became of one rule over all parts.
type findings struct {
	wins   int
	failed bool
	losses map[int]int // winning rule → parts that both match
}

func (f *findings) lostTo(winner int) {
	if f.losses == nil {
		f.losses = map[int]int{}
	}
	f.losses[winner]++
}

// never is the finding that a rule matches nothing, without the reason.
func (r *Rules) never(i int) diag.Diagnostic {
	at := r.rules[i].Range
	if when := r.rules[i].attribute("when"); when != nil {
		at = RangeOf(when.Range())
	}
	return diag.Diagnostic{Severity: diag.Warning, Summary: "Rule never matches", Subject: &at}
}

func (r *Rules) report(i int, f findings, parts int, props config.Properties) (diag.Diagnostic, bool) {
	if f.failed || f.wins > 0 {
		return diag.Diagnostic{}, false
	}
	at := r.rules[i].Range
	if f.losses == nil {
		d := r.never(i)
		d.Detail = fmt.Sprintf("Rule %q matches none of the %d parts of model %q, which has %d layers.",
			r.rules[i].Name, parts, r.defaults.Model, props.NumHiddenLayers)
		if r.rules[i].attribute("when") != nil {
			d.Detail += " Its when is false for each of them."
		}
		if r.rules[i].Policy != "" { // other models may well have such parts
			d.Severity = diag.Note
		}
		return d, true
	}
	var by []string
	total := 0
	for winner := range i {
		if n := f.losses[winner]; n > 0 {
			by = append(by, fmt.Sprintf("%q (%s, %s)", r.rules[winner].Name, r.rules[winner].Range, plural(n, "part")))
			total += n
		}
	}
	return diag.Diagnostic{
		Severity: diag.Warning, Summary: "Rule is shadowed",
		Detail: fmt.Sprintf("Rule %q of model %q matches %d of its parts, and earlier rules decide on all of them: %s. The first match decides everything; move the narrower rule up, or remove this one.",
			r.rules[i].Name, r.defaults.Model, total, Join(by, "and")),
		Subject: &at,
	}, true
}
