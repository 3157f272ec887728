package gguf_test

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/gguf"
	"github.com/llima-build/llima/formats/tensor"
)

// TestSourceForms: what is carried of a source is what its rows are, whatever
// the order in the file.
func TestSourceForms(t *testing.T) {
	for _, c := range []struct{ file, name string }{
		{"bard-3m-Q4_K_M", "model.layers.1.self_attn.q_proj.weight"},
		{"bard-3m-Q4_K_M", "model.layers.3.mlp.down_proj.weight"},
		{"llama", "model.layers.0.self_attn.k_proj.weight"},
		{"lfm2", "model.layers.0.conv.conv.weight"},
		{"qwen2", "model.layers.0.self_attn.q_proj.bias"},
	} {
		m := open(t, filepath.Join(models, c.file+".gguf"))
		sources, err := m.Sources()
		if err != nil {
			t.Fatal(err)
		}
		s, ok := sources[c.name]
		if !ok {
			t.Fatalf("%s: no %s", c.file, c.name)
		}
		rows, cols := s.Rows()
		want := values(t, m, s)
		row, got := make([]float32, cols), make([]float32, 0, len(want))
		for i := range rows {
			if err := m.Row(s, row, i); err != nil {
				t.Fatal(err)
			}
			got = append(got, row...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %s: rows differ", c.file, c.name)
		}
		if _, codes := s.Type.Coding(); !codes {
			checkBF16(t, m, s, want)
			continue
		}
		coded, err := m.Coded(s)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			if bad := proof(coded, i, want[i*cols:(i+1)*cols]); bad > 0 {
				t.Errorf("%s: %s: row %d: %d weights differ", c.file, c.name, i, bad)
			}
		}
		if _, err := m.BF16(s, true); err == nil || !strings.Contains(err.Error(), `is no type of plain numbers (tensor "blk.`) {
			t.Errorf("BF16() = %v, want an error", err)
		}
	}
}

func checkBF16(t *testing.T, m *gguf.Model, s gguf.Source, want []float32) {
	t.Helper()
	b, err := m.BF16(s, false)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, len(b)/2)
	if err := tensor.ToF32(got, b, tensor.BF16); err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got, want, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
		t.Errorf("%s: BF16 differs", s.Name)
	}
	if _, err := m.Coded(s); err == nil || !strings.Contains(err.Error(), "holds no codes") {
		t.Errorf("Coded() = %v, want an error", err)
	}
	if err := m.Row(s, nil, 0); err == nil || !strings.Contains(err.Error(), "with room for 0 numbers") {
		t.Errorf("Row() = %v, want an error", err)
	}
}
