package executor

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/llima-build/llima/planner"
)

// errCut says that a mapped file ended before what was there when it was
// mapped.
var errCut = errors.New("a file was cut short while it was read, so nothing is kept\n  run the same command again")

// runStage runs a stage. Where a mapped file is cut short under it, reading it
// is an error and not the end of the process. When sources changed meanwhile,
// that is the error: what the stage met is what came of it.
func (b *build) runStage(ctx context.Context, stage Stage, t *planner.Target, a *Action, d *planner.Decision) error {
	err := catchFault(func() error { return stage.Run(ctx, a) })
	if err != nil && ctx.Err() == nil {
		if changed := b.unchanged(t, a, d); changed != nil {
			return changed
		}
	}
	return err
}

func catchFault(run func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface { // what package runtime panics with on such a fault
			error
			Addr() uintptr
		}:
			err = errCut
		default:
			panic(r)
		}
	}()
	return run()
}
