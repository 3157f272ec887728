package kern

import "math"

// Codes says how a search rounds.
type Codes struct {
	Bits int // 4: codes -8 to 7; 8: codes -127 to 127
	// Top is the integer of a group's peak, and Multipliers are tried: m
	// rounds the integer v of a weight to the code v·m/2^15. So the peak's
	// code is Top·m/2^15, before it is clipped.
	Top         float32
	Multipliers []uint32 // each in both halves
	Clip        int      // so many of the first clip codes
}

// NewCodes returns what multipliers mean for a top; those that clip come
// first, else their order stays.
func NewCodes(bits int, top float32, multipliers []int) Codes {
	c := Codes{Bits: bits, Top: top}
	var whole []uint32
	for _, m := range multipliers {
		pair := uint32(m)<<16 | uint32(m)
		if code(int32(top), int32(m)) < 1<<(bits-1) {
			whole = append(whole, pair)
		} else {
			c.Multipliers = append(c.Multipliers, pair)
		}
	}
	c.Clip = len(c.Multipliers)
	c.Multipliers = append(c.Multipliers, whole...)
	return c
}

// code rounds v·m/2^15, halves up.
func code(v, m int32) int32 { return (v*m + 1<<14) >> 15 }

// Search sets scale to the scale of least squared error that the multipliers
// lead to, for each group of w. With v the weights as integers, w·Top/peak to
// nearest even (all 0 where peak is below 2^-64), it takes the codes q of a
// multiplier with the greatest A²/B, the first of equals, where A = Σqv and
// B = Σq²; for 4 bits also of codes under a negative scale, as soon as
// they differ. The scale is A/B · peak/Top.
func (s *Set) Search(scale, peak, w []float32, group int, c *Codes, room *Room) {
	n := len(scale)
	groups(w, n, group)
	peak = peak[:n]
	if s.k == nil || group > maxLane {
		v := grow(&room.fixed, group)
		for g := range scale {
			fixPlain(v, w[g*group:(g+1)*group], peak[g], c.Top)
			scale[g] = searchPlain(v, c)
		}
	} else {
		s.searchLanes(scale, peak, w, group, c, room)
	}
	for g := range scale {
		scale[g] *= float32(peak[g] / c.Top)
	}
}

// maxLane bounds what a lane may add up: 4-bit codes of a chunk fit in 32 bits
// whatever it is, and B = Σq² in float64.
const maxLane = 1 << 24

// chunkPairs is how many pairs of weights are added up in 32 bits.
const chunkPairs = 256

func (s *Set) searchLanes(scale, peak, w []float32, group int, c *Codes, room *Room) {
	k, n := s.k, len(scale)
	const dword, block = 2, 8 // in int16, in dwords
	fixed, turned, ratio := grow(&room.fixed, k.lanes*group), grow(&room.turned, k.lanes*group), grow(&room.ratio, k.lanes)
	kernel, long := k.search8, 0
	if c.Bits == 4 {
		kernel = k.search4
	}
	if group/2 > chunkPairs {
		long = 1
	}
	for g := 0; g < n; g += k.lanes {
		have := min(k.lanes, n-g)
		k.fix(&fixed[0], &w[g*group], &peak[g], have, group/Step, c.Top)
		clear(fixed[have*group:])
		for i := 0; i < k.lanes; i += block {
			k.turn(&turned[i*dword], k.lanes*dword*2, &fixed[i*group], group*2, group/(block*dword))
		}
		kernel[long](&ratio[0], &turned[0], group/2, &c.Multipliers[0], len(c.Multipliers), c.Clip, &room.sums[0])
		copy(scale[g:g+have], ratio)
	}
}

// fixPlain rounds the weights of a group to integers.
func fixPlain(v []int16, w []float32, peak, top float32) {
	factor := float32(0)
	if peak >= 1.0/(1<<64) {
		factor = top / peak
	}
	for i, x := range w {
		v[i] = int16(math.RoundToEven(float64(x * factor)))
	}
}

// searchPlain returns A/B of the best multiplier.
func searchPlain(v []int16, c *Codes) float32 {
	bestA, bestAA, bestB := 0.0, 0.0, 1.0
	try := func(m, low, high int32, sign float64) {
		a, b := int64(0), int64(0)
		for _, x := range v {
			q := min(max(code(int32(x), m), low), high)
			a += int64(q * int32(x))
			b += int64(q * q)
		}
		fa, fb := float64(a), float64(b)
		// A²/B exceeds the best's, without a division.
		if aa := float64(fa * fa); float64(aa*bestB) > float64(bestAA*fb) {
			bestA, bestAA, bestB = sign*fa, aa, fb
		}
	}
	for i, mm := range c.Multipliers {
		m := int32(mm & 0xffff)
		if c.Bits == 8 {
			try(m, -127, 127, 1)
			continue
		}
		try(m, -8, 7, 1)
		if i < c.Clip {
			try(m, -7, 8, -1)
		}
	}
	return float32(bestA / bestB)
}
