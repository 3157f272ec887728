// Package mmap gives a file's bytes without reading it all: mapped on Unix,
// read into memory elsewhere.
package mmap

import (
	"fmt"
	"io/fs"
	"os"
)

// File is an open, read-only view of a file.
type File struct {
	data []byte
}

// OpenRegular opens a regular file for reading. Opening a pipe would wait for
// whoever writes to it.
func OpenRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, irregular(path, info)
	}
	return os.Open(path)
}

func irregular(path string, info fs.FileInfo) error {
	return &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("not a regular file (%v)", info.Mode().Type())}
}

// Open maps a regular file. Reading what is mapped after the file was cut short
// is a fault, which package executor catches where it reads files of others.
func Open(path string) (*File, error) {
	f, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	return Map(f)
}

// Map maps a regular file that is open; it may be closed before the view is.
func Map(f *os.File) (*File, error) {
	path := f.Name()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, irregular(path, info)
	}
	if info.Size() == 0 {
		return &File{}, nil
	}
	if int64(int(info.Size())) != info.Size() {
		return nil, &fs.PathError{Op: "map", Path: path, Err: fmt.Errorf("%d bytes exceed the address space", info.Size())}
	}
	data, err := load(f, int(info.Size()))
	if err != nil {
		return nil, &fs.PathError{Op: "map", Path: path, Err: err}
	}
	return &File{data: data}, nil
}

// Bytes returns the contents, which must not be written to and are valid
// until Close; nil after it.
func (f *File) Bytes() []byte { return f.data }

// Drop says that the bytes b of the file were read and will not be again soon,
// so that they need not stay in memory. They may be read all the same.
func (f *File) Drop(b []byte) {
	if len(b) > 0 {
		drop(f.data, b)
	}
}

// Close releases the view. Closing twice is harmless.
func (f *File) Close() error {
	data := f.data
	f.data = nil
	if data == nil {
		return nil
	}
	return unload(data)
}

// Writable is a view of a file that can be written to. What was written is in
// the file when it has been closed.
type Writable struct {
	data []byte
	path string
}

// MapWritable maps a regular file that is open for reading and writing; it may
// be closed before the view is. The file must have room on its disk already.
func MapWritable(f *os.File) (*Writable, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, irregular(f.Name(), info)
	}
	if int64(int(info.Size())) != info.Size() || info.Size() == 0 {
		return nil, &fs.PathError{Op: "map", Path: f.Name(), Err: fmt.Errorf("%d bytes cannot be mapped", info.Size())}
	}
	data, err := loadWritable(f, int(info.Size()))
	if err != nil {
		return nil, &fs.PathError{Op: "map", Path: f.Name(), Err: err}
	}
	return &Writable{data, f.Name()}, nil
}

// Bytes returns the contents, valid until Close; nil after it.
func (w *Writable) Bytes() []byte { return w.data }

// Close releases the view. Closing twice is harmless.
func (w *Writable) Close() error {
	data := w.data
	w.data = nil
	if data == nil {
		return nil
	}
	return unloadWritable(w.path, data)
}
