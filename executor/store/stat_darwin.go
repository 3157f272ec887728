package store

import (
	"os"
	"syscall"
)

func statID(st os.FileInfo) fileID {
	id := fileID{size: st.Size(), mtime: st.ModTime().UnixNano()}
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino, id.change = uint64(s.Dev), s.Ino, s.Ctimespec.Nano()
	}
	return id
}
