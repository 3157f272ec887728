package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/llima-build/llima/planner/fingerprint"
)

// HeldError says that another build has an output's lock.
type HeldError struct {
	Output string
	Holder string // pid, host and command, where it said so
}

// Error implements error.
func (e *HeldError) Error() string {
	return fmt.Sprintf("%s is being built by %s", e.Output, e.Holder)
}

// Lock takes the lock of an output folder. Where another process has it,
// waiting is called with who that is; if it returns an error that is
// returned, else Lock waits. The lock goes with the process, so that nothing
// has to be unlocked by hand.
func (s *Store) Lock(output, self string, waiting func(*HeldError) error) (unlock func() error, err error) {
	hex, _ := fingerprint.Sum([]byte(output)).Hex()
	path := filepath.Join(s.root, "locks", hex[:16])
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	held, err := tryLock(f)
	if err == nil && held {
		if err = waiting(&HeldError{Output: output, Holder: holder(path)}); err == nil {
			err = waitLock(f)
		}
	}
	if err == nil {
		err = errors.Join(f.Truncate(0), writeAt(f, self))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

func holder(path string) string {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return "another process"
	}
	return strings.TrimSpace(string(b[:min(len(b), 500)]))
}
