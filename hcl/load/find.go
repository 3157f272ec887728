package load

import (
	"os"
	"path/filepath"

	"github.com/llima-build/llima/internal/diag"
)

// FileName is the name of a configuration.
const FileName = "llima.hcl"

// Find returns the nearest llima.hcl in dir or the folders above it, as a path
// relative to the same place as dir. The error is a [diag.List].
func Find(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", diag.Errorf("No configuration", "The folder %s cannot be found: %v.", dir, err)
	}
	if info, err := os.Stat(abs); err != nil || !info.IsDir() {
		return "", diag.Errorf("No such folder", "There is no folder %s.", dir)
	}
	for at := dir; ; at = filepath.Join(at, "..") {
		name := filepath.Join(at, FileName)
		if info, err := os.Stat(name); err == nil && !info.IsDir() {
			return name, nil
		}
		parent := filepath.Dir(abs)
		if parent == abs {
			break
		}
		abs = parent
	}
	return "", diag.Errorf("No configuration",
		"There is no %s in %s or in any folder above it. Write one, the smallest is\n\n    model \"my-model\" {\n      source = \"path/to/checkpoint\"\n    }\n\nor name another folder or file:\n\n    llima -C FOLDER …\n    llima -f FILE …", FileName, dir)
}
