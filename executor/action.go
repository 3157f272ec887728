// Package executor runs stale targets: it orders them, gives each its inputs,
// and follows the protocol that makes a record true. It knows stages by an
// interface only, and nothing of what they do.
package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/internal/mmap"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// Stage is the code behind a kind of target.
type Stage interface {
	// Run writes the target's outputs into the action's folder, or declares
	// them.
	Run(ctx context.Context, a *Action) error
}

// Action is one run of a stage for one target.
type Action struct {
	Target *planner.Target
	Dir    string    // outputs are written here
	Log    io.Writer // what the stage has to say; shown when it fails

	exec     *build
	inputs   []Input
	declared []planner.Output
	used     []planner.Source // read beyond the target's own sources
	entries  []store.Entry
	publish  bool
	maps     []*mmap.File
}

// Input is an output of a target that this one depends on.
type Input struct {
	From *planner.Target
	planner.Output
}

// Inputs lists what the target's dependencies made, in their order; what
// several of them made alike stands once.
func (a *Action) Inputs() []Input { return a.inputs }

// Bytes maps an input into memory until the action ends: a blob, or the
// tensor of the checkpoint that it stands for.
func (a *Action) Bytes(in Input) ([]byte, error) {
	if in.Tensor != "" {
		return a.Tensor(in.Tensor)
	}
	path, err := a.exec.store.Blob(in.Digest)
	if err != nil {
		return nil, err
	}
	f, err := mmap.Open(path)
	if err != nil {
		return nil, err
	}
	a.maps = append(a.maps, f)
	return f.Bytes(), nil
}

// Find returns the input of a name.
func (a *Action) Find(name string) (Input, error) {
	i := slices.IndexFunc(a.inputs, func(in Input) bool { return in.Name == name })
	if i < 0 {
		return Input{}, fmt.Errorf("llima: internal error: %s has no input %s", a.Target.Addr, name)
	}
	return a.inputs[i], nil
}

// Tensor returns the bytes of a tensor of the checkpoint. It must be among
// the target's sources, or behind one of its inputs.
func (a *Action) Tensor(name string) ([]byte, error) {
	ck := a.Target.Model.Checkpoint
	t, ok := ck.Tensor(name)
	if !ok {
		return nil, fmt.Errorf("the checkpoint lacks tensor %q", name)
	}
	a.used = append(a.used, planner.TensorSource(ck, t))
	return ck.Bytes(t)
}

// Shard maps a file of the checkpoint until the action ends.
func (a *Action) Shard(name string) ([]byte, error) {
	f, err := mmap.Open(filepath.Join(a.Target.Model.Checkpoint.Dir(), name))
	if err != nil {
		return nil, err
	}
	a.maps = append(a.maps, f)
	return f.Bytes(), nil
}

// SourceDigest returns the digest of a source.
func (a *Action) SourceDigest(src planner.Source) (fingerprint.Digest, error) {
	return a.exec.store.Digest(src)
}

// Refer declares an output that is a tensor of the checkpoint as it is: it is
// not stored, and published from the checkpoint.
func (a *Action) Refer(name, tensor string) error {
	ck := a.Target.Model.Checkpoint
	t, ok := ck.Tensor(tensor)
	if !ok {
		return fmt.Errorf("the checkpoint lacks tensor %q", tensor)
	}
	digest, err := a.exec.store.Digest(planner.TensorSource(ck, t))
	if err != nil {
		return err
	}
	a.declared = append(a.declared, planner.Output{Name: name, Digest: digest, Size: t.Length, Tensor: tensor})
	return nil
}

// Memo declares an output that may have been made before by another target:
// make writes it to a path only if the store has nothing under the preimage's
// key.
func (a *Action) Memo(name string, p fingerprint.Preimage, make func(path string) error) error {
	if err := p.Normalize(); err != nil {
		return err
	}
	key := p.Key()
	unlock := a.exec.single(key)
	defer unlock()
	if out, ok := a.exec.store.Outputs(key); ok && len(out) == 1 {
		out[0].Name = name
		a.declared = append(a.declared, out[0])
		return nil
	}
	f, err := os.CreateTemp(a.Dir, "memo-")
	if err != nil {
		return err
	}
	path := f.Name()
	if err := f.Close(); err != nil {
		return err
	}
	if err := make(path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	digest, size, err := a.exec.store.Keep(path)
	if err != nil {
		return err
	}
	out := planner.Output{Name: name, Digest: digest, Size: size}
	a.declared = append(a.declared, out)
	return a.exec.store.Remember(key, []planner.Output{out})
}

// TensorDigest returns the digest of a tensor of the checkpoint.
func (a *Action) TensorDigest(name string) (fingerprint.Digest, error) {
	ck := a.Target.Model.Checkpoint
	t, ok := ck.Tensor(name)
	if !ok {
		return "", fmt.Errorf("the checkpoint lacks tensor %q", name)
	}
	return a.exec.store.Digest(planner.TensorSource(ck, t))
}

// WriteFile writes an output.
func (a *Action) WriteFile(name string, data []byte) error {
	path := filepath.Join(a.Dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// Create creates an output for streaming; the caller closes it.
func (a *Action) Create(name string) (*os.File, error) {
	path := filepath.Join(a.Dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return os.Create(path)
}

// Publish declares the files of the output folder: what the target publishes
// when its run ends. Nothing of them is stored.
func (a *Action) Publish(entries []store.Entry) { a.entries, a.publish = entries, true }

// Keep stores a file that the action wrote, for publishing it.
func (a *Action) Keep(name string) (planner.Output, error) {
	digest, size, err := a.exec.store.Keep(filepath.Join(a.Dir, filepath.FromSlash(name)))
	return planner.Output{Name: name, Digest: digest, Size: size}, err
}

// outputs moves what the action wrote into the store and lists it, sorted.
func (a *Action) outputs() ([]planner.Output, error) {
	out := slices.Clone(a.declared)
	err := filepath.WalkDir(a.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(a.Dir, path)
		if err != nil {
			return err
		}
		o, err := a.Keep(filepath.ToSlash(rel))
		out = append(out, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(x, y planner.Output) int { return strings.Compare(x.Name, y.Name) })
	return slices.CompactFunc(out, func(x, y planner.Output) bool { return x == y }), nil
}

func (a *Action) close() error {
	var errs []error
	for _, m := range a.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// singles lets one target at a time work under a key.
type singles struct {
	mu   sync.Mutex
	held map[fingerprint.Digest]chan struct{}
}

func (s *singles) lock(key fingerprint.Digest) (unlock func()) {
	for {
		s.mu.Lock()
		busy, ok := s.held[key]
		if !ok {
			done := make(chan struct{})
			s.held[key] = done
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				delete(s.held, key)
				s.mu.Unlock()
				close(done)
			}
		}
		s.mu.Unlock()
		<-busy
	}
}
