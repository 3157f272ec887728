package cli

import (
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/modalix/measure"
	"github.com/llima-build/llima/planner"
)

// uniformRules gives every part one precision.
type uniformRules struct{ decision config.Decision }

// Decide implements [config.Rules].
func (r uniformRules) Decide(config.Properties, config.Layer) (config.Decision, diag.List) {
	return r.decision, nil
}

// List implements [config.Rules].
func (uniformRules) List() []config.Rule { return nil }

// uniform returns a model as it is, head and embeddings too, but its parts in
// one precision, and with the logits of every token. No file can give such a
// name; its output lies in the store.
func uniform(m *config.Model, p config.Precision, root string) *config.Model {
	u := *m
	short := strings.ToLower(strings.TrimPrefix(string(p), "A_BF16_W_"))
	u.Name = "sensitivity-" + short + "/" + m.Name
	u.Output = hiddenOutput(root, u.Name)
	u.OutputText = filepath.ToSlash(filepath.Join(store.Dir, u.Name))
	u.Precision, u.LoRA, u.LoRARank = p, config.LoRADisabled, 0
	u.Rules = uniformRules{config.Decision{Precision: p, Compile: true, LoRA: config.LoRADisabled, Rule: -1, Where: m.Decl}}
	u.Hidden, u.ReturnLogits = true, true
	u.Adapters, u.Budget = nil, nil
	return &u
}

// uniforms is a model in each precision, built.
type uniforms struct {
	*workspace
	config *config.Model
}

// buildUniforms builds a model in each precision into the store.
func buildUniforms(cmd *cobra.Command, e *evaluator, cfg *config.Config, m *config.Model) (u *uniforms, err error) {
	st, err := openStore(cfg, e.env)
	if err != nil {
		return nil, err
	}
	hidden := *cfg
	hidden.Models = nil
	for _, p := range config.Precisions {
		hidden.Models = append(hidden.Models, uniform(m, p, st.Root()))
	}
	g, diags := planner.New(hidden.Models, nil)
	if diags.HasErrors() {
		return nil, errors.Join(diagError{diags.Sorted(), cfg.Sources}, g.Close(), st.Close())
	}
	g.ProgramsOnly()
	u = &uniforms{&workspace{cfg: &hidden, graph: g, store: st}, m}
	if err := u.build(cmd, e); err != nil {
		return nil, errors.Join(err, u.close())
	}
	return u, nil
}

func (u *uniforms) build(cmd *cobra.Command, e *evaluator) error {
	if err := u.buildable(); err != nil {
		return err
	}
	f := buildFlags{jobs: runtime.NumCPU()}
	if n := u.cfg.Executor.Jobs; n > 0 {
		f.jobs = n
	}
	p := view.NewProgress(e.env.Stderr, view.ProgressOptions{
		Mode: e.mode, Color: e.env.color(e.mode == "tty"), Now: e.env.Now, Size: e.env.Size, Jobs: f.jobs,
		Retry: func(string) string { return "llima eval --sensitivity " + u.config.Name },
	})
	_, err := f.build(cmd.Context(), e.env, u.workspace, p, nil)
	p.Close()
	if err != nil {
		return buildError(cmd.Context(), err)
	}
	u.plan, err = planner.Evaluate(u.graph, u.store) // now every key is known
	return err
}

// bench opens the builds.
func (u *uniforms) bench() (*measure.Bench, error) {
	var all []*measure.Model
	for _, m := range u.graph.Models {
		opened, err := measure.Open(filepath.Join(m.Config.Output, "sima_files"), u.config.Name+" in "+string(m.Config.Precision))
		if err != nil {
			for _, o := range all {
				err = errors.Join(err, o.Close())
			}
			return nil, err
		}
		all = append(all, opened)
	}
	return &measure.Bench{Reference: all[0], Others: all[1:]}, nil
}

// weightBytes returns what the weights of a part take in a precision.
func (u *uniforms) weightBytes(p config.Precision, id addr.PartID) int64 {
	m := u.graph.Models[slices.Index(config.Precisions, p)]
	i := slices.IndexFunc(m.Parts, func(part planner.Part) bool { return part.ID == id })
	return m.Parts[i].WeightBytes
}
