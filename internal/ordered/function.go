package ordered

import "math"

// Exp returns e^x as docs/isa.md §3 defines it: the reduced argument in two
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

// Sigmoid returns 1/(1 + e^-x).
func Sigmoid(x float32) float32 { return 1 / float32(1+Exp(-x)) }

// lanes is the width of a reduction, and of what kernels take at once.
const lanes = 16

// ExpOf writes e^(x[i] - top) to y, which may be x.
func ExpOf(y, x []float32, top float32) {
	x = x[:len(y)]
	for i := elementwise(expSub, y, x, top); i < len(y); i++ {
		y[i] = Exp(x[i] - top)
	}
}

// SigmoidOf writes [Sigmoid] of x[i] to y, which may be x.
func SigmoidOf(y, x []float32) {
	x = x[:len(y)]
	for i := elementwise(sigmoid, y, x, 0); i < len(y); i++ {
		y[i] = Sigmoid(x[i])
	}
}

// Softmax writes e^(x[i] - max x) over their sum to y, which may be x.
func Softmax(y, x []float32) {
	x = x[:len(y)]
	ExpOf(y, x, Max(x))
	sum := Sum(y)
	for i := elementwise(divImm, y, y, sum); i < len(y); i++ {
		y[i] /= sum
	}
}

// Max returns the greatest element, -Inf where there is none that is a number.
func Max(x []float32) float32 {
	var lane [lanes]float32
	n := greatest(&lane, x)
	top := float32(math.Inf(-1))
	for _, part := range [][]float32{lane[:min(n, lanes)], x[n:]} {
		for _, v := range part {
			if v > top {
				top = v
			}
		}
	}
	return top
}

// Sum adds numbers as docs/isa.md §3 does: lane l takes elements l, l+16, …,
// then lanes are added in halves.
func Sum(x []float32) float32 {
	var lane [lanes]float32
	for i := sum(&lane, x); i < len(x); i++ {
		lane[i%lanes] += x[i]
	}
	for w := lanes / 2; w > 0; w /= 2 {
		for l := range w {
			lane[l] += lane[l+w]
		}
	}
	return lane[0]
}
