// Package calib chooses codes and scales of a matrix by what they do to its
// product with real inputs, not by the weights alone: GPTQ (Frantar et al.,
// arXiv 2210.17323) with fitted scales gives a start, coordinate descent on
// codes and scales goes on from there, and the squared error of an output may
// be weighted by the gradients that reach it (as in K-FAC, Martens and Grosse,
// arXiv 1503.05671). It sees matrices only and knows neither models nor files.
//
// Results are the same bits on every CPU: sums run in one order.
package calib

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/llima-build/llima/quant"
)

// Problem is a matrix [N, K] and the statistics of what it is multiplied with.
// x is an input in the model whose earlier layers are quantised, f the same in
// the float model; both are columns [K], and means run over tokens.
type Problem struct {
	N, K   int
	W      []float32 // [N, K]
	H      []float32 // [K, K]: mean of x·xᵀ
	Cross  []float32 // [K, K]: mean of f·xᵀ; nil: H, the streams are the same
	Lag    []float32 // [N, K]: mean of (hf - hq)·xᵀ, what the residual stream lags behind; nil: 0
	Grad   []float32 // [N, N]: mean of g·gᵀ, g the gradient of an output; nil: every output counts alike
	Format quant.Format
}

// Settings are the constants of the method. Dampings are parts of the mean of
// a diagonal, added to it.
type Settings struct {
	TargetDamping float64 // of H where W is moved to make up for earlier layers
	Damping       float64 // of H else
	GradDamping   float64 // of Grad
	Sweeps        int     // of coordinate descent over all rows, at most
}

// Defaults returns the settings that docs/quality.md measures.
func Defaults() Settings {
	return Settings{TargetDamping: 0.01, Damping: 0.003, GradDamping: 0.03, Sweeps: 6}
}

// Result is a quantised matrix.
type Result struct {
	Codes  []int8   // [N, K]
	Scales []uint16 // float16 [N, groups]
	// Loss is the trace of Grad·D·H·Dᵀ, D what the result lacks of the target:
	// for GPTQ's result, and after coordinate descent.
	Start, Loss float64
}

// Solve quantises a matrix.
func Solve(p *Problem, s Settings) (*Result, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := p.fits(); err != nil {
		return nil, err
	}
	target, err := p.target(s.TargetDamping)
	if err != nil {
		return nil, err
	}
	h := damped(p.H, p.K, s.Damping)
	u, err := inverseFactor(h, p.K)
	if err != nil {
		return nil, fmt.Errorf("calib: inputs: %w", err)
	}
	m := newMatrix(p, target)
	m.gptq(u)
	h32 := narrow(h)
	var g32 []float32
	if p.Grad != nil {
		g32 = narrow(damped(p.Grad, p.N, s.GradDamping))
	}
	r := &Result{Start: m.loss(h32, g32)}
	m.descend(h32, g32, s.Sweeps)
	r.Codes, r.Scales, r.Loss = m.codes, m.float16(), m.loss(h32, g32)
	return r, nil
}

func (p *Problem) check() error {
	if err := p.Format.Check(); err != nil {
		return err
	}
	switch {
	case p.Format.Bits == 16:
		return fmt.Errorf("calib: BF16 has no codes")
	case p.N < 1 || p.K < 1:
		return fmt.Errorf("calib: matrix [%d, %d] is empty", p.N, p.K)
	}
	for _, a := range []struct {
		name     string
		data     []float32
		want     int
		optional bool
	}{
		{"W", p.W, p.N * p.K, false},
		{"H", p.H, p.K * p.K, false},
		{"Cross", p.Cross, p.K * p.K, true},
		{"Lag", p.Lag, p.N * p.K, true},
		{"Grad", p.Grad, p.N * p.N, true},
	} {
		if a.data == nil && a.optional {
			continue
		}
		if len(a.data) != a.want {
			return fmt.Errorf("calib: %s has %d elements, want %d", a.name, len(a.data), a.want)
		}
		for i, v := range a.data {
			if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
				return fmt.Errorf("calib: %s: element %d is %v", a.name, i, v)
			}
		}
	}
	return nil
}

// fits reports weights that no float16 scale reaches.
func (p *Problem) fits() error {
	m := newMatrix(p, nil)
	for i, w := range p.W {
		if a := math.Abs(float64(w)); a > 65504*float64(m.hi) {
			return fmt.Errorf("calib: row %d, column %d: %v needs a scale past float16's range", i/p.K, i%p.K, w)
		}
	}
	return nil
}

// eachRow calls f for every row below n, on all cores.
func eachRow(n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i)
			}
		})
	}
	wg.Wait()
}
