package measure

import (
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/internal/addr"
)

// TestScore compares the figures of a token with their definitions, computed
// the long way.
func TestScore(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		p, q := make([]float32, 300), make([]float32, 300)
		for i := range p {
			p[i] = float32(rng.NormFloat64()*4 + 100)
			q[i] = p[i] + float32(rng.NormFloat64()*0.3) - 70
		}
		token := rng.IntN(len(p))
		got, ok := score(q, p, token)
		a, b := softmax(p), softmax(q)
		kl := 0.0
		for i := range a {
			kl += a[i] * math.Log(a[i]/b[i])
		}
		for _, f := range []struct{ got, want float64 }{{got.kl, kl}, {got.nll, -math.Log(b[token])}, {got.refNLL, -math.Log(a[token])}} {
			if math.Abs(f.got-f.want) > 1e-9*(1+math.Abs(f.want)) {
				t.Errorf("score = %.15g, want %.15g", f.got, f.want)
			}
		}
		if want := slices.Index(p, slices.Max(p)) == slices.Index(q, slices.Max(q)); got.same != want || !ok {
			t.Errorf("same = %v, ok = %v, want %v", got.same, ok, want)
		}
	}
	row := []float32{1, 3, 3, 2}
	if s, ok := score(row, row, 1); s.kl != 0 || !s.same || !ok {
		t.Errorf("of a row and itself: %+v", s)
	}
	if s, _ := score([]float32{1, 2, 3, 2}, row, 1); s.same {
		t.Error("of equal logits the lowest id is preferred")
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, bad := range [][]float32{{nan, 1, 2, 3}, {1, nan, 2, 3}, {1, 2, 3, inf}, {-inf, -inf, -inf, -inf}} {
		if _, ok := score(bad, row, 0); ok {
			t.Errorf("score of %v is ok", bad)
		}
		if _, ok := score(row, bad, 0); ok {
			t.Errorf("score with the reference %v is ok", bad)
		}
		if _, ok := score(bad, nil, 1); ok {
			t.Errorf("score of %v alone is ok", bad)
		}
	}
}

func softmax(x []float32) []float64 {
	out, sum := make([]float64, len(x)), 0.0
	top := float64(slices.Max(x))
	for i, v := range x {
		out[i] = math.Exp(float64(v) - top)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// TestStudent compares quantiles with those of published tables.
func TestStudent(t *testing.T) {
	for freedom, want := range map[int]float64{
		1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 9: 2.26216, 29: 2.04523, 69: 1.99495, 1000: 1.96234,
	} {
		if got := student(freedom); math.Abs(got-want) > 0.002*want {
			t.Errorf("student(%d) = %.5f, want %.5f", freedom, got, want)
		}
	}
}

// TestMean holds an interval to a worked example, and to how often it covers
// the mean that numbers are drawn around.
func TestMean(t *testing.T) {
	m, in := mean([]float64{1, 2, 3, 4, 5})
	if half := 2.77645 * math.Sqrt(2.5/5); m != 3 || math.Abs(in[0]-(3-half)) > 0.005 || math.Abs(in[1]-(3+half)) > 0.005 {
		t.Errorf("mean = %v %v, want 3 ± %.4f", m, *in, half)
	}
	if m, in := mean([]float64{7}); m != 7 || in != nil {
		t.Errorf("mean of one = %v %v, want 7 and no interval", m, in)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	covered := 0
	const runs = 4000
	for range runs {
		x := make([]float64, 6)
		for i := range x {
			x[i] = rng.NormFloat64() + 10
		}
		if _, in := mean(x); in[0] <= 10 && 10 <= in[1] {
			covered++
		}
	}
	if share := float64(covered) / runs; share < 0.94 || share > 0.96 {
		t.Errorf("the interval covers the mean in %.3f of the runs, want 0.95", share)
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float32
		share  float64
		want   float64
	}{{[]float32{3, 1, 2}, 0.5, 2}, {[]float32{5}, 0.99, 5}, {[]float32{0, 10}, 0.99, 9.9}, {[]float32{4, 0, 2, 1, 3}, 0.9, 3.6}, {[]float32{4, 0, 2}, 1, 4}} {
		if got := Quantile(c.values, c.share); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("Quantile(%v, %g) = %g, want %g", c.values, c.share, got, c.want)
		}
	}
}

// TestPrecisions reads precision.json, and what is not one.
func TestPrecisions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precision.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`[{"part": "group_pre", "idx": 3, "precision": "BF16"}, {"part": "single_conv", "idx": 0, "precision": "A_BF16_W_INT4"}, {"part": "vision", "idx": 0, "precision": "BF16"}]`)
	got, err := readPrecisions(path)
	want := map[addr.PartID]string{{Phase: addr.Prefill, Part: addr.Pre, Index: 3}: "BF16", {Phase: addr.Decode, Part: addr.Conv}: "A_BF16_W_INT4"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("precisions = %v %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "{}", `[{"idx": "3"}]`, "[1]", "\x00"} {
		write(bad)
		if _, err := readPrecisions(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "llima build") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := os.Truncate(path, maxPrecisions+1); err != nil {
		t.Fatal(err)
	}
	if _, err := readPrecisions(path); err == nil {
		t.Error("a file larger than the bound was read")
	}
}
