package store

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// Sweep collects what is to be removed, so that it can be told before. It
// needs the locks of the store alone, see [Locks.Alone].
type Sweep struct {
	store   *Store
	Files   []SweptFile // in the order in which they were collected
	Changed []string    // published files that a person changed, absolute
	forget  []string    // models whose records go
	left    []leftFolder
	results []kept // whose memory goes with their files
	folders map[string]bool
}

// SweptFile is a file that goes.
type SweptFile struct {
	Path  string // absolute
	Size  int64
	Model string // whose output it is, "" for what the store keeps
}

// leftFolder is a folder that a model published into before.
type leftFolder struct{ model, folder string }

// NewSweep begins a sweep.
func (s *Store) NewSweep() *Sweep { return &Sweep{store: s, folders: map[string]bool{}} }

// Models returns the names of the models that the store has records of, sorted.
func (s *Store) Models() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.root, "records"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		if name, err := url.PathUnescape(e.Name()); err == nil && fileName(name) == e.Name() {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, err
}

// leftPrefix begins the addresses of records of folders that a model does not
// publish into any more.
const leftPrefix = "left:"

// Leave remembers the files of a folder that a model does not publish into any
// more, or forgets them where there are none.
func (s *Store) Leave(model, folder string, files []planner.Published) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rel := s.relative(folder)
	return s.journal(model).put(planner.Record{Addr: leftPrefix + rel, Folder: rel, Published: files}, nil)
}

// Left returns the files of a folder that a model published into before.
func (s *Store) Left(model, folder string) []planner.Published {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal(model).records[leftPrefix+s.relative(folder)].Published
}

// Outputs adds what the records of a model list in its output folder, and its
// records.
func (w *Sweep) Outputs(model string) {
	rec, _, _ := w.store.Record(addr.Target{Model: model, Stage: addr.Package})
	w.published(model, rec.Folder, rec.Published, nil)
	w.forget = append(w.forget, model)
}

// Orphans adds what nothing publishes any more: the outputs of models that are
// not among those of the configuration, and folders that models have left.
func (w *Sweep) Orphans(models []string) error {
	all, err := w.store.Models()
	if err != nil {
		return err
	}
	owned := map[string]bool{} // by models of the configuration
	for _, m := range models {
		rec, _, _ := w.store.Record(addr.Target{Model: m, Stage: addr.Package})
		for _, p := range rec.Published {
			owned[filepath.Join(rec.Folder, filepath.FromSlash(p.Path))] = true
		}
	}
	for _, m := range all {
		if !slices.Contains(models, m) {
			rec, _, _ := w.store.Record(addr.Target{Model: m, Stage: addr.Package})
			w.published(m, rec.Folder, rec.Published, owned)
			w.forget = append(w.forget, m)
		}
		for _, rec := range w.store.leftBy(m) {
			w.published(m, rec.Folder, rec.Published, owned)
			w.left = append(w.left, leftFolder{m, rec.Folder})
		}
	}
	return nil
}

// leftBy lists the folders that a model has left, sorted.
func (s *Store) leftBy(model string) []planner.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []planner.Record
	for name, rec := range s.journal(model).records {
		if strings.HasPrefix(name, leftPrefix) && len(rec.Published) > 0 {
			rec.Folder = s.absolute(rec.Folder)
			out = append(out, rec)
		}
	}
	slices.SortFunc(out, func(a, b planner.Record) int { return strings.Compare(a.Folder, b.Folder) })
	return out
}

// published adds files of an output folder, except those that others own.
// Which of them a person changed is told by their digests; of those of a build
// that did not end it is not known.
func (w *Sweep) published(model, folder string, files []planner.Published, owned map[string]bool) {
	for _, p := range files {
		path, err := inside(folder, p.Path)
		if err != nil || owned[path] {
			continue
		}
		st, err := os.Lstat(path)
		if err != nil {
			continue
		}
		if w.store.modified(path, p.Digest) != nil {
			w.Changed = append(w.Changed, path)
		}
		w.Files = append(w.Files, SweptFile{path, st.Size(), model})
		for dir := filepath.Dir(path); strings.HasPrefix(dir, folder); dir = filepath.Dir(dir) {
			w.folders[dir] = true
			if dir == folder {
				break
			}
		}
	}
}

// Cache adds what no record needs that stays: results, blobs, figures, logs,
// and what dead builds left. Of a cache that projects share only what dead builds left
// goes, since what others need is not known here.
func (w *Sweep) Cache() error {
	s := w.store
	if err := errors.Join(w.temporary(), w.figures()); err != nil || s.keep != s.root {
		return err
	}
	if err := w.all(filepath.Join(s.keep, scratchDir), func(string) bool { return true }); err != nil {
		return err
	}
	h, err := s.heap()
	if err != nil {
		return err
	}
	keys, err := w.needed()
	if err != nil {
		return err
	}
	needed := map[fingerprint.Digest]bool{}
	for _, k := range h.results {
		if keys[k.key] {
			for _, d := range k.blobs {
				needed[d] = true
			}
		}
	}
	for _, k := range h.results {
		if !keys[k.key] {
			w.Files = append(w.Files, SweptFile{Path: k.path, Size: k.size})
			w.results = append(w.results, k)
		}
	}
	var blobs []SweptFile
	for d, b := range h.blobs {
		if !needed[d] {
			blobs = append(blobs, SweptFile{Path: b.path, Size: b.size})
		}
	}
	slices.SortFunc(blobs, func(a, b SweptFile) int { return strings.Compare(a.Path, b.Path) })
	w.Files = append(w.Files, blobs...)
	return w.logs()
}

// needed lists the keys of the records that stay.
func (w *Sweep) needed() (map[fingerprint.Digest]bool, error) {
	models, err := w.store.Models()
	if err != nil {
		return nil, err
	}
	keys := map[fingerprint.Digest]bool{}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for _, m := range models {
		if slices.Contains(w.forget, m) {
			continue
		}
		for _, rec := range w.store.journal(m).records {
			keys[rec.Key] = true
		}
	}
	return keys, nil
}

// temporary adds what is in the folders of builds that died: no build runs.
func (w *Sweep) temporary() error {
	return w.all(filepath.Join(w.store.keep, "tmp"), func(string) bool { return true })
}

// logs adds the logs of models without records.
func (w *Sweep) logs() error {
	models, err := w.store.Models()
	if err != nil {
		return err
	}
	return w.all(filepath.Join(w.store.root, "logs"), func(name string) bool {
		a, err := url.PathUnescape(strings.TrimSuffix(name, ".log"))
		model, _, _ := strings.Cut(a, ":")
		return err == nil && (!slices.Contains(models, model) || slices.Contains(w.forget, model))
	})
}

func (w *Sweep) all(dir string, goes func(name string) bool) error {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if err == nil && path != dir {
				w.folders[path] = true
			}
			return err
		}
		if st, err := e.Info(); err == nil && goes(e.Name()) {
			w.Files = append(w.Files, SweptFile{Path: path, Size: st.Size()})
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// FreedBytes returns what the disk gains: a file with a link that stays frees
// nothing.
func (w *Sweep) FreedBytes() int64 {
	links := map[[2]uint64]uint64{}
	sum := int64(0)
	for _, f := range w.Files {
		st, err := os.Lstat(f.Path)
		if err != nil {
			continue
		}
		id := statID(st)
		n := linkCount(st)
		if n <= 1 || id.ino == 0 {
			sum += f.Size
			continue
		}
		at := [2]uint64{id.dev, id.ino}
		if links[at]++; links[at] == n {
			sum += f.Size
		}
	}
	return sum
}

// Remove removes what was collected: records first, so that whatever happens
// nothing that is gone is taken for fresh.
func (w *Sweep) Remove() error {
	for _, m := range w.forget {
		if err := w.store.forgetRecords(m); err != nil {
			return err
		}
	}
	for _, l := range w.left {
		if slices.Contains(w.forget, l.model) {
			continue
		}
		if err := w.store.Leave(l.model, l.folder, nil); err != nil {
			return err
		}
	}
	var errs []error
	for _, f := range w.Files {
		errs = append(errs, removeIfThere(f.Path))
		if f.Model != "" {
			errs = append(errs, removeIfThere(f.Path+tempSuffix))
		}
	}
	dirs := make([]string, 0, len(w.folders))
	for d := range w.folders {
		dirs = append(dirs, d)
	}
	slices.Sort(dirs)
	for _, d := range slices.Backward(dirs) { // the deepest first
		_ = os.Remove(d) // an error says that there is something in it
	}
	return errors.Join(errs...)
}

// forgetRecords removes the records of a model.
func (s *Store) forgetRecords(model string) error {
	if err := s.Forget(model); err != nil {
		return err
	}
	return removeIfThere(filepath.Join(s.root, "records", fileName(model)))
}
