package walk

import (
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/internal/ordered"
	"github.com/llima-build/llima/quant/calib"
)

// collector sums what the matrices of a group are multiplied with.
type collector struct {
	input, residual string // values; residual "" where there is none
	fit, held       sums
}

// sums are sums over tokens; see [calib.Moments].
type sums struct {
	h, cross, lag []float32
	k, tokens     int
}

// text adds the tokens of a text: values of the float model and of the
// quantised one.
func (m *sums) text(c *collector, float, quantised map[string]eval.Value) {
	f, x := float[c.input], quantised[c.input]
	rows := int(x.Dims[0])
	m.k = len(x.F) / rows
	if m.h == nil {
		m.h, m.cross = make([]float32, m.k*m.k), make([]float32, m.k*m.k)
	}
	addSquare(m.h, x.F, rows, m.k, 0, m.k)
	add(m.cross, f.F, x.F, rows, m.k, m.k)
	if c.residual != "" {
		rf, rx := float[c.residual].F, quantised[c.residual].F
		n := len(rx) / rows
		if m.lag == nil {
			m.lag = make([]float32, n*m.k)
		}
		diff := make([]float32, len(rx))
		for i, v := range rf {
			diff[i] = v - rx[i]
		}
		add(m.lag, diff, x.F, rows, n, m.k)
	}
	m.tokens += rows
}

// moments returns the means; nil where there were no texts.
func (m *sums) moments() *calib.Moments {
	if m.tokens == 0 {
		return nil
	}
	mirror(m.h, m.k)
	for _, sum := range [][]float32{m.h, m.cross, m.lag} {
		divide(sum, m.tokens)
	}
	return &calib.Moments{Inputs: &calib.Inputs{K: m.k, Tokens: m.tokens, H: m.h, Cross: m.cross}, Lag: m.lag}
}

// partRows is how many rows of a sum are computed at a time.
const partRows = 64

// add adds to sum [n, k] the products yᵀ·x of rows.
func add(sum, y, x []float32, rows, n, k int) {
	left := ordered.Transpose(ordered.Dense(y, rows, n))
	ordered.Each(n, partRows, func(i, part int) {
		ordered.Multiply(ordered.Dense(sum[i*k:], part, k), ordered.Dense(left.Data[i*rows:], part, rows), ordered.Dense(x, rows, k))
	})
}

// addSquare adds to sum [n, n] the products yᵀ·y of columns [first, first+n)
// of y [rows, width]: what is on and right of its diagonal, in strips whose
// beginnings lie left of it.
func addSquare(sum, y []float32, rows, width, first, n int) {
	left := ordered.Transpose(ordered.Matrix{Data: y[first:], Rows: rows, Cols: n, Stride: width})
	ordered.Each(n, partRows, func(i, part int) {
		ordered.Multiply(
			ordered.Matrix{Data: sum[i*n+i:], Rows: part, Cols: n - i, Stride: n},
			ordered.Dense(left.Data[i*rows:], part, rows),
			ordered.Matrix{Data: y[first+i:], Rows: rows, Cols: n - i, Stride: width},
		)
	})
}

// mirror copies what is right of the diagonal of a [n, n] to its left.
func mirror(a []float32, n int) {
	for i := range n {
		for j := range i {
			a[i*n+j] = a[j*n+i]
		}
	}
}

func divide(sum []float32, by int) {
	for i := range sum {
		sum[i] /= float32(by)
	}
}
