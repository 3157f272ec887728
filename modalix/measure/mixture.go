package measure

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	goruntime "runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/llima-build/llima/formats/dataset"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix/runtime"
)

// Bench is builds of one model. The programs of others may stand in for those
// of the reference; it is for one goroutine at a time.
type Bench struct {
	Reference *Model
	Others    []*Model
}

// Mixture is the reference with programs of others for some parts of a phase.
type Mixture struct {
	Phase addr.Phase
	Parts []Substitute
	// Shaken is for a mixture without parts, which then is the reference with
	// what a layer gets shaken, each number by up to as much as a rounding to
	// BF16 moves it. That moves all the roundings after it, and so the logits.
	Shaken bool
	Layer  int // that gets it
}

// Substitute says whose program a part has.
type Substitute struct {
	ID    addr.PartID
	Other int // index into Bench.Others
}

// first returns the first layer that differs from the reference, and -1 where
// none does.
func (m Mixture) first() int {
	if m.Shaken {
		return m.Layer
	}
	first := -1
	for _, p := range m.Parts {
		if first < 0 || p.ID.Index < first {
			first = p.ID.Index
		}
	}
	return first
}

// MixtureOptions says how to measure mixtures.
type MixtureOptions struct {
	Benches []*Bench // as many mixtures run at once; the same builds in each
	Windows []dataset.Window
	// Kept, which may be nil, keeps what runs give, as soon as it is known: a run
	// is a mixture on a window. It must be of the same builds, of one
	// [MixtureVersion] and of one kind of CPU.
	Kept Kept
	// Progress, which may be nil, is told how much of all work is done, in units
	// of a layer for one token. It is called from one goroutine at a time.
	Progress func(done, total int64)
}

// MixtureVersion is raised by hand when [Mixtures], or the emulator, gives
// other figures for the same builds and windows.
const MixtureVersion = 1

// Kept keeps the figures of runs by name: each is got before any is run, and
// put from any goroutine.
type Kept interface {
	Get(run string) (kl float64, ok bool)
	Put(run string, kl float64)
}

// Mixtures returns the KL of each mixture to the reference, mean over the
// tokens of the windows. The reference runs once for each window and phase;
// each mixture from its first layer that differs, on what that layer gets in
// the reference. It holds the logits of a window and what every layer got.
// Runs that were kept are not done again, and change nothing of the others.
func Mixtures(ctx context.Context, o MixtureOptions, mixtures []Mixture) ([]Figure, error) {
	r := &mixtureRun{MixtureOptions: o, mixtures: mixtures}
	r.layers = o.Benches[0].Reference.Config().NumHiddenLayers
	for _, m := range mixtures {
		if f := m.first(); f >= r.layers {
			return nil, fmt.Errorf("llima: internal error: a mixture from layer %d on, the model has %d", f, r.layers)
		}
	}
	r.plan()
	for w := range o.Windows {
		for _, phase := range addr.Phases {
			if len(r.order[w][phase]) == 0 {
				continue
			}
			if err := r.window(ctx, phase, w); err != nil {
				return nil, err
			}
		}
	}
	out := make([]Figure, len(mixtures))
	for i, kl := range r.kl {
		if len(kl) > 0 { // else it is the reference itself
			out[i].Value, out[i].Interval = mean(kl)
		}
	}
	return out, nil
}

// mixtureRun is the state of [Mixtures].
type mixtureRun struct {
	MixtureOptions
	mixtures []Mixture
	layers   int
	names    []string    // of windows
	order    [][2][]int  // by window: mixtures of a phase to run, the longest first
	kl       [][]float64 // by mixture, then window; nil for the reference itself
	total    int64
	mu       sync.Mutex
	done     int64
}

// plan takes what was kept, orders what is to be run, and counts the work.
func (r *mixtureRun) plan() {
	r.kl = make([][]float64, len(r.mixtures))
	for i, m := range r.mixtures {
		if m.first() >= 0 {
			r.kl[i] = make([]float64, len(r.Windows))
		}
	}
	r.order = make([][2][]int, len(r.Windows))
	for w, window := range r.Windows {
		r.names = append(r.names, windowName(window))
		tokens := int64(len(window.IDs))
		order := &r.order[w]
		for i, m := range r.mixtures {
			if m.first() >= 0 && !r.kept(i, w) {
				order[m.Phase] = append(order[m.Phase], i)
				r.total += tokens * int64(r.layers-m.first())
			}
		}
		for phase := range order {
			if len(order[phase]) > 0 {
				r.total += tokens * int64(r.layers)
			}
			slices.SortStableFunc(order[phase], func(a, b int) int { return r.mixtures[a].first() - r.mixtures[b].first() })
		}
	}
}

// kept takes the figure of a run where it was kept.
func (r *mixtureRun) kept(mixture, window int) (ok bool) {
	if r.Kept != nil {
		r.kl[mixture][window], ok = r.Kept.Get(r.name(mixture, window))
	}
	return ok
}

// name is all that a run's figure depends on, beside the builds.
func (r *mixtureRun) name(mixture, window int) string {
	m := r.mixtures[mixture]
	b := fmt.Appendf(nil, "%s %v", r.names[window], m.Phase)
	if m.Shaken {
		b = fmt.Appendf(b, " shaken %d", m.Layer)
	}
	for _, p := range m.Parts {
		b = fmt.Appendf(b, " %v=%d", p.ID, p.Other)
	}
	return string(b)
}

// windowName is a digest of a window.
func windowName(w dataset.Window) string {
	b := binary.LittleEndian.AppendUint64(nil, uint64(w.First))
	for _, id := range w.IDs {
		b = binary.LittleEndian.AppendUint64(b, uint64(id))
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

func (r *mixtureRun) advance(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done += int64(n)
	if r.Progress != nil {
		r.Progress(r.done, r.total)
	}
}

// baseline is what the reference did with a window.
type baseline struct {
	hidden [][]float32 // what each layer got, [T, HiddenSize]
	rows   []target    // of the tokens that are scored
}

// target is a row of the reference, made ready for being compared with often.
type target struct {
	p       []float32 // probabilities
	logSum  float64   // of the logits
	cross   float64   // Σ p·logit
	numbers bool      // whether all of it is
}

func targetOf(logits []float32) target {
	d := of(logits)
	t := target{p: make([]float32, len(logits)), logSum: d.logSum, numbers: finite(d.logSum)}
	for i, v := range logits {
		p := float32(math.Exp(float64(v) - d.logSum))
		if t.p[i] = p; p > 0 {
			t.cross += float64(p) * float64(v)
		}
	}
	return t
}

// kl is KL(reference || row) as that of [score] is, but for the rounding of
// probabilities to float32. It is not finite where row is not of numbers.
func (t *target) kl(row []float32) float64 {
	d := of(row)
	cross := 0.0
	for i, v := range row {
		if p := t.p[i]; p > 0 {
			cross += float64(p) * float64(v)
		}
	}
	if kl := (t.cross - cross) - (t.logSum - d.logSum); !(kl < 0) {
		return kl
	}
	return 0
}

// window runs what is to be run of a phase on a window.
func (r *mixtureRun) window(ctx context.Context, phase addr.Phase, index int) error {
	w, order := r.Windows[index], r.order[index][phase]
	base, err := r.baseline(ctx, phase, w)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for _, b := range r.Benches {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(order) || ctx.Err() != nil {
					return
				}
				mixture := order[i]
				kl, err := r.measure(ctx, b, r.mixtures[mixture], w, base)
				if err != nil {
					stop(err)
					return
				}
				r.kl[mixture][index] = kl
				if r.Kept != nil {
					r.Kept.Put(r.name(mixture, index), kl)
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// baseline runs the reference.
func (r *mixtureRun) baseline(ctx context.Context, phase addr.Phase, w dataset.Window) (*baseline, error) {
	m := r.Benches[0].Reference
	s, err := m.Sequence(phase, w.IDs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	base := &baseline{hidden: make([][]float32, r.layers)}
	s.Inputs = func(layer int, hidden []float32) { base.hidden[layer] = append(base.hidden[layer], hidden...) }
	err = r.each(ctx, s, w, r.layers, func(rows [][]float32, _ int) error {
		for _, row := range rows {
			base.rows = append(base.rows, targetOf(row))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	return base, nil
}

// measure returns the mean KL of a mixture on a window.
func (r *mixtureRun) measure(ctx context.Context, b *Bench, m Mixture, w dataset.Window, base *baseline) (mean float64, err error) {
	for _, p := range m.Parts {
		if err := b.Reference.Use(p.ID, b.Others[p.Other].Model); err != nil {
			return 0, fmt.Errorf("%s: %w", b.Others[p.Other].Name, err)
		}
	}
	defer func() {
		for _, p := range m.Parts {
			err = errors.Join(err, b.Reference.Use(p.ID, b.Reference.Model))
		}
	}()
	first := m.first()
	hidden := base.hidden[first]
	if m.Shaken {
		hidden = shaken(hidden)
	}
	s, err := b.Reference.Resume(m.Phase, first, hidden)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	err = r.each(ctx, s, w, r.layers-first, func(rows [][]float32, at int) error {
		kl, err := r.divergence(b, m, rows, base.rows[at:])
		sum += kl
		return err
	})
	return sum / float64(scored(w)), err
}

// shaken returns numbers that differ by up to 2⁻⁹ of each, always the same.
func shaken(in []float32) []float32 {
	rng := rand.New(rand.NewPCG(0, uint64(len(in))))
	out := make([]float32, len(in))
	for i, v := range in {
		out[i] = v * float32(1+(2*rng.Float64()-1)/512)
	}
	return out
}

// each hands on the rows of a sequence that are scored, with how many were
// before them.
func (r *mixtureRun) each(ctx context.Context, s *runtime.Sequence, w dataset.Window, layers int, do func(rows [][]float32, at int) error) error {
	for at, handed := 0, 0; ; {
		rows, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		skip := min(max(w.First-at, 0), len(rows))
		end := min(len(rows), len(w.IDs)-1-at) // nothing follows the last token
		if skip < end {
			if err := do(rows[skip:end], handed); err != nil {
				return err
			}
			handed += end - skip
		}
		at += len(rows)
		r.advance(len(rows) * layers)
	}
}

// divergence returns the sum of the KL of rows, on the cores that no other
// mixture uses.
func (r *mixtureRun) divergence(b *Bench, m Mixture, rows [][]float32, reference []target) (float64, error) {
	kl := make([]float64, len(rows))
	workers := max(1, goruntime.GOMAXPROCS(0)/len(r.Benches))
	share := (len(rows) + workers - 1) / workers
	var group sync.WaitGroup
	for lo := 0; lo < len(rows); lo += share {
		work := func() {
			for i := lo; i < min(lo+share, len(rows)); i++ {
				kl[i] = reference[i].kl(rows[i])
			}
		}
		if share >= len(rows) {
			work()
		} else {
			group.Go(work)
		}
	}
	group.Wait()
	sum := 0.0
	for i, v := range kl {
		if !finite(v) {
			return 0, r.notNumbers(b, m, reference[i])
		}
		sum += v
	}
	return sum, nil
}

// notNumbers says whose logits are not numbers.
func (r *mixtureRun) notNumbers(b *Bench, m Mixture, reference target) error {
	if !reference.numbers {
		return fmt.Errorf("%s: %w", b.Reference.Name, b.Reference.Explain())
	}
	if m.Shaken {
		return fmt.Errorf("%s: %w", b.Reference.Name, b.Reference.Explain())
	}
	other, id := b.Others[m.Parts[0].Other], m.Parts[0].ID
	return fmt.Errorf("%s: its %v in place of that of %s: %w", other.Name, id, b.Reference.Name, other.Explain())
}
