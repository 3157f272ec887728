package executor

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
)

// Cost bounds what one run of a target takes.
type Cost struct {
	StoreBytes  int64 // written into the store
	OutputBytes int64 // copied into the model's output folder
	// LinkBytes are published by link where store and output are on one file
	// system, and copied elsewhere.
	LinkBytes   int64
	MemoryBytes int64 // allocated while it runs, mapped files aside
}

// Room is what a build needs on one file system, and what is free there.
type Room struct {
	Folders   []string // on it, absolute
	NeedBytes int64    // at most
	FreeBytes int64
}

// Fits reports whether there is room.
func (r Room) Fits() bool { return r.NeedBytes <= r.FreeBytes }

// NoSpaceError says that a disk is full, or too small for what is ahead.
type NoSpaceError struct {
	Rooms []Room
	// Err is what failed; nil before a build, where nothing did.
	Err     error
	Targets []string // that failed for it
}

// Error implements error.
func (e *NoSpaceError) Error() string {
	var b strings.Builder
	if e.Err != nil {
		fmt.Fprintf(&b, "no space left: failed: %s", strings.Join(e.Targets, ", "))
	} else {
		b.WriteString("not enough space")
	}
	for _, r := range e.Rooms {
		fmt.Fprintf(&b, "\n  %s: up to %d bytes are needed, %d are free", strings.Join(r.Folders, ", "), r.NeedBytes, r.FreeBytes)
	}
	return b.String()
}

// Unwrap returns what failed.
func (e *NoSpaceError) Unwrap() error { return e.Err }

// rooms adds up what the targets that are not done need.
func (b *build) rooms(done map[*planner.Target]bool) ([]Room, error) {
	return Rooms(b.graph, b.store, b.opt.Costs, done)
}

// Rooms adds up, for each file system, what the targets of a graph that are
// not done need. Those without costs need nothing.
func Rooms(g *planner.Graph, st *store.Store, costs map[*planner.Target]Cost, done map[*planner.Target]bool) ([]Room, error) {
	rooms := map[uint64]*Room{}
	room := func(dir string) (uint64, *Room, error) {
		device, free, err := store.Device(dir)
		if err != nil {
			return 0, nil, err
		}
		r := rooms[device]
		if r == nil {
			r = &Room{FreeBytes: free}
			rooms[device] = r
		}
		if !slices.Contains(r.Folders, dir) {
			r.Folders = append(r.Folders, dir)
		}
		return device, r, nil
	}
	home, stored, err := room(st.Root())
	if err != nil {
		return nil, err
	}
	for _, t := range g.Order {
		c, ok := costs[t]
		if !ok || done[t] {
			continue
		}
		stored.NeedBytes += c.StoreBytes
		if t.Addr.Stage != addr.Package {
			continue
		}
		device, r, err := room(filepath.Clean(t.Model.Config.Output))
		if err != nil {
			return nil, err
		}
		r.NeedBytes += c.OutputBytes
		if device != home {
			r.NeedBytes += c.LinkBytes
		}
	}
	out := make([]Room, 0, len(rooms))
	for _, r := range rooms {
		slices.Sort(r.Folders)
		out = append(out, *r)
	}
	slices.SortFunc(out, func(x, y Room) int { return strings.Compare(x.Folders[0], y.Folders[0]) })
	return out, nil
}

func (b *build) isFull() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.full != nil
}

// fullError says what is still needed and what is free, after temporary files
// of the targets that failed are gone.
func (b *build) fullError() error {
	done := make(map[*planner.Target]bool, len(b.outputs))
	for t := range b.outputs {
		done[t] = true
	}
	e := &NoSpaceError{Err: b.full, Targets: b.failed}
	rooms, err := b.rooms(done)
	if err != nil {
		return errors.Join(e, err)
	}
	e.Rooms = rooms
	return e
}
