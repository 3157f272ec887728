package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/llima-build/llima/planner"
)

// DifferError says that a target gave other bytes when it ran once more.
type DifferError struct{ Outputs []string }

// Error implements error.
func (e *DifferError) Error() string {
	return "not deterministic: run twice on the same inputs it gave other bytes:\n  " + strings.Join(e.Outputs, "\n  ")
}

// check runs a target once more and compares what it makes with what the store
// has under its key; nothing of it is stored. Targets that share a key are
// checked once.
func (b *build) check(ctx context.Context, t *planner.Target, d *planner.Decision) error {
	b.mu.Lock()
	again := b.checked[d.Key]
	b.checked[d.Key] = true
	b.mu.Unlock()
	if again {
		return nil
	}
	stage, err := b.stageOf(t)
	if err != nil {
		return b.fail(t, err, nil)
	}
	log, err := newLog(b.store.LogPath(t.Addr))
	if err != nil {
		return b.fail(t, err, nil)
	}
	b.emit(Event{Kind: Started, Target: t, Check: true})
	outputs, err := b.rerun(ctx, stage, t, d, log)
	if err == nil {
		err = compare(d.Outputs, outputs)
	}
	if err != nil {
		return b.fail(t, err, log)
	}
	b.mu.Lock()
	b.sum.Checked++
	b.mu.Unlock()
	return log.close()
}

// rerun runs a stage beside the protocol and lists what it made.
func (b *build) rerun(ctx context.Context, stage Stage, t *planner.Target, d *planner.Decision, log *targetLog) (outputs []planner.Output, err error) {
	dir, err := b.store.Temp()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	a := b.action(t, dir, log)
	a.compare = true
	err = b.runStage(ctx, stage, t, a, d)
	if err = errors.Join(err, a.close()); err != nil {
		return nil, err
	}
	if err := b.unchanged(t, a, d); err != nil {
		return nil, err
	}
	return a.outputs()
}

// compare returns a [DifferError] unless both lists, which are sorted by name,
// are equal.
func compare(first, second []planner.Output) error {
	e := &DifferError{}
	was := map[string]planner.Output{}
	for _, o := range first {
		was[o.Name] = o
	}
	for _, o := range second {
		old, ok := was[o.Name]
		delete(was, o.Name)
		switch {
		case !ok:
			e.Outputs = append(e.Outputs, o.Name+": only the second time")
		case old.Digest != o.Digest:
			e.Outputs = append(e.Outputs, fmt.Sprintf("%s: %s, %d bytes, then %s, %d bytes", o.Name, old.Digest.Short(), old.Size, o.Digest.Short(), o.Size))
		}
	}
	for _, o := range first {
		if _, ok := was[o.Name]; ok {
			e.Outputs = append(e.Outputs, o.Name+": only the first time")
		}
	}
	if len(e.Outputs) > 0 {
		return e
	}
	return nil
}
