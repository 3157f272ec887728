package gguf_test

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/tensor"
)

// TestConverted compares what llama.cpp's own converter and quantiser made of
// a trained model with the model: order of rows, names and all. Four and six
// bits are within a tenth; a row in another place is not.
func TestConverted(t *testing.T) {
	m := open(t, filepath.Join(models, "bard-3m-Q4_K_M.gguf"))
	c, err := checkpoint.Open("../../testdata/models/bard-3m")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // read only
	sources, err := m.Sources()
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) != len(c.Tensors()) {
		t.Errorf("%d tensors, want %d", len(sources), len(c.Tensors()))
	}
	for _, info := range c.Tensors() {
		b, err := c.Bytes(info)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float32, len(b)/info.DType.Bytes())
		if err := tensor.ToF32(want, b, info.DType); err != nil {
			t.Fatal(err)
		}
		s, ok := sources[info.Name]
		if !ok || !slices.Equal(s.Shape, info.Shape) {
			t.Errorf("%s: shape %v, want %v", info.Name, s.Shape, info.Shape)
			continue
		}
		got := values(t, m, s)
		var diff, sum float64
		for i, w := range want {
			diff += math.Pow(float64(got[i]-w), 2)
			sum += math.Pow(float64(w), 2)
		}
		if r := math.Sqrt(diff / sum); r > 0.1 || len(info.Shape) == 1 && r > 0 {
			t.Errorf("%s: %v differs by %.3f of the weights' size", info.Name, s.Type, r)
		}
	}
	converted, err := m.Config()
	if err != nil {
		t.Fatal(err)
	}
	got, err := arch.Parse(converted)
	if err != nil {
		t.Fatal(err)
	}
	original, err := arch.Parse(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	if got.Architecture != original.Architecture || !slices.EqualFunc(got.Ropes, original.Ropes, func(a, b arch.Rope) bool { return slices.Equal(a.Inv, b.Inv) }) || got.RMSNormEps != original.RMSNormEps {
		t.Errorf("Config() = %s, want that of config.json", converted)
	}
}
