package view

import (
	"fmt"
	"strings"

	"github.com/llima-build/llima/planner"
)

// maxDrift is how many targets are named that drifted from a saved plan.
const maxDrift = 10

// Drift says how what would be done now differs from a saved plan. Targets
// that only follow others are counted where some say why they differ.
func Drift(drift []planner.Drift, columns int) string {
	var b strings.Builder
	t := table{align: "lll", columns: columns}
	shown := causesOf(drift)
	rest := len(drift) - len(shown)
	if len(shown) == 0 {
		for _, d := range drift {
			shown = append(shown, drifted{d})
		}
		rest = 0
	}
	more := max(len(shown)-maxDrift, 0)
	for _, d := range shown[:len(shown)-more] {
		t.add(d.Address, d.change(), d.reason())
	}
	t.write(&b)
	switch {
	case more > 0:
		fmt.Fprintf(&b, "  and %d more\n", more+rest)
	case rest > 0:
		fmt.Fprintf(&b, "  and %d that read what these make\n", rest)
	}
	return b.String()
}

// drifted is a target that drifted, to be shown.
type drifted struct{ planner.Drift }

// causesOf returns the targets that drifted by something of their own.
func causesOf(drift []planner.Drift) []drifted {
	var out []drifted
	for _, d := range drift {
		if causes(d.Reasons) > 0 || d.Was == "" || d.Is == "" {
			out = append(out, drifted{d})
		}
	}
	return out
}

func (d drifted) change() string {
	switch {
	case d.Was == "":
		return "was not there, now " + d.Is
	case d.Is == "":
		return "is not there any more"
	case d.Was == d.Is:
		return "still " + d.Is
	}
	return d.Was + " → " + d.Is
}

func (d drifted) reason() string {
	switch {
	case causes(d.Reasons) == 0 && d.Is == planner.Fresh.String():
		return "made since"
	case len(d.Reasons) == 0:
		return ""
	}
	text := ReasonText(d.Reasons[0])
	if more := causes(d.Reasons) - 1; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
