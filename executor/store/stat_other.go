//go:build !linux && !darwin

package store

import "os"

// statID tells size and time, which is all that is common here.
func statID(st os.FileInfo) fileID {
	return fileID{size: st.Size(), mtime: st.ModTime().UnixNano()}
}
