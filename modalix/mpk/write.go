// Package mpk reads and writes the vendor's archive: a .tar.gz that holds ELF
// objects and mpk.json, which describes the buffers of each. Archives are
// reproducible: equal files give equal bytes. It knows of an object only what
// its symbols say.
package mpk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// ManifestName is the file that describes the archive.
const ManifestName = "mpk.json"

// File is one member to be written. Size bytes are read from what Open
// returns.
type File struct {
	Name string
	Size int64
	Open func() (io.ReadCloser, error)
}

// Write writes an archive of files, by name, and the manifest. Members are
// stored, not deflated (weights do not compress), and carry no time, owner or
// mode but 0644.
func Write(w io.Writer, files []File, m Manifest) error {
	manifest, err := m.encode()
	if err != nil {
		return fmt.Errorf("mpk: %w", err)
	}
	all := append(slices.Clone(files), File{
		Name: ManifestName, Size: int64(len(manifest)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(manifest)), nil },
	})
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	zip, err := gzip.NewWriterLevel(w, gzip.NoCompression)
	if err != nil {
		return fmt.Errorf("mpk: %w", err)
	}
	zip.OS = 255 // unknown
	out := tar.NewWriter(zip)
	for i, f := range all {
		if i > 0 && f.Name == all[i-1].Name {
			return fmt.Errorf("mpk: %q: stands twice", f.Name)
		}
		if err := writeFile(out, f); err != nil {
			return fmt.Errorf("mpk: %q: %w", f.Name, err)
		}
	}
	if err := errors.Join(out.Close(), zip.Close()); err != nil {
		return fmt.Errorf("mpk: %w", err)
	}
	return nil
}

func writeFile(out *tar.Writer, f File) (err error) {
	if err := checkName(f.Name); err != nil {
		return err
	}
	const mode = 0o644
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Size: f.Size, Mode: mode, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	const limit = 8 << 30 // what USTAR's size field holds
	if f.Size >= limit {
		h.Format = tar.FormatGNU
	}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	n, err := io.Copy(out, io.LimitReader(r, f.Size))
	if err == nil && n != f.Size {
		err = fmt.Errorf("%d bytes, want %d", n, f.Size)
	}
	return err
}

// checkName refuses what a loader refuses: paths that are absolute, lead
// outside, or are not in their shortest form.
func checkName(name string) error {
	if name == "" || name != path.Clean(name) || path.IsAbs(name) || name == "." || name == ".." ||
		strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\:\x00") {
		return errors.New("is not a clean relative path")
	}
	return nil
}
