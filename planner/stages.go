package planner

import (
	"slices"

	"github.com/llima-build/llima/internal/addr"
)

// Narrow leaves the targets of some stages, what they read, and of every other
// stage of a model what is complete; PACKAGE publishes what these made and
// nothing else. missing lists what those stages read of other stages and is
// stale: a build would run it, so whoever asked for these stages alone must
// not build.
func (g *Graph) Narrow(stages []addr.Stage, facts Facts) (missing []Decision, err error) {
	plan, err := Evaluate(g, facts)
	if err != nil {
		return nil, err
	}
	for _, m := range g.Models {
		missing = append(missing, m.narrow(stages, plan)...)
	}
	kept := map[*Target]bool{}
	for _, m := range g.Models {
		for _, t := range m.Targets {
			kept[t] = true
		}
	}
	g.Order = slices.DeleteFunc(g.Order, func(t *Target) bool { return !kept[t] })
	return missing, nil
}

func (m *Model) narrow(stages []addr.Stage, plan *Plan) (missing []Decision) {
	stale := map[*Target]bool{}
	incomplete := map[addr.Stage]bool{}
	for _, d := range plan.Decisions {
		if d.Target.Model == m && (d.State == Run || d.State == MayRun) {
			stale[d.Target] = true
			incomplete[d.Target.Addr.Stage] = true
		}
	}
	keep := map[*Target]bool{}
	var mark func(t *Target)
	mark = func(t *Target) {
		if keep[t] {
			return
		}
		keep[t] = true
		for _, d := range t.Deps {
			mark(d)
		}
	}
	for _, t := range m.Targets {
		stage := t.Addr.Stage
		if stage != addr.Package && (slices.Contains(stages, stage) || !incomplete[stage]) {
			mark(t)
		}
	}
	for _, d := range plan.Decisions {
		if keep[d.Target] && stale[d.Target] && !slices.Contains(stages, d.Target.Addr.Stage) {
			missing = append(missing, d)
		}
	}
	m.Targets = slices.DeleteFunc(m.Targets, func(t *Target) bool { return !keep[t] && t.Addr.Stage != addr.Package })
	for _, t := range m.Targets {
		if t.Addr.Stage == addr.Package {
			t.Deps = slices.DeleteFunc(t.Deps, func(d *Target) bool { return !keep[d] })
		}
	}
	return missing
}
