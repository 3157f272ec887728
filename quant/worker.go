package quant

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// parallel calls the first function that start returns for runs of up to step
// rows of n, on all cores, and the second one after the last; start is called
// once for each core. The error is that of the lowest run that has one.
func parallel(n, step int, start func() (do func(first, rows int) error, end func())) error {
	type failure struct {
		row int
		err error
	}
	failures := make([]failure, min(runtime.GOMAXPROCS(0), (n+step-1)/step))
	var taken atomic.Int64
	work := func(id int) {
		do, end := start()
		defer end()
		// Runs are taken in order, so none below a failed one is left out,
		// and each worker's first failure is its lowest.
		for {
			first := int(taken.Add(int64(step))) - step
			if first >= n {
				return
			}
			if err := do(first, min(step, n-first)); err != nil {
				failures[id] = failure{first, err}
				return
			}
		}
	}
	var wg sync.WaitGroup
	for id := 1; id < len(failures); id++ {
		wg.Go(func() { work(id) })
	}
	work(0)
	wg.Wait()
	var lowest failure
	for _, f := range failures {
		if f.err != nil && (lowest.err == nil || f.row < lowest.row) {
			lowest = f
		}
	}
	return lowest.err
}
