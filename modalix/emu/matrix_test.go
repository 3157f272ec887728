package emu_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/emu/kern"
	"github.com/llima-build/llima/modalix/isa"
)

func hex(v int) string { return strconv.FormatInt(int64(v), 16) }

func replaceAll(s string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(s) }

// weights is a matrix [outputs, inputs] of codes with scales and offsets.
type weights struct {
	outputs, inputs int
	format          isa.Format
	group           int       // inputs a group; inputs itself: per channel
	q               []float32 // value of each code
	scale, offset   []float32 // [outputs, groups]
}

func (w *weights) groups() int { return w.inputs / w.group }

func randomNormal(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = fromBF16(bf16Bytes([]float32{float32(r.NormFloat64())}))[0]
	}
	return v
}

// scaleOf returns a number that the scale type holds exactly.
func scaleOf(r *rand.Rand, kind isa.Scale) float32 {
	switch kind {
	case isa.ScaleNone:
		return 0
	case isa.ScaleF16:
		return float32(r.IntN(2048)-1024) / (1 << 14)
	case isa.ScaleBF16:
		return fromBF16(bf16Bytes([]float32{float32(r.NormFloat64()) / 16}))[0]
	case isa.ScaleF32:
	}
	return float32(r.NormFloat64()) / 16
}

func randomMatrix(r *rand.Rand, outputs, inputs int, format isa.Format, group int) *weights {
	w := &weights{outputs: outputs, inputs: inputs, format: format, group: group}
	for range outputs * inputs {
		var q float32
		switch format.Code() {
		case isa.CodeBF16:
			q = randomNormal(r, 1)[0]
		case isa.CodeINT8:
			q = float32(r.IntN(256) - 128)
		case isa.CodeINT4:
			q = float32(r.IntN(16) - 8)
		case isa.CodeUINT4:
			q = float32(r.IntN(16))
		}
		w.q = append(w.q, q)
	}
	for range outputs * w.groups() {
		w.scale = append(w.scale, scaleOf(r, format.Scale()))
		w.offset = append(w.offset, scaleOf(r, format.Offset()))
	}
	return w
}

// streams packs the panels by the sentences of docs/isa.md §4, bit by bit.
func (w *weights) streams() (codes, scales, offsets []byte) {
	bits := int(w.format.Code().Bits())
	perDword := 32 / bits
	codes = make([]byte, w.outputs*w.inputs*bits/8)
	for n := range w.outputs {
		for k := range w.inputs {
			line, i := k/perDword, k%perDword
			shift := bits * i
			if bits == 4 {
				shift = 16*(i%2) + 4*(i/2)
			}
			at := ((n/16)*(w.inputs/perDword)+line)*64 + n%16*4
			q := w.q[n*w.inputs+k]
			var code uint32
			switch w.format.Code() {
			case isa.CodeBF16:
				code = math.Float32bits(q) >> 16
			case isa.CodeINT8:
				code = uint32(uint8(int8(q)))
			case isa.CodeINT4:
				code = uint32(q + 8)
			case isa.CodeUINT4:
				code = uint32(q)
			}
			le.PutUint32(codes[at:], le.Uint32(codes[at:])|code<<shift)
		}
	}
	return codes, w.stream(w.scale, w.format.Scale()), w.stream(w.offset, w.format.Offset())
}

func (w *weights) stream(values []float32, kind isa.Scale) []byte {
	var b []byte
	for p := range w.outputs / 16 {
		for g := range w.groups() {
			for r := range 16 {
				v := values[(p*16+r)*w.groups()+g]
				switch kind {
				case isa.ScaleF16:
					b = le.AppendUint16(b, halfBits(v))
				case isa.ScaleBF16:
					b = le.AppendUint16(b, uint16(math.Float32bits(v)>>16))
				case isa.ScaleF32:
					b = le.AppendUint32(b, math.Float32bits(v))
				case isa.ScaleNone:
				}
			}
		}
	}
	return b
}

// halfBits returns the binary16 of a number that it holds exactly.
func halfBits(v float32) uint16 {
	for h := range 1 << 16 {
		e, m := h>>10&31, float64(h&1023)
		f := math.Ldexp(1+m/1024, e-15)
		if e == 0 {
			f = math.Ldexp(m, -24)
		}
		if h>>15 != 0 {
			f = -f
		}
		if e < 31 && f == float64(v) {
			return uint16(h)
		}
	}
	panic("not a binary16")
}

// reference is the pseudo-code of docs/isa.md §2, one output at a time.
func (w *weights) reference(a []float32, rows int, c0 []float32) []float32 {
	size := 32
	if w.group == 16 {
		size = 16
	}
	c := make([]float32, rows*w.outputs)
	for m := range rows {
		for n := range w.outputs {
			acc := float32(0)
			if c0 != nil {
				acc = c0[m*w.outputs+n]
			}
			for g := range w.groups() {
				var bigT, bigU float32
				for b := g * w.group; b < (g+1)*w.group; b += size {
					var t, u float32
					for k := b; k < b+size; k++ {
						x := a[m*w.inputs+k]
						t += float32(x * w.q[n*w.inputs+k])
						u += x
					}
					bigT += t
					bigU += u
				}
				if w.format.Scale() != isa.ScaleNone {
					bigT = w.scale[n*w.groups()+g] * bigT
				}
				acc += bigT
				if w.format.Offset() != isa.ScaleNone {
					acc += float32(w.offset[n*w.groups()+g] * bigU)
				}
			}
			c[m*w.outputs+n] = acc
		}
	}
	return c
}

// exact returns y* and A of docs/isa.md §1 in binary64.
func (w *weights) exact(a []float32, m, n int, c0 float64) (y, size float64) {
	y, size = c0, math.Abs(c0)
	for k := range w.inputs {
		x, q := float64(a[m*w.inputs+k]), float64(w.q[n*w.inputs+k])
		s, o := 1.0, 0.0
		if w.format.Scale() != isa.ScaleNone {
			s = float64(w.scale[n*w.groups()+k/w.group])
			o = float64(w.offset[n*w.groups()+k/w.group])
		}
		y += x * (s*q + o)
		size += math.Abs(x) * (math.Abs(s*q) + math.Abs(o))
	}
	return y, size
}

// load returns the LDW of all panels, codes first in segment WEIGHTS.
func (w *weights) load(codes, scales []byte) isa.Inst {
	i := isa.Inst{
		Op: isa.LDW, NP: uint32(w.outputs / 16), KB: uint32(w.inputs / 32), Fmt: w.format,
		CPitch: uint32(len(codes) / (w.outputs / 16)),
	}
	if w.format.Code() == isa.CodeBF16 {
		return i
	}
	i.Scales, i.GPitch = uint32(len(codes)), uint32(w.groups())
	if w.format.Offset() != isa.ScaleNone {
		i.Offs = uint32(len(codes) + len(scales))
	}
	i.GLog = uint32(math.Log2(float64(w.group)))
	if w.group == w.inputs {
		i.GLog = isa.GroupChannel
	}
	return i
}

func TestMatrix(t *testing.T) {
	f := isa.MakeFormat
	for _, c := range []struct {
		rows, outputs, inputs, group int
		format                       isa.Format
		acc, out16                   bool
	}{
		{1, 32, 64, 32, f(isa.CodeBF16, 0, 0), false, false},
		{3, 48, 576, 32, f(isa.CodeBF16, 0, 0), true, false},
		{15, 48, 576, 32, f(isa.CodeBF16, 0, 0), false, false},
		{15, 48, 576, 576, f(isa.CodeINT8, isa.ScaleF16, 0), true, false},
		{15, 48, 576, 32, f(isa.CodeINT4, isa.ScaleF16, 0), false, false},
		{9, 32, 512, 128, f(isa.CodeINT4, isa.ScaleBF16, 0), true, false},
		{2, 16, 96, 96, f(isa.CodeINT8, isa.ScaleF16, 0), false, true},
		{5, 32, 256, 32, f(isa.CodeINT8, isa.ScaleF32, 0), false, false},
		{1, 32, 256, 16, f(isa.CodeINT8, isa.ScaleF32, 0), false, false},
		{4, 32, 256, 64, f(isa.CodeINT8, isa.ScaleBF16, isa.ScaleF16), true, false},
		{1, 64, 512, 32, f(isa.CodeINT4, isa.ScaleF16, 0), false, false},
		{7, 64, 512, 128, f(isa.CodeINT4, isa.ScaleF16, 0), false, true},
		{2, 32, 512, 256, f(isa.CodeINT4, isa.ScaleF32, isa.ScaleF32), false, false},
		{2, 32, 512, 32, f(isa.CodeUINT4, isa.ScaleF16, isa.ScaleF16), false, false},
		{6, 32, 288, 16, f(isa.CodeUINT4, isa.ScaleF16, isa.ScaleBF16), true, false},
		{33, 128, 256, 32, f(isa.CodeUINT4, isa.ScaleF32, isa.ScaleF32), true, false},
		{1, 32, 160, 160, f(isa.CodeINT4, isa.ScaleBF16, isa.ScaleBF16), false, false},
	} {
		name := fmt.Sprintf("m%d_n%d_k%d_g%d_%s", c.rows, c.outputs, c.inputs, c.group, isa.Inst{Op: isa.LDW, Fmt: c.format}.String()[11:])
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(c.rows), uint64(c.inputs)))
			w := randomMatrix(r, c.outputs, c.inputs, c.format, c.group)
			a := randomNormal(r, c.rows*c.inputs)
			var c0 []float32
			in := bf16Bytes(a)
			cAt := 1 << 20
			work := []isa.Inst{}
			codes, scales, offsets := w.streams()
			if c.acc {
				c0 = randomNormal(r, c.rows*c.outputs)
				at := len(in)
				in = append(in, f32Bytes(c0)...)
				n := uint32(len(in) - at)
				work = append(work, isa.Inst{Op: isa.LD, S: uint32(cAt), Off: uint32(at), Rows: 1, Len: n, SStr: n, DStr: n, Seg: isa.In})
			}
			size := 4
			if c.out16 {
				size = 2
			}
			work = append(work, w.load(codes, scales), isa.Inst{
				Op: isa.MM, C: uint32(cAt), M: uint32(c.rows), LdA: uint32(c.inputs * 2), LdC: uint32(c.outputs * size),
				NP: uint32(c.outputs / 16), Acc: c.acc, OutBF16: c.out16,
			})
			o := &object{weights: append(append(codes, scales...), offsets...)}
			out, err := runWith(t, o, emu.Buffers{In: in}, work, cAt, c.rows*c.outputs*size)
			if err != nil {
				t.Fatal(err)
			}
			want := w.reference(a, c.rows, c0)
			checkMatrix(t, w, a, c0, want, out, c.out16)
			for _, o.set = range kern.Sets() {
				if out, err = runWith(t, o, emu.Buffers{In: in}, work, cAt, c.rows*c.outputs*size); err != nil {
					t.Fatal(err)
				}
				t.Run(o.set.Name, func(t *testing.T) { checkBounds(t, w, a, c0, out, c.out16) })
			}
		})
	}
}

// checkMatrix demands the reference's bits, and that the reference is within
// the bounds of docs/isa.md §1.
func checkMatrix(t *testing.T, w *weights, a, c0, want []float32, out []byte, out16 bool) {
	t.Helper()
	for i, v := range want {
		wantBits, at := math.Float32bits(v), 4*i
		if out16 {
			wantBits, at = uint32(roundBF16(v)), 2*i
		}
		got := uint32(le.Uint16(out[at:]))
		if !out16 {
			got = le.Uint32(out[at:])
		}
		if got != wantBits {
			t.Fatalf("C[%d] = %#x, want %#x", i, got, wantBits)
		}
		start := 0.0
		if c0 != nil {
			start = float64(c0[i])
		}
		y, size := w.exact(a, i/w.outputs, i%w.outputs, start)
		k := float64(w.inputs)
		bound := (64+k/4)*0x1p-24*size + k*0x1p-125
		tight := (4 + math.Sqrt(k)/4) * 0x1p-24 * size
		if e := math.Abs(float64(v) - y); e > bound || e > tight {
			t.Fatalf("C[%d] = %v, exactly %v: error %g exceeds %g or %g", i, v, y, e, bound, tight)
		}
	}
}

// checkBounds demands the bounds of docs/isa.md §1 of what kernels give.
func checkBounds(t *testing.T, w *weights, a, c0 []float32, out []byte, out16 bool) {
	t.Helper()
	read := toF32
	if out16 {
		read = fromBF16
	}
	for i, v := range read(out) {
		start := 0.0
		if c0 != nil {
			start = float64(c0[i])
		}
		y, size := w.exact(a, i/w.outputs, i%w.outputs, start)
		bound := (4 + math.Sqrt(float64(w.inputs))/4) * 0x1p-24 * size
		if out16 {
			bound += math.Abs(y) * 0x1p-8
		}
		if e := math.Abs(float64(v) - y); !(e <= bound) {
			t.Fatalf("C[%d] = %v, exactly %v: error %g exceeds %g", i, v, y, e, bound)
		}
	}
}

// TestSplitMatrix demands that K split at group boundaries with ACC repeats
// the bits of the whole, and that panels can be picked.
func TestSplitMatrix(t *testing.T) {
	const outputs, inputs, group = 64, 256, 32
	r := rand.New(rand.NewPCG(9, 9))
	w := randomMatrix(r, outputs, inputs, isa.MakeFormat(isa.CodeINT4, isa.ScaleF16, isa.ScaleNone), group)
	a := randomNormal(r, inputs)
	codes, scales, _ := w.streams()
	whole := w.load(codes, scales)
	first, second := whole, whole
	first.KB, second.KB = 3, 5
	second.Tile = 1
	second.Codes = 3 * 32 * 16 / 2
	second.Scales += 3 * 16 * 2
	mm := isa.Inst{Op: isa.MM, C: 0x1000, M: 1, LdA: 192, LdC: 128, P0: 1, NP: 2}
	next := mm
	next.A, next.LdA, next.Tile, next.Acc = 192, 320, 1, true
	o := &object{weights: append(codes, scales...)}
	out, err := runWith(t, o, emu.Buffers{In: bf16Bytes(a)}, []isa.Inst{first, second, mm, next}, 0x1000, 128)
	if err != nil {
		t.Fatal(err)
	}
	want := w.reference(a, 1, nil)
	for i, v := range toF32(out) {
		if v != want[16+i] {
			t.Errorf("C[%d] = %v, want %v", i, v, want[16+i])
		}
	}
}

// TestDependentMatrices has MMs in a row that read and write what others of
// them write and read. They give the bits that they give when something else
// stands between them, which is when no two can be computed together. What is
// computed together is so in reverse.
func TestDependentMatrices(t *testing.T) {
	const size, rows = 64, 5
	r := rand.New(rand.NewPCG(21, 22))
	w := randomMatrix(r, size, size, isa.MakeFormat(isa.CodeBF16, 0, 0), 32)
	codes, _, _ := w.streams()
	load := w.load(codes, nil)
	const a, b, c = 0, 0x8000, 0x10000 // the last in F32
	mm := func(from, to uint32, edit func(*isa.Inst)) isa.Inst {
		in := isa.Inst{Op: isa.MM, A: from, C: to, M: rows, LdA: size * 2, LdC: size * 2, NP: size / 16, OutBF16: true}
		edit(&in)
		return in
	}
	f32 := func(in *isa.Inst) { in.OutBF16, in.LdC = false, size*4 }
	work := []isa.Inst{
		load,
		mm(a, b, func(*isa.Inst) {}),
		mm(b, c, f32), // reads what was written
		mm(a, c, func(in *isa.Inst) { f32(in); in.Acc = true }), // adds to it
		mm(b, a, func(in *isa.Inst) { in.P0, in.NP = 1, 2 }),    // writes what was read
		mm(b, a+64, func(in *isa.Inst) { in.P0, in.NP = 3, 1 }), // columns beside it
		mm(a, c+0x800, f32), // reads both
		mm(b, c+0x840, func(in *isa.Inst) { f32(in); in.NP = 2 }), // and is written over in part
	}
	var apart []isa.Inst
	for _, in := range work {
		apart = append(apart, in, isa.Inst{Op: isa.CVT, D: 0x20000, X: 0x20100, M: 1, N: 8, LdD: 32, LdX: 32, TD: isa.F32, TX: isa.F32})
	}
	in := bf16Bytes(randomNormal(r, rows*size))
	for _, set := range append(kern.Sets(), nil) {
		o := &object{weights: codes, set: set, backwards: true}
		together, err := runWith(t, o, emu.Buffers{In: in}, work, c, 0x1000)
		if err != nil {
			t.Fatal(err)
		}
		alone, err := runWith(t, o, emu.Buffers{In: in}, apart, c, 0x1000)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(together, alone) {
			t.Errorf("%v: MMs in a row differ from MMs apart", name(set))
		}
	}
}

func name(set *kern.Set) string {
	if set == nil {
		return "plain"
	}
	return set.Name
}

// TestAttention appends K and V, loads them as tiles, and compares Q·K^T and
// softmax·V with a naive computation.
func TestAttention(t *testing.T) {
	const heads, dims, capacity, window, rows = 2, 64, 96, 64, 3
	r := rand.New(rand.NewPCG(11, 12))
	const tokens = 50
	k, v := randomNormal(r, tokens*heads*dims), randomNormal(r, tokens*heads*dims)
	q := randomNormal(r, rows*dims)
	const hPitch, pPitch = capacity * dims * 2, capacity * 32
	const vAt = heads * hPitch
	kv := make([]byte, 2*heads*hPitch)
	position := make([]int32, 64) // -1 skips
	for i := range position {
		position[i] = -1
		if i < tokens {
			position[i] = int32((i*7 + 3) % tokens) // any order
		}
	}
	kBytes, vBytes := bf16Bytes(k), bf16Bytes(v)
	in := append(append(append([]byte{}, kBytes...), vBytes...), i32Bytes(position...)...)
	idx := uint32(len(kBytes) + len(vBytes))
	stk := isa.Inst{Op: isa.STK, M: tokens, D: dims, H: heads, LdX: heads * dims * 2, HPitch: hPitch, Seg: isa.KV, Idx: idx}
	stv := stk
	stv.X, stv.Mode, stv.Off, stv.PPitch = uint32(len(kBytes)), isa.StkV, vAt, pPitch
	if _, err := runWith(t, &object{}, emu.Buffers{In: in, KV: kv}, []isa.Inst{stk, stv}, 0, 32); err != nil {
		t.Fatal(err)
	}
	for h := range heads {
		spans := i32Bytes(0, 50, 10, 20, 0, 1)
		spanAt := uint32(rows * dims * 2)
		work := []isa.Inst{
			{Op: isa.LDW, Tile: 0, Seg: isa.KV, Codes: uint32(h * hPitch), CPitch: 32 * dims, NP: window / 16, KB: dims / 32},
			{Op: isa.MM, A: 0, C: 0x1000, M: rows, LdA: dims * 2, LdC: window * 4, NP: window / 16},
			{Op: isa.SOFTMAX, D: 0x3000, X: 0x1000, Y: spanAt, M: rows, N: window, LdD: window * 2, LdX: window * 4, Aux: 1, Imm: math.Float32bits(0.125), TX: isa.F32, TY: isa.I32},
			{Op: isa.LDW, Tile: 1, Seg: isa.KV, Codes: uint32(vAt + h*hPitch), CPitch: pPitch, NP: dims / 16, KB: window / 32},
			{Op: isa.MM, A: 0x3000, C: 0x4000, M: rows, Tile: 1, LdA: window * 2, LdC: dims * 4, NP: dims / 16},
		}
		out, err := runWith(t, &object{}, emu.Buffers{In: append(bf16Bytes(q), spans...), KV: kv}, work, 0x4000, rows*dims*4)
		if err != nil {
			t.Fatal(err)
		}
		at := make([]int, tokens) // token of each position
		for i, p := range position[:tokens] {
			at[p] = i
		}
		got := toF32(out)
		for m, span := range [][2]int{{0, 50}, {10, 20}, {0, 1}} {
			for e := range dims {
				var total, y, size float64
				for p := span[0]; p < span[1]; p++ {
					s := 0.0
					for d := range dims {
						s += float64(q[m*dims+d]) * float64(k[(at[p]*heads+h)*dims+d])
					}
					weight := math.Exp(s / 8)
					total += weight
					y += weight * float64(v[(at[p]*heads+h)*dims+e])
					size += weight * math.Abs(float64(v[(at[p]*heads+h)*dims+e]))
				}
				if d := math.Abs(float64(got[m*dims+e]) - y/total); d > size/total*0x1p-7 {
					t.Fatalf("head %d row %d dim %d = %v, want %v", h, m, e, got[m*dims+e], y/total)
				}
			}
		}
	}
}

func BenchmarkMatrix(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchmarkMatrix(b, nil) })
	for _, set := range kern.Sets() {
		b.Run(set.Name, func(b *testing.B) { benchmarkMatrix(b, set) })
	}
}

func benchmarkMatrix(b *testing.B, set *kern.Set) {
	b.Helper()
	for _, c := range []struct {
		name   string
		format isa.Format
		group  int
	}{
		{"bf16", isa.MakeFormat(isa.CodeBF16, 0, 0), 32},
		{"int8", isa.MakeFormat(isa.CodeINT8, isa.ScaleF16, 0), 576},
		{"int8_g16", isa.MakeFormat(isa.CodeINT8, isa.ScaleF32, 0), 16},
		{"int4", isa.MakeFormat(isa.CodeINT4, isa.ScaleF16, 0), 32},
		{"uint4_offset", isa.MakeFormat(isa.CodeUINT4, isa.ScaleF16, isa.ScaleF16), 32},
	} {
		for _, rows := range []int{1, 128} {
			b.Run(fmt.Sprintf("%s_m%d", c.name, rows), func(b *testing.B) {
				const outputs, inputs = 192, 576
				w := randomMatrix(rand.New(rand.NewPCG(1, 1)), outputs, inputs, c.format, c.group)
				codes, scales, offsets := w.streams()
				mm := isa.Inst{Op: isa.MM, C: 0x100000, M: uint32(rows), LdA: inputs * 2, LdC: outputs * 4, NP: outputs / 16}
				o := &object{weights: append(append(codes, scales...), offsets...)}
				o.raw = [][]byte{encodeAll(b, chain([]isa.Inst{w.load(codes, scales), mm, {Op: isa.END}}))}
				p, m := o.load(b), emu.NewMachine()
				m.Force(set)
				if err := m.Run(p, emu.Buffers{}); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(o.weights)))
				b.ReportAllocs()
				for b.Loop() {
					if err := m.Run(p, emu.Buffers{}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(2*float64(rows)*outputs*inputs*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
