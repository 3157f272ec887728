package dataset

import (
	"context"
	"fmt"
	"slices"
)

// Layout says how a text is cut into windows to evaluate, and which of their
// tokens count.
type Layout string

// The layouts.
const (
	// EveryToken puts what begins a text before each window, and counts every
	// token of the text, given those before it in its window.
	EveryToken Layout = "every-token"
	// SecondHalf is how llama-perplexity of llama.cpp cuts: the text with what
	// begins it is cut into windows, in which that overwrites the first tokens
	// again; only tokens behind the middle count.
	SecondHalf Layout = "second-half"
)

// Window is one window to evaluate. Tokens IDs[First+1:] count, each given
// those before it: the logits of positions First to the last but one.
type Window struct {
	IDs   []int
	First int
}

// Windows calls yield for the windows of a file in turn, tokens long each.
// What fills no window is left out. It stops at the first error.
func (e *Encoder) Windows(ctx context.Context, f *File, layout Layout, tokens int, yield func(Window) error) error {
	begin := e.Tokenizer.Prefix()
	if tokens < len(begin)+2 {
		return fmt.Errorf("windows of %d tokens are too short; want at least %d", tokens, len(begin)+2)
	}
	w := &windows{prefix: begin, yield: yield, slots: slots{size: tokens, between: e.between()}}
	w.full = w.window
	switch layout {
	case EveryToken:
		w.size -= len(begin)
	case SecondHalf:
		w.first, w.overwrite = tokens/2, true
		w.put(begin)
	default:
		return fmt.Errorf("layout %q is not known; want %q or %q", layout, EveryToken, SecondHalf)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.cancel = cancel
	if err := e.read(ctx, f, w); err != nil {
		if w.err != nil {
			return w.err
		}
		return err
	}
	switch {
	case w.err != nil:
		return w.err
	case w.count == 0:
		return f.failf("too short: it has %d tokens, which fill no window of %d; give more text, or shorter windows", w.tokens, tokens)
	}
	return nil
}

// windows passes slots on as windows.
type windows struct {
	slots
	prefix    []int
	first     int
	overwrite bool
	yield     func(Window) error
	cancel    context.CancelCauseFunc
	err       error
}

func (w *windows) window(_ int, ids []int32) {
	if w.err != nil {
		return
	}
	out := Window{First: w.first}
	if !w.overwrite {
		out.IDs = slices.Clone(w.prefix)
	}
	for _, id := range ids {
		out.IDs = append(out.IDs, int(id))
	}
	if w.overwrite {
		copy(out.IDs, w.prefix)
	}
	if w.err = w.yield(out); w.err != nil {
		w.cancel(w.err) // read stops at the next document or block
	}
}
