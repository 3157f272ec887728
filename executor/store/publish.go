package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// Entry is a file to publish into an output folder: a blob, a file, or a
// piece of one.
type Entry struct {
	Path string // relative to the output folder, slashes

	// Source identifies the content: the blob's digest, or that of the file or
	// piece of it that is copied.
	Source fingerprint.Digest
	File   string // path of a file, "" for a blob of the store
	Offset int64  // of the piece of it, bytes
	Length int64  // 0 is the whole file
	// NoLink forbids a hard link to the blob: readers of ONNX refuse external
	// data with a second link.
	NoLink bool
}

// Publish makes an output folder hold the entries. Files that an earlier
// record lists and that are not entries any more are removed; nothing else is
// touched. Files that are as they were published are left alone.
func (s *Store) Publish(folder string, entries []Entry, earlier []planner.Published) ([]planner.Published, error) {
	old := map[string]planner.Published{}
	for _, p := range earlier {
		old[p.Path] = p
	}
	var out []planner.Published
	for _, e := range entries {
		if !fs.ValidPath(e.Path) || e.Path == "." {
			return nil, fmt.Errorf("llima: internal error: published path %q", e.Path)
		}
		was, known := old[e.Path]
		delete(old, e.Path)
		dst := filepath.Join(folder, filepath.FromSlash(e.Path))
		if known && was.Source == e.Source && unchanged(dst, was) {
			out = append(out, was)
			continue
		}
		digest, err := s.publish(dst, e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
		st, err := os.Stat(dst)
		if err != nil {
			return nil, err
		}
		out = append(out, planner.Published{Path: e.Path, Digest: digest, Source: e.Source, Stat: statID(st)})
	}
	slices.SortFunc(out, func(a, b planner.Published) int { return strings.Compare(a.Path, b.Path) })
	return out, removeOld(folder, old)
}

func (e Entry) isBlob() bool { return e.File == "" }

func unchanged(path string, was planner.Published) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode().IsRegular() && statID(st) == was.Stat
}

func removeOld(folder string, old map[string]planner.Published) error {
	var errs []error
	for _, path := range sortedKeys(old) {
		dst := filepath.Join(folder, filepath.FromSlash(path))
		if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		for dir := filepath.Dir(dst); dir != folder && strings.HasPrefix(dir, folder); dir = filepath.Dir(dir) {
			if os.Remove(dir) != nil { // not empty
				break
			}
		}
	}
	return errors.Join(errs...)
}

// publish puts one file in place by rename.
func (s *Store) publish(dst string, e Entry) (fingerprint.Digest, error) {
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return "", err
	}
	tmp := dst + ".llima-new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	digest, err := s.fill(tmp, e)
	if err == nil {
		err = os.Rename(tmp, dst)
	}
	// Renaming a file onto another link to it leaves both names.
	if err = errors.Join(err, removeIfThere(tmp)); err != nil {
		return "", err
	}
	return digest, nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *Store) fill(tmp string, e Entry) (fingerprint.Digest, error) {
	if !e.isBlob() {
		return copyPiece(tmp, e.File, e.Offset, e.Length)
	}
	blob, err := s.Blob(e.Source)
	if err != nil {
		return "", err
	}
	if reflink(tmp, blob) == nil {
		return e.Source, nil
	}
	if !e.NoLink && os.Link(blob, tmp) == nil {
		return e.Source, nil
	}
	return copyPiece(tmp, blob, 0, 0)
}

// copyPiece copies a file, or a piece of it, and returns the digest of what
// it copied.
func copyPiece(dst, src string, offset, length int64) (d fingerprint.Digest, err error) {
	in, err := os.Open(src)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	var r io.Reader = in
	if length > 0 {
		r = io.NewSectionReader(in, offset, length)
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, h), r)
	if err == nil && length > 0 && n != length {
		err = fmt.Errorf("%s: %d bytes at %d, want %d", src, n, offset, length)
	}
	return fingerprint.FromHash(h.Sum(nil)), errors.Join(err, out.Close())
}

// Modified implements [planner.Facts]: published files that are gone, and
// those whose content is no longer what was published.
func (s *Store) Modified(folder string, files []planner.Published) []fingerprint.Reason {
	var out []fingerprint.Reason
	for _, p := range files {
		path := filepath.Join(folder, filepath.FromSlash(p.Path))
		if unchanged(path, p) {
			continue
		}
		// Another link to the blob changes the file's ctime, so that its content
		// has to be looked at, once.
		got, err := s.Digest(planner.Source{Name: p.Path, Path: path})
		switch {
		case errors.Is(err, fs.ErrNotExist):
			out = append(out, fingerprint.Reason{Code: fingerprint.OutputMissing, Name: p.Path})
		case err != nil:
			out = append(out, fingerprint.Reason{Code: fingerprint.OutputModified, Name: p.Path, New: err.Error()})
		case got != p.Digest:
			out = append(out, fingerprint.Reason{Code: fingerprint.OutputModified, Name: p.Path, Old: p.Digest.Short(), New: got.Short()})
		}
	}
	return out
}

// DropModified looks at the blobs behind published files that were changed in
// place, through a link to them. Those that no longer are what they were are
// removed, so that the targets which made them are stale.
func (s *Store) DropModified(folder string, files []planner.Published) error {
	var errs []error
	for _, p := range files {
		if unchanged(filepath.Join(folder, filepath.FromSlash(p.Path)), p) {
			continue
		}
		blob, err := s.Blob(p.Digest)
		if err != nil {
			continue // begun, never published
		}
		got, _, err := hashFile(blob)
		if err == nil && got != p.Digest {
			errs = append(errs, os.Remove(blob))
		}
	}
	return errors.Join(errs...)
}
