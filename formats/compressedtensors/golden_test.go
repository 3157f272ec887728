package compressedtensors_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/compressedtensors"
	"github.com/llima-build/llima/formats/tensor"
)

func open(tb testing.TB, dir string) (*checkpoint.Checkpoint, *compressedtensors.Model) {
	tb.Helper()
	c, err := checkpoint.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	m, err := compressedtensors.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	return c, m
}

// float32s computes a weight's values, as they lie in the uncompressed model.
func float32s(tb testing.TB, c *checkpoint.Checkpoint, m *compressedtensors.Model, w compressedtensors.Weight) []float32 {
	tb.Helper()
	if !w.Compressed() {
		b, err := c.Bytes(w.Parts[0])
		if err != nil {
			tb.Fatal(err)
		}
		out := make([]float32, len(b)/w.Parts[0].DType.Bytes())
		if err := tensor.ToF32(out, b, w.Parts[0].DType); err != nil {
			tb.Fatal(err)
		}
		return out
	}
	coded, err := m.Carry(w)
	if err != nil {
		tb.Fatal(err)
	}
	out := make([]float32, coded.Rows*coded.Cols)
	for i := range coded.Rows {
		coded.Weights(out[i*coded.Cols:(i+1)*coded.Cols], i)
	}
	return out
}

func digest(w []float32) string {
	var b []byte
	for _, f := range w {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// TestGolden carries what llm-compressor wrote, and compares the weights that
// the codes stand for with the digests of (code − zero point) · scale.
func TestGolden(t *testing.T) {
	for name, coding := range map[string]string{
		"awq-w4a16-asym-g128": "UINT4 g128 BF16+F32",
		"gidx-w4a16-g64":      "INT4 g64 BF16",
		"gptq-w4a16-g128":     "INT4 g128 BF16",
		"gptq-w4a16-g32":      "INT4 g32 BF16",
		"gptq-w8a16-channel":  "INT8 channel BF16",
		"mixed-w4-w8":         "INT4 g64 BF16",
	} {
		dir := filepath.Join("testdata", name)
		c, m := open(t, dir)
		b, err := os.ReadFile(filepath.Join(dir, "sha256.json"))
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]string
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		if len(want) != 3 || len(m.Weights()) != len(want) {
			t.Errorf("%s: %d weights, %d digests, want 3", name, len(m.Weights()), len(want))
		}
		for _, w := range m.Weights() {
			if got := digest(float32s(t, c, m, w)); got != want[w.Name] {
				t.Errorf("%s: %q: digest %s, want %s", name, w.Name, got, want[w.Name])
			}
		}
		w, ok := m.Weight("model.layers.3.mlp.down_proj.weight")
		if !ok {
			t.Fatalf("%s: no down_proj", name)
		}
		coded, err := m.Carry(w)
		if err != nil {
			t.Fatal(err)
		}
		if coded.String() != coding || coded.Rows != 256 || coded.Cols != 512 || (coded.Columns != nil) != (name == "gidx-w4a16-g64") {
			t.Errorf("%s: carried as %v [%d, %d], %d columns, want %s", name, coded.Coding, coded.Rows, coded.Cols, len(coded.Columns), coding)
		}
	}
}
