package quant

import (
	"math"

	"github.com/llima-build/llima/formats/tensor"
)

// nearest4 rounds one group to 4 bits: its greatest weight gets code -8.
func nearest4(w []float32, codes []int8) (scale uint16, ok bool) {
	m, first := float32(0), float32(0)
	for _, x := range w {
		if a := max(x, -x); a > m {
			m, first = a, x
		}
	}
	if scale, ok = nearestScale(m, 8); scale == 0 || !ok {
		clear(codes)
		return scale, ok
	}
	if first > 0 {
		scale |= signF16
	}
	encode4(w, codes, scale)
	return scale, true
}

// nearest8 rounds one group to 8 bits: its greatest magnitude gets code 127.
func nearest8(w []float32, codes []int8) (scale uint16, ok bool) {
	if scale, ok = nearestScale(absMax(w), top8); scale == 0 || !ok {
		clear(codes)
		return scale, ok
	}
	encode8(w, codes, scale)
	return scale, true
}

// nearestScale returns m over a code, rounded to float16: 0 for 0 alone.
func nearestScale(m float32, code float64) (scale uint16, ok bool) {
	if m == 0 {
		return 0, true
	}
	scale = max(tensor.ToF16(float32(float64(m)/code)), smallestF16)
	return scale, scale < infF16
}

// top8 is the greatest code of 8 bits.
const top8 = 127

// search8 tries scales that clip the greatest weights of a group.
func search8(w []float32, codes []int8) (scale uint16, ok bool) {
	m := absMax(w)
	scale, ok = nearestScale(m, top8)
	if scale == 0 || !ok {
		clear(codes)
		return scale, ok
	}
	least := squaredError8(w, scale)
	for top := top8 + 0.5; top < 1.5*top8; top += 0.5 {
		c := max(tensor.ToF16(float32(float64(m)/top)), smallestF16)
		if e := squaredError8(w, c); e < least {
			scale, least = c, e
		}
	}
	encode8(w, codes, scale)
	return scale, true
}

func code8(w, s float64) float64 { return min(max(math.RoundToEven(w/s), -top8), top8) }

func squaredError8(w []float32, scale uint16) float64 {
	s, sum := float64(tensor.FromF16(scale)), 0.0
	for _, x := range w {
		e := float64(x) - float64(s*code8(float64(x), s))
		sum += float64(e * e)
	}
	return sum
}

func encode8(w []float32, codes []int8, scale uint16) {
	s := float64(tensor.FromF16(scale))
	for i, x := range w {
		codes[i] = int8(code8(float64(x), s))
	}
}
