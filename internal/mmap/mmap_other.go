//go:build !unix

package mmap

import (
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
