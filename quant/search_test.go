package quant_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/kern"
)

// least is the least squared error of codes from low to high under any real
// scale. Where x = 1/|scale| passes (k+½)/|w| a code steps from k to k+1; in
// between, the best scale lowers the error to Σw² - (Σwq)²/Σq².
func least(w []float32, low, high int) float64 {
	type step struct{ at, weight, squares float64 }
	total := 0.0
	for _, x := range w {
		total += float64(x) * float64(x)
	}
	best := total
	for _, sign := range []float64{1, -1} {
		var steps []step
		for _, x := range w {
			v, limit := float64(x)*sign, high
			if v < 0 {
				v, limit = -v, -low
			}
			for k := 0; k < limit && v > 0; k++ {
				steps = append(steps, step{(float64(k) + 0.5) / v, v, float64(2*k + 1)})
			}
		}
		slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
		a, b := 0.0, 0.0
		for _, s := range steps {
			a, b = a+s.weight, b+s.squares
			best = min(best, total-a*a/b)
		}
		if -low == high {
			break
		}
	}
	return max(best, 0)
}

func codeRange(bits int) (low, high int) {
	if bits == 4 {
		return -8, 7
	}
	return -127, 127
}

// excess quantises w and returns the squared error and the least one.
func excess(t *testing.T, w []float32, f quant.Format) (got, best float64) {
	t.Helper()
	low, high := codeRange(f.Bits)
	size := f.GroupSize
	if size == 0 {
		size = len(w)
	}
	codes, scales := quantise(t, w, f)
	for g, s := range scales {
		at, end := g*size, min((g+1)*size, len(w))
		got += errorOf(w[at:end], codes[at:end], s)
		best += least(w[at:end], low, high)
	}
	return got, best
}

// TestSearchGroups compares with the least error of groups of every kind.
func TestSearchGroups(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1500 {
		w := group(r, 32)
		energy := 0.0
		for _, x := range w {
			energy += float64(x) * float64(x)
		}
		if energy < 1e-9 {
			continue // scales below 2^-14 have fewer bits
		}
		got, best := excess(t, w, quant.Format{Bits: 4, GroupSize: 32})
		if got > best*1.05+energy*1e-6 {
			t.Errorf("Quantize of a group with Σw² = %g: error %g, the least is %g", energy, got, best)
		}
		var of [3]float64
		for _, m := range []quant.Method{quant.Nearest, quant.Search} {
			codes, scales := quantise(t, w, quant.Format{Bits: 8, GroupSize: 32, Method: m})
			of[m] = errorOf(w, codes, scales[0])
		}
		// The search compares errors before float16 takes a part of the scale.
		if of[quant.Search] > of[quant.Nearest]*1.02+energy*1e-7 {
			t.Errorf("Quantize of a group with Σw² = %g to 8 bits: error %g, that of the nearest is %g", energy, of[quant.Search], of[quant.Nearest])
		}
	}
}

// TestSearchModel measures how far a trained model's errors are above the
// least ones, in per cent.
func TestSearchModel(t *testing.T) {
	in, err := safetensors.Open("../testdata/models/bard-3m/model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	for _, c := range []struct {
		f     quant.Format
		bound float64
	}{
		{quant.Format{Bits: 4, GroupSize: 32}, 0.01},
		{quant.Format{Bits: 4, GroupSize: 64}, 0.02},
		{quant.Format{Bits: 4, GroupSize: 128}, 0.04},
		{quant.Format{Bits: 4}, 0.05},
		{quant.Format{Bits: 8, GroupSize: 32, Method: quant.Search}, 0.8},
		{quant.Format{Bits: 8, GroupSize: 128, Method: quant.Search}, 0.5},
		{quant.Format{Bits: 8, Method: quant.Search}, 0.4},
		{quant.Format{Bits: 4, GroupSize: 32, Method: quant.Nearest}, 14},
		{quant.Format{Bits: 8, GroupSize: 32, Method: quant.Nearest}, 36},
	} {
		got, best := 0.0, 0.0
		for i, e := range in.Tensors() {
			if len(e.Shape) != 2 {
				continue
			}
			k := e.Shape[1]
			w := make([]float32, k)
			row := (i * 37) % e.Shape[0]
			if err := tensor.ToF32(w, in.Bytes(e)[2*row*k:2*(row+1)*k], e.DType); err != nil {
				t.Fatal(err)
			}
			a, b := excess(t, w, c.f)
			got, best = got+a, best+b
		}
		above := 100 * (got/best - 1)
		t.Logf("%v, %v: %.4f %% above the least error", c.f, c.f.Method, above)
		if !(above < c.bound) {
			t.Errorf("%v, %v: %.4f %% above the least error, want less than %v", c.f, c.f.Method, above, c.bound)
		}
	}
}

// TestSearchAgain: what was quantised before is found again, exactly.
func TestSearchAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, f := range []quant.Format{{Bits: 4, GroupSize: 32}, {Bits: 4}, {Bits: 8, GroupSize: 64, Method: quant.Search}} {
		low, high := codeRange(f.Bits)
		for range 300 {
			w := make([]float32, 64)
			size := f.GroupSize
			if size == 0 {
				size = len(w)
			}
			scale := float32(0)
			for i := range w {
				w[i] = scale * float32(low+r.IntN(high-low+1))
				if i%size == 0 { // the greatest code is there
					scale = tensor.FromF16(tensor.ToF16(float32(r.NormFloat64() * 0.01)))
					w[i] = scale * float32(low)
				}
			}
			codes, scales := quantise(t, w, f)
			for i, x := range quant.Dequantize(codes, scales, 1, len(w), f) {
				if x != w[i] {
					t.Fatalf("%v: weight %d = %v, was %v", f, i, x, w[i])
				}
			}
		}
	}
}

// TestKernels compares whole files across instruction sets: every format,
// method and type, widths and heights that are no whole vectors.
func TestKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, shape := range [][2]int{{1, 1}, {2, 40}, {70, 96}, {64, 576}, {131, 200}} {
		n, k := shape[0], shape[1]
		var w []float32
		for range n {
			w = append(w, group(r, k)...)
		}
		for _, dt := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
			src := make([]byte, n*k*dt.Bytes())
			for i, x := range w {
				if dt == tensor.F16 {
					w[i] = max(min(x, 65504), -65504)
				}
			}
			if err := tensor.FromF32(src, w, dt); err != nil {
				t.Fatal(err)
			}
			for _, f := range formats() {
				var want file
				for i, s := range kern.Sets() {
					restore := quant.SetKernels(s)
					got := make(file, f.SizeBytes(n, k)+int64(n*k+2*n))
					err := quant.Write(got, bytes.NewReader(src), dt, n, k, f)
					if err == nil {
						err = quant.WriteEmbeddings8(got[f.SizeBytes(n, k):], bytes.NewReader(src), dt, n, k)
					}
					restore()
					if err != nil {
						t.Fatalf("Write([%d, %d] of %v, %v) = %v", n, k, dt, f, err)
					}
					if i == 0 {
						want = got
					} else if !bytes.Equal(got, want) {
						t.Errorf("Write([%d, %d] of %v, %v, %v): %s and %s differ", n, k, dt, f, f.Method, kern.Sets()[0].Name, s.Name)
					}
				}
			}
		}
	}
}

func formats() []quant.Format {
	all := []quant.Format{{Bits: 16}}
	for _, bits := range []int{4, 8} {
		for _, size := range []int{0, 32, 64, 128} {
			for _, m := range []quant.Method{quant.Nearest, quant.Search} {
				all = append(all, quant.Format{Bits: bits, GroupSize: size, Method: m})
			}
		}
	}
	return all
}

func BenchmarkWrite(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 10))
	const n, k = 1536, 576
	src := make([]byte, 0, 2*n*k)
	for range n * k {
		src = binary.LittleEndian.AppendUint16(src, tensor.ToBF16(float32(r.NormFloat64()*0.02)))
	}
	for _, s := range kern.Sets() {
		for _, f := range formats() {
			out := make(file, f.SizeBytes(n, k))
			name := strings.ReplaceAll(fmt.Sprintf("%s/%v/%v", s.Name, f, f.Method), "/default", "")
			b.Run(name, func(b *testing.B) {
				defer quant.SetKernels(s)()
				b.SetBytes(int64(len(src)))
				for b.Loop() {
					if err := quant.Write(out, bytes.NewReader(src), tensor.BF16, n, k, f); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n/k, "ns/weight")
			})
		}
	}
}
