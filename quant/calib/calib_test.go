package calib_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/calib"
)

// inputs draws tokens [t, k] whose elements go together, as activations do.
func inputs(r *rand.Rand, t, k int) []float32 {
	const hidden = 12
	mix := make([]float64, hidden*k)
	for i := range mix {
		mix[i] = r.NormFloat64() * math.Exp(r.NormFloat64())
	}
	out := make([]float32, t*k)
	for i := range t {
		var z [hidden]float64
		for l := range z {
			z[l] = r.NormFloat64()
		}
		for j := range k {
			x := 0.3 * r.NormFloat64()
			for l := range z {
				x += z[l] * mix[l*k+j]
			}
			out[i*k+j] = float32(x)
		}
	}
	return out
}

func moment(x, y []float32, t, k int) []float32 {
	out := make([]float32, k*k)
	for i := range k {
		for j := range k {
			sum := 0.0
			for n := range t {
				sum += float64(x[n*k+i]) * float64(y[n*k+j])
			}
			out[i*k+j] = float32(sum / float64(t))
		}
	}
	return out
}

func fit(k int, h []float32) calib.Moments { return calib.Moments{Inputs: &calib.Inputs{K: k, H: h}} }

func solve(p *calib.Problem, f quant.Format) (*calib.Result, error) {
	r, err := calib.Solve(p, []quant.Format{f}, calib.Defaults())
	if err != nil {
		return nil, err
	}
	return r[0], nil
}

func matrixOf(r *rand.Rand, n int) []float32 {
	w := make([]float32, n)
	for i := range w {
		w[i] = float32(r.NormFloat64() * 0.05)
	}
	return w
}

func bytesOf(w []float32) []byte {
	b := make([]byte, 4*len(w))
	for i, v := range w {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	return b
}

// outputError is the mean squared error of x·(w-q)ᵀ, summed over outputs.
func outputError(x, w, q []float32, t, n, k int) float64 {
	sum := 0.0
	for i := range t {
		for o := range n {
			e := 0.0
			for j := range k {
				e += float64(x[i*k+j]) * (float64(w[o*k+j]) - float64(q[o*k+j]))
			}
			sum += e * e
		}
	}
	return sum / float64(t)
}

// TestStrips solves a matrix all at once and in strips, the last one shorter:
// rows that do not depend on each other come out the same, and errors add up.
func TestStrips(t *testing.T) {
	const n, k, tokens = 23, 64, 200
	r := rand.New(rand.NewPCG(7, 8))
	x := inputs(r, tokens, k)
	held := fit(k, moment(x[:tokens/2*k], x[:tokens/2*k], tokens/2, k))
	p := &calib.Problem{N: n, W: matrixOf(r, n*k), Fit: fit(k, moment(x, x, tokens, k)), Held: &held}
	formats := []quant.Format{{Bits: 4, GroupSize: 32}, {Bits: 8}}
	want, err := calib.Solve(p, formats, calib.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	s := calib.Defaults()
	s.Strip = 5 * k
	got, err := calib.Solve(p, formats, s)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range formats {
		if !slices.Equal(got[i].Codes, want[i].Codes) || !slices.Equal(got[i].Scales, want[i].Scales) {
			t.Errorf("%v: strips give other codes or scales", f)
		}
		for j, c := range got[i].Report.Candidates {
			w := want[i].Report.Candidates[j]
			if c.Method != w.Method || math.Abs(c.Held-w.Held) > 1e-6*w.Held || math.Abs(c.Fit-w.Fit) > 1e-6*w.Fit || !(w.Held > 0) {
				t.Errorf("%v: strips are measured as %+v, the whole as %+v", f, c, w)
			}
		}
	}
	p.W[21*k] = 1e6 // more than codes of 4 bits reach
	if _, err := calib.Solve(p, formats, s); err == nil || !strings.Contains(err.Error(), "rows from 20 on: quant: row 1,") {
		t.Errorf("a weight of 1e6 in the last strip: %v", err)
	}
}

// TestSolve compares with the scale search that sees no inputs, on inputs that
// neither has seen, for every format.
func TestSolve(t *testing.T) {
	const n, k, tokens = 24, 128, 400
	r := rand.New(rand.NewPCG(5, 6))
	all := inputs(r, 2*tokens, k)
	seen, held := all[:tokens*k], all[tokens*k:]
	h := moment(seen, seen, tokens, k)
	w := matrixOf(r, n*k)
	for _, f := range []quant.Format{
		{Bits: 4, GroupSize: 32},
		{Bits: 4, GroupSize: 64},
		{Bits: 4, GroupSize: 128},
		{Bits: 4},
		{Bits: 8},
		{Bits: 8, GroupSize: 32},
	} {
		codes, scales, err := quant.Quantize(bytesOf(w), tensor.F32, n, k, f)
		if err != nil {
			t.Fatal(err)
		}
		simple := outputError(held, w, quant.Dequantize(codes, scales, n, k, f), tokens, n, k)
		got, err := solve(&calib.Problem{N: n, W: w, Fit: fit(k, h)}, f)
		if err != nil {
			t.Fatal(err)
		}
		solved := outputError(held, w, quant.Dequantize(got.Codes, got.Scales, n, k, f), tokens, n, k)
		if !(solved < simple/2) {
			t.Errorf("%v: error %.3g on held-out inputs, %.3g without inputs", f, solved, simple)
		}
		t.Logf("%v: %.4g without inputs, %.4g with", f, simple, solved)
		again, err := solve(&calib.Problem{N: n, W: w, Fit: fit(k, h)}, f)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Codes, again.Codes) || !slices.Equal(got.Scales, again.Scales) {
			t.Errorf("%v: two runs differ", f)
		}
	}
}

// TestTarget checks that a matrix makes up for inputs that are scaled and
// mixed by what came before, and for what the residual stream lacks.
func TestTarget(t *testing.T) {
	const n, k, tokens = 16, 64, 600
	r := rand.New(rand.NewPCG(7, 8))
	float := inputs(r, tokens, k)
	quantised := make([]float32, len(float))
	for i := range quantised {
		quantised[i] = float[i]*0.9 + 0.05*float32(r.NormFloat64())
	}
	w := matrixOf(r, n*k)
	f := quant.Format{Bits: 8}
	p := calib.Problem{N: n, W: w, Fit: fit(k, moment(quantised, quantised, tokens, k))}
	plain, err := solve(&p, f)
	if err != nil {
		t.Fatal(err)
	}
	p.Fit.Cross = moment(float, quantised, tokens, k)
	aware, err := solve(&p, f)
	if err != nil {
		t.Fatal(err)
	}
	off := func(r *calib.Result) float64 {
		q := quant.Dequantize(r.Codes, r.Scales, n, k, f)
		sum := 0.0
		for i := range tokens {
			for o := range n {
				e := 0.0
				for j := range k {
					e += float64(float[i*k+j])*float64(w[o*k+j]) - float64(quantised[i*k+j])*float64(q[o*k+j])
				}
				sum += e * e
			}
		}
		return sum
	}
	if a, b := off(aware), off(plain); !(a < b/5) {
		t.Errorf("error against the float model %g with Cross, %g without", a, b)
	}
}

// TestGrad checks that outputs with large gradients get the smaller errors.
func TestGrad(t *testing.T) {
	const n, k, tokens = 16, 64, 300
	r := rand.New(rand.NewPCG(9, 10))
	x := inputs(r, tokens, k)
	f := quant.Format{Bits: 4, GroupSize: 32}
	p := calib.Problem{N: n, W: matrixOf(r, n*k), Fit: fit(k, moment(x, x, tokens, k))}
	grads := inputs(r, 200, n)
	weigh := moment(grads, grads, 200, n)
	weighted := func(res *calib.Result) float64 {
		q := quant.Dequantize(res.Codes, res.Scales, n, k, f)
		sum := 0.0
		for i := range tokens {
			var e [n]float64
			for o := range n {
				for j := range k {
					e[o] += float64(x[i*k+j]) * (float64(p.W[o*k+j]) - float64(q[o*k+j]))
				}
			}
			for a := range n {
				for b := range n {
					sum += e[a] * float64(weigh[a*n+b]) * e[b]
				}
			}
		}
		return sum
	}
	plain, err := solve(&p, f)
	if err != nil {
		t.Fatal(err)
	}
	p.Grad = weigh
	aware, err := solve(&p, f)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := weighted(aware), weighted(plain); !(a < 0.8*b) {
		t.Errorf("weighted error %g with gradients, %g without", a, b)
	}
}

func TestSolveErrors(t *testing.T) {
	const n, k = 2, 32
	r := rand.New(rand.NewPCG(11, 12))
	good := func() *calib.Problem {
		x := inputs(r, 100, k)
		return &calib.Problem{N: n, W: matrixOf(r, n*k), Fit: fit(k, moment(x, x, 100, k))}
	}
	f := quant.Format{Bits: 4, GroupSize: 32}
	for _, c := range []struct {
		name string
		edit func(*calib.Problem)
		want string
	}{
		{"NaN", func(p *calib.Problem) { p.W[3] = float32(math.NaN()) }, "W: row 0, column 3: NaN is not finite"},
		{"Inf", func(p *calib.Problem) { p.Fit.H[k+7] = float32(math.Inf(1)) }, "H: row 1, column 7: +Inf is not finite"},
		{"short", func(p *calib.Problem) { p.Fit.H = p.Fit.H[1:] }, "H has 1023 elements, want 1024"},
		{"huge", func(p *calib.Problem) { p.W[k+1] = 1e6 }, "row 1"},
		{"held out", func(p *calib.Problem) { p.Held = &calib.Moments{Inputs: &calib.Inputs{K: 1, H: []float32{1}}} }, "held-out inputs of 1 columns"},
	} {
		p := good()
		c.edit(p)
		if _, err := solve(p, f); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Solve = %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := solve(good(), quant.Format{Bits: 16}); err == nil || !strings.Contains(err.Error(), "no codes") {
		t.Errorf("BF16: Solve = %v", err)
	}
	p := good()
	clear(p.W[:k]) // a row of zeros, and outliers beside it
	p.W[k] = 1e4
	res, err := solve(p, f)
	if err != nil {
		t.Fatal(err)
	}
	for j, q := range res.Codes[:k] {
		if q != 0 {
			t.Errorf("code %d of a row of zeros is %d", j, q)
		}
	}
	p = good()
	clear(p.Fit.H)
	if res, err = solve(p, f); err != nil || res.Report.Method != calib.DataFree {
		t.Errorf("inputs of zeros: %v, %v", res, err)
	}
}
