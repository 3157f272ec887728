// Package checkpoint reads a model's folder in Hugging Face's layout:
// config.json, weights in model.safetensors or in the shards that
// model.safetensors.index.json names, and the small files beside them. It
// knows nothing of architectures.
package checkpoint

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/formats/tensor"
)

const (
	configFile = "config.json"
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
)

// MaxAuxBytes is the size that config.json, the index and the files of
// [Checkpoint.Aux] may not exceed.
const MaxAuxBytes = 256 << 20

// Tensor is one tensor of a checkpoint and where its bytes are.
type Tensor struct {
	tensor.Info
	File   string // base name of its shard
	Offset int64  // of the first byte, from the start of that file
	Length int64  // bytes
}

// Checkpoint is an open model folder. Its weights are mapped, not read.
type Checkpoint struct {
	dir     string
	config  []byte
	shards  map[string]*safetensors.File // by base name
	files   []string
	tensors []Tensor // by name
}

// Open checks the folder and the header of every shard. The caller closes the
// checkpoint.
func Open(dir string) (*Checkpoint, error) {
	config, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{dir: dir, config: config, shards: map[string]*safetensors.File{}}
	if err := c.openWeights(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// ReadConfig returns config.json of a folder, whether or not weights are there.
func ReadConfig(dir string) ([]byte, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("checkpoint: folder %s: %w", dir, fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("checkpoint: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("checkpoint: %s is a file, want a folder with %s and %s", dir, configFile, singleFile)
	}
	config, ok, err := readSmall(dir, configFile)
	if err == nil && !ok {
		err = fmt.Errorf("checkpoint: %s: no %s in the folder: %w", dir, configFile, fs.ErrNotExist)
	}
	return config, err
}

// readSmall reads a file of the folder that is not weights; ok is false when
// there is none.
func readSmall(dir, name string) (data []byte, ok bool, err error) {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("checkpoint: %w", err)
	case !info.Mode().IsRegular():
		return nil, false, fmt.Errorf("checkpoint: %s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("checkpoint: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(f, MaxAuxBytes+1))
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("checkpoint: %w", err)
	case n > MaxAuxBytes:
		return nil, false, fmt.Errorf("checkpoint: %s: more than %d bytes", path, MaxAuxBytes)
	case bytes.HasPrefix(b.Bytes(), []byte("version https://git-lfs.github.com/spec/")):
		return nil, false, fmt.Errorf("checkpoint: %s: offset 0: a git-LFS pointer instead of the file; run `git lfs pull` in the folder", path)
	}
	return b.Bytes(), true, nil
}

// openWeights opens the single file or, where there is none, the shards.
func (c *Checkpoint) openWeights() error {
	var index map[string]string
	_, err := os.Stat(filepath.Join(c.dir, singleFile))
	switch {
	case err == nil:
		c.files = []string{singleFile}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("checkpoint: %w", err)
	default:
		data, ok, err := readSmall(c.dir, indexFile)
		if err != nil {
			return err
		}
		if !ok {
			return c.noWeights()
		}
		if index, err = parseIndex(data); err != nil {
			return fmt.Errorf("checkpoint: %s: %w", filepath.Join(c.dir, indexFile), err)
		}
		c.files = shardNames(index)
	}
	for _, name := range c.files {
		if err := c.openShard(name); err != nil {
			return err
		}
	}
	if err := c.sortTensors(); err != nil {
		return err
	}
	return c.checkIndex(index)
}

// noWeights says what was looked for, and what is there instead.
func (c *Checkpoint) noWeights() error {
	instead := ""
	for _, pattern := range []string{"*.safetensors", "*.gguf", "pytorch_model*.bin", "*.pth"} {
		if found, err := filepath.Glob(filepath.Join(escape(c.dir), pattern)); err == nil && len(found) > 0 {
			instead = fmt.Sprintf(" (there is %s)", filepath.Base(found[0]))
			break
		}
	}
	return fmt.Errorf("checkpoint: %s: neither %s nor %s in the folder%s: %w", c.dir, singleFile, indexFile, instead, fs.ErrNotExist)
}

// escape keeps filepath.Glob from reading a folder's name as a pattern.
func escape(dir string) string {
	if filepath.Separator == '\\' {
		return dir
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

func (c *Checkpoint) openShard(name string) error {
	f, err := safetensors.Open(filepath.Join(c.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("checkpoint: %s names %s, which is not in %s: %w", indexFile, name, c.dir, fs.ErrNotExist)
	}
	if bad, ok := errors.AsType[*safetensors.Error](err); ok && !bad.Pointer {
		return fmt.Errorf("checkpoint: %w; the file is damaged, or was not fetched to its end: fetch it again", err)
	}
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	c.shards[name] = f
	for _, e := range f.Tensors() {
		c.tensors = append(c.tensors, Tensor{Info: e.Info, File: name, Offset: e.Offset, Length: e.Length})
	}
	return nil
}

func (c *Checkpoint) sortTensors() error {
	slices.SortFunc(c.tensors, func(a, b Tensor) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.File, b.File)) })
	for i := 1; i < len(c.tensors); i++ {
		if a, b := c.tensors[i-1], c.tensors[i]; a.Name == b.Name {
			return fmt.Errorf("checkpoint: tensor %q is in both %s and %s", a.Name, a.File, b.File)
		}
	}
	return nil
}

// checkIndex checks that every tensor of the index is in the shard it names.
func (c *Checkpoint) checkIndex(index map[string]string) error {
	for _, name := range sortedKeys(index) {
		t, ok := c.Tensor(name)
		switch {
		case !ok:
			return fmt.Errorf("checkpoint: %s names tensor %q, which is not in %s", indexFile, name, index[name])
		case t.File != index[name]:
			return fmt.Errorf("checkpoint: %s says that tensor %q is in %s, it is in %s", indexFile, name, index[name], t.File)
		}
	}
	return nil
}

// Dir returns the folder as given to Open.
func (c *Checkpoint) Dir() string { return c.dir }

// Format returns "hf".
func (c *Checkpoint) Format() string { return "hf" }

// Config returns the bytes of config.json.
func (c *Checkpoint) Config() []byte { return c.config }

// Files returns the base names of the shards, sorted.
func (c *Checkpoint) Files() []string { return c.files }

// Tensors returns every tensor by name. The caller must not change the list.
func (c *Checkpoint) Tensors() []Tensor { return c.tensors }

// Tensor returns the tensor of that name.
func (c *Checkpoint) Tensor(name string) (Tensor, bool) {
	i, ok := slices.BinarySearchFunc(c.tensors, name, func(t Tensor, name string) int { return cmp.Compare(t.Name, name) })
	if !ok {
		return Tensor{}, false
	}
	return c.tensors[i], true
}

// Bytes returns the data of a tensor of this checkpoint, little-endian:
// mapped, read-only, valid until Close.
func (c *Checkpoint) Bytes(t Tensor) ([]byte, error) {
	f, e, err := c.entry(t)
	if err != nil {
		return nil, err
	}
	return f.Bytes(e), nil
}

// Reader reads the data of a tensor of this checkpoint piece by piece, without
// mapping it.
func (c *Checkpoint) Reader(t Tensor) (io.ReaderAt, error) {
	f, e, err := c.entry(t)
	if err != nil {
		return nil, err
	}
	return f.Reader(e), nil
}

// Drop says that the bytes of a tensor need not stay in memory.
func (c *Checkpoint) Drop(t Tensor) {
	if f, e, err := c.entry(t); err == nil {
		f.Drop(e)
	}
}

// entry finds a tensor of this checkpoint in its shard.
func (c *Checkpoint) entry(t Tensor) (*safetensors.File, safetensors.Entry, error) {
	f, ok := c.shards[t.File]
	if own, found := c.Tensor(t.Name); !ok || !found || own.File != t.File || own.Offset != t.Offset || own.Length != t.Length {
		return nil, safetensors.Entry{}, fmt.Errorf("checkpoint: %s has no tensor %q at offset %d of %q", c.dir, t.Name, t.Offset, t.File)
	}
	return f, safetensors.Entry{Info: t.Info, Offset: t.Offset, Length: t.Length}, nil
}

// Aux returns a small file of the folder by its base name, tokenizer.json or
// chat_template.jinja for example; ok is false when there is none.
func (c *Checkpoint) Aux(name string) (data []byte, ok bool, err error) {
	if err := checkBase(name); err != nil {
		return nil, false, fmt.Errorf("checkpoint: %w", err)
	}
	return readSmall(c.dir, name)
}

// Close ends the use of the tensors' bytes.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, f := range c.shards {
		errs = append(errs, f.Close())
	}
	c.shards = nil
	return errors.Join(errs...)
}
