package quant

import "github.com/llima-build/llima/quant/kern"

// The search takes weights as integers of so many bits, sign apart: a step of
// codes is 512 of them for 4 bits, 64 for 8, so that what they are off moves
// no more than a few codes that lie half-way anyway.
const (
	top4 = 1 << 12
	top8 = 1 << 13
)

// The multipliers that are tried: the greatest weight gets the code
// multiplier/8 of 4 bits, /4 of 8. The more weights share a scale, the more a
// few great ones may be clipped. Of equals the first wins: it is the one that
// finds the scale of weights that were quantised before.
var (
	search4Small   = kern.NewCodes(4, top4, steps(64, 40, 51, 2, 76, 1, 84, 2))
	search4        = kern.NewCodes(4, top4, steps(64, 40, 84, 1, 120, 2))
	search4Channel = kern.NewCodes(4, top4, steps(64, 40, 51, 2, 96, 1, 120, 2, 200, 4))
	search8        = kern.NewCodes(8, top8, steps(508, 360, 439, 2, 524, 1))
)

func multipliers(bits, group int) *kern.Codes {
	switch {
	case bits == 8:
		return &search8
	case group <= 64:
		return &search4Small
	case group <= 256:
		return &search4
	}
	return &search4Channel
}

// steps lists first, and numbers from low to each limit, by the step behind it.
func steps(first, low int, limits ...int) []int {
	out := []int{first}
	for ; len(limits) > 0; limits = limits[2:] {
		for ; low <= limits[0]; low += limits[1] {
			if low != first {
				out = append(out, low)
			}
		}
	}
	return out
}
