package load

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
)

// nested evaluates the blocks of a model that are not rules.
func (l *loader) nested(b *hclsyntax.Block, ctx *hcl.EvalContext, m *config.Model) {
	schema, _ := lang.Root.Block("model")
	for _, n := range b.Body.Blocks {
		s, ok := schema.Block(n.Type)
		if !ok || n.Type == "layer" {
			continue
		}
		vals := map[string]cty.Value{}
		if n.Type != "adapter" {
			vals = l.attributes(n.Body, s, ctx)
		}
		at := lang.RangeOf(n.DefRange())
		switch n.Type {
		case "adapter":
			l.adapter(n, s, ctx, m)
		case "vision":
			m.Vision = &config.Vision{Height: number(vals, "height", 0), Width: number(vals, "width", 0), Decl: at}
		case "calibration":
			m.Calibration = l.calibration(n, vals)
		case "quantization":
			m.Quantization = quantization(n, s, vals)
		case "budget":
			limits := lang.NewLimits(s, n.Body, ctx, fmt.Sprintf("model %q, budget", b.Labels[0]))
			l.report(limits.Check())
			m.Budget = limits
		case "origin":
			m.Origin = config.Origin{Repo: text(vals, "repo", ""), Revision: text(vals, "revision", "")}
		}
		if s.CheckOnly {
			m.Unsupported = append(m.Unsupported, notYet(n))
		}
	}
	l.checkCalibrated(b, m)
	l.checkAdapters(b, m)
}

func notYet(b *hclsyntax.Block) diag.Diagnostic {
	return lang.Errorf(b.DefRange(), "Not supported by this version", "This version of llima checks %s blocks, but cannot build with them yet. Without this block the rest can be built.", b.Type)
}

// adapter adds the expansions of an adapter block.
func (l *loader) adapter(b *hclsyntax.Block, schema *lang.Block, ctx *hcl.EvalContext, m *config.Model) {
	if len(b.Labels) != 1 {
		return
	}
	for _, e := range l.expandIn(b, ctx) {
		a := config.Adapter{Name: b.Labels[0], Decl: lang.RangeOf(b.DefRange())}
		inner := ctx
		if e.value != cty.NilVal {
			inner = l.scope(ctx, map[string]cty.Value{"each": e.object()})
			a.Name += "-" + e.key
		}
		vals := l.attributes(b.Body, schema, inner)
		a.PathText = text(vals, "path", "")
		if _, ok := vals["path"]; !ok || !l.path(b, "path", a.PathText, &a.Path) {
			continue
		}
		m.Adapters = append(m.Adapters, a)
	}
}

// checkAdapters refuses two adapters with one name, and warns about adapters
// that no part takes.
func (l *loader) checkAdapters(b *hclsyntax.Block, m *config.Model) {
	first := map[string]config.Adapter{}
	for _, a := range m.Adapters {
		at := a.Decl
		if other, twice := first[a.Name]; twice && other.Decl != a.Decl {
			l.report(diag.List{{
				Severity: diag.Error, Summary: "Two adapters have one name", Subject: &at,
				Detail: fmt.Sprintf("This block and the one at %s both make an adapter %q: a copy is called by the name of its block, a hyphen and its key.", other.Decl, a.Name),
			}})
		}
		first[a.Name] = a
	}
	if len(m.Adapters) == 0 || m.LoRA != config.LoRADisabled || b.Body.Attributes["policies"] != nil {
		return
	}
	for _, n := range b.Body.Blocks {
		if n.Type == "layer" && n.Body.Attributes["lora"] != nil {
			return
		}
	}
	at := m.Adapters[0].Decl
	l.report(diag.List{{
		Severity: diag.Warning, Summary: "Adapter without LoRA", Subject: &at,
		Detail: fmt.Sprintf("No part of model %q takes adapters, so this one has no effect. Let all of them do so:\n\n    enable_filter_sharing = true\n    lora                  = %q", m.Name, config.LoRABranch),
	}})
}

func (l *loader) calibration(b *hclsyntax.Block, vals map[string]cty.Value) *config.Calibration {
	c := &config.Calibration{
		DatasetText: text(vals, "dataset", ""), Samples: number(vals, "samples", 128), SampleTokens: number(vals, "seq_len", 512),
		Seed: number(vals, "seed", 0), Method: text(vals, "method", "sequential"),
		Decl: lang.RangeOf(b.DefRange()), DatasetRange: attributeRange(b, "dataset"), Ranges: map[string]diag.Range{},
	}
	for name := range b.Body.Attributes {
		c.Ranges[name] = attributeRange(b, name)
	}
	if _, ok := vals["dataset"]; !ok {
		return c
	}
	if c.DatasetText == config.Self {
		c.Dataset = config.Self
		return c
	}
	l.path(b, "dataset", c.DatasetText, &c.Dataset)
	return c
}

// attributeRange is where an attribute of a block stands, or the block where
// it is absent.
func attributeRange(b *hclsyntax.Block, name string) diag.Range {
	if a := b.Body.Attributes[name]; a != nil {
		return lang.RangeOf(a.SrcRange)
	}
	return lang.RangeOf(b.DefRange())
}

func quantization(b *hclsyntax.Block, schema *lang.Block, vals map[string]cty.Value) *config.Quantization {
	q := &config.Quantization{
		Head: config.Precision(text(vals, "head", "")), Decl: lang.RangeOf(b.DefRange()),
		GroupSizeRange: attributeRange(b, "group_size"), MethodRange: attributeRange(b, "method"), HeadRange: attributeRange(b, "head"),
		GroupSize: map[config.Precision]int{}, Method: map[config.Precision]config.Method{},
	}
	for p, s := range perPrecision(schema, vals, "group_size") {
		n, err := strconv.Atoi(s)
		if err != nil {
			n = config.PerChannel
		}
		q.GroupSize[p] = n
	}
	for p, s := range perPrecision(schema, vals, "method") {
		q.Method[p] = config.Method(s)
	}
	return q
}

// perPrecision returns an attribute's value by precision; none where the file
// does not say.
func perPrecision(schema *lang.Block, vals map[string]cty.Value, name string) map[config.Precision]string {
	v, ok := vals[name]
	if !ok {
		return nil
	}
	a, _ := schema.Attribute(name)
	return a.PerPrecision(v)
}

// checkCalibrated refuses a method that needs data where there is none.
func (l *loader) checkCalibrated(b *hclsyntax.Block, m *config.Model) {
	if m.Quantization == nil || m.Calibration != nil || !slices.Contains(slices.Collect(maps.Values(m.Quantization.Method)), config.Calibrated) {
		return
	}
	for _, n := range b.Body.Blocks {
		if n.Type == "quantization" && n.Body.Attributes["method"] != nil {
			l.report(diag.List{lang.Errorf(n.Body.Attributes["method"].SrcRange, "Method needs data",
				"The method \"calibrated\" looks at what flows through the model for some text, and model %q names none. Add a block to it:\n\n    calibration {\n      dataset = \"text.txt\"\n    }", m.Name)})
		}
	}
}

// readBuild reads a block about builds as a whole.
func (l *loader) readBuild(b *hclsyntax.Block) {
	schema, _ := lang.Root.Block(b.Type)
	vals := l.attributes(b.Body, schema, l.base)
	switch b.Type {
	case "backend":
		l.cfg.Backend = config.Backend{Name: l.cfg.Backend.Name, Board: text(vals, "board", ""), Decl: lang.RangeOf(b.DefRange()), BoardRange: attributeRange(b, "board")}
		if len(b.Labels) == 1 {
			l.cfg.Backend.Name = b.Labels[0]
		}
	case "executor":
		l.cfg.Executor = config.Executor{
			Jobs: number(vals, "jobs", 0), KeepGoing: flag(vals, "keep_going"),
			MaxMemoryBytes: lang.SizeOf(vals["max_memory"]), Remote: text(vals, "remote", ""),
		}
	case "cache":
		l.cfg.Cache = config.Cache{MaxSizeBytes: lang.SizeOf(vals["max_size"]), Mode: text(vals, "mode", l.cfg.Cache.Mode)}
		if _, ok := vals["dir"]; ok {
			l.path(b, "dir", text(vals, "dir", ""), &l.cfg.Cache.Dir)
		}
	}
	l.unsupported(b, schema, vals)
}

// unsupported notes what of a block about builds this version has no use for.
func (l *loader) unsupported(b *hclsyntax.Block, schema *lang.Block, vals map[string]cty.Value) {
	var list diag.List
	if schema.CheckOnly {
		list = append(list, notYet(b))
	} else {
		for _, a := range schema.Attributes {
			if v, ok := vals[a.Name]; ok {
				if d, found := a.Unsupported(v, b.Body.Attributes[a.Name].SrcRange); found {
					list = append(list, d)
				}
			}
		}
	}
	l.cfg.Unsupported = append(l.cfg.Unsupported, list...)
}

// readEval reads an eval block.
func (l *loader) readEval(b *hclsyntax.Block) {
	if len(b.Labels) != 1 {
		return
	}
	schema, _ := lang.Root.Block("eval")
	vals := l.attributes(b.Body, schema, l.base)
	limits := lang.NewLimits(schema, b.Body, l.base, fmt.Sprintf("eval %q", b.Labels[0]))
	l.report(limits.Check())
	e := config.Eval{
		Name: b.Labels[0], Models: l.referenced(b), DatasetText: text(vals, "dataset", ""), DatasetRange: attributeRange(b, "dataset"),
		Metric: text(vals, "metric", ""), Gate: limits, Decl: lang.RangeOf(b.DefRange()),
	}
	if _, ok := vals["dataset"]; ok {
		l.path(b, "dataset", e.DatasetText, &e.Dataset)
	}
	l.cfg.Evals = append(l.cfg.Evals, e)
	l.unsupported(b, schema, vals)
}

// referenced returns the models that model = model.NAME of an eval block
// names, or model = model.NAME["KEY"].
func (l *loader) referenced(b *hclsyntax.Block) []string {
	attr := b.Body.Attributes["model"]
	if attr == nil {
		return nil
	}
	t, diags := hcl.AbsTraversalForExpr(attr.Expr)
	if diags.HasErrors() || t.RootName() != "model" || len(t) < 2 || len(t) > 3 {
		l.report(diag.List{lang.Errorf(attr.Expr.Range(), "Invalid value for model", "model names a model of this file, or one expansion of it:\n\n    model = model.NAME\n    model = model.NAME[\"KEY\"]")})
		return nil
	}
	name := stepName(t[1])
	made, ok := l.labels[name]
	if !ok {
		known := slices.Sorted(maps.Keys(l.labels))
		l.report(diag.List{lang.Errorf(t[1].SourceRange(), "Unknown model", "No model is called %q.%s", name, meant(name, known))})
		return nil
	}
	if len(t) == 2 || len(made) == 0 { // an expansion that failed was reported
		return made
	}
	if one := name + "-" + stepName(t[2]); slices.Contains(made, one) {
		return []string{one}
	}
	keys := make([]string, 0, len(made))
	for _, m := range made {
		if m != name {
			keys = append(keys, m[len(name)+1:])
		}
	}
	if len(keys) == 0 {
		l.report(diag.List{lang.Errorf(t[2].SourceRange(), "Unknown model", "Model %q is not expanded: it has no for_each and no matrix. Write model.%s.", name, name)})
		return nil
	}
	l.report(diag.List{lang.Errorf(t[2].SourceRange(), "Unknown model", "Model %q has no expansion %q; its keys are %s.%s", name, stepName(t[2]), lang.Join(keys, "and"), meant(stepName(t[2]), keys))})
	return nil
}

// stepName is the name or key that a step of a traversal asks for.
func stepName(step hcl.Traverser) string {
	switch s := step.(type) {
	case hcl.TraverseAttr:
		return s.Name
	case hcl.TraverseIndex:
		if s.Key.Type() == cty.String {
			return s.Key.AsString()
		}
	}
	return ""
}
