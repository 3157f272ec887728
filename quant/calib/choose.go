package calib

import "math"

// choice is a strip of a matrix that a method came to.
type choice struct {
	method Method
	*matrix
}

// contest is what each method makes of a matrix, strip after strip. What is
// measured is measured on one or two sets of inputs: those that the matrix was
// fitted to, and those that were held out, which decide.
type contest struct {
	held  bool       // whether some inputs were
	moved float64    // of the targets, summed over rows
	power [2]float64 // of the outputs
	of    []contender
}

// contender is what one method makes of a matrix.
type contender struct {
	method Method
	codes  []int8
	scales []uint16
	errors [2]float64 // parts of the power
}

// add adds what the methods, always the same ones, make of the next strip.
func (c *contest) add(judges []*judge, list []choice) {
	if c.of == nil {
		c.of = make([]contender, len(list))
	}
	c.held = len(judges) > 1
	for i, j := range judges {
		c.power[i] += j.power
	}
	for at, from := range list {
		x := &c.of[at]
		x.method = from.method
		x.codes, x.scales = append(x.codes, from.codes...), append(x.scales, from.float16()...)
		for i, j := range judges {
			x.errors[i] += j.error(from.matrix)
		}
	}
}

// choose takes the matrix [n, K] with the least error, the first of equals.
func (c *contest) choose(n int) *Result {
	r := &Result{Report: Report{Target: c.moved / float64(n)}}
	best, least := &c.of[0], math.Inf(1)
	for at := range c.of {
		x := &c.of[at]
		to := Candidate{Method: x.method, Fit: part(x.errors[0], c.power[0]), Held: part(x.errors[1], c.power[1])}
		decides := to.Fit
		if c.held {
			decides = to.Held
		}
		if decides < least {
			best, least = x, decides
		}
		r.Report.Candidates = append(r.Report.Candidates, to)
	}
	r.Codes, r.Scales, r.Report.Method = best.codes, best.scales, best.method
	return r
}

// part returns what part of a whole something is, 0 where that is nothing.
func part(of, whole float64) float64 {
	if !(whole > 0) {
		return 0
	}
	return of / whole
}
