package quant

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/llima-build/llima/formats/tensor"
)

// worker quantises rows of a matrix, one at a time.
type worker struct {
	rows  *rows
	group int
	round func(w []float32, codes []int8) (scale uint16, ok bool) // one group
}

func newWorker(src []byte, dt tensor.DType, first, n, k int, f Format) (*worker, error) {
	r, err := newRows(src, dt, first, n, k)
	if err != nil {
		return nil, err
	}
	w := &worker{rows: r, group: f.GroupSize}
	if w.group == 0 {
		w.group = k
	}
	switch search := f.Resolved() == Search; {
	case f.Bits == 4 && search:
		w.round = newSearch(min(w.group, k)).int4
	case f.Bits == 4:
		w.round = nearest4
	case search:
		w.round = search8
	default:
		w.round = nearest8
	}
	return w, nil
}

// row sets the codes [k] and scales [groups] of row i.
func (w *worker) row(i int, codes []int8, scales []uint16) error {
	row, err := w.rows.read(i)
	if err != nil {
		return err
	}
	for g := range scales {
		at, end := g*w.group, min((g+1)*w.group, len(row))
		part, c := row[at:end], codes[at:end]
		var ok bool
		if scales[g], ok = w.round(part, c); !ok {
			return fmt.Errorf("quant: row %d, columns [%d,%d): weights up to %g need a scale past float16's range", w.rows.first+i, at, end, absMax(part))
		}
	}
	return nil
}

// rowBlock is how many rows a worker takes at a time.
const rowBlock = 16

// eachRow calls what start returns for every row below n, on all cores; start
// is called once for each. The error is that of the first row that has one.
func eachRow(n int, start func() (func(row int) error, error)) error {
	type failure struct {
		row int
		err error
	}
	failures := make([]failure, min(runtime.GOMAXPROCS(0), (n+rowBlock-1)/rowBlock))
	var taken atomic.Int64
	var wg sync.WaitGroup
	for id := range failures {
		wg.Go(func() {
			do, err := start()
			if err != nil {
				failures[id] = failure{0, err}
				return
			}
			// Blocks are taken in order, so no row below a failed one is left
			// out, and each worker's first failure is its lowest.
			for {
				first := int(taken.Add(rowBlock)) - rowBlock
				if first >= n {
					return
				}
				for row := first; row < min(first+rowBlock, n); row++ {
					if err := do(row); err != nil {
						failures[id] = failure{row, err}
						return
					}
				}
			}
		})
	}
	wg.Wait()
	var lowest failure
	for _, f := range failures {
		if f.err != nil && (lowest.err == nil || f.row < lowest.row) {
			lowest = f
		}
	}
	return lowest.err
}
