package ordered_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/llima-build/llima/internal/ordered"
)

// numbers draws values over many magnitudes, with what rounding trips over.
func numbers(r *rand.Rand, n int) []float32 {
	odd := []float32{0, float32(math.Copysign(0, -1)), math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32 * 3, 1e38, -1e38}
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64() * math.Exp2(float64(r.IntN(20)-10)))
		if r.IntN(50) == 0 {
			out[i] = odd[r.IntN(len(odd))]
		}
	}
	return out
}

func bits(f []float32) []uint32 {
	out := make([]uint32, len(f))
	for i, x := range f {
		if out[i] = math.Float32bits(x); x != x {
			out[i] = 0x7fc00000
		}
	}
	return out
}

// TestLevels checks that every level gives the bits of plain Go.
func TestLevels(t *testing.T) {
	defer ordered.Use(ordered.Levels()[len(ordered.Levels())-1])
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		m, n, k := 1+r.IntN(20), 1+r.IntN(70), 1+r.IntN(100)
		a := ordered.Matrix{Data: numbers(r, (m-1)*(k+3)+k), Rows: m, Cols: k, Stride: k + 3}
		b := ordered.Matrix{Data: numbers(r, (k-1)*(n+5)+n), Rows: k, Cols: n, Stride: n + 5}
		start := numbers(r, (m-1)*(n+1)+n)
		var want []uint32
		for _, l := range ordered.Levels() {
			ordered.Use(l)
			c := ordered.Matrix{Data: slices.Clone(start), Rows: m, Cols: n, Stride: n + 1}
			ordered.Multiply(c, a, b)
			if got := bits(c.Data); want == nil {
				want = got
			} else if !slices.Equal(got, want) {
				t.Fatalf("level %d: Multiply [%d,%d]·[%d,%d] differs from plain Go", l, m, k, k, n)
			}
		}
		want = nil
		for _, l := range ordered.Levels() {
			ordered.Use(l)
			y := slices.Clone(start)
			ordered.Axpy(y, append(slices.Clone(start[1:]), 3), 0.7)
			if got := bits(y); want == nil {
				want = got
			} else if !slices.Equal(got, want) {
				t.Fatalf("level %d: Axpy of %d differs from plain Go", l, len(y))
			}
		}
		var wide []float64
		for _, l := range ordered.Levels() {
			ordered.Use(l)
			y := make([]float64, len(start))
			for i, v := range start {
				y[i] = float64(v) / 3
			}
			ordered.Axpy64(y, slices.Clone(y), -1.0/7)
			if wide == nil {
				wide = y
			} else if !slices.Equal(y, wide) {
				t.Fatalf("level %d: Axpy64 of %d differs from plain Go", l, len(y))
			}
		}
	}
}

// TestMultiply compares with sums in float64.
func TestMultiply(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const m, n, k = 9, 33, 200
	draw := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(r.NormFloat64())
		}
		return out
	}
	a, b, c := draw(m*k), draw(k*n), make([]float32, m*n)
	ordered.Multiply(ordered.Dense(c, m, n), ordered.Dense(a, m, k), ordered.Dense(b, k, n))
	bt := ordered.Transpose(ordered.Dense(b, k, n))
	for i := range m {
		for j := range n {
			var want, size float64
			for l := range k {
				p := float64(a[i*k+l]) * float64(bt.Data[j*k+l])
				want += p
				size += math.Abs(p)
			}
			if d := math.Abs(float64(c[i*n+j]) - want); d > size*math.Exp2(-24)*8 {
				t.Errorf("(%d,%d) = %v, want %v", i, j, c[i*n+j], want)
			}
		}
	}
}

func BenchmarkMultiply(b *testing.B) {
	defer ordered.Use(ordered.Levels()[len(ordered.Levels())-1])
	const m, n, k = 128, 512, 512
	x, w, c := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n)
	for _, l := range ordered.Levels() {
		b.Run(fmt.Sprint(l), func(b *testing.B) {
			ordered.Use(l)
			for b.Loop() {
				ordered.Multiply(ordered.Dense(c, m, n), ordered.Dense(x, m, k), ordered.Dense(w, k, n))
			}
			b.ReportMetric(2*m*n*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

func BenchmarkAxpy(b *testing.B) {
	defer ordered.Use(ordered.Levels()[len(ordered.Levels())-1])
	y, x := make([]float32, 576), make([]float32, 576)
	for _, l := range ordered.Levels() {
		b.Run(fmt.Sprint(l), func(b *testing.B) {
			ordered.Use(l)
			for b.Loop() {
				ordered.Axpy(y, x, 0.5)
			}
			b.ReportMetric(2*576*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
