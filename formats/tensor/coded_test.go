package tensor_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/tensor"
)

func TestCoded(t *testing.T) {
	c := tensor.Coding{Codes: tensor.Int8, GroupSize: 2, Scale: tensor.F16, Offset: tensor.F32}
	m := tensor.NewCoded(c, 2, 3)
	copy(m.Codes, []int8{1, -2, 3, 0, 4, -128})
	copy(m.Scales, []float32{0.5, 2, 0.25, 1})
	copy(m.Offsets, []float32{1, 0, -1, 0.1})
	got := make([]float32, 3)
	if m.Weights(got, 0); !slices.Equal(got, []float32{1.5, 0, 6}) {
		t.Errorf("Weights(0) = %v", got)
	}
	if m.Weights(got, 1); !slices.Equal(got, []float32{-1, 0, -127.9}) {
		t.Errorf("Weights(1) = %v", got)
	}
	m.Columns = []int{2, 0, 1}
	if m.Weights(got, 0); !slices.Equal(got, []float32{0, 6, 1.5}) {
		t.Errorf("Weights(0) = %v with columns %v", got, m.Columns)
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	channel := tensor.Coding{Codes: tensor.Int4, Scale: tensor.F32}
	if channel.Groups(300) != 1 || c.Groups(3) != 2 || channel.String() != "INT4 channel F32" || c.String() != "INT8 g2 F16+F32" {
		t.Errorf("%v has %d groups, %v %d", channel, channel.Groups(300), c, c.Groups(3))
	}
	m = tensor.NewCoded(channel, 1, 3)
	m.Scales[0] = 0.1
	m.Codes[2] = -8
	m.Columns = []int{1, 2, 0}
	if m.Weights(got, 0); got[0] != float32(0.1)*-8 {
		t.Errorf("Weights(0) = %v by channel", got)
	}
}

func TestRegroup(t *testing.T) {
	for _, c := range []struct{ group, size, cols, groups int }{{12, 4, 40, 10}, {12, 6, 40, 7}, {12, 12, 40, 4}, {0, 16, 40, 3}, {64, 16, 40, 3}} {
		m := tensor.NewCoded(tensor.Coding{Codes: tensor.Int8, GroupSize: c.group, Scale: tensor.F32, Offset: tensor.F32}, 3, c.cols)
		for i := range m.Codes {
			m.Codes[i] = int8(i * 7)
		}
		for i := range m.Scales {
			m.Scales[i], m.Offsets[i] = float32(i+1), float32(i)/8
		}
		r, err := m.Regroup(c.size)
		if err != nil || r.Groups(c.cols) != c.groups || r.Check() != nil {
			t.Fatalf("Regroup(%d) of %d: %v, %v", c.size, c.group, r, err)
		}
		want, got := make([]float32, c.cols), make([]float32, c.cols)
		for i := range 3 {
			m.Weights(want, i)
			r.Weights(got, i)
			if !slices.Equal(got, want) {
				t.Errorf("Regroup(%d) of %d: row %d = %v, want %v", c.size, c.group, i, got, want)
			}
		}
	}
	m := tensor.NewCoded(tensor.Coding{Codes: tensor.Int8, GroupSize: 12, Scale: tensor.F32}, 1, 40)
	for _, size := range []int{0, -1, 5, 24} {
		if _, err := m.Regroup(size); err == nil {
			t.Errorf("Regroup(%d) of 12 = nil, want an error", size)
		}
	}
	m.GroupSize = 0
	if _, err := m.Regroup(0); err == nil {
		t.Error("Regroup(0) of a row = nil, want an error")
	}
}

func TestCodedCheck(t *testing.T) {
	for _, c := range []struct {
		codes     tensor.CodeType
		dt        tensor.DType
		code      int8
		scale, of float32
		want      string
	}{
		{tensor.Int4, tensor.F32, 8, 1, 0, "row 0, column 17: code 8 is outside INT4"},
		{tensor.UInt4, tensor.F32, -1, 1, 0, "code -1 is outside UINT4"},
		{tensor.Int8, tensor.F16, 1, 0.1, 0, "row 0, group 1: scale 0.1 is no F16"},
		{tensor.Int8, tensor.BF16, 1, 1, 0.1, "offset 0.1 is no BF16"},
		{tensor.Int8, tensor.F32, 1, float32(math.NaN()), 0, "scale NaN and offset 0 give weights that are not finite"},
		{tensor.Int8, tensor.F32, 1, 1, float32(math.Inf(1)), "not finite"},
		{tensor.Int8, tensor.F32, 1, math.MaxFloat32 / 100, 0, "not finite"},
		{tensor.Int8, tensor.F32, 1, math.MaxFloat32 / 1000, 0, ""},
	} {
		m := tensor.NewCoded(tensor.Coding{Codes: c.codes, GroupSize: 16, Scale: c.dt, Offset: c.dt}, 1, 32)
		m.Codes[17], m.Scales[1], m.Offsets[1] = c.code, c.scale, c.of
		err := m.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("Check() = %v, want %q", err, c.want)
		}
	}
}
