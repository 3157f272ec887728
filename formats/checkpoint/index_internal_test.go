package checkpoint

import (
	"path/filepath"
	"testing"
)

func FuzzDecodeIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{},"weight_map":{"w":"a.safetensors","v":"b.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"w":"../a"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseIndex(b)
		if err != nil {
			return
		}
		for name, file := range m {
			if filepath.Base(file) != file || !filepath.IsLocal(file) {
				t.Errorf("tensor %q: %q leads out of the folder", name, file)
			}
		}
	})
}
