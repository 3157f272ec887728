package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

func (b *build) single(key fingerprint.Digest) (unlock func()) { return b.singles.lock(key) }

// Build makes every target of a graph fresh. Targets that fail leave theirs
// stale and, unless KeepGoing is set, stop the build.
func Build(ctx context.Context, g *planner.Graph, st *store.Store, opt Options) (Summary, error) {
	b := &build{graph: g, store: st, opt: opt, outputs: map[*planner.Target][]planner.Output{}}
	b.singles.held = map[fingerprint.Digest]chan struct{}{}
	if err := st.Create(); err != nil {
		return b.sum, err
	}
	unlock, err := b.lock()
	if err != nil {
		return b.sum, errors.Join(err, unlock())
	}
	err = errors.Join(st.Sweep(), b.dropModified())
	if err == nil {
		err = b.run(ctx)
	}
	return b.sum, errors.Join(err, st.Flush(), unlock())
}

// lock takes the lock of every output, in order of their paths.
func (b *build) lock() (unlock func() error, err error) {
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
		u, err := b.store.Lock(m.Config.Output, b.opt.Holder, func(held *store.HeldError) error {
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

// dropModified removes blobs that were changed through the output folder.
func (b *build) dropModified() error {
	var errs []error
	for _, t := range b.graph.Order {
		if t.Addr.Stage == addr.Package {
			rec, _, _ := b.store.Record(t.Addr)
			errs = append(errs, b.store.DropModified(t.Model.Config.Output, rec.Published))
		}
	}
	return errors.Join(errs...)
}

func (b *build) emit(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.Done, e.Total = b.done, len(b.graph.Order)
	if b.opt.Events != nil {
		b.opt.Events(e)
	}
}

// run hands targets to workers as their dependencies become fresh.
func (b *build) run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	waiting := map[*planner.Target]int{}
	users := map[*planner.Target][]*planner.Target{}
	for _, t := range b.graph.Order {
		deps := map[*planner.Target]bool{}
		for _, d := range t.Deps {
			if !deps[d] {
				deps[d] = true
				users[d] = append(users[d], t)
			}
		}
		waiting[t] = len(deps)
	}
	type result struct {
		t   *planner.Target
		err error
	}
	ready := make(chan *planner.Target, len(b.graph.Order))
	results := make(chan result, len(b.graph.Order))
	var wg sync.WaitGroup
	for range max(b.opt.Jobs, 1) {
		wg.Go(func() {
			for t := range ready {
				err := context.Cause(ctx)
				if err == nil {
					err = b.target(ctx, t)
				}
				results <- result{t, err}
			}
		})
	}
	running := 0
	start := func(t *planner.Target) { running++; ready <- t }
	for _, t := range b.graph.Order {
		if waiting[t] == 0 {
			start(t)
		}
	}
	var fatal error
	finished := 0
	for running > 0 {
		r := <-results
		running--
		if r.err != nil {
			if fatal == nil && !b.opt.KeepGoing {
				fatal = r.err
				cancel(r.err)
			}
			continue
		}
		finished++
		for _, u := range users[r.t] {
			if waiting[u]--; waiting[u] == 0 {
				start(u)
			}
		}
	}
	close(ready)
	wg.Wait()
	b.sum.Skipped = len(b.graph.Order) - finished - len(b.failed)
	b.sum.Failed = len(b.failed)
	switch {
	case parent.Err() != nil:
		return parent.Err()
	case len(b.failed) > 0:
		return &FailedError{b.failed}
	default:
		return fatal
	}
}

// step announces a step of the protocol.
func (b *build) step(name string, t *planner.Target) error {
	if b.opt.Step == nil {
		return nil
	}
	return b.opt.Step(name, t)
}

// target makes one target fresh.
func (b *build) target(ctx context.Context, t *planner.Target) error {
	b.mu.Lock()
	deps := make([][]planner.Output, len(t.Deps))
	for i, d := range t.Deps {
		deps[i] = b.outputs[d]
	}
	b.mu.Unlock()
	d, err := planner.Decide(t, deps, b.store)
	if err != nil {
		return b.fail(t, err, "")
	}
	if d.State == planner.Run && t.Addr.Stage != addr.Package {
		// Another layer may be making the same thing: wait, then look again.
		unlock := b.single(d.Key)
		defer unlock()
		if out, ok := b.store.Outputs(d.Key); ok {
			d.State, d.Outputs = planner.Restore, out
		}
	}
	began := b.opt.Now()
	switch d.State {
	case planner.Fresh:
	case planner.Restore:
		err = b.store.Put(t.Addr, planner.Record{Key: d.Key, Preimage: d.Preimage, Outputs: d.Outputs})
	case planner.Run, planner.MayRun:
		d.Outputs, err = b.act(ctx, t, &d, began)
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.outputs[t] = d.Outputs
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
	return nil
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
	var log bytes.Buffer
	outputs, err := b.protocol(ctx, stage, t, d, began, &log)
	if err != nil {
		if log.Len() > 0 {
			err = errors.Join(err, os.WriteFile(b.store.LogPath(t.Addr), log.Bytes(), 0o644))
		}
		return nil, b.fail(t, err, tail(log.String(), 40))
	}
	return outputs, nil
}

func (b *build) protocol(ctx context.Context, stage Stage, t *planner.Target, d *planner.Decision, began time.Time, log *bytes.Buffer) (outputs []planner.Output, err error) {
	earlier, _, _ := b.store.Record(t.Addr)
	if err := b.step("drop", t); err != nil {
		return nil, err
	}
	// What was published stays known, so that a later build can remove it.
	if err := b.store.Put(t.Addr, planner.Record{Published: earlier.Published}); err != nil {
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
	rec := planner.Record{Key: d.Key, Preimage: d.Preimage}
	if a.publish {
		if rec.Published, err = b.publish(t, a, earlier.Published); err != nil {
			return nil, err
		}
	} else {
		if rec.Outputs, err = a.outputs(); err != nil {
			return nil, err
		}
		if err := b.step("remember", t); err != nil {
			return nil, err
		}
		if err := b.store.Remember(d.Key, rec.Outputs); err != nil {
			return nil, err
		}
	}
	if err := b.step("record", t); err != nil {
		return nil, err
	}
	rec.WallMS = b.opt.Now().Sub(began).Milliseconds()
	return rec.Outputs, b.store.Put(t.Addr, rec)
}

// publish writes the output folder. Until the new record is there the old one
// lists what both may have left behind.
func (b *build) publish(t *planner.Target, a *Action, earlier []planner.Published) ([]planner.Published, error) {
	known := slices.Clone(earlier)
	for _, e := range a.entries {
		if !slices.ContainsFunc(known, func(p planner.Published) bool { return p.Path == e.Path }) {
			known = append(known, planner.Published{Path: e.Path})
		}
	}
	if err := b.store.Put(t.Addr, planner.Record{Published: known}); err != nil {
		return nil, err
	}
	if err := b.step("publish", t); err != nil {
		return nil, err
	}
	return b.store.Publish(t.Model.Config.Output, a.entries, known)
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
	for _, src := range slices.Concat(t.Sources, a.used) {
		now, err := b.store.Again(src)
		if err != nil {
			return fmt.Errorf("%s changed during the build: %w\n  run the same command again", src.Path, err)
		}
		if old, ok := want[src.Name]; ok && old != now {
			return fmt.Errorf("%s changed during the build (%s), so nothing of %s is kept\n  run the same command again",
				filepath.Base(src.Path), src.Name, t.Addr)
		}
	}
	return nil
}

// tail returns the last lines of a log.
func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
