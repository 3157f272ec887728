package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/llima-build/llima/cmd/internal/cli"
)

// TestPlanFitsTerminal holds that no line of a plan is wider than the terminal
// and that every layer is drawn, for a model of 80 layers with a rule whose
// name is long.
func TestPlanFitsTerminal(t *testing.T) {
	dir := t.TempDir()
	s := deep
	s.layers = 80
	s.sparse(t, dir)
	const rules = `model "big" {
  source = "model"
  output = "out"
  layer "late_caches_that_nobody_needs_in_this_deployment" {
    when    = layer.part == "CACHE" && layer.index > 60
    compile = false
  }
  layer "everything_else_in_the_prefill_phase_in_eight_bits" {
    when      = layer.is_group
    precision = "A_BF16_W_INT8"
  }
}
`
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, columns := range []int{80, 120} {
		env := cli.System()
		var out bytes.Buffer
		env.Stdout, env.Stderr, env.StdoutTerminal, env.Columns = &out, &out, true, columns
		set := map[string]string{"NO_COLOR": "1", "COLUMNS": strconv.Itoa(columns)}
		env.Getenv = func(name string) string { return set[name] }
		if code := cli.Main(env, []string{"plan", "-C", dir}); code != 0 {
			t.Fatalf("exit %d\n%s", code, out.String())
		}
		drawn := map[string]int{}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if n := utf8.RuneCountInString(line); n > columns {
				t.Errorf("%d columns: a line of %d: %q", columns, n, line)
			}
			if f := strings.Fields(line); len(f) == 3 && (f[1] == "p" || f[1] == "d") {
				drawn[f[0]+" "+f[1]] += len(f[2])
			}
		}
		for _, row := range []string{"PRE p", "PRE d", "CACHE p", "CACHE d", "POST p", "POST d"} {
			if drawn[row] != s.layers {
				t.Errorf("%d columns: %d layers of %s are drawn, want %d\n%s", columns, drawn[row], row, s.layers, out.String())
			}
		}
		if strings.ContainsRune(out.String(), '\x1b') {
			t.Errorf("%d columns: escapes in spite of NO_COLOR", columns)
		}
	}
}
