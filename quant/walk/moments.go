package walk

import (
	"sync"

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
	add(m.h, x.F, x.F, rows, m.k, m.k)
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
	for _, sum := range [][]float32{m.h, m.cross, m.lag} {
		for i := range sum {
			sum[i] /= float32(m.tokens)
		}
	}
	return &calib.Moments{Inputs: &calib.Inputs{K: m.k, H: m.h, Cross: m.cross}, Lag: m.lag}
}

// add adds to sum [n, k] the products yᵀ·x of rows.
func add(sum, y, x []float32, rows, n, k int) {
	left := ordered.Transpose(ordered.Dense(y, rows, n))
	inRows(n, func(i, part int) {
		ordered.Multiply(ordered.Dense(sum[i*k:], part, k), ordered.Dense(left.Data[i*rows:], part, rows), ordered.Dense(x, rows, k))
	})
}

// inRows calls f for n rows, a part at a time, on all cores: i is the part's
// first. No row's sums depend on the division.
func inRows(n int, f func(i, part int)) {
	const part = 64
	var wg sync.WaitGroup
	for i := 0; i < n; i += part {
		wg.Go(func() { f(i, min(part, n-i)) })
	}
	wg.Wait()
}
