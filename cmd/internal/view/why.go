package view

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// inputVerb says what happened to an input, "" for reasons of another kind.
func inputVerb(c fingerprint.Code) string {
	switch c { //nolint:exhaustive // the others are not about inputs
	case fingerprint.InputChanged, fingerprint.UpstreamChanged:
		return "changed"
	case fingerprint.InputAdded:
		return "new"
	case fingerprint.InputRemoved:
		return "gone"
	}
	return ""
}

// ReasonText says a reason in a few words.
func ReasonText(r fingerprint.Reason) string {
	switch r.Code {
	case fingerprint.NeverBuilt:
		return "never built"
	case fingerprint.Interrupted:
		if r.Name != "" {
			return "not finished: " + r.Name
		}
		return "not finished last time"
	case fingerprint.ParamChanged:
		if strings.HasPrefix(r.New, "[") || strings.HasPrefix(r.New, "{") {
			return r.Name + " changed" // lists are too long to show
		}
		text := fmt.Sprintf("%s: %s → %s", r.Name, orNone(r.Old), orNone(r.New))
		if r.Where != "" {
			text += ", " + r.Where
		}
		return text
	case fingerprint.InputChanged:
		if r.Where != "" {
			return "changed: " + trimKind(r.Name) + ", " + r.Where
		}
		return "changed: " + trimKind(r.Name)
	case fingerprint.InputAdded:
		return "new: " + trimKind(r.Name)
	case fingerprint.InputRemoved:
		return "gone: " + trimKind(r.Name)
	case fingerprint.UpstreamChanged:
		return "rebuilt: " + r.Name
	case fingerprint.ToolChanged:
		return "llima's " + r.Name + " stage is another version"
	case fingerprint.OutputMissing:
		return "missing: " + r.Name
	case fingerprint.OutputModified:
		return "modified: " + r.Name
	case fingerprint.Forced:
		return "forced"
	}
	return string(r.Code)
}

func trimKind(name string) string {
	for _, kind := range []string{"tensor/", "file/", "shard/"} {
		name = strings.TrimPrefix(name, kind)
	}
	return name
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Why shows one target: its state, each reason, and what it reads or, while
// that is not known, what it waits for.
func Why(w io.Writer, p *planner.Plan, d *planner.Decision, columns int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %s\n", d.Target.Addr, stateText(d))
	t := table{align: "lll", columns: columns}
	for _, r := range d.Reasons {
		row := []string{string(r.Code), ReasonText(r)}
		if inputVerb(r.Code) != "" && r.Old != "" && r.New != "" {
			row = append(row, r.Old+" → "+r.New)
		}
		t.add(row...)
	}
	t.write(&b)
	if waits := waiting(p, d); len(waits.rows) > 0 {
		b.WriteString("\nit waits for\n")
		waits.columns = columns
		waits.write(&b)
	}
	reads(&b, d, columns)
	_, err := io.WriteString(w, b.String())
	return err
}

func stateText(d *planner.Decision) string {
	switch d.State {
	case planner.Fresh:
		text := "fresh"
		if d.LastMillis > 0 {
			text += fmt.Sprintf(": nothing that it reads has changed since it was built, in %.2fs", float64(d.LastMillis)/1000)
		}
		return text
	case planner.Run:
		return "stale"
	case planner.Restore:
		if d.With != nil {
			return "stale, and shares what " + d.With.Addr.String() + " makes"
		}
		return "stale, and can be restored from the store"
	case planner.MayRun:
		return "stale if what it reads changes"
	}
	return "unknown"
}

// maxWaits is how many dependencies why lists: PACKAGE waits for hundreds.
const maxWaits = 12

// waiting lists the dependencies that are stale, and why they are. Those that
// only wait themselves come last.
func waiting(p *planner.Plan, d *planner.Decision) table {
	t := table{align: "lll"}
	if d.Key != "" {
		return t
	}
	var ups []*planner.Decision
	for _, dep := range d.Target.Deps {
		if up := p.Of(dep); up != nil && up.State != planner.Fresh && up.Key == "" || up != nil && up.State == planner.Run {
			ups = append(ups, up)
		}
	}
	slices.SortStableFunc(ups, func(a, b *planner.Decision) int { return order(a.State) - order(b.State) })
	for i, up := range ups {
		if i == maxWaits {
			t.add("", fmt.Sprintf("and %d more", len(ups)-maxWaits))
			break
		}
		reason := ""
		if len(up.Reasons) > 0 {
			reason = ReasonText(up.Reasons[0])
		}
		t.add(up.State.String(), up.Target.Addr.String(), reason)
	}
	return t
}

// reads lists what a target's key is made of, as far as it is known.
func reads(b *strings.Builder, d *planner.Decision, columns int) {
	head := "\nit reads"
	if d.Key != "" {
		head = "\nkey " + d.Key.Short() + " reads"
	}
	b.WriteString(head + "\n")
	t := table{align: "lll", columns: columns}
	for _, name := range slices.Sorted(maps.Keys(d.Preimage.Params)) {
		value := string(d.Preimage.Params[name])
		if len(value) > 48 {
			value = value[:45] + "..."
		}
		t.add(name, value, d.Target.Where[name])
	}
	for _, in := range d.Preimage.Inputs {
		t.add(in.Name, in.Digest.Short(), d.Target.Where[in.Name])
	}
	t.write(b)
}
