package walk_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/formats/tokenizer"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/calib"
	"github.com/llima-build/llima/quant/walk"
)

const bard = "../../testdata/models/bard-3m"

type source struct {
	ck  *checkpoint.Checkpoint
	cfg *arch.Config
	tok *tokenizer.Tokenizer
}

func open(t *testing.T, dir string) *source {
	t.Helper()
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ck.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg, err := arch.Parse(ck.Config())
	if err != nil {
		t.Fatal(err)
	}
	s := &source{ck: ck, cfg: cfg}
	if b, err := os.ReadFile(filepath.Join(dir, "tokenizer.json")); err == nil {
		if s.tok, err = tokenizer.Load(b); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *source) tensor(name string) (tensor.DType, []int, []byte, error) {
	t, ok := s.ck.Tensor(name)
	if !ok {
		return 0, nil, nil, os.ErrNotExist
	}
	b, err := s.ck.Bytes(t)
	return t.DType, t.Shape, b, err
}

func (s *source) model(tokens int) *walk.Model {
	return &walk.Model{Arch: s.cfg, Tensor: s.tensor, Tokens: tokens}
}

// windows cuts a text into windows of tokens, BOS first in each.
func (s *source) windows(t *testing.T, path string, tokens int) [][]int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ids := s.tok.Encode(string(b), false)
	var out [][]int
	for i := 0; i+tokens-1 <= len(ids); i += tokens - 1 {
		out = append(out, append([]int{s.cfg.BOS}, ids[i:i+tokens-1]...))
	}
	return out
}

// kl returns the mean divergence of a model with other weights, over windows,
// and how often the likeliest token stays the same.
func kl(t *testing.T, m *walk.Model, windows [][]int, w walk.Weights) (mean, same float64) {
	t.Helper()
	means, sames := divergences(t, m, windows, w)
	return means[0], sames[0]
}

// divergences is kl for several weights.
func divergences(t *testing.T, m *walk.Model, windows [][]int, weights ...walk.Weights) (mean, same []float64) {
	t.Helper()
	ctx := t.Context()
	streams := make([]walk.Stream, 1+len(weights)) // the first with the model's own
	for i := range streams {
		streams[i] = m.NewStream(len(windows))
		if err := m.Embed(streams[i], windows); err != nil {
			t.Fatal(err)
		}
		var w walk.Weights
		if i > 0 {
			w = weights[i-1]
		}
		for l := range m.Arch.NumHiddenLayers {
			if err := m.Advance(ctx, l, streams[i], w); err != nil {
				t.Fatal(err)
			}
		}
	}
	var together walk.Stream
	for i := range windows {
		for _, s := range streams {
			together = append(together, s[i])
		}
	}
	mean, same = make([]float64, len(weights)), make([]float64, len(weights))
	v := m.Arch.VocabSize
	per := 1 / float64(len(windows)*(m.Tokens-1))
	var p []float32
	err := m.Logits(ctx, together, nil, func(i int, logits []float32) error {
		which := i % len(streams)
		if which == 0 {
			p = logits
			return nil
		}
		for r := range m.Tokens - 1 {
			d, eq := divergence(p[r*v:(r+1)*v], logits[r*v:(r+1)*v])
			mean[which-1] += d * per
			if eq {
				same[which-1] += per
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return mean, same
}

func divergence(p, q []float32) (kl float64, same bool) {
	norm := func(x []float32) (float64, int) {
		top := 0
		for i, v := range x {
			if v > x[top] {
				top = i
			}
		}
		sum := 0.0
		for _, v := range x {
			sum += math.Exp(float64(v - x[top]))
		}
		return float64(x[top]) + math.Log(sum), top
	}
	zp, tp := norm(p)
	zq, tq := norm(q)
	for i := range p {
		a := float64(p[i]) - zp
		kl += math.Exp(a) * (a - (float64(q[i]) - zq))
	}
	return kl, tp == tq
}

// simple quantises every matrix but embeddings and head without inputs.
func (s *source) simple(t *testing.T, f quant.Format) walk.Weights {
	t.Helper()
	out := walk.Weights{}
	for _, x := range s.ck.Tensors() {
		if len(x.Shape) != 2 || x.Name == s.cfg.HeadName() {
			continue
		}
		dt, shape, raw, err := s.tensor(x.Name)
		if err != nil {
			t.Fatal(err)
		}
		codes, scales, err := quant.Quantize(raw, dt, shape[0], shape[1], f)
		if err != nil {
			t.Fatal(err)
		}
		out[x.Name] = quant.Dequantize(codes, scales, shape[0], shape[1], f)
	}
	return out
}

// pick takes texts at even distances from calibration.txt.
func (s *source) pick(t *testing.T, texts, tokens int) [][]int {
	t.Helper()
	all := s.windows(t, filepath.Join(text, "calibration.txt"), tokens)
	var picked [][]int
	for i := range texts {
		picked = append(picked, all[i*(len(all)/texts)])
	}
	return picked
}

// gradients returns what reaches the outputs of every matrix.
func (s *source) gradients(t *testing.T, picked [][]int) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	start := time.Now()
	err := s.model(len(picked[0])).Gradients(t.Context(), picked, func(name string, n int) ([]float32, error) {
		all[name] = make([]float32, calib.GradientSize(n))
		return all[name], nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("gradients in %v", time.Since(start).Round(time.Second))
	return all
}

// calibrated quantises every matrix but embeddings and head by some texts, and
// by gradients where they are not nil.
func (s *source) calibrated(t *testing.T, f quant.Format, picked [][]int, grads map[string][]float32) walk.Weights {
	t.Helper()
	m := s.model(len(picked[0]))
	q := &walk.Quantizer{
		Model: m, Settings: calib.Defaults(), Formats: func(string) []quant.Format { return []quant.Format{f} },
		Float: m.NewStream(len(picked)), Quantised: m.NewStream(len(picked)),
	}
	if err := errors.Join(m.Embed(q.Float, picked), m.Embed(q.Quantised, picked)); err != nil {
		t.Fatal(err)
	}
	if grads != nil {
		q.Gradient = func(name string) ([]float32, error) { return grads[name], nil }
	}
	out := walk.Weights{}
	for l := range s.cfg.NumHiddenLayers {
		results, err := q.Layer(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			out[r.Tensor] = quant.Dequantize(r.Codes, r.Scales, r.N, r.K, r.Format)
		}
	}
	return out
}

const text = "../../testdata/text"

// TestQuantizer measures what calibration gains on text that it has not seen.
// The bounds of the long test are what was reached when it was written, and
// the few per cent by which any change of the method moves one text.
func TestQuantizer(t *testing.T) {
	s := open(t, bard)
	held := s.windows(t, filepath.Join(text, "eval-tempest.txt"), 512)
	g32 := quant.Format{Bits: 4, GroupSize: 32}
	if os.Getenv("LLIMA_LONG") == "" {
		picked := s.pick(t, 12, 192)
		got, _ := divergences(t, s.model(512), held[:4], s.simple(t, g32), s.calibrated(t, g32, picked, s.gradients(t, picked)))
		if !(got[1] < got[0]/2) {
			t.Errorf("KL %.5f after calibration, %.5f without inputs", got[1], got[0])
		}
		return
	}
	cases := []struct {
		format    quant.Format
		gradients bool
		bound     float64
	}{
		{g32, true, 0.0022},
		{g32, false, 0.0027},
		{quant.Format{Bits: 4, GroupSize: 128}, true, 0.0031},
		{quant.Format{Bits: 8}, true, 0.00002},
		{quant.Format{Bits: 8, GroupSize: 32}, true, 0.00001},
	}
	weights := []walk.Weights{s.simple(t, g32)}
	picked := s.pick(t, 128, 384)
	grads := s.gradients(t, picked)
	for _, c := range cases {
		start, by := time.Now(), grads
		if !c.gradients {
			by = nil
		}
		weights = append(weights, s.calibrated(t, c.format, picked, by))
		t.Logf("%v: %v", c.format, time.Since(start).Round(time.Second))
	}
	got, same := divergences(t, s.model(512), held, weights...)
	t.Logf("%v without inputs: KL %.5f, same top-1 %.4f", g32, got[0], same[0])
	for i, c := range cases {
		t.Logf("%v, gradients %v: KL %.6f, same top-1 %.4f", c.format, c.gradients, got[i+1], same[i+1])
		if got[i+1] > c.bound {
			t.Errorf("%v, gradients %v: KL %.6f, want at most %g", c.format, c.gradients, got[i+1], c.bound)
		}
	}
}

// TestResume checks that a layer's result depends on the streams at its border
// alone, and not on how many processors there are; that progress ends where it said, and that the head comes last.
func TestResume(t *testing.T) {
	s := open(t, bard)
	m := s.model(48)
	texts := s.windows(t, filepath.Join(text, "calibration.txt"), 48)[:6]
	formats := []quant.Format{{Bits: 4, GroupSize: 32}, {Bits: 8}}
	start := func() *walk.Quantizer {
		return &walk.Quantizer{
			Model: m, Settings: calib.Defaults(), Formats: func(string) []quant.Format { return formats },
			Float: m.NewStream(len(texts)), Quantised: m.NewStream(len(texts)),
		}
	}
	q := start()
	if err := errors.Join(m.Embed(q.Float, texts), m.Embed(q.Quantised, texts)); err != nil {
		t.Fatal(err)
	}
	done, total := 0, 0
	q.Progress = func(d, n int) {
		if d != 1 && d != done+1 {
			t.Errorf("progress %d of %d after %d", d, n, done)
		}
		done, total = d, n
	}
	for l := range s.cfg.NumHiddenLayers {
		again, by := start(), m.NewStream(len(texts))
		for i := range texts {
			copy(again.Float[i], q.Float[i])
			copy(again.Quantised[i], q.Quantised[i])
			copy(by[i], q.Quantised[i])
		}
		want, err := q.Layer(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		if done != total {
			t.Errorf("layer %d: progress %d of %d at the end", l, done, total)
		}
		if l != 1 {
			continue
		}
		processors := runtime.GOMAXPROCS(1)
		got, err := again.Layer(t.Context(), l)
		runtime.GOMAXPROCS(processors)
		if err != nil {
			t.Fatal(err)
		}
		w := walk.Weights{}
		for i, r := range want {
			if !reflect.DeepEqual(got[i], r) {
				t.Errorf("layer %d: %s as %v differs after a new start", l, r.Tensor, r.Format)
			}
			if r.Format == formats[0] {
				w[r.Tensor] = quant.Dequantize(r.Codes, r.Scales, r.N, r.K, r.Format)
			}
		}
		if err := m.Advance(t.Context(), l, by, w); err != nil {
			t.Fatal(err)
		}
		for i := range texts {
			if !slices.Equal(again.Float[i], q.Float[i]) || !slices.Equal(again.Quantised[i], q.Quantised[i]) || !slices.Equal(by[i], q.Quantised[i]) {
				t.Fatalf("layer %d: text %d differs after a new start, or when codes are known", l, i)
			}
		}
	}
	head, err := q.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(head) != 2 || head[1].Tensor != s.cfg.HeadName() || head[1].Format.Bits != 8 || len(head[1].Codes) != s.cfg.VocabSize*s.cfg.HiddenSize {
		t.Errorf("Head = %d results", len(head))
	}
}
