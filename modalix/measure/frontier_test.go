package measure_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/llima-build/llima/modalix/measure"
)

// TestFrontier compares a frontier with all selections of choices.
func TestFrontier(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		items := make([][]measure.Choice, 1+rng.IntN(5))
		for i := range items {
			items[i] = []measure.Choice{{Bytes: 160 + int64(rng.IntN(50))}}
			for range rng.IntN(4) {
				items[i] = append(items[i], measure.Choice{Bytes: 20 + int64(rng.IntN(180)), KL: float64(rng.IntN(40)) / 8})
			}
		}
		steps := measure.Frontier(items)
		for n, s := range steps {
			bytes, kl := total(items, measure.Selection(len(items), steps[:n+1]))
			if bytes != s.Bytes || math.Abs(kl-s.KL) > 1e-9 {
				t.Fatalf("step %d says %d bytes and %g, its choices take %d and %g", n, s.Bytes, s.KL, bytes, kl)
			}
			if n > 0 && s.Bytes >= steps[n-1].Bytes {
				t.Fatalf("step %d saves nothing: %v", n, steps)
			}
		}
		checkOptimal(t, items, steps)
	}
}

func total(items [][]measure.Choice, selection []int) (bytes int64, kl float64) {
	for i, c := range selection {
		bytes += items[i][c].Bytes
		kl += items[i][c].KL
	}
	return bytes, kl
}

// checkOptimal holds that no selection lies below the line through the steps,
// and that the last step has the fewest bytes.
func checkOptimal(t *testing.T, items [][]measure.Choice, steps []measure.Step) {
	t.Helper()
	selection := make([]int, len(items))
	least := int64(math.MaxInt64)
	for {
		bytes, kl := total(items, selection)
		least = min(least, bytes)
		for n := 1; n < len(steps); n++ {
			a, b := steps[n-1], steps[n]
			if bytes > a.Bytes || bytes < b.Bytes {
				continue
			}
			line := a.KL + (b.KL-a.KL)*float64(a.Bytes-bytes)/float64(a.Bytes-b.Bytes)
			if kl < line-1e-9 {
				t.Fatalf("choices %v take %d bytes and %g, the frontier %v has %g there", selection, bytes, kl, steps, line)
			}
		}
		i := 0
		for ; i < len(items); i++ {
			if selection[i]++; selection[i] < len(items[i]) {
				break
			}
			selection[i] = 0
		}
		if i == len(items) {
			break
		}
	}
	if last := steps[len(steps)-1]; last.Bytes != min(least, last.Bytes) || last.Bytes > least {
		t.Fatalf("the frontier ends at %d bytes, the least is %d", last.Bytes, least)
	}
}

// TestFrontierOrder holds what is taken first: least KL for a byte, with a
// choice left out that lies above the line between its neighbours.
func TestFrontierOrder(t *testing.T) {
	steps := measure.Frontier([][]measure.Choice{
		{{Bytes: 100}, {Bytes: 50, KL: 10}, {Bytes: 20, KL: 12}}, // its middle is never worth it
		{{Bytes: 100}, {Bytes: 50, KL: 1}, {Bytes: 25, KL: 5}},
		{{Bytes: 10}},
		{{Bytes: 100}, {Bytes: 50}}, // for nothing
	})
	want := []measure.Step{{-1, -1, 310, 0}, {3, 1, 260, 0}, {1, 1, 210, 1}, {0, 2, 130, 13}, {1, 2, 105, 17}}
	if len(steps) != len(want) {
		t.Fatalf("steps %v, want %v", steps, want)
	}
	for i := range want {
		if steps[i] != want[i] {
			t.Errorf("step %d is %v, want %v", i, steps[i], want[i])
		}
	}
}
