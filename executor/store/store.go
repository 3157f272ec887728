// Package store keeps what builds made: blobs by digest, records by target,
// and for every key what was made under it. It lives in .llima beside
// llima.hcl. Blobs are read-only and appear by rename, so that whatever
// happens to a build they are whole or absent. It knows neither stages nor
// what is in the files.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/atomicio"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// Dir is the store's folder beside llima.hcl.
const Dir = ".llima"

// Store is an open store. It is safe for concurrent use within a process;
// between processes builds of one output are serialised by [Store.Lock].
type Store struct {
	project string
	root    string // .llima: records, locks, logs, digests
	keep    string // where new blobs and results go: root, or a cache that projects share
	read    string // a cache to look into as well, "" for none
	stats   *statCache

	mu       sync.Mutex
	journals map[string]*journal                // by model
	results  map[fingerprint.Digest]*result     // of keys that were asked for
	present  map[fingerprint.Digest]blobVerdict // blobs that were looked at
	used     map[fingerprint.Digest]bool        // keys whose results this process needs
	temp     string                             // this build's temporary folder, "" before Begin
	alive    *os.File                           // its lock, held while this process lives
}

// blobVerdict is what a look at a blob told.
type blobVerdict struct{ there, intact bool }

// Cache is a folder for blobs and results that projects can share.
type Cache struct {
	Dir      string // absolute; "" for the project's own store
	ReadOnly bool   // look into it, and keep what is new in the project's own store
}

// Open opens the store of a project, which need not exist yet. now is asked
// for the time when a file's digest is remembered.
func Open(project string, now func() time.Time) (*Store, error) {
	return OpenCache(project, Cache{}, now)
}

// OpenCache opens the store of a project that keeps its blobs and results in
// a cache.
func OpenCache(project string, c Cache, now func() time.Time) (*Store, error) {
	project, err := filepath.Abs(project)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(project, Dir)
	s := &Store{
		project: project, root: root, keep: root, journals: map[string]*journal{},
		results: map[fingerprint.Digest]*result{}, present: map[fingerprint.Digest]blobVerdict{},
		used: map[fingerprint.Digest]bool{},
	}
	switch {
	case c.Dir == "" || c.Dir == root:
	case c.ReadOnly:
		s.read = c.Dir
	default:
		s.keep, s.read = c.Dir, root
	}
	s.stats = newStatCache(filepath.Join(s.root, "digests"), now)
	return s, nil
}

// Exists reports whether something was ever built in the project.
func (s *Store) Exists() bool { return exists(filepath.Join(s.root, "locks")) }

// Create makes the store's folders.
func (s *Store) Create() error {
	for _, d := range []string{"records", "logs", "locks"} {
		if err := os.MkdirAll(filepath.Join(s.root, d), 0o755); err != nil {
			return err
		}
	}
	for _, d := range []string{"blobs", "actions", "tmp", "locks"} {
		if err := os.MkdirAll(filepath.Join(s.keep, d), 0o755); err != nil {
			return err
		}
	}
	ignore := filepath.Join(s.root, ".gitignore")
	if _, err := os.Stat(ignore); errors.Is(err, fs.ErrNotExist) {
		return atomicio.WriteFile(ignore, []byte("*\n"), 0o644)
	}
	return nil
}

// Watch makes the store tell how many bytes of files are hashed, of those that
// have to be: it calls watch from any goroutine, one at a time. When none is
// left both are 0.
func (s *Store) Watch(watch func(done, total int64)) { s.stats.meter.watch = watch }

// Flush writes what was learned about files' digests.
func (s *Store) Flush() error { return s.stats.flush() }

// Close releases the records' files.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, j := range s.journals {
		errs = append(errs, j.close())
	}
	return errors.Join(errs...)
}

// path returns where a file of a digest is or would be kept.
func (s *Store) path(kind string, d fingerprint.Digest) (string, error) {
	hex, ok := d.Hex()
	if !ok {
		return "", fmt.Errorf("store: %q is not a digest", d)
	}
	return filepath.Join(s.keep, kind, hex[:2], hex), nil
}

// find is path, or where the other folder has such a file.
func (s *Store) find(kind string, d fingerprint.Digest) (string, error) {
	path, err := s.path(kind, d)
	if err != nil || s.read == "" {
		return path, err
	}
	if _, err := os.Lstat(path); err == nil {
		return path, nil
	}
	rel, err := filepath.Rel(s.keep, path)
	if err != nil {
		return "", err
	}
	if other := filepath.Join(s.read, rel); exists(other) {
		return other, nil
	}
	return path, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Blob returns the path of a blob, whether or not it is there.
func (s *Store) Blob(d fingerprint.Digest) (string, error) { return s.find("blobs", d) }

// LogPath returns the path of a target's log.
func (s *Store) LogPath(a addr.Target) string {
	return filepath.Join(s.root, "logs", fileName(a.String())+".log")
}

// fileName makes a file's name of a model or an address: letters, digits and
// a few signs stay, so that no two have one name.
func fileName(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.' && b.Len() > 0, c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// Temp makes a folder for a target's outputs, within the build's.
func (s *Store) Temp() (string, error) { return os.MkdirTemp(s.temp, "target-") }

// aliveName is the file in a build's temporary folder that the build holds a
// lock on, so that folders of dead builds can be told.
const aliveName = ".alive"

// Begin makes this build's temporary folder and removes those of builds that
// died.
func (s *Store) Begin() (err error) {
	// One process at a time, so that a folder that is being made is not taken
	// for a dead one.
	gate, err := os.OpenFile(filepath.Join(s.keep, "locks", "begin"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gate.Close()) }()
	if err := waitLock(gate); err != nil {
		return err
	}
	tmp := filepath.Join(s.keep, "tmp")
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := sweep(filepath.Join(tmp, e.Name())); err != nil {
			return err
		}
	}
	if s.temp, err = os.MkdirTemp(tmp, "build-"); err != nil {
		return err
	}
	if s.alive, err = os.Create(filepath.Join(s.temp, aliveName)); err != nil {
		return err
	}
	return waitLock(s.alive)
}

// sweep removes a temporary folder unless its build lives.
func sweep(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, aliveName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(dir)
	}
	if err != nil {
		return err
	}
	held, err := tryLock(f, alone)
	if err = errors.Join(err, f.Close()); err != nil || held {
		return err
	}
	return os.RemoveAll(dir)
}

// End removes this build's temporary folder.
func (s *Store) End() error {
	if s.alive == nil {
		return nil
	}
	err := errors.Join(s.alive.Close(), os.RemoveAll(s.temp))
	s.alive, s.temp = nil, ""
	return err
}

// Sum is what was written to a file.
type Sum struct {
	Digest fingerprint.Digest
	Size   int64 // bytes
}

// SumFile reads a file's sum.
func SumFile(path string) (Sum, error) {
	digest, size, err := hashFile(path, nil)
	return Sum{digest, size}, err
}

// Keep moves a finished file into the store and returns its sum, which is read
// unless known. The file is synced first: a blob that is there is whole. What
// was there under that digest is replaced unless it was just looked at.
func (s *Store) Keep(path string, known *Sum) (Sum, error) {
	if known == nil {
		sum, err := SumFile(path)
		if err != nil {
			return Sum{}, err
		}
		known = &sum
	}
	if s.look(known.Digest).intact {
		return *known, os.Remove(path)
	}
	dst, err := s.path("blobs", known.Digest)
	if err != nil {
		return Sum{}, err
	}
	if err := syncFile(path); err != nil {
		return Sum{}, err
	}
	if err := os.Chmod(path, 0o444); err != nil {
		return Sum{}, err
	}
	if err := makeFolder(filepath.Dir(dst)); err != nil {
		return Sum{}, err
	}
	if err := os.Rename(path, dst); err != nil {
		return Sum{}, err
	}
	if err := syncDir(filepath.Dir(dst)); err != nil {
		return Sum{}, err
	}
	if err := s.stats.prime(dst, known.Digest); err != nil {
		return Sum{}, err
	}
	s.mu.Lock()
	s.present[known.Digest] = blobVerdict{there: true, intact: true}
	s.mu.Unlock()
	return *known, nil
}

// makeFolder makes a folder and those above it. A new folder's name is synced:
// files in it would be lost with it.
func makeFolder(dir string) error {
	if exists(dir) {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeFolder(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// look tells whether the store has a blob, as it was made. The stat cache
// knows when it has to be read again: it may have been changed through a link
// in an output folder.
func (s *Store) look(digest fingerprint.Digest) blobVerdict {
	s.mu.Lock()
	v, ok := s.present[digest]
	s.mu.Unlock()
	if !ok {
		if path, err := s.Blob(digest); err == nil {
			if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
				got, err := s.stats.whole(path, st)
				v = blobVerdict{there: true, intact: err == nil && got == digest}
			}
		}
		s.mu.Lock()
		s.present[digest] = v
		s.mu.Unlock()
	}
	return v
}

// Digest implements [planner.Facts].
func (s *Store) Digest(src planner.Source) (fingerprint.Digest, error) { return s.stats.digest(src) }

// Again returns a source's digest for the check after a target has run: its
// file is looked at again.
func (s *Store) Again(src planner.Source) (fingerprint.Digest, error) {
	s.stats.lookAgain(src.Path)
	return s.stats.digest(src)
}

// Result implements [planner.Facts].
func (s *Store) Result(key fingerprint.Digest) (outputs []planner.Output, lost []fingerprint.Reason, ok bool) {
	r := s.result(key)
	if r == nil {
		return nil, nil, false
	}
	for _, o := range r.outputs {
		if o.Tensor != "" {
			continue
		}
		if v := s.look(o.Digest); !v.there {
			lost = append(lost, fingerprint.Reason{Code: fingerprint.OutputMissing, Name: o.Name, Old: o.Digest.Short()})
		} else if !v.intact {
			lost = append(lost, fingerprint.Reason{Code: fingerprint.OutputModified, Name: o.Name, Old: o.Digest.Short()})
		}
	}
	return r.outputs, lost, true
}

// Preimage implements [planner.Facts].
func (s *Store) Preimage(key fingerprint.Digest) (fingerprint.Preimage, bool) {
	r := s.result(key)
	if r == nil {
		return fingerprint.Preimage{}, false
	}
	return r.preimage()
}

// Outputs returns what was made under a key, if all of it is there as it was
// made.
func (s *Store) Outputs(key fingerprint.Digest) ([]planner.Output, bool) {
	outputs, lost, ok := s.Result(key)
	return outputs, ok && len(lost) == 0
}

// result finds what was made under a key: in memory, in a journal that is
// open, or in the file of that key.
func (s *Store) result(key fingerprint.Digest) *result {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.results[key]
	if ok {
		return r
	}
	for _, j := range s.journals {
		if r = j.result(key); r != nil {
			break
		}
	}
	if r == nil {
		if path, err := s.find("actions", key); err == nil {
			if line, err := os.ReadFile(path); err == nil {
				r = parseResultLine(line, key) // nil where it is damaged
			}
		}
	}
	if r != nil {
		s.results[key] = r
	}
	return r
}

// Remember stores what was made under the key of a preimage.
func (s *Store) Remember(p *fingerprint.Preimage, outputs []planner.Output) error {
	key := p.Key()
	path, err := s.path("actions", key)
	if err != nil {
		return err
	}
	r := newResult(key, p, outputs)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := replaceFile(path, r.line); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results[key] = r
	return nil
}

// replaceFile writes a small file by rename. It is not synced: losing it is a
// miss, and half of it is refused when it is read.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Record implements [planner.Facts].
func (s *Store) Record(a addr.Target) (planner.Record, bool, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok, problem := s.journal(a.Model).get(a.String())
	rec.Folder = s.absolute(rec.Folder)
	return rec, ok, problem
}

// relative writes a folder as records do: from the project's, so that it can
// be moved. absolute is its inverse.
func (s *Store) relative(folder string) string {
	if rel, err := filepath.Rel(s.project, folder); folder != "" && err == nil {
		return filepath.ToSlash(rel)
	}
	return folder
}

func (s *Store) absolute(folder string) string {
	if folder == "" || filepath.IsAbs(folder) {
		return folder
	}
	return filepath.Join(s.project, filepath.FromSlash(folder))
}

// Put writes a target's record. One without a key says that the target was
// begun: until the finished one is written it is stale.
func (s *Store) Put(a addr.Target, rec planner.Record) error {
	rec.Addr = a.String()
	rec.Folder = s.relative(rec.Folder)
	var r *result
	if rec.Key != "" {
		r = s.result(rec.Key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal(a.Model).put(rec, r)
}

// journal returns the journal of a model; s.mu is held.
func (s *Store) journal(model string) *journal {
	j, ok := s.journals[model]
	if !ok {
		j = openJournal(filepath.Join(s.root, "records", fileName(model)))
		s.journals[model] = j
	}
	return j
}

// Forget drops what this process knows of a model's records, which another
// process may have changed before the lock was had.
func (s *Store) Forget(model string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.refresh()
	clear(s.results)
	clear(s.present)
	j, ok := s.journals[model]
	delete(s.journals, model)
	if !ok {
		return nil
	}
	return j.close()
}
