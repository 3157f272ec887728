package planner

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/llima-build/llima/planner/fingerprint"
)

// Locked is a file that models are built from, with the digest of all of it.
type Locked struct {
	// Path is as the configuration spells it: below a model's source that, else
	// relative to the project's root. It has slashes.
	Path   string
	Digest fingerprint.Digest
}

// LockedFiles returns every file that targets of a graph read from outside,
// by path, with the digests that `sha256sum` and model hubs show.
func (g *Graph) LockedFiles(root string, facts Facts) ([]Locked, error) {
	paths := map[string]string{}
	for _, t := range g.Order {
		for _, s := range t.Sources {
			if _, ok := paths[s.Path]; !ok {
				paths[s.Path] = t.Model.spell(root, s.Path)
			}
		}
	}
	files := make([]string, 0, len(paths))
	for path := range paths {
		files = append(files, path)
	}
	slices.Sort(files)
	out := make([]Locked, len(files))
	errs := make([]error, len(files))
	var wg sync.WaitGroup
	for i, path := range files {
		wg.Go(func() {
			out[i].Path = paths[path]
			out[i].Digest, errs[i] = facts.Digest(Source{Name: "file/" + filepath.Base(path), Path: path, Kind: WholeFile})
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", out[i].Path, err)
		}
	}
	slices.SortFunc(out, func(a, b Locked) int { return cmp.Compare(a.Path, b.Path) })
	return slices.Compact(out), nil
}

// spell returns a file's path as the lock names it, the same wherever the
// project lies.
func (m *Model) spell(root, path string) string {
	if rel, err := filepath.Rel(m.Config.Source, path); err == nil && filepath.IsLocal(rel) {
		source := strings.TrimSuffix(filepath.ToSlash(m.Config.SourceText), "/")
		if rel == "." {
			return source
		}
		return source + "/" + filepath.ToSlash(rel)
	}
	if rel, err := filepath.Rel(root, path); err == nil {
		return filepath.ToSlash(rel)
	}
	return filepath.ToSlash(path)
}

// LockDrift is a file that is not what was locked.
type LockDrift struct {
	Path     string
	Old, New fingerprint.Digest // "" where the file is not locked, or not read any more
}

// CompareLock returns the files that differ from what is locked, by path. With
// whole set, so do those that are locked and not read any more.
func CompareLock(locked map[string]string, now []Locked, whole bool) []LockDrift {
	var out []LockDrift
	read := map[string]bool{}
	for _, f := range now {
		read[f.Path] = true
		if old := fingerprint.Digest(locked[f.Path]); old != f.Digest {
			out = append(out, LockDrift{f.Path, old, f.Digest})
		}
	}
	for path, digest := range locked {
		if whole && !read[path] {
			out = append(out, LockDrift{Path: path, Old: fingerprint.Digest(digest)})
		}
	}
	slices.SortFunc(out, func(a, b LockDrift) int { return cmp.Compare(a.Path, b.Path) })
	return out
}
