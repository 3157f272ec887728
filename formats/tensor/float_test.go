package tensor_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/llima-build/llima/formats/tensor"
)

// finite16 lists the finite values of a 16-bit float type in ascending order
// with their bits: what rounding has to choose from. Both zeros are there.
func finite16(from func(uint16) float32) (values []float64, codes []uint16) {
	type pair struct {
		v float64
		u uint16
	}
	var all []pair
	for i := range 1 << 16 {
		v := float64(from(uint16(i)))
		if !math.IsNaN(v) && !math.IsInf(v, 0) && !math.Signbit(v) {
			all = append(all, pair{v, uint16(i)})
		}
	}
	slices.SortFunc(all, func(a, b pair) int { return int(a.u) - int(b.u) })
	for _, p := range all {
		values, codes = append(values, p.v), append(codes, p.u)
	}
	return values, codes
}

// nearest rounds f by comparing exact float64 distances to its neighbours
// among the non-negative values; overflow is half a step past the last one.
func nearest(f float32, values []float64, codes []uint16, inf uint16) uint16 {
	var sign uint16
	x := float64(f)
	if math.Signbit(x) {
		sign, x = 0x8000, -x
	}
	last := len(values) - 1
	if step := values[last] - values[last-1]; x >= values[last]+step/2 {
		return sign | inf
	}
	i, found := slices.BinarySearch(values, x)
	if found {
		return sign | codes[i]
	}
	if i > last {
		return sign | codes[last]
	}
	below, above := x-values[i-1], values[i]-x
	if below < above || below == above && codes[i-1]&1 == 0 {
		return sign | codes[i-1]
	}
	return sign | codes[i]
}

// floats calls visit with every value of a 16-bit type, the midpoints between
// neighbours, the float32 next to each of these, and random bit patterns.
func floats(values []float64, visit func(f float32)) {
	near := func(f float32) {
		inf := float32(math.Inf(1))
		for _, g := range []float32{f, math.Nextafter32(f, inf), math.Nextafter32(f, -inf)} {
			visit(g)
			visit(-g)
		}
	}
	for i, v := range values {
		near(float32(v))
		if i > 0 {
			near(float32((v + values[i-1]) / 2))
		}
	}
	last := len(values) - 1
	near(float32(values[last] + (values[last]-values[last-1])/2))
	near(math.MaxFloat32)
	r := rand.New(rand.NewPCG(1, 2))
	for range 1 << 18 {
		f := math.Float32frombits(r.Uint32())
		if f == f {
			visit(f)
		}
	}
}

func TestRounding(t *testing.T) {
	types := []struct {
		dt   tensor.DType
		to   func(float32) uint16
		from func(uint16) float32
		inf  uint16
	}{
		{tensor.BF16, tensor.ToBF16, tensor.FromBF16, 0x7f80},
		{tensor.F16, tensor.ToF16, tensor.FromF16, 0x7c00},
	}
	for _, tt := range types {
		values, codes := finite16(tt.from)
		bad := 0
		floats(values, func(f float32) {
			want := nearest(f, values, codes, tt.inf)
			if got := tt.to(f); got != want && bad < 10 {
				bad++
				t.Errorf("%v: round(%x) = %#04x, want %#04x", tt.dt, f, got, want)
			}
		})
		for i := range 1 << 16 {
			u := uint16(i)
			f := tt.from(u)
			got := tt.to(f)
			switch {
			case f == f && got != u:
				t.Errorf("%v: %#04x comes back as %#04x", tt.dt, u, got)
			case f != f && (tt.from(got) == tt.from(got) || got&0x8000 != u&0x8000):
				t.Errorf("%v: NaN %#04x comes back as %#04x", tt.dt, u, got)
			}
		}
	}
}

func TestNaN(t *testing.T) {
	for _, u := range []uint32{0x7f800001, 0xff800001, 0x7fffffff, 0xffffffff, 0x7fc00000, 0x7f80ffff, 0x7fbfffff} {
		f := math.Float32frombits(u)
		if got := tensor.ToBF16(f); got&0x7fff <= 0x7f80 || got&0x0040 == 0 || got>>15 != uint16(u>>31) {
			t.Errorf("ToBF16(NaN %#08x) = %#04x, want a quiet NaN of that sign", u, got)
		}
		if got := tensor.ToF16(f); got&0x7fff <= 0x7c00 || got>>15 != uint16(u>>31) {
			t.Errorf("ToF16(NaN %#08x) = %#04x, want a NaN of that sign", u, got)
		}
	}
}

func TestBulk(t *testing.T) {
	want := []float32{0, 1, -2.5, 65504, float32(math.Inf(-1))}
	for _, dt := range []tensor.DType{tensor.F32, tensor.F16} {
		b := make([]byte, len(want)*dt.Bytes())
		if err := tensor.FromF32(b, want, dt); err != nil {
			t.Fatal(err)
		}
		got := make([]float32, len(want))
		if err := tensor.ToF32(got, b, dt); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: %v comes back as %v", dt, want, got)
		}
	}
	b := make([]byte, 4)
	if err := tensor.FromF32(b, []float32{1, 65504}, tensor.BF16); err != nil {
		t.Fatal(err)
	}
	if got := binary.LittleEndian.Uint32(b); got != 0x47803f80 {
		t.Errorf("FromF32([1 65504], BF16) = %#08x, want 0x47803f80", got)
	}
	got := make([]float32, 2)
	if err := tensor.ToF32(got, b, tensor.BF16); err != nil || got[0] != 1 || got[1] != 65536 {
		t.Errorf("ToF32(%x, BF16) = %v, %v, want [1 65536]", b, got, err)
	}
}

func TestBulkRefuses(t *testing.T) {
	tests := []struct {
		dst  int
		src  int
		dt   tensor.DType
		want string
	}{
		{2, 5, tensor.BF16, "tensor: 2 elements of BF16 do not fill 5 bytes"},
		{2, 6, tensor.F16, "tensor: 2 elements of F16 do not fill 6 bytes"},
		{2, 4, tensor.F32, "tensor: 2 elements of F32 do not fill 4 bytes"},
		{2, 8, tensor.I32, "tensor: I32 is not F32, F16 or BF16"},
		{0, 0, 0, "tensor: DType(0) is not F32, F16 or BF16"},
	}
	for _, tt := range tests {
		err := tensor.ToF32(make([]float32, tt.dst), make([]byte, tt.src), tt.dt)
		if err == nil || err.Error() != tt.want {
			t.Errorf("ToF32(%d, %d, %v) = %v, want %q", tt.dst, tt.src, tt.dt, err, tt.want)
		}
		err = tensor.FromF32(make([]byte, tt.src), make([]float32, tt.dst), tt.dt)
		if err == nil || err.Error() != tt.want {
			t.Errorf("FromF32(%d, %d, %v) = %v, want %q", tt.src, tt.dst, tt.dt, err, tt.want)
		}
	}
}

func BenchmarkToF32(b *testing.B) {
	src := make([]byte, 1<<20)
	for _, dt := range []tensor.DType{tensor.BF16, tensor.F16, tensor.F32} {
		dst := make([]float32, len(src)/dt.Bytes())
		b.Run(dt.String(), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if err := tensor.ToF32(dst, src, dt); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
