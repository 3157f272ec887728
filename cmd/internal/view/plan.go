package view

import (
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/planner"
)

// PlanOptions says how a plan is shown.
type PlanOptions struct {
	All       bool // list every target, fresh ones too
	Color     bool
	Columns   int               // width of the terminal, 0 where there is none
	Variables []config.Variable // of the configuration
	Board     config.Board      // its name is "" where none is named
	Jobs      int               // with which time is estimated
	Rooms     []executor.Room   // what a build needs, for each file system
	Folder    string            // of the configuration, as places in it name it
}

// Plan shows what the rules decide and what is stale, model by model.
func Plan(w io.Writer, p *planner.Plan, o PlanOptions) error {
	var b strings.Builder
	overrides(&b, o.Variables)
	for i, m := range p.Graph.Models {
		if i > 0 {
			b.WriteString("\n")
		}
		planModel(&b, p, m, o)
	}
	b.WriteString("\n")
	for _, line := range flow(summary(p, o), " · ", o.Columns) {
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// overrides lists the variables that have another value than their default,
// with where it comes from.
func overrides(b *strings.Builder, variables []config.Variable) {
	t := table{align: "lll"}
	for _, v := range variables {
		if v.From != "default" {
			t.add("var."+v.Name+" = "+v.Value, "from "+v.From)
		}
	}
	if len(t.rows) > 0 {
		b.WriteString("variables\n")
		t.write(b)
		b.WriteString("\n")
	}
}

// summary counts what a build would do, and says what that takes.
func summary(p *planner.Plan, o PlanOptions) []string {
	n := p.Count()
	shared := 0
	for _, d := range p.Decisions {
		if d.With != nil {
			shared++
		}
	}
	parts := []string{fmt.Sprintf("%d to run", n[planner.Run])}
	for _, c := range []struct {
		count int
		text  string
	}{{n[planner.MayRun], "may run"}, {shared, "shared"}, {n[planner.Restore] - shared, "restored from the store"}} {
		if c.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.count, c.text))
		}
	}
	parts = append(parts, fmt.Sprintf("%d fresh", n[planner.Fresh]))
	if wall, known := p.Wall(o.Jobs); known && p.Stale() {
		parts = append(parts, "~"+roughly(wall)+" from history")
	}
	for _, r := range o.Rooms {
		if r.NeedBytes == 0 {
			continue
		}
		text := fmt.Sprintf("needs up to %s of disk, %s free", Bytes(r.NeedBytes), Bytes(r.FreeBytes))
		if len(o.Rooms) > 1 {
			text += " on " + r.Folders[0]
		}
		parts = append(parts, text)
	}
	return parts
}

// roughly returns a duration to one unit: what is estimated is not known to
// more.
func roughly(d time.Duration) string {
	switch {
	case d < time.Second:
		return "1s"
	case d < 90*time.Second:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < 90*time.Minute:
		return fmt.Sprintf("%.0fm", d.Minutes())
	default:
		return fmt.Sprintf("%.1fh", d.Hours())
	}
}

func planModel(b *strings.Builder, p *planner.Plan, m *planner.Model, o PlanOptions) {
	c := m.Config
	fmt.Fprintf(b, "%s  %s · %s · %s · context %d\n  %s → %s\n\n", paint(o.Color, bold, printable(c.Name)),
		printable(path.Base(strings.ReplaceAll(c.SourceText, "\\", "/"))), m.Properties().Format,
		plural(m.Arch.NumHiddenLayers, "layer"), c.ContextTokens, printable(c.SourceText), printable(c.OutputText))
	rules(b, m, o)
	if k := c.Calibration; len(m.Calibration) > 0 {
		text := k.DatasetText
		if k.Dataset == config.Self {
			text = "text of its own"
		}
		fmt.Fprintf(b, "  calibrated on %s of %s, %s\n", plural(k.Samples, "sample"), plural(k.SampleTokens, "token"),
			printable(fmt.Sprintf("%s (%s)", text, shortPlace(k.DatasetRange.String()))))
	}
	b.WriteString("\n")
	precisionMap(b, p, m, o)
	sizes(b, m, o)
	changes(b, p, m, o)
}

// rules lists each rule with what it decided.
func rules(b *strings.Builder, m *planner.Model, o PlanOptions) {
	t := table{align: "llrlr", columns: o.Columns}
	t.add("rule", "at", "parts", "precision", "weights")
	for _, r := range m.RuleTotals() {
		size, precision := Bytes(r.WeightBytes), m.StoredIn(r.Precision, false).String()
		switch {
		case r.Compiled == 0:
			size, precision = "–", "not compiled"
		case r.Precision == "":
			precision = "several"
		}
		t.add(r.Name, shortPlace(r.Where), fmt.Sprint(r.Parts), precision, size)
	}
	at := ""
	if q := m.Config.Quantization; q != nil && q.Head != "" {
		at = q.HeadRange.String()
	}
	for _, head := range m.Heads() {
		t.add("(output head)", shortPlace(at), "", head.String(), "") // its weights are counted where its part is
	}
	embeddings := string(config.BF16)
	if m.Config.QuantizeEmbeddings {
		embeddings = "INT8"
	}
	t.add("(embeddings)", "", "", embeddings, Bytes(m.EmbeddingBytes()))
	t.write(b)
}

// shortPlace is a place in a file without its folder, "llima.hcl:12".
func shortPlace(where string) string {
	return where[strings.LastIndexAny(where, `/\`)+1:]
}

// flow joins pieces into lines of at most columns characters; 0 is no limit.
func flow(pieces []string, between string, columns int) []string {
	var lines []string
	for _, p := range pieces {
		if n := len(lines); n > 0 && (columns == 0 || cells(lines[n-1]+between+p) <= columns) {
			lines[n-1] += between + p
		} else {
			lines = append(lines, p)
		}
	}
	return lines
}

// Colours of states, legible on dark and on light ground; nothing is said by
// colour alone.
const (
	green   = "\x1b[32m"
	magenta = "\x1b[35m"
	cyan    = "\x1b[36m"
)

// paint puts text between escapes where colours are welcome.
func paint(color bool, style, text string) string {
	if !color || style == "" || text == "" {
		return text
	}
	return style + text + reset
}
