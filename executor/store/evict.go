package store

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/llima-build/llima/planner/fingerprint"
)

// touchAfter is how old the memory of a result's last use gets before it is
// written anew.
const touchAfter = time.Hour

// Use notes that this process needs what was made under a key, for [Store.Evict].
func (s *Store) Use(key fingerprint.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[key] = true
}

// Touch makes the time of last use of what this process needs that of now.
// Results whose file is gone, or of a cache that cannot be written, stay as
// they are.
func (s *Store) Touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.stats.now()
	for key := range s.used {
		path, err := s.path("actions", key)
		if err != nil {
			continue
		}
		if st, err := os.Stat(path); err == nil && now.Sub(st.ModTime()) > touchAfter {
			_ = os.Chtimes(path, now, now) // only what goes first depends on it
		}
	}
}

// heap is what the store keeps: results, and the blobs that they name.
type heap struct {
	results []kept
	blobs   map[fingerprint.Digest]*blob
	bytes   int64 // of all files
}

// kept is a stored result.
type kept struct {
	key   fingerprint.Digest
	path  string
	size  int64
	used  time.Time
	blobs []fingerprint.Digest
}

type blob struct {
	path string
	size int64
	refs int // results that name it
}

// heap reads what the store keeps. A result that cannot be read names nothing.
func (s *Store) heap() (*heap, error) {
	h := &heap{blobs: map[fingerprint.Digest]*blob{}}
	err := s.walk("blobs", func(d fingerprint.Digest, path string, st fs.FileInfo) {
		h.blobs[d] = &blob{path: path, size: st.Size()}
		h.bytes += st.Size()
	})
	if err != nil {
		return nil, err
	}
	err = s.walk("actions", func(key fingerprint.Digest, path string, st fs.FileInfo) {
		k := kept{key: key, path: path, size: st.Size(), used: st.ModTime()}
		h.bytes += st.Size()
		if line, err := os.ReadFile(path); err == nil {
			if r := parseResultLine(line, key); r != nil {
				k.blobs = blobsOf(r)
			}
		}
		for _, d := range k.blobs {
			if b := h.blobs[d]; b != nil {
				b.refs++
			}
		}
		h.results = append(h.results, k)
	})
	slices.SortFunc(h.results, func(a, b kept) int {
		return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.key, b.key))
	})
	return h, err
}

// blobsOf lists the blobs of a result, each once.
func blobsOf(r *result) []fingerprint.Digest {
	var out []fingerprint.Digest
	for _, o := range r.outputs {
		if o.Tensor == "" {
			out = append(out, o.Digest)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// walk visits the files of a kind that are named by a digest.
func (s *Store) walk(kind string, visit func(d fingerprint.Digest, path string, st fs.FileInfo)) error {
	err := filepath.WalkDir(filepath.Join(s.keep, kind), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		d := fingerprint.Digest("sha256:" + e.Name())
		if _, ok := d.Hex(); !ok {
			return nil
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			visit(d, path, st)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// drop removes a result, and the blobs that only it names and that are not
// needed.
func (h *heap) drop(k kept, needed map[fingerprint.Digest]bool) (freed int64, err error) {
	if err := removeIfThere(k.path); err != nil {
		return 0, err
	}
	freed = k.size
	for _, d := range k.blobs {
		b := h.blobs[d]
		if b == nil {
			continue
		}
		if b.refs--; b.refs > 0 || needed[d] {
			continue
		}
		if err := removeIfThere(b.path); err != nil {
			return freed, err
		}
		freed += b.size
		delete(h.blobs, d)
	}
	return freed, nil
}

// dropScratch removes what can be made again, where the store would exceed its
// bound with it: the heap has so many bytes.
func (s *Store) dropScratch(heapBytes, limit int64) (freed int64, err error) {
	var files []string
	err = s.walk(scratchDir, func(_ fingerprint.Digest, path string, st fs.FileInfo) {
		files = append(files, path)
		freed += st.Size()
	})
	if err != nil || heapBytes+freed <= limit {
		return 0, err
	}
	errs := make([]error, 0, len(files))
	for _, path := range files {
		errs = append(errs, removeIfThere(path))
	}
	return freed, errors.Join(errs...)
}

// Evict removes results until the store holds at most limit bytes, those
// first that were not used for longest, and never what this process uses. It
// needs the lock of the store alone, see [Locks.Upgrade].
func (s *Store) Evict(limit int64) (freed int64, err error) {
	h, err := s.heap()
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if freed, err = s.dropScratch(h.bytes, limit); err != nil {
		return freed, err
	}
	h.bytes += freed // of what was counted beside the heap
	needed := map[fingerprint.Digest]bool{}
	for _, k := range h.results {
		if s.used[k.key] {
			for _, d := range k.blobs {
				needed[d] = true
			}
		}
	}
	for _, k := range h.results {
		if h.bytes-freed <= limit {
			break
		}
		if s.used[k.key] {
			continue
		}
		n, err := h.drop(k, needed)
		freed += n
		if err != nil {
			return freed, err
		}
	}
	clear(s.present)
	clear(s.results)
	return freed, nil
}
