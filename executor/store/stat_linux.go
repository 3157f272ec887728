package store

import (
	"os"
	"syscall"
	"time"
)

// statID identifies a file's content: device, inode, size, times.
func statID(st os.FileInfo) string {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return statText(uint64(st.Size()), uint64(st.ModTime().UnixNano()))
	}
	return statText(s.Dev, s.Ino, uint64(st.Size()), uint64(st.ModTime().UnixNano()), uint64(s.Ctim.Nano()))
}

// changeTime is when the file was last changed, or its metadata.
func changeTime(st os.FileInfo) time.Time {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return st.ModTime()
	}
	return time.Unix(0, s.Ctim.Nano())
}
