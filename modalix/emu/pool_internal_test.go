package emu

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// TestPool demands that every item is done once, with workers that run, spin
// and sleep, and that they end when the machine is gone.
func TestPool(t *testing.T) {
	before := runtime.NumGoroutine()
	m := NewMachine()
	for _, items := range []int{1, 2, 3, 7, 100, 1000} {
		for round := range 50 {
			done := make([]atomic.Int32, items)
			m.pool.run(items, func(_, lo, hi int) {
				for i := lo; i < hi; i++ {
					done[i].Add(1)
				}
			})
			for i := range done {
				if n := done[i].Load(); n != 1 {
					t.Fatalf("item %d of %d was done %d times", i, items, n)
				}
			}
			if round%10 == 9 {
				time.Sleep(time.Millisecond) // to sleep
			}
		}
	}
	runtime.KeepAlive(m)
	for range 100 {
		if runtime.GC(); runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}
