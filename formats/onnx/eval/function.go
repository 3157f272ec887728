package eval

import "math"

// exp returns e^x as docs/isa.md defines it: the reduced argument in two
// steps, a polynomial of degree five, every operation rounded to float32.
func exp(x float32) float32 {
	const (
		log2e = float32(1.44269504)
		hi    = float32(0.693359375)
		lo    = float32(-2.12194440e-4)
	)
	switch {
	case x > 88:
		return float32(math.Inf(1))
	case x < -86.5:
		return 0
	case x != x:
		return x
	}
	n := float32(math.RoundToEven(float64(float32(x * log2e))))
	r := float32(float32(x-float32(n*hi)) - float32(n*lo))
	p := float32(1.9875691500e-4)
	for _, c := range [...]float32{1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		p = float32(float32(p*r) + c)
	}
	y := float32(float32(float32(p*float32(r*r))+r) + 1)
	return float32(math.Ldexp(float64(y), int(n)))
}

func sigmoid(x float32) float32 { return 1 / float32(1+exp(-x)) }

// lanes is the width of a reduction.
const lanes = 16

// fold sums n numbers as docs/isa.md does: lane l takes elements l, l+16, …,
// then lanes are added in halves.
func fold(n int, at func(int) float32) float32 {
	var lane [lanes]float32
	for i := range n {
		lane[i%lanes] += at(i)
	}
	for w := lanes / 2; w > 0; w /= 2 {
		for l := range w {
			lane[l] += lane[l+w]
		}
	}
	return lane[0]
}

// sqrt is correctly rounded: float64 has more than twice float32's digits.
func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }
