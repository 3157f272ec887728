package gguf_test

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/gguf"
)

// TestArchitectures: the architecture is that of the config.json, with what the
// conversion changed put into it, rotary frequencies and layers included.
func TestArchitectures(t *testing.T) {
	for name, want := range readExpected(t) {
		m := open(t, filepath.Join(models, name+".gguf"))
		b, err := m.Config()
		if err != nil {
			t.Fatal(err)
		}
		got, err := arch.Parse(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for key, v := range changed[name] {
			want.Config[key] = v
			if v == nil {
				delete(want.Config, key)
			}
		}
		if b, err = json.Marshal(want.Config); err != nil {
			t.Fatal(err)
		}
		original, err := arch.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		g, w := reflect.ValueOf(*got), reflect.ValueOf(*original)
		for i := range g.NumField() {
			f := g.Type().Field(i)
			if f.IsExported() && !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
				t.Errorf("%s: %s = %v, want %v", name, f.Name, g.Field(i), w.Field(i))
			}
		}
		checkTensors(t, name, m, got)
	}
}

// checkTensors finds every tensor that the graphs read among the sources.
func checkTensors(t *testing.T, name string, m *gguf.Model, c *arch.Config) {
	t.Helper()
	sources, err := m.Sources()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{c.EmbeddingName(): true}
	for _, id := range c.Parts() {
		for _, want := range c.Tensors(id) {
			seen[want.Name] = true
			if s, ok := sources[want.Name]; !ok || !slices.Equal(s.Shape, want.Shape) {
				t.Errorf("%s: %q has shape %v, want %v", name, want.Name, s.Shape, want.Shape)
			}
		}
	}
	if len(seen) != len(sources) {
		t.Errorf("%s: graphs read %d of %d tensors", name, len(seen), len(sources))
	}
}
