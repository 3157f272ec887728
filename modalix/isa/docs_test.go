package isa_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/llima-build/llima/modalix/isa"
)

// TestDocs holds docs/isa.md to the tables of this package.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/isa.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	rows := map[string]string{} // mnemonic to its row of the encoding table
	opcodes := map[string]string{}
	for line := range strings.SplitSeq(doc, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			continue
		}
		names, codes := strings.Fields(cells[1]), strings.Fields(cells[2])
		if len(names) != len(codes) {
			continue
		}
		for i, n := range names {
			rows[n], opcodes[n] = line, codes[i]
		}
	}
	for _, s := range isa.Table {
		name := strings.ToUpper(s.Name)
		if want := fmt.Sprintf("%02X", uint8(s.Op)); opcodes[name] != want {
			t.Errorf("docs/isa.md has opcode %q for %s, want %s", opcodes[name], name, want)
		}
		if want := "| " + strings.ToUpper(s.Op.Queue().String()) + " |"; !strings.Contains(rows[name], want) {
			t.Errorf("docs/isa.md: row of %s lacks queue %s", name, want)
		}
		for _, m := range s.Modes {
			if !strings.Contains(strings.ToLower(doc), m) {
				t.Errorf("docs/isa.md does not mention mode %s of %s", m, name)
			}
		}
	}
	for _, p := range isa.Params {
		if row := fmt.Sprintf("| %s | %s | %s |", p.Name, p.Value, p.Source); !strings.Contains(doc, row) {
			t.Errorf("docs/isa.md lacks %q", row)
		}
	}
	for _, g := range golden {
		if !strings.Contains(doc, g.word) {
			t.Errorf("docs/isa.md lacks the word of %s", g.text)
		}
	}
	for line := range strings.SplitSeq(example, "\n") {
		if !strings.Contains(doc, line) {
			t.Errorf("docs/isa.md lacks %q", line)
		}
	}
}
