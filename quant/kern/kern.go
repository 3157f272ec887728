// Package kern is the arithmetic of quantising: it widens rows, finds the
// scales of groups, rounds weights to codes and lays them out. Each method
// says what it computes; plain Go computes it, and kernels of AVX2 and AVX-512
// give the same bits. It knows neither formats nor files. asm_amd64.s is
// written by internal/kernelgen (make kernels).
package kern

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/llima-build/llima/formats/tensor"
)

// Step is what groups are padded to: a multiple of so many weights.
const Step = 16

// kernels take whole vectors; the comments of asm_amd64.go say of what.
type kernels struct {
	lanes            int // groups that a search handles at once
	widen            map[tensor.DType]func(dst *float32, src *byte, n int) (most uint32)
	peaks            func(high, low, w *float32, groups, steps int)
	nearest          func(scale, peak, high, low *float32, n int, code float32, sign uint32)
	round            func(f16 *uint16, scale, peak *float32, n int)
	fix              func(dst *int16, w, peak *float32, groups, steps int, top float32)
	turn             func(dst *int16, dstPitch int, src *int16, srcPitch, n int)
	search4, search8 [2]find // for groups of one chunk, and of more
	encode           func(codes *int8, w, scale *float32, groups, steps int, low, high int32)
	narrow           func(dst *byte, src *float32, n int) (lost uint32)
	pack4, pack8     func(dst *byte, dstPitch int, src *int8, srcPitch, n int)
}

type find func(ratio *float32, v *int16, pairs int, multipliers *uint32, n, clip int, room *float64)

// Set is the kernels for one set of instructions.
type Set struct {
	Name string
	k    *kernels // nil: plain Go
}

// Plain uses no vector instructions.
var Plain = &Set{Name: "plain"}

// Best returns the fastest set that this CPU can run.
func Best() *Set { return Sets()[0] }

// Room is scratch memory of one worker.
type Room struct {
	fixed, turned []int16
	sums          [7 * 16]float64
	high, low     []float32
	ratio         []float32
}

// grow returns n elements of undefined content.
func grow[T int16 | float32](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	return (*s)[:n]
}

// Widen converts numbers of BF16, F16 or F32, little-endian, to float32, and
// returns the bits of the greatest magnitude, by which a NaN exceeds all.
func (s *Set) Widen(dst []float32, src []byte, dt tensor.DType) (most uint32) {
	size := dt.Bytes()
	if len(src) != len(dst)*size {
		panic("llima: internal error: kern: numbers of another count")
	}
	whole := 0
	if s.k != nil && len(dst) >= Step {
		whole = len(dst) / Step * Step
		most = s.k.widen[dt](&dst[0], &src[0], whole/Step)
	}
	rest := dst[whole:]
	if err := tensor.ToF32(rest, src[whole*size:], dt); err != nil {
		panic("llima: internal error: kern: numbers of " + dt.String())
	}
	for _, x := range rest {
		most = max(most, math.Float32bits(x)&^signBit)
	}
	return most
}

const signBit = 1 << 31

// LeastScale is the least magnitude whose inverse kernels compute with.
const LeastScale = 1.0 / (1 << 100)

// BF16Limit is the least magnitude, as bits, that rounds to infinity in BF16.
const BF16Limit = 0x7f7f8000

// NarrowBF16 rounds numbers below BF16Limit to BF16, little-endian, and
// reports whether all kept their value.
func (s *Set) NarrowBF16(dst []byte, src []float32) (exact bool) {
	if len(dst) != 2*len(src) {
		panic("llima: internal error: kern: numbers of another count")
	}
	whole, lost := 0, uint32(0)
	if s.k != nil && len(src) >= Step {
		whole = len(src) / Step * Step
		lost = s.k.narrow(&dst[0], &src[0], whole/Step)
	}
	for i := whole; i < len(src); i++ {
		lost |= math.Float32bits(src[i]) & 0xffff
		binary.LittleEndian.PutUint16(dst[2*i:], tensor.ToBF16(src[i]))
	}
	return lost == 0
}

// groups checks that w holds n groups.
func groups(w []float32, n, group int) {
	if group < Step || group%Step != 0 || len(w) != n*group {
		panic("llima: internal error: kern: weights are no groups")
	}
}

// Nearest sets peak to the greatest magnitude of each group of w, and scale
// to peak over code. Where signed is set, a scale is negative where a weight
// of that magnitude is positive.
func (s *Set) Nearest(scale, peak, w []float32, group int, code float32, signed bool, room *Room) {
	n := len(scale)
	groups(w, n, group)
	peak = peak[:n]
	whole := 0
	if s.k != nil && n >= Step {
		whole = n / Step * Step
		high, low := grow(&room.high, n), grow(&room.low, n)
		s.k.peaks(&high[0], &low[0], &w[0], whole, group/Step)
		sign := uint32(0)
		if signed {
			sign = signBit
		}
		s.k.nearest(&scale[0], &peak[0], &high[0], &low[0], whole/Step, code, sign)
	}
	for g := whole; g < n; g++ {
		high, low := w[g*group], w[g*group]
		for _, x := range w[g*group : (g+1)*group] {
			high, low = max(high, x), min(low, x)
		}
		peak[g] = max(high, -low)
		scale[g] = peak[g] / code
		if signed && high >= -low {
			scale[g] = -scale[g]
		}
	}
}

// Round rounds scales to float16, in place and as bits: to 65504 at most and
// 2^-24 at least in magnitude, and to 0 where the peak is 0.
func (s *Set) Round(f16 []uint16, scale, peak []float32) {
	n := len(f16)
	scale, peak = scale[:n], peak[:n]
	whole := 0
	if s.k != nil && n >= Step {
		whole = n / Step * Step
		s.k.round(&f16[0], &scale[0], &peak[0], whole/Step)
	}
	for g := whole; g < n; g++ {
		v, sign := min(magnitude(scale[g]), 65504), math.Float32bits(scale[g])&signBit
		v = max(tensor.FromF16(tensor.ToF16(v)), 1.0/(1<<24))
		if peak[g] <= 0 {
			v, sign = 0, 0
		}
		scale[g] = math.Float32frombits(math.Float32bits(v) | sign)
		f16[g] = tensor.ToF16(scale[g])
	}
}

func magnitude(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ signBit) }

// Encode sets codes to w/scale, rounded to float32, then to the nearest
// integer from low to high, ties to even; to 0 where the scale is 0. A scale
// has 11 significant bits at most, and w/scale is less than 2^31; kernels take
// no other scale below LeastScale than 0.
func (s *Set) Encode(codes []int8, w, scale []float32, group int, low, high int32) {
	n := len(scale)
	groups(w, n, group)
	codes = codes[:len(w)]
	if s.k != nil {
		s.k.encode(&codes[0], &w[0], &scale[0], n, group/Step, low, high)
		return
	}
	for g, by := range scale {
		part := codes[g*group : (g+1)*group]
		if by == 0 {
			clear(part)
			continue
		}
		for i, x := range w[g*group : (g+1)*group] {
			part[i] = int8(min(max(int32(math.RoundToEven(float64(x/by))), low), high))
		}
	}
}

// Bytes returns codes as the bytes that they are.
func Bytes(codes []int8) []byte {
	if len(codes) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&codes[0])), len(codes))
}

// Pack lays codes [rows, cols], whose rows begin pitch apart, out as
// [cols, rows] with rows of dstPitch bytes: a code a byte, or two where there
// are 4 bits, the first in the low half, of an even number of rows.
func (s *Set) Pack(dst []byte, dstPitch int, codes []int8, pitch, rows, cols, bits int) {
	at, wide := 0, 0 // rows and columns that kernels have done
	if s.k != nil {
		step, f := 16, s.k.pack8
		if bits == 4 {
			step, f = 32, s.k.pack4
		}
		const block = 32
		wide = cols / block * block
		for ; wide > 0 && at+step <= rows; at += step {
			d, c := dst[at*bits/8:], codes[at*pitch:]
			_, _ = d[(wide-1)*dstPitch+15], c[(step-1)*pitch+wide-1]
			f(&d[0], dstPitch, &c[0], pitch, wide/block)
		}
	}
	packPlain(dst, dstPitch, codes, pitch, [2]int{0, at}, [2]int{wide, cols}, bits)
	packPlain(dst, dstPitch, codes, pitch, [2]int{at, rows}, [2]int{0, cols}, bits)
}

func packPlain(dst []byte, dstPitch int, codes []int8, pitch int, rows, cols [2]int, bits int) {
	// A square at a time, so that both sides stay in cache.
	const side = 64
	for i0 := rows[0]; i0 < rows[1]; i0 += side {
		for j0 := cols[0]; j0 < cols[1]; j0 += side {
			for i := i0; i < min(i0+side, rows[1]); i += 8 / bits {
				for j := j0; j < min(j0+side, cols[1]); j++ {
					b := byte(codes[i*pitch+j])
					if bits == 4 {
						b = b&15 | byte(codes[(i+1)*pitch+j])<<4
					}
					dst[j*dstPitch+i*bits/8] = b
				}
			}
		}
	}
}
