//go:build unix

package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockKind is how a file is locked.
type lockKind int

const (
	shared lockKind = unix.LOCK_SH
	alone  lockKind = unix.LOCK_EX
)

// tryLock locks a file without waiting; held is true where another has it.
func tryLock(f *os.File, how lockKind) (held bool, err error) {
	err = unix.Flock(int(f.Fd()), int(how)|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// waitLock locks a file alone, waiting for it.
func waitLock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openFolder opens a folder for locking it.
func openFolder(path string) (*os.File, error) { return os.Open(path) }

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// noSpace reports whether an error says that a disk or a quota is full.
func noSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// freeBytes returns what this user can still write to a folder's file system.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // types differ between systems
}
