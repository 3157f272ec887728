package npy_test

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/npy"
	"github.com/llima-build/llima/formats/tensor"
)

// goldens are files that NumPy wrote: testdata/generate.py.
var goldens = []struct {
	file  string
	dtype tensor.DType
	shape []int
}{
	{"f4_3x4.npy", tensor.F32, []int{3, 4}},
	{"f2_5.npy", tensor.F16, []int{5}},
	{"i4_scalar.npy", tensor.I32, []int{}},
	{"i8_0x7.npy", tensor.I64, []int{0, 7}},
	{"u1_2x1x3.npy", tensor.U8, []int{2, 1, 3}},
	{"i1_100.npy", tensor.I8, []int{100}},
}

func TestGoldens(t *testing.T) {
	for _, tt := range goldens {
		want, err := os.ReadFile(filepath.Join("testdata", tt.file))
		if err != nil {
			t.Fatal(err)
		}
		a, err := npy.Read(want)
		if err != nil {
			t.Errorf("Read(%s): %v", tt.file, err)
			continue
		}
		if a.DType != tt.dtype || !slices.Equal(a.Shape, tt.shape) {
			t.Errorf("Read(%s) = %v %v, want %v %v", tt.file, a.DType, a.Shape, tt.dtype, tt.shape)
		}
		var got bytes.Buffer
		if err := npy.Write(&got, a.DType, a.Shape, a.Data); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: Write gives %q, want %q", tt.file, got.Bytes(), want)
		}
	}
}

func TestF32(t *testing.T) {
	want := []float32{0, -1.5, math.MaxFloat32, 1e-45, 5, 6}
	b, err := npy.EncodeF32(want, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	a, err := npy.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.F32(); !slices.Equal(got, want) || !slices.Equal(a.Shape, []int{2, 3}) {
		t.Errorf("Read(EncodeF32(%v, 2, 3)) = %v %v", want, got, a.Shape)
	}
	half := npy.Array{DType: tensor.F16, Shape: []int{1}, Data: []byte{0, 0x3c}}
	if got := half.F32(); !slices.Equal(got, []float32{1}) {
		t.Errorf("F32() = %v, want [1]", got)
	}
	if got := (npy.Array{DType: tensor.I32, Data: make([]byte, 4)}).F32(); got != nil {
		t.Errorf("F32() = %v of I32, want nil", got)
	}
}

func TestWriteRefuses(t *testing.T) {
	tests := []struct {
		dtype tensor.DType
		shape []int
		size  int
		want  string
	}{
		{tensor.BF16, []int{1}, 2, "npy: BF16 has no name in the format"},
		{tensor.F32, []int{2}, 4, "npy: 4 bytes, want 8 for [2] of F32"},
		{tensor.F32, []int{-1}, 4, "npy: shape [-1]: dimension 0 is negative"},
		{tensor.U8, slices.Repeat([]int{1}, 30000), 1, "the limit is 65535"},
	}
	for _, tt := range tests {
		err := npy.Write(&bytes.Buffer{}, tt.dtype, tt.shape, make([]byte, tt.size))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Write(%v) = %v, want %q", tt.dtype, err, tt.want)
		}
	}
	if _, err := npy.EncodeF32([]float32{1}, 2); err == nil {
		t.Error("EncodeF32([1], 2) = nil, want an error")
	}
}

func file(header string, dataBytes int) []byte {
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	return append(append(b, header...), make([]byte, dataBytes)...)
}

func TestReadRefuses(t *testing.T) {
	const order, shape = "'fortran_order': False", "'shape': (2,)"
	tests := []struct {
		in   []byte
		want string
	}{
		{nil, "npy: offset 0: want 8 bytes, have 0"},
		{[]byte("\x93NUMPX\x01\x00aa"), "npy: offset 0: the file does not begin with"},
		{[]byte("\x93NUMPY\x02\x00aa"), "npy: offset 0: the file does not begin with"},
		{[]byte("\x93NUMPY\x01\x00\xff\xff{"), "npy: offset 10: want 65535 bytes, have 1"},
		{file("", 0), "npy: offset 10: want { in the header"},
		{file("{'descr'", 0), "npy: offset 18: want : in the header"},
		{file("{'descr", 0), "npy: offset 11: the string does not end"},
		{file(`{'\x': 1}`, 0), "npy: offset 11: the string has an escape"},
		{file("{descr: 1}", 0), "npy: offset 11: want a string"},
		{file("{'descr': '>f4'}", 0), `npy: offset 25: type ">f4" is not supported`},
		{file("{'descr': '|V2'}", 0), `type "|V2" is not supported`},
		{file("{'descr': [('a', '<f4')]}", 0), "want a string"},
		{file("{'descr': '<f4' 'shape'}", 0), "want } in the header"},
		{file("{'fortran_order': True}", 0), "Fortran order is not supported"},
		{file("{'fortran_order': 0}", 0), "want False"},
		{file("{'size': 1}", 0), `unknown key "size"`},
		{file("{"+order+", "+order+"}", 0), `key "fortran_order" twice`},
		{file("{"+order+", "+shape+"}", 8), "want descr, fortran_order and shape"},
		{file("{'descr': '<f4', "+order+", "+shape+"} x", 8), "text after the header's dictionary"},
		{file("{'shape': 2}", 0), "want ( in the header"},
		{file("{'shape': (2)}", 0), "the shape is a number"},
		{file("{'shape': (2 3)}", 0), "want , or ) in the shape"},
		{file("{'shape': (-2,)}", 0), "want a dimension"},
		{file("{'shape': (,)}", 0), "want a dimension"},
		{file("{'shape': (99999999999999999999,)}", 0), "want a dimension"},
		{file("{'shape': (2,", 0), "want a dimension"},
		{file("{'descr': '<f4', "+order+", 'shape': (9000000000, 9000000000)}", 0), "npy: offset 10: shape [9000000000 9000000000]: too many elements"},
		{file("{'descr': '<f4', "+order+", 'shape': (9000000000000000000,)}", 0), "too many bytes"},
		{file("{'descr': '<f4', "+order+", 'shape': (1000000000000,)}", 0), "0 bytes, want 4000000000000 for"},
		{file("{'descr': '<f4', "+order+", "+shape+"}", 7), "npy: offset 65: 7 bytes, want 8 for [2] of F32"},
		{file("{'descr': '<f4', "+order+", "+shape+"}", 9), "9 bytes, want 8"},
	}
	for _, tt := range tests {
		a, err := npy.Read(tt.in)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Read(%q) = %v, %v, want %q", tt.in, a, err, tt.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", 8))
	f.Add(file(`{"shape":(1,2,3),"descr":"|u1","fortran_order":False}`, 6))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := npy.Read(b)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "npy: offset ") {
				t.Errorf("error %q names no offset", err)
			}
			return
		}
		var again bytes.Buffer
		if err := npy.Write(&again, a.DType, a.Shape, a.Data); err != nil {
			if strings.Contains(err.Error(), "limit") {
				return // our header has more spaces than the one that was read
			}
			t.Fatal(err)
		}
		if got, err := npy.Read(again.Bytes()); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("Read(Write(%v)) = %v, %v", a, got, err)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(0), uint8(2), []byte("01234567"))
	f.Add(uint8(1), uint8(3), []byte("01"))
	f.Fuzz(func(t *testing.T, dtype, rank uint8, data []byte) {
		types := []tensor.DType{tensor.F32, tensor.F16, tensor.I32, tensor.I64, tensor.U8, tensor.I8, tensor.F64, tensor.I16, tensor.U16, tensor.U32, tensor.U64, tensor.Bool}
		dt := types[int(dtype)%len(types)]
		data = data[:len(data)-len(data)%dt.Bytes()]
		shape := append(slices.Repeat([]int{1}, int(rank%5)), len(data)/dt.Bytes())
		var b bytes.Buffer
		if err := npy.Write(&b, dt, shape, data); err != nil {
			t.Fatal(err)
		}
		want := npy.Array{DType: dt, Shape: shape, Data: data}
		if got, err := npy.Read(b.Bytes()); err != nil || !slices.Equal(got.Shape, shape) || got.DType != dt || !bytes.Equal(got.Data, data) {
			t.Errorf("Read(Write(%v)) = %v, %v", want, got, err)
		}
		if (b.Len()-len(data))%64 != 0 {
			t.Errorf("the data start at offset %d, want a multiple of 64", b.Len()-len(data))
		}
	})
}
