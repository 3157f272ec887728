package measure

import (
	"math"
	"slices"
)

// Interval holds a value with 95 % confidence, by Student's t over windows:
// tokens of one window depend on each other, windows hardly do. It is nil for
// a single window.
type Interval [2]float64

// mean returns the mean of a figure that each window has, and its interval.
func mean(windows []float64) (float64, *Interval) {
	n := float64(len(windows))
	sum := 0.0
	for _, v := range windows {
		sum += v
	}
	m := sum / n
	if len(windows) < 2 {
		return m, nil
	}
	squares := 0.0
	for _, v := range windows {
		squares += (v - m) * (v - m)
	}
	half := student(len(windows)-1) * math.Sqrt(squares/(n-1)/n)
	return m, &Interval{m - half, m + half}
}

// student returns the 97.5 % quantile of Student's t with so many degrees of
// freedom, within 0.2 %: exact for 1 and 2, else the Cornish-Fisher series
// (Abramowitz and Stegun 26.7.5).
func student(freedom int) float64 {
	const p, z = 0.975, 1.959963984540054
	v := float64(freedom)
	switch freedom {
	case 1:
		return math.Tan(math.Pi * (p - 0.5))
	case 2:
		return (2*p - 1) * math.Sqrt(2/(4*p*(1-p)))
	}
	z3, z5, z7, z9 := z*z*z, math.Pow(z, 5), math.Pow(z, 7), math.Pow(z, 9)
	return z + (z3+z)/(4*v) + (5*z5+16*z3+3*z)/(96*v*v) +
		(3*z7+19*z5+17*z3-15*z)/(384*v*v*v) +
		(79*z9+776*z7+1482*z5-1920*z3-945*z)/(92160*v*v*v*v)
}

// Quantile returns the value below which a share of the values lies, between
// neighbours in proportion, as numpy does. It sorts values.
func Quantile(values []float32, share float64) float64 {
	slices.Sort(values)
	at := share * float64(len(values)-1)
	lo := int(at)
	hi := min(lo+1, len(values)-1)
	return float64(values[lo]) + (at-float64(lo))*(float64(values[hi])-float64(values[lo]))
}
