package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llima-build/llima/planner/fingerprint"
)

// HeldError says that another process has a lock.
type HeldError struct {
	What   string // "out/tiny", "the store"
	Doing  string // what the holder does with it: "is being built by"
	Holder string // pid, host and command, where it said so
}

// Error implements error.
func (e *HeldError) Error() string { return e.What + " " + e.Doing + " " + e.Holder }

const (
	beingBuilt   = "is being built by"
	beingUsed    = "is being used by"
	beingCleaned = "is being cleaned by"
)

// pollInterval is how often a lock that another process has is tried again.
const pollInterval = 50 * time.Millisecond

// Locks are taken for one holder. They go with the process, so that nothing
// has to be unlocked by hand.
type Locks struct {
	store *Store
	self  string // pid, host and command of this process
	// waiting is called with who has a lock; if it returns an error taking the
	// lock fails with that, else it waits until the context ends.
	waiting func(*HeldError) error
	files   []*os.File
	stores  []*os.File // those of files that are locks of stores
	made    []string   // folders, in the order in which they were made
}

// Locks returns an empty set of locks for a process that calls itself self.
func (s *Store) Locks(self string, waiting func(*HeldError) error) *Locks {
	return &Locks{store: s, self: self, waiting: waiting}
}

// Release gives all of them back. Folders that were made to be locked, and in
// which nothing is, go.
func (l *Locks) Release() error {
	var errs []error
	for _, dir := range slices.Backward(l.made) {
		_ = os.Remove(dir) // an error says that there is something in it
	}
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	l.files = nil
	return errors.Join(errs...)
}

// storeLock is the lock file that builds share and that removing blobs takes
// alone; cleanerName says who has it alone. A cache has them as well.
const (
	storeLock   = "store"
	cleanerName = "cleaner"
)

// Share keeps the store's blobs where they are while a build runs.
func (l *Locks) Share(ctx context.Context) error {
	for _, dir := range l.store.folders() {
		who := func() *HeldError {
			return &HeldError{What: "the store", Doing: beingCleaned, Holder: readHolder(filepath.Join(dir, "locks", cleanerName))}
		}
		if err := l.lockStore(ctx, dir, shared, who); err != nil {
			return err
		}
	}
	return nil
}

// Alone waits until no build runs, and keeps new ones waiting.
func (l *Locks) Alone(ctx context.Context) error {
	for _, dir := range l.store.folders() {
		who := func() *HeldError {
			return &HeldError{What: "the store", Doing: beingUsed, Holder: l.store.builders()}
		}
		if err := l.lockStore(ctx, dir, alone, who); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "locks", cleanerName), []byte(l.self), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (l *Locks) lockStore(ctx context.Context, dir string, how lockKind, who func() *HeldError) error {
	f, err := os.OpenFile(filepath.Join(dir, "locks", storeLock), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := l.take(ctx, f, how, who); err != nil {
		return err
	}
	l.stores = append(l.stores, f)
	return nil
}

// Upgrade takes alone what Share has shared, if no other process has a share
// of it; it does not wait. Where it reports false, only Release may follow.
func (l *Locks) Upgrade() (bool, error) {
	for _, f := range l.stores {
		if held, err := tryLock(f, alone); err != nil || held {
			return false, err
		}
	}
	return true, nil
}

// folders are those of the store that blobs are kept in, and the locks.
func (s *Store) folders() []string {
	if s.keep == s.root {
		return []string{s.root}
	}
	return []string{s.root, s.keep}
}

// Model takes the lock of a model's records.
func (l *Locks) Model(ctx context.Context, model, output string) error {
	name := "model-" + fileName(model)
	return l.named(ctx, name, output)
}

// Folder takes the lock of an output folder, whatever store and whatever name
// of the folder another build uses: the folder itself is locked, where the
// system can, and it is made for that. What the holder says of itself stands
// in the store.
func (l *Locks) Folder(ctx context.Context, output string) error {
	if err := l.makeFolder(output); err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(output)
	if err != nil {
		return err
	}
	hex, _ := fingerprint.Sum([]byte(real)).Hex()
	if err := l.named(ctx, "output-"+hex[:16], output); err != nil {
		return err
	}
	for {
		dir, err := openFolder(real)
		if dir == nil || err != nil {
			return err
		}
		if _, err := tryLock(dir, alone); err != nil { // some network file systems lock files only
			return dir.Close()
		}
		held := func() *HeldError {
			return &HeldError{What: output, Doing: beingBuilt, Holder: folderHolder(real)}
		}
		if err := l.take(ctx, dir, alone, held); err != nil {
			return err
		}
		// While this waited, the holder may have removed the folder.
		if sameFolder(dir, real) {
			return nil
		}
		if err := l.makeFolder(real); err != nil {
			return err
		}
	}
}

// makeFolder makes a folder and those above it, and remembers which.
func (l *Locks) makeFolder(dir string) error {
	var missing []string
	for d := filepath.Clean(dir); !exists(d); d = filepath.Dir(d) {
		missing = append(missing, d)
	}
	slices.Reverse(missing)
	l.made = append(l.made, missing...)
	return os.MkdirAll(dir, 0o755)
}

// named takes the lock of a file in the store that says who has it.
func (l *Locks) named(ctx context.Context, name, output string) error {
	f, err := l.open(name)
	if err != nil {
		return err
	}
	err = l.take(ctx, f, alone, func() *HeldError {
		return &HeldError{What: output, Doing: beingBuilt, Holder: readHolder(f.Name())}
	})
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(l.self), 0)
	}
	return err
}

func (s *Store) lockPath(name string) string { return filepath.Join(s.root, "locks", name) }

func (l *Locks) open(name string) (*os.File, error) {
	return os.OpenFile(l.store.lockPath(name), os.O_RDWR|os.O_CREATE, 0o644)
}

// take locks a file, and keeps it open until Release.
func (l *Locks) take(ctx context.Context, f *os.File, how lockKind, who func() *HeldError) error {
	held, err := tryLock(f, how)
	if err == nil && held {
		if err = l.waiting(who()); err == nil {
			err = poll(ctx, f, how)
		}
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.files = append(l.files, f)
	return nil
}

func poll(ctx context.Context, f *os.File, how lockKind) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if held, err := tryLock(f, how); err != nil || !held {
			return err
		}
	}
}

func readHolder(path string) string {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return "another process"
	}
	return strings.TrimSpace(string(b[:min(len(b), 500)]))
}

// builders says who has models of the store locked.
func (s *Store) builders() string {
	entries, err := os.ReadDir(filepath.Join(s.root, "locks"))
	if err != nil {
		return "another process"
	}
	var first string
	more := 0
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "model-") {
			continue
		}
		f, err := os.OpenFile(s.lockPath(e.Name()), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		held, err := tryLock(f, shared)
		if err = errors.Join(err, f.Close()); err != nil || !held {
			continue
		}
		switch who := readHolder(f.Name()); {
		case first == "":
			first = who
		case who != first:
			more++
		}
	}
	switch {
	case first == "":
		return "another process"
	case more > 0:
		return fmt.Sprintf("%s, and %d more", first, more)
	default:
		return first
	}
}

// sameFolder reports whether an open folder still has its path.
func sameFolder(dir *os.File, path string) bool {
	a, err := dir.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err == nil && os.SameFile(a, b)
}
