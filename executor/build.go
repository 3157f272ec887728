package executor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// EventKind says what happened.
type EventKind uint8

// The events of a build.
const (
	Waiting  EventKind = iota // for another process's lock; Message says whose
	Begun                     // locks are held, disks have room; Rooms and Expected say what lies ahead
	Started                   // a target runs
	Advanced                  // a target that runs has done Step of Steps
	Finished                  // a target is fresh; State says how it became so
	Failed                    // a target failed; Err, Message (its log's tail) and LogPath
)

// Event is a step of a build, for whoever shows it.
type Event struct {
	Kind    EventKind
	Target  *planner.Target
	State   planner.State // of Finished: Fresh, Restore or Run
	Check   bool          // of Started: it runs once more, to compare
	Reasons []fingerprint.Reason
	Wall    time.Duration
	Err     error
	Message string
	LogPath string
	Rooms   []Room
	// Expected is how long targets that may run took last time, 0 for those
	// that never ran.
	Expected map[*planner.Target]time.Duration
	// Step of Steps are done of a target, in units of its own.
	Step, Steps int
	Done        int // targets finished
	Total       int
}

// Options says how to build.
type Options struct {
	Jobs      int
	KeepGoing bool
	NoWait    bool // fail where another process has a lock
	Check     bool // run everything once more and compare, before publishing
	// MaxMemoryBytes bounds the sum of the estimated memory of targets that
	// run at once; a single target may exceed it. 0 is no bound.
	MaxMemoryBytes int64
	// MaxStoreBytes bounds the store when the build has ended: what was not
	// used for longest goes, except what this build needs. 0 is no bound.
	MaxStoreBytes int64
	// Costs bounds what each target that may run takes; others take nothing.
	Costs        map[*planner.Target]Cost
	NoSpaceCheck bool // begin even where a disk may be too small
	Stages       map[addr.Stage]Stage
	Now          func() time.Time
	Holder       string      // what the lock says of this process
	Events       func(Event) // called from one goroutine at a time
	// Step is called before each step of the protocol; an error stops the
	// build there. Tests use it to kill a build at every point.
	Step func(step string, t *planner.Target) error
}

// Summary counts what a build did.
type Summary struct {
	Ran, Restored, Fresh, Checked, Failed, Skipped int
	EvictedBytes                                   int64 // from the store, to keep its bound
}

// FailedError says that targets failed; the events told why.
type FailedError struct{ Targets []string }

// Error implements error.
func (e *FailedError) Error() string {
	list := e.Targets
	more := ""
	if len(list) > 5 {
		more = fmt.Sprintf(" and %d more", len(list)-5)
		list = list[:5]
	}
	return "failed: " + strings.Join(list, ", ") + more
}

type build struct {
	graph   *planner.Graph
	store   *store.Store
	opt     Options
	singles singles
	memory  *gate

	mu      sync.Mutex // guards what follows
	outputs map[*planner.Target][]planner.Output
	checked map[fingerprint.Digest]bool
	failed  []string
	full    error // the first error that says that a disk is full
	sum     Summary
	done    int
}

// Build makes every target of a graph fresh. Targets that fail leave theirs
// stale and, unless KeepGoing is set, stop the build.
func Build(ctx context.Context, g *planner.Graph, st *store.Store, opt Options) (Summary, error) {
	b := &build{
		graph: g, store: st, opt: opt, memory: newGate(opt.MaxMemoryBytes),
		outputs: map[*planner.Target][]planner.Output{}, checked: map[fingerprint.Digest]bool{},
	}
	b.singles.held = map[fingerprint.Digest]chan struct{}{}
	if err := st.Create(); err != nil {
		return b.sum, err
	}
	locks := st.Locks(opt.Holder, b.waiting)
	err := b.lock(ctx, locks)
	if err == nil {
		err = b.begin()
	}
	if err == nil {
		err = b.run(ctx)
	}
	st.Touch()
	err = errors.Join(err, st.End(), st.Flush())
	if opt.MaxStoreBytes > 0 {
		err = errors.Join(err, b.evict(locks))
	}
	err = errors.Join(err, locks.Release())
	if _, told := errors.AsType[*NoSpaceError](err); store.NoSpace(err) && !told { // not in a target
		b.full = err
		err = b.fullError()
	}
	return b.sum, err
}

// waiting is told who has a lock.
func (b *build) waiting(held *store.HeldError) error {
	if b.opt.NoWait {
		return held
	}
	b.emit(Event{Kind: Waiting, Message: held.Error(), Err: held})
	return nil
}

// lock takes the locks of a build, in an order that all builds share: that of
// the store, those of the models, those of the folders to publish into.
func (b *build) lock(ctx context.Context, locks *store.Locks) error {
	if err := locks.Share(ctx); err != nil {
		return err
	}
	models := slices.Clone(b.graph.Models)
	slices.SortFunc(models, func(x, y *planner.Model) int { return cmp.Compare(x.Config.Name, y.Config.Name) })
	for _, m := range models {
		if err := locks.Model(ctx, m.Config.Name, m.Config.Output); err != nil {
			return err
		}
		if err := b.store.Forget(m.Config.Name); err != nil {
			return err
		}
	}
	slices.SortFunc(models, func(x, y *planner.Model) int { return cmp.Compare(x.Config.Output, y.Config.Output) })
	for _, m := range models {
		publishes := slices.ContainsFunc(m.Targets, func(t *planner.Target) bool { return t.Addr.Stage == addr.Package })
		if !publishes {
			continue
		}
		if err := locks.Folder(ctx, m.Config.Output); err != nil {
			return err
		}
	}
	return nil
}

// begin makes the temporary folder, which removes those of dead builds, and
// then looks whether there is room.
func (b *build) begin() error {
	if err := b.store.Begin(); err != nil {
		return err
	}
	rooms, err := b.rooms(nil)
	if err != nil {
		return err
	}
	if !b.opt.NoSpaceCheck {
		if small := slices.DeleteFunc(slices.Clone(rooms), Room.Fits); len(small) > 0 {
			return &NoSpaceError{Rooms: small}
		}
	}
	b.emit(Event{Kind: Begun, Rooms: rooms, Expected: b.expected()})
	return nil
}

// expected looks up how long the targets that may run took last time.
func (b *build) expected() map[*planner.Target]time.Duration {
	out := map[*planner.Target]time.Duration{}
	for t := range b.opt.Costs {
		rec, _, _ := b.store.Record(t.Addr)
		out[t] = time.Duration(rec.WallMillis) * time.Millisecond
	}
	return out
}

// evict keeps the store within its bound. What this build's targets need
// stays. While another build runs nothing goes: that one will do it.
func (b *build) evict(locks *store.Locks) error {
	ok, err := locks.Upgrade()
	if !ok || err != nil {
		return err
	}
	b.sum.EvictedBytes, err = b.store.Evict(b.opt.MaxStoreBytes)
	return err
}

func (b *build) emit(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.Done, e.Total = b.done, len(b.graph.Order)
	if b.opt.Events != nil {
		b.opt.Events(e)
	}
}
