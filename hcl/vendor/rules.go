package vendor

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/hcl/python"
	"github.com/llima-build/llima/internal/diag"
)

// entry is the function that a configuration file defines.
const entry = "get_layer_configuration"

// Rules asks a config.py about each part. Every part is asked about once.
type Rules struct {
	script  *python.Script
	where   diag.Range // where no configuration file sets a precision
	sharing bool

	mu      sync.Mutex
	answers map[question]answer
	endless bool // the script does not end for some part: it is not asked again
}

var _ config.Rules = (*Rules)(nil)

type question struct {
	props config.Properties
	layer config.Layer
}

type answer struct {
	decision config.Decision
	diags    diag.List
}

// List implements [config.Rules]: one rule for each return statement of the
// function, none without a configuration file.
func (r *Rules) List() []config.Rule {
	if r.script == nil {
		return nil
	}
	var out []config.Rule
	for _, at := range r.script.Returns {
		out = append(out, config.Rule{Name: entry, Range: at})
	}
	return append(out, config.Rule{Name: entry, Range: r.script.Where}) // for what has no return
}

// Decide implements [config.Rules].
func (r *Rules) Decide(m config.Properties, layer config.Layer) (config.Decision, diag.List) {
	if r.script == nil {
		return r.unmatched(), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	q := question{m, layer}
	a, known := r.answers[q]
	switch {
	case known:
	case r.endless:
		a.decision = r.unmatched()
	default:
		a.decision, a.diags = r.ask(m, layer)
		r.answers[q] = a
	}
	return a.decision, slices.Clone(a.diags)
}

func (r *Rules) unmatched() config.Decision {
	return config.Decision{Precision: config.BF16, Compile: true, LoRA: config.LoRADisabled, Rule: -1, Where: r.where}
}

// ask calls the function and reads what it returns.
func (r *Rules) ask(m config.Properties, layer config.Layer) (config.Decision, diag.List) {
	asked := python.Dict{{Key: "part", Value: layer.Part.InRules().String()}, {Key: "is_group", Value: layer.IsGroup()}, {Key: "index", Value: layer.Index}}
	d := r.unmatched()
	value, at, problem := r.script.Call(python.Dict{{Key: "num_hidden_layers", Value: m.NumHiddenLayers}}, asked)
	if problem != nil {
		r.endless = r.endless || problem.Summary == python.Endless
		problem.Block, problem.Values = entry, shown(asked)
		return d, diag.List{*problem}
	}
	d.Rule, d.Where = len(r.script.Returns), r.script.Where
	if at >= 0 {
		d.Rule, d.Where = at, r.script.Returns[at]
	}
	diags := r.read(value, &d, m.Format)
	for i := range diags {
		diags[i].Block, diags[i].Values = entry, shown(asked)
	}
	return d, diags
}

// shown says which part was asked about.
func shown(asked python.Dict) []string {
	var out []string
	for _, item := range asked {
		text := fmt.Sprintf("%v", item.Value)
		switch v := item.Value.(type) {
		case string:
			text = `"` + v + `"`
		case bool:
			text = map[bool]string{true: "True", false: "False"}[v]
		}
		out = append(out, fmt.Sprintf(`layer["%s"] as %s`, item.Key, text))
	}
	return out
}

// keys are what the function may return, in the order of the page.
var keys = []string{"precision", "compile", "lora"}

// read reads what the function returned.
func (r *Rules) read(value any, d *config.Decision, format string) (out diag.List) {
	report := func(summary, detail string, args ...any) {
		at := d.Where
		out = append(out, diag.Diagnostic{Severity: diag.Error, Summary: summary, Detail: fmt.Sprintf(detail, args...), Subject: &at})
	}
	dict, ok := value.(python.Dict)
	if !ok {
		what := describe(value)
		if value == nil {
			what += ", as a function does that ends without return"
		}
		report("No configuration of a layer", "%s returned %s. It returns a dict:\n\n    return {\"precision\": \"BF16\"}", entry, what)
		return out
	}
	quantised := format == "gguf" || format == "compressed_tensors"
	for _, item := range dict {
		text, isText := item.Value.(string)
		switch item.Key {
		case "precision":
			switch {
			case item.Value == nil: // as if it were not there
			case quantised:
				at := d.Where
				out = append(out, diag.Diagnostic{
					Severity: diag.Note, Summary: "Precision has no effect", Subject: &at,
					Detail: "The model's weights are quantised already and carried over as they are, so the precisions of the configuration file are not used.",
				})
			case isText && slices.Contains(config.Precisions, config.Precision(text)):
				d.Precision = config.Precision(text)
			default:
				report("Unknown precision", "%s is no precision: it is one of %s.%s", describe(item.Value), listed(names(config.Precisions)), didYouMean(text, names(config.Precisions)))
			}
		case "compile":
			compile, isBool := item.Value.(bool)
			switch {
			case isBool:
				d.Compile = compile
			case item.Value != nil:
				report("Invalid value for compile", "compile is True or False, not %s.", describe(item.Value))
			}
		case "lora":
			mode := config.LoRA(text)
			switch {
			case item.Value == nil:
			case !isText || !slices.Contains(config.LoRAModes, mode):
				report("Unknown LoRA mode", "%s is no LoRA mode: it is one of %s.%s", describe(item.Value), listed(names(config.LoRAModes)), didYouMean(text, names(config.LoRAModes)))
			case mode != config.LoRADisabled && !r.sharing:
				report("LoRA needs filter sharing", "%s adds branches to the weights that prefill and decode share. Give llima-compile the option:\n\n    --enable_filter_sharing", mode)
			default:
				d.LoRA = mode
			}
		default:
			report("Unknown key", "The configuration of a layer has no %q: its keys are %s.%s", item.Key, listed(keys), didYouMean(item.Key, keys))
		}
	}
	return out
}

// describe writes a result as Python does.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return map[bool]string{true: "True", false: "False"}[v]
	case string:
		return fmt.Sprintf("%q", v)
	case python.Other:
		return fmt.Sprintf("%s (%s)", v.Text, v.Type)
	case python.Dict:
		return "a dict"
	}
	return fmt.Sprint(v)
}

func names[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

func listed(values []string) string {
	q := make([]string, len(values))
	for i, v := range values {
		q[i] = `"` + v + `"`
	}
	return lang.Join(q, "and")
}

func didYouMean(given string, candidates []string) string {
	if near := lang.Suggest(given, candidates); given != "" && near != "" {
		return ` Did you mean "` + near + `"?`
	}
	return ""
}

// loadRules reads a configuration file, whose path is as the user wrote it.
func loadRules(ctx context.Context, written string, src []byte, sharing bool, print func(string)) (*Rules, diag.List) {
	name := filepath.ToSlash(written)
	s, diags := python.Load(ctx, name, string(src), entry, print)
	if diags.HasErrors() {
		return nil, diags
	}
	return &Rules{script: s, sharing: sharing, answers: map[question]answer{}}, diags
}
