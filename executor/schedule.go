package executor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/llima-build/llima/planner"
)

// outcome is what a worker says of a target.
type outcome struct {
	t     *planner.Target
	busy  <-chan struct{} // another target makes the same thing: try again when it is closed
	err   error
	panic any
}

// errStopped says that a target was not started.
var errStopped = errors.New("not started")

// schedule hands targets to workers as their dependencies become fresh.
type schedule struct {
	b        *build
	waiting  map[*planner.Target]int // dependencies that are not fresh yet
	users    map[*planner.Target][]*planner.Target
	ready    chan *planner.Target
	outcomes chan outcome
	stop     atomic.Bool // nothing more is started
	pending  int         // targets that are ready, running, or waiting for another
	finished int
}

func newSchedule(b *build) *schedule {
	order := b.graph.Order
	s := &schedule{
		b: b, waiting: make(map[*planner.Target]int, len(order)), users: make(map[*planner.Target][]*planner.Target, len(order)),
		ready: make(chan *planner.Target, len(order)), outcomes: make(chan outcome, len(order)),
	}
	for _, t := range order {
		s.waiting[t] = len(t.Deps)
		for _, d := range t.Deps {
			s.users[d] = append(s.users[d], t)
		}
	}
	for _, t := range order {
		if s.waiting[t] == 0 {
			s.start(t)
		}
	}
	return s
}

func (s *schedule) start(t *planner.Target) { s.pending++; s.ready <- t }

// run builds all targets. After a failure, what runs is let finish, and
// nothing more is started unless KeepGoing is set.
func (b *build) run(ctx context.Context) error {
	s := newSchedule(b)
	var wg sync.WaitGroup
	for range max(b.opt.Jobs, 1) {
		wg.Go(func() {
			for t := range s.ready {
				s.outcomes <- s.attempt(ctx, t)
			}
		})
	}
	fatal, thrown := s.collect()
	close(s.ready)
	wg.Wait()
	if thrown != nil {
		panic(thrown)
	}
	b.sum.Failed = len(b.failed)
	b.sum.Skipped = len(b.graph.Order) - s.finished - b.sum.Failed
	slices.Sort(b.failed)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case b.full != nil:
		return b.fullError()
	case len(b.failed) > 0:
		return &FailedError{b.failed}
	default:
		return fatal
	}
}

// collect takes outcomes until no target is left that can be built. thrown is
// what a target panicked with.
func (s *schedule) collect() (fatal error, thrown any) { //nolint:staticcheck // thrown is no error
	for s.pending > 0 {
		o := <-s.outcomes
		if o.busy != nil {
			go func() { <-o.busy; s.ready <- o.t }()
			continue
		}
		s.pending--
		switch {
		case o.panic != nil:
			thrown = o.panic
			s.stop.Store(true)
		case o.err != nil:
			if !errors.Is(o.err, errStopped) && fatal == nil {
				fatal = o.err
			}
		default:
			s.finished++
			for _, u := range s.users[o.t] {
				if s.waiting[u]--; s.waiting[u] == 0 {
					s.start(u)
				}
			}
		}
	}
	return fatal, thrown
}

// attempt makes one target fresh. A panic is carried to Build's caller, where
// it can be recovered.
func (s *schedule) attempt(ctx context.Context, t *planner.Target) (o outcome) {
	o.t = t
	if s.stop.Load() || ctx.Err() != nil {
		o.err = errStopped
		return o
	}
	defer func() {
		if r := recover(); r != nil {
			o.panic = fmt.Sprintf("%v\n%s", r, debug.Stack())
		}
	}()
	o.busy, o.err = s.b.target(ctx, t, s.stop.Load)
	if o.err != nil && (!s.b.opt.KeepGoing || s.b.isFull()) {
		s.stop.Store(true) // here, before this worker takes another target
	}
	return o
}

// gate lets targets run while the sum of their sizes stays within a bound.
type gate struct {
	bound int64 // 0 is none
	mu    sync.Mutex
	freed sync.Cond
	inUse int64
	count int
}

func newGate(bound int64) *gate {
	g := &gate{bound: bound}
	g.freed.L = &g.mu
	return g
}

// enter waits until there is room for n, or until nothing else is inside, so
// that what exceeds the bound runs alone.
func (g *gate) enter(n int64) (leave func()) {
	if g.bound <= 0 {
		return func() {}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.count > 0 && g.inUse+n > g.bound {
		g.freed.Wait()
	}
	g.count++
	g.inUse += n
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.count--
		g.inUse -= n
		g.freed.Broadcast()
	}
}
