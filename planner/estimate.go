package planner

import (
	"time"

	"github.com/llima-build/llima/internal/addr"
)

// Wall estimates how long a build takes with that many jobs, from how long
// targets took when they ran last or, where that is not known, the others of
// their stage. known is false where even that is not. What may run is counted
// as if it did.
func (p *Plan) Wall(jobs int) (sum time.Duration, known bool) {
	var total, count [256]int64
	for _, d := range p.Decisions {
		if d.LastMillis > 0 {
			total[d.Target.Addr.Stage] += d.LastMillis
			count[d.Target.Addr.Stage]++
		}
	}
	known = true
	millis, longest := int64(0), int64(0)
	inTurn := map[*Model]int64{} // calibration: layer after layer
	for _, d := range p.Decisions {
		stage, takes := d.Target.Addr.Stage, int64(0)
		switch {
		case d.State != Run && d.State != MayRun:
			continue
		case d.LastMillis > 0:
			takes = d.LastMillis
		case count[stage] > 0:
			takes = total[stage] / count[stage]
		default:
			known = false
		}
		millis += takes
		if stage == addr.Calibrate {
			inTurn[d.Target.Model] += takes
			longest = max(longest, inTurn[d.Target.Model])
		}
	}
	return time.Duration(max(millis/int64(max(jobs, 1)), longest)) * time.Millisecond, known
}

// Of returns the decision on a target of the plan, nil where it is not in it.
func (p *Plan) Of(t *Target) *Decision {
	if p.index == nil {
		p.index = make(map[*Target]int, len(p.Decisions))
		for i := range p.Decisions {
			p.index[p.Decisions[i].Target] = i
		}
	}
	i, ok := p.index[t]
	if !ok {
		return nil
	}
	return &p.Decisions[i]
}
