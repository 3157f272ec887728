package emu

import (
	"runtime"
	"sync/atomic"

	"github.com/llima-build/llima/modalix/emu/kern"
)

const (
	maxWorkers = 16
	// Turns of a waiting loop, of 20 to 60 ns each.
	parkAfter  = 2000 // by a worker without work
	yieldAfter = 200  // by who waits for workers to finish
)

// pool shares jobs among the cores. Its workers wait for the next job in a
// loop for a while and then sleep, so that jobs of microseconds are worth
// sharing, and cores that others need are given up. Whoever has not begun when
// a job is done is not waited for.
type pool struct {
	job    func(worker, lo, hi int) // of the items [lo,hi)
	items  int64
	share  int64      // a worker takes this part of what is left at a time
	others []*sleeper // one a worker but the caller's
	closed atomic.Bool

	// Each is written while others read; a cache line keeps them apart.
	_      [64]byte
	next   atomic.Int64
	_      [64]byte
	inside atomic.Int64 // workers at the job, plus gateOpen while there is one
	_      [64]byte
	epoch  atomic.Uint32
	_      [64]byte
}

const gateOpen = 1 << 32

// sleeper is where a worker sleeps.
type sleeper struct {
	asleep atomic.Bool
	wake   chan struct{}
}

// workers returns how many workers a job has, the caller's included.
func (p *pool) workers() int {
	n := min(runtime.GOMAXPROCS(0), maxWorkers)
	for len(p.others) < n-1 {
		s := &sleeper{wake: make(chan struct{}, 1)}
		p.others = append(p.others, s)
		go p.serve(len(p.others), s)
	}
	return n
}

// run calls job for ranges of the items until all are done. Worker 0 is the
// caller's goroutine.
func (p *pool) run(items int, job func(worker, lo, hi int)) {
	n := p.workers()
	if n == 1 || items == 1 {
		job(0, 0, items)
		return
	}
	p.job, p.items, p.share = job, int64(items), int64(2*n)
	p.next.Store(0)
	p.inside.Store(gateOpen)
	p.wakeAll()
	p.work(0)
	p.inside.Add(-gateOpen)
	for turn := 0; p.inside.Load() != 0; turn++ {
		if turn < yieldAfter {
			kern.Pause()
		} else {
			runtime.Gosched()
		}
	}
	p.job = nil
}

func (p *pool) wakeAll() {
	p.epoch.Add(1)
	for _, s := range p.others {
		if s.asleep.CompareAndSwap(true, false) {
			s.wake <- struct{}{}
		}
	}
}

// close ends the workers.
func (p *pool) close() {
	p.closed.Store(true)
	p.wakeAll()
}

// work takes items until there are none left, fewer towards the end, so that
// workers finish together.
func (p *pool) work(worker int) {
	for {
		lo := p.next.Load()
		if lo >= p.items {
			return
		}
		hi := lo + max(1, (p.items-lo)/p.share)
		if p.next.CompareAndSwap(lo, hi) {
			p.job(worker, int(lo), int(hi))
		}
	}
}

// serve is a worker.
func (p *pool) serve(worker int, s *sleeper) {
	seen := uint32(0)
	for !p.closed.Load() {
		if p.enter() {
			p.work(worker)
			p.inside.Add(-1)
		}
		seen = p.await(s, seen)
	}
}

// enter takes part in the job, if there is one.
func (p *pool) enter() bool {
	for {
		n := p.inside.Load()
		if n < gateOpen {
			return false
		}
		if p.inside.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// await returns when there is another epoch than the one seen.
func (p *pool) await(s *sleeper, seen uint32) uint32 {
	for range parkAfter {
		if e := p.epoch.Load(); e != seen {
			return e
		}
		kern.Pause()
	}
	s.asleep.Store(true)
	if p.epoch.Load() == seen || !s.asleep.CompareAndSwap(true, false) {
		<-s.wake
	}
	return p.epoch.Load()
}
