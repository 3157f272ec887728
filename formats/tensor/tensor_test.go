package tensor_test

import (
	"math"
	"testing"

	"github.com/llima-build/llima/formats/tensor"
)

func TestDType(t *testing.T) {
	for _, d := range tensor.DTypes() {
		got, ok := tensor.ParseDType(d.String())
		if !ok || got != d {
			t.Errorf("ParseDType(%q) = %v, %v, want %v, true", d.String(), got, ok, d)
		}
		if d.Bytes() < 1 || d.Bytes() > 8 {
			t.Errorf("%v.Bytes() = %d, want 1 to 8", d, d.Bytes())
		}
	}
	for _, name := range []string{"", "f32", "F4", "DType(0)"} {
		if d, ok := tensor.ParseDType(name); ok {
			t.Errorf("ParseDType(%q) = %v, want none", name, d)
		}
	}
	if got := tensor.DType(200).String(); got != "DType(200)" {
		t.Errorf("DType(200).String() = %q, want DType(200)", got)
	}
	if tensor.DType(0).Bytes() != 0 || tensor.DType(200).Bytes() != 0 {
		t.Error("an unknown type has a size")
	}
}

func TestSizeBytes(t *testing.T) {
	tests := []struct {
		info tensor.Info
		want int64
		err  string
	}{
		{tensor.Info{DType: tensor.F32}, 4, ""},
		{tensor.Info{DType: tensor.BF16, Shape: []int{3, 5}}, 30, ""},
		{tensor.Info{DType: tensor.I64, Shape: []int{3, 0}}, 0, ""},
		{tensor.Info{DType: tensor.U8, Shape: []int{math.MaxInt64}}, math.MaxInt64, ""},
		{tensor.Info{DType: tensor.F16, Shape: []int{math.MaxInt64}}, 0, "shape [9223372036854775807] of F16: too many bytes"},
		{tensor.Info{DType: tensor.U8, Shape: []int{1 << 32, 1 << 31}}, 0, "shape [4294967296 2147483648]: too many elements"},
		{tensor.Info{DType: tensor.U8, Shape: []int{1 << 32, 1 << 32}}, 0, "shape [4294967296 4294967296]: too many elements"},
		{tensor.Info{DType: tensor.U8, Shape: []int{4, -1}}, 0, "shape [4 -1]: dimension 1 is negative"},
		{tensor.Info{Shape: []int{4}}, 0, "unknown dtype DType(0)"},
	}
	for _, tt := range tests {
		got, err := tt.info.SizeBytes()
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%+v.SizeBytes() = %d, %v, want %d, %q", tt.info, got, err, tt.want, tt.err)
		}
	}
}
