package gguf_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/gguf"
)

var update = flag.Bool("update", false, "rewrite the table in docs/sources.md")

// TestDocs keeps the table of types in docs/sources.md.
func TestDocs(t *testing.T) {
	const path = "../../docs/sources.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(b), "-update -->\n")
	_, tail, ok2 := strings.Cut(rest, "<!-- end -->")
	if !ok || !ok2 {
		t.Fatal("docs/sources.md lacks the marks around the table of types")
	}
	want := head + "-update -->\n" + table() + "<!-- end -->" + tail
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) {
		t.Errorf("the table of types in docs/sources.md is old; run go test ./formats/gguf -run TestDocs -update")
	}
}

func table() string {
	var b strings.Builder
	b.WriteString("| type | bits a weight | carried as | scales | offsets |\n|---|---|---|---|---|\n")
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
		fmt.Fprintf(&b, "| %v | %.4g | %v, groups of %d | %v | %s |\n", typ, float64(size)*8/float64(elements), c.Codes, c.GroupSize, c.Scale, offset)
	}
	return b.String()
}
