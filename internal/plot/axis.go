package plot

import (
	"math"
	"strconv"
	"strings"
)

// axis maps values to pixels.
type axis struct {
	log    bool
	lo, hi float64 // domain; of a logarithmic axis, decimal logarithms
	step   float64 // of ticks, where the axis is linear
	low    string  // label of the lane for what has no logarithm; "": none
	from   float64 // pixels of lo and hi
	to     float64
}

// laneWidth is the room beside a logarithmic axis for values of 0, laneGap how
// much of it is left free to break the axis.
const (
	laneWidth = 56.0
	laneGap   = 12.0
)

// at returns the place of a value; what is below a logarithmic axis lies in
// the middle of its lane.
func (a axis) at(v float64) float64 {
	from := a.from
	if a.low != "" {
		side := math.Copysign(laneWidth, a.to-a.from)
		if v < pow10(a.lo)*(1-1e-9) {
			return from + side*(laneWidth-laneGap)/laneWidth/2
		}
		from += side
	}
	if a.log {
		v = math.Log10(v)
	}
	return from + (a.to-from)*((v-a.lo)/(a.hi-a.lo))
}

// linear returns an axis that holds lo and hi, with whole steps at its ends.
func linear(lo, hi, from, to float64, ticks int, whole bool) axis {
	if big := math.Max(math.Abs(lo), math.Abs(hi)); hi-lo <= 1e-9*big || big < minDrawn {
		pad := big / 2
		if big < minDrawn {
			lo, hi, pad = 0, 0, 0.5
		}
		if lo != 0 || !whole {
			lo -= pad
		}
		hi += pad
	}
	step := niceStep((hi - lo) / float64(ticks))
	if whole {
		step = math.Max(step, 1)
	}
	return axis{lo: math.Floor(lo/step+1e-9) * step, hi: math.Ceil(hi/step-1e-9) * step, step: step, from: from, to: to}
}

// niceStep returns the least 1, 2 or 5 times a power of ten that is no less
// than x.
func niceStep(x float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5} {
		if m*unit >= x*(1-1e-9) {
			return m * unit
		}
	}
	return 10 * unit
}

// logarithmic returns an axis that holds lo and hi, both above 0, and ends at
// 1, 2 or 5 times powers of ten. low names the lane for values that have no
// logarithm, or "".
func logarithmic(lo, hi, from, to float64, low string) axis {
	a := axis{log: true, from: from, to: to, low: low}
	a.lo, a.hi = math.Inf(-1), math.Inf(1)
	for d := math.Floor(math.Log10(lo)) - 1; d <= math.Ceil(math.Log10(hi))+1; d++ {
		for _, m := range []float64{1, 2, 5} {
			v := d + math.Log10(m)
			if v <= math.Log10(lo)+1e-9 {
				a.lo = v
			}
			if v >= math.Log10(hi)-1e-9 && math.IsInf(a.hi, 1) {
				a.hi = v
			}
		}
	}
	if a.hi-a.lo < 1e-9 {
		a.hi = a.lo + 1
	}
	return a
}

// tick is a mark of an axis; those without a label are small.
type tick struct {
	at    float64
	label string
}

func (a axis) ticks() []tick {
	if a.log {
		return a.logTicks()
	}
	var out []tick
	n := int(math.Round((a.hi - a.lo) / a.step))
	for i := range n + 1 {
		v := a.lo + float64(i)*a.step
		if math.Abs(v) < a.step/2 {
			v = 0
		}
		out = append(out, tick{a.at(v), number(v, a.step)})
	}
	return out
}

func (a axis) logTicks() []tick {
	var out []tick
	if a.low != "" {
		out = append(out, tick{a.at(0), a.low})
	}
	span := a.hi - a.lo
	every := math.Max(1, math.Ceil(span/9)) // decades from label to label
	plain := a.lo >= -4 && a.hi <= 5
	for d := math.Floor(a.lo); d <= a.hi+1e-9; d++ {
		for m := 1.0; m < 10; m++ {
			v := d + math.Log10(m)
			if v < a.lo-1e-9 || v > a.hi+1e-9 {
				continue
			}
			label := ""
			switch {
			case m == 1 && math.Mod(d, every) == 0:
				label = power(1, int(d), plain)
			case m > 1 && every > 1:
				continue
			case (m == 2 || m == 5) && span < 2.5:
				label = power(m, int(d), plain)
			}
			out = append(out, tick{a.at(pow10(d) * m), label})
		}
	}
	return out
}

// pow10 is exact for whole exponents.
func pow10(x float64) float64 {
	if x == math.Trunc(x) && math.Abs(x) < 400 {
		return math.Pow10(int(x))
	}
	return math.Pow(10, x)
}

// number writes the value of a tick with the digits that steps need.
func number(v, step float64) string {
	digits := -int(math.Floor(math.Log10(step) + 1e-9))
	if big := math.Abs(v); v != 0 && (digits > 5 || big >= 1e7) {
		exp := math.Floor(math.Log10(big) + 1e-9)
		mantissa := strconv.FormatFloat(v/pow10(exp), 'f', max(0, int(exp)+digits), 64)
		return strings.Replace(mantissa, "-", "−", 1) + "×" + power(1, int(exp), false)
	}
	s := strconv.FormatFloat(v, 'f', max(0, digits), 64)
	if digits <= 0 && math.Abs(v) >= 1e4 {
		s = grouped(s)
	}
	return strings.Replace(s, "-", "−", 1)
}

// power writes m·10ⁿ, plain as a decimal.
func power(m float64, exp int, plain bool) string {
	if plain || exp == 0 {
		return strconv.FormatFloat(m*math.Pow10(exp), 'f', max(0, -exp), 64)
	}
	s := "10"
	if m != 1 {
		s = strconv.FormatFloat(m, 'f', 0, 64) + "×10"
	}
	for _, r := range strconv.Itoa(exp) {
		s += superscript[r]
	}
	return s
}

var superscript = map[rune]string{
	'-': "⁻", '0': "⁰", '1': "¹", '2': "²", '3': "³", '4': "⁴", '5': "⁵", '6': "⁶", '7': "⁷", '8': "⁸", '9': "⁹",
}
