package emu

import (
	"slices"

	"github.com/llima-build/llima/modalix/isa"
)

// numUnits is the number of queues of all quads: the components of a clock.
const numUnits = isa.MaxQuads * isa.NumQueues

// clock says, for every queue, how many of its instructions are complete
// before a point in time.
type clock [numUnits]uint32

func (c *clock) join(o *clock) {
	for i := range c {
		c[i] = max(c[i], o[i])
	}
}

// seen is an access of an earlier instruction.
type seen struct {
	access
	unit  uint8  // its queue
	tick  uint32 // its ordinal in the queue, from 1
	quad  uint8
	index int32 // of the instruction in the quad
}

// racer replays happens-before: queue order, tokens, barriers.
type racer struct {
	program *Program
	units   [numUnits]clock // of each queue's last instruction
	// tokens[unit][to] holds the clocks of pushes not yet popped.
	tokens [numUnits][isa.NumQueues][]clock
	spaces [numSpaces][]seen
	limits [numSpaces]int // length from which to look for accesses to forget
	left   [numUnits]int  // instructions of each queue that are still to come
	next   []int          // of each quad
	foot   footprint
	tiles  [isa.MaxQuads][isa.NumTiles]int64 // K
}

// checkRaces demands that any two accesses to the same bytes, one of them a
// write, are ordered. The tokens have been checked.
func checkRaces(p *Program) error {
	r := &racer{program: p, next: make([]int, len(p.code))}
	for q := range p.code {
		for i := range p.code[q].insts {
			r.left[q*isa.NumQueues+p.code[q].insts[i].Op.Index()]++
		}
		r.left[q*isa.NumQueues+isa.END.Index()]-- // touches nothing
	}
	bars := make([]clock, len(p.code))
	for {
		var all clock
		done := true
		for q := range p.code {
			at, err := r.untilBar(q, &bars[q])
			if err != nil {
				return err
			}
			done = done && at
			all.join(&bars[q])
		}
		if done {
			return nil
		}
		for q := range p.code {
			r.complete(q, &p.code[q].insts[r.next[q]], &all)
			r.next[q]++
		}
	}
}

// untilBar runs a quad up to its next BAR, whose start it returns, or to END.
func (r *racer) untilBar(q int, start *clock) (end bool, err error) {
	insts := r.program.code[q].insts
	for {
		i := r.next[q]
		in := &insts[i]
		if in.Op == isa.END {
			return true, nil
		}
		now := r.start(q, in)
		if in.Op == isa.BAR {
			*start = now
			return false, nil
		}
		unit := q*isa.NumQueues + in.Op.Index()
		if in.Op == isa.LDW {
			r.tiles[q][in.Tile] = int64(in.KB) * 32
		}
		r.foot.quad = q
		r.foot.of(in, r.tiles[q][in.Tile%isa.NumTiles], r.program.SegmentSize(in.Seg))
		if err := r.compare(q, i, in, &now); err != nil {
			return false, err
		}
		for _, a := range r.foot.list {
			if tracked(&a) {
				r.remember(seen{a, uint8(unit), now[unit], uint8(q), int32(i)})
			}
		}
		r.complete(q, in, &now)
		r.next[q]++
	}
}

// start returns the clock at which an instruction runs, itself included.
func (r *racer) start(q int, in *isa.Inst) clock {
	unit := q*isa.NumQueues + in.Op.Index()
	now := r.units[unit]
	for from := range isa.NumQueues {
		if in.Pop>>from&1 != 0 {
			fifo := &r.tokens[q*isa.NumQueues+from][in.Op.Index()]
			now.join(&(*fifo)[0])
			*fifo = (*fifo)[1:]
		}
	}
	now[unit]++
	return now
}

// complete makes an instruction the last of its queue and sends its tokens.
func (r *racer) complete(q int, in *isa.Inst, now *clock) {
	unit := q*isa.NumQueues + in.Op.Index()
	r.units[unit] = *now
	r.left[unit]--
	for to := range isa.NumQueues {
		if in.Push>>to&1 != 0 {
			r.tokens[unit][to] = append(r.tokens[unit][to], *now)
		}
	}
}

// remember adds an access. Now and then it forgets those that happen before
// all that is still to come, so that a long program takes linear time.
func (r *racer) remember(e seen) {
	const least = 64
	list := append(r.spaces[e.space], e)
	if len(list) > max(least, r.limits[e.space]) {
		list = slices.DeleteFunc(list, r.past)
		r.limits[e.space] = 2 * len(list)
	}
	r.spaces[e.space] = list
}

// past reports whether an access happens before every instruction to come.
func (r *racer) past(e seen) bool {
	for unit, left := range r.left {
		if left > 0 && r.units[unit][e.unit] < e.tick {
			return false
		}
	}
	return true
}

// tracked reports whether an access can race: a segment that no program
// writes cannot.
func tracked(a *access) bool {
	return a.space < spaceDRAM || isa.Segment(a.space-spaceDRAM).Writable()
}

// compare looks for unordered conflicts with earlier accesses and drops
// those that a new access stands for from now on.
func (r *racer) compare(q, index int, in *isa.Inst, now *clock) error {
	for k := range r.foot.list {
		a := &r.foot.list[k]
		if !tracked(a) {
			continue
		}
		old := r.spaces[a.space]
		kept := old[:0]
		for i := range old {
			e := &old[i]
			ordered := now[e.unit] >= e.tick
			if !ordered && (a.write || e.write) && overlaps(a, &e.access) {
				verb := "reads"
				if a.write {
					verb = "writes"
				}
				return located(trap(in, "%s %s [0x%x,0x%x) unordered with q%d+0x%04x %v", verb, placeName(a), a.base, a.end(),
					e.quad, int64(e.index)*isa.WordSize, r.program.code[e.quad].insts[e.index].Op), q, index)
			}
			if ordered && (a.write || !e.write) && covers(a, &e.access) {
				continue
			}
			kept = append(kept, *e)
		}
		r.spaces[a.space] = kept
	}
	return nil
}

// placeName names what an access touches, for errors.
func placeName(a *access) string {
	switch {
	case a.space >= spaceDRAM:
		return a.name
	case a.space >= spaceTile:
		return "tile"
	}
	return "S"
}
