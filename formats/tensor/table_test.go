package tensor_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/llima-build/llima/formats/tensor"
)

// TestTable reads rows back, for every type of codes, scales and offsets.
func TestTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const rows, cols = 5, 70
	for _, c := range []tensor.Coding{
		{Codes: tensor.Int8, Scale: tensor.BF16},
		{Codes: tensor.Int4, GroupSize: 32, Scale: tensor.F16},
		{Codes: tensor.UInt4, GroupSize: 16, Scale: tensor.F32, Offset: tensor.F32},
		{Codes: tensor.Int8, GroupSize: 32, Scale: tensor.F16, Offset: tensor.F16},
	} {
		m := tensor.NewCoded(c, rows, cols)
		lo, hi := c.Codes.Range()
		for i := range m.Codes {
			m.Codes[i] = lo + int8(r.IntN(int(hi)-int(lo)+1))
		}
		for i := range m.Scales {
			m.Scales[i] = float32(r.IntN(100)+1) / 64
			if c.Offset != 0 {
				m.Offsets[i] = float32(r.IntN(100)-50) / 32
			}
		}
		table := tensor.NewTable(m)
		if got := int64(len(table.Data)); got != table.SizeBytes() {
			t.Errorf("%v: %d bytes, want %d", c, got, table.SizeBytes())
		}
		got, want := make([]float32, cols), make([]float32, cols)
		for i := range rows {
			table.Row(got, i)
			m.Weights(want, i)
			if !slices.Equal(got, want) {
				t.Errorf("%v: row %d = %v, want %v", c, i, got, want)
			}
		}
		if back, err := tensor.ParseCoding(c.String()); err != nil || back != c {
			t.Errorf("ParseCoding(%q) = %v, %v", c, back, err)
		}
	}
	for _, s := range []string{"", "BF16", "INT8", "INT8 g0 F16", "INT8 g F16", "INT8 channel F16+", "INT2 g32 F16", "INT8 channel I8", "INT8 g032 F16"} {
		if c, err := tensor.ParseCoding(s); err == nil {
			t.Errorf("ParseCoding(%q) = %v, want an error", s, c)
		}
	}
}
