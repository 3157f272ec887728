package cli

import (
	"cmp"
	"errors"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/hcl/config"
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

// uniformPrefix is that of a model whose parts all have one precision.
func uniformPrefix(p config.Precision) string {
	return "sensitivity-" + strings.ToLower(strings.TrimPrefix(string(p), "A_BF16_W_")) + "/"
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

// hiddenModel returns a model as it is measured: in the store whose root is
// given, all of its parts, with the logits of every token. change has the last
// word on what its rules decide.
func hiddenModel(m *config.Model, prefix, root string, change func(*config.Decision)) *config.Model {
	h := *m
	h.Name = prefix + m.Name
	h.Output = hiddenOutput(root, h.Name)
	h.OutputText = filepath.ToSlash(filepath.Join(store.Dir, h.Name))
	h.Hidden, h.ReturnLogits, h.Budget = true, true, nil
	h.Rules = changedRules{m.Rules, change}
	return &h
}

// changedRules decides as rules do, leaves no part out, and changes the rest.
type changedRules struct {
	config.Rules
	change func(*config.Decision)
}

// Decide implements [config.Rules].
func (r changedRules) Decide(m config.Properties, l config.Layer) (config.Decision, diag.List) {
	d, list := r.Rules.Decide(m, l)
	d.Compile = true
	r.change(&d)
	return d, list
}

// inPrecision gives every part one precision.
func inPrecision(p config.Precision) func(*config.Decision) {
	return func(d *config.Decision) { d.Precision, d.LoRA = p, config.LoRADisabled }
}

// buildHidden builds what is measured into the store. The workspace keeps it
// there until it is closed. retry is the command that does it again.
func (e *evaluator) buildHidden(cmd *cobra.Command, cfg *config.Config, retry string, models func(root string) []*config.Model) (*workspace, error) {
	st, err := openStore(cfg, e.env)
	if err != nil {
		return nil, err
	}
	hidden := *cfg
	hidden.Models = models(st.Root())
	g, diags := planner.New(hidden.Models, nil)
	w := &workspace{cfg: &hidden, graph: g, store: st}
	if diags.HasErrors() {
		return nil, errors.Join(diagError{diags.Sorted(), cfg.Sources}, w.close())
	}
	if err := w.buildable(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	f := buildFlags{jobs: cmp.Or(cfg.Executor.Jobs, runtime.NumCPU()), keepGoing: cfg.Executor.KeepGoing}
	p := view.NewProgress(e.env.Stderr, view.ProgressOptions{
		Mode: e.mode, Color: e.env.color(e.mode == "tty"), Now: e.env.Now, Size: e.env.Size, Jobs: f.jobs,
		Retry: func(string) string { return retry },
	})
	_, err = f.build(cmd.Context(), e.env, w, p, nil)
	p.Close()
	if err != nil {
		return nil, errors.Join(buildError(cmd.Context(), err), w.close())
	}
	return w, nil
}

func openHidden(output, called string) (*measure.Model, error) {
	return measure.Open(filepath.Join(output, "sima_files"), called)
}
