package view

import (
	"fmt"
	"strings"

	"github.com/llima-build/llima/planner"
)

// maxDrift is how many targets are named that drifted from a saved plan.
const maxDrift = 10

// Drift says how what would be done now differs from a saved plan.
func Drift(drift []planner.Drift, columns int) string {
	var b strings.Builder
	t := table{align: "lll", columns: columns}
	for i, d := range causesFirst(drift) {
		if i == maxDrift {
			t.add(fmt.Sprintf("and %d more", len(drift)-maxDrift))
			break
		}
		change := d.Was + " → " + d.Is
		switch {
		case d.Was == "":
			change = "was not there, now " + d.Is
		case d.Is == "":
			change = "is not there any more"
		case d.Was == d.Is:
			change = "still " + d.Is
		}
		reason := ""
		if len(d.Reasons) > 0 {
			reason = ReasonText(d.Reasons[0])
			if more := len(d.Reasons) - 1; more > 0 {
				reason += fmt.Sprintf(" and %d more", more)
			}
		}
		t.add(d.Address, change, reason)
	}
	t.write(&b)
	return b.String()
}

// causesFirst puts targets first that say why they differ.
func causesFirst(drift []planner.Drift) []planner.Drift {
	var first, rest []planner.Drift
	for _, d := range drift {
		if len(d.Reasons) > 0 {
			first = append(first, d)
		} else {
			rest = append(rest, d)
		}
	}
	return append(first, rest...)
}
