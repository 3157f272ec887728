package gguf_test

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/gguf"
	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/formats/tensor"
)

// reference holds what llama.cpp's library returns for testdata/ggml_types.gguf.
func reference(tb testing.TB) map[string][]float32 {
	tb.Helper()
	f, err := safetensors.Open(filepath.Join("testdata", "ggml_types.f32.safetensors"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	out := map[string][]float32{}
	for _, e := range f.Tensors() {
		w := make([]float32, e.Length/4)
		if err := tensor.ToF32(w, f.Bytes(e), e.DType); err != nil {
			tb.Fatal(err)
		}
		out[e.Name] = w
	}
	return out
}

func open(tb testing.TB, path string) *gguf.Model {
	tb.Helper()
	m, err := gguf.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := m.Close(); err != nil {
			tb.Error(err)
		}
	})
	return m
}

func data(tb testing.TB, m *gguf.Model, t gguf.Tensor) []byte {
	tb.Helper()
	b, err := m.Bytes(t)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// same counts elements whose bits differ.
func same(got, want []float32) (bad int) {
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			bad++
		}
	}
	return bad
}

// TestTypes decodes and carries every type, bit by bit.
func TestTypes(t *testing.T) {
	m, want := open(t, filepath.Join("testdata", "ggml_types.gguf")), reference(t)
	if len(m.Tensors()) != 28 {
		t.Fatalf("%d tensors, want 28", len(m.Tensors()))
	}
	for _, info := range m.Tensors() {
		src := data(t, m, info)
		rows, cols := info.Rows()
		got := make([]float32, rows*cols)
		if err := gguf.Dequantize(info.Type, got, src); err != nil {
			t.Errorf("%s: %v", info.Name, err)
			continue
		}
		if len(want[info.Name]) != len(got) {
			t.Fatalf("%s: %d reference values", info.Name, len(want[info.Name]))
		}
		if bad := same(got, want[info.Name]); bad > 0 {
			t.Errorf("%s: %d of %d values differ from the reference", info.Name, bad, len(got))
		}
		if "t."+strings.ToLower(info.Type.String()) != strings.ToLower(info.Name) {
			t.Errorf("%s has type %v", info.Name, info.Type)
		}
		if _, ok := info.Type.Coding(); !ok {
			if _, err := gguf.Carry(info.Type, src, rows, cols, nil); err == nil || !strings.Contains(err.Error(), "holds no codes") {
				t.Errorf("%s: Carry = %v, want an error", info.Name, err)
			}
			continue
		}
		order := []int{2, 0, 1}
		for _, o := range [][]int{nil, order} {
			carried, err := gguf.Carry(info.Type, src, rows, cols, o)
			if err != nil {
				t.Errorf("%s: %v", info.Name, err)
				continue
			}
			for i := range rows {
				from := i
				if o != nil {
					from = o[i]
				}
				if bad := proof(carried, i, want[info.Name][from*cols:(from+1)*cols]); bad > 0 {
					t.Errorf("%s as %v: row %d: %d weights differ", info.Name, carried.Coding, i, bad)
				}
			}
		}
	}
}

// proof computes the weights of a row as docs/isa.md §4 says, fl(s·q + o) with
// one rounding, and as a graph does, with two, and counts what differs from
// want in either.
func proof(m *tensor.Coded, i int, want []float32) (bad int) {
	codes, scales, offsets := m.Row(i)
	group := m.GroupSize
	if group == 0 {
		group = len(codes)
	}
	row := make([]float32, len(codes))
	m.Weights(row, i)
	for j, q := range codes {
		s, o := float64(scales[j/group]), math.Copysign(0, -1)
		if offsets != nil {
			o = float64(offsets[j/group])
		}
		// s has 24 bits and q 8: the product is exact in float64.
		once := float32(float64(s*float64(q)) + o)
		if offsets == nil {
			once = float32(s * float64(q))
		}
		if math.Float32bits(once) != math.Float32bits(want[j]) || math.Float32bits(row[j]) != math.Float32bits(want[j]) {
			bad++
		}
	}
	return bad
}

// TestCodings pins how each type is carried: what a stage may rely on.
func TestCodings(t *testing.T) {
	for typ, want := range map[gguf.Type]string{
		gguf.Q4_0: "INT4 g32 F16", gguf.Q4_1: "UINT4 g32 F16+F16", gguf.Q5_0: "INT8 g32 F16", gguf.Q5_1: "INT8 g32 F16+F16",
		gguf.Q8_0: "INT8 g32 F16", gguf.Q2K: "UINT4 g16 F32+F32", gguf.Q3K: "INT4 g16 F32", gguf.Q4K: "UINT4 g32 F32+F32",
		gguf.Q5K: "INT8 g32 F32+F32", gguf.Q6K: "INT8 g16 F32", gguf.IQ4NL: "INT8 g32 F16", gguf.IQ4XS: "INT8 g32 F32", gguf.MXFP4: "INT8 g32 F32",
		gguf.NVFP4: "INT8 g16 F16", gguf.TQ1: "INT4 g256 F16", gguf.TQ2: "INT4 g256 F16", gguf.Q1_0: "INT4 g128 F16",
		gguf.IQ1S: "INT8 g32 F32", gguf.IQ1M: "INT8 g16 F32", gguf.IQ2XXS: "INT8 g32 F32", gguf.IQ2XS: "INT8 g16 F32", gguf.IQ2S: "INT8 g16 F32",
		gguf.IQ3XXS: "INT8 g32 F32", gguf.IQ3S: "INT8 g32 F32",
	} {
		if c, ok := typ.Coding(); !ok || c.String() != want {
			t.Errorf("%v is carried as %v, want %s", typ, c, want)
		}
	}
	for _, typ := range []gguf.Type{gguf.F32, gguf.F16, gguf.BF16, gguf.F64, gguf.I8, 99} {
		if c, ok := typ.Coding(); ok {
			t.Errorf("%v is carried as %v", typ, c)
		}
	}
	if dt, ok := gguf.BF16.Float(); !ok || dt != tensor.BF16 {
		t.Errorf("BF16.Float() = %v, %v", dt, ok)
	}
	if _, ok := gguf.F64.Float(); ok {
		t.Error("F64 is no plain type of weights")
	}
}

func TestDequantizeRefuses(t *testing.T) {
	for _, c := range []struct {
		typ      gguf.Type
		elements int
		bytes    int
		want     string
	}{
		{gguf.Q4_0, 33, 18, "33 elements of Q4_0 in blocks of 32 do not fill 18 bytes"},
		{gguf.Q4_0, 32, 17, "do not fill 17 bytes"},
		{gguf.Q4_0, 64, 18, "do not fill 18 bytes"},
		{gguf.I8, 4, 4, "I8 is a type of plain integers"},
		{9, 32, 40, "type 9 (Q8_1) is an intermediate"},
		{4, 32, 40, "type 4 (Q4_2) was withdrawn from the format; quantize the model again"},
		{77, 32, 40, "type 77 is unknown"},
	} {
		err := gguf.Dequantize(c.typ, make([]float32, c.elements), make([]byte, c.bytes))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Dequantize(%v) = %v, want %q", c.typ, err, c.want)
		}
	}
	nan := slices.Concat([]byte{0, 0x7e}, make([]byte, 16))
	if _, err := gguf.Carry(gguf.Q4_0, nan, 1, 32, nil); err == nil || !strings.Contains(err.Error(), "row 0, group 0: scale NaN") {
		t.Errorf("Carry(NaN) = %v, want an error", err)
	}
	if _, err := gguf.Carry(gguf.Q4_0, make([]byte, 36), 1, 64, []int{1}); err == nil {
		t.Error("Carry takes a row that is not there")
	}
	if _, err := gguf.Carry(gguf.Q4_0, make([]byte, 36), 2, 32, []int{1}); err == nil {
		t.Error("Carry takes an order of another length")
	}
}

func BenchmarkCarry(b *testing.B) {
	m := open(b, filepath.Join("testdata", "ggml_types.gguf"))
	for _, name := range []string{"t.q4_0", "t.q8_0", "t.q4_K", "t.q6_K", "t.iq3_s"} {
		info, ok := m.Tensor(name)
		if !ok {
			b.Fatal(name)
		}
		src := slices.Repeat(data(b, m, info), 200)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if _, err := gguf.Carry(info.Type, src, 600, 512, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
