package main

import (
	"github.com/llima-build/llima/internal/kernelgen/vector"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	pairsAtOnce = 8   // of the inner loop
	chunkPairs  = 256 // whose sums fit in 32 bits: 512·127·2^14 < 2^31
)

// search tries multipliers. A lane is a group; sums of products are integers,
// exact in 32 bits for a chunk and in float64 for all. Groups of one chunk
// have a kernel of their own.
type search struct {
	level
	signed, long, vnni bool

	sides []side
	best  [3]pair // A, A², B in float64
}

// side is the codes under scales of one sign: their limits and sums.
type side struct {
	a, b, low, high reg.VecVirtual
	sums            [2]pair // of chunks, a and b
	also            [2][2]reg.VecVirtual
}

// pair is a float64 for each lane, in memory or, where there are enough, in
// registers.
type pair struct {
	at Mem
	in []reg.VecVirtual
}

func (s *search) generate() {
	name, doc := "search8", "Codes are -127 to 127."
	if s.signed {
		name, doc = "search4", "Codes are -8 to 7; where multipliers clip, negative scales are tried too."
	}
	chunk := "at most 256"
	if s.long {
		name, chunk = name+"Long", "any number"
	}
	set := s.Name
	if s.vnni {
		set = "VNNI"
	}
	vector.Kernel(name+set, "func(ratio *float32, v *int16, pairs int, multipliers *uint32, n int, clip int, room *float64)",
		"writes A/B of the multiplier with the greatest A²/B for each lane, where",
		"A is the sum of code·v and B that of code². v is [pairs, lanes, 2], pairs a",
		"multiple of 8 and "+chunk+"; n multipliers are in both halves of a dword,",
		"of which the first clip clip codes; room has space for 7 numbers a lane. "+doc)
	multipliers, n, clip := Load(Param("multipliers"), GP64()), Load(Param("n"), GP64()), Load(Param("clip"), GP64())
	s.start()
	Label("multiplier")
	TESTQ(clip, clip)
	JG(LabelRef("clip"))
	s.try("all", s.sides[:1], multipliers, false)
	JMP(LabelRef("next"))
	Label("clip")
	s.try("clipped", s.sides, multipliers, true)
	Label("next")
	DECQ(clip)
	ADDQ(U8(4), multipliers)
	DECQ(n)
	JNZ(LabelRef("multiplier"))
	ratio := Load(Param("ratio"), GP64())
	for i := range 2 {
		a, h := s.Vec(), s.Half()
		s.load(s.best[0], i, a)
		VDIVPD(s.op(s.best[2], i), a, a)
		if s.Lanes == 16 {
			VCVTPD2PS(a, h)
		} else {
			VCVTPD2PSY(a, h)
		}
		VMOVUPS(h, Mem{Base: ratio, Disp: i * s.Bytes() / 2})
	}
	VZEROUPPER()
	RET()
}

// start sets limits, and the best to 0²/1.
func (s *search) start() {
	room, used := Load(Param("room"), GP64()), 0
	memory := func() pair {
		used += 2 * s.Bytes()
		return pair{at: Mem{Base: room, Disp: used - 2*s.Bytes()}}
	}
	s.sides = []side{{low: s.Constant(0xff81ff81), high: s.Constant(0x007f007f)}}
	if s.signed {
		s.sides = []side{
			{low: s.Constant(0xfff8fff8), high: s.Constant(0x00070007)},
			{low: s.Constant(0xfff9fff9), high: s.Constant(0x00080008)},
		}
	}
	for i := range s.sides {
		s.sides[i].a, s.sides[i].b = s.Vec(), s.Vec()
		if s.long {
			s.sides[i].sums = [2]pair{memory(), memory()}
		}
	}
	one, t, x := s.Vec(), GP64(), XMM()
	MOVQ(U64(0x3ff0000000000000), t)
	VMOVQ(t, x)
	VPBROADCASTQ(x, one)
	zero := s.Vec()
	s.level.Zero(zero)
	for i, from := range []reg.VecVirtual{zero, zero, one} {
		if s.Lanes == 8 {
			s.best[i] = memory()
		} else {
			s.best[i] = pair{in: []reg.VecVirtual{ZMM(), ZMM()}}
		}
		for half := range 2 {
			if s.best[i].in != nil {
				VMOVAPD(from, s.best[i].in[half])
			} else {
				VMOVUPD(from, s.op(s.best[i], half))
			}
		}
	}
}

// op is one half of a pair.
func (s *search) op(p pair, half int) Op {
	if p.in != nil {
		return p.in[half]
	}
	return p.at.Offset(half * s.Bytes())
}

func (s *search) load(p pair, half int, v reg.VecVirtual) {
	if p.in != nil {
		VMOVAPD(p.in[half], v)
		return
	}
	VMOVUPD(s.op(p, half), v)
}

// try adds up the codes of a multiplier, and keeps it where it is the best.
func (s *search) try(label string, sides []side, multipliers reg.Register, clip bool) {
	if s.long {
		zero := s.Vec()
		s.level.Zero(zero)
		for _, d := range sides {
			for half := range 2 {
				VMOVUPD(zero, s.op(d.sums[0], half))
				VMOVUPD(zero, s.op(d.sums[1], half))
			}
		}
	}
	multiplier, v, pairs, steps := s.Vec(), Load(Param("v"), GP64()), Load(Param("pairs"), GP64()), GP64()
	VPBROADCASTD(Mem{Base: multipliers}, multiplier)
	if s.long {
		Label(label + "chunk")
		MOVQ(I32(chunkPairs), steps)
		CMPQ(pairs, steps)
		CMOVQLT(pairs, steps)
		SUBQ(steps, pairs)
	} else {
		MOVQ(pairs, steps)
	}
	for i := range sides {
		d := &sides[i]
		s.level.Zero(d.a)
		s.level.Zero(d.b)
		if s.vnni {
			// Two sums of each, since one would wait for itself.
			d.also = [2][2]reg.VecVirtual{{d.a, s.Vec()}, {d.b, s.Vec()}}
			s.level.Zero(d.also[0][1])
			s.level.Zero(d.also[1][1])
		}
	}
	Label(label + "step")
	for i := range pairsAtOnce {
		q := s.Vec()
		at := Mem{Base: v, Disp: i * s.Bytes()}
		VPMULHRSW(at, multiplier, q)
		for _, d := range sides {
			c, p := s.Vec(), s.Vec()
			if clip {
				VPMINSW(d.high, q, c)
				VPMAXSW(d.low, c, c)
			} else {
				c = q
			}
			if s.vnni {
				VPDPWSSD(at, c, d.also[0][i%2])
				VPDPWSSD(c, c, d.also[1][i%2])
				continue
			}
			VPMADDWD(at, c, p)
			VPADDD(p, d.a, d.a)
			VPMADDWD(c, c, c)
			VPADDD(c, d.b, d.b)
		}
	}
	ADDQ(I32(pairsAtOnce*s.Bytes()), v)
	SUBQ(Imm(pairsAtOnce), steps)
	JNZ(LabelRef(label + "step"))
	for _, d := range sides {
		if s.vnni {
			VPADDD(d.also[0][1], d.a, d.a)
			VPADDD(d.also[1][1], d.b, d.b)
		}
	}
	if s.long {
		for _, d := range sides {
			for j, sum := range []reg.VecVirtual{d.a, d.b} {
				for half := range 2 {
					x := s.widen(sum, half)
					VADDPD(s.op(d.sums[j], half), x, x)
					VMOVUPD(x, s.op(d.sums[j], half))
				}
			}
		}
		TESTQ(pairs, pairs)
		JNZ(LabelRef(label + "chunk"))
	}
	for k, d := range sides {
		for half := range 2 {
			var a, b reg.VecVirtual
			if s.long {
				a, b = s.Vec(), s.Vec()
				s.load(d.sums[0], half, a)
				s.load(d.sums[1], half, b)
			} else {
				a, b = s.widen(d.a, half), s.widen(d.b, half)
			}
			s.keep(a, b, half, k == 1)
		}
	}
}

// widen converts one half of a vector of integers to float64.
func (s *search) widen(v reg.VecVirtual, half int) reg.VecVirtual {
	x := s.Vec()
	if half == 0 {
		if s.Lanes == 16 {
			VCVTDQ2PD(v.AsY(), x)
		} else {
			VCVTDQ2PD(v.AsX(), x)
		}
		return x
	}
	h := s.Half()
	if s.Lanes == 16 {
		VEXTRACTI64X4(Imm(1), v, h)
	} else {
		VEXTRACTI128(Imm(1), v, h)
	}
	VCVTDQ2PD(h, x)
	return x
}

// keep replaces the best where A²/B exceeds its own, without a division.
func (s *search) keep(a, b reg.VecVirtual, half int, negative bool) {
	aa, mine, best := s.Vec(), s.Vec(), s.Vec()
	VMULPD(a, a, aa)
	VMULPD(s.op(s.best[2], half), aa, mine)
	VMULPD(s.op(s.best[1], half), b, best)
	if negative {
		zero := s.Vec()
		s.level.Zero(zero)
		VSUBPD(a, zero, a)
	}
	if s.Lanes == 8 {
		k := YMM()
		VCMPPD(Imm(greater), best, mine, k)
		for i, v := range []reg.VecVirtual{a, aa, b} {
			VMASKMOVPD(v, k, s.op(s.best[i], half))
		}
		return
	}
	k := K()
	VCMPPD(Imm(greater), best, mine, k)
	for i, v := range []reg.VecVirtual{a, aa, b} {
		VMOVAPD(v, k, s.best[i].in[half])
	}
}
