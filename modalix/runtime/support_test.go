package runtime_test

import (
	"flag"
	"fmt"
	"testing"

	"github.com/llima-build/llima/internal/doctable"
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

// checkSupport holds a table of docs/support.md to what was measured.
func checkSupport(t *testing.T, name string, rows []supportRow) {
	t.Helper()
	lines := []string{"| checkpoint | format | hidden states | logits, prefill | logits, decode | oracle |", "|---|---|---|---|---|---|"}
	for _, r := range rows {
		lines = append(lines, r.String())
	}
	doctable.Table{File: "../../docs/support.md", Name: name, Command: "go test ./modalix/runtime -update"}.Check(t, *update, lines, doctable.SamePercent)
}
