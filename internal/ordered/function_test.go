package ordered_test

import (
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/llima-build/llima/internal/ordered"
)

// TestExp measures exp against math.Exp over its whole domain.
func TestExp(t *testing.T) {
	inf := float32(math.Inf(1))
	worst := 0.0
	for x := float32(-86.5); x < 88; x += 0.00137 {
		want := math.Exp(float64(x))
		worst = max(worst, math.Abs(float64(ordered.Exp(x))-want)/want)
	}
	if worst > 1.5e-7 {
		t.Errorf("exp is %.3g off, want at most 1.5e-7", worst)
	}
	for _, c := range []struct{ x, want float32 }{{0, 1}, {88.1, inf}, {inf, inf}, {-86.6, 0}, {-inf, 0}} {
		if got := ordered.Exp(c.x); got != c.want {
			t.Errorf("Exp(%v) = %v, want %v", c.x, got, c.want)
		}
	}
	if got := ordered.Exp(float32(math.NaN())); got == got {
		t.Errorf("Exp(NaN) = %v, want NaN", got)
	}
	if got := ordered.Sigmoid(0); got != 0.5 {
		t.Errorf("sigmoid(0) = %v, want 0.5", got)
	}
}

// TestSum pins the order of a sum: 2^24 swallows a 1 that is added to it,
// but not the 16 ones of the other lanes.
func TestSum(t *testing.T) {
	values := make([]float32, 32)
	for i := range values {
		values[i] = 1
	}
	values[0] = 1 << 24
	if got, want := ordered.Sum(values), float32(1<<24+30); got != want {
		t.Errorf("Sum = %v, want %v", got, want)
	}
}

// TestExpOf checks that every level gives the bits of plain Go: of one
// float32 in 7 in the long test, of one in 4099 otherwise.
func TestExpOf(t *testing.T) {
	defer ordered.Use(ordered.Levels()[len(ordered.Levels())-1])
	step := uint64(4099)
	if os.Getenv("LLIMA_LONG") != "" {
		step = 7
	}
	const chunk = 1 << 16
	x, exp, sigmoid, got := make([]float32, 0, chunk), make([]float32, chunk), make([]float32, chunk), make([]float32, chunk)
	for next := uint64(0); next < 1<<32; {
		for x = x[:0]; len(x) < chunk && next < 1<<32; next += step {
			x = append(x, math.Float32frombits(uint32(next)))
		}
		n := len(x)
		for i, v := range x {
			exp[i], sigmoid[i] = ordered.Exp(v), ordered.Sigmoid(v)
		}
		for _, l := range ordered.Levels() {
			ordered.Use(l)
			ordered.ExpOf(got[:n], x, 0)
			same(t, l, "Exp", x, got, exp)
			ordered.SigmoidOf(got[:n], x)
			same(t, l, "Sigmoid", x, got, sigmoid)
		}
	}
}

// same compares bits, but for those of a NaN.
func same(t *testing.T, l ordered.Level, name string, x, got, want []float32) {
	t.Helper()
	for i := range x {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && (got[i] == got[i] || want[i] == want[i]) {
			t.Fatalf("level %d: %s(%x) = %x, want %x", l, name, math.Float32bits(x[i]), math.Float32bits(got[i]), math.Float32bits(want[i]))
		}
	}
}

// TestRows checks that every level gives the bits of plain Go for rows of any
// length, with numbers that have no exponential, in place and not.
func TestRows(t *testing.T) {
	defer ordered.Use(ordered.Levels()[len(ordered.Levels())-1])
	r := rand.New(rand.NewPCG(5, 6))
	odd := []float32{float32(math.Inf(-1)), float32(math.Inf(1)), float32(math.NaN())}
	for n := 1; n < 150; n++ {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64() * 30)
			if n%3 > 0 && r.IntN(4) == 0 {
				x[i] = odd[r.IntN(n%3+n%2)]
			}
		}
		rows := []struct {
			name string
			f    func(y, x []float32)
		}{
			{"Exp", func(y, x []float32) { ordered.ExpOf(y, x, x[0]) }},
			{"Sigmoid", ordered.SigmoidOf},
			{"Softmax", ordered.Softmax},
			{"Max", func(y, x []float32) { y[0] = ordered.Max(x) }},
			{"Sum", func(y, x []float32) { y[0] = ordered.Sum(x) }},
		}
		for _, row := range rows {
			var want []uint32
			for _, l := range ordered.Levels() {
				ordered.Use(l)
				y, z := make([]float32, n), slices.Clone(x)
				row.f(y, x)
				row.f(z, z)
				if row.name == "Max" || row.name == "Sum" {
					y, z = y[:1], z[:1]
				}
				if want == nil {
					want = bits(y)
				}
				if !slices.Equal(bits(y), want) || !slices.Equal(bits(z), want) {
					t.Fatalf("level %d: %s of %v = %v, in place %v; differs from plain Go", l, row.name, x, y, z)
				}
			}
		}
	}
}

// TestSoftmax checks probabilities against float64, and what weighs nothing.
func TestSoftmax(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	x, y := make([]float32, 77), make([]float32, 77)
	for i := range x {
		x[i] = float32(r.NormFloat64() * 4)
	}
	x[3], x[70] = float32(math.Inf(-1)), float32(math.Inf(-1))
	total := 0.0
	for _, v := range x {
		total += math.Exp(float64(v))
	}
	ordered.Softmax(y, x)
	for i, v := range x {
		if want := math.Exp(float64(v)) / total; math.Abs(float64(y[i])-want) > 1e-6*want {
			t.Errorf("softmax of %v = %v, want %v", v, y[i], want)
		}
	}
	if got := ordered.Max(nil); got != float32(math.Inf(-1)) {
		t.Errorf("Max(nil) = %v, want -Inf", got)
	}
}

// TestTranspose compares with the definition, at every level.
func TestTranspose(t *testing.T) {
	defer ordered.Use(ordered.Levels()[len(ordered.Levels())-1])
	r := rand.New(rand.NewPCG(9, 10))
	for range 200 {
		m := ordered.Matrix{Rows: 1 + r.IntN(70), Cols: 1 + r.IntN(70)}
		m.Stride = m.Cols + r.IntN(5)
		m.Data = numbers(r, (m.Rows-1)*m.Stride+m.Cols)
		for _, l := range ordered.Levels() {
			ordered.Use(l)
			got := ordered.Transpose(m)
			for i := range m.Rows {
				for j := range m.Cols {
					if a, b := got.Data[j*m.Rows+i], m.Data[i*m.Stride+j]; math.Float32bits(a) != math.Float32bits(b) {
						t.Fatalf("level %d: Transpose of [%d,%d]: element (%d,%d) = %v, want %v", l, m.Rows, m.Cols, j, i, a, b)
					}
				}
			}
		}
	}
}
