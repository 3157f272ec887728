package eval

import "math"

// Exp returns e^x as docs/isa.md defines it: the reduced argument in two
// steps, a polynomial of degree five, every operation rounded to float32.
func Exp(x float32) float32 {
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
	return y * math.Float32frombits(uint32(int32(n)+127)<<23) // 2^n: neither it nor the result is subnormal
}

func sigmoid(x float32) float32 { return 1 / float32(1+Exp(-x)) }

// tanh is a polynomial near 0 and made of exp elsewhere.
func tanh(x float32) float32 {
	a := float32(math.Abs(float64(x)))
	if a < 0.625 {
		z := float32(x * x)
		p := horner(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
		return float32(float32(p*z)*x) + x
	}
	t := Exp(float32(-2 * a))
	return float32(math.Copysign(float64(float32(1-t)/float32(1+t)), float64(x)))
}

// erf is formula 7.1.26 of Abramowitz and Stegun.
func erf(x float32) float32 {
	a := float32(math.Abs(float64(x)))
	t := 1 / float32(1+float32(0.3275911*a))
	p := horner(t, 1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
	e := float32(float32(t*p) * Exp(-float32(x*x)))
	return float32(math.Copysign(float64(1-e), float64(x)))
}

// horner evaluates a polynomial, the coefficient of the highest power first.
func horner(x float32, c ...float32) float32 {
	p := c[0]
	for _, v := range c[1:] {
		p = float32(p*x) + v
	}
	return p
}

// geluTanh is the approximation of gelu that ONNX calls "tanh".
func geluTanh(x float32) float32 {
	u := float32(x + float32(0.044715*float32(float32(x*x)*x)))
	return float32(0.5*x) * float32(1+tanh(float32(0.79788456*u)))
}

func gelu(x float32) float32 { return float32(0.5*x) * float32(1+erf(float32(x*0.70710678))) }

func relu(x float32) float32 {
	if x > 0 {
		return x
	}
	return 0
}

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
