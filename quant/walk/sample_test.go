package walk_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/walk"
)

// TestSampleLogits compares the logits of the path that goes token by token
// with those of whole texts, to the bit, for all families: windows that slide,
// convolutions, capped scores and scaled embeddings are among them.
func TestSampleLogits(t *testing.T) {
	folders, err := filepath.Glob("../../testdata/models/families/*/config.json")
	if err != nil || len(folders) < 20 {
		t.Fatal(folders, err)
	}
	for _, folder := range folders {
		const tokens, texts = 70, 3 // more than a step of the caches, and a batch that is not full
		folder = filepath.Dir(folder)
		m := open(t, folder).model(tokens)
		r := rand.New(rand.NewPCG(1, 2))
		ids := make([][]int, texts)
		for i := range ids {
			for range tokens {
				ids[i] = append(ids[i], r.IntN(m.Arch.VocabSize))
			}
		}
		want := whole(t, m, ids)
		positions, differ := 0, 0
		err := m.StepLogits(t.Context(), ids, func(text, at int, logits []float32) {
			positions++
			v := m.Arch.VocabSize
			for j, x := range logits {
				if math.Float32bits(x) != math.Float32bits(want[text][at*v+j]) {
					if differ++; differ == 1 {
						t.Errorf("%s: text %d, token %d: logit %d is %v, of the whole text %v", filepath.Base(folder), text, at, j, x, want[text][at*v+j])
					}
				}
			}
		})
		if err != nil || positions != texts*tokens {
			t.Errorf("%s: %d positions, %v", filepath.Base(folder), positions, err)
		}
	}
}

// whole returns the logits of texts as a walk computes them.
func whole(t *testing.T, m *walk.Model, ids [][]int) [][]float32 {
	t.Helper()
	s := m.NewStream(len(ids))
	if err := m.Embed(s, ids); err != nil {
		t.Fatal(err)
	}
	for l := range m.Arch.NumHiddenLayers {
		if err := m.Advance(t.Context(), l, s, nil); err != nil {
			t.Fatal(err)
		}
	}
	var out [][]float32
	if err := m.Logits(t.Context(), s, nil, func(_ int, logits []float32) error {
		out = append(out, slices.Clone(logits))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSample checks that every token is the one that the probabilities of the
// whole text before it give with the text's own numbers, that rows are full,
// and that nothing depends on how texts are divided.
func TestSample(t *testing.T) {
	s := open(t, bard)
	m := s.model(96)
	o := walk.Sampling{Texts: 5, Begin: []int{s.cfg.BOS}, End: s.cfg.EOS, Seed: 7}
	var done, calls int
	o.Progress = func(n, total int) {
		if calls++; n < done || total != 5*95 {
			t.Errorf("progress %d of %d after %d", n, total, done)
		}
		done = n
	}
	got, err := m.Sample(t.Context(), o)
	if err != nil || len(got) != 5 || done != 5*95 {
		t.Fatalf("%d texts, %d tokens, %v", len(got), done, err)
	}
	logits := whole(t, m, got)
	for i, text := range got {
		r := rand.New(rand.NewPCG(7, uint64(i)))
		want := []int{s.cfg.BOS}
		for at := range 95 {
			id := walk.Draw(slices.Clone(logits[i][at*2048:(at+1)*2048]), r.Float64())
			if slices.Contains(s.cfg.EOS, id) {
				id = s.cfg.BOS
			}
			want = append(want, id)
		}
		if !slices.Equal(text, want) {
			at := 0
			for text[at] == want[at] {
				at++
			}
			t.Errorf("text %d differs at %d: %d, want %d", i, at, text[at], want[at])
		}
	}
	const digest = "7fb2b9b76ace3b8ed7c26db873bb673f56fbc0c8cfbb9330aeedfe572fba3bdd"
	if d := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, got))); d != digest {
		t.Errorf("digest %s, want %s: %s", d, digest, s.tok.Decode(got[0], false))
	}
	for _, procs := range []int{1, 3} {
		before := runtime.GOMAXPROCS(procs)
		again, err := m.Sample(t.Context(), walk.Sampling{Texts: 5, Begin: o.Begin, End: o.End, Seed: 7})
		runtime.GOMAXPROCS(before)
		if err != nil || !slices.EqualFunc(got, again, slices.Equal) {
			t.Errorf("with %d processors: %v, or other texts", procs, err)
		}
	}
	for _, bad := range []walk.Sampling{{Texts: 0, Begin: o.Begin}, {Texts: 1}, {Texts: 1, Begin: make([]int, 96)}, {Texts: 1, Begin: []int{2048}}} {
		if _, err := m.Sample(t.Context(), bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(int, int) { cancel() }
	if _, err := m.Sample(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestSampleEnds makes each of the likeliest tokens one that ends a text: a
// new one begins in its place, with all that begins one.
func TestSampleEnds(t *testing.T) {
	s := open(t, bard)
	m := s.model(64)
	free, err := m.Sample(t.Context(), walk.Sampling{Texts: 4, Begin: []int{s.cfg.BOS, 300}, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	counts := map[int]int{}
	for _, text := range free {
		if len(text) != 64 || text[0] != s.cfg.BOS || text[1] != 300 {
			t.Errorf("%v", text)
		}
		for _, id := range text[2:] {
			counts[id]++
		}
	}
	end := 0
	for id, n := range counts {
		if n > counts[end] || n == counts[end] && id < end {
			end = id
		}
	}
	texts, err := m.Sample(t.Context(), walk.Sampling{Texts: 4, Begin: []int{s.cfg.BOS, 300}, End: []int{end}, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	begun := 0
	for i, text := range texts {
		at := slices.Index(free[i], end)
		if at >= 0 && !slices.Equal(text[:at], free[i][:at]) {
			t.Errorf("text %d is another before it ends", i)
		}
		if len(text) != 64 || slices.Contains(text, end) {
			t.Errorf("%d tokens, %v", len(text), text)
		}
		for j, id := range text[1:63] {
			if id == s.cfg.BOS {
				if begun++; text[j+2] != 300 {
					t.Errorf("text %d begins anew at %d with %d", i, j+1, text[j+2])
				}
			}
		}
	}
	if begun == 0 {
		t.Errorf("token %d, drawn %d times, ends no text", end, counts[end])
	}
}

// TestSampleDistribution draws first tokens of many texts, and compares how
// often each comes with its probability (Pearson's χ²).
func TestSampleDistribution(t *testing.T) {
	s := open(t, bard)
	const n = 4000
	texts, err := s.model(2).Sample(t.Context(), walk.Sampling{Texts: n, Begin: []int{s.cfg.BOS}, Seed: 11})
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]float64, s.cfg.VocabSize)
	for _, text := range texts {
		seen[text[1]]++
	}
	logits := whole(t, s.model(2), texts[:1])[0][:s.cfg.VocabSize]
	sum := 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v))
	}
	chi, bins := 0.0, -1.0
	var restSeen, restWant float64
	for i, v := range logits {
		want := n * math.Exp(float64(v)) / sum
		if want < 8 {
			restSeen, restWant = restSeen+seen[i], restWant+want
			continue
		}
		chi += (seen[i] - want) * (seen[i] - want) / want
		bins++
	}
	chi += (restSeen - restWant) * (restSeen - restWant) / restWant
	bins++
	// χ² has the mean bins and the variance 2·bins; three and a half of its
	// standard deviations are one in two thousand.
	if bins < 20 || math.Abs(chi-bins) > 3.5*math.Sqrt(2*bins) {
		t.Errorf("χ² = %.1f with %.0f degrees of freedom", chi, bins)
	}
}

// TestSelf measures what calibration gains without any text: on what the
// model itself writes.
func TestSelf(t *testing.T) {
	if os.Getenv("LLIMA_LONG") == "" {
		t.Skip("takes minutes; LLIMA_LONG=1 runs it")
	}
	s := open(t, bard)
	start := time.Now()
	texts, err := s.model(256).Sample(t.Context(), walk.Sampling{Texts: 128, Begin: []int{s.cfg.BOS}, End: s.cfg.EOS})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("128 texts of 256 tokens in %v", time.Since(start).Round(time.Second))
	w := s.calibrated(t, quant.Format{Bits: 4, GroupSize: 32}, texts, s.gradients(t, texts))
	got, same := kl(t, s.model(512), s.windows(t, filepath.Join(text, "eval-tempest.txt"), 512), w)
	t.Logf("calibrated on them: KL %.5f, same top-1 %.4f", got, same)
	if got > 0.0026 {
		t.Errorf("KL %.5f, want at most 0.0026", got)
	}
}
