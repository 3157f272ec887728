package eval

import (
	"math"

	"github.com/llima-build/llima/internal/ordered"
)

// tanh is a polynomial near 0 and made of exp elsewhere.
func tanh(x float32) float32 {
	a := float32(math.Abs(float64(x)))
	if a < 0.625 {
		z := float32(x * x)
		p := horner(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
		return float32(float32(p*z)*x) + x
	}
	t := ordered.Exp(float32(-2 * a))
	return float32(math.Copysign(float64(float32(1-t)/float32(1+t)), float64(x)))
}

// erf is formula 7.1.26 of Abramowitz and Stegun.
func erf(x float32) float32 {
	a := float32(math.Abs(float64(x)))
	t := 1 / float32(1+float32(0.3275911*a))
	p := horner(t, 1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
	e := float32(float32(t*p) * ordered.Exp(-float32(x*x)))
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

// sqrt is correctly rounded: float64 has more than twice float32's digits.
func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }
