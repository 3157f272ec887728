// Package planner turns configuration and checkpoints into a graph of targets
// and decides which of them are stale, and why. It reads what it must to
// decide and writes nothing; the executor does.
package planner

import (
	"fmt"
	"strings"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner/fingerprint"
)

// Facts is what deciding needs to know of earlier builds and of files.
type Facts interface {
	// Digest returns the digest of a source, from memory where its file is
	// unchanged.
	Digest(Source) (fingerprint.Digest, error)
	// Record returns what is remembered of a target; ok is false where nothing
	// is. problem says why a record that was there cannot be used.
	Record(addr.Target) (rec Record, ok bool, problem string)
	// Outputs returns what was made under a key, if all of it is still there.
	Outputs(key fingerprint.Digest) ([]Output, bool)
	// Missing lists those outputs that the store no longer has.
	Missing([]Output) []string
	// Modified compares the output folder with what was published into it.
	Modified(folder string, files []Published) []fingerprint.Reason
}

// Decide says whether a target is stale, given the outputs of its
// dependencies. Plan, why and build all ask it.
func Decide(t *Target, deps [][]Output, facts Facts) (Decision, error) {
	d := Decision{Target: t}
	var err error
	if d.Preimage, err = t.preimage(deps, facts); err != nil {
		return d, err
	}
	d.Key = d.Preimage.Key()
	rec, known, problem := facts.Record(t.Addr)
	switch {
	case problem != "":
		d.Reasons = []fingerprint.Reason{{Code: fingerprint.Interrupted, Name: problem}}
	case !known:
		d.Reasons = []fingerprint.Reason{{Code: fingerprint.NeverBuilt}}
	case rec.Key == "":
		d.Reasons = []fingerprint.Reason{{Code: fingerprint.Interrupted}}
	case rec.Key != d.Key:
		d.Reasons = t.explain(fingerprint.Diff(&rec.Preimage, &d.Preimage, isUpstream))
	default:
		d.Reasons = t.check(&rec, facts)
		d.Outputs = rec.Outputs
		if len(d.Reasons) == 0 {
			return d, nil
		}
	}
	d.State = Run
	if t.Addr.Stage != addr.Package { // publishing is an effect, not an output
		if out, ok := facts.Outputs(d.Key); ok {
			d.State, d.Outputs = Restore, out
		}
	}
	return d, nil
}

func (t *Target) check(rec *Record, facts Facts) []fingerprint.Reason {
	if t.Addr.Stage == addr.Package {
		return facts.Modified(t.Model.Config.Output, rec.Published)
	}
	var out []fingerprint.Reason
	for _, name := range facts.Missing(rec.Outputs) {
		out = append(out, fingerprint.Reason{Code: fingerprint.OutputMissing, Name: name})
	}
	return out
}

func (t *Target) preimage(deps [][]Output, facts Facts) (fingerprint.Preimage, error) {
	p := fingerprint.Preimage{Stage: t.Addr.Stage.String(), Version: t.Version, Params: t.Params}
	for _, s := range t.Sources {
		digest, err := facts.Digest(s)
		if err != nil {
			return p, fmt.Errorf("%s: %s: %w", t.Addr, s.Name, err)
		}
		p.Inputs = append(p.Inputs, fingerprint.Input{Name: s.Name, Digest: digest})
	}
	for i, outputs := range deps {
		for _, o := range outputs {
			p.Inputs = append(p.Inputs, fingerprint.Input{Name: InputName(t.Deps[i], o), Digest: o.Digest})
		}
	}
	return p, p.Normalize()
}

// InputName is the name by which a target reads an output of another: the
// stage and the file, without layer, so that what is the same for all layers
// has one key.
func InputName(from *Target, o Output) string { return from.Addr.Stage.String() + "/" + o.Name }

// isUpstream reports whether an input was made by a target.
func isUpstream(name string) bool {
	stage, _, _ := strings.Cut(name, "/")
	_, ok := addr.ParseStage(stage)
	return ok
}

// explain adds the place in the configuration that set a changed parameter.
func (t *Target) explain(reasons []fingerprint.Reason) []fingerprint.Reason {
	for i := range reasons {
		if reasons[i].Code == fingerprint.ParamChanged {
			reasons[i].Where = t.Where[reasons[i].Name]
		}
	}
	return reasons
}

// Plan is what a build would do.
type Plan struct {
	Graph     *Graph
	Decisions []Decision // in the order of the graph
}

// Evaluate decides on every target. What depends on a target that has to run
// may run: its inputs are not known yet.
func Evaluate(g *Graph, facts Facts) (*Plan, error) {
	p := &Plan{Graph: g}
	outputs := map[*Target][]Output{}
	for _, t := range g.Order {
		deps, unknown := make([][]Output, len(t.Deps)), false
		for i, d := range t.Deps {
			out, ok := outputs[d]
			deps[i], unknown = out, unknown || !ok
		}
		if unknown {
			p.Decisions = append(p.Decisions, Decision{Target: t, State: MayRun})
			continue
		}
		d, err := Decide(t, deps, facts)
		if err != nil {
			return nil, err
		}
		p.Decisions = append(p.Decisions, d)
		if d.State != Run {
			outputs[t] = d.Outputs
		}
	}
	return p, nil
}

// Count returns how many targets are in each state.
func (p *Plan) Count() map[State]int {
	n := map[State]int{}
	for _, d := range p.Decisions {
		n[d.State]++
	}
	return n
}

// Stale reports whether a build would do anything.
func (p *Plan) Stale() bool { return p.Count()[Fresh] < len(p.Decisions) }
