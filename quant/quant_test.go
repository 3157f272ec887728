package quant_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant"
)

func f32(w []float32) []byte {
	b := make([]byte, 4*len(w))
	for i, x := range w {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
	return b
}

// group draws weights of one of several kinds: normal, with outliers, of few
// values, tiny, large.
func group(r *rand.Rand, n int) []float32 {
	w := make([]float32, n)
	kind := r.IntN(6)
	for i := range w {
		x := r.NormFloat64()
		switch kind {
		case 1:
			if r.IntN(8) == 0 {
				x *= 20
			}
		case 2:
			x = float64(r.IntN(5) - 2)
		case 3:
			x *= 1e-7
		case 4:
			x *= 1e5
		case 5:
			x = math.Abs(x)
		}
		w[i] = float32(x)
	}
	return w
}

func quantise(t *testing.T, w []float32, f quant.Format) (codes []int8, scales []uint16) {
	t.Helper()
	codes, scales, err := quant.Quantize(f32(w), tensor.F32, 1, len(w), f)
	if err != nil {
		t.Fatal(err)
	}
	return codes, scales
}

// errorOf is the error of codes and one scale.
func errorOf(w []float32, codes []int8, scale uint16) float64 {
	sum := 0.0
	for i, x := range w {
		e := float64(x) - float64(tensor.FromF16(scale))*float64(codes[i])
		sum += e * e
	}
	return sum
}

func TestInt8(t *testing.T) {
	nearest := quant.Format{Bits: 8, Method: quant.Nearest}
	w := []float32{0.5, -1, 0.25, 0, 0.0039, 1}
	codes, scales := quantise(t, w, nearest)
	s := tensor.FromF16(scales[0])
	if want := tensor.FromF16(tensor.ToF16(1.0 / 127)); s != want {
		t.Errorf("Quantize(%v) scale = %v, want %v", w, s, want)
	}
	if want := []int8{64, -127, 32, 0, 0, 127}; !slices.Equal(codes, want) {
		t.Errorf("Quantize(%v) = %v, want %v", w, codes, want)
	}
	// Ties go to even: scale is exactly 1.
	codes, _ = quantise(t, []float32{127, 0.5, 1.5, 2.5, -0.5, -1.5}, nearest)
	if want := []int8{127, 0, 2, 2, 0, -2}; !slices.Equal(codes, want) {
		t.Errorf("Quantize of ties = %v, want %v", codes, want)
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		w := group(r, 40)
		codes, scales := quantise(t, w, nearest)
		s := float64(tensor.FromF16(scales[0]))
		for i, x := range w {
			// Half a step, and what rounding the scale clips at most.
			if e := math.Abs(float64(x) - s*float64(codes[i])); e > s*0.5+math.Abs(float64(x))/1024 {
				t.Errorf("Quantize(%v)[%d] = %d times %g, off by %g", w, i, codes[i], s, e)
			}
		}
	}
}

func TestShapes(t *testing.T) {
	w := make([]float32, 3*40)
	for i := range w {
		w[i] = float32(i%40) - 20
	}
	for i := 40; i < 80; i++ {
		w[i] = 0
	}
	for _, f := range []quant.Format{{Bits: 4, GroupSize: 32}, {Bits: 4}, {Bits: 8}, {Bits: 8, GroupSize: 16}} {
		codes, scales, err := quant.Quantize(f32(w), tensor.F32, 3, 40, f)
		if err != nil {
			t.Fatal(err)
		}
		groups := f.Groups(40)
		if len(codes) != 120 || len(scales) != 3*groups {
			t.Errorf("Quantize(%v) = %d codes, %d scales, want 120, %d", f, len(codes), len(scales), 3*groups)
		}
		for i := range 40 {
			if codes[40+i] != 0 {
				t.Errorf("Quantize(%v): code %d of a row of zeros = %d", f, i, codes[40+i])
			}
		}
		for _, s := range scales[groups : 2*groups] {
			if s != 0 {
				t.Errorf("Quantize(%v): scale of zeros = %#x, want 0", f, s)
			}
		}
		for i, v := range quant.Dequantize(codes, scales, 3, 40, f) {
			if math.Abs(float64(v-w[i])) > 2 {
				t.Errorf("Dequantize(%v)[%d] = %v, want about %v", f, i, v, w[i])
			}
		}
	}
}

func TestQuantizeErrors(t *testing.T) {
	const k = 40
	at := func(row, column int, x float32) []byte {
		w := make([]float32, 2*k)
		w[row*k+column] = x
		return f32(w)
	}
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	g32 := quant.Format{Bits: 4, GroupSize: 32}
	for _, c := range []struct {
		src  []byte
		dt   tensor.DType
		f    quant.Format
		want string
	}{
		{at(1, 17, nan), tensor.F32, g32, "row 1, column 17: NaN is not finite"},
		{at(0, 3, inf), tensor.F32, quant.Format{Bits: 8}, "row 0, column 3: +Inf is not finite"},
		{at(1, 35, 1e6), tensor.F32, g32, "row 1, columns [32,40): weights up to 1e+06 need a scale past"},
		{at(1, 35, 1e7), tensor.F32, quant.Format{Bits: 8}, "row 1, columns [0,40): weights up to 1e+07 need a scale past"},
		{at(0, 0, 1)[1:], tensor.F32, g32, "319 bytes for a matrix [2, 40] of F32"},
		{at(0, 0, 1), tensor.I8, g32, "weights are I8"},
		{at(0, 0, 1), tensor.F32, quant.Format{Bits: 5}, "5 bits, want 16, 8 or 4"},
		{at(0, 0, 1), tensor.F32, quant.Format{Bits: 4, GroupSize: 24}, "group size 24, want a multiple of 16"},
		{at(0, 0, 1), tensor.F32, quant.Format{Bits: 16}, "BF16 has no codes"},
	} {
		if _, _, err := quant.Quantize(c.src, c.dt, 2, k, c.f); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Quantize(%v) = %v, want %q", c.f, err, c.want)
		}
	}
	if _, _, err := quant.Quantize(nil, tensor.F32, 0, 4, g32); err == nil {
		t.Error("Quantize of no rows succeeded, want an error")
	}
	if _, _, err := quant.BF16(at(1, 2, math.MaxFloat32), tensor.F32, 2, k); err == nil || !strings.Contains(err.Error(), "row 1, column 2") {
		t.Errorf("BF16 of the greatest float32 = %v, want an error at row 1, column 2", err)
	}
}

func TestBF16(t *testing.T) {
	out, exact, err := quant.BF16(f32([]float32{1, -2.5, 0, 3}), tensor.F32, 2, 2)
	if want := []byte{0x80, 0x3f, 0x20, 0xc0, 0, 0, 0x40, 0x40}; err != nil || !exact || !slices.Equal(out, want) {
		t.Errorf("BF16 = %x, %v, %v, want %x, exact", out, exact, err, want)
	}
	if _, exact, err := quant.BF16(f32([]float32{1.001}), tensor.F32, 1, 1); exact || err != nil {
		t.Errorf("BF16(1.001) = exact %v, %v, want not exact", exact, err)
	}
}

// TestEncode reads the layout back, element by element.
func TestEncode(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, f := range []quant.Format{{Bits: 4, GroupSize: 32}, {Bits: 4}, {Bits: 8}, {Bits: 8, GroupSize: 64}} {
		for _, shape := range [][2]int{{1, 1}, {3, 5}, {70, 130}, {64, 96}} {
			n, k := shape[0], shape[1]
			codes, scales := make([]int8, n*k), make([]uint16, n*f.Groups(k))
			for i := range codes {
				codes[i] = int8(r.IntN(1<<f.Bits) - 1<<(f.Bits-1))
			}
			for i := range scales {
				scales[i] = uint16(r.Uint32())
			}
			out := quant.Encode(codes, scales, n, k, f)
			if int64(len(out)) != f.SizeBytes(n, k) || f.ScalesOffset(n, k)%quant.Align != 0 {
				t.Fatalf("Encode(%v, %v): %d bytes, scales at %d", f, shape, len(out), f.ScalesOffset(n, k))
			}
			c, s, err := quant.Decode(out, n, k, f)
			if err != nil || !slices.Equal(c, codes) || !slices.Equal(s, scales) {
				t.Errorf("Decode(Encode(%v, %v)) differs, %v", f, shape, err)
			}
			if _, _, err := quant.Decode(out[1:], n, k, f); err == nil {
				t.Errorf("Decode of %d bytes of %d succeeds", len(out)-1, len(out))
			}
			for i := range n {
				for j := range k {
					e := j*n + i
					got := int8(out[e*f.Bits/8])
					if f.Bits == 4 {
						got = int8(out[e/2]<<(4-e%2*4)) >> 4
					}
					if got != codes[i*k+j] {
						t.Fatalf("Encode(%v, %v): code [%d,%d] = %d, want %d", f, shape, i, j, got, codes[i*k+j])
					}
				}
				for g := range f.Groups(k) {
					got := binary.LittleEndian.Uint16(out[f.ScalesOffset(n, k)+int64(2*(g*n+i)):])
					if want := scales[i*f.Groups(k)+g]; got != want {
						t.Fatalf("Encode(%v, %v): scale [%d,%d] = %#x, want %#x", f, shape, i, g, got, want)
					}
				}
			}
		}
	}
}

func TestFormatString(t *testing.T) {
	for f, want := range map[quant.Format]string{
		{Bits: 16}: "bf16", {Bits: 8}: "int8", {Bits: 4, GroupSize: 32}: "int4g32", {Bits: 8, GroupSize: 64}: "int8g64",
	} {
		if got := f.String(); got != want {
			t.Errorf("%#v.String() = %q, want %q", f, got, want)
		}
	}
}

// TestFirstBadRow finds the lowest of several bad rows, whichever worker meets
// one first, and the same bytes for a matrix as for its rows one by one.
func TestFirstBadRow(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	const n, k = 301, 48
	w := make([]float32, n*k)
	for i := range w {
		w[i] = float32(r.NormFloat64())
	}
	f := quant.Format{Bits: 4, GroupSize: 32}
	codes, scales := quantiseMatrix(t, w, n, k, f)
	for i := range n {
		c, s := quantiseMatrix(t, w[i*k:(i+1)*k], 1, k, f)
		if !slices.Equal(c, codes[i*k:(i+1)*k]) || !slices.Equal(s, scales[i*2:(i+1)*2]) {
			t.Fatalf("row %d differs where it is alone", i)
		}
	}
	for _, row := range []int{300, 250, 133, 132} {
		w[row*k+5] = float32(math.NaN())
		_, _, err := quant.Quantize(f32(w), tensor.F32, n, k, f)
		want := fmt.Sprintf("row %d, column 5", row)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Quantize with NaN from row %d on = %v, want %q", row, err, want)
		}
	}
}

func quantiseMatrix(t *testing.T, w []float32, n, k int, f quant.Format) (codes []int8, scales []uint16) {
	t.Helper()
	codes, scales, err := quant.Quantize(f32(w), tensor.F32, n, k, f)
	if err != nil {
		t.Fatal(err)
	}
	return codes, scales
}

// TestWriteEmbeddings8 checks the layout and that every weight is within half a
// step of a scale that BF16 rounded.
func TestWriteEmbeddings8(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 8))
	const n, k = 40, 24
	w := make([]float32, n*k)
	for i := range w {
		w[i] = float32(r.NormFloat64()) * float32(math.Exp2(float64(i/k)-20))
	}
	clear(w[3*k : 4*k])
	src := make([]byte, 4*n*k)
	for i, x := range w {
		binary.LittleEndian.PutUint32(src[4*i:], math.Float32bits(x))
	}
	out := make(file, n*k+2*n)
	if err := quant.WriteEmbeddings8(out, bytes.NewReader(src), tensor.F32, n, k); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		scale := float64(tensor.FromBF16(binary.LittleEndian.Uint16(out[n*k+2*i:])))
		for j := range k {
			got := scale * float64(int8(out[i*k+j]))
			// The largest weight may be cut by what BF16 took from the scale: 127/256 of a step.
			if diff := math.Abs(got - float64(w[i*k+j])); diff > 0.5*scale {
				t.Errorf("row %d, column %d: %v, want %v within half of %v", i, j, got, w[i*k+j], scale)
			}
		}
	}
	w[5] = float32(math.NaN())
	binary.LittleEndian.PutUint32(src[4*5:], math.Float32bits(w[5]))
	if err := quant.WriteEmbeddings8(out, bytes.NewReader(src), tensor.F32, n, k); err == nil || !strings.Contains(err.Error(), "row 0, column 5") {
		t.Errorf("WriteEmbeddings8 of a NaN = %v, want its place", err)
	}
}

// file is a file in memory that reads as zeros where nothing was written.
type file []byte

func (f file) WriteAt(b []byte, at int64) (int, error) { return copy(f[at:], b), nil }

// TestWrite compares blocks of rows with the whole matrix at once.
func TestWrite(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	formats := []quant.Format{{Bits: 16}, {Bits: 8}, {Bits: 8, GroupSize: 32}, {Bits: 4}, {Bits: 4, GroupSize: 32}}
	for _, n := range []int{1, 64, 130, 191, 256, 257} {
		const k = 80
		w := make([]float32, n*k)
		for i := range w {
			w[i] = float32(r.NormFloat64())
		}
		src := f32(w)
		for _, f := range formats {
			want, _, err := quant.BF16(src, tensor.F32, n, k)
			if f.Bits != 16 {
				codes, scales := quantiseMatrix(t, w, n, k, f)
				want = quant.Encode(codes, scales, n, k, f)
			}
			got := make(file, f.SizeBytes(n, k))
			if err = errors.Join(err, quant.WriteBlocks(got, bytes.NewReader(src), tensor.F32, n, k, f, 64*k)); err != nil {
				t.Errorf("Write([%d, %d], %v) = %v", n, k, f, err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("Write([%d, %d], %v) differs from the whole matrix", n, k, f)
			}
			if n < 2 {
				continue
			}
			const what = "end in row"
			if err := quant.WriteBlocks(got, bytes.NewReader(src[:len(src)-1]), tensor.F32, n, k, f, 64*k); err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("Write of %v, cut short = %v, want %q", f, err, what)
			}
			bad := slices.Clone(src)
			copy(bad[(n-1)*k*4+12:], []byte{0, 0, 0xc0, 0x7f})
			place := fmt.Sprintf("row %d, column 3: NaN is not finite", n-1)
			if err := quant.WriteBlocks(got, bytes.NewReader(bad), tensor.F32, n, k, f, 64*k); err == nil || !strings.Contains(err.Error(), place) {
				t.Errorf("Write of %v with NaN = %v, want %q", f, err, place)
			}
			if err := quant.CheckFinite(bytes.NewReader(bad), tensor.F32, n, k); err == nil || !strings.Contains(err.Error(), place) {
				t.Errorf("CheckFinite of %v with NaN = %v, want %q", f, err, place)
			}
		}
	}
}

// TestCheckFiniteBF16 tries every BF16 value at every place of a row, beside
// what quantising finds by converting.
func TestCheckFiniteBF16(t *testing.T) {
	const k = 7 // a row ends within four values
	b := make([]byte, 2*k)
	for bits := range 1 << 16 {
		for at := range k {
			clear(b)
			binary.LittleEndian.PutUint16(b[2*at:], uint16(bits))
			value := float64(math.Float32frombits(uint32(bits) << 16))
			bad := math.IsNaN(value) || math.IsInf(value, 0)
			if err := quant.CheckFinite(bytes.NewReader(b), tensor.BF16, 1, k); (err != nil) != bad {
				t.Fatalf("CheckFinite of %04x at %d = %v, want an error: %v", bits, at, err, bad)
			} else if bad && !strings.Contains(err.Error(), fmt.Sprintf("row 0, column %d", at)) {
				t.Fatalf("CheckFinite of %04x at %d = %v", bits, at, err)
			}
		}
	}
}

// TestMethods: what each method is, and that the search is never worse.
func TestMethods(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 42))
	for _, bits := range []int{4, 8} {
		code := float64([]int{4: -8, 8: 127}[bits])
		for _, size := range []int{0, 32, 64, 128} {
			w := group(r, 256)
			near := quant.Format{Bits: bits, GroupSize: size, Method: quant.Nearest}
			best := quant.Format{Bits: bits, GroupSize: size, Method: quant.Search}
			codes, scales := quantise(t, w, near)
			found, better := quantise(t, w, best)
			if size == 0 {
				size = len(w)
			}
			for g, s := range scales {
				part := w[g*size : (g+1)*size]
				m := slices.MaxFunc(part, func(a, b float32) int { return cmp.Compare(math.Abs(float64(a)), math.Abs(float64(b))) })
				if bits == 8 {
					m = max(m, -m)
				}
				want := tensor.ToF16(float32(float64(m) / code))
				if want&0x7fff == 0 {
					want |= 1 // there is no smaller one
				}
				if s != want {
					t.Errorf("Quantize of a greatest weight %v in %v by %v: scale = %#04x, want %#04x", m, near, near.Method, s, want)
				}
				a := errorOf(part, codes[g*size:(g+1)*size], s)
				b := errorOf(part, found[g*size:(g+1)*size], better[g])
				if b > a {
					t.Errorf("Quantize of a greatest weight %v in %v: error %g of the search exceeds the nearest's %g", m, best, b, a)
				}
			}
		}
	}
	for _, f := range []quant.Format{{Bits: 16, Method: quant.Nearest}, {Bits: 4, Method: 2}} {
		if f.Check() == nil {
			t.Errorf("Check of %d bits with %v succeeded, want an error", f.Bits, f.Method)
		}
	}
}
