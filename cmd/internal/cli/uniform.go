package cli

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/measure"
	"github.com/llima-build/llima/planner"
)

// uniform returns a model as it is, head and embeddings too, but its parts in
// one precision.
func uniform(m *config.Model, p config.Precision, root string) *config.Model {
	u := hiddenModel(m, uniformPrefix(p), root, inPrecision(p))
	u.Precision, u.LoRA, u.LoRARank, u.Adapters = p, config.LoRADisabled, 0, nil
	return u
}

// uniforms is a model in each precision, built.
type uniforms struct {
	*workspace
	config *config.Model
}

// buildUniforms builds a model in each precision into the store.
func buildUniforms(cmd *cobra.Command, e *evaluator, cfg *config.Config, m *config.Model) (*uniforms, error) {
	w, err := e.buildHidden(cmd, cfg, "llima eval --sensitivity "+m.Name, func(root string) []*config.Model {
		var out []*config.Model
		for _, p := range config.Precisions {
			out = append(out, uniform(m, p, root))
		}
		return out
	})
	if err != nil {
		return nil, err
	}
	if w.plan, err = planner.Evaluate(w.graph, w.store); err != nil { // now every key is known
		return nil, errors.Join(err, w.close())
	}
	return &uniforms{w, m}, nil
}

// bench opens the builds.
func (u *uniforms) bench() (*measure.Bench, error) {
	var all []*measure.Model
	for _, m := range u.graph.Models {
		opened, err := openHidden(m.Config.Output, u.config.Name+" in "+string(m.Config.Precision))
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

// figures returns what is kept of the builds that were opened. Another command
// may have published others since they were planned, so that is looked at
// again.
func (u *uniforms) figures() (*store.Figures, error) {
	var names []string
	for _, m := range u.graph.Models {
		names = append(names, m.Config.Name)
		if err := u.store.Forget(m.Config.Name); err != nil {
			return nil, err
		}
	}
	now, err := planner.Evaluate(u.graph, u.store)
	if err != nil {
		return nil, err
	}
	if now.Stale() {
		return nil, fmt.Errorf("%s: what it is measured by was built again by another command, or removed\n  run this again when that is done", u.config.Name)
	}
	return u.store.Figures(measure.MixtureVersion, runtime.GOARCH+" "+emu.Kernels(), names)
}

// weightBytes returns what the weights of a part take in a precision.
func (u *uniforms) weightBytes(p config.Precision, id addr.PartID) int64 {
	m := u.graph.Models[slices.Index(config.Precisions, p)]
	i := slices.IndexFunc(m.Parts, func(part planner.Part) bool { return part.ID == id })
	return m.Parts[i].WeightBytes
}
