//go:build !linux && !darwin

package store

import (
	"os"
	"time"
)

// statID identifies a file's content: size and time, which is all there is.
func statID(st os.FileInfo) string {
	return statText(uint64(st.Size()), uint64(st.ModTime().UnixNano()))
}

// changeTime is when the file was last changed.
func changeTime(st os.FileInfo) time.Time { return st.ModTime() }
