package onnx_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/llima-build/llima/formats/onnx"
)

var update = flag.Bool("update", false, "rewrite the golden model")

// sample uses everything that Model holds and runs in ONNX Runtime: a float
// projection on BF16 weights and quantised ones of 4 and 8 bits, their bytes
// in weights.bin.
func sample() *onnx.Model {
	const m, k, n = 2, 64, 16
	f32s := func(values ...float32) []byte {
		var b []byte
		for _, v := range values {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		return b
	}
	ones := make([]float32, k)
	for i := range ones {
		ones[i] = 1
	}
	value := func(name string, dt onnx.DataType, dims ...int64) onnx.ValueInfo {
		return onnx.ValueInfo{Name: name, DType: dt, Dims: dims}
	}
	external := func(name string, dt onnx.DataType, offset, length int64, dims ...int64) onnx.Tensor {
		return onnx.Tensor{
			Name: name, DType: dt, Dims: dims,
			External: &onnx.External{Location: "weights.bin", Offset: offset, Length: length},
		}
	}
	integer := func(name string, v int64) onnx.Attr { return onnx.Attr{Name: name, Kind: onnx.AttrInt, Int: v} }
	return &onnx.Model{
		Opset:    23,
		Producer: "llima",
		Metadata: []onnx.Property{{Key: "llima.part", Value: "PRE"}, {Key: "llima.phase", Value: "decode"}},
		Graph: onnx.Graph{
			Name: "sample",
			Nodes: []onnx.Node{
				{
					Name: "norm", Op: "RMSNormalization", Inputs: []string{"x", "gamma"}, Outputs: []string{"normed"},
					Attrs: []onnx.Attr{integer("axis", -1), {Name: "epsilon", Kind: onnx.AttrFloat, Float: 1e-5}},
				},
				{Op: "Cast", Inputs: []string{"w16"}, Outputs: []string{"w16.f32"}, Attrs: []onnx.Attr{integer("to", int64(onnx.Float))}},
				{Op: "Gemm", Inputs: []string{"normed", "w16.f32"}, Outputs: []string{"a"}, Attrs: []onnx.Attr{integer("transB", 1)}},
				{
					Op: "DequantizeLinear", Inputs: []string{"w4", "w4.scales"}, Outputs: []string{"w4.f16"},
					Attrs: []onnx.Attr{integer("axis", 0), integer("block_size", 32)},
				},
				{Op: "Cast", Inputs: []string{"w4.f16"}, Outputs: []string{"w4.f32"}, Attrs: []onnx.Attr{integer("to", int64(onnx.Float))}},
				{Op: "MatMul", Inputs: []string{"normed", "w4.f32"}, Outputs: []string{"b"}},
				{
					Op: "DequantizeLinear", Inputs: []string{"w8", "w8.scales"}, Outputs: []string{"w8.f32"},
					Attrs: []onnx.Attr{integer("axis", 1)},
				},
				{Op: "MatMul", Inputs: []string{"normed", "w8.f32"}, Outputs: []string{"c"}},
				{Op: "Add", Inputs: []string{"a", "b"}, Outputs: []string{"ab"}},
				{Op: "Add", Inputs: []string{"ab", "c"}, Outputs: []string{"sum"}},
				{Op: "Clip", Inputs: []string{"sum", "", "limit"}, Outputs: []string{"clipped"}},
				{Op: "Transpose", Inputs: []string{"clipped"}, Outputs: []string{"y"}, Attrs: []onnx.Attr{{Name: "perm", Kind: onnx.AttrInts, Ints: []int64{1, 0}}}},
			},
			Initializers: []onnx.Tensor{
				{Name: "gamma", DType: onnx.Float, Dims: []int64{k}, Raw: f32s(ones...)},
				external("w16", onnx.BFloat16, 64, 2*n*k, n, k),
				external("w4", onnx.Int4, 64+2*n*k, k*n/2, k, n),
				external("w4.scales", onnx.Float16, 64+2*n*k+k*n/2, k/32*n*2, k/32, n),
				external("w8", onnx.Int8, 4096, k*n, k, n),
				external("w8.scales", onnx.Float, 4096+k*n, 4*n, n),
				{Name: "limit", DType: onnx.Float, Raw: f32s(100)},
			},
			Inputs:  []onnx.ValueInfo{value("x", onnx.Float, m, k)},
			Outputs: []onnx.ValueInfo{value("y", onnx.Float, n, m)},
			Values: []onnx.ValueInfo{
				value("normed", onnx.Float, m, k), value("w4.f16", onnx.Float16, k, n), value("sum", onnx.Float, m, n),
			},
		},
	}
}

// every has each attribute kind, data type and corner of the message types,
// whether or not it makes sense to ONNX.
func every() *onnx.Model {
	g := onnx.Graph{Nodes: []onnx.Node{{Op: "Op", Attrs: []onnx.Attr{
		{Name: "f", Kind: onnx.AttrFloat, Float: float32(math.Copysign(0, -1))},
		{Name: "i", Kind: onnx.AttrInt, Int: math.MinInt64},
		{Name: "s", Kind: onnx.AttrString, Str: "\xff\x00"},
		{Name: "fs", Kind: onnx.AttrFloats, Floats: []float32{1, float32(math.Inf(-1))}},
		{Name: "is", Kind: onnx.AttrInts, Ints: []int64{0, -1, math.MaxInt64}},
		{Name: "none", Kind: onnx.AttrInts},
	}}, {}}}
	for _, dt := range dtypes {
		t := onnx.Tensor{Name: dt.String(), DType: dt, Dims: []int64{3, 5}}
		size, err := t.SizeBytes()
		if err != nil {
			panic(err)
		}
		t.Raw = bytes.Repeat([]byte{7}, int(size))
		g.Initializers = append(g.Initializers, t)
		g.Values = append(g.Values, onnx.ValueInfo{Name: dt.String(), DType: dt})
	}
	g.Initializers = append(g.Initializers,
		onnx.Tensor{Name: "empty", DType: onnx.Float, Dims: []int64{0, 4}},
		onnx.Tensor{Name: "far", DType: onnx.Uint8, Dims: []int64{1 << 40}, External: &onnx.External{Location: "a/b", Offset: 1 << 50, Length: 1 << 40}})
	g.Inputs = []onnx.ValueInfo{{Name: "", DType: onnx.Int64, Dims: []int64{0, 1, math.MaxInt64}}}
	return &onnx.Model{Opset: 21, Graph: g, Metadata: []onnx.Property{{}, {Key: "k"}, {Value: "v"}}}
}

var dtypes = []onnx.DataType{
	onnx.Float, onnx.Uint8, onnx.Int8, onnx.Int32, onnx.Int64, onnx.Bool, onnx.Float16, onnx.BFloat16, onnx.Uint4, onnx.Int4,
}

func TestRoundTrip(t *testing.T) {
	for name, m := range map[string]*onnx.Model{"sample": sample(), "every": every(), "zero": {}} {
		b := m.Encode()
		if !bytes.Equal(b, m.Encode()) {
			t.Errorf("%s: Encode() gives other bytes the second time", name)
		}
		got, err := onnx.Decode(b)
		if err != nil {
			t.Errorf("%s: Decode(Encode()): %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: Decode(Encode()) = %+v, want %+v", name, got, m)
		}
	}
}

// The golden was accepted by onnx.checker and ONNX Runtime: testdata/check.py.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "sample.onnx")
	got := sample().Encode()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("sample().Encode() differs from %s; go test -update rewrites it", path)
	}
}

func TestSizeBytes(t *testing.T) {
	tests := []struct {
		dt   onnx.DataType
		dims []int64
		want int64
		err  string
	}{
		{onnx.Int4, []int64{3, 3}, 5, ""},
		{onnx.Uint4, nil, 1, ""},
		{onnx.Int64, nil, 8, ""},
		{onnx.Float, []int64{0}, 0, ""},
		{onnx.Undefined, nil, 0, "data type UNDEFINED is not supported"},
		{99, nil, 0, "data type DataType(99) is not supported"},
		{onnx.Float, []int64{2, -3}, 0, "dims [2 -3]: dimension 1 is negative"},
		{onnx.Float, []int64{math.MaxInt64}, 0, "dims [9223372036854775807] of FLOAT: too large"},
		{onnx.Int4, []int64{1 << 32, 1 << 32}, 0, "dims [4294967296 4294967296] of INT4: too large"},
	}
	for _, tt := range tests {
		got, err := (&onnx.Tensor{DType: tt.dt, Dims: tt.dims}).SizeBytes()
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("SizeBytes(%v %v) = %d, %v, want %d, %q", tt.dt, tt.dims, got, err, tt.want, tt.err)
		}
	}
}
