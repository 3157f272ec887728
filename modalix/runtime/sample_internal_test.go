package runtime

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/llima-build/llima/internal/addr"
)

var nan = float32(math.NaN())

func TestSorted(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	logits := make([]float32, 1000)
	for i := range logits {
		logits[i] = float32(rng.IntN(50)) // many ties
	}
	logits[17] = nan
	all := make([]candidate, len(logits))
	for i, v := range logits {
		all[i] = candidate{i, v}
	}
	slices.SortFunc(all, before)
	if all[len(all)-1].id != 17 {
		t.Errorf("NaN stands at %v, want it last", all[len(all)-1])
	}
	for _, k := range []int{1, 2, 7, 64, 999, 1000, 5000} {
		want := all[:min(k, len(all))]
		got := candidates{logits: logits}.sorted(k)
		if !slices.EqualFunc(got, want, func(a, b candidate) bool { return a.id == b.id }) {
			t.Errorf("sorted(%d) = %v, want %v", k, got, want)
		}
		top := candidates{top: all}.sorted(k)
		if len(top) != len(want) || top[0] != want[0] {
			t.Errorf("sorted(%d) of pairs has %d items from %v, want %d from %v", k, len(top), top[0], len(want), want[0])
		}
	}
	if got := (candidates{logits: logits}).sorted(0); len(got) != len(all) {
		t.Errorf("sorted(0) has %d items, want %d", len(got), len(all))
	}
}

func TestPick(t *testing.T) {
	inf := float32(math.Inf(-1))
	for _, c := range []struct {
		name   string
		logits []float32
		o      Options
		want   []int // ids that may come
	}{
		{"greedy", []float32{1, 3, 3, 2}, Options{Greedy: true}, []int{1}},
		{"greedy past NaN", []float32{nan, 3, 4}, Options{Greedy: true}, []int{2}},
		{"no temperature", []float32{1, 3, 2}, Options{}, []int{1}},
		{"top 1", []float32{1, 3, 2}, Options{Temperature: 9, TopK: 1}, []int{1}},
		{"top 2", []float32{1, 3, 2}, Options{Temperature: 9, TopK: 2}, []int{1, 2}},
		{"any", []float32{1, 3, 2}, Options{Temperature: 9, TopP: 1}, []int{0, 1, 2}},
		{"nucleus", []float32{0, 10, 9}, Options{Temperature: 1, TopP: 0.5}, []int{1}},
		{"nucleus of two", []float32{0, 10, 10}, Options{Temperature: 1, TopP: 0.9}, []int{1, 2}},
		{"masked", []float32{inf, 1, inf}, Options{Temperature: 2}, []int{1}},
		{"past NaN", []float32{nan, 1, 1}, Options{Temperature: 2}, []int{1, 2}},
		{"cold", []float32{1, 3, 2}, Options{Temperature: 1e-6}, []int{1}},
	} {
		s := newSampler(c.o)
		seen := map[int]int{}
		for range 500 {
			id, err := s.pick(candidates{logits: c.logits})
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			seen[id]++
		}
		for id := range seen {
			if !slices.Contains(c.want, id) {
				t.Errorf("%s: id %d was picked, want one of %v", c.name, id, c.want)
			}
		}
		if len(seen) != len(c.want) {
			t.Errorf("%s: %v were picked, want all of %v", c.name, seen, c.want)
		}
	}
	for _, logits := range [][]float32{{nan, nan}, {}} {
		for _, o := range []Options{{Greedy: true}, {Temperature: 1}} {
			if _, err := newSampler(o).pick(candidates{top: pairs(logits)}); !errors.Is(err, errNoNumber) {
				t.Errorf("pick of %v: %v, want %v", logits, err, errNoNumber)
			}
		}
	}
}

func pairs(logits []float32) (out []candidate) {
	for i, v := range logits {
		out = append(out, candidate{i, v})
	}
	return out
}

// TestPickShare draws ids as often as softmax says.
func TestPickShare(t *testing.T) {
	s := newSampler(Options{Temperature: 2, Seed: 5})
	logits := []float32{0, 2, 4}
	var total float64
	for _, v := range logits {
		total += math.Exp(float64(v) / 2)
	}
	const n = 20000
	var seen [3]int
	for range n {
		id, err := s.pick(candidates{logits: logits})
		if err != nil {
			t.Fatal(err)
		}
		seen[id]++
	}
	for i, v := range logits {
		want := math.Exp(float64(v)/2) / total
		if got := float64(seen[i]) / n; math.Abs(got-want) > 0.015 {
			t.Errorf("id %d has share %.3f, want %.3f", i, got, want)
		}
	}
}

func TestTopCandidates(t *testing.T) {
	pair := func(bits uint32, id uint32) []byte {
		return []byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24), byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24)}
	}
	one, end := pair(math.Float32bits(1), 7), pair(0, math.MaxUint32)
	got, err := topCandidates(slices.Concat(one, end, one), 8)
	if err != nil || len(got.top) != 1 || got.top[0] != (candidate{7, 1}) {
		t.Errorf("topCandidates = %v, %v, want id 7 alone", got.top, err)
	}
	if _, err := topCandidates(one, 7); err == nil {
		t.Error("topCandidates took an id outside the vocabulary")
	}
	if _, err := topCandidates(pair(0, 1<<31), 7); err == nil {
		t.Error("topCandidates took a negative id")
	}
}

func TestRanges(t *testing.T) {
	for _, c := range []struct {
		in   []int
		want string
	}{
		{nil, ""},
		{[]int{3}, "3"},
		{[]int{2, 3}, "2-3"},
		{[]int{2, 4}, "2,4"},
		{[]int{0, 1, 2}, "0-2"},
		{[]int{0, 1, 2, 5, 7, 8, 9, 10}, "0-2,5,7-10"},
		{[]int{128, 256, 384}, "128,256,384"},
		{[]int{128, 256, 384, 512}, "128,256,..,512"},
	} {
		if got := ranges(c.in); got != c.want {
			t.Errorf("ranges(%v) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestWindow(t *testing.T) {
	m := &Model{cfg: Language{MaxNumTokens: 256, LanguageGroupSize: 64, FutureTokenMask: 32}}
	for _, c := range []struct {
		phase        addr.Phase
		tokens, want int
	}{
		{addr.Prefill, 64, 64},
		{addr.Prefill, 65, 128},
		{addr.Prefill, 256, 256},
		{addr.Decode, 1, 32},
		{addr.Decode, 32, 32},
		{addr.Decode, 33, 64},
		{addr.Decode, 256, 256},
	} {
		if got := m.window(c.phase, c.tokens); got != c.want {
			t.Errorf("window(%v, %d) = %d, want %d", c.phase, c.tokens, got, c.want)
		}
	}
}

func TestFillSpans(t *testing.T) {
	for _, c := range []struct {
		sees int
		want []int32
	}{
		{14, []int32{0, 11, 0, 12, 12, 13, 13, 14}},
		{3, []int32{8, 11, 9, 12, 12, 13, 13, 14}},
		{1, []int32{10, 11, 11, 12, 12, 13, 13, 14}},
	} {
		spans := make([]int32, 8)
		fillSpans(spans, 10, 2, c.sees)
		if !slices.Equal(spans, c.want) {
			t.Errorf("fillSpans of %d = %v, want %v", c.sees, spans, c.want)
		}
	}
}
