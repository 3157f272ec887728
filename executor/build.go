package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	Waiting  EventKind = iota // for another build's lock; Message says whose
	Started                   // a target runs
	Finished                  // a target is fresh; State says how it became so
	Failed                    // a target failed; Err and Message (its log's tail)
)

// Event is a step of a build, for whoever shows it.
type Event struct {
	Kind    EventKind
	Target  *planner.Target
	State   planner.State // of Finished: Fresh, Restore or Run
	Reasons []fingerprint.Reason
	Wall    time.Duration
	Err     error
	Message string
	Done    int // targets finished
	Total   int
}

// Options says how to build.
type Options struct {
	Jobs      int
	KeepGoing bool
	NoWait    bool // fail where another build has the lock
	Stages    map[addr.Stage]Stage
	Now       func() time.Time
	Holder    string      // what the lock says of this process
	Events    func(Event) // called from one goroutine at a time
	// Step is called before each step of the protocol; an error stops the
	// build there. Tests use it to kill a build at every point.
	Step func(step string, t *planner.Target) error
}

// Summary counts what a build did.
type Summary struct {
	Ran, Restored, Fresh, Failed, Skipped int
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

	mu      sync.Mutex // guards what follows
	outputs map[*planner.Target][]planner.Output
	failed  []string
	sum     Summary
	done    int
}

// Build makes every target of a graph fresh. Targets that fail leave theirs
// stale and, unless KeepGoing is set, stop the build.
func Build(ctx context.Context, g *planner.Graph, st *store.Store, opt Options) (Summary, error) {
	b := &build{graph: g, store: st, opt: opt, outputs: map[*planner.Target][]planner.Output{}}
	b.singles.held = map[fingerprint.Digest]chan struct{}{}
	if err := st.Create(); err != nil {
		return b.sum, err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return b.sum, errors.Join(err, unlock())
	}
	if err = st.Begin(); err == nil {
		err = b.run(ctx)
	}
	return b.sum, errors.Join(err, st.End(), st.Flush(), unlock())
}

// lock takes the lock of every output, in order of their paths.
func (b *build) lock(ctx context.Context) (unlock func() error, err error) {
	models := slices.Clone(b.graph.Models)
	slices.SortFunc(models, func(x, y *planner.Model) int { return strings.Compare(x.Config.Output, y.Config.Output) })
	var unlocks []func() error
	unlock = func() error {
		var errs []error
		for _, u := range unlocks {
			errs = append(errs, u())
		}
		return errors.Join(errs...)
	}
	for _, m := range models {
		u, err := b.store.Lock(ctx, m.Config.Name, m.Config.Output, b.opt.Holder, func(held *store.HeldError) error {
			if b.opt.NoWait {
				return held
			}
			b.emit(Event{Kind: Waiting, Message: held.Error(), Err: held})
			return nil
		})
		if err != nil {
			return unlock, err
		}
		unlocks = append(unlocks, u)
		if err := b.store.Forget(m.Config.Name); err != nil {
			return unlock, err
		}
	}
	return unlock, nil
}

func (b *build) emit(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.Done, e.Total = b.done, len(b.graph.Order)
	if b.opt.Events != nil {
		b.opt.Events(e)
	}
}

// outcome is what a worker says of a target.
type outcome struct {
	t     *planner.Target
	busy  <-chan struct{} // another target makes the same thing: try again when it is closed
	err   error
	panic any
}

// run hands targets to workers as their dependencies become fresh. After a
// failure, what runs is let finish, and nothing more is started unless
// KeepGoing is set.
func (b *build) run(ctx context.Context) error {
	waiting := make(map[*planner.Target]int, len(b.graph.Order))
	users := make(map[*planner.Target][]*planner.Target, len(b.graph.Order))
	for _, t := range b.graph.Order {
		waiting[t] = len(t.Deps)
		for _, d := range t.Deps {
			users[d] = append(users[d], t)
		}
	}
	ready := make(chan *planner.Target, len(b.graph.Order))
	outcomes := make(chan outcome, len(b.graph.Order))
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range max(b.opt.Jobs, 1) {
		wg.Go(func() {
			for t := range ready {
				if stop.Load() || ctx.Err() != nil {
					outcomes <- outcome{t: t, err: errStopped}
					continue
				}
				outcomes <- b.attempt(ctx, t)
			}
		})
	}
	pending := 0
	start := func(t *planner.Target) { pending++; ready <- t }
	for _, t := range b.graph.Order {
		if waiting[t] == 0 {
			start(t)
		}
	}
	var fatal error
	var thrown any
	finished := 0
	for pending > 0 {
		o := <-outcomes
		if o.busy != nil {
			go func() { <-o.busy; ready <- o.t }()
			continue
		}
		pending--
		switch {
		case o.panic != nil:
			thrown = o.panic
			stop.Store(true)
		case o.err != nil:
			if !errors.Is(o.err, errStopped) && fatal == nil {
				fatal = o.err
			}
			stop.Store(stop.Load() || !b.opt.KeepGoing)
		default:
			finished++
			for _, u := range users[o.t] {
				if waiting[u]--; waiting[u] == 0 {
					start(u)
				}
			}
		}
	}
	close(ready)
	wg.Wait()
	if thrown != nil {
		panic(thrown)
	}
	b.sum.Failed = len(b.failed)
	b.sum.Skipped = len(b.graph.Order) - finished - b.sum.Failed
	slices.Sort(b.failed)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case len(b.failed) > 0:
		return &FailedError{b.failed}
	default:
		return fatal
	}
}

// errStopped says that a target was not started.
var errStopped = errors.New("not started")

// attempt makes one target fresh. A panic is carried to Build's caller, where
// it can be recovered.
func (b *build) attempt(ctx context.Context, t *planner.Target) (o outcome) {
	o.t = t
	defer func() {
		if r := recover(); r != nil {
			o.panic = fmt.Sprintf("%v\n%s", r, debug.Stack())
		}
	}()
	o.busy, o.err = b.target(ctx, t)
	return o
}

// step announces a step of the protocol.
func (b *build) step(name string, t *planner.Target) error {
	if b.opt.Step == nil {
		return nil
	}
	return b.opt.Step(name, t)
}

// target makes one target fresh, unless another is making the same thing.
func (b *build) target(ctx context.Context, t *planner.Target) (busy <-chan struct{}, err error) {
	b.mu.Lock()
	deps := make([][]planner.Output, len(t.Deps))
	for i, d := range t.Deps {
		deps[i] = b.outputs[d]
	}
	b.mu.Unlock()
	d, err := planner.Decide(t, deps, b.store)
	if err != nil {
		return nil, b.fail(t, err, "")
	}
	if d.State == planner.Run && t.Addr.Stage != addr.Package {
		busy, done := b.singles.try(d.Key)
		if busy != nil {
			return busy, nil
		}
		defer done()
	}
	began := b.opt.Now()
	switch d.State {
	case planner.Fresh:
	case planner.Restore:
		err = b.store.Put(t.Addr, planner.Record{Key: d.Key})
	case planner.Run, planner.MayRun:
		d.Outputs, err = b.act(ctx, t, &d, began)
	}
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	if b.outputs[t] = d.Outputs; d.Outputs == nil {
		b.outputs[t] = []planner.Output{} // known to be none
	}
	b.done++
	switch d.State {
	case planner.Fresh:
		b.sum.Fresh++
	case planner.Restore:
		b.sum.Restored++
	case planner.Run, planner.MayRun:
		b.sum.Ran++
	}
	b.mu.Unlock()
	b.emit(Event{Kind: Finished, Target: t, State: d.State, Wall: b.opt.Now().Sub(began)})
	return nil, nil
}

func (b *build) fail(t *planner.Target, err error, log string) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	b.mu.Lock()
	b.failed = append(b.failed, t.Addr.String())
	b.mu.Unlock()
	b.emit(Event{Kind: Failed, Target: t, Err: err, Message: log})
	return fmt.Errorf("%s: %w", t.Addr, err)
}

// act runs a stage under the protocol: the old record goes first, the new one
// comes last, and between them everything is written, synced and renamed.
func (b *build) act(ctx context.Context, t *planner.Target, d *planner.Decision, began time.Time) ([]planner.Output, error) {
	stage, ok := b.opt.Stages[t.Addr.Stage]
	if !ok {
		return nil, b.fail(t, fmt.Errorf("llima: internal error: no code for stage %s", t.Addr.Stage), "")
	}
	b.emit(Event{Kind: Started, Target: t, Reasons: d.Reasons})
	var log logBuffer
	outputs, err := b.protocol(ctx, stage, t, d, began, &log)
	if err != nil {
		text := log.String()
		if text != "" {
			err = errors.Join(err, os.WriteFile(b.store.LogPath(t.Addr), []byte(text), 0o644))
		}
		return nil, b.fail(t, err, tail(text, tailLines))
	}
	return outputs, nil
}

func (b *build) protocol(ctx context.Context, stage Stage, t *planner.Target, d *planner.Decision, began time.Time, log io.Writer) (outputs []planner.Output, err error) {
	earlier, _, _ := b.store.Record(t.Addr)
	if err := b.step("drop", t); err != nil {
		return nil, err
	}
	// What was published stays known, so that a later build can remove it.
	if err := b.store.Put(t.Addr, planner.Record{Folder: earlier.Folder, Published: earlier.Published}); err != nil {
		return nil, err
	}
	if err := b.step("run", t); err != nil {
		return nil, err
	}
	dir, err := b.store.Temp()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	a := &Action{Target: t, Dir: dir, Log: log, exec: b, inputs: b.inputs(t)}
	err = stage.Run(ctx, a)
	if err = errors.Join(err, a.close()); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := b.step("check", t); err != nil {
		return nil, err
	}
	if err := b.unchanged(t, a, d); err != nil {
		return nil, err
	}
	if err := b.step("store", t); err != nil {
		return nil, err
	}
	rec := planner.Record{Key: d.Key}
	if a.publish {
		rec.Folder = t.Model.Config.Output
		if rec.Published, err = b.publish(t, a, &earlier); err != nil {
			return nil, err
		}
		// Publishing has read the sources once more.
		if err := b.unchanged(t, a, d); err != nil {
			return nil, err
		}
	} else if outputs, err = a.outputs(); err != nil {
		return nil, err
	}
	if err := b.step("remember", t); err != nil {
		return nil, err
	}
	if err := b.store.Remember(&d.Preimage, outputs); err != nil {
		return nil, err
	}
	if err := b.step("record", t); err != nil {
		return nil, err
	}
	rec.WallMillis = b.opt.Now().Sub(began).Milliseconds()
	return outputs, b.store.Put(t.Addr, rec)
}

// publish writes the output folder. Until the new record is there the old one
// lists what both may have left behind; files of another folder are not ours
// to remove.
func (b *build) publish(t *planner.Target, a *Action, earlier *planner.Record) ([]planner.Published, error) {
	folder := t.Model.Config.Output
	var known []planner.Published
	if earlier.Folder == folder {
		known = slices.Clone(earlier.Published)
	}
	listed := make(map[string]bool, len(known)+len(a.entries))
	for _, p := range known {
		listed[p.Path] = true
	}
	for _, e := range a.entries {
		if !listed[e.Path] {
			listed[e.Path] = true
			known = append(known, planner.Published{Path: e.Path})
		}
	}
	if err := b.store.Put(t.Addr, planner.Record{Folder: folder, Published: known}); err != nil {
		return nil, err
	}
	if err := b.step("publish", t); err != nil {
		return nil, err
	}
	return b.store.Publish(folder, a.entries, known)
}

// inputs lists what a target's dependencies made.
func (b *build) inputs(t *planner.Target) []Input {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Input
	seen := map[string]bool{}
	for _, d := range t.Deps {
		for _, o := range b.outputs[d] {
			if name := planner.InputName(d, o); !seen[name] {
				seen[name] = true
				out = append(out, Input{From: d, Output: o})
			}
		}
	}
	return out
}

// unchanged looks at the sources again: a result made of what has changed
// since its key was computed must not be recorded.
func (b *build) unchanged(t *planner.Target, a *Action, d *planner.Decision) error {
	want := map[string]fingerprint.Digest{}
	for _, in := range d.Preimage.Inputs {
		want[in.Name] = in.Digest
	}
	for _, in := range a.inputs {
		if in.Tensor != "" {
			want[planner.TensorName(in.Tensor)] = in.Digest
		}
	}
	for _, o := range a.declared {
		if o.Tensor != "" {
			want[planner.TensorName(o.Tensor)] = o.Digest
		}
	}
	for _, src := range slices.Concat(t.Sources, a.used) {
		now, err := b.store.Again(src)
		if old, ok := want[src.Name]; err != nil || ok && old != now {
			return changedError(t, src, err)
		}
	}
	return nil
}

// logBuffer holds what a stage writes, from whichever of its goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements [io.Writer].
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// tailLines is how much of a failed target's log is shown.
const tailLines = 40

// tail returns the last lines of a log.
func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
