package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

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

// pollInterval is how often a lock that another process has is tried again.
const pollInterval = 50 * time.Millisecond

// Lock takes the locks of a model's records and of its output folder. Where
// another process has one, waiting is called with who that is; if it returns
// an error that is returned, else Lock waits until ctx ends. Locks go with the
// process, so that nothing has to be unlocked by hand.
func (s *Store) Lock(ctx context.Context, model, output, self string, waiting func(*HeldError) error) (unlock func() error, err error) {
	hex, _ := fingerprint.Sum([]byte(output)).Hex()
	var files []*os.File
	unlock = func() error {
		var errs []error
		for _, f := range files {
			errs = append(errs, f.Close())
		}
		return errors.Join(errs...)
	}
	for _, name := range []string{"model-" + fileName(model), "output-" + hex[:16]} {
		f, err := s.lock(ctx, filepath.Join(s.root, "locks", name), output, self, waiting)
		if err != nil {
			return nil, errors.Join(err, unlock())
		}
		files = append(files, f)
	}
	return unlock, nil
}

func (s *Store) lock(ctx context.Context, path, output, self string, waiting func(*HeldError) error) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	held, err := tryLock(f)
	if err == nil && held {
		if err = waiting(&HeldError{Output: output, Holder: holder(path)}); err == nil {
			err = poll(ctx, f)
		}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(self), 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func poll(ctx context.Context, f *os.File) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if held, err := tryLock(f); err != nil || !held {
			return err
		}
	}
}

func holder(path string) string {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return "another process"
	}
	return strings.TrimSpace(string(b[:min(len(b), 500)]))
}
