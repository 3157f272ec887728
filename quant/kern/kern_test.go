package kern_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant/kern"
)

// weights draws groups of many kinds: normal, with outliers up to 1e4, of few
// values, constant, zeros, subnormal numbers, near ties, near float16's ends.
func weights(r *rand.Rand, groups, size int) []float32 {
	w := make([]float32, groups*size)
	for g := range groups {
		kind, base := r.IntN(12), float32(r.NormFloat64())
		for i := range size {
			x := float32(r.NormFloat64())
			switch kind {
			case 0:
				x = 0
			case 1:
				x = base
			case 2:
				x = math.Float32frombits(r.Uint32N(1 << 23))
			case 3:
				if r.IntN(16) == 0 {
					x *= 1e4
				}
			case 4:
				x = float32(r.IntN(5) - 2)
			case 5:
				x = (float32(r.IntN(16)) - 7.5) * 0.125 // ties
			case 6:
				x *= 1e-7
			case 7:
				x *= 1e4
			case 8:
				x = math.Float32frombits(r.Uint32()&0x807fffff | r.Uint32N(147)<<23) // any exponent below 2^20
			case 9:
				x = tensor.FromBF16(tensor.ToBF16(x * 0.02))
			case 10:
				x = float32(math.Copysign(0, r.NormFloat64()))
			}
			w[g*size+i] = x
		}
	}
	return w
}

func bits(x []float32) []uint32 {
	u := make([]uint32, len(x))
	for i, f := range x {
		u[i] = math.Float32bits(f)
	}
	return u
}

// vectorSets returns the sets but plain Go.
func vectorSets() []*kern.Set {
	all := kern.Sets()
	return all[:len(all)-1]
}

func same[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: element %d = %v, plain Go gives %v", what, i, got[i], want[i])
		}
	}
}

// TestWiden goes through all numbers of 16 bits, NaN and infinity among them.
func TestWiden(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range vectorSets() {
		for _, dt := range []tensor.DType{tensor.BF16, tensor.F16, tensor.F32} {
			src := make([]byte, 0, 4<<16)
			for i := range 1 << 16 {
				if dt == tensor.F32 {
					src = binary.LittleEndian.AppendUint32(src, r.Uint32())
				} else {
					src = binary.LittleEndian.AppendUint16(src, uint16(i))
				}
			}
			for at := 0; at < 1<<16; {
				n := min(1+r.IntN(100), 1<<16-at)
				got, want := make([]float32, n), make([]float32, n)
				part := src[at*dt.Bytes() : (at+n)*dt.Bytes()]
				a, b := s.Widen(got, part, dt), kern.Plain.Widen(want, part, dt)
				if finite := b < 0x7f800000; finite != (a < 0x7f800000) || finite && a != b {
					t.Fatalf("%s: Widen of %v: most = %#x, plain Go gives %#x", s.Name, dt, a, b)
				}
				for i := range want {
					if want[i] == want[i] && math.Float32bits(got[i]) != math.Float32bits(want[i]) {
						t.Fatalf("%s: Widen of %v: number %d = %v, plain Go gives %v", s.Name, dt, at+i, got[i], want[i])
					}
				}
				at += n
			}
		}
	}
}

// TestNarrowBF16 goes through what lies at and around half-ways.
func TestNarrowBF16(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	var w []float32
	for high := range uint32(1 << 16) {
		for _, low := range []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff} {
			if u := high<<16 | low; u&0x7fffffff < kern.BF16Limit {
				w = append(w, math.Float32frombits(u))
			}
		}
	}
	for _, s := range kern.Sets() {
		for at := 0; at < len(w); {
			n := min(1+r.IntN(100), len(w)-at)
			dst, same := make([]byte, 2*n), true
			exact := s.NarrowBF16(dst, w[at:at+n])
			for i, x := range w[at : at+n] {
				got := tensor.FromBF16(binary.LittleEndian.Uint16(dst[2*i:]))
				if want := tensor.FromBF16(tensor.ToBF16(x)); math.Float32bits(got) != math.Float32bits(want) {
					t.Fatalf("%s: NarrowBF16(%v) = %v, want %v", s.Name, x, got, want)
				}
				same = same && got == x
			}
			if exact != same {
				t.Fatalf("%s: NarrowBF16 of numbers from %v: exact = %v, want %v", s.Name, w[at], exact, same)
			}
			at += n
		}
	}
}

// TestScales compares Nearest, Search, Round and Encode.
func TestScales(t *testing.T) {
	searches := []kern.Codes{
		kern.NewCodes(4, 4096, []int{40, 48, 56, 60, 61, 64, 72, 100, 140}),
		kern.NewCodes(8, 16384, []int{230, 254, 256, 300}),
	}
	for _, s := range vectorSets() {
		r := rand.New(rand.NewPCG(3, 4))
		var room, plain kern.Room
		for _, size := range []int{16, 32, 48, 64, 128, 528, 1600} {
			for _, n := range []int{1, 7, 16, 37, 64} {
				w := weights(r, n, size)
				for _, c := range searches {
					what := fmt.Sprintf("%s, %d groups of %d, %d bits", s.Name, n, size, c.Bits)
					scale, peak, f16 := make([]float32, n), make([]float32, n), make([]uint16, n)
					scale2, peak2, f162 := make([]float32, n), make([]float32, n), make([]uint16, n)
					code, low, high := float32(8), int32(-8), int32(7)
					if c.Bits == 8 {
						code, low, high = 127, -127, 127
					}
					codes, codes2 := make([]int8, len(w)), make([]int8, len(w))
					for _, search := range []bool{false, true} {
						s.Nearest(scale, peak, w, size, code, c.Bits == 4, &room)
						kern.Plain.Nearest(scale2, peak2, w, size, code, c.Bits == 4, &plain)
						for g := range peak {
							if peak[g] != peak2[g] || peak[g] > 0 && scale[g] != scale2[g] { // zeros of either sign
								t.Fatalf("Nearest, %s: group %d has %v of %v, plain Go gives %v of %v", what, g, scale[g], peak[g], scale2[g], peak2[g])
							}
						}
						if search {
							s.Search(scale, peak, w, size, &c, &room)
							kern.Plain.Search(scale2, peak2, w, size, &c, &plain)
							same(t, "Search, "+what, scale, scale2)
						}
						s.Round(f16, scale, peak)
						kern.Plain.Round(f162, scale2, peak2)
						same(t, "Round, "+what, f16, f162)
						same(t, "Round, "+what, bits(scale), bits(scale2))
						s.Encode(codes, w, scale, size, low, high)
						kern.Plain.Encode(codes2, w, scale2, size, low, high)
						same(t, "Encode, "+what, codes, codes2)
					}
				}
			}
		}
	}
}

// TestRound goes through numbers around float16's.
func TestRound(t *testing.T) {
	var scale []float32
	for u := range uint32(1 << 16) {
		f := tensor.FromF16(uint16(u))
		for d := range uint32(3) {
			scale = append(scale, math.Float32frombits(math.Float32bits(f)-1+d))
		}
		next := tensor.FromF16(uint16(u) + 1)
		scale = append(scale, (f+next)/2)
	}
	scale = slices.DeleteFunc(scale, func(x float32) bool { return x != x || math.IsInf(float64(x), 0) })
	scale = scale[:len(scale)/16*16]
	peak := make([]float32, len(scale))
	for i := range peak {
		peak[i] = float32(i % 7) // 0 now and then
	}
	f16 := make([]uint16, len(scale))
	got, want := slices.Clone(scale), slices.Clone(scale)
	kern.Plain.Round(f16, want, peak)
	for i, x := range want {
		if tensor.FromF16(f16[i]) != x {
			t.Fatalf("Round(%v) = %v, as bits %#x", scale[i], x, f16[i])
		}
		if m := min(max(math.Abs(float64(scale[i])), 1.0/(1<<24)), 65504); peak[i] > 0 && math.Abs(math.Abs(float64(x))-m) > max(m/2048, 1.0/(1<<25)) {
			t.Fatalf("Round(%v) = %v", scale[i], x)
		}
	}
	for _, s := range vectorSets() {
		copy(got, scale)
		f := make([]uint16, len(scale))
		s.Round(f, got, peak)
		same(t, "Round, "+s.Name, f, f16)
		same(t, "Round, "+s.Name, bits(got), bits(want))
	}
}

// TestEncode holds quotients to those of float64: numbers that are near half
// an integer under their scale, and such that are.
func TestEncode(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, s := range kern.Sets() {
		for range 2000 {
			scale := tensor.FromF16(uint16(1 + r.IntN(0x7bff-1)))
			if r.IntN(2) == 0 {
				scale = -scale
			}
			w := make([]float32, 32)
			for i := range w {
				w[i] = (float32(r.IntN(255)-127) + 0.5) * scale
				w[i] = math.Float32frombits(math.Float32bits(w[i]) + uint32(r.IntN(3)) - 1)
			}
			got := make([]int8, len(w))
			s.Encode(got, w, []float32{scale}, len(w), -127, 127)
			for i, x := range w {
				if want := int8(min(max(math.RoundToEven(float64(float32(float64(x)/float64(scale)))), -127), 127)); got[i] != want {
					t.Fatalf("%s: Encode(%v under %v) = %d, want %d", s.Name, x, scale, got[i], want)
				}
			}
		}
	}
}

func TestPack(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, s := range kern.Sets() {
		for _, bits := range []int{4, 8} {
			for range 60 {
				rows, cols := 2*(1+r.IntN(80)), 1+r.IntN(150)
				pitch, dstPitch := cols+r.IntN(20), rows*bits/8+r.IntN(20)
				codes := make([]int8, rows*pitch)
				for i := range codes {
					codes[i] = int8(r.IntN(1<<bits) - 1<<(bits-1))
				}
				dst := make([]byte, cols*dstPitch)
				for i := range dst {
					dst[i] = 0xa5
				}
				s.Pack(dst, dstPitch, codes, pitch, rows, cols, bits)
				for j := range cols {
					for i := range dstPitch {
						want := byte(0xa5)
						switch {
						case i >= rows*bits/8:
						case bits == 8:
							want = byte(codes[i*pitch+j])
						default:
							want = byte(codes[2*i*pitch+j])&15 | byte(codes[(2*i+1)*pitch+j])<<4
						}
						if got := dst[j*dstPitch+i]; got != want {
							t.Fatalf("%s: Pack of [%d, %d], %d bits: byte %d of column %d = %#x, want %#x", s.Name, rows, cols, bits, i, j, got, want)
						}
					}
				}
			}
		}
	}
}

func BenchmarkSteps(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 10))
	const n, size, rows = 576, 32, 32
	src, w := make([]byte, 0, 2*n*size), make([]float32, n*size)
	for range w {
		src = binary.LittleEndian.AppendUint16(src, tensor.ToBF16(float32(r.NormFloat64()*0.02)))
	}
	var multipliers []int
	for m := 44; m <= 84; m++ {
		multipliers = append(multipliers, m)
	}
	c := kern.NewCodes(4, 4096, multipliers)
	scale, peak, f16 := make([]float32, n), make([]float32, n), make([]uint16, n)
	codes, out := make([]int8, len(w)), make([]byte, len(w)*2)
	var room kern.Room
	for _, s := range kern.Sets() {
		for _, f := range []struct {
			name string
			do   func()
		}{
			{"widen", func() { s.Widen(w, src, tensor.BF16) }},
			{"nearest", func() { s.Nearest(scale, peak, w, size, 8, true, &room) }},
			{"search", func() { s.Search(scale, peak, w, size, &c, &room) }},
			{"round", func() { s.Round(f16, scale, peak) }},
			{"encode", func() { s.Encode(codes, w, scale, size, -8, 7) }},
			{"pack4", func() { s.Pack(out, rows/2, codes, len(w)/rows, rows, len(w)/rows, 4) }},
			{"pack8", func() { s.Pack(out, rows, codes, len(w)/rows, rows, len(w)/rows, 8) }},
		} {
			b.Run(s.Name+"/"+f.name, func(b *testing.B) {
				for b.Loop() {
					f.do()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(w)), "ns/weight")
			})
		}
	}
}
