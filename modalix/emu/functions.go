package emu

import "math"

// The functions of docs/isa.md §2. Every product that is added to something
// is converted explicitly, so that no compiler fuses the two.

var inf = float32(math.Inf(1))

func exp(x float32) float32 {
	switch {
	case x > 88:
		return inf
	case x < -86.5:
		return 0
	case x != x:
		return x
	}
	const magic = 12582912 // 1.5·2^23: adding it rounds to an integer
	n := float32(float32(x*1.44269504)+magic) - magic
	r := float32(x - float32(n*0.693359375))
	r = float32(r - float32(n*-2.12194440e-4))
	p := float32(1.9875691500e-4)
	p = float32(p*r) + 1.3981999507e-3
	p = float32(p*r) + 8.3334519073e-3
	p = float32(p*r) + 4.1665795894e-2
	p = float32(p*r) + 1.6666665459e-1
	p = float32(p*r) + 5.0000001201e-1
	y := float32(float32(p*float32(r*r))+r) + 1
	return y * math.Float32frombits(uint32(int32(n)+127)<<23)
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// signed returns sign(x)·y, by the sign bit of x.
func signed(x, y float32) float32 {
	return math.Float32frombits(math.Float32bits(y) ^ math.Float32bits(x)&(1<<31))
}

func tanh(x float32) float32 {
	a := abs(x)
	if a < 0.625 {
		z := float32(x * x)
		p := float32(-5.70498872745e-3)
		p = float32(p*z) + 2.06390887954e-2
		p = float32(p*z) + -5.37397155531e-2
		p = float32(p*z) + 1.33314422036e-1
		p = float32(p*z) + -3.33332819422e-1
		return float32(float32(p*z)*x) + x
	}
	t := exp(float32(-2 * a))
	return signed(x, float32(1-t)/float32(1+t))
}

func erf(x float32) float32 {
	a := abs(x)
	t := 1 / float32(1+float32(0.3275911*a))
	p := float32(1.061405429)
	p = float32(p*t) + -1.453152027
	p = float32(p*t) + 1.421413741
	p = float32(p*t) + -0.284496736
	p = float32(p*t) + 0.254829592
	e := float32(float32(t*p) * exp(-float32(x*x)))
	return signed(x, 1-e)
}

func sqrt(x float32) float32    { return float32(math.Sqrt(float64(x))) }
func rsqrt(x float32) float32   { return 1 / sqrt(x) }
func recip(x float32) float32   { return 1 / x }
func sigmoid(x float32) float32 { return 1 / float32(1+exp(-x)) }
func silu(x float32) float32    { return x / float32(1+exp(-x)) }

func geluTanh(x float32) float32 {
	cube := float32(float32(x*x) * x)
	u := float32(x + float32(0.044715*cube))
	return float32(0.5*x) * float32(1+tanh(float32(0.79788456*u)))
}

func geluErf(x float32) float32 {
	return float32(0.5*x) * float32(1+erf(float32(x*0.70710678)))
}

func relu(x float32) float32 {
	if x > 0 {
		return x
	}
	return 0
}

// larger is the vector unit's max: the second operand when they compare
// equal or not at all.
func larger(a, b float32) float32 {
	if a > b {
		return a
	}
	return b
}

// toBF16 rounds to nearest, ties to even. A NaN stays one.
func toBF16(f float32) uint16 {
	u := math.Float32bits(f)
	if u&0x7fffffff > 0x7f800000 {
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

func fromBF16(u uint16) float32 { return math.Float32frombits(uint32(u) << 16) }

// fromF16 is exact.
func fromF16(h uint16) float32 {
	sign := uint32(h>>15) << 31
	e, m := uint32(h>>10&31), uint32(h&1023)
	switch e {
	case 0:
		return signed(math.Float32frombits(sign), float32(m)*(1.0/(1<<24)))
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | m<<13)
	}
	return math.Float32frombits(sign | (e+112)<<23 | m<<13)
}

// toInt rounds to nearest, ties to even, and saturates; NaN becomes 0.
func toInt(f float32, lo, hi float64) int32 {
	v := float64(f)
	if v != v {
		return 0
	}
	return int32(min(max(math.RoundToEven(v), lo), hi))
}
