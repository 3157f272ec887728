package quant

import (
	"math"
	"slices"

	"github.com/llima-build/llima/formats/tensor"
)

// search finds the best scale of a group for codes -8 to 7.
//
// Let x = 1/|scale|. As x grows from 0, the code of a weight w steps from k to
// k+1 in magnitude where x passes (k+½)/|w|, until it is clipped: at 8 on the
// side that codes -8 serve, at 7 on the other. Between two steps all codes are
// constant, and with A = Σ|w|·q and B = Σq² the error is Σw² - 2sA + s²B:
// least at s = A/B, where it falls by A²/B below Σw². So the best scale lies
// at the interval with the greatest A²/B. A negative scale swaps the sides;
// both signs share all steps but the last, so one pass serves both.
//
// Scales are float16, so the interval with the greatest A²/B is only where to
// begin: any other whose A²/B exceeds what float16 reached so far is tried as
// well. The two float16 neighbours of A/B are enough for an interval: its
// parabola falls towards A/B from either side, and rounding to nearest codes
// is never worse than the codes of an interval.
type search struct {
	steps, spare []step
	sums         []sums
	bins, starts []int32 // of sortSteps
}

type step struct {
	at     float64 // x
	weight float64 // |w|
	index  int
	side   int8 // for the last step: the sign of scale that allows it, else 0
	before int8 // code magnitude before the step
}

type sums struct {
	a, b float64
	gain float64 // A²/B: by how much the interval's own best scale lowers the error
	sign int8    // of the scale
}

func newSearch(group int) *search {
	return &search{steps: make([]step, 0, 8*group), sums: make([]sums, 0, 16*group)}
}

// int4 sets codes for w and returns the scale; it fails where the scale is
// past float16's range.
func (s *search) int4(w []float32, codes []int8) (scale uint16, ok bool) {
	m := absMax(w)
	clear(codes)
	if m == 0 {
		return 0, true
	}
	if float64(m)/8 > 65504 {
		return 0, false
	}
	first, firstError := s.start(w, float64(m))
	s.collect(w, limit(float64(m), firstError))
	s.scan()
	scale = s.best(w, first, firstError)
	encode4(w, codes, scale)
	return scale, true
}

// start returns the better of two usual scales: the greatest magnitude over
// -8 with the sign that makes its code -8, and over 7.
func (s *search) start(w []float32, m float64) (scale uint16, squared float64) {
	sign := 1.0
	if i := slices.IndexFunc(w, func(x float32) bool { return math.Abs(float64(x)) == m }); w[i] > 0 {
		sign = -1
	}
	scale, _ = neighbours(sign * m / 8)
	other, _ := neighbours(m / 7)
	squared = squaredError(w, scale)
	if e := squaredError(w, other); e < squared {
		return other, e
	}
	return scale, squared
}

// limit bounds x: past it the greatest weight alone, clipped at 8 steps, has
// more error than a scale that is known.
func limit(m, squared float64) float64 {
	rest := m - float64(math.Sqrt(squared)*(1+1e-9))
	if rest <= 0 {
		return math.Inf(1)
	}
	return 8 / rest * (1 + 1e-9)
}

// collect lists the steps below x, rising.
func (s *search) collect(w []float32, x float64) {
	s.steps = s.steps[:0]
	for i, f := range w {
		weight := math.Abs(float64(f))
		if weight == 0 {
			continue
		}
		for k := range 8 {
			st := step{at: (float64(k) + 0.5) / weight, weight: weight, index: i, before: int8(k)}
			if st.at > x {
				break
			}
			if k == 7 {
				st.side = 1
				if f > 0 {
					st.side = -1
				}
			}
			s.steps = append(s.steps, st)
		}
	}
	s.sortSteps()
}

// scan passes the steps and keeps the sums of every interval, for either sign.
func (s *search) scan() {
	s.sums = s.sums[:0]
	var a, b [2]float64
	for _, st := range s.steps {
		for i, sign := range [2]int8{1, -1} {
			if st.side == -sign {
				continue
			}
			a[i] += st.weight
			b[i] += float64(2*st.before + 1)
			s.sums = append(s.sums, sums{a[i], b[i], float64(a[i]*a[i]) / b[i], sign})
		}
	}
}

// best returns the float16 scale with the least error, the first of equals.
func (s *search) best(w []float32, scale uint16, least float64) uint16 {
	if len(s.sums) == 0 {
		return scale
	}
	total := 0.0
	for _, x := range w {
		total += float64(float64(x) * float64(x))
	}
	try := func(t sums) {
		for _, c := range pair(neighbours(float64(t.sign) * t.a / t.b)) {
			if c&^signF16 >= infF16 {
				continue
			}
			if e := squaredError(w, c); e < least {
				scale, least = c, e
			}
		}
	}
	top := 0
	for i, t := range s.sums {
		if t.gain > s.sums[top].gain {
			top = i
		}
	}
	try(s.sums[top])
	// Sums in another order differ in the last bits: the slack keeps an
	// interval that could be better by less than that.
	slack := float64(total * 1e-13)
	for i, t := range s.sums {
		if i != top && t.gain > total-least+slack {
			try(t)
		}
	}
	return scale
}

func pair(a, b uint16) [2]uint16 { return [2]uint16{a, b} }

// neighbours returns the nearest float16 and the one on the other side of s,
// or the nearest twice.
func neighbours(s float64) (nearest, other uint16) {
	nearest = tensor.ToF16(float32(s))
	v := math.Abs(float64(tensor.FromF16(nearest)))
	switch {
	case v < math.Abs(s):
		return nearest, nearest + 1
	case v > math.Abs(s):
		return nearest, nearest - 1
	}
	return nearest, nearest
}

func code4(w, s float64) float64 {
	return min(max(math.RoundToEven(w/s), -8), 7)
}

// squaredError is the sum of squared errors under a scale.
func squaredError(w []float32, scale uint16) float64 {
	s := float64(tensor.FromF16(scale))
	sum := 0.0
	for _, x := range w {
		e := float64(x)
		if s != 0 {
			e -= float64(s * code4(e, s))
		}
		sum += float64(e * e)
	}
	return sum
}

func encode4(w []float32, codes []int8, scale uint16) {
	s := float64(tensor.FromF16(scale))
	if s == 0 {
		return
	}
	for i, x := range w {
		codes[i] = int8(code4(float64(x), s))
	}
}
