package vendor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/format"
	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// Import writes the llima.hcl that does what a command line does. file is
// where it will stand: paths in it are relative to its folder. parts are the
// parts of the model, and may be empty where there is no configuration file to
// ask. The text is returned only if loading it gives the same model and the
// same decision on every part.
func Import(a *Args, line []string, file string, m *config.Model, props config.Properties, parts []addr.PartID) ([]byte, diag.List) {
	points, diags := ask(m.Rules, props, parts)
	if diags.HasErrors() {
		return nil, diags
	}
	list := compact(points)
	w := writer{args: a, folder: filepath.Dir(file), model: m, quantised: props.Format == "gguf" || props.Format == "compressed_tensors"}
	w.header(line, props.NumHiddenLayers, len(parts))
	w.block(list)
	text, ds := format.Source(file, []byte(w.b.String()))
	if ds.HasErrors() {
		return nil, internal(ds)
	}
	if ds := prove(file, text, m, props, parts); ds.HasErrors() {
		return nil, ds
	}
	return text, diags
}

func internal(ds diag.List) diag.List {
	return diag.Errorf("Import failed", "The written configuration does not do the same, so it is not given out. This is a bug in llima; please report it with the configuration file:\n\n    %v", ds)
}

// prove loads the text and compares it with the model that it stands for.
func prove(file string, text []byte, m *config.Model, props config.Properties, parts []addr.PartID) diag.List {
	cfg, diags := load.Source(file, text, load.Options{})
	if diags.HasErrors() {
		return internal(diags)
	}
	if len(cfg.Models) != 1 {
		return internal(diag.Errorf("Models", "%d instead of 1.", len(cfg.Models)))
	}
	got := cfg.Models[0]
	if a, b := settings(got), settings(m); a != b {
		return internal(diag.Errorf("Settings", "%s instead of %s.", a, b))
	}
	for _, id := range parts {
		layer := config.Layer{PartID: id, FromEnd: props.NumHiddenLayers - id.Index}
		have, ds := got.Rules.Decide(props, layer)
		want, _ := m.Rules.Decide(props, layer)
		if ds.HasErrors() || outcomeOf(have) != outcomeOf(want) {
			return internal(append(ds, diag.Errorf("Part", "%s: %v instead of %v.", id, outcomeOf(have), outcomeOf(want))...))
		}
	}
	return nil
}

// settings are the properties of a model that builds depend on, rules aside.
func settings(m *config.Model) string {
	var adapters []string
	for _, a := range m.Adapters {
		adapters = append(adapters, a.Name+"="+a.Path)
	}
	vision := config.Vision{}
	if m.Vision != nil {
		vision = *m.Vision
	}
	return fmt.Sprint(m.Name, m.Source, m.Output, m.Format, m.ContextTokens, m.GroupTokens, m.MaskTokens, m.EnableFilterSharing,
		m.QuantizeEmbeddings, m.ReturnLogits, m.ExternalData, m.LoRARank, m.Convert, adapters, vision.Height, vision.Width)
}

// writer writes the text of a configuration.
type writer struct {
	args   *Args
	folder string // of the file
	model  *config.Model
	b      strings.Builder

	quantised bool // the checkpoint's weights: rules may set no precision
}

func (w *writer) line(text string, args ...any) { fmt.Fprintf(&w.b, text+"\n", args...) }

// header says where the file comes from, and what of it has no place in it.
func (w *writer) header(line []string, layers, parts int) {
	w.line("# What this command does:\n#")
	w.line("#   llima-compile %s\n#", CommandLine(line))
	if w.args.ConfigurationFile != "" && parts > 0 {
		w.line("# Asked about every part of the model's %d layers, %d in all, these rules answer", layers, parts)
		w.line("# as %s does. The first rule that matches decides.", comment(w.args.ConfigurationFile))
	}
	w.notes()
	w.line("")
}

// notes says what of the command line has no place in a configuration.
func (w *writer) notes() {
	a := w.args
	name := w.model.Name
	if stages := a.Stages(); len(stages) > 0 {
		w.line("# --%s ran these stages alone; a build here runs what is stale.", strings.Join(stages, " --"))
	}
	if a.given["jobs"] {
		w.line("# Jobs are no part of a configuration: llima build -j %d %s", a.Jobs, name)
	}
}

// comment makes text safe for one line of a comment.
func comment(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// CommandLine writes arguments as a shell reads them.
func CommandLine(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		plain := a != "" && !strings.ContainsFunc(a, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./=:,+@%^~", r)
		}) && a[0] != '~'
		if out[i] = a; !plain {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return comment(strings.Join(out, " "))
}

// quote writes a string as HCL does.
func quote(s string) string { return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes()) }

// path writes a path relative to the file, or as it is where it was absolute.
func (w *writer) path(absolute, written string) string {
	if rel, err := filepath.Rel(w.folder, absolute); err == nil && !filepath.IsAbs(written) {
		return quote(filepath.ToSlash(rel))
	}
	return quote(filepath.ToSlash(absolute))
}

// block writes the model with its rules.
func (w *writer) block(list decisionList) {
	m := w.model
	w.line("model %s {", quote(m.Name))
	w.line("source = %s", w.path(m.Source, m.SourceText))
	w.line("output = %s", w.path(m.Output, m.OutputText))
	for _, n := range []struct {
		name         string
		value, usual int
	}{{"context_length", m.ContextTokens, 1024}, {"language_group_size", m.GroupTokens, 128}, {"future_token_mask_size", m.MaskTokens, 128}} {
		if n.value != n.usual {
			w.line("%s = %d", n.name, n.value)
		}
	}
	for _, f := range []struct {
		name string
		on   bool
	}{{"enable_filter_sharing", m.EnableFilterSharing}, {"quantize_embeddings", m.QuantizeEmbeddings}, {"return_logits", m.ReturnLogits}} {
		if f.on {
			w.line("%s = true", f.name)
		}
	}
	lora := config.LoRADisabled
	if o := list.otherwise; o.compile {
		if o.precision != config.BF16 && !w.quantised {
			w.line("precision = %s%s", quote(string(o.precision)), whereElse(list))
		}
		if lora = o.lora; lora != config.LoRADisabled {
			w.line("lora = %s", quote(string(lora)))
		}
	}
	w.rules(list, lora)
	for _, a := range m.Adapters {
		w.line("\nadapter %s {\npath = %s\n}", quote(a.Name), w.path(a.Path, a.PathText))
	}
	if v := m.Vision; v != nil {
		w.line("\nvision {")
		if v.Height > 0 {
			w.line("height = %d", v.Height)
		}
		if v.Width > 0 {
			w.line("width = %d", v.Width)
		}
		w.line("}")
	}
	w.line("}")
}

func whereElse(list decisionList) string {
	if len(list.rules) == 0 {
		return ""
	}
	return " # where no rule below says otherwise"
}

// rules writes the rules; lora is what the model says of it.
func (w *writer) rules(list decisionList, lora config.LoRA) {
	rules := slices.Clone(list.rules)
	if !list.otherwise.compile {
		rules = append(rules, decisionRule{then: list.otherwise})
	}
	used := map[string]bool{}
	for i := range rules {
		r := &rules[i]
		name := r.name()
		for n := 2; used[name]; n++ {
			name = fmt.Sprintf("%s_%d", r.name(), n)
		}
		used[name] = true
		w.line("\nlayer %s {", quote(name))
		if when := r.when.text(); when != "" {
			w.line("when = %s", when)
		}
		if !r.then.compile {
			w.line("compile = false")
		} else if !w.quantised {
			w.line("precision = %s", quote(string(r.then.precision)))
		}
		if r.then.compile && r.then.lora != lora {
			w.line("lora = %s", quote(string(r.then.lora)))
		}
		w.line("}")
	}
}

// text writes a condition, "" for one that always holds.
func (c *condition) text() string {
	var all []string
	if c.byPart != 0 {
		op := map[int]string{1: "==", -1: "!="}[c.byPart]
		all = append(all, fmt.Sprintf("layer.part %s %q", op, c.part.String()))
	}
	switch c.byGroup {
	case 1:
		all = append(all, "layer.is_group")
	case -1:
		all = append(all, "!layer.is_group")
	}
	if c.high > 0 && c.high == c.low+1 {
		all = append(all, fmt.Sprintf("layer.index == %d", c.low))
	} else {
		if c.low > 0 {
			all = append(all, fmt.Sprintf("layer.index >= %d", c.low))
		}
		if c.high > 0 {
			all = append(all, fmt.Sprintf("layer.index < %d", c.high))
		}
	}
	if c.modulus > 0 {
		all = append(all, fmt.Sprintf("layer.index %% %d == %d", c.modulus, c.residue))
	}
	if c.set != nil {
		all = append(all, fmt.Sprintf("contains([%s], layer.index)", strings.Trim(strings.ReplaceAll(fmt.Sprint(c.set), " ", ", "), "[]")))
	}
	return strings.Join(all, " && ")
}

// name is what a rule is called.
func (r *decisionRule) name() string {
	c := &r.when
	var all []string
	if !r.then.compile {
		all = append(all, "skip")
	}
	if c.byPart < 0 {
		all = append(all, "not")
	}
	if c.byPart != 0 {
		all = append(all, strings.ToLower(c.part.String()))
	}
	switch c.byGroup {
	case 1:
		all = append(all, "prefill")
	case -1:
		all = append(all, "decode")
	}
	switch {
	case c.high > 0 && c.high == c.low+1:
		all = append(all, fmt.Sprintf("layer_%d", c.low))
	case c.high > 0 && c.low == 0:
		all = append(all, fmt.Sprintf("first_%d", c.high))
	case c.high > 0:
		all = append(all, fmt.Sprintf("layers_%d_%d", c.low, c.high-1))
	case c.low > 0:
		all = append(all, fmt.Sprintf("from_%d", c.low))
	}
	if c.modulus > 0 {
		all = append(all, fmt.Sprintf("every_%d", c.modulus))
	}
	if c.set != nil {
		all = append(all, "layers", fmt.Sprint(c.set[0]), "and_others")
	}
	if len(all) == 0 || len(all) == 1 && !r.then.compile {
		all = append(all, "rest")
	}
	return strings.Join(all, "_")
}
