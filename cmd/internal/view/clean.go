package view

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// Swept is what llima clean removes of one model, or of the store.
type Swept struct {
	Name   string // of the model, "" for the store
	Files  int
	Bytes  int64
	Folder string // that they are in
}

// Clean says what goes, or would go, and what the disk gains by it.
func Clean(w io.Writer, swept []Swept, freed int64, dryRun bool) {
	if len(swept) == 0 {
		fmt.Fprintln(w, "nothing to remove")
		return
	}
	verb, gain := "removed", "freed"
	if dryRun {
		verb, gain = "would remove", "would free"
	}
	fmt.Fprintf(w, "%s:\n\n", verb)
	t := &table{align: "lrrl"}
	sum := int64(0)
	for _, s := range swept {
		name := s.Name
		if name == "" {
			name = "(store)"
		}
		t.add(name, plural(s.Files, "file"), Bytes(s.Bytes), s.Folder)
		sum += s.Bytes
	}
	t.write(w)
	fmt.Fprintf(w, "\n%s %s", gain, Bytes(freed))
	if shared := sum - freed; shared > 0 {
		fmt.Fprintf(w, "; %s more have another link, in the store or in an output", Bytes(shared))
	}
	fmt.Fprintln(w)
}

// shownFiles is how many files a message lists.
const shownFiles = 10

// ChangedFiles says that files are not as a build left them.
func ChangedFiles(files []string) string {
	slices.Sort(files)
	var b strings.Builder
	fmt.Fprintf(&b, "%s not as a build left them, so nothing was removed:", plural(len(files), "file"))
	for i, f := range files {
		if i == shownFiles {
			fmt.Fprintf(&b, "\n    and %d more", len(files)-shownFiles)
			break
		}
		b.WriteString("\n    " + filepath.ToSlash(f))
	}
	b.WriteString("\n  keep what you want of them elsewhere, then remove all of it:\n    llima clean --force")
	return b.String()
}
