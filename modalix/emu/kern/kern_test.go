package kern_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/llima-build/llima/modalix/emu/kern"
)

// weight returns row r, input k of a panel, laid out as docs/isa.md §4 says,
// before scaling.
func weight(code kern.Code, codes []byte, r, k int) float64 {
	each := map[kern.Code]int{kern.BF16: 2, kern.INT8: 4, kern.INT4: 8}[code]
	word := binary.LittleEndian.Uint32(codes[k/each*64+4*r:])
	i := k % each
	switch code {
	case kern.BF16:
		return float64(math.Float32frombits(word >> (16 * i) << 16))
	case kern.INT8:
		return float64(int8(word >> (8 * i)))
	default:
		return float64(word>>(16*(i%2)+4*(i/2))&15) - 8
	}
}

// TestDot holds kernels to the bound of docs/isa.md §1 for random vectors, and
// to the same bits for a row whichever rows stand beside it.
func TestDot(t *testing.T) {
	if !kern.Available() {
		t.Skip("this CPU has no kernels")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name          string
		code          kern.Code
		inputs, group int
	}{
		{"bf16", kern.BF16, 576, 32},
		{"bf16 short", kern.BF16, 32, 32},
		{"int8 channel", kern.INT8, 1536, 1536},
		{"int8 groups", kern.INT8, 256, 64},
		{"int4", kern.INT4, 576, 32},
		{"int4 channel", kern.INT4, 256, 256},
	} {
		bits := map[kern.Code]int{kern.BF16: 16, kern.INT8: 8, kern.INT4: 4}[c.code]
		codes := make([]byte, kern.Rows*c.inputs*bits/8)
		for i := range codes {
			codes[i] = byte(r.Uint32())
		}
		if c.code == kern.BF16 { // numbers of ordinary size
			for i := 0; i < len(codes); i += 2 {
				binary.LittleEndian.PutUint16(codes[i:], uint16(math.Float32bits(float32(r.NormFloat64()))>>16))
			}
		}
		groups := c.inputs / c.group
		var scales []float32
		if c.code != kern.BF16 {
			scales = make([]float32, groups*kern.Rows)
			for i := range scales {
				scales[i] = float32(r.NormFloat64()) / 16
			}
		}
		const rows = 15
		a := make([]float32, rows*c.inputs)
		for i := range a {
			a[i] = math.Float32frombits(math.Float32bits(float32(r.NormFloat64())) &^ 0xffff)
		}
		acc := make([][kern.Rows]float32, rows)
		for m := range acc {
			for n := range acc[m] {
				acc[m][n] = float32(r.NormFloat64())
			}
		}
		start := append([][kern.Rows]float32(nil), acc...)
		kern.Dot(c.code, acc, a, c.inputs, codes, scales, c.group)
		for m := range acc {
			alone := [][kern.Rows]float32{start[m]}
			row := a[m*c.inputs : (m+1)*c.inputs]
			kern.Dot(c.code, alone, row, c.inputs, codes, scales, c.group)
			if alone[0] != acc[m] {
				t.Fatalf("%s: row %d differs from what it is alone", c.name, m)
			}
			for n, got := range acc[m] {
				want := float64(start[m][n])
				size := math.Abs(want)
				for k, x := range row {
					w := weight(c.code, codes, n, k)
					if scales != nil {
						w *= float64(scales[k/c.group*kern.Rows+n])
					}
					want += float64(x) * w
					size += math.Abs(float64(x) * w)
				}
				bound := (4 + math.Sqrt(float64(c.inputs))/4) * 0x1p-24 * size
				if d := math.Abs(float64(got) - want); !(d <= bound) {
					t.Fatalf("%s: C[%d, %d] = %v, want %v within %g", c.name, m, n, got, want, bound)
				}
			}
		}
	}
}

// TestWidenF16 widens every finite binary16 number.
func TestWidenF16(t *testing.T) {
	if !kern.Available() {
		t.Skip("this CPU has no kernels")
	}
	var src []byte
	var want []float32
	for u := range 1 << 16 {
		e, f := u>>10&31, float64(u&1023)
		if e == 31 {
			continue
		}
		v := math.Ldexp(f, -24)
		if e > 0 {
			v = math.Ldexp(1024+f, e-25)
		}
		if u>>15 != 0 {
			v = -v
		}
		src, want = binary.LittleEndian.AppendUint16(src, uint16(u)), append(want, float32(v))
	}
	got := make([]float32, len(want))
	kern.WidenF16(got, src)
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("WidenF16(%#04x) = %v, want %v", src[2*i:2*i+2], got[i], want[i])
		}
	}
}
