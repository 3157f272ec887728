package view

import (
	"fmt"
	"strings"

	"github.com/llima-build/llima/planner"
)

// LockDrift says which files are not those of a lock file.
func LockDrift(name string, drift []planner.LockDrift) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s does not match: %s\n", name, plural(len(drift), "file"))
	for _, d := range drift {
		fmt.Fprintf(&b, "  %s\n", printable(d.Path))
		for _, line := range []struct{ what, digest string }{{"was", string(d.Old)}, {"is ", string(d.New)}} {
			switch {
			case line.digest != "":
				fmt.Fprintf(&b, "    %s %s\n", line.what, line.digest)
			case line.what == "was":
				b.WriteString("    was not locked\n")
			default:
				b.WriteString("    is  not read any more\n")
			}
		}
	}
	return b.String()
}

// LockWritten says what a new lock file changes.
func LockWritten(name string, files int, drift []planner.LockDrift) string {
	var added, changed, removed int
	for _, d := range drift {
		switch {
		case d.Old == "":
			added++
		case d.New == "":
			removed++
		default:
			changed++
		}
	}
	text := fmt.Sprintf("%s: %s", name, plural(files, "file"))
	if len(drift) == 0 {
		return text + ", as before\n"
	}
	for _, c := range []struct {
		count int
		what  string
	}{{added, "added"}, {changed, "changed"}, {removed, "removed"}} {
		if c.count > 0 {
			text += fmt.Sprintf(", %d %s", c.count, c.what)
		}
	}
	return text + "\n"
}
