package store

import "os"

// linkCount is not told here.
func linkCount(os.FileInfo) uint64 { return 0 }
