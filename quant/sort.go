package quant

import (
	"cmp"
	"slices"
)

// sortSteps sorts steps by x, then by index, a total order: a weight's own
// steps differ.
//
// The steps of one weight are evenly spaced in x, so those of a group are
// close to evenly spread as well: they go to as many bins, and what is out of
// order then is so by a few places. Groups that are not spread like that are
// sorted by comparing.
func (s *search) sortSteps() {
	if !s.spread() {
		slices.SortFunc(s.steps, compareSteps)
		return
	}
	for i := 1; i < len(s.steps); i++ {
		if compareSteps(s.steps[i-1], s.steps[i]) < 0 {
			continue
		}
		st, j := s.steps[i], i
		for ; j > 0 && compareSteps(st, s.steps[j-1]) < 0; j-- {
			s.steps[j] = s.steps[j-1]
		}
		s.steps[j] = st
	}
}

func compareSteps(a, b step) int {
	switch {
	case a.at < b.at:
		return -1
	case a.at > b.at:
		return 1
	}
	return cmp.Compare(a.index, b.index)
}

// maxBin is how many steps a bin may hold, so that inserting stays short.
const maxBin = 24

// spread brings the steps into bins of rising x, in place of s.steps, unless
// one would hold more than maxBin.
func (s *search) spread() bool {
	if len(s.steps) < 2 {
		return true
	}
	low, high := s.steps[0].at, s.steps[0].at
	for _, st := range s.steps {
		low, high = min(low, st.at), max(high, st.at)
	}
	n := len(s.steps)
	scale := float64(n-1) / (high - low)
	if !(scale > 0 && scale < 1e300) {
		return false
	}
	// Rounding is monotone, so a step in a lower bin is below.
	s.starts = append(s.starts[:0], make([]int32, n+1)...)
	s.bins = s.bins[:0]
	for _, st := range s.steps {
		b := min(int32((st.at-low)*scale), int32(n-1))
		s.bins = append(s.bins, b)
		s.starts[b+1]++
	}
	for b := range n {
		if s.starts[b+1] > maxBin {
			return false
		}
		s.starts[b+1] += s.starts[b]
	}
	s.spare = slices.Grow(s.spare[:0], n)[:n]
	for i, st := range s.steps {
		b := s.bins[i]
		s.spare[s.starts[b]] = st
		s.starts[b]++
	}
	s.steps, s.spare = s.spare, s.steps
	return true
}
