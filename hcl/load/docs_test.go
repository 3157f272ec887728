package load_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/format"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/hcl/load"
)

func reference(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/language.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

var expected = regexp.MustCompile(`# (error|warning): (.*)$`)

// TestDocsExamples runs every example of docs/language.md: what its comments
// say is found on their lines, and nothing else is.
func TestDocsExamples(t *testing.T) {
	blocks := strings.Split(reference(t), "```hcl\n")[1:]
	if len(blocks) < 15 {
		t.Fatalf("docs/language.md has %d examples", len(blocks))
	}
	for i, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			var want []string
			for n, line := range strings.Split(text, "\n") {
				if m := expected.FindStringSubmatch(line); m != nil {
					want = append(want, fmt.Sprintf("%d %s: %s", n+1, m[1], m[2]))
				}
			}
			cfg, diags := load.Source(filepath.Join(t.TempDir(), load.FileName), []byte(text), load.Options{})
			if !diags.HasErrors() {
				for _, m := range cfg.Models {
					diags = append(diags, lang.CheckRulesAlone(m)...)
				}
			}
			var got []string
			for _, d := range diags.Sorted() {
				if d.Subject != nil { // all but that an example has no models
					got = append(got, fmt.Sprintf("%d %s: %s", d.Subject.Start.Line, d.Severity, d.Summary))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("example\n%s\nfinds %q, want %q\n%v", text, got, want, diags)
			}
			if laid, list := format.Source("example", []byte(text)); list.HasErrors() || string(laid) != text {
				t.Errorf("example is not laid out as fmt does:\n%s\nwant\n%s", text, laid)
			}
		})
	}
}

var functionRow = regexp.MustCompile("(?m)^\\| `(.+?)` \\| `(.+?)` \\|")

// TestDocsFunctions computes every example of a function in docs/language.md.
func TestDocsFunctions(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"text/note.txt": "unseen", "text/more/b.txt": "x", "text/.hidden.txt": "x"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, load.FileName)
	if err := os.WriteFile(file, []byte("locals {\n  sizes = [1024, 4096]\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, session, diags := load.Session(file, load.Options{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	_, functions, _ := strings.Cut(reference(t), "\n## Functions\n")
	functions, _, _ = strings.Cut(functions, "\n## ")
	rows := functionRow.FindAllStringSubmatch(functions, -1)
	if len(rows) < len(lang.FunctionNames()) {
		t.Errorf("docs/language.md has %d examples for %d functions", len(rows), len(lang.FunctionNames()))
	}
	for _, row := range rows {
		got, diags := session.Eval("example", row[1], 200)
		if diags.HasErrors() || got != row[2] {
			t.Errorf("%s = %s, %v, want %s", row[1], got, diags, row[2])
		}
	}
}
