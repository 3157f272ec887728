package source_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/formats/tensor"
)

const (
	models = "../../testdata/models/"
	ggufs  = "../../testdata/gguf/"
	packed = models + "compressed-tensors/awq-w4a16-asym-g128"
)

func open(t *testing.T, path string) *source.Model {
	t.Helper()
	m, err := source.Open(path, source.Auto)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// TestDetect finds out what a source is, without reading weights.
func TestDetect(t *testing.T) {
	renamed := filepath.Join(t.TempDir(), "model.bin")
	b, err := os.ReadFile(ggufs + "llama.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(renamed, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		models + "bard-3m": source.HF, ggufs + "llama.gguf": source.GGUF, renamed: source.GGUF, packed: source.CompressedTensors,
		"nothing.gguf": source.GGUF,
	} {
		if got, err := source.Detect(path, source.Auto); err != nil || got != want {
			t.Errorf("Detect(%s) = %q, %v, want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"nothing", renamed + "x"} {
		if got, err := source.Detect(path, ""); err == nil {
			t.Errorf("Detect(%s) = %q, want an error", path, got)
		}
	}
	if _, _, err := source.ReadConfig("nothing.gguf", ""); err == nil || !strings.Contains(err.Error(), "file does not exist") {
		t.Errorf("ReadConfig of nothing = %v", err)
	}
}

// TestPlain compares plain weights of GGUF files with those of the checkpoints
// that they were made of: rows back in their order, norms without the 1 that
// Gemma's conversion added.
func TestPlain(t *testing.T) {
	for _, family := range []string{"llama", "gemma", "qwen2", "lfm2"} {
		g, hf := open(t, ggufs+family+".gguf"), open(t, models+"families/"+family)
		compared := 0
		for _, name := range g.Names() {
			w, _ := g.Weight(name)
			want, ok := hf.Weight(name)
			if !ok || w.Coded() {
				continue
			}
			a, b := floats(t, g, w), floats(t, hf, want)
			if len(a) != len(b) {
				t.Errorf("%s: %s has %d elements, want %d", family, name, len(a), len(b))
				continue
			}
			for i := range a {
				if d := a[i] - b[i]; d > 1e-7 || d < -1e-7 {
					t.Errorf("%s: %s: element %d is %v, want %v", family, name, i, a[i], b[i])
					break
				}
			}
			compared++
		}
		if compared < 10 {
			t.Errorf("%s: %d weights were compared", family, compared)
		}
	}
}

func floats(t *testing.T, m *source.Model, w *source.Weight) []float32 {
	t.Helper()
	b, err := m.Plain(w)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float32, len(b)/w.PlainType().Bytes())
	if err := tensor.ToF32(out, b, w.PlainType()); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestParts checks that a weight's parts are where its bytes are, and that
// what a file of weights lists covers them.
func TestParts(t *testing.T) {
	for _, path := range []string{models + "bard-3m", ggufs + "bard-3m-Q4_1.gguf", packed} {
		m := open(t, path)
		have := map[source.Part]bool{}
		for _, file := range m.Files() {
			list, err := source.Ranges(filepath.Join(m.Dir(), file))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range list {
				have[p] = true
			}
		}
		coded := 0
		for _, name := range m.Names() {
			w, _ := m.Weight(name)
			for _, p := range w.Parts {
				if !have[p] {
					t.Errorf("%s: part %+v of %s is in no file", path, p, name)
				}
			}
			switch {
			case w.Coded():
				coded++
				c, err := m.Carry(w)
				if err != nil {
					t.Errorf("%s: Carry(%s) = %v", path, name, err)
				} else if c.Coding != w.Coding && c.Offset != 0 {
					t.Errorf("%s: %s is %v, said to be %v", path, name, c.Coding, w.Coding)
				}
			case w.Raw:
				b, err := os.ReadFile(filepath.Join(m.Dir(), w.Parts[0].File))
				if err != nil {
					t.Fatal(err)
				}
				got, err := m.Bytes(w)
				if p := w.Parts[0]; err != nil || !bytes.Equal(got, b[p.Offset:p.Offset+p.Length]) {
					t.Errorf("%s: Bytes(%s) are not its part, %v", path, name, err)
				}
			}
		}
		if (coded > 0) == (m.Format() == source.HF) {
			t.Errorf("%s: %d weights are codes", path, coded)
		}
		if config, ok, err := m.Aux("config.json"); !ok || err != nil || !bytes.Equal(config, m.Config()) {
			t.Errorf("%s: config.json = %v, %v", path, ok, err)
		}
	}
}
