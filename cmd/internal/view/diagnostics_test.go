package view_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/cmd/internal/view"
	"github.com/llima-build/llima/internal/diag"
)

var update = flag.Bool("update", false, "rewrite golden files")

const source = "model \"a\" {\n" +
	"\tsource = \"x\" # 模型\n" +
	"  when   = layer.part == \"VISON\" && layer.index > 3\n" +
	"  text   = \"evil \x1b]0;title\x07\"\n" +
	"  wide   = [\"模型\", nope]\n" +
	"  long   = [" + `"0123456789", "0123456789", "0123456789", "0123456789", "0123456789", nope, "0123456789", "0123456789"` + "]\n" +
	"  open   = <<END\n  text\nEND\n}\n"

// at returns the range of the first occurrence of text.
func at(text string) *diag.Range {
	from := strings.Index(source, text)
	pos := func(b int) diag.Pos {
		return diag.Pos{Line: 1 + strings.Count(source[:b], "\n"), Column: b - strings.LastIndex(source[:b], "\n"), Byte: b}
	}
	return &diag.Range{File: "llima.hcl", Start: pos(from), End: pos(from + len(text))}
}

func findings() diag.List {
	return diag.List{
		{
			Severity: diag.Error, Summary: "Value never occurs", Subject: at(`"VISON"`), Block: `model "a"`,
			Detail: `layer.part is never "VISON": it is one of "PRE", "CACHE", "POST" and "VISION". Did you mean "VISION"?`,
			Values: []string{"layer.index as 3", `layer.part as "PRE"`},
		},
		{
			Severity: diag.Warning, Summary: "Tabs", Subject: at(`"x"`), Block: `model "a"`,
			Detail: "A command stays as it is, however long the line that it stands on may be:\n\n    llima -C some/folder/that/is/quite/long build --with --many --flags --that --do --not --wrap\n\nand text goes on.",
		},
		{Severity: diag.Note, Summary: "Escapes", Detail: "from the \x1b[31msource", Subject: at("\"evil \x1b]0;title\x07\"")},
		{Severity: diag.Error, Summary: "Wide", Subject: at("nope]\n  long")},
		{Severity: diag.Error, Summary: "Long line", Subject: at("nope, \"0")},
		{Severity: diag.Error, Summary: "Several lines", Subject: at("<<END\n  text\nEND")},
		{Severity: diag.Error, Summary: "Empty range", Subject: &diag.Range{File: "llima.hcl", Start: at("source").Start, End: at("source").Start}},
		{Severity: diag.Error, Summary: "No source", Subject: &diag.Range{File: "other.hcl", Start: diag.Pos{Line: 3, Column: 1, Byte: 70}}},
		{Severity: diag.Error, Summary: "Outside", Subject: &diag.Range{File: "llima.hcl", Start: diag.Pos{Line: 99, Column: 1, Byte: 1 << 20}}},
		{Severity: diag.Error, Summary: "No place", Detail: "There is no llima.hcl."},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// TestDiagnostics holds the whole text at two widths and with color.
func TestDiagnostics(t *testing.T) {
	sources := map[string][]byte{"llima.hcl": []byte(source)}
	for name, c := range map[string]struct {
		columns int
		color   bool
	}{"plain.golden": {80, false}, "narrow.golden": {50, false}, "color.golden": {80, true}} {
		var b bytes.Buffer
		view.Diagnostics(&b, findings(), sources, c.columns, c.color)
		golden(t, "diagnostics_"+name, b.Bytes())
		if !c.color && bytes.ContainsRune(b.Bytes(), 0x1b) {
			t.Errorf("%s holds escapes", name)
		}
		for line := range strings.Lines(b.String()) {
			if trimmed := strings.TrimSuffix(line, "\n"); strings.TrimRight(trimmed, " ") != trimmed {
				t.Errorf("%s: line %q ends in spaces", name, line)
			}
		}
	}
}

// TestDiagnosticsJSON holds the whole document.
func TestDiagnosticsJSON(t *testing.T) {
	var b bytes.Buffer
	sources := map[string][]byte{"llima.hcl": []byte(source)}
	if err := view.DiagnosticsJSON(&b, findings(), sources); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b.Bytes()) {
		t.Error("DiagnosticsJSON wrote what is not JSON")
	}
	golden(t, "diagnostics.json", b.Bytes())
	b.Reset()
	if err := view.DiagnosticsJSON(&b, nil, nil); err != nil || !strings.Contains(b.String(), `"diagnostics": []`) {
		t.Errorf("DiagnosticsJSON(nil) = %s, %v", &b, err)
	}
}
