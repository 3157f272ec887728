package walk_test

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
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

func open(t *testing.T) *source {
	t.Helper()
	ck, err := checkpoint.Open(bard)
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
	b, err := os.ReadFile(filepath.Join(bard, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Load(b)
	if err != nil {
		t.Fatal(err)
	}
	return &source{ck, cfg, tok}
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
	a, err := m.Embed(windows)
	if err != nil {
		t.Fatal(err)
	}
	b := append(walk.Stream(nil), a...)
	for l := range m.Arch.NumHiddenLayers {
		if a, err = m.Advance(l, a, nil); err != nil {
			t.Fatal(err)
		}
		if b, err = m.Advance(l, b, w); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	n := 0
	v := m.Arch.VocabSize
	gate := make(chan struct{}, runtime.NumCPU())
	for i := range a {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			p, err := m.Logits(a[i])
			if err != nil {
				t.Error(err)
				return
			}
			q, err := m.Logits(b[i])
			if err != nil {
				t.Error(err)
				return
			}
			for r := range m.Tokens - 1 {
				d, eq := divergence(p[r*v:(r+1)*v], q[r*v:(r+1)*v])
				mu.Lock()
				mean += d
				if eq {
					same++
				}
				n++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
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

// calibrated quantises every matrix but embeddings and head by some texts.
func (s *source) calibrated(t *testing.T, f quant.Format, texts, tokens int, gradient bool) walk.Weights {
	t.Helper()
	m := s.model(tokens)
	all := s.windows(t, filepath.Join(text, "calibration.txt"), tokens)
	var picked [][]int
	for i := range texts {
		picked = append(picked, all[i*(len(all)/texts)])
	}
	stream, err := m.Embed(picked)
	if err != nil {
		t.Fatal(err)
	}
	q := &walk.Quantizer{
		Model: m, Settings: calib.Defaults(), Format: func(string) quant.Format { return f },
		Float: stream, Quantised: slices.Clone(stream),
	}
	if gradient {
		if q.Gradient, err = m.Gradient(picked); err != nil {
			t.Fatal(err)
		}
	}
	out := walk.Weights{}
	for l := range s.cfg.NumHiddenLayers {
		results, err := q.Layer(l)
		if err != nil {
			t.Fatal(err)
		}
		for name, r := range results {
			_, shape, _, _ := s.tensor(name)
			out[name] = quant.Dequantize(r.Codes, r.Scales, shape[0], shape[1], f)
		}
	}
	return out
}

const text = "../../testdata/text"

// TestQuantizer measures what calibration gains on text that it has not seen.
// The bounds of the long test are what it reached when it was written, and a
// little more: sampling, not arithmetic, is what another text changes.
func TestQuantizer(t *testing.T) {
	s := open(t)
	f := quant.Format{Bits: 4, GroupSize: 32}
	held := s.windows(t, filepath.Join(text, "eval-tempest.txt"), 512)
	if os.Getenv("LLIMA_LONG") == "" {
		held = held[:6]
		simple, _ := kl(t, s.model(512), held, s.simple(t, f))
		got, _ := kl(t, s.model(512), held, s.calibrated(t, f, 12, 192, true))
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
	for _, c := range []struct {
		gradient bool
		bound    float64
	}{{false, 0.0029}, {true, 0.0025}} {
		start := time.Now()
		w := s.calibrated(t, f, 128, 384, c.gradient)
		took := time.Since(start)
		got, same := kl(t, s.model(512), held, w)
		t.Logf("calibrated, gradients %v: KL %.5f, same top-1 %.4f, in %v", c.gradient, got, same, took.Round(time.Second))
		if got > c.bound {
			t.Errorf("KL %.5f, want at most %g", got, c.bound)
		}
	}
}
