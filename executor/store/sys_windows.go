package store

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockKind is how a file is locked.
type lockKind uint32

const (
	shared lockKind = 0
	alone  lockKind = windows.LOCKFILE_EXCLUSIVE_LOCK
)

// tryLock locks a file without waiting; held is true where another has it.
func tryLock(f *os.File, how lockKind) (held bool, err error) {
	err = windows.LockFileEx(windows.Handle(f.Fd()), uint32(how)|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, lockRange())
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return true, nil
	}
	return false, err
}

// waitLock locks a file alone, waiting for it.
func waitLock(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, lockRange())
}

// lockRange is a byte far past the holder's description, which others read.
func lockRange() *windows.Overlapped { return &windows.Overlapped{Offset: 1 << 30} }

// openFolder returns nil: folders cannot be locked here, so that only builds
// of one store wait for each other.
func openFolder(string) (*os.File, error) { return nil, nil } //nolint:nilnil // nothing to lock is no error

// syncDir does nothing: folders cannot be synced here.
func syncDir(string) error { return nil }

// noSpace reports whether an error says that a disk or a quota is full.
func noSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// freeBytes returns what this user can still write to a folder's file system.
func freeBytes(dir string) (int64, error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, &os.PathError{Op: "free space", Path: dir, Err: err}
	}
	return int64(free), nil
}
