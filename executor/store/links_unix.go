//go:build unix

package store

import (
	"os"
	"syscall"
)

// linkCount returns how many links a file has, 0 where it is not told.
func linkCount(st os.FileInfo) uint64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink) //nolint:unconvert // types differ between systems
	}
	return 0
}
