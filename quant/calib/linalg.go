package calib

import (
	"errors"
	"math"

	"github.com/llima-build/llima/internal/ordered"
)

// errSingular says that a matrix of moments has no inverse, which damping
// prevents for any inputs but zeros.
var errSingular = errors.New("moments are not positive definite: all inputs may be zero")

// damped returns a [n, n] in float64 with a part of its mean diagonal added to
// the diagonal. Inputs that never occur keep a diagonal of that size.
func damped(a []float32, n int, part float64) []float64 {
	out := make([]float64, n*n)
	mean := 0.0
	for i, v := range a {
		out[i] = float64(v)
	}
	for i := range n {
		mean += out[i*n+i]
	}
	mean /= float64(n)
	for i := range n {
		out[i*n+i] += float64(part * mean)
	}
	return out
}

func narrow(a []float64) []float32 {
	out := make([]float32, len(a))
	for i, v := range a {
		out[i] = float32(v)
	}
	return out
}

// factor overwrites the lower half of a symmetric [n, n] with L, a = Lᵀ·L: a
// Cholesky factor from the last row up.
func factor(a []float64, n int) error {
	for j := n - 1; j >= 0; j-- {
		row := a[j*n : j*n+j+1]
		d := row[j]
		if !(d > 0) || math.IsInf(d, 0) {
			return errSingular
		}
		d = math.Sqrt(d)
		for i := range row {
			row[i] /= d
		}
		ordered.Each(j, 1, func(i, _ int) { ordered.Axpy64(a[i*n:i*n+i+1], row[:i+1], -row[i]) })
	}
	return nil
}

// inverseFactor returns U, upper triangular [n, n], with the inverse of a =
// Uᵀ·U. Since a = Lᵀ·L, that is the transpose of the inverse of L.
func inverseFactor(a []float64, n int) ([]float32, error) {
	l := append([]float64(nil), a...)
	if err := factor(l, n); err != nil {
		return nil, err
	}
	// Row i of the inverse is (e_i - Σ L[i,k]·row k) / L[i,i], k below i.
	x := make([]float64, n*n)
	for i := range n {
		row := x[i*n : i*n+i+1]
		for k := range i {
			ordered.Axpy64(row[:k+1], x[k*n:k*n+k+1], -l[i*n+k])
		}
		row[i] = 1
		for k := range row {
			row[k] /= l[i*n+i]
		}
	}
	u := make([]float32, n*n)
	for i := range n {
		for k := range i + 1 {
			u[k*n+i] = float32(x[i*n+k])
		}
	}
	return u, nil
}

// solve replaces b [n, w] by the solution of Lᵀ·L·x = b.
func solve(l, b []float64, n, w int) {
	row := func(i int) []float64 { return b[i*w : (i+1)*w] }
	divide := func(i int) {
		for j := range row(i) {
			b[i*w+j] /= l[i*n+i]
		}
	}
	for i := n - 1; i >= 0; i-- {
		divide(i)
		for k, v := range l[i*n : i*n+i] {
			ordered.Axpy64(row(k), row(i), -v)
		}
	}
	for i := range n {
		for k, v := range l[i*n : i*n+i] {
			ordered.Axpy64(row(i), row(k), -v)
		}
		divide(i)
	}
}
