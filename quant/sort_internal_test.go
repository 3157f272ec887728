package quant

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSortSteps compares the order with that of a comparing sort, for groups
// that spread over the bins and for some that do not.
func TestSortSteps(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	spread := 0
	for round := range 2000 {
		w := make([]float32, 1+r.IntN(200))
		for i := range w {
			switch round % 4 {
			case 0:
				w[i] = float32(r.NormFloat64())
			case 1:
				w[i] = float32(r.IntN(5)) // many equal steps
			case 2:
				w[i] = float32(math.Exp(40 * r.NormFloat64()))
			case 3:
				w[i] = 1
			}
		}
		limit := 20.0
		if round%3 == 0 {
			limit = math.Inf(1)
		}
		s := newSearch(len(w))
		s.collect(w, limit)
		got := slices.Clone(s.steps)
		want := slices.Clone(got)
		slices.SortFunc(want, compareSteps)
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: steps of %v are out of order", round, w)
		}
		r.Shuffle(len(s.steps), func(i, j int) { s.steps[i], s.steps[j] = s.steps[j], s.steps[i] })
		if s.spread() {
			spread++
		}
	}
	if spread < 200 || spread > 1900 {
		t.Errorf("%d of 2000 groups spread, want some that do and some that do not", spread)
	}
}
