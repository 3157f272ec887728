package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/modalix/measure"
	"github.com/llima-build/llima/planner"
)

// Prefixes of the names of models that are built to be measured. No model of
// llima.hcl has such a name.
const (
	evalPrefix      = "eval/"
	referencePrefix = "eval-bf16/"
)

// evalDocuments is the JSON document of blocks.
type evalDocuments struct {
	FormatVersion int                `json:"format_version"`
	Evals         []*view.Evaluation `json:"evals"`
}

// blockEval is one model of one eval block.
type blockEval struct {
	block config.Eval
	model *config.Model // of llima.hcl
	max   config.MaxDelta
	// referenced is false for a model whose weights are not from a float
	// checkpoint, so that it has no BF16 reference.
	referenced bool
}

// blocks measures the models that eval blocks name, and holds them to the
// blocks' gates.
func (e *evaluator) blocks(cmd *cobra.Command, names []string) error {
	cfg, err := e.flags.project.load(e.env)
	if err != nil {
		return err
	}
	evals, err := chosenEvals(cfg, names)
	if err != nil {
		return err
	}
	st, err := openStore(cfg, e.env)
	if err != nil {
		return err
	}
	root := st.Root()
	if err := st.Close(); err != nil {
		return err
	}
	list, err := e.prepare(cfg, evals)
	if err != nil {
		return err
	}
	if err := e.build(cmd, cfg, list, root); err != nil {
		return err
	}
	doc := evalDocuments{FormatVersion: 1}
	var exceeded diag.List
	for _, b := range list {
		one, found, err := e.block(cmd.Context(), b, root)
		if err != nil {
			return err
		}
		if e.flags.plots != "" {
			if err := plotEvaluation(e.flags.plots, b.block.Name+"-"+b.model.Name+"-", one); err != nil {
				return err
			}
		}
		doc.Evals = append(doc.Evals, one)
		exceeded = append(exceeded, found...)
	}
	if e.flags.json {
		err = printJSON(e.env, doc)
	} else {
		err = view.Evals(e.env.Stdout, doc.Evals, e.env.Columns)
	}
	if err == nil && len(exceeded) > 0 {
		err = budgetError{diagError{exceeded.Sorted(), cfg.Sources}}
	}
	return err
}

// chosenEvals returns the blocks of those names, all for none.
func chosenEvals(cfg *config.Config, names []string) ([]config.Eval, error) {
	var known []string
	for _, e := range cfg.Evals {
		known = append(known, e.Name)
	}
	if len(known) == 0 {
		return nil, usageError{errors.New("llima.hcl has no eval block\n  to measure an output folder, give a text:\n    llima eval OUT --text FILE")}
	}
	for _, n := range names {
		if slices.Contains(known, n) {
			continue
		}
		hint := "\n  there are " + strings.Join(known, ", ")
		if s := lang.Suggest(n, known); s != "" {
			hint = "\n  did you mean " + s + "?"
		}
		return nil, usageError{fmt.Errorf("no eval block is called %q%s\n  to measure an output folder, give a text:\n    llima eval %s --text FILE", n, hint, n)}
	}
	if len(names) == 0 {
		return cfg.Evals, nil
	}
	return slices.DeleteFunc(slices.Clone(cfg.Evals), func(e config.Eval) bool { return !slices.Contains(names, e.Name) }), nil
}

// prepare finds what is wrong before anything is built: texts, gates, and
// models that have no reference.
func (e *evaluator) prepare(cfg *config.Config, evals []config.Eval) ([]blockEval, error) {
	board, _ := config.BoardNamed(cfg.Backend.Board)
	g, list := planner.New(evalModels(cfg, evals), checkModel)
	if list.HasErrors() {
		return nil, errors.Join(diagError{list.Sorted(), cfg.Sources}, g.Close())
	}
	e.env.warn(list.Sorted(), cfg.Sources)
	var out []blockEval
	list = nil
	for _, block := range evals {
		_, closeText, err := openText(block.Dataset, block.DatasetText)
		if err == nil {
			err = closeText()
		}
		if err != nil {
			at := block.DatasetRange
			list = append(list, diag.Diagnostic{
				Severity: diag.Error, Summary: "Unusable dataset", Subject: &at,
				Detail: fmt.Sprintf("The text of eval %q: %s. dataset is a text, JSON lines or Parquet, relative to the folder of llima.hcl.",
					block.Name, strings.ReplaceAll(err.Error(), block.Dataset, block.DatasetText)),
			})
		}
		for _, name := range block.Models {
			at := slices.IndexFunc(g.Models, func(m *planner.Model) bool { return m.Config.Name == name })
			if at < 0 {
				continue // its block is reported already
			}
			b := blockEval{block: block, model: g.Models[at].Config, referenced: !g.Models[at].Carried()}
			var diags diag.List
			b.max, diags = block.Gate.MaxDelta(g.Models[at].Footprint(board))
			list = append(list, diags...)
			if d, found := b.unreferenced(); found {
				list = append(list, d)
			}
			out = append(out, b)
		}
	}
	if err := g.Close(); err != nil {
		return nil, err
	}
	if list.HasErrors() {
		return nil, diagError{list.Sorted(), cfg.Sources}
	}
	return out, nil
}

// evalModels lists the models that blocks name, each once.
func evalModels(cfg *config.Config, evals []config.Eval) []*config.Model {
	var out []*config.Model
	for _, m := range cfg.Models {
		if slices.ContainsFunc(evals, func(e config.Eval) bool { return slices.Contains(e.Models, m.Name) }) {
			out = append(out, m)
		}
	}
	return out
}

// unreferenced reports a block that compares with a reference that cannot be
// built.
func (b *blockEval) unreferenced() (diag.Diagnostic, bool) {
	if b.referenced || b.block.Metric == "perplexity" && !b.max.Given {
		return diag.Diagnostic{}, false
	}
	at := b.block.Decl
	return diag.Diagnostic{
		Severity: diag.Error, Summary: "No BF16 reference", Subject: &at,
		Detail: fmt.Sprintf("The weights of model %q are quantized in its source, so there is nothing in BF16 to compare it with. "+
			"Measure its perplexity, without max_delta:\n\n    metric = \"perplexity\"\n\nOr compare it with a build of the checkpoint that it was made from:\n\n"+
			"    llima eval %s --text %s --against OUT", b.model.Name, b.model.OutputText, b.block.DatasetText),
	}, true
}

// build builds what is measured into the store.
func (e *evaluator) build(cmd *cobra.Command, cfg *config.Config, list []blockEval, root string) (err error) {
	hidden := *cfg
	hidden.Models = nil
	seen := map[string]bool{}
	for _, b := range list {
		if !seen[b.model.Name] {
			seen[b.model.Name] = true
			hidden.Models = append(hidden.Models, b.hidden(root))
			if b.referenced {
				hidden.Models = append(hidden.Models, b.reference(root))
			}
		}
	}
	g, diags := planner.New(hidden.Models, nil)
	if diags.HasErrors() {
		return errors.Join(diagError{diags.Sorted(), cfg.Sources}, g.Close())
	}
	st, err := openStore(cfg, e.env)
	if err != nil {
		return errors.Join(err, g.Close())
	}
	w := &workspace{cfg: &hidden, graph: g, store: st}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.buildable(); err != nil {
		return err
	}
	f := buildFlags{jobs: runtime.NumCPU()}
	if err := f.configured(cmd, cfg.Executor); err != nil {
		return err
	}
	retry := "llima eval " + list[0].block.Name
	p := view.NewProgress(e.env.Stderr, view.ProgressOptions{
		Mode: e.mode, Color: e.env.color(e.mode == "tty"), Now: e.env.Now, Size: e.env.Size, Jobs: f.jobs,
		Retry: func(string) string { return retry },
	})
	_, err = f.build(cmd.Context(), e.env, w, p, nil)
	p.Close()
	if err != nil {
		return buildError(cmd.Context(), err)
	}
	return nil
}

// hiddenNames lists the models that the eval blocks of a file are measured by.
func hiddenNames(cfg *config.Config) []string {
	var out []string
	for _, m := range evalModels(cfg, cfg.Evals) {
		out = append(out, evalPrefix+m.Name, referencePrefix+m.Name)
	}
	return out
}

// hiddenOutput is where a model that is measured is published.
func hiddenOutput(root, name string) string { return filepath.Join(root, filepath.FromSlash(name)) }

// hidden returns the model as it is measured: all of its parts, and logits.
func (b *blockEval) hidden(root string) *config.Model {
	m := *b.model
	m.Name = evalPrefix + m.Name
	m.Output = hiddenOutput(root, m.Name)
	m.OutputText = filepath.ToSlash(filepath.Join(store.Dir, m.Name))
	m.Hidden, m.ReturnLogits, m.Budget = true, true, nil
	m.Rules = allCompiled{m.Rules}
	return &m
}

// reference returns the model with all weights in BF16.
func (b *blockEval) reference(root string) *config.Model {
	m := b.hidden(root)
	m.Name = referencePrefix + b.model.Name
	m.Output = hiddenOutput(root, m.Name)
	m.OutputText = filepath.ToSlash(filepath.Join(store.Dir, m.Name))
	m.QuantizeEmbeddings, m.Calibration, m.Quantization, m.Unsupported = false, nil, nil, nil
	m.Precision = config.BF16
	m.Rules = allBF16{m.Rules}
	return m
}

// allCompiled decides as the rules do, and leaves no part out.
type allCompiled struct{ config.Rules }

// Decide implements [config.Rules].
func (r allCompiled) Decide(m config.Properties, l config.Layer) (config.Decision, diag.List) {
	d, list := r.Rules.Decide(m, l)
	d.Compile = true
	return d, list
}

// allBF16 gives every part BF16.
type allBF16 struct{ config.Rules }

// Decide implements [config.Rules].
func (r allBF16) Decide(m config.Properties, l config.Layer) (config.Decision, diag.List) {
	d, list := r.Rules.Decide(m, l)
	d.Precision, d.LoRA = config.BF16, config.LoRADisabled
	return d, list
}

// block measures one model of one block, and reports where it exceeds the
// block's bound.
func (e *evaluator) block(ctx context.Context, b blockEval, root string) (doc *view.Evaluation, exceeded diag.List, err error) {
	text, closeText, err := openText(b.block.Dataset, b.block.DatasetText)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, closeText()) }()
	job := &evaluation{text: text, perLayer: e.flags.perLayer}
	if job.model, err = openHidden(root, evalPrefix+b.model.Name, b.model.Name); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, job.model.Close()) }()
	if b.referenced {
		if job.reference, err = openHidden(root, referencePrefix+b.model.Name, "its BF16 reference"); err != nil {
			return nil, nil, err
		}
		defer func() { err = errors.Join(err, job.reference.Close()) }()
	}
	if doc, err = e.evaluate(ctx, job); err != nil {
		return nil, nil, err
	}
	doc.Eval, doc.Model = b.block.Name, b.model.Name
	if b.referenced {
		doc.Against = "BF16"
	}
	if b.max.Given {
		exceeded, err = e.gate(ctx, b, job, doc)
	}
	return doc, exceeded, err
}

func openHidden(root, name, called string) (*measure.Model, error) {
	return measure.Open(filepath.Join(hiddenOutput(root, name), "sima_files"), called)
}
