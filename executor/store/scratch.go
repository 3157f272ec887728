package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/llima-build/llima/internal/mmap"
	"github.com/llima-build/llima/planner/fingerprint"
)

// Scratch keeps a model's large files that can be made again, by digest: they
// are nobody's outputs, so losing one costs time and nothing else. What is
// read from it was verified, and what has been finished stays after a crash.
type Scratch struct {
	store *Store
	dir   string
}

const scratchDir = "scratch"

// Scratch returns where large files of a model are kept.
func (s *Store) Scratch(model string) *Scratch {
	project, _ := fingerprint.Sum([]byte(s.project)).Hex() // projects can share a cache
	return &Scratch{s, filepath.Join(s.keep, scratchDir, fileName(model)+"-"+project[:12])}
}

func (c *Scratch) path(d fingerprint.Digest) (string, error) {
	hex, ok := d.Hex()
	if !ok {
		return "", errors.New("store: " + string(d) + " is not a digest")
	}
	return filepath.Join(c.dir, hex), nil
}

// Has reports whether there is a file of a digest, whole or not.
func (c *Scratch) Has(d fingerprint.Digest) bool {
	path, err := c.path(d)
	return err == nil && exists(path)
}

// Copy makes a file that can be written to of one that is kept. ok is false
// where there is none; one that is not what it was is removed.
func (c *Scratch) Copy(d fingerprint.Digest) (f *ScratchFile, ok bool, err error) {
	path, err := c.path(d)
	if err != nil {
		return nil, false, err
	}
	src, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	st, err := src.Stat()
	if err == nil {
		f, err = c.Create(src, st.Size())
	}
	if err = errors.Join(err, src.Close()); err != nil {
		return nil, false, err
	}
	if fingerprint.Sum(f.Bytes()) != d {
		return nil, false, errors.Join(f.Close(), removeIfThere(path))
	}
	return f, true, nil
}

// Create makes a file of so many bytes from a reader; of zeros where that is
// nil. It takes its room on the disk at once, so that writing to it later
// does not fail.
func (c *Scratch) Create(from io.Reader, sizeBytes int64) (out *ScratchFile, err error) {
	f, err := os.CreateTemp(c.store.temp, "scratch-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if from == nil {
		from = Zeros{}
	}
	if _, err = io.CopyN(f, from, sizeBytes); err != nil {
		return nil, err
	}
	m, err := mmap.MapWritable(f)
	if err != nil {
		return nil, err
	}
	return &ScratchFile{scratch: c, path: f.Name(), view: m}, nil
}

// Zeros reads as zeros without end.
type Zeros struct{}

// Read implements [io.Reader].
func (Zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Trim removes what is kept beside some files.
func (c *Scratch) Trim(keep ...fingerprint.Digest) error {
	entries, err := os.ReadDir(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if !slices.Contains(keep, fingerprint.Digest("sha256:"+e.Name())) {
			errs = append(errs, removeIfThere(filepath.Join(c.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// ScratchFile is a file in the making, mapped into memory.
type ScratchFile struct {
	scratch *Scratch
	path    string
	view    *mmap.Writable
}

// Bytes returns the contents, which may be written to until Close or Keep.
func (f *ScratchFile) Bytes() []byte { return f.view.Bytes() }

// Keep ends writing and puts the file where it is found by its digest.
func (f *ScratchFile) Keep() (fingerprint.Digest, error) {
	d := fingerprint.Sum(f.Bytes())
	dst, err := f.scratch.path(d)
	if err == nil {
		err = errors.Join(f.view.Close(), os.MkdirAll(f.scratch.dir, 0o755))
	}
	if err == nil {
		err = os.Rename(f.path, dst) // not synced: it is verified when it is read
	}
	f.view = nil
	return d, err
}

// Close removes a file that was not kept.
func (f *ScratchFile) Close() error {
	if f.view == nil {
		return nil
	}
	err := errors.Join(f.view.Close(), os.Remove(f.path))
	f.view = nil
	return err
}
