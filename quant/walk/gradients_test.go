package walk_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/calib"
	"github.com/llima-build/llima/quant/walk"
)

const families = "../../testdata/models/families"

// TestLayers takes gradients through whole layers of every family, and
// compares them, along a direction, with differences of what the evaluator
// computes.
func TestLayers(t *testing.T) {
	dirs, err := os.ReadDir(families)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		t.Run(d.Name(), func(t *testing.T) {
			s := open(t, filepath.Join(families, d.Name()))
			const tokens = 14
			m := &walk.Model{Arch: s.cfg, Tensor: s.tensor, Tokens: tokens}
			r := rand.New(rand.NewPCG(3, 4))
			var ids []int
			for range tokens {
				ids = append(ids, r.IntN(s.cfg.VocabSize))
			}
			stream := m.NewStream(1)
			if err := m.Embed(stream, [][]int{ids}); err != nil {
				t.Fatal(err)
			}
			for l := range s.cfg.NumHiddenLayers {
				end := "hidden_out"
				if l == s.cfg.NumHiddenLayers-1 {
					end = "logits"
				}
				checkLayer(t, m, l, stream[0], end, r)
				tried++
				if err := m.Advance(t.Context(), l, stream, nil); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	if tried < 20 {
		t.Errorf("%d layers tried", tried)
	}
}

func checkLayer(t *testing.T, m *walk.Model, layer int, hidden []float32, end string, r *rand.Rand) {
	t.Helper()
	var seed []float32
	grads, err := m.Back(layer, hidden, end, func(v []float32) []float32 {
		for range v {
			seed = append(seed, float32(r.NormFloat64()))
		}
		return seed
	})
	if err != nil {
		t.Fatalf("layer %d: %v", layer, err)
	}
	names := slices.Sorted(maps.Keys(grads))
	in := eval.Value{DType: onnx.Float, Dims: []int64{int64(m.Tokens), int64(m.Arch.HiddenSize)}, F: hidden}
	at, err := m.Values(layer, map[string]eval.Value{"hidden": in}, slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "hidden" })...)
	if err != nil {
		t.Fatal(err)
	}
	at["hidden"] = in
	for _, name := range names {
		size := 0.0
		for _, g := range grads[name].F {
			size += float64(g) * float64(g)
		}
		size = math.Sqrt(size)
		// A step that moves the outputs by much more than float32 rounds, and by
		// much less than functions bend.
		power := 0.0
		for _, v := range at[name].F {
			power += float64(v) * float64(v)
		}
		h := 2e-3 * math.Sqrt(power/float64(len(at[name].F)))
		direction := make([]float64, len(at[name].F))
		along := 0.0
		for i := range direction {
			direction[i] = r.NormFloat64()
			along += direction[i] * float64(grads[name].F[i])
		}
		var side [2]float64
		for j, by := range []float64{h, -h} {
			given := map[string]eval.Value{"hidden": in}
			v := at[name]
			v.F = slices.Clone(v.F)
			for i, d := range direction {
				v.F[i] += float32(by * d)
			}
			given[name] = v
			out, err := m.Values(layer, given, end)
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range out[end].F {
				side[j] += float64(f) * float64(seed[i])
			}
		}
		want := (side[0] - side[1]) / (2 * h)
		if size == 0 || math.Abs(along-want) > 0.02*size {
			t.Errorf("layer %d: gradient of %s along a direction is %v, differences give %v (its size is %v)", layer, name, along, want, size)
		}
	}
}

// TestGradients checks the sums of gradients against their definition on one
// text, and that dividing texts changes nothing.
func TestGradients(t *testing.T) {
	s := open(t, bard)
	m := s.model(24)
	texts := s.windows(t, filepath.Join(text, "calibration.txt"), 24)[:3]
	collect := func(texts [][]int) map[string][]float32 {
		out := map[string][]float32{}
		total := 0
		err := m.Gradients(t.Context(), texts, func(name string, n int) ([]float32, error) {
			out[name] = make([]float32, calib.GradientSize(n))
			return out[name], nil
		}, func(done, n int) {
			if total = n; done > n {
				t.Errorf("progress %d of %d", done, n)
			}
		})
		if err != nil || total == 0 {
			t.Fatalf("Gradients = %v, progress to %d", err, total)
		}
		return out
	}
	got := collect(texts)
	if want := 7 * s.cfg.NumHiddenLayers; len(got) != want {
		t.Errorf("gradients of %d matrices, want %d", len(got), want)
	}
	name := "model.layers.1.self_attn.o_proj.weight"
	n := s.cfg.HiddenSize
	trace := 0.0
	for i := range n {
		if got[name][i*n+i] < 0 {
			t.Errorf("moment (%d,%d) = %v", i, i, got[name][i*n+i])
		}
		trace += float64(got[name][i*n+i])
		for j := range i {
			if a, b := got[name][i*n+j], got[name][j*n+i]; math.Abs(float64(a-b)) > 1e-5*math.Abs(float64(a))+1e-12 {
				t.Fatalf("moments (%d,%d) and (%d,%d) are %v and %v", i, j, j, i, a, b)
			}
		}
	}
	if !(trace > 0) {
		t.Errorf("trace %v", trace)
	}
	first := collect(texts[:1])
	rest := 0.0
	for i, v := range got[name] {
		if i%(n+1) == 0 {
			rest += 3*float64(v) - float64(first[name][i])
		}
	}
	if !(rest > 0) {
		t.Errorf("the other texts add a trace of %v", rest)
	}
}

// TestFisher checks gradients by what they are for: half of tr(G·D·H·Dᵀ) is
// the divergence that a change D of a matrix makes, to second order and as far
// as gradients and inputs do not go together.
func TestFisher(t *testing.T) {
	if os.Getenv("LLIMA_LONG") == "" {
		t.Skip("LLIMA_LONG is not set")
	}
	s := open(t, bard)
	const tokens, count = 96, 8
	m := s.model(tokens)
	texts := s.windows(t, filepath.Join(text, "calibration.txt"), tokens)[:count]
	grads := map[string][]float32{}
	err := m.Gradients(t.Context(), texts, func(name string, n int) ([]float32, error) {
		grads[name] = make([]float32, calib.GradientSize(n))
		return grads[name], nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const layer = 1
	stream := m.NewStream(count)
	if err := m.Embed(stream, texts); err != nil {
		t.Fatal(err)
	}
	if err := m.Advance(t.Context(), 0, stream, nil); err != nil {
		t.Fatal(err)
	}
	all := s.simple(t, quant.Format{Bits: 4, GroupSize: 32})
	for _, c := range []struct{ tensor, input string }{
		{"self_attn.q_proj", "input_norm"},
		{"self_attn.v_proj", "input_norm"},
		{"self_attn.o_proj", "attention"},
		{"mlp.gate_proj", "post_norm"},
		{"mlp.down_proj", "mlp"},
	} {
		name := "model.layers.1." + c.tensor + ".weight"
		dt, shape, raw, err := s.tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		w := make([]float32, shape[0]*shape[1])
		if err := tensor.ToF32(w, raw, dt); err != nil {
			t.Fatal(err)
		}
		n, k := shape[0], shape[1]
		predicted := 0.0
		for _, hidden := range stream {
			in := eval.Value{DType: onnx.Float, Dims: []int64{tokens, int64(m.Arch.HiddenSize)}, F: hidden}
			v, err := m.Values(layer, map[string]eval.Value{"hidden": in}, c.input)
			if err != nil {
				t.Fatal(err)
			}
			for x := range slices.Chunk(v[c.input].F, k) {
				e := make([]float64, n)
				for i := range e {
					for j, f := range x {
						e[i] += float64(all[name][i*k+j]-w[i*k+j]) * float64(f)
					}
				}
				for i := range e {
					for j := range e {
						predicted += e[i] * float64(grads[name][i*n+j]) * e[j]
					}
				}
			}
		}
		predicted /= 2 * tokens * count
		got, _ := kl(t, m, texts, walk.Weights{name: all[name]})
		if ratio := predicted / got; !(ratio > 0.6 && ratio < 1.6) {
			t.Errorf("%s: gradients predict a divergence of %.3g, it is %.3g", c.tensor, predicted, got)
		} else {
			t.Logf("%s: gradients predict a divergence of %.3g, it is %.3g", c.tensor, predicted, got)
		}
	}
}

// TestGradientTexts checks which texts gradients come from.
func TestGradientTexts(t *testing.T) {
	s := open(t, bard)
	all := s.windows(t, filepath.Join(text, "calibration.txt"), 8)
	for _, c := range []struct{ texts, want int }{{3, 3}, {33, 32}, {64, 32}} {
		var picked [][]int
		for i := range c.want {
			picked = append(picked, all[i*c.texts/c.want])
		}
		if got, want := s.gradients(t, all[:c.texts]), s.gradients(t, picked); !reflect.DeepEqual(got, want) {
			t.Errorf("gradients of %d texts are not those of %d", c.texts, c.want)
		}
	}
}
