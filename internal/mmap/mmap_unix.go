//go:build unix

package mmap

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func load(f *os.File, sizeBytes int) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, sizeBytes, unix.PROT_READ, unix.MAP_SHARED)
}

func unload(data []byte) error { return unix.Munmap(data) }

// drop takes the pages of b, a part of data, out of the process's memory; the
// file's bytes stay where the system caches them.
func drop(data, b []byte) {
	page := uintptr(os.Getpagesize())
	start := uintptr(unsafe.Pointer(&b[0])) - uintptr(unsafe.Pointer(&data[0]))
	end := min((start+uintptr(len(b))+page-1)&^(page-1), uintptr(len(data)))
	_ = unix.Madvise(data[start&^(page-1):end], unix.MADV_DONTNEED) // an advice: it need not be taken
}

func loadWritable(f *os.File, sizeBytes int) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, sizeBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func unloadWritable(_ string, data []byte) error { return unix.Munmap(data) }
