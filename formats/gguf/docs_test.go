package gguf_test

import (
	"flag"
	"fmt"
	"testing"

	"github.com/llima-build/llima/formats/gguf"
	"github.com/llima-build/llima/internal/doctable"
)

var update = flag.Bool("update", false, "rewrite the table in docs/sources.md")

// TestDocs keeps the table of types in docs/sources.md.
func TestDocs(t *testing.T) {
	doctable.Table{
		File: "../../docs/sources.md", Name: "types", Command: "go test ./formats/gguf -run TestDocs -update",
	}.Check(t, *update, table(), nil)
}

// table returns a line for each type.
func table() []string {
	lines := []string{"| type | bits a weight | carried as | scales | offsets |", "|---|---|---|---|---|"}
	for typ := range gguf.Type(64) {
		c, ok := typ.Coding()
		if !ok {
			continue
		}
		elements, size := typ.Block()
		offset := ""
		if c.Offset != 0 {
			offset = c.Offset.String()
		}
		lines = append(lines, fmt.Sprintf("| %v | %.4g | %v, groups of %d | %v | %s |", typ, float64(size)*8/float64(elements), c.Codes, c.GroupSize, c.Scale, offset))
	}
	return lines
}
