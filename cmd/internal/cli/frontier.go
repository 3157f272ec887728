package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/vendor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/internal/plot"
	"github.com/llima-build/llima/modalix/measure"
)

// frontier is the best mixtures of a model, from all BF16 to the smallest.
type frontier struct {
	*sensitivity
	items [][]addr.PartID // what changes together: one part, or both phases of it where they share weights
	steps []measure.Step
}

// newFrontier lists what can change.
func (s *sensitivity) newFrontier() *frontier {
	f := &frontier{sensitivity: s}
	for _, id := range s.benches[0].Reference.Parts(addr.Prefill) {
		f.items = append(f.items, f.together(id)...)
	}
	return f
}

// checkLimit refuses a size that no mixture keeps, before anything is measured.
func (f *frontier) checkLimit() error {
	least := f.model.BF16Footprint().SizeBytes
	for _, ids := range f.items {
		all := f.bytes(config.BF16, ids)
		least -= max(all-f.bytes(config.INT8, ids), all-f.bytes(config.INT4, ids))
	}
	if f.limit == 0 || f.limit >= least {
		return nil
	}
	return budgetError{diagError{diag.Errorf("No mixture is that small", "The smallest takes %s, more than --max-size %s.", view.Bytes(least), f.flags.maxSize), nil}}
}

// find finds the best mixtures. An item's choices are BF16, then the
// alternatives.
func (f *frontier) find() {
	s := f.sensitivity
	var choices [][]measure.Choice
	for _, ids := range f.items {
		list := []measure.Choice{{Bytes: f.bytes(config.BF16, ids)}}
		for other, p := range alternatives {
			c := measure.Choice{Bytes: f.bytes(p, ids)}
			for _, id := range ids {
				c.KL += s.own(measure.Substitute{ID: id, Other: other}) / float64(len(addr.Phases))
			}
			list = append(list, c)
		}
		choices = append(choices, list)
	}
	f.steps = measure.Frontier(choices)
	weights := f.steps[0].Bytes
	at := f.assignment(0)
	floor := map[addr.Phase]float64{}
	for i, step := range f.steps {
		p := view.SensitivityPoint{SizeBytes: s.doc.SizeBytes - (weights - step.Bytes), KL: step.KL, Changed: []view.SensitivityAssign{}, Counts: map[string]int{}}
		if i > 0 {
			for _, id := range f.items[step.Item] {
				at[id] = config.Precisions[step.Choice]
				floor[id.Phase] = max(floor[id.Phase], s.floor(id))
				p.Changed = append(p.Changed, view.SensitivityAssign{Part: id.String(), Precision: string(at[id])})
			}
		}
		for _, phase := range addr.Phases {
			p.KL += floor[phase] / float64(len(addr.Phases))
		}
		for _, precision := range at {
			p.Counts[string(precision)]++
		}
		s.doc.Frontier = append(s.doc.Frontier, p)
	}
}

// together returns the items of a part: each phase of it, or both in one where
// they share their weights, so that only then bytes are saved.
func (f *frontier) together(id addr.PartID) [][]addr.PartID {
	var ids []addr.PartID
	for _, phase := range addr.Phases {
		if id.Phase = phase; f.compiled(id) {
			ids = append(ids, id)
		}
	}
	switch {
	case len(ids) == 0:
		return nil
	case f.model.Config.EnableFilterSharing:
		return [][]addr.PartID{ids}
	}
	return slices.Collect(slices.Chunk(ids, 1))
}

// bytes returns what the weights of an item take in a precision.
func (f *frontier) bytes(p config.Precision, ids []addr.PartID) int64 {
	if f.model.Config.EnableFilterSharing {
		ids = ids[:1]
	}
	n := int64(0)
	for _, id := range ids {
		n += f.built.weightBytes(p, id)
	}
	return n
}

// assignment returns the precision of each part at a point.
func (f *frontier) assignment(point int) map[addr.PartID]config.Precision {
	out := map[addr.PartID]config.Precision{}
	for item, choice := range measure.Selection(len(f.items), f.steps[:point+1]) {
		for _, id := range f.items[item] {
			out[id] = config.Precisions[choice]
		}
	}
	return out
}

// changed returns what an assignment changes of a phase.
func (f *frontier) changed(precisions map[addr.PartID]config.Precision, phase addr.Phase) []measure.Substitute {
	var out []measure.Substitute
	for _, id := range f.benches[0].Reference.Parts(phase) {
		if p, ok := precisions[id]; ok && p != config.BF16 {
			out = append(out, measure.Substitute{ID: id, Other: slices.Index(alternatives, p)})
		}
	}
	return out
}

// measured measures whole assignments.
func (f *frontier) measured(ctx context.Context, assignments ...map[addr.PartID]config.Precision) ([]view.SensitivityMeasured, error) {
	var all []measure.Mixture
	for _, a := range assignments {
		for _, phase := range addr.Phases {
			all = append(all, f.mixture(phase, f.changed(a, phase)...))
		}
	}
	if err := f.run(ctx, all); err != nil {
		return nil, err
	}
	var out []view.SensitivityMeasured
	for _, a := range assignments {
		m := view.SensitivityMeasured{Phases: map[string]float64{}, Interval: &[2]float64{}}
		n := float64(len(addr.Phases))
		for _, phase := range addr.Phases {
			parts := f.changed(a, phase)
			kl := f.figure(phase, parts...)
			m.Phases[phase.String()] = kl.Value
			m.KL += kl.Value / n
			switch {
			case len(parts) == 0 || m.Interval == nil: // it is the reference, or one is missing
			case kl.Interval == nil:
				m.Interval = nil
			default: // the phases read the same tokens, so their errors add up
				m.Interval[0] += kl.Interval[0] / n
				m.Interval[1] += kl.Interval[1] / n
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// measurePoints measures some points of the frontier, and the model in each
// precision.
func (f *frontier) measurePoints(ctx context.Context) error {
	last := len(f.steps) - 1
	var points []int
	var assignments []map[addr.PartID]config.Precision
	for i := 1; i <= measuredPoints; i++ {
		if p := i * last / measuredPoints; p > 0 && !slices.Contains(points, p) {
			points, assignments = append(points, p), append(assignments, f.assignment(p))
		}
	}
	for _, p := range alternatives {
		all := f.assignment(0)
		for id := range all {
			all[id] = p
		}
		assignments = append(assignments, all)
	}
	list, err := f.measured(ctx, assignments...)
	if err != nil {
		return err
	}
	for i, p := range points {
		f.doc.Frontier[p].Measured = &list[i]
	}
	for i, p := range config.Precisions {
		stored := f.model.StoredIn(p, false)
		d := view.SensitivityPrecision{
			Precision: string(p), GroupSize: stored.GroupSize, Method: string(stored.Method), Head: string(f.model.StoredIn(p, true).Precision),
			Key: f.built.key(p), SizeBytes: f.doc.SizeBytes,
		}
		if i > 0 {
			d.SizeBytes = f.sizeOf(p)
			d.KL = &list[len(points)+i-1].KL
		}
		f.doc.Precisions = append(f.doc.Precisions, d)
	}
	return nil
}

// sizeOf returns the size of the model with all parts in one precision.
func (f *frontier) sizeOf(p config.Precision) int64 {
	n := f.doc.SizeBytes
	for _, ids := range f.items {
		n -= f.bytes(config.BF16, ids) - f.bytes(p, ids)
	}
	return n
}

// choose finds the point that was asked for, measures it, and writes its layer
// blocks.
func (f *frontier) choose(ctx context.Context) error {
	if f.limit == 0 && f.flags.maxKL == 0 {
		return nil
	}
	point, err := f.within(ctx)
	if err != nil {
		return err
	}
	precisions := f.assignment(point)
	for _, p := range f.model.Parts { // what is in no item
		if p.ID.Part != addr.Cache && p.Decision.Compile {
			if _, ok := precisions[p.ID]; !ok {
				precisions[p.ID] = p.Decision.Precision
			}
		}
	}
	layers, diags := vendor.LayerBlocks(precisions)
	if diags.HasErrors() {
		return diagError{diags, nil}
	}
	f.doc.Chosen = &view.SensitivityChosen{Point: point, Layers: layers}
	return nil
}

// within returns the best point within the limit, measured.
func (f *frontier) within(ctx context.Context) (int, error) {
	points := f.doc.Frontier
	if f.limit > 0 {
		point := slices.IndexFunc(points, func(p view.SensitivityPoint) bool { return p.SizeBytes <= f.limit })
		return point, f.measurePoint(ctx, point)
	}
	// Of two points the one with more changes loses more, so halving finds the
	// last that keeps to the limit by what is measured, not by the sum.
	low, high := 0, len(points)
	for high-low > 1 {
		mid := (low + high) / 2
		if err := f.measurePoint(ctx, mid); err != nil {
			return 0, err
		}
		if points[mid].Measured.KL <= f.flags.maxKL {
			low = mid
		} else {
			high = mid
		}
	}
	return low, f.measurePoint(ctx, low)
}

// measurePoint measures a point of the frontier, if it was not before.
func (f *frontier) measurePoint(ctx context.Context, point int) error {
	p := &f.doc.Frontier[point]
	if p.Measured != nil {
		return nil
	}
	list, err := f.measured(ctx, f.assignment(point))
	if err == nil {
		p.Measured = &list[0]
	}
	return err
}

// key returns the key of a build: it changes with its weights, configuration
// and methods.
func (u *uniforms) key(p config.Precision) string {
	name := u.graph.Models[slices.Index(config.Precisions, p)].Config.Name
	for _, d := range u.plan.Decisions {
		if d.Target.Addr.Model == name && d.Target.Addr.Stage == addr.Package {
			return string(d.Key)
		}
	}
	return ""
}

// plot draws the frontier.
func (s *sensitivity) plot(dir string) error {
	const mib = 1 << 20
	sum := plot.PointSet{Name: "predicted", Line: true}
	whole := plot.PointSet{Name: "measured together"}
	uniform := plot.PointSet{Name: "one precision for all"}
	for _, p := range s.doc.Frontier {
		x := float64(p.SizeBytes) / mib
		var list []string
		for _, name := range slices.Sorted(maps.Keys(p.Counts)) {
			list = append(list, fmt.Sprintf("%d parts %s", p.Counts[name], name))
		}
		counts := strings.Join(list, ", ")
		sum.Points = append(sum.Points, plot.Point{X: x, Y: p.KL, Hint: fmt.Sprintf("%.2f MiB, predicted %.3g: %s", x, p.KL, counts)})
		if p.Measured != nil {
			whole.Points = append(whole.Points, plot.Point{X: x, Y: p.Measured.KL, Hint: fmt.Sprintf("%.2f MiB, measured %.3g: %s", x, p.Measured.KL, counts)})
		}
	}
	for _, p := range s.doc.Precisions {
		y := 0.0
		if p.KL != nil {
			y = *p.KL
		}
		uniform.Points = append(uniform.Points, plot.Point{X: float64(p.SizeBytes) / mib, Y: y, Label: strings.TrimPrefix(p.Precision, "A_BF16_W_")})
	}
	first, last := s.doc.Frontier[0], s.doc.Frontier[len(s.doc.Frontier)-1]
	svg := plot.Scatter{
		Labels: plot.Labels{
			Title: s.doc.Model + ": size against loss",
			Description: fmt.Sprintf("The best mixtures of precisions, from %.2f MiB in BF16 to %.2f MiB with a KL divergence of %.3g nats.",
				float64(first.SizeBytes)/mib, float64(last.SizeBytes)/mib, last.KL),
			X: "size of programs, embeddings and tables, MiB", Y: "KL divergence to BF16, nats a token",
		},
		Sets: []plot.PointSet{sum, whole, uniform},
	}.SVG()
	return writePlot(dir, "frontier.svg", svg)
}
