// Package store keeps what builds made: blobs by digest, records by target,
// and for every key what was made under it. It lives in .llima beside
// llima.hcl. Files in it are read-only and appear by rename, so that whatever
// happens to a build they are whole or absent.
package store

import (
	"bytes"
	"encoding/json"
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
	root    string
	stats   *statCache
	mu      sync.Mutex
	records map[string]*journal // by model
}

// Open opens the store of a project, which need not exist yet. now is asked
// for the time when a file's digest is remembered.
func Open(project string, now func() time.Time) (*Store, error) {
	s := &Store{root: filepath.Join(project, Dir), records: map[string]*journal{}}
	s.stats = newStatCache(filepath.Join(s.root, "digests.json"), now)
	return s, nil
}

// Create makes the store's folders.
func (s *Store) Create() error {
	for _, d := range []string{"blobs", "actions", "records", "tmp", "logs", "locks"} {
		if err := os.MkdirAll(filepath.Join(s.root, d), 0o755); err != nil {
			return err
		}
	}
	ignore := filepath.Join(s.root, ".gitignore")
	if _, err := os.Stat(ignore); errors.Is(err, fs.ErrNotExist) {
		return atomicio.WriteFile(ignore, []byte("*\n"), 0o644)
	}
	return nil
}

// Flush writes what was learned about files' digests.
func (s *Store) Flush() error { return s.stats.flush() }

// Close releases the records' files.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, j := range s.records {
		errs = append(errs, j.close())
	}
	return errors.Join(errs...)
}

func (s *Store) path(kind string, d fingerprint.Digest) (string, error) {
	hex, ok := d.Hex()
	if !ok {
		return "", fmt.Errorf("store: %q is not a digest", d)
	}
	return filepath.Join(s.root, kind, hex[:2], hex), nil
}

// Blob returns the path of a blob, whether or not it is there.
func (s *Store) Blob(d fingerprint.Digest) (string, error) { return s.path("blobs", d) }

// LogPath returns the path of a target's log.
func (s *Store) LogPath(a addr.Target) string {
	return filepath.Join(s.root, "logs", strings.NewReplacer(":", "_", "/", "_").Replace(a.String())+".log")
}

// Temp makes a folder for a target's outputs. Its name holds the process, so
// that folders of dead builds can be told.
func (s *Store) Temp() (string, error) {
	return os.MkdirTemp(filepath.Join(s.root, "tmp"), fmt.Sprintf("%d-", os.Getpid()))
}

// Sweep removes the temporary folders of processes that are gone.
func (s *Store) Sweep() error {
	entries, err := os.ReadDir(filepath.Join(s.root, "tmp"))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), "%d-", &pid); err == nil && pid != os.Getpid() && processAlive(pid) {
			continue
		} else if err == nil && pid == os.Getpid() {
			continue
		}
		errs = append(errs, os.RemoveAll(filepath.Join(s.root, "tmp", e.Name())))
	}
	return errors.Join(errs...)
}

// Keep moves a finished file into the store and returns its digest and size.
// The file is synced first: a blob that is there is whole.
func (s *Store) Keep(path string) (fingerprint.Digest, int64, error) {
	digest, size, err := hashFile(path)
	if err != nil {
		return "", 0, err
	}
	dst, err := s.Blob(digest)
	if err != nil {
		return "", 0, err
	}
	if st, err := os.Stat(dst); err == nil && st.Size() == size {
		return digest, size, os.Remove(path)
	}
	if err := syncFile(path); err != nil {
		return "", 0, err
	}
	if err := os.Chmod(path, 0o444); err != nil {
		return "", 0, err
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return "", 0, err
	}
	if err := os.Rename(path, dst); err != nil {
		return "", 0, err
	}
	return digest, size, syncDir(filepath.Dir(dst))
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// action is what was made under a key.
type action struct {
	Outputs []planner.Output `json:"outputs"`
}

// Outputs implements [planner.Facts]. A damaged entry is a miss.
func (s *Store) Outputs(key fingerprint.Digest) ([]planner.Output, bool) {
	path, err := s.path("actions", key)
	if err != nil {
		return nil, false
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, false
	}
	var a action
	if json.Unmarshal(b, &a) != nil || len(s.Missing(a.Outputs)) > 0 {
		return nil, false
	}
	return a.Outputs, true
}

// Remember stores what was made under a key.
func (s *Store) Remember(key fingerprint.Digest, outputs []planner.Output) error {
	path, err := s.path("actions", key)
	if err != nil {
		return err
	}
	b, err := json.Marshal(action{outputs})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return replaceFile(path, b)
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

// Missing implements [planner.Facts]: outputs whose blobs are gone, or have
// another size.
func (s *Store) Missing(outputs []planner.Output) []string {
	var out []string
	for _, o := range outputs {
		if o.Tensor != "" {
			continue
		}
		path, err := s.Blob(o.Digest)
		if err == nil {
			var st os.FileInfo
			if st, err = os.Stat(path); err == nil && st.Size() == o.Size {
				continue
			}
		}
		out = append(out, o.Name)
	}
	return out
}

// Digest implements [planner.Facts].
func (s *Store) Digest(src planner.Source) (fingerprint.Digest, error) { return s.stats.digest(src) }

// Record implements [planner.Facts].
func (s *Store) Record(a addr.Target) (planner.Record, bool, string) {
	return s.journal(a.Model).get(a.String())
}

// Put writes a target's record. One without a key says that the target was
// begun: until the finished one is written it is stale.
func (s *Store) Put(a addr.Target, rec planner.Record) error {
	rec.Addr = a.String()
	return s.journal(a.Model).put(rec)
}

func (s *Store) journal(model string) *journal {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.records[model]
	if !ok {
		j = openJournal(filepath.Join(s.root, "records", model+".jsonl"))
		s.records[model] = j
	}
	return j
}

// Forget drops what this process knows of a model's records, which another
// process may have changed before the lock was had.
func (s *Store) Forget(model string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.records[model]
	delete(s.records, model)
	if !ok {
		return nil
	}
	return j.close()
}

// journal is the records of one model: a line for each change, the last of a
// target holds. It is rewritten when most of its lines are old.
type journal struct {
	mu      sync.Mutex
	path    string
	file    *os.File
	records map[string]planner.Record
	lines   int
	damaged string // why lines of it could not be read
}

func openJournal(path string) *journal {
	j := &journal{path: path, records: map[string]planner.Record{}}
	b, err := os.ReadFile(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			j.damaged = err.Error()
		}
		return j
	}
	for line := range bytes.Lines(b) {
		var rec planner.Record
		if json.Unmarshal(line, &rec) != nil || rec.Addr == "" {
			j.damaged = "a line of its record file is damaged"
			continue
		}
		j.records[rec.Addr] = rec
		j.lines++
	}
	return j
}

func (j *journal) get(name string) (planner.Record, bool, string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	rec, ok := j.records[name]
	if !ok {
		return rec, false, j.damaged
	}
	return rec, true, ""
}

func (j *journal) put(rec planner.Record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records[rec.Addr] = rec
	j.lines++
	if j.damaged != "" || j.lines > 4*len(j.records)+64 {
		return j.compact()
	}
	if j.file == nil {
		if j.file, err = os.OpenFile(j.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
			return err
		}
	}
	_, err = j.file.Write(append(b, '\n'))
	return err
}

// compact rewrites the file with one line a target.
func (j *journal) compact() error {
	var b bytes.Buffer
	for _, name := range sortedKeys(j.records) {
		line, err := json.Marshal(j.records[name])
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	if err := j.closeFile(); err != nil {
		return err
	}
	if err := atomicio.WriteFile(j.path, b.Bytes(), 0o644); err != nil {
		return err
	}
	j.lines, j.damaged = len(j.records), ""
	return nil
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.closeFile()
}

func (j *journal) closeFile() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
