package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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

// tempSuffix marks a file of an output folder that is not finished. Its place
// is beside the final one, as renaming works within a file system only.
const tempSuffix = ".llima-new"

// Publish makes an output folder hold the entries. Files that an earlier
// record of this folder lists and that are not entries any more are removed;
// nothing else is touched. Files that are as they were published are left
// alone.
func (s *Store) Publish(folder string, entries []Entry, earlier []planner.Published) ([]planner.Published, error) {
	old := map[string]planner.Published{}
	for _, p := range earlier {
		old[p.Path] = p
	}
	gone := maps.Clone(old)
	for _, e := range entries {
		delete(gone, e.Path)
	}
	done, err := s.publishAll(folder, entries, old)
	if err != nil {
		return nil, err
	}
	folders := map[string]bool{}
	var links []link
	out := make([]planner.Published, 0, len(entries))
	for _, d := range done {
		out = append(out, d.Published)
		if d.dir != "" {
			folders[d.dir] = true
		}
		links = append(links, d.links...)
	}
	slices.SortFunc(out, func(a, b planner.Published) int { return strings.Compare(a.Path, b.Path) })
	for i := 1; i < len(out); i++ {
		if out[i].Path == out[i-1].Path {
			return nil, fmt.Errorf("llima: internal error: %s is published twice", out[i].Path)
		}
	}
	for _, l := range links { // each link changed the ctime of all
		if err := s.stats.prime(l.path, l.digest); err != nil {
			return nil, err
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		if err := syncDir(dir); err != nil {
			return nil, err
		}
	}
	return out, removeOld(folder, gone)
}

// placed is an entry that is in place.
type placed struct {
	planner.Published
	dir   string // that it was put into, "" where it was there
	links []link
}

// publishAll publishes entries, as many at once as there are processors: each
// waits for the disk. After an error no more are begun.
func (s *Store) publishAll(folder string, entries []Entry, old map[string]planner.Published) ([]placed, error) {
	done := make([]placed, len(entries))
	errs := make([]error, len(entries))
	var failed atomic.Bool
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(cap(cores), len(entries)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(entries) && !failed.Load(); i = int(next.Add(1)) - 1 {
				was, known := old[entries[i].Path]
				if done[i], errs[i] = s.place(folder, entries[i], was, known); errs[i] != nil {
					errs[i] = fmt.Errorf("%s: %w", entries[i].Path, errs[i])
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return done, errors.Join(errs...)
}

// place publishes an entry unless it is there as it was published. known says
// that an earlier record lists it.
func (s *Store) place(folder string, e Entry, was planner.Published, known bool) (placed, error) {
	dst, err := inside(folder, e.Path)
	if err != nil {
		return placed{}, err
	}
	if known {
		if err := removeIfThere(dst + tempSuffix); err != nil {
			return placed{}, err
		}
	}
	if known && was.Source == e.Source && s.modified(dst, was.Digest) == nil {
		return placed{Published: was}, nil
	}
	digest, blob, err := s.publish(dst, e)
	if err != nil {
		return placed{}, err
	}
	p := placed{Published: planner.Published{Path: e.Path, Digest: digest, Source: e.Source}, dir: filepath.Dir(dst)}
	if blob != "" {
		p.links = []link{{dst, digest}, {blob, digest}}
	}
	return p, nil
}

// link is a path that leads to a blob.
type link struct {
	path   string
	digest fingerprint.Digest
}

// inside returns the path of a published file.
func inside(folder, name string) (string, error) {
	if !fs.ValidPath(name) || name == "." {
		return "", fmt.Errorf("llima: internal error: published path %q", name)
	}
	return filepath.Join(folder, filepath.FromSlash(name)), nil
}

func removeOld(folder string, old map[string]planner.Published) error {
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(old)) {
		dst, err := inside(folder, path)
		if err == nil {
			err = errors.Join(removeIfThere(dst), removeIfThere(dst+tempSuffix))
		}
		if err != nil {
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

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// publish puts one file in place by rename, and returns its digest, and the
// path of the blob where it is a link to one.
func (s *Store) publish(dst string, e Entry) (digest fingerprint.Digest, blob string, err error) {
	if err := makeFolder(filepath.Dir(dst)); err != nil {
		return "", "", err
	}
	tmp := dst + tempSuffix
	if err := removeIfThere(tmp); err != nil {
		return "", "", err
	}
	linked := false
	if e.File != "" {
		digest, err = fillFromFile(tmp, e)
	} else if blob, err = s.Blob(e.Source); err == nil {
		digest = e.Source
		linked, err = fillFromBlob(tmp, blob, e)
	}
	if err == nil && !linked { // a blob is read-only already
		err = os.Chmod(tmp, 0o444)
	}
	if err = finish(tmp, dst, err); err != nil {
		return "", "", err
	}
	if linked {
		return digest, blob, nil
	}
	return digest, "", s.stats.prime(dst, digest)
}

// finish renames a file into place, or removes it after an error.
func finish(tmp, dst string, err error) error {
	if err == nil && sameFile(tmp, dst) {
		// Renaming one link of a file to another does nothing, not even remove
		// the first (POSIX, rename).
		return os.Remove(tmp)
	}
	if err == nil {
		err = os.Rename(tmp, dst)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(tmp))
	}
	return nil
}

func sameFile(a, b string) bool {
	x, err := os.Lstat(a)
	if err != nil {
		return false
	}
	y, err := os.Lstat(b)
	return err == nil && os.SameFile(x, y)
}

// fillFromBlob makes tmp a blob's content; linked says that it is the blob.
func fillFromBlob(tmp, blob string, e Entry) (linked bool, err error) {
	if reflink(tmp, blob) == nil {
		return false, syncFile(tmp)
	}
	if !e.NoLink && os.Link(blob, tmp) == nil {
		return true, nil
	}
	digest, err := copyPiece(tmp, blob, 0, -1)
	if err == nil && digest != e.Source {
		err = fmt.Errorf("the store's copy was changed while it was published\n  run the same command again")
	}
	return false, err
}

// fillFromFile makes tmp a user's file, or a piece of it: never a link.
func fillFromFile(tmp string, e Entry) (fingerprint.Digest, error) {
	if e.Length == 0 {
		if reflink(tmp, e.File) == nil {
			digest, _, err := hashFile(tmp, nil)
			return digest, errors.Join(err, syncFile(tmp))
		}
		return copyPiece(tmp, e.File, 0, -1)
	}
	digest, err := copyPiece(tmp, e.File, e.Offset, e.Length)
	if err == nil && digest != e.Source {
		err = fmt.Errorf("%s changed during the build\n  run the same command again", e.File)
	}
	return digest, err
}

// copyPiece copies length bytes of a file, all from offset where it is
// negative, and returns the digest of what it copied.
func copyPiece(dst, src string, offset, length int64) (fingerprint.Digest, error) {
	in, err := os.Open(src)
	if err != nil {
		return "", err
	}
	defer in.Close() //nolint:errcheck // opened for reading
	var r io.Reader = in
	if length >= 0 {
		r = io.NewSectionReader(in, offset, length)
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(out, h)}, struct{ io.Reader }{r}, make([]byte, 1<<18))
	if err == nil && length >= 0 && n != length {
		err = fmt.Errorf("%s: %d bytes at %d, want %d", src, n, offset, length)
	}
	if err == nil {
		err = out.Sync()
	}
	return fingerprint.FromHash(h.Sum(nil)), errors.Join(err, out.Close())
}

// modifiedError says that a published file has other content.
type modifiedError struct{ got fingerprint.Digest }

func (e modifiedError) Error() string { return "modified: " + e.got.Short() }

// modified returns nil where a file has the content that was published. A
// change of its times, or of the number of links to it, makes it be read.
func (s *Store) modified(path string, want fingerprint.Digest) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	got, err := s.stats.whole(path, st)
	if err == nil && got != want {
		err = modifiedError{got}
	}
	return err
}

// Modified implements [planner.Facts]: published files that are gone, and
// those whose content is no longer what was published.
func (s *Store) Modified(folder string, files []planner.Published) []fingerprint.Reason {
	var out []fingerprint.Reason
	for _, p := range files {
		dst, err := inside(folder, p.Path)
		if err == nil {
			err = s.modified(dst, p.Digest)
		}
		if err == nil {
			continue
		}
		r := fingerprint.Reason{Code: fingerprint.OutputModified, Name: p.Path, Old: p.Digest.Short()}
		if other, ok := errors.AsType[modifiedError](err); ok {
			r.New = other.got.Short()
		} else if errors.Is(err, fs.ErrNotExist) {
			r.Code = fingerprint.OutputMissing
		} else {
			r.New = err.Error()
		}
		out = append(out, r)
	}
	return out
}
