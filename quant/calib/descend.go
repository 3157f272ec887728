package calib

import (
	"math"

	"github.com/llima-build/llima/internal/ordered"
)

// together is how many rows share a product with the Hessian.
const together = 32

// descend lowers tr(g·d·h·dᵀ), d what the matrix lacks of its target, one code
// or one scale at a time, row after row, until a sweep changes no code.
func (m *matrix) descend(h []float32, g blocks, sweeps int) {
	d := &descent{m: m, h: h, d: make([]float32, m.n*m.k), bends: make([]float64, len(m.scales))}
	for i := range m.n {
		m.lack(d.row(i), i)
	}
	if g != nil {
		ordered.Each(len(g), 1, func(i, _ int) {
			for range sweeps {
				if d.sweep(&g[i]) == 0 {
					break
				}
			}
		})
		return
	}
	ordered.Each(m.n, together, func(first, n int) { // rows do not depend on each other
		for range sweeps {
			if d.rows(nil, first, n) == 0 {
				break
			}
		}
	})
}

// descent is a matrix at work; d [n, k] is what it lacks. bends [n, groups]
// are q·h·q of the codes q of each group, 0 where that is not known.
type descent struct {
	m     *matrix
	h, d  []float32
	bends []float64
}

func (d *descent) row(i int) []float32 { return d.d[i*d.m.k : (i+1)*d.m.k] }

// sweep goes through all rows of a block, and returns how many codes changed.
func (d *descent) sweep(g *block) int {
	changed := 0
	for i := 0; i < g.size; i += together {
		changed += d.rows(g, g.first+i, min(together, g.size-i))
	}
	return changed
}

// rows goes through some rows. The gradient of the loss by row i is y·h, y the
// errors of all rows as they bear on it: (g·d)[i] / g[i,i]. It is computed for
// all of the rows first, and then moved on as those before a row change.
func (d *descent) rows(g *block, first, n int) int {
	k := d.m.k
	y, r := d.d[first*k:(first+n)*k], make([]float32, n*k)
	if g != nil {
		y = make([]float32, n*k)
		weights := make([]float32, n*g.size)
		for i := range n {
			for j := range g.size {
				weights[i*g.size+j] = g.share(first+i, g.first+j)
			}
		}
		columns(y, weights, d.d[g.first*k:(g.first+g.size)*k], n, g.size, k)
	}
	columns(r, y, d.h, n, k, k)
	changed := 0
	before := make([]float32, k)
	for i := range n {
		own := r[i*k : (i+1)*k]
		copy(before, own)
		changed += d.newRow(first+i, own).settle()
		d.m.lack(d.row(first+i), first+i)
		if g == nil {
			continue
		}
		for j, v := range own {
			before[j] = v - before[j]
		}
		for l := i + 1; l < n; l++ {
			ordered.Axpy(r[l*k:(l+1)*k], before, g.share(first+l, first+i))
		}
	}
	return changed
}

// share is how much of an error of row j row i can make up for.
func (g *block) share(i, j int) float32 {
	row := g.data[(i-g.first)*g.size : (i-g.first+1)*g.size]
	return row[j-g.first] / row[i-g.first]
}

// columns adds a [n, m] · b [m, k] to c, on all cores.
func columns(c, a, b []float32, n, m, k int) {
	const width = 192
	ordered.Each(k, width, func(lo, w int) {
		ordered.Multiply(
			ordered.Matrix{Data: c[lo:], Rows: n, Cols: w, Stride: k},
			ordered.Dense(a, n, m),
			ordered.Matrix{Data: b[lo:], Rows: m, Cols: w, Stride: k},
		)
	})
}

// row is one row in coordinate descent; r [k] is the gradient y·h.
type row struct {
	m      *matrix
	h      []float32
	codes  []int8
	scales []float32
	bends  []float64
	r, v   []float32
}

func (d *descent) newRow(i int, r []float32) *row {
	m, g := d.m, d.m.groups()
	return &row{
		m: m, h: d.h, codes: m.codes[i*m.k : (i+1)*m.k], scales: m.scales[i*g : (i+1)*g],
		bends: d.bends[i*g : (i+1)*g], r: r, v: make([]float32, m.group),
	}
}

func (r *row) column(j int) []float32 { return r.h[j*r.m.k : (j+1)*r.m.k] } // of h, which is symmetric

// settle changes codes and scales for as long as codes change, a few times at
// most, and returns how many codes did.
func (r *row) settle() int {
	total := 0
	for range 4 {
		changed := r.stepCodes()
		for g := range r.scales {
			r.stepScale(g)
		}
		total += changed
		if changed == 0 {
			break
		}
	}
	return total
}

func (r *row) stepCodes() int {
	changed := 0
	for j, c := range r.codes {
		s := r.scales[j/r.m.group]
		if s == 0 {
			continue
		}
		h := r.column(j)
		best := float32(c) + r.r[j]/float32(h[j]*s)
		best = min(max(float32(math.RoundToEven(float64(best))), r.m.lo), r.m.hi)
		if q := int8(best); q != c {
			r.codes[j] = q
			r.bends[j/r.m.group] = 0
			ordered.Axpy(r.r, h, -float32((best-float32(c))*s))
			changed++
		}
	}
	return changed
}

// stepScale moves the scale of a group to where the error is least for its codes.
func (r *row) stepScale(g int) {
	lo, hi := g*r.m.group, min((g+1)*r.m.group, r.m.k)
	a, b := 0.0, r.bend(g, lo, hi)
	for j := lo; j < hi; j++ {
		a += float64(float64(r.codes[j]) * float64(r.r[j]))
	}
	s := r.scales[g]
	if !(b > 0) {
		return
	}
	next := half(float32(float64(s) + a/b))
	if next == s || next == 0 || math.IsInf(float64(next), 0) {
		return
	}
	r.scales[g] = next
	for j := lo; j < hi; j++ {
		if q := float32(r.codes[j]); q != 0 {
			ordered.Axpy(r.r, r.column(j), -float32((next-s)*q))
		}
	}
}

// bend returns q·h·q of a group's codes q.
func (r *row) bend(g, lo, hi int) float64 {
	if r.bends[g] != 0 {
		return r.bends[g]
	}
	v := r.v[:hi-lo]
	clear(v)
	for j := lo; j < hi; j++ {
		if q := float32(r.codes[j]); q != 0 {
			ordered.Axpy(v, r.column(j)[lo:hi], q)
		}
	}
	for j, x := range v {
		r.bends[g] += float64(float64(r.codes[lo+j]) * float64(x))
	}
	return r.bends[g]
}
