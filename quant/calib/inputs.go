package calib

import (
	"sync"

	"github.com/llima-build/llima/internal/ordered"
)

// hessian is H, damped, as descent reads it, and its factor as GPTQ does.
type hessian struct {
	h, u []float32
}

// zero reports whether all inputs are.
func (in *Inputs) zero() bool {
	for i := range in.K {
		if in.H[i*in.K+i] > 0 {
			return false
		}
	}
	return true
}

// once computes something of the inputs, once for all their matrices, which
// may ask at the same time.
func once[T any](in *Inputs, key any, compute func() (T, error)) (T, error) {
	f, _ := in.solved.LoadOrStore(key, sync.OnceValues(compute))
	return f.(func() (T, error))()
}

// Keys of what is computed once, for a damping.
type (
	dampedKey struct{ damping float64 }
	factorKey struct{ damping float64 }
	driftKey  struct{ damping float64 }
)

// noise is how much more damping H needs for the few tokens it comes from.
func (in *Inputs) noise(s Settings) float64 {
	if in.Tokens == 0 {
		return 0
	}
	return float64(s.Noise*float64(in.K)) / float64(in.Tokens)
}

// damped returns H with damping.
func (in *Inputs) damped(damping float64) (*hessian, error) {
	return once(in, dampedKey{damping}, func() (*hessian, error) {
		h := damped(in.H, in.K, damping)
		u, err := inverseFactor(h, in.K)
		return &hessian{narrow(h), u}, err
	})
}

// factor returns L, H damped = Lᵀ·L.
func (in *Inputs) factor(damping float64) ([]float64, error) {
	return once(in, factorKey{damping}, func() ([]float64, error) {
		l := damped(in.H, in.K, damping)
		return l, factor(l, in.K)
	})
}

// drift returns (Cross - H)·H⁻¹ [K, K], H damped: what W times it adds makes
// up for inputs that earlier layers have changed.
func (in *Inputs) drift(damping float64) ([]float32, error) {
	return once(in, driftKey{damping}, func() ([]float32, error) {
		d := make([]float32, len(in.H))
		for i, v := range in.Cross {
			d[i] = v - in.H[i]
		}
		return in.divide(d, damping)
	})
}

// divide returns b·H⁻¹ for b [rows, K], H damped.
func (in *Inputs) divide(b []float32, damping float64) ([]float32, error) {
	l, err := in.factor(damping)
	if err != nil {
		return nil, err
	}
	k := in.K
	n := len(b) / k
	out := make([]float32, len(b))
	const rows = 32 // at a time: x [k, rows] is solved for all of them together
	ordered.Each(n, rows, func(first, w int) {
		x := make([]float64, k*w)
		for i := range w {
			for j, v := range b[(first+i)*k : (first+i+1)*k] {
				x[j*w+i] = float64(v)
			}
		}
		solve(l, x, k, w)
		for i := range w {
			for j := range k {
				out[(first+i)*k+j] = float32(x[j*w+i])
			}
		}
	})
	return out, nil
}

// target returns the matrix that quantised inputs need in place of W, so that
// outputs come nearest to the float model's: W + (W·(Cross - H) + Lag)·H⁻¹, H
// damped. Held-out inputs say how far to go there; the step is 0 to 1.
func (p *Problem) target(damping float64) (out []float32, step float64, err error) {
	out = append([]float32(nil), p.W...)
	k := p.Fit.K
	if p.Fit.Cross == nil && p.Fit.Lag == nil {
		return out, 0, nil
	}
	move := make([]float32, len(p.W))
	if p.Fit.Cross != nil {
		d, err := p.Fit.drift(damping)
		if err != nil {
			return nil, 0, err
		}
		multiply(move, p.W, d, p.N, k, k)
	}
	if p.Fit.Lag != nil {
		d, err := p.Fit.divide(p.Fit.Lag, damping)
		if err != nil {
			return nil, 0, err
		}
		for i, v := range d {
			move[i] += v
		}
	}
	step = 1
	if p.Held != nil {
		step = p.judge(p.Held, nil).step(move)
	}
	for i, v := range move {
		out[i] += float32(float32(step) * v)
	}
	return out, step, nil
}

// judge measures matrices on some inputs.
type judge struct {
	n, k  int
	w, h  []float32
	drift []float32 // [n, k]: W·(Cross - H) + Lag
	g     blocks
	power float64 // of the outputs
}

func (p *Problem) judge(m *Moments, g blocks) *judge {
	j := &judge{n: p.N, k: m.K, w: p.W, h: m.H, g: g}
	if m.Cross != nil || m.Lag != nil {
		j.drift = make([]float32, len(p.W))
		if m.Cross != nil {
			d := make([]float32, len(m.H))
			for i, v := range m.Cross {
				d[i] = v - m.H[i]
			}
			multiply(j.drift, p.W, d, p.N, m.K, m.K)
		}
		for i, v := range m.Lag {
			j.drift[i] += v
		}
	}
	t, _ := j.terms(p.W)
	j.power = t
	return j
}

// terms returns tr(G·E·H·Eᵀ) and tr(G·T·Eᵀ), T the drift, for E [n, k].
func (j *judge) terms(e []float32) (square, along float64) {
	eh := make([]float32, len(e))
	multiply(eh, e, j.h, j.n, j.k, j.k)
	ge := e
	if j.g != nil {
		ge = j.g.times(e, j.k)
	}
	return dot(ge, eh), dot(ge, j.drift)
}

// step returns how much of a move of W lowers the error most, 0 to 1.
func (j *judge) step(move []float32) float64 {
	square, along := j.terms(move)
	if !(square > 0) {
		return 0
	}
	return min(max(along/square, 0), 1)
}

// error returns the error of a matrix, not yet as a part of the power; see
// [Candidate].
func (j *judge) error(m *matrix) float64 {
	e := make([]float32, len(j.w))
	for i := range m.n {
		m.weights(e[i*m.k:(i+1)*m.k], i)
	}
	for i, w := range j.w {
		e[i] -= w
	}
	square, along := j.terms(e)
	return square - float64(2*along)
}

// dot is the sum of products, in float64; 0 where b is nil.
func dot(a, b []float32) float64 {
	if b == nil {
		return 0
	}
	sum := 0.0
	for i, v := range a {
		sum += float64(float64(v) * float64(b[i]))
	}
	return sum
}

// multiply adds a [n, m] · b [m, k] to c, on all cores.
func multiply(c, a, b []float32, n, m, k int) {
	const rows = 64 // of c, which do not depend on each other
	ordered.Each(n, rows, func(first, w int) {
		ordered.Multiply(ordered.Dense(c[first*k:], w, k), ordered.Dense(a[first*m:], w, m), ordered.Dense(b, m, k))
	})
}

// block is a square on the diagonal of a matrix: its first row, and elements
// [size, size].
type block struct {
	first, size int
	data        []float32
}

// blocks are what a matrix consists of, but for zeros; nil is the identity.
type blocks []block

// gradient returns Grad, damped: the more, the fewer tokens it comes from.
func (p *Problem) gradient(s Settings) blocks {
	if p.Grad == nil {
		return nil
	}
	var out blocks
	at := 0
	for first, b := 0, GradientBlock(p.N); first < p.N; first += b {
		n := min(b, p.N-first)
		damping := s.GradDamping
		if p.GradTokens > 0 {
			damping += float64(s.GradNoise * float64(n) / float64(p.GradTokens))
		}
		d := damped(p.Grad[at:at+n*n], n, damping)
		if !(d[0] > 0) { // no gradient reaches these outputs: they count alike
			for i := range n {
				d[i*n+i] = 1
			}
		}
		out = append(out, block{first, n, narrow(d)})
		at += n * n
	}
	return out
}

// times returns the product with e [n, k].
func (b blocks) times(e []float32, k int) []float32 {
	out := make([]float32, len(e))
	for _, x := range b {
		multiply(out[x.first*k:], x.data, e[x.first*k:(x.first+x.size)*k], x.size, x.size, k)
	}
	return out
}
