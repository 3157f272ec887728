package calib

import (
	"math"
	"slices"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/ordered"
	"github.com/llima-build/llima/quant"
)

// matrix is a matrix that is being quantised.
type matrix struct {
	n, k, group int
	lo, hi      float32   // of codes
	target      []float32 // [n, k]
	codes       []int8    // [n, k]
	scales      []float32 // [n, groups], float16 numbers
}

func newMatrix(p *Problem, f quant.Format, target []float32) *matrix {
	n, k := p.N, p.Fit.K
	m := &matrix{n: n, k: k, group: f.GroupSize, target: target, lo: -8, hi: 7}
	if m.group == 0 {
		m.group = k
	}
	if f.Bits == 8 {
		m.lo, m.hi = -127, 127
	}
	m.codes, m.scales = make([]int8, n*k), make([]float32, n*f.Groups(k))
	return m
}

func (m *matrix) groups() int { return (m.k + m.group - 1) / m.group }

func (m *matrix) float16() []uint16 {
	out := make([]uint16, len(m.scales))
	for i, s := range m.scales {
		out[i] = tensor.ToF16(s)
	}
	return out
}

// round returns the code of w under scale s.
func (m *matrix) round(w, s float32) float32 {
	if s == 0 {
		return 0
	}
	q := float32(math.RoundToEven(float64(w / s)))
	return min(max(q, m.lo), m.hi)
}

// stretches are tried on the scale that fits a group best column by column:
// what a column loses is made up for by those behind it, so that a smaller one
// is often better for the group.
var stretches = []float32{1, 0.96, 0.92, 0.88, 0.84, 0.8, 1.04}

// gptq quantises each row column by column; what a column loses is made up
// for by those to its right, along the rows of u [k, k]. A group's scale is
// chosen when its first column is reached, for what the weights have become by
// then.
func (m *matrix) gptq(u []float32) {
	weights := make([]float32, m.k) // of squared errors: 1 / u[j,j]²
	for j := range weights {
		d := u[j*m.k+j]
		weights[j] = 1 / float32(d*d)
	}
	const rows = 8 // at a time, so that a row of u is read once for all of them
	ordered.Each(m.n, rows, func(first, count int) {
		last := first + count
		w := slices.Clone(m.target[first*m.k : last*m.k])
		trial := make([]float32, m.group)
		for lo := 0; lo < m.k; lo += m.group {
			hi := min(lo+m.group, m.k)
			for i := first; i < last; i++ {
				m.scales[i*m.groups()+lo/m.group] = m.scale(u, weights, w[(i-first)*m.k:(i-first+1)*m.k], trial, lo, hi)
			}
			for j := lo; j < hi; j++ {
				for i := first; i < last; i++ {
					row := w[(i-first)*m.k : (i-first+1)*m.k]
					q, e := m.column(u[j*m.k+j], row[j], m.scales[i*m.groups()+lo/m.group])
					m.codes[i*m.k+j] = int8(q)
					ordered.Axpy(row[j+1:], u[j*m.k+j+1:(j+1)*m.k], -e)
				}
			}
		}
	})
}

// column quantises one weight: its code, and the error that the weights behind
// it make up for.
func (m *matrix) column(u, w, s float32) (q, e float32) {
	q = m.round(w, s)
	return q, (w - float32(s*q)) / u
}

// scale chooses a float16 scale for columns [lo, hi) of a row, by what GPTQ
// loses in them.
func (m *matrix) scale(u, weights, row, trial []float32, lo, hi int) float32 {
	fit := m.fit(row[lo:hi], weights[lo:hi])
	best, least := fit, math.Inf(1)
	for _, stretch := range stretches {
		s := half(float32(stretch * fit))
		w := trial[:hi-lo]
		copy(w, row[lo:hi])
		loss := 0.0
		for j := range w {
			at := (lo+j)*m.k + lo + j
			_, e := m.column(u[at], w[j], s)
			if loss += float64(float64(e) * float64(e)); loss >= least {
				break
			}
			ordered.Axpy(w[j+1:], u[at+1:at+hi-lo-j], -e)
		}
		if loss < least {
			best, least = s, loss
		}
	}
	return best
}

// fit returns the float16 scale that leaves a group the least weighted squared
// error, of those that a few usual ones lead to by least squares.
func (m *matrix) fit(w, weights []float32) float32 {
	top := float32(0)
	for _, x := range w {
		if a := float32(math.Abs(float64(x))); a > top {
			top = a
		}
	}
	if top == 0 {
		return 0
	}
	best, least := float32(0), math.Inf(1)
	for _, d := range []float32{-m.lo - 1, -m.lo, -m.lo + 1} {
		for _, sign := range []float32{1, -1} {
			s := half(sign * top / d)
			for range 4 {
				next, ok := m.refit(w, weights, s)
				if !ok || next == s {
					break
				}
				s = next
			}
			if e := m.squared(w, weights, s); e < least {
				best, least = s, e
			}
		}
	}
	return best
}

// half rounds to float16; what would become 0 becomes the least number.
func half(s float32) float32 {
	h := tensor.FromF16(tensor.ToF16(s))
	if h == 0 && s != 0 {
		return float32(math.Copysign(1.0/(1<<24), float64(s)))
	}
	return h
}

// refit returns the scale that is best for the codes that s gives.
func (m *matrix) refit(w, weights []float32, s float32) (float32, bool) {
	var a, b float64
	for i, x := range w {
		q := float64(m.round(x, s))
		c := float64(float64(weights[i]) * q)
		a += float64(c * float64(x))
		b += float64(c * q)
	}
	if !(b > 0) {
		return s, false
	}
	next := half(float32(a / b))
	return next, next != 0 && !math.IsInf(float64(next), 0)
}

func (m *matrix) squared(w, weights []float32, s float32) float64 {
	sum := 0.0
	for i, x := range w {
		e := float64(x - float32(s*m.round(x, s)))
		sum += float64(float64(weights[i]) * float64(e*e))
	}
	return sum
}

// weights computes what row i stands for.
func (m *matrix) weights(dst []float32, i int) {
	scales := m.scales[i*m.groups():]
	for j, q := range m.codes[i*m.k : (i+1)*m.k] {
		dst[j] = float32(scales[j/m.group] * float32(q))
	}
}

// lack computes what row i lacks of its target.
func (m *matrix) lack(dst []float32, i int) {
	m.weights(dst, i)
	for j, t := range m.target[i*m.k : (i+1)*m.k] {
		dst[j] = t - dst[j]
	}
}
