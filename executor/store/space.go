package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// NoSpace reports whether an error says that a disk or a quota is full.
func NoSpace(err error) bool { return noSpace(err) }

// Root returns the store's folder.
func (s *Store) Root() string { return s.root }

// Device identifies the file system that a folder is on or, where it is not
// there yet, would be made on, and says how many bytes are free on it.
func Device(dir string) (device uint64, freeBytesThere int64, err error) {
	for {
		st, err := os.Stat(dir)
		if err == nil {
			free, err := freeBytes(dir)
			return statID(st).dev, free, err
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || parent == dir {
			return 0, 0, err
		}
		dir = parent
	}
}
