package emu

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/llima-build/llima/modalix/emu/kern"
	"github.com/llima-build/llima/modalix/isa"
)

// edges are numbers at which functions change their course, and their
// neighbours.
func edges() []float32 {
	var out []float32
	for _, v := range []float64{0, 0x1p-149, 0x1p-127, 0x1p-126, 1e-20, 0.5, 0.625, 1, 2, 10, 86.5, 87.3, 88, 88.8, 1e4, 0x1p63, 1e30, math.MaxFloat32, math.Inf(1)} {
		for _, s := range []float64{1, -1} {
			f := math.Float32bits(float32(s * v))
			for _, d := range []uint32{0, 1, ^uint32(0)} {
				out = append(out, math.Float32frombits(f+d)) // of 0 and infinity, NaNs among them
			}
		}
	}
	return append(out, float32(math.NaN()))
}

// samples are numbers spread over all bit patterns, after the edges.
func samples() []float32 {
	step := uint32(40009)
	if os.Getenv("LLIMA_LONG") != "" {
		step = 257
	}
	out := edges()
	for u := uint32(0); u < math.MaxUint32-step; u += step {
		out = append(out, math.Float32frombits(u))
	}
	return out
}

func same32(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// identical demands the bits of plain Go of a computation by kernels.
func identical(t *testing.T, what string, compute func(u *vectorSpace) []float32) {
	t.Helper()
	want := compute(&vectorSpace{})
	for _, set := range kern.Sets() {
		got := compute(&vectorSpace{set: set})
		for i := range want {
			if !same32(got[i], want[i]) {
				t.Fatalf("%s, %s: number %d is %v (%#x), want %v (%#x)", what, set.Name, i,
					got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
			}
		}
	}
}

// TestFunctionKernels compares every function, softcap at some caps, with
// plain Go.
func TestFunctionKernels(t *testing.T) {
	x := samples()
	for mode := range functions {
		caps := []float32{0}
		if uint32(mode) == isa.FnSoftcap {
			caps = []float32{30, -50, 0, float32(math.Inf(1)), 1e-40}
		}
		for _, limit := range caps {
			in := &isa.Inst{Op: isa.ACT, Mode: uint32(mode), Imm: math.Float32bits(limit)}
			identical(t, in.String(), func(u *vectorSpace) []float32 {
				d := make([]float32, len(x))
				u.function(in, d, x)
				return d
			})
		}
	}
}

// TestArithmeticKernels compares operations on pairs with plain Go.
func TestArithmeticKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var x, y []float32
	for _, a := range edges() {
		for _, b := range edges() {
			x, y = append(x, a), append(y, b)
		}
	}
	for range 5000 {
		x, y = append(x, math.Float32frombits(r.Uint32())), append(y, math.Float32frombits(r.Uint32()))
	}
	for op := isa.ADD; op <= isa.MAX; op++ {
		identical(t, op.String(), func(u *vectorSpace) []float32 {
			d := make([]float32, len(x))
			u.apply(op, d, x, y)
			return d
		})
		for _, imm := range edges() {
			identical(t, op.String(), func(u *vectorSpace) []float32 {
				d := make([]float32, 150)
				u.applyOne(op, d, x[:150], imm)
				return d
			})
		}
	}
}

// rows computes what is not elementwise, of any length: reductions, softmax
// over part of a row, and the best of a row.
func rows(u *vectorSpace, x []float32, lo, hi int, scale float32) []float32 {
	soft := make([]float32, len(x))
	u.softmaxRow(soft, x, lo, hi, scale)
	d := append([]float32{}, soft...)
	d = append(d, u.sum(x), u.sumOfSquares(x), u.maximum(x))
	u.top.n = 0
	u.insertAll(&u.top, x, 7, 5)
	for i := range u.top.n {
		d = append(d, u.top.values[i], float32(u.top.ids[i]))
	}
	return d
}

func TestRowKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	special := edges()
	for n := 1; n < 150; n++ {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
			switch r.IntN(40) {
			case 0:
				x[i] = special[r.IntN(len(special))]
			case 1:
				x[i] = x[r.IntN(i+1)] // equal ones
			}
		}
		lo := r.IntN(n + 1)
		hi := lo + r.IntN(n-lo+1)
		identical(t, "row", func(u *vectorSpace) []float32 { return rows(u, x, lo, hi, 0.125) })
	}
}

// FuzzRowKernels takes a row of any bits: kernels give what plain Go gives.
func FuzzRowKernels(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567"), uint8(0), uint8(9), uint32(0x3e000000))
	f.Add(make([]byte, 400), uint8(3), uint8(90), uint32(0x7f800000))
	f.Fuzz(func(t *testing.T, b []byte, lo, hi uint8, scale uint32) {
		x := make([]float32, len(b)/4)
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		from := min(int(lo), len(x))
		to := max(from, min(int(hi), len(x)))
		imm := math.Float32frombits(scale)
		identical(t, "row", func(u *vectorSpace) []float32 { return rows(u, x, from, to, imm) })
		for mode := range functions {
			in := &isa.Inst{Op: isa.ACT, Mode: uint32(mode), Imm: scale}
			identical(t, in.String(), func(u *vectorSpace) []float32 {
				d := make([]float32, len(x))
				u.function(in, d, x)
				return d
			})
		}
	})
}

// BenchmarkVectorKernels takes rows of 1024 numbers, without kernels and with each set.
func BenchmarkVectorKernels(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	x, y, d := make([]float32, 1024), make([]float32, 1024), make([]float32, 1024)
	for i := range x {
		x[i], y[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
	}
	narrow := &quad{s: newS()}
	for _, c := range []struct {
		name string
		f    func(u *vectorSpace)
	}{
		{"silu", func(u *vectorSpace) { u.function(&isa.Inst{Mode: isa.FnSilu}, d, x) }},
		{"gelu_tanh", func(u *vectorSpace) { u.function(&isa.Inst{Mode: isa.FnGeluTanh}, d, x) }},
		{"softmax", func(u *vectorSpace) { u.softmaxRow(d, x, 0, len(x), 0.125) }},
		{"sum_of_squares", func(u *vectorSpace) { u.sumOfSquares(x) }},
		{"add", func(u *vectorSpace) { u.apply(isa.ADD, d, x, y) }},
		{"to_bf16", func(u *vectorSpace) { u.store(narrow, &isa.Inst{TD: isa.BF16}, 0, x) }},
	} {
		for _, set := range append(kern.Sets(), nil) {
			name := "plain"
			if set != nil {
				name = set.Name
			}
			b.Run(c.name+"/"+name, func(b *testing.B) {
				u := &vectorSpace{set: set}
				b.SetBytes(4 * int64(len(x)))
				for b.Loop() {
					c.f(u)
				}
			})
		}
	}
}
