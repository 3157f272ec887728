package emu_test

import (
	"math"

	"github.com/llima-build/llima/modalix/isa"
)

// The reference computes every operation in binary64 and rounds to binary32,
// which is the correctly rounded result for + - · / and the square root.

type fl = float64

func round(x fl) fl { return fl(float32(x)) }

func horner(x fl, coefficients ...float32) fl {
	p := fl(coefficients[0])
	for _, c := range coefficients[1:] {
		p = round(round(p*x) + fl(c))
	}
	return p
}

func refExp(x fl) fl {
	switch {
	case x > 88:
		return math.Inf(1)
	case x < -86.5:
		return 0
	case math.IsNaN(x):
		return x
	}
	n := math.RoundToEven(round(x * fl(float32(1.44269504))))
	r := round(x - round(n*fl(float32(0.693359375))))
	r = round(r - round(n*fl(float32(-2.12194440e-4))))
	p := horner(r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
	y := round(round(p*round(r*r)) + r)
	return math.Ldexp(round(y+1), int(n))
}

func refTanh(x fl) fl {
	a := math.Abs(x)
	if a < 0.625 {
		z := round(x * x)
		p := horner(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
		return round(round(round(p*z)*x) + x)
	}
	t := refExp(-2 * a)
	return math.Copysign(1, x) * round(round(1-t)/round(1+t))
}

func refErf(x fl) fl {
	t := round(1 / round(1+round(fl(float32(0.3275911))*math.Abs(x))))
	p := horner(t, 1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
	return math.Copysign(1, x) * round(1-round(round(t*p)*refExp(-round(x*x))))
}

func refFunction(mode uint32, x, imm fl) fl {
	switch mode {
	case isa.FnExp:
		return refExp(x)
	case isa.FnRsqrt:
		return round(1 / round(math.Sqrt(x)))
	case isa.FnTanh:
		return refTanh(x)
	case isa.FnSigmoid:
		return round(1 / round(1+refExp(-x)))
	case isa.FnSilu:
		return round(x / round(1+refExp(-x)))
	case isa.FnGeluTanh:
		inner := round(x + round(fl(float32(0.044715))*round(round(x*x)*x)))
		return round(round(0.5*x) * round(1+refTanh(round(fl(float32(0.79788456))*inner))))
	case isa.FnGeluErf:
		return round(round(0.5*x) * round(1+refErf(round(x*fl(float32(0.70710678))))))
	case isa.FnRecip:
		return round(1 / x)
	case isa.FnSoftcap:
		return round(imm * refTanh(round(x/imm)))
	case isa.FnRelu:
		if x > 0 {
			return x
		}
		return 0
	}
	panic("mode")
}

// refFold is the order of reductions, recursive where emu has loops.
func refFold(x []fl, start fl, step, join func(lane, v fl) fl) fl {
	lanes := make([]fl, 16)
	for l := range lanes {
		lanes[l] = start
		for i := l; i < len(x); i += 16 {
			lanes[l] = step(lanes[l], x[i])
		}
	}
	var half func([]fl) fl
	half = func(v []fl) fl {
		if len(v) == 1 {
			return v[0]
		}
		w := len(v) / 2
		out := make([]fl, w)
		for l := range out {
			out[l] = join(v[l], v[l+w])
		}
		return half(out)
	}
	return half(lanes)
}

func refAdd(a, b fl) fl { return round(a + b) }

func refSum(x []fl) fl { return refFold(x, 0, refAdd, refAdd) }
func refSumSq(x []fl) fl {
	return refFold(x, 0, func(l, v fl) fl { return round(l + round(v*v)) }, refAdd)
}

func refMax(a, b fl) fl {
	if a > b {
		return a
	}
	return b
}

func refMaximum(x []fl) fl {
	return refFold(x, math.Inf(-1), func(l, v fl) fl { return refMax(v, l) }, refMax)
}
