package kern_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/llima-build/llima/modalix/emu/kern"
)

// eachSet runs a test for every set of kernels that this CPU has.
func eachSet(t *testing.T, f func(t *testing.T, s *kern.Set)) {
	t.Helper()
	sets := kern.Sets()
	if len(sets) == 0 {
		t.Skip("this CPU has no kernels")
	}
	for _, s := range sets {
		t.Run(s.Name, func(t *testing.T) { f(t, s) })
	}
}

var codeBits = map[kern.Code]int{kern.BF16: 16, kern.INT8: 8, kern.INT4: 4, kern.UINT4: 4}

// weight returns row r, input k of a panel, laid out as docs/isa.md §5 says,
// before scaling.
func weight(code kern.Code, codes []byte, r, k int) float64 {
	each := 32 / codeBits[code]
	word := binary.LittleEndian.Uint32(codes[k/each*64+4*r:])
	i := k % each
	switch code {
	case kern.BF16:
		return float64(math.Float32frombits(word >> (16 * i) << 16))
	case kern.INT8:
		return float64(int8(word >> (8 * i)))
	case kern.INT4:
		return float64(word>>(16*(i%2)+4*(i/2))&15) - 8
	default:
		return float64(word >> (16*(i%2) + 4*(i/2)) & 15)
	}
}

// normalBF16 fills b with BF16 numbers of ordinary size.
func normalBF16(r *rand.Rand, b []byte) {
	for i := 0; i+1 < len(b); i += 2 {
		binary.LittleEndian.PutUint16(b[i:], uint16(math.Float32bits(float32(r.NormFloat64()))>>16))
	}
}

func bf16At(b []byte, i int) float64 {
	return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b[2*i:])) << 16))
}

type dotCase struct {
	code          kern.Code
	inputs, group int
	offsets       bool
}

func (c dotCase) String() string {
	name := map[kern.Code]string{kern.BF16: "bf16", kern.INT8: "int8", kern.INT4: "int4", kern.UINT4: "uint4"}[c.code]
	s := fmt.Sprintf("%s_k%d_g%d", name, c.inputs, c.group)
	if c.offsets {
		s += "_offset"
	}
	return s
}

var dotCases = []dotCase{
	{kern.BF16, 576, 32, false},
	{kern.BF16, 32, 32, false},
	{kern.BF16, 2080, 32, false}, // more than a chunk
	{kern.INT8, 1536, 1536, false},
	{kern.INT8, 256, 64, false},
	{kern.INT8, 96, 16, false},
	{kern.INT8, 1600, 16, true},
	{kern.INT8, 96, 32, true},
	{kern.INT4, 576, 32, false},
	{kern.INT4, 1280, 256, false},
	{kern.INT4, 256, 256, false},
	{kern.INT4, 160, 16, true},
	{kern.UINT4, 576, 32, true},
	{kern.UINT4, 1536, 1536, true},
	{kern.UINT4, 256, 128, false},
}

// randomPanel returns a panel with random codes, scales and offsets.
func randomPanel(r *rand.Rand, c dotCase) *kern.Panel {
	p := &kern.Panel{Code: c.code, Inputs: c.inputs, Group: c.group}
	p.Codes = make([]byte, kern.Rows*c.inputs*codeBits[c.code]/8)
	for i := range p.Codes {
		p.Codes[i] = byte(r.Uint32())
	}
	if c.code == kern.BF16 {
		normalBF16(r, p.Codes)
		return p
	}
	groups := c.inputs / c.group
	p.Scales = make([]float32, groups*kern.Rows)
	for i := range p.Scales {
		p.Scales[i] = float32(r.NormFloat64()) / 16
	}
	if c.offsets {
		p.Offsets = make([]float32, kern.OffsetRows(groups)*kern.Rows)
		for i := range groups * kern.Rows {
			p.Offsets[i] = float32(r.NormFloat64())
		}
	}
	return p
}

// exact returns y* and A of docs/isa.md §1 in binary64.
func exact(p *kern.Panel, row []byte, n int, c0 float32) (y, size float64) {
	y, size = float64(c0), math.Abs(float64(c0))
	for k := range p.Inputs {
		x, s, o := bf16At(row, k), 1.0, 0.0
		if p.Scales != nil {
			s = float64(p.Scales[k/p.Group*kern.Rows+n])
		}
		if p.Offsets != nil {
			o = float64(p.Offsets[k/p.Group*kern.Rows+n])
		}
		w := s * weight(p.Code, p.Codes, n, k)
		y += x * (w + o)
		size += math.Abs(x) * (math.Abs(w) + math.Abs(o))
	}
	return y, size
}

// dot runs a set's kernels over rows that lie apart in bf16.
func dot(s *kern.Set, p *kern.Panel, acc [][kern.Rows]float32, bf16 []byte, stride int) {
	var in kern.Input
	var room kern.Room
	group := 0
	if p.Offsets != nil {
		group = p.Group
	}
	s.Prepare(&in, bf16, stride, len(acc), p.Inputs, group)
	s.Dot(acc, &in, p, &room)
}

// TestDot holds kernels to the bound of docs/isa.md §1 for random vectors, and
// to the same bits for a row whichever rows stand beside it.
func TestDot(t *testing.T) {
	eachSet(t, func(t *testing.T, s *kern.Set) {
		t.Helper()
		for _, c := range dotCases {
			t.Run(c.String(), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(c.inputs), uint64(c.group)))
				p := randomPanel(r, c)
				const rows = 15
				stride := 2*c.inputs + 32
				bf16 := make([]byte, rows*stride)
				normalBF16(r, bf16)
				acc := make([][kern.Rows]float32, rows)
				for m := range acc {
					for n := range acc[m] {
						acc[m][n] = float32(r.NormFloat64())
					}
				}
				start := append([][kern.Rows]float32(nil), acc...)
				dot(s, p, acc, bf16, stride)
				for m := range acc {
					alone := [][kern.Rows]float32{start[m]}
					row := bf16[m*stride:]
					dot(s, p, alone, row, stride)
					if alone[0] != acc[m] {
						t.Fatalf("row %d differs from what it is alone", m)
					}
					for n, got := range acc[m] {
						y, size := exact(p, row, n, start[m][n])
						bound := (4 + math.Sqrt(float64(c.inputs))/4) * 0x1p-24 * size
						if d := math.Abs(float64(got) - y); !(d <= bound) {
							t.Fatalf("C[%d, %d] = %v, want %v within %g", m, n, got, y, bound)
						}
					}
				}
			})
		}
	})
}

// TestDotSubnormal has operands that VDPBF16PS takes for zero meet large ones:
// docs/isa.md §1 allows an absolute error of K·2^-125 only.
func TestDotSubnormal(t *testing.T) {
	eachSet(t, func(t *testing.T, s *kern.Set) {
		t.Helper()
		const rows, inputs = 5, 64
		for _, weightsTiny := range []bool{false, true} {
			r := rand.New(rand.NewPCG(1, 1))
			c := dotCase{kern.BF16, inputs, 32, false}
			p := randomPanel(r, c)
			bf16 := make([]byte, rows*2*inputs)
			normalBF16(r, bf16)
			tiny, large := bf16[2*2*inputs:3*2*inputs], p.Codes // row 2
			if weightsTiny {
				tiny, large = p.Codes, bf16
			}
			for i := 0; i < len(tiny); i += 2 {
				binary.LittleEndian.PutUint16(tiny[i:], uint16(r.IntN(127)+1)|uint16(r.IntN(2)<<15))
			}
			for i := 1; i < len(large); i += 2 {
				large[i] += 0x20 // 2^64 times
			}
			acc := make([][kern.Rows]float32, rows)
			dot(s, p, acc, bf16, 2*inputs)
			for m := range acc {
				alone := make([][kern.Rows]float32, 1)
				dot(s, p, alone, bf16[m*2*inputs:], 2*inputs)
				if alone[0] != acc[m] {
					t.Fatalf("row %d differs from what it is alone", m)
				}
				for n, got := range acc[m] {
					y, size := exact(p, bf16[m*2*inputs:], n, 0)
					bound := (64+inputs/4)*0x1p-24*size + inputs*0x1p-125
					if d := math.Abs(float64(got) - y); !(d <= bound) {
						t.Fatalf("tiny weights %t: C[%d, %d] = %v, want %v within %g", weightsTiny, m, n, got, y, bound)
					}
				}
			}
		}
	})
}

// TestWiden widens every binary16 and every BF16 number that is finite.
func TestWiden(t *testing.T) {
	eachSet(t, func(t *testing.T, s *kern.Set) {
		t.Helper()
		for _, c := range []struct {
			name       string
			bits, bias int // of the fraction; of the exponent
			widen      func([]float32, []byte) int
		}{{"F16", 10, 15, s.WidenF16}, {"BF16", 7, 127, s.WidenBF16}} {
			var src []byte
			var want []float32
			for u := range 1 << 16 {
				top := 1<<(15-c.bits) - 1
				e, f := u>>c.bits&top, float64(u&(1<<c.bits-1))
				if e == top {
					continue
				}
				v := math.Ldexp(f, 1-c.bias-c.bits)
				if e > 0 {
					v = math.Ldexp(math.Ldexp(1, c.bits)+f, e-c.bias-c.bits)
				}
				if u>>15 != 0 {
					v = -v
				}
				src, want = binary.LittleEndian.AppendUint16(src, uint16(u)), append(want, float32(v))
			}
			got := make([]float32, len(want))
			c.widen(got, src)
			for i := range want {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
					t.Fatalf("Widen%s(%#04x) = %v, want %v", c.name, src[2*i:2*i+2], got[i], want[i])
				}
			}
		}
	})
}

// TestNarrowRows rounds numbers beside and between all BF16 numbers.
func TestNarrowRows(t *testing.T) {
	eachSet(t, func(t *testing.T, s *kern.Set) {
		t.Helper()
		src := make([][kern.Rows]float32, 1<<16)
		lows := [kern.Rows]uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x4000, 0xc000}
		for u := range src {
			for i, low := range lows {
				src[u][i] = math.Float32frombits(uint32(u)<<16 | low)
			}
		}
		const stride = 48
		dst := make([]byte, len(src)*stride)
		s.NarrowRows(dst, stride, src)
		for u := range src {
			for i, x := range src[u] {
				got := binary.LittleEndian.Uint16(dst[u*stride+2*i:])
				// The nearest of two neighbours, the even one of equals.
				want := uint16(u)
				if lows[i] > 0x8000 || lows[i] == 0x8000 && u&1 == 1 {
					want++
				}
				if x != x {
					if y := bf16At(dst[u*stride:], i); y == y {
						t.Fatalf("NarrowRows(NaN %#x) = %v", math.Float32bits(x), y)
					}
				} else if got != want {
					t.Fatalf("NarrowRows(%#x) = %#x, want %#x", math.Float32bits(x), got, want)
				}
			}
			for _, b := range dst[u*stride+2*kern.Rows : (u+1)*stride] {
				if b != 0 {
					t.Fatalf("row %d: wrote behind 16 numbers", u)
				}
			}
		}
	})
}
