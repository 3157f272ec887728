package gguf_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/gguf"
)

func TestCarryFloat(t *testing.T) {
	f64 := func(w ...float64) (b []byte) {
		for _, f := range w {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
		}
		return b
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		typ     gguf.Type
		src     []byte
		order   []int
		convert bool
		want    []uint16
		err     string
	}{
		{gguf.F32, float32s([]float32{1, -2.5, 0, 1e30}), nil, true, []uint16{0x3f80, 0xc020, 0, 0x714a}, ""},
		{gguf.F32, float32s([]float32{1, -2.5, 0, 3}), []int{1, 0}, false, []uint16{0, 0x4040, 0x3f80, 0xc020}, ""},
		{gguf.F32, float32s([]float32{1, 2, 3, 1.001}), nil, false, nil, `row 1, column 1: 1.001 of F32 is no bfloat16; set convert = "bf16"`},
		{gguf.F32, float32s([]float32{1, 2, 3, 1.001}), nil, true, []uint16{0x3f80, 0x4000, 0x4040, 0x3f80}, ""},
		{gguf.F32, float32s([]float32{1, nan, 3, 1}), nil, true, nil, "row 0, column 1: NaN is no finite bfloat16"},
		{gguf.F32, float32s([]float32{1, 1, 1, inf}), nil, false, nil, "+Inf is no finite"},
		{gguf.F32, float32s([]float32{1, 1, 1, math.MaxFloat32}), nil, true, nil, "no finite bfloat16"},
		{gguf.F16, []byte{0, 0x3c, 0, 0x40, 1, 0x3c, 0, 0}, nil, false, nil, "row 1, column 0: 1.0009766 of F16"},
		{gguf.BF16, []byte{0x80, 0x3f, 1, 0, 0x7f, 0x7f, 0, 0x80}, []int{0, 1}, false, []uint16{0x3f80, 1, 0x7f7f, 0x8000}, ""},
		{gguf.F64, f64(1, 0.5, -2, 1+1e-12), nil, false, nil, "row 1, column 1: 1 of F64 is no bfloat16"},
		{gguf.F64, f64(1, 0.5, -2, 1+1e-12), nil, true, []uint16{0x3f80, 0x3f00, 0xc000, 0x3f80}, ""},
		{gguf.I32, make([]byte, 16), nil, true, nil, "I32 is no type of plain numbers"},
		{gguf.F32, make([]byte, 15), nil, true, nil, "do not fill 15 bytes"},
		{gguf.F32, make([]byte, 16), []int{0}, true, nil, "an order of 1 rows for a matrix of 2"},
		{gguf.F32, make([]byte, 16), []int{0, 2}, true, nil, "row 2 of a matrix of 2"},
	} {
		got, err := gguf.CarryFloat(c.typ, c.src, 2, 2, c.order, c.convert)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("CarryFloat(%v) = %v, want %q", c.typ, err, c.err)
			}
			continue
		}
		var want []byte
		for _, u := range c.want {
			want = binary.LittleEndian.AppendUint16(want, u)
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("CarryFloat(%v) = %x, %v, want %x", c.typ, got, err, want)
		}
	}
}
