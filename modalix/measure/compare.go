package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	goruntime "runtime"
	"slices"
	"sync"

	"github.com/llima-build/llima/formats/dataset"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix/runtime"
)

// Options says what to compare.
type Options struct {
	Model *Model
	// Reference is what Model is compared with, another Model than that; nil
	// gives perplexity only.
	Reference *Model
	Windows   []dataset.Window
	Phase     addr.Phase
	// Progress, which may be nil, is told how many tokens have been read of all
	// that will be, of one model.
	Progress func(done, total int)
}

// Result is how a model does on a text.
type Result struct {
	Tokens     int // scored
	Perplexity Figure
	Reference  *Against // nil without a reference
}

// Figure is a mean with its interval.
type Figure struct {
	Value    float64
	Interval *Interval
}

// Against is a comparison with a reference.
type Against struct {
	Perplexity Figure // of the reference
	// Delta is the perplexity less that of the reference. Its interval is of
	// the differences, window by window, and much narrower than those of the
	// two.
	Delta    Figure
	KL       Figure    // mean, nats a token
	P99, Max float64   // of the tokens' KL
	SameTop1 float64   // percentage of tokens for which both prefer the same
	Tokens   []float32 // KL of every token, in the order of the text
}

// Compare runs a model and its reference in step over windows. It holds the
// logits of one group of tokens, and one number for every token.
func Compare(ctx context.Context, o Options) (*Result, error) {
	c := &comparison{Options: o, workers: goruntime.GOMAXPROCS(0)}
	if len(o.Windows) == 0 {
		return nil, errors.New("llima: internal error: no windows")
	}
	for _, w := range o.Windows {
		c.total += len(w.IDs)
		c.tokens += scored(w)
	}
	for _, w := range o.Windows {
		if err := c.window(ctx, w); err != nil {
			return nil, err
		}
	}
	return c.result(), nil
}

// comparison collects figures.
type comparison struct {
	Options
	workers      int
	done, total  int // tokens read, and to read
	tokens, same int // scored, of which both prefer the same
	kl           []float32
	means        struct{ nll, refNLL, delta, kl []float64 } // by window
}

// rows are those of a model that have not been compared.
type rows struct {
	sequence *runtime.Sequence
	left     [][]float32
}

func (r *rows) fill(ctx context.Context) (err error) {
	if r.sequence != nil && len(r.left) == 0 {
		r.left, err = r.sequence.Next(ctx)
	}
	return err
}

func (r *rows) take(n int) (out [][]float32) {
	if r.sequence != nil {
		out, r.left = r.left[:n], r.left[n:]
	}
	return out
}

// window scores one window.
func (c *comparison) window(ctx context.Context, w dataset.Window) error {
	var model, reference rows
	var err error
	if model.sequence, err = c.Model.Sequence(c.Phase, w.IDs); err != nil {
		return fmt.Errorf("%s: %w", c.Model.Name, err)
	}
	if c.Reference != nil {
		if reference.sequence, err = c.Reference.Sequence(c.Phase, w.IDs); err != nil {
			return fmt.Errorf("%s: %w", c.Reference.Name, err)
		}
	}
	var sum struct{ nll, refNLL, kl float64 }
	for at := 0; at < len(w.IDs)-1; {
		if err := errors.Join(reference.fill(ctx), model.fill(ctx)); errors.Is(err, io.EOF) {
			return fmt.Errorf("llima: internal error: %d rows for %d tokens", at, len(w.IDs))
		} else if err != nil {
			return err
		}
		n := len(model.left)
		if c.Reference != nil { // groups may differ
			n = min(n, len(reference.left))
		}
		got, want := model.take(n), reference.take(n)
		skip := min(max(w.First-at, 0), n)
		end := min(n, len(w.IDs)-1-at) // nothing follows the last token
		if skip < end {
			found, err := c.score(got[skip:end], want, skip, w.IDs[at+skip+1:])
			if err != nil {
				return err
			}
			for _, s := range found {
				sum.nll, sum.refNLL, sum.kl = sum.nll+s.nll, sum.refNLL+s.refNLL, sum.kl+s.kl
				if s.same {
					c.same++
				}
				c.kl = append(c.kl, float32(s.kl))
			}
		}
		at += n
		c.done += n
		if c.Progress != nil {
			c.Progress(c.done, c.total)
		}
	}
	n := float64(scored(w))
	c.means.nll = append(c.means.nll, sum.nll/n)
	c.means.refNLL = append(c.means.refNLL, sum.refNLL/n)
	c.means.delta = append(c.means.delta, (sum.nll-sum.refNLL)/n)
	c.means.kl = append(c.means.kl, sum.kl/n)
	return nil
}

// score compares rows, on all cores. reference, which may be nil, begins skip
// rows earlier.
func (c *comparison) score(got, reference [][]float32, skip int, ids []int) ([]scores, error) {
	out, ok := make([]scores, len(got)), make([]bool, len(got))
	share := (len(got) + c.workers - 1) / c.workers
	var group sync.WaitGroup
	for lo := 0; lo < len(got); lo += share {
		group.Go(func() {
			for i := lo; i < min(lo+share, len(got)); i++ {
				var want []float32
				if reference != nil {
					want = reference[skip+i]
				}
				out[i], ok[i] = score(got[i], want, ids[i])
			}
		})
	}
	group.Wait()
	if slices.Contains(ok, false) {
		return nil, c.notNumbers(got)
	}
	return out, nil
}

// notNumbers says which model gave logits that are not numbers, and why.
func (c *comparison) notNumbers(got [][]float32) error {
	m := c.Reference
	for _, row := range got {
		if !finite(of(row).logSum) {
			m = c.Model
		}
	}
	if m == nil {
		m = c.Model
	}
	return fmt.Errorf("%s: %w", m.Name, m.Explain())
}

// result is of all windows, each of which scores as many tokens.
func (c *comparison) result() *Result {
	r := &Result{Tokens: c.tokens, Perplexity: perplexity(c.means.nll)}
	if c.Reference == nil {
		return r
	}
	a := &Against{Perplexity: perplexity(c.means.refNLL), SameTop1: 100 * float64(c.same) / float64(c.tokens), Tokens: c.kl}
	base := a.Perplexity.Value
	_, ratio := mean(c.means.delta)
	a.Delta.Value = r.Perplexity.Value - base
	if ratio != nil { // of the logarithm of the ratio
		a.Delta.Interval = &Interval{base * math.Expm1(ratio[0]), base * math.Expm1(ratio[1])}
	}
	a.KL.Value, a.KL.Interval = mean(c.means.kl)
	sorted := slices.Clone(c.kl)
	a.P99, a.Max = Quantile(sorted, 0.99), Quantile(sorted, 1)
	r.Reference = a
	return r
}

func perplexity(nll []float64) Figure {
	m, in := mean(nll)
	f := Figure{Value: math.Exp(m)}
	if in != nil {
		f.Interval = &Interval{math.Exp(in[0]), math.Exp(in[1])}
	}
	return f
}
