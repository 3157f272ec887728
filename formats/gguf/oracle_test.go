package gguf_test

import (
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/gguf"
	"github.com/llima-build/llima/formats/tensor"
)

// TestRandomBlocks compares random bytes, as no quantiser writes them, with
// llama.cpp's Python library: negative, subnormal and huge scales, and codes
// that the types leave unused.
func TestRandomBlocks(t *testing.T) {
	python := os.Getenv("LLIMA_ORT_PYTHON")
	if python == "" {
		t.Skip("LLIMA_ORT_PYTHON names no Python with the gguf package")
	}
	dir, rng := t.TempDir(), rand.New(rand.NewPCG(5, 6))
	const blocks = 3000
	var names []string
	for typ := range gguf.Type(50) {
		_, ok := typ.Coding()
		if !ok || typ == gguf.Q1_0 { // which the library cannot read
			continue
		}
		_, size := typ.Block()
		b := make([]byte, blocks*size)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		names = append(names, typ.String())
		if err := os.WriteFile(filepath.Join(dir, typ.String()+".bin"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "list"), []byte(strings.Join(names, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(python, filepath.Join("testdata", "dequantize.py"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for typ := range gguf.Type(50) {
		if _, ok := typ.Coding(); ok && typ != gguf.Q1_0 {
			compareRandom(t, typ, dir, blocks)
		}
	}
}

// compareRandom reads what the library wrote. A NaN may have any payload.
func compareRandom(t *testing.T, typ gguf.Type, dir string, blocks int) {
	t.Helper()
	elements, _ := typ.Block()
	src, err := os.ReadFile(filepath.Join(dir, typ.String()+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, typ.String()+".f32"))
	if err != nil {
		t.Fatal(err)
	}
	want, got := make([]float32, blocks*elements), make([]float32, blocks*elements)
	if err := tensor.ToF32(want, b, tensor.F32); err != nil {
		t.Fatal(err)
	}
	if err := gguf.Dequantize(typ, got, src); err != nil {
		t.Fatal(err)
	}
	bad, numbers := 0, 0
	for i := range want {
		switch {
		case want[i] != want[i] && got[i] != got[i]:
		case math.Float32bits(want[i]) != math.Float32bits(got[i]):
			bad++
		default:
			numbers++
		}
	}
	if bad > 0 || numbers < len(want)/2 {
		t.Errorf("%v: %d of %d values differ, %d are equal numbers", typ, bad, len(want), numbers)
	}
}
