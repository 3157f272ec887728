package runtime_test

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the tables of docs/support.md")

// supportRow is a line of a table of docs/support.md: figures are average
// differences as parts of the standard deviation.
type supportRow struct {
	name, format, oracle    string
	hidden, prefill, decode float64
}

func (r supportRow) String() string {
	percent := func(f float64) string { return fmt.Sprintf("%.2f %%", 100*f) }
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |", r.name, r.format, percent(r.hidden), percent(r.prefill), percent(r.decode), r.oracle)
}

const supportFile = "../../docs/support.md"

// checkSupport holds a table of docs/support.md to what was measured: the same
// rows, and figures within a tenth, since kernels differ between CPUs in the
// order of their sums.
func checkSupport(t *testing.T, name string, rows []supportRow) {
	t.Helper()
	doc, err := os.ReadFile(supportFile)
	must(t, err)
	begin, end := "<!-- "+name+": made by go test ./modalix/runtime -update -->\n", "<!-- end -->\n"
	head, rest, ok := strings.Cut(string(doc), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table %s", supportFile, name)
	}
	lines := []string{"| checkpoint | format | hidden states | logits, prefill | logits, decode | oracle |", "|---|---|---|---|---|---|"}
	for _, r := range rows {
		lines = append(lines, r.String())
	}
	if *update {
		text := head + begin + strings.Join(lines, "\n") + "\n" + end + tail
		must(t, os.WriteFile(supportFile, []byte(text), 0o644))
		return
	}
	have := strings.Split(strings.TrimSpace(old), "\n")
	if len(have) != len(lines) {
		t.Fatalf("table %s has %d lines, want %d; run the test with -update", name, len(have), len(lines))
	}
	for i, want := range lines {
		if !sameLine(have[i], want) {
			t.Errorf("table %s: %s\nmeasured %s\nrun the test with -update", name, have[i], want)
		}
	}
}

// sameLine compares cells: as text, or as percentages.
func sameLine(a, b string) bool {
	x, y := strings.Split(a, "|"), strings.Split(b, "|")
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		var p, q float64
		if n, _ := fmt.Sscanf(x[i], "%f %%", &p); n == 1 {
			if n, _ := fmt.Sscanf(y[i], "%f %%", &q); n == 1 && math.Abs(p-q) <= 0.1*math.Max(p, q)+0.01 {
				continue
			}
		}
		if x[i] != y[i] {
			return false
		}
	}
	return true
}
