package load_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/internal/diag"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestBad compares everything that is said of each bad file.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.hcl")
	if err != nil || len(files) < 12 {
		t.Fatalf("Glob found %d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".hcl"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, diags := load.Source("llima.hcl", src, load.Options{Version: "0.1.0"})
			if !diags.HasErrors() {
				t.Errorf("Source(%s) found no errors", file)
			}
			got := listing(diags)
			golden := strings.TrimSuffix(file, ".hcl") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("Source(%s) says\n%s\nwant\n%s", file, got, want)
			}
		})
	}
}

// listing returns diagnostics as text with exact places.
func listing(l diag.List) string {
	var b strings.Builder
	for _, d := range l {
		fmt.Fprintf(&b, "%s: %s", d.Severity, d.Summary)
		if r := d.Subject; r != nil {
			fmt.Fprintf(&b, "\n  at %s %d:%d-%d:%d", r.File, r.Start.Line, r.Start.Column, r.End.Line, r.End.Column)
		}
		if d.Block != "" {
			fmt.Fprintf(&b, " in %s", d.Block)
		}
		b.WriteString("\n  " + strings.ReplaceAll(d.Detail, "\n", "\n  ") + "\n")
		for _, v := range d.Values {
			b.WriteString("  with " + v + "\n")
		}
	}
	return b.String()
}
