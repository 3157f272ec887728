package arch

import "math"

// The functions below serve tables of a few megabytes, so they are plain
// series in float64. Every product is rounded explicitly: Go may otherwise
// fuse it with a sum on some CPUs.

const (
	ln2Hi = 6.93147180369123816490e-01 // 32 bits
	ln2Lo = 1.90821492927058770002e-10
)

// ln returns the natural logarithm of a positive number, to a few units in
// the last place.
func ln(x float64) float64 {
	m, e := math.Frexp(x) // m in [0.5, 1)
	if m < math.Sqrt2/2 {
		m, e = m*2, e-1
	}
	s := (m - 1) / (m + 1)
	z := float64(s * s)
	sum := 0.0
	for k := 27; k >= 1; k -= 2 {
		sum = float64(sum*z) + 1/float64(k)
	}
	return float64(float64(e)*ln2Hi) + (float64(float64(e)*ln2Lo) + float64(2*float64(s*sum)))
}

// exp returns e^x for |x| < 700, to a few units in the last place.
func exp(x float64) float64 {
	n := math.RoundToEven(float64(x / (ln2Hi + ln2Lo)))
	r := (x - float64(n*ln2Hi)) - float64(n*ln2Lo)
	sum := 1.0
	for k := 16; k >= 1; k-- {
		sum = float64(float64(sum*r)/float64(k)) + 1
	}
	return math.Ldexp(sum, int(n))
}

// Pieces of pi/2 of 33 bits each, and the rest: n·piece is exact for
// |n| < 2^20.
const (
	halfPi1 = 1.57079632673412561417e+00
	halfPi2 = 6.07710050630396597660e-11
	halfPi3 = 2.02226624871116645580e-21
	halfPi4 = 8.47842766036889956997e-32
)

// sinCos returns sine and cosine of 0 <= x < 2^20, to about 1e-15.
func sinCos(x float64) (s, c float64) {
	n := math.RoundToEven(float64(x * (2 / math.Pi)))
	r := ((x - float64(n*halfPi1)) - float64(n*halfPi2)) - float64(n*halfPi3) - float64(n*halfPi4)
	z := float64(r * r)
	s, c = 1, 1
	for k := 18; k >= 2; k -= 2 {
		s = 1 - float64(float64(s*z)/float64(k*(k+1)))
		c = 1 - float64(float64(c*z)/float64(k*(k-1)))
	}
	s = float64(s * r)
	switch int64(n) & 3 {
	case 0:
		return s, c
	case 1:
		return c, -s
	case 2:
		return -s, -c
	default:
		return -c, s
	}
}
