package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner"
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
func (e *evaluator) blocks(cmd *cobra.Command, names []string) (err error) {
	cfg, err := e.flags.project.load(e.env)
	if err != nil {
		return err
	}
	evals, err := chosenEvals(cfg, names)
	if err != nil {
		return err
	}
	list, err := e.prepare(cfg, evals)
	if err != nil {
		return err
	}
	w, err := e.buildHidden(cmd, cfg, "llima eval "+list[0].block.Name, func(root string) []*config.Model { return measuredModels(list, root) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	doc := evalDocuments{FormatVersion: 1}
	var exceeded diag.List
	for _, b := range list {
		one, found, err := e.block(cmd.Context(), b, w.store.Root())
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
		text, err := openText(block.Dataset, block.DatasetText)
		if err == nil {
			err = text.Close()
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

// measuredModels lists what is built for blocks: each model once, with its
// reference.
func measuredModels(list []blockEval, root string) []*config.Model {
	var out []*config.Model
	seen := map[string]bool{}
	for _, b := range list {
		if seen[b.model.Name] {
			continue
		}
		seen[b.model.Name] = true
		out = append(out, hiddenModel(b.model, evalPrefix, root, func(*config.Decision) {}))
		if b.referenced {
			out = append(out, b.reference(root))
		}
	}
	return out
}

// reference returns the model with all weights in BF16.
func (b *blockEval) reference(root string) *config.Model {
	m := hiddenModel(b.model, referencePrefix, root, inPrecision(config.BF16))
	m.QuantizeEmbeddings, m.Calibration, m.Quantization, m.Unsupported = false, nil, nil, nil
	m.Precision = config.BF16
	return m
}

// block measures one model of one block, and reports where it exceeds the
// block's bound.
func (e *evaluator) block(ctx context.Context, b blockEval, root string) (doc *view.Evaluation, exceeded diag.List, err error) {
	text, err := openText(b.block.Dataset, b.block.DatasetText)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, text.Close()) }()
	job := &evaluation{text: text, perLayer: e.flags.perLayer}
	if job.model, err = openHidden(hiddenOutput(root, evalPrefix+b.model.Name), b.model.Name); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, job.model.Close()) }()
	if b.referenced {
		if job.reference, err = openHidden(hiddenOutput(root, referencePrefix+b.model.Name), "its BF16 reference"); err != nil {
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
