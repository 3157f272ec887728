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

// kl returns the mean divergence of a model with other weights, over windows.
func kl(t *testing.T, m *walk.Model, windows [][]int, w walk.Weights) (mean, same float64) {
	t.Helper()
	ctx := t.Context()
	a, b := m.NewStream(len(windows)), m.NewStream(len(windows))
	for _, s := range []walk.Stream{a, b} {
		if err := m.Embed(s, windows); err != nil {
			t.Fatal(err)
		}
	}
	for l := range m.Arch.NumHiddenLayers {
		if err := errors.Join(m.Advance(ctx, l, a, nil), m.Advance(ctx, l, b, w)); err != nil {
			t.Fatal(err)
		}
	}
	var both walk.Stream
	for i := range a {
		both = append(both, a[i], b[i])
	}
	v, n := m.Arch.VocabSize, 0
	var p []float32
	err := m.Logits(ctx, both, w, func(i int, logits []float32) error {
		if i%2 == 0 {
			p = logits
			return nil
		}
		for r := range m.Tokens - 1 {
			d, eq := divergence(p[r*v:(r+1)*v], logits[r*v:(r+1)*v])
			mean += d
			if eq {
				same++
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return mean / float64(n), same / float64(n)
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

// calibrated quantises every matrix but embeddings and head by some texts.
func (s *source) calibrated(t *testing.T, f quant.Format, picked [][]int, gradients bool) walk.Weights {
	t.Helper()
	m := s.model(len(picked[0]))
	q := &walk.Quantizer{
		Model: m, Settings: calib.Defaults(), Formats: func(string) []quant.Format { return []quant.Format{f} },
		HeldOut: len(picked) / 8, Float: m.NewStream(len(picked)), Quantised: m.NewStream(len(picked)),
	}
	if err := errors.Join(m.Embed(q.Float, picked), m.Embed(q.Quantised, picked)); err != nil {
		t.Fatal(err)
	}
	if gradients {
		all := map[string][]float32{}
		alloc := func(name string, n int) ([]float32, error) {
			all[name] = make([]float32, calib.GradientSize(n))
			return all[name], nil
		}
		start := time.Now()
		if err := m.Gradients(t.Context(), picked, alloc, nil); err != nil {
			t.Fatal(err)
		}
		t.Logf("gradients in %v", time.Since(start).Round(time.Second))
		q.Gradient = func(name string) ([]float32, error) { return all[name], nil }
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
func TestQuantizer(t *testing.T) {
	s := open(t, bard)
	f := quant.Format{Bits: 4, GroupSize: 32}
	held := s.windows(t, filepath.Join(text, "eval-tempest.txt"), 512)
	if os.Getenv("LLIMA_LONG") == "" {
		held = held[:4]
		simple, _ := kl(t, s.model(512), held, s.simple(t, f))
		got, _ := kl(t, s.model(512), held, s.calibrated(t, f, s.pick(t, 12, 192), true))
		if !(got < simple/2) {
			t.Errorf("KL %.5f after calibration, %.5f without inputs", got, simple)
		}
		return
	}
	simple, same := kl(t, s.model(512), held, s.simple(t, f))
	t.Logf("without inputs: KL %.5f, same top-1 %.4f", simple, same)
	if simple > 0.0095 {
		t.Errorf("KL %.5f without inputs, want at most 0.0095", simple)
	}
	start := time.Now()
	w := s.calibrated(t, f, s.pick(t, 128, 384), true)
	took := time.Since(start)
	got, same := kl(t, s.model(512), held, w)
	t.Logf("calibrated: KL %.5f, same top-1 %.4f, in %v", got, same, took.Round(time.Second))
	if got > 0.0023 {
		t.Errorf("KL %.5f, want at most 0.0023", got)
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
			Model: m, Settings: calib.Defaults(), Formats: func(string) []quant.Format { return formats }, HeldOut: 1,
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
