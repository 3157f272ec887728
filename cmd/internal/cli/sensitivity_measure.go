package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/formats/dataset"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix/measure"
	"github.com/llima-build/llima/planner"
)

const (
	// measuredPoints is how many points of a frontier are measured as a whole.
	measuredPoints = 6
	// samePhases is how far the KL of the phases may be apart, as a part of it,
	// where one stands for both: much less than a text tells.
	samePhases = 0.01
	// checkTokens is how many tokens show whether they are.
	checkTokens = 128
	// floorPoints is at how many layers the floor is measured; between them it is
	// a straight line.
	floorPoints = 8
)

// measure measures each part alone, finds the frontier, and measures points
// of it.
func (s *sensitivity) measure(ctx context.Context) error {
	start := s.env.Now()
	f := s.newFrontier()
	if err := f.checkLimit(); err != nil {
		return err
	}
	if err := s.choosePhases(ctx); err != nil {
		return err
	}
	var mixtures []measure.Mixture
	for _, phase := range addr.Phases {
		for _, id := range s.benches[0].Reference.Parts(phase) {
			if !s.compiled(id) {
				continue
			}
			for other := range alternatives {
				p := measure.Substitute{ID: id, Other: other}
				s.singles, mixtures = append(s.singles, p), append(mixtures, s.mixture(phase, p))
			}
		}
	}
	for _, phase := range addr.Phases {
		for _, layer := range s.floorLayers() {
			mixtures = append(mixtures, s.shaken(phase, layer))
		}
	}
	if err := s.run(ctx, mixtures); err != nil {
		return err
	}
	s.describe()
	f.find()
	if err := f.measurePoints(ctx); err != nil {
		return err
	}
	if err := f.choose(ctx); err != nil {
		return err
	}
	s.doc.Time.WallMillis = millis(s.env.Now().Sub(start))
	return nil
}

// choosePhases decides whether the programs of one phase stand for those of
// both. They do the same sums with the same weights, for a group of tokens or
// for one, so what a precision costs is the same but for the order of sums; and
// reading token by token takes many times as long. A few tokens show whether it
// is so.
func (s *sensitivity) choosePhases(ctx context.Context) error {
	s.on = map[addr.Phase]addr.Phase{addr.Prefill: addr.Prefill, addr.Decode: addr.Decode}
	switch s.evaluator.flags.phase {
	case "both":
		return nil
	case "prefill":
		s.on[addr.Decode] = addr.Prefill
		return nil
	case "decode":
		s.on[addr.Prefill] = addr.Decode
		return nil
	}
	var mixtures []measure.Mixture
	for other := range alternatives {
		for _, phase := range addr.Phases {
			mixtures = append(mixtures, s.mixture(phase, s.all(phase, other)...))
		}
	}
	w := s.windows[0]
	w.First, w.IDs = 0, w.IDs[:min(checkTokens, len(w.IDs))]
	list, err := s.mixtures(ctx, "runs to compare the phases", []dataset.Window{w}, mixtures)
	if err != nil {
		return err
	}
	for pair := range slices.Chunk(list, len(addr.Phases)) {
		a, b := pair[0].Value, pair[1].Value
		if math.Abs(a-b) > samePhases*max(a, b) {
			return nil
		}
	}
	s.on[addr.Decode] = addr.Prefill
	return nil
}

// all lists every part of a phase with the program of one build.
func (s *sensitivity) all(phase addr.Phase, other int) []measure.Substitute {
	var out []measure.Substitute
	for _, id := range s.benches[0].Reference.Parts(phase) {
		out = append(out, measure.Substitute{ID: id, Other: other})
	}
	return out
}

// mixture returns what is run to measure parts of a phase.
func (s *sensitivity) mixture(phase addr.Phase, parts ...measure.Substitute) measure.Mixture {
	m := measure.Mixture{Phase: s.on[phase]}
	for _, p := range parts {
		p.ID.Phase = m.Phase
		m.Parts = append(m.Parts, p)
	}
	return m
}

// run measures mixtures, each once, with progress.
func (s *sensitivity) run(ctx context.Context, mixtures []measure.Mixture) error {
	var missing []measure.Mixture
	for _, m := range mixtures {
		if _, known := s.kl[fmt.Sprint(m)]; !known {
			s.kl[fmt.Sprint(m)] = measure.Figure{}
			missing = append(missing, m)
		}
	}
	list, err := s.mixtures(ctx, "runs", s.windows, missing)
	if err != nil {
		return err
	}
	for i, m := range missing {
		s.kl[fmt.Sprint(m)] = list[i]
	}
	return nil
}

// mixtures measures mixtures on windows, with progress. What was kept is not
// measured again.
func (s *sensitivity) mixtures(ctx context.Context, what string, windows []dataset.Window, list []measure.Mixture) ([]measure.Figure, error) {
	s.kept.found, s.kept.missing = 0, 0
	var meter *view.Meter
	progress := func(done, total int64) { // by now it is known what was kept
		if meter == nil {
			meter = view.NewMeter(s.env.Stderr, s.kept.label(what), view.ProgressOptions{Mode: s.mode, Now: s.env.Now, Size: s.env.Size})
		}
		meter.Set(int(done*int64(s.kept.missing)/total), s.kept.missing)
	}
	figures, err := measure.Mixtures(ctx, measure.MixtureOptions{Benches: s.benches, Windows: windows, Kept: s.kept, Progress: progress}, list)
	if meter != nil {
		meter.Close()
	}
	s.kept.warn(s.env.Stderr)
	s.doc.Time.KeptRuns += s.kept.found
	s.doc.Time.MeasuredRuns += s.kept.missing
	return figures, err
}

// keptRuns counts which runs were kept.
type keptRuns struct {
	*store.Figures
	found, missing int
	warned         bool
}

// Get implements [measure.Kept].
func (k *keptRuns) Get(run string) (float64, bool) {
	kl, ok := k.Figures.Get(run)
	if ok {
		k.found++
	} else {
		k.missing++
	}
	return kl, ok
}

// label is what progress counts.
func (k *keptRuns) label(what string) string {
	if k.found > 0 {
		what += fmt.Sprintf(", %d more kept", k.found)
	}
	return what
}

// warn says once that figures are not kept: what is measured is no worse.
func (k *keptRuns) warn(w io.Writer) {
	if err := k.Err(); err != nil && !k.warned {
		k.warned = true
		fmt.Fprintln(w, "llima: warning: measurements are not kept:", err)
	}
}

// figure returns what was measured of parts of a phase.
func (s *sensitivity) figure(phase addr.Phase, parts ...measure.Substitute) measure.Figure {
	return s.kl[fmt.Sprint(s.mixture(phase, parts...))]
}

// floorLayers lists the layers at which the floor is measured, the first and
// the last among them.
func (s *sensitivity) floorLayers() []int {
	n := s.benches[0].Reference.Config().NumHiddenLayers
	var out []int
	for i := range min(n, floorPoints) {
		out = append(out, i*(n-1)/max(1, min(n, floorPoints)-1))
	}
	return out
}

// shaken is the reference with what a layer gets moved by as much as a
// rounding does.
func (s *sensitivity) shaken(phase addr.Phase, layer int) measure.Mixture {
	return measure.Mixture{Phase: s.on[phase], Shaken: true, Layer: layer}
}

// floor returns the KL that any change of a part has, however small: it moves
// the roundings of all layers after it. A mixture has it once.
func (s *sensitivity) floor(id addr.PartID) float64 {
	layer := id.Index
	if id.Part != addr.Pre {
		layer++
	}
	layers := s.floorLayers()
	for i, at := range layers {
		here := s.kl[fmt.Sprint(s.shaken(id.Phase, at))].Value
		if at == layer {
			return here
		}
		if at > layer {
			before := s.kl[fmt.Sprint(s.shaken(id.Phase, layers[i-1]))].Value
			return before + (here-before)*float64(layer-layers[i-1])/float64(at-layers[i-1])
		}
	}
	return 0 // nothing comes after the last part
}

// own returns what a change loses by itself, above the floor.
func (s *sensitivity) own(p measure.Substitute) float64 {
	return max(0, s.figure(p.ID.Phase, p).Value-s.floor(p.ID))
}

// compiled reports whether llima.hcl has a part built.
func (s *sensitivity) compiled(id addr.PartID) bool {
	i := slices.IndexFunc(s.model.Parts, func(p planner.Part) bool { return p.ID == id })
	return i >= 0 && s.model.Parts[i].Decision.Compile
}

// describe fills in what was measured of single parts.
func (s *sensitivity) describe() {
	s.doc.FormatVersion, s.doc.Model = 1, s.model.Config.Name
	s.doc.SizeBytes = s.model.BF16Footprint().SizeBytes
	for _, p := range addr.Phases {
		if s.on[p] == p {
			s.doc.Phases = append(s.doc.Phases, p.String())
		}
	}
	type group struct {
		phase addr.Phase
		other int
	}
	sums := map[group]float64{}
	for _, p := range s.singles {
		sums[group{p.ID.Phase, p.Other}] += s.own(p)
	}
	for _, p := range s.singles {
		kl := s.figure(p.ID.Phase, p)
		c := view.SensitivityChange{
			Part: p.ID.String(), Precision: string(alternatives[p.Other]),
			SavedBytes: s.saved(p), KL: kl.Value, Interval: (*[2]float64)(kl.Interval), Floor: s.floor(p.ID),
		}
		if sum := sums[group{p.ID.Phase, p.Other}]; sum > 0 {
			c.Share = 100 * s.own(p) / sum
		}
		s.doc.Changes = append(s.doc.Changes, c)
	}
}

// alternatives are the precisions of a bench's others.
var alternatives = config.Precisions[1:]

// saved returns by how much the program of a part gets smaller.
func (s *sensitivity) saved(p measure.Substitute) int64 {
	return s.built.weightBytes(config.BF16, p.ID) - s.built.weightBytes(alternatives[p.Other], p.ID)
}
