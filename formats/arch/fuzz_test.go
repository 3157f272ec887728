package arch_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/llima-build/llima/formats/arch"
)

// FuzzParse mutates configurations of all families: what is accepted lists its
// tensors, and turns by finite tables.
func FuzzParse(f *testing.F) {
	b, err := os.ReadFile("testdata/configs.json")
	if err != nil {
		f.Fatal(err)
	}
	var cases []struct{ Config json.RawMessage }
	if err := json.Unmarshal(b, &cases); err != nil {
		f.Fatal(err)
	}
	for i := 0; i < len(cases); i += 7 {
		f.Add([]byte(cases[i].Config))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := arch.Parse(b)
		if err != nil {
			return
		}
		if len(c.Layers) != c.NumHiddenLayers {
			t.Fatalf("%d layers, want %d", len(c.Layers), c.NumHiddenLayers)
		}
		ids := c.Parts()
		for _, id := range ids[max(0, len(ids)-3):] {
			for _, x := range c.Tensors(id) {
				if _, err := c.Shape(x.Name); c.NumHiddenLayers <= 4 && err != nil {
					t.Fatal(err)
				}
			}
		}
		tables, err := c.RopeTables(3)
		if err != nil {
			return
		}
		for _, table := range tables {
			for _, v := range append(table.Cos, table.Sin...) {
				if v != v {
					t.Fatalf("%s holds a NaN", table.Name)
				}
			}
		}
		for _, l := range c.Layers {
			if l.Rope >= len(tables) {
				t.Fatalf("a layer turns by table %d of %d", l.Rope, len(tables))
			}
		}
	})
}
