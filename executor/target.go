package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// step announces a step of the protocol.
func (b *build) step(name string, t *planner.Target) error {
	if b.opt.Step == nil {
		return nil
	}
	return b.opt.Step(name, t)
}

// target makes one target fresh, unless another is making the same thing.
// stopped is asked again after waiting.
func (b *build) target(ctx context.Context, t *planner.Target, stopped func() bool) (busy <-chan struct{}, err error) {
	b.mu.Lock()
	deps := make([][]planner.Output, len(t.Deps))
	for i, d := range t.Deps {
		deps[i] = b.outputs[d]
	}
	b.mu.Unlock()
	d, err := planner.Decide(t, deps, b.store)
	if err != nil {
		return nil, b.fail(t, err, nil)
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
		earlier, _, _ := b.store.Record(t.Addr)
		err = b.store.Put(t.Addr, planner.Record{Key: d.Key, WallMillis: earlier.WallMillis})
	case planner.Run, planner.MayRun:
		leave := b.memory.enter(b.opt.Costs[t].MemoryBytes)
		defer leave()
		if stopped() || ctx.Err() != nil {
			return nil, errStopped
		}
		began = b.opt.Now()
		d.Outputs, err = b.act(ctx, t, &d, began)
	}
	if err == nil && b.opt.Check && t.Addr.Stage != addr.Package {
		err = b.check(ctx, t, &d)
	}
	if err != nil {
		return nil, err
	}
	b.finish(t, &d)
	b.emit(Event{Kind: Finished, Target: t, State: d.State, Wall: b.opt.Now().Sub(began)})
	return nil, nil
}

// finish counts a target and lets others read its outputs.
func (b *build) finish(t *planner.Target, d *planner.Decision) {
	b.store.Use(d.Key)
	b.mu.Lock()
	defer b.mu.Unlock()
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
}

// fail reports a target that failed, with the end of its log, where it has
// one.
func (b *build) fail(t *planner.Target, err error, log *targetLog) error {
	if errors.Is(err, context.Canceled) {
		if log != nil {
			err = errors.Join(err, log.close())
		}
		return err
	}
	e := Event{Kind: Failed, Target: t, Err: err}
	if log != nil {
		e.LogPath = log.path
		var logErr error
		if e.Message, logErr = log.fail(err); logErr != nil {
			e.LogPath = "" // on a full disk there is none
		}
	}
	b.mu.Lock()
	b.failed = append(b.failed, t.Addr.String())
	if b.full == nil && store.NoSpace(err) {
		b.full = err
	}
	b.mu.Unlock()
	b.emit(e)
	return fmt.Errorf("%s: %w", t.Addr, err)
}

// stageOf returns the code of a target.
func (b *build) stageOf(t *planner.Target) (Stage, error) {
	stage, ok := b.opt.Stages[t.Addr.Stage]
	if !ok {
		return nil, fmt.Errorf("llima: internal error: no code for stage %s", t.Addr.Stage)
	}
	return stage, nil
}

// act runs a stage under the protocol: the old record goes first, the new one
// comes last, and between them everything is written, synced and renamed.
func (b *build) act(ctx context.Context, t *planner.Target, d *planner.Decision, began time.Time) ([]planner.Output, error) {
	stage, err := b.stageOf(t)
	if err != nil {
		return nil, b.fail(t, err, nil)
	}
	log, err := newLog(b.store.LogPath(t.Addr))
	if err != nil {
		return nil, b.fail(t, err, nil)
	}
	b.emit(Event{Kind: Started, Target: t, Reasons: d.Reasons})
	outputs, err := b.protocol(ctx, stage, t, d, began, log)
	if err != nil {
		return nil, b.fail(t, err, log)
	}
	return outputs, log.close()
}

func (b *build) protocol(ctx context.Context, stage Stage, t *planner.Target, d *planner.Decision, began time.Time, log io.Writer) (outputs []planner.Output, err error) {
	earlier, _, _ := b.store.Record(t.Addr)
	if err := b.step("drop", t); err != nil {
		return nil, err
	}
	// What was published stays known, so that a later build can remove it.
	dropped := planner.Record{Folder: earlier.Folder, Published: earlier.Published, WallMillis: earlier.WallMillis}
	if err := b.store.Put(t.Addr, dropped); err != nil {
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
	a := b.action(t, dir, log)
	err = b.runStage(ctx, stage, t, a, d)
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

func (b *build) action(t *planner.Target, dir string, log io.Writer) *Action {
	return &Action{Target: t, Dir: dir, Log: log, exec: b, inputs: b.inputs(t), sums: map[string]store.Sum{}}
}

// publish writes the output folder. Until the new record is there the old one
// lists what both may have left behind; files of another folder are not ours
// to remove.
func (b *build) publish(t *planner.Target, a *Action, earlier *planner.Record) (done []planner.Published, err error) {
	folder, model := t.Model.Config.Output, t.Addr.Model
	known := slices.Clone(earlier.Published)
	if earlier.Folder != folder {
		if len(earlier.Published) > 0 {
			if err := b.store.Leave(model, earlier.Folder, earlier.Published); err != nil {
				return nil, err
			}
		}
		if known = slices.Clone(b.store.Left(model, folder)); len(known) > 0 {
			defer func() {
				if err == nil {
					err = b.store.Leave(model, folder, nil)
				}
			}()
		}
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
	if err := b.store.Put(t.Addr, planner.Record{Folder: folder, Published: known, WallMillis: earlier.WallMillis}); err != nil {
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
			if !t.Reads(d, o.Name) {
				continue
			}
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
