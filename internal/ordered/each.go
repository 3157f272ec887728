package ordered

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Each calls f for [0, n), up to step at a time, on all cores: for what does
// not depend on how it is divided.
func Each(n, step int, f func(first, count int)) {
	var taken atomic.Int64
	work := func() {
		for {
			first := int(taken.Add(int64(step))) - step
			if first >= n {
				return
			}
			f(first, min(step, n-first))
		}
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+step-1)/step) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}
