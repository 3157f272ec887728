// Package atomicio writes files that appear whole or not at all: into a
// temporary file in the same folder, which is flushed to the disk and renamed.
package atomicio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
)

// File is a file under construction. It is an [io.Writer]; what is written
// takes the place of the final path on Commit. Not safe for concurrent use.
type File struct {
	path string
	temp *os.File // nil after Commit or Abort
}

var serial atomic.Uint64

// Create starts a file that will be at path, with perm before umask. The
// folder must exist. The caller ends with Commit or Abort; deferring Abort is
// right, as after Commit it does nothing.
func Create(path string, perm fs.FileMode) (*File, error) {
	dir, base := filepath.Split(path)
	for range 1000 {
		name := fmt.Sprintf(".%s.%d-%d.tmp", base, os.Getpid(), serial.Add(1))
		temp, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
		if err == nil {
			return &File{path: path, temp: temp}, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, &fs.PathError{Op: "create", Path: path, Err: errors.New("too many temporary files beside it")}
}

// Write implements io.Writer.
func (f *File) Write(b []byte) (int, error) {
	if f.temp == nil {
		return 0, &fs.PathError{Op: "write", Path: f.path, Err: fs.ErrClosed}
	}
	return f.temp.Write(b)
}

// Commit flushes the file to the disk and puts it in place of whatever is at
// the path. On an error the path is as it was and the temporary file is gone,
// except that an error of the last step, the flush of the folder, leaves the
// new file in place.
func (f *File) Commit() error {
	if f.temp == nil {
		return &fs.PathError{Op: "commit", Path: f.path, Err: fs.ErrClosed}
	}
	temp := f.temp
	f.temp = nil
	err := errors.Join(temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return syncDir(filepath.Dir(f.path))
}

// Abort removes the temporary file. After Commit or Abort it does nothing.
func (f *File) Abort() error {
	if f.temp == nil {
		return nil
	}
	temp := f.temp
	f.temp = nil
	return errors.Join(temp.Close(), os.Remove(temp.Name()))
}

// WriteFile writes data to path as Create and Commit do.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Abort())
	}
	return f.Commit()
}

// syncDir makes a rename durable. Windows has no such call for folders.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
