// Package planner turns configuration and checkpoints into a graph of targets
// and decides which of them are stale, and why. It reads what it must to
// decide and writes nothing; the executor does.
package planner

import (
	"fmt"
	"strings"
	"sync"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner/fingerprint"
)

// Facts is what deciding needs to know of earlier builds and of files.
type Facts interface {
	// Digest returns the digest of a source, from memory where its file is
	// unchanged. It is called for several files at once.
	Digest(Source) (fingerprint.Digest, error)
	// Record returns what is remembered of a target; ok is false where nothing
	// is. problem says why a record that was there cannot be used.
	Record(addr.Target) (rec Record, ok bool, problem string)
	// Result returns what was made under a key, and which of it the store no
	// longer has as it was made; ok is false where nothing is known.
	Result(key fingerprint.Digest) (outputs []Output, lost []fingerprint.Reason, ok bool)
	// Preimage returns what a key was made of, for comparison.
	Preimage(key fingerprint.Digest) (fingerprint.Preimage, bool)
	// Modified compares a target's output folder with what was published.
	Modified(folder string, files []Published) []fingerprint.Reason
}

// Decide says whether a target is stale, given the outputs of its
// dependencies. Plan, why and build all ask it. A nil entry of deps is a
// dependency whose outputs are not known yet: then the target has to run if
// something else changed, and may run if nothing did.
func Decide(t *Target, deps [][]Output, facts Facts) (Decision, error) {
	d := Decision{Target: t}
	unknown, err := d.read(deps, facts)
	if err != nil {
		return d, err
	}
	rec, known, problem := facts.Record(t.Addr)
	d.LastMillis = rec.WallMillis
	if len(unknown) > 0 {
		switch {
		case t.Force:
			d.State, d.Reasons = Run, []fingerprint.Reason{{Code: fingerprint.Forced}}
		case !known || problem != "" || rec.Key == "":
			d.State, d.Reasons = Run, unrecorded(known, problem)
		default:
			d.foresee(&rec, unknown, facts)
		}
		return d, nil
	}
	d.Key = d.Preimage.Key()
	outputs, lost, made := facts.Result(d.Key)
	d.Outputs = outputs
	made = made && len(lost) == 0
	switch {
	case t.Force:
		d.Reasons = []fingerprint.Reason{{Code: fingerprint.Forced}}
		made = false
	case !known || problem != "" || rec.Key == "":
		d.Reasons = unrecorded(known, problem)
	case rec.Key != d.Key:
		d.Reasons = t.explain(rec.Key, &d.Preimage, facts)
	case t.Addr.Stage == addr.Package: // publishing is an effect, not an output
		d.Reasons = facts.Modified(t.Model.Config.Output, rec.Published)
	case len(lost) > 0:
		d.Reasons = lost
	case !made:
		d.Reasons = []fingerprint.Reason{{Code: fingerprint.OutputMissing, Name: "the list of what it made"}}
	}
	switch {
	case len(d.Reasons) == 0:
		d.State = Fresh
	case made && t.Addr.Stage != addr.Package:
		d.State = Restore
	default:
		d.State, d.Outputs = Run, nil
	}
	return d, nil
}

// unrecorded says why nothing is known of a target's last build. problem is why
// its record cannot be used, "" where there is none, or one without a key.
func unrecorded(known bool, problem string) []fingerprint.Reason {
	if problem == "" && !known {
		return []fingerprint.Reason{{Code: fingerprint.NeverBuilt}}
	}
	return []fingerprint.Reason{{Code: fingerprint.Interrupted, Name: problem}}
}

// read makes the preimage of what is known, and lists the dependencies whose
// outputs are not.
func (d *Decision) read(deps [][]Output, facts Facts) (unknown map[*Target]bool, err error) {
	t := d.Target
	p := fingerprint.Preimage{Stage: t.Addr.Stage.String(), Version: t.Version, Params: t.Params}
	p.Inputs = make([]fingerprint.Input, 0, len(t.Sources)+2*len(deps))
	for _, s := range t.Sources {
		digest, err := facts.Digest(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", t.Addr, s.Name, err)
		}
		p.Inputs = append(p.Inputs, fingerprint.Input{Name: s.Name, Digest: digest})
	}
	type made struct {
		stage addr.Stage
		first *Output
	}
	seen := make(map[made]bool, len(deps))
	for i, outputs := range deps {
		if outputs == nil {
			if unknown == nil {
				unknown = map[*Target]bool{}
			}
			unknown[t.Deps[i]] = true
			continue
		}
		// Targets that share a result share its list: once is enough.
		if len(outputs) > 0 && t.Picks == nil {
			m := made{t.Deps[i].Addr.Stage, &outputs[0]}
			if seen[m] {
				continue
			}
			seen[m] = true
		}
		for _, o := range outputs {
			if !t.Reads(t.Deps[i], o.Name) {
				continue
			}
			p.Inputs = append(p.Inputs, fingerprint.Input{Name: InputName(t.Deps[i], o), Digest: o.Digest})
		}
	}
	err = p.Normalize()
	d.Preimage = p
	return unknown, err
}

// foresee decides while inputs are missing: what is known may already differ.
func (d *Decision) foresee(rec *Record, unknown map[*Target]bool, facts Facts) {
	d.State = MayRun
	old, ok := facts.Preimage(rec.Key)
	if !ok {
		return
	}
	pending := map[string]bool{}
	for t := range unknown {
		pending[t.Addr.Stage.String()] = true
	}
	for _, r := range d.Target.place(fingerprint.Diff(&old, &d.Preimage, isUpstream)) {
		stage, _, _ := strings.Cut(r.Name, "/")
		if isUpstream(r.Name) && pending[stage] {
			continue // it may come back as it was
		}
		d.State = Run
		d.Reasons = append(d.Reasons, r)
	}
	if d.Target.Addr.Stage == addr.Package {
		if damage := facts.Modified(d.Target.Model.Config.Output, rec.Published); len(damage) > 0 {
			d.State = Run
			d.Reasons = append(d.Reasons, damage...)
		}
	}
}

// explain says what makes the key differ from that of the last build.
func (t *Target) explain(old fingerprint.Digest, now *fingerprint.Preimage, facts Facts) []fingerprint.Reason {
	was, ok := facts.Preimage(old)
	if !ok {
		return []fingerprint.Reason{{Code: fingerprint.Interrupted, Name: "what its last build read is not known any more"}}
	}
	if reasons := t.place(fingerprint.Diff(&was, now, isUpstream)); len(reasons) > 0 {
		return reasons
	}
	return []fingerprint.Reason{{Code: fingerprint.ToolChanged, Name: "key", Old: old.Short(), New: now.Key().Short()}}
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

// place adds the place in the configuration that set a changed parameter, or
// named a changed file.
func (t *Target) place(reasons []fingerprint.Reason) []fingerprint.Reason {
	for i := range reasons {
		switch reasons[i].Code { //nolint:exhaustive // the others have no place
		case fingerprint.ParamChanged, fingerprint.InputChanged:
			reasons[i].Where = t.Where[reasons[i].Name]
		}
	}
	return reasons
}

// Plan is what a build would do.
type Plan struct {
	Graph     *Graph
	Decisions []Decision // in the order of the graph

	index map[*Target]int // of decisions, made when it is asked for
}

// Evaluate decides on every target. What depends on a target that has to run
// may run: its inputs are not known yet.
func Evaluate(g *Graph, facts Facts) (*Plan, error) {
	readAhead(g, facts)
	p := &Plan{Graph: g, Decisions: make([]Decision, 0, len(g.Order))}
	outputs := make(map[*Target][]Output, len(g.Order))
	twins := twins{made: map[fingerprint.Digest]*Target{}, name: map[*Target]fingerprint.Digest{}}
	for _, t := range g.Order {
		deps := make([][]Output, len(t.Deps))
		for i, d := range t.Deps {
			deps[i] = outputs[d]
		}
		d, err := Decide(t, deps, facts)
		if err != nil {
			return nil, err
		}
		if d.State == Fresh || d.State == Restore {
			if outputs[t] = d.Outputs; d.Outputs == nil {
				outputs[t] = []Output{}
			}
		} else if first := twins.of(&d, deps); first != nil && d.State == Run {
			d.State, d.With = Restore, first
		}
		p.Decisions = append(p.Decisions, d)
	}
	return p, nil
}

// twins finds targets that will have one key, so that one of them runs and
// serves the others: all that is known of them is equal, and what is not will
// be made by targets that are twins themselves.
type twins struct {
	made map[fingerprint.Digest]*Target // the first of its name
	name map[*Target]fingerprint.Digest // of targets that run or may run
}

// of returns the first twin of a target that is to run; nil where the target
// is the first.
func (w *twins) of(d *Decision, deps [][]Output) *Target {
	if d.Target.Addr.Stage == addr.Package || d.Target.Force { // publishing is an effect, not an output
		return nil
	}
	name := d.Key
	if name == "" {
		b := d.Preimage.AppendJSON(nil)
		var last fingerprint.Digest
		for i, outputs := range deps {
			if dep := w.name[d.Target.Deps[i]]; outputs == nil && dep != last {
				b = append(append(b, '\n'), dep...)
				last = dep
				for _, output := range d.Target.Picks[d.Target.Deps[i]] {
					b = append(append(b, ' '), output...)
				}
			}
		}
		name = fingerprint.Sum(b)
	}
	w.name[d.Target] = name
	first := w.made[name]
	if first == nil {
		w.made[name] = d.Target
	}
	return first
}

// readAhead asks for a digest in each file that targets read, all files at
// once, so that none waits while another is read. What cannot be read is
// found again, and reported, by the target that reads it.
func readAhead(g *Graph, facts Facts) {
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for _, t := range g.Order {
		for _, s := range t.Sources {
			if !seen[s.Path] {
				seen[s.Path] = true
				wg.Go(func() { _, _ = facts.Digest(s) })
			}
		}
	}
	wg.Wait()
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
