package mpk

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// Limits bound what Read accepts.
type Limits struct {
	Members   int   // files in the archive
	FileBytes int64 // one file
	Bytes     int64 // all files
}

// DefaultLimits suit archives of models below ten billion parameters.
func DefaultLimits() Limits {
	return Limits{Members: 4096, FileBytes: 16 << 30, Bytes: 64 << 30}
}

// maxManifest bounds mpk.json, which is held in memory.
const maxManifest = 16 << 20

// Read walks an archive and gives each file but the manifest to visit, whose
// reader is valid until it returns; a nil visit skips the contents. It
// refuses links, duplicate or unclean paths, anything over the limits, and a
// manifest that is missing, malformed, repeats a key, or names an object that
// the archive lacks.
func Read(r io.Reader, limits Limits, visit func(name string, size int64, body io.Reader) error) (Manifest, error) {
	var m Manifest
	zip, err := gzip.NewReader(r)
	if err != nil {
		return m, fmt.Errorf("mpk: %w", err)
	}
	in := tar.NewReader(zip)
	seen := make(map[string]bool)
	found := false
	var total int64
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, fmt.Errorf("mpk: entry %d: %w", len(seen), err)
		}
		if err := checkMember(h, seen, &total, limits); err != nil {
			return m, fmt.Errorf("mpk: %q: %w", h.Name, err)
		}
		seen[h.Name] = true
		switch {
		case h.Name == ManifestName:
			found = true
			m, err = readManifest(in, h.Size)
		case visit != nil:
			err = visit(h.Name, h.Size, in)
		}
		if err != nil {
			return m, fmt.Errorf("mpk: %q: %w", h.Name, err)
		}
	}
	if !found {
		return m, fmt.Errorf("mpk: %q is missing", ManifestName)
	}
	for _, p := range m.Plugins {
		if !seen[p.Resources.Executable] || p.Resources.Executable == ManifestName {
			return m, fmt.Errorf("mpk: %q: plugin %q: executable %q is not in the archive", ManifestName, p.Name, p.Resources.Executable)
		}
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(zip, limits.FileBytes)); err != nil { // checks the sum
		return m, fmt.Errorf("mpk: %w", err)
	}
	return m, nil
}

func checkMember(h *tar.Header, seen map[string]bool, total *int64, limits Limits) error {
	if h.Typeflag != tar.TypeReg {
		return fmt.Errorf("type %q is not a regular file", h.Typeflag)
	}
	if err := checkName(h.Name); err != nil {
		return err
	}
	if seen[h.Name] {
		return errors.New("stands twice")
	}
	if len(seen) >= limits.Members {
		return fmt.Errorf("more than %d files", limits.Members)
	}
	if h.Size < 0 || h.Size > limits.FileBytes || h.Size > limits.Bytes-*total {
		return fmt.Errorf("%d bytes exceed the limit", h.Size)
	}
	*total += h.Size
	return nil
}

func readManifest(r io.Reader, size int64) (Manifest, error) {
	if size > maxManifest {
		return Manifest{}, fmt.Errorf("%d bytes exceed %d", size, maxManifest)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return Manifest{}, err
	}
	return decodeManifest(b)
}
