//go:build !unix

package mmap

import (
	"errors"
	"io"
	"os"
)

func load(f *os.File, sizeBytes int) ([]byte, error) {
	data := make([]byte, sizeBytes)
	_, err := io.ReadFull(f, data)
	return data, err
}

func unload([]byte) error { return nil }

func drop(_, _ []byte) {}

func loadWritable(f *os.File, sizeBytes int) ([]byte, error) {
	data := make([]byte, sizeBytes)
	_, err := f.ReadAt(data, 0)
	return data, err
}

func unloadWritable(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	return errors.Join(err, f.Close())
}
