//go:build unix

package mmap

import (
	"os"

	"golang.org/x/sys/unix"
)

func load(f *os.File, sizeBytes int) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, sizeBytes, unix.PROT_READ, unix.MAP_SHARED)
}

func unload(data []byte) error { return unix.Munmap(data) }
