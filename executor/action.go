// Package executor runs stale targets: it orders them, gives each its inputs,
// and follows the protocol that makes a record true. It knows stages by an
// interface only, and nothing of what they do.
package executor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/formats/source"
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
	mapped   []string             // tensors
	compare  bool                 // nothing is stored, and nothing is taken from the store
	sums     map[string]store.Sum // of files that it wrote, by path
	maps     []*mmap.File
	written  []*mmap.Writable // outputs
}

// Input is an output of a target that this one depends on.
type Input struct {
	From *planner.Target
	planner.Output
}

// Inputs lists what the target's dependencies made, in their order; what
// several of them made alike stands once.
func (a *Action) Inputs() []Input { return a.inputs }

// Made lists what a target made that this one depends on, through others or
// itself.
func (a *Action) Made(t *planner.Target) []Input {
	a.exec.mu.Lock()
	defer a.exec.mu.Unlock()
	var out []Input
	for _, o := range a.exec.outputs[t] {
		out = append(out, Input{From: t, Output: o})
	}
	return out
}

// Progress says how much of the run is done; it may be called by whichever
// goroutine.
func (a *Action) Progress(done, total int) {
	a.exec.emit(Event{Kind: Advanced, Target: a.Target, Step: done, Steps: total})
}

// Scratch returns where the model's large files are kept that can be made
// again.
func (a *Action) Scratch() *store.Scratch { return a.exec.store.Scratch(a.Target.Addr.Model) }

// Pass declares an input that is a blob as an output of its own.
func (a *Action) Pass(name string, in Input) {
	a.declare(planner.Output{Name: name, Digest: in.Digest, Size: in.Size})
}

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

// Open opens an input that is a blob for reading it once.
func (a *Action) Open(in Input) (io.ReadCloser, error) {
	path, err := a.exec.store.Blob(in.Digest)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// Find returns the input of a name.
func (a *Action) Find(name string) (Input, error) {
	i := slices.IndexFunc(a.inputs, func(in Input) bool { return in.Name == name })
	if i < 0 {
		return Input{}, fmt.Errorf("llima: internal error: %s has no input %s", a.Target.Addr, name)
	}
	return a.inputs[i], nil
}

// Tensor maps the bytes of a tensor of the checkpoint until the action ends. It
// must be among the target's sources, or behind one of its inputs.
func (a *Action) Tensor(name string) ([]byte, error) {
	if err := a.use(name); err != nil {
		return nil, err
	}
	a.mapped = append(a.mapped, name)
	ck := a.Target.Model.Checkpoint
	w, _ := ck.Weight(name)
	return ck.Bytes(w)
}

// TensorReader reads a tensor piece by piece, in place of Tensor.
func (a *Action) TensorReader(name string) (io.ReaderAt, error) {
	if err := a.use(name); err != nil {
		return nil, err
	}
	ck := a.Target.Model.Checkpoint
	w, _ := ck.Weight(name)
	return ck.Reader(w)
}

// Weight returns a weight of the model, to be read through Carry or Plain.
func (a *Action) Weight(name string) (*source.Weight, error) {
	if err := a.use(name); err != nil {
		return nil, err
	}
	w, _ := a.Target.Model.Checkpoint.Weight(name)
	return w, nil
}

// use notes that a tensor of the checkpoint is read.
func (a *Action) use(name string) error {
	ck := a.Target.Model.Checkpoint
	w, ok := ck.Weight(name)
	if !ok {
		return fmt.Errorf("the checkpoint lacks tensor %q", name)
	}
	a.used = append(a.used, planner.TensorSources(ck, w)...)
	return nil
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
	w, ok := a.Target.Model.Checkpoint.Weight(tensor)
	if !ok || !w.Raw {
		return fmt.Errorf("the checkpoint lacks tensor %q as it is", tensor)
	}
	digests, err := a.TensorDigests(tensor)
	if err != nil {
		return err
	}
	a.declare(planner.Output{Name: name, Digest: digests[0].Digest, Size: w.Parts[0].Length, Tensor: tensor})
	return nil
}

// Memo declares an output that may have been made before by another target:
// make writes it to a path only if the store has nothing under the preimage's
// key. The tensors that make reads must be among the preimage's inputs.
func (a *Action) Memo(name string, p fingerprint.Preimage, make func(path string) error) error {
	if err := p.Normalize(); err != nil {
		return err
	}
	key := p.Key()
	a.exec.store.Use(key)
	if !a.compare {
		done := a.exec.singles.lock(key)
		defer done()
		if out, ok := a.exec.store.Outputs(key); ok && len(out) == 1 && !a.Target.Force {
			a.declare(planner.Output{Name: name, Digest: out[0].Digest, Size: out[0].Size})
			return nil
		}
	}
	reads := len(a.used)
	sum, err := a.memo(make)
	if err != nil {
		return err
	}
	// Other targets will believe this key at once, so look at its inputs now.
	for _, src := range a.used[reads:] {
		now, err := a.exec.store.Again(src)
		if err != nil || !slices.ContainsFunc(p.Inputs, func(in fingerprint.Input) bool { return in.Digest == now }) {
			return changedError(a.Target, src, err)
		}
	}
	out := planner.Output{Name: name, Digest: sum.Digest, Size: sum.Size}
	a.declare(out)
	if a.compare {
		return nil
	}
	return a.exec.store.Remember(&p, []planner.Output{out})
}

// memo makes a file and stores it.
func (a *Action) memo(make func(path string) error) (store.Sum, error) {
	f, err := os.CreateTemp(a.Dir, "memo-")
	if err != nil {
		return store.Sum{}, err
	}
	path := f.Name()
	if err := f.Close(); err != nil {
		return store.Sum{}, err
	}
	if err := make(path); err != nil {
		return store.Sum{}, errors.Join(err, os.Remove(path))
	}
	return a.keep(path)
}

func (a *Action) declare(o planner.Output) { a.declared = append(a.declared, o) }

// changedError says that a source is not what the target's key says.
func changedError(t *planner.Target, src planner.Source, err error) error {
	if err != nil {
		return fmt.Errorf("%s changed during the build: %w\n  run the same command again", filepath.Base(src.Path), err)
	}
	return fmt.Errorf("%s changed during the build (%s), so nothing of %s is kept\n  run the same command again",
		filepath.Base(src.Path), src.Name, t.Addr)
}

// TensorDigests returns the digests of what a weight of the model is made of.
func (a *Action) TensorDigests(name string) ([]fingerprint.Input, error) {
	ck := a.Target.Model.Checkpoint
	w, ok := ck.Weight(name)
	if !ok {
		return nil, fmt.Errorf("the checkpoint lacks tensor %q", name)
	}
	var out []fingerprint.Input
	for _, src := range planner.TensorSources(ck, w) {
		digest, err := a.exec.store.Digest(src)
		if err != nil {
			return nil, err
		}
		out = append(out, fingerprint.Input{Name: "tensor" + strings.TrimPrefix(src.Name, planner.TensorName(name)), Digest: digest})
	}
	return out, nil
}

// WriteFile writes an output.
func (a *Action) WriteFile(name string, data []byte) error {
	w, err := a.Create(name)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return errors.Join(err, w.Close())
}

// Create creates an output for streaming; the caller closes it.
func (a *Action) Create(name string) (*File, error) {
	f, err := a.create(name)
	if err != nil {
		return nil, err
	}
	return &File{a: a, file: f, hash: sha256.New()}, nil
}

func (a *Action) create(name string) (*os.File, error) {
	path := filepath.Join(a.Dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	delete(a.sums, path)
	return os.Create(path)
}

// Map creates an output of so many bytes, zeros at first, mapped into memory
// for writing until the action ends.
func (a *Action) Map(name string, sizeBytes int64) ([]byte, error) {
	f, err := a.create(name)
	if err != nil {
		return nil, err
	}
	// Written, and not only as long: a full disk is found here.
	var m *mmap.Writable
	if _, err = io.CopyN(f, store.Zeros{}, sizeBytes); err == nil {
		m, err = mmap.MapWritable(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	a.written = append(a.written, m)
	return m.Bytes(), nil
}

// File is an output that is hashed while it is written from its start to its
// end. One that is written elsewhere is read for that when it is stored.
type File struct {
	a    *Action
	file *os.File
	hash hash.Hash // nil where it was written elsewhere
	size int64
}

// Write implements [io.Writer].
func (f *File) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	if f.hash != nil {
		_, _ = f.hash.Write(p[:n])
		f.size += int64(n)
	}
	return n, err
}

// WriteAt implements [io.WriterAt].
func (f *File) WriteAt(p []byte, offset int64) (int, error) {
	f.hash = nil
	return f.file.WriteAt(p, offset)
}

// Close implements [io.Closer].
func (f *File) Close() error {
	err := f.file.Close()
	if err == nil && f.hash != nil {
		f.a.sums[f.file.Name()] = store.Sum{Digest: fingerprint.FromHash(f.hash.Sum(nil)), Size: f.size}
	}
	return err
}

// Publish declares the files of the output folder: what the target publishes
// when its run ends. Nothing of them is stored.
func (a *Action) Publish(entries []store.Entry) { a.entries, a.publish = entries, true }

// Keep stores a file that the action wrote, for publishing it.
func (a *Action) Keep(name string) (planner.Output, error) {
	sum, err := a.keep(filepath.Join(a.Dir, filepath.FromSlash(name)))
	return planner.Output{Name: name, Digest: sum.Digest, Size: sum.Size}, err
}

// keep stores a file by its sum, as it was written or else as it is read.
func (a *Action) keep(path string) (store.Sum, error) {
	sum, known := a.sums[path]
	switch {
	case a.compare && known:
		return sum, os.Remove(path)
	case a.compare:
		sum, err := store.SumFile(path)
		return sum, errors.Join(err, os.Remove(path))
	case known:
		return a.exec.store.Keep(path, &sum)
	default:
		return a.exec.store.Keep(path, nil)
	}
}

// outputs moves what the action wrote into the store and lists it, sorted. It
// checks what was declared: regular files, each name once, at least one.
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
		if !d.Type().IsRegular() {
			return fmt.Errorf("llima: internal error: output %s of %s is not a regular file", rel, a.Target.Addr)
		}
		o, err := a.Keep(filepath.ToSlash(rel))
		out = append(out, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(x, y planner.Output) int { return strings.Compare(x.Name, y.Name) })
	out = slices.Compact(out)
	for i := 1; i < len(out); i++ {
		if out[i].Name == out[i-1].Name {
			return nil, fmt.Errorf("llima: internal error: %s has two outputs %s", a.Target.Addr, out[i].Name)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("llima: internal error: %s has no outputs", a.Target.Addr)
	}
	return out, nil
}

func (a *Action) close() error {
	for _, name := range a.mapped {
		ck := a.Target.Model.Checkpoint
		if w, ok := ck.Weight(name); ok {
			ck.Drop(w)
		}
	}
	var errs []error
	for _, m := range a.maps {
		errs = append(errs, m.Close())
	}
	for _, m := range a.written {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// singles lets one at a time work under a key.
type singles struct {
	mu   sync.Mutex
	held map[fingerprint.Digest]chan struct{}
}

// try takes a key, or returns a channel that is closed when it is given back.
func (s *singles) try(key fingerprint.Digest) (busy <-chan struct{}, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.held[key]; ok {
		return c, nil
	}
	c := make(chan struct{})
	s.held[key] = c
	return nil, func() {
		s.mu.Lock()
		delete(s.held, key)
		s.mu.Unlock()
		close(c)
	}
}

// lock waits for a key.
func (s *singles) lock(key fingerprint.Digest) (done func()) {
	for {
		busy, done := s.try(key)
		if busy == nil {
			return done
		}
		<-busy
	}
}
