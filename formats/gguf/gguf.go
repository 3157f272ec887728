// Package gguf reads GGUF files, version 2 and 3, little-endian, whole or
// split (ggml, docs/gguf.md): metadata, tensors where they lie, and every
// tensor type as float32 or as integer codes with scales, without rounding
// anew. It checks a file before it gives out a single byte, and copies no
// weights. It also says in Hugging Face's terms what a file holds: the
// configuration, the tensors' names and the vocabulary.
//
// It knows neither graphs nor quantisation.
package gguf

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llima-build/llima/internal/mmap"
)

// Tensor is one tensor of a model and where its bytes are: what identifies
// its contents is Type, Shape and the digest of [Offset, Offset+Length) of File.
type Tensor struct {
	Name   string
	Type   Type
	Shape  []int  // outermost first, the reverse of the file's order; 1 to 4 dimensions
	File   string // base name
	Offset int64  // of the first byte, from the start of that file
	Length int64  // bytes
}

// Rows returns the product of all dimensions but the last, and the last one.
func (t Tensor) Rows() (rows, cols int) {
	last := len(t.Shape) - 1
	rows = 1
	for _, d := range t.Shape[:last] {
		rows *= d
	}
	return rows, t.Shape[last]
}

// RowBytes returns how many bytes a row of the last dimension takes.
func (t Tensor) RowBytes() int {
	elements, size := t.Type.Block()
	return t.Shape[len(t.Shape)-1] / elements * size
}

// Model is an open file, or all files of a split one. The bytes are read-only
// and valid until Close.
type Model struct {
	path     string
	metadata *Metadata
	files    []string // base names
	data     map[string][]byte
	mapped   []*mmap.File
	tensors  []Tensor // by name
}

// Error says what is wrong with a file and where.
type Error struct {
	Path    string // as given to Open, or empty
	Field   string // as `key "general.alignment"` or `tensor "output.weight"`, or empty
	Offset  int64  // bytes from the start of the file
	Problem string
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("gguf: ")
	if e.Path != "" {
		fmt.Fprintf(&b, "%s: ", e.Path)
	}
	if e.Field != "" {
		fmt.Fprintf(&b, "%s: ", e.Field)
	}
	fmt.Fprintf(&b, "offset %d: %s", e.Offset, e.Problem)
	return b.String()
}

// Open maps a file and checks its header. Of a split model it takes the first
// file, and opens all of them.
func Open(path string) (*Model, error) {
	m := &Model{path: path, data: map[string][]byte{}}
	if err := m.open(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Decode checks one file that is in memory, which stays in use until Close. A
// part of a split model is refused: its other parts are not there.
func Decode(data []byte) (*Model, error) {
	h, err := parse(data)
	if err != nil {
		return nil, err
	}
	switch n, err := h.splitCount(); {
	case err != nil:
		return nil, err
	case n > 1:
		return nil, h.metadata.problem("split.count", "one part of %d of a split model; open its first file by name", n)
	}
	m := &Model{metadata: h.metadata, data: map[string][]byte{}}
	m.add("", data, h)
	return m, m.sortTensors()
}

// mapFile maps and parses one file of the model.
func (m *Model) mapFile(path string) (*header, error) {
	mapped, err := mmap.Open(path)
	if err != nil {
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err
		}
		return nil, fmt.Errorf("gguf: %s: %w", path, err)
	}
	m.mapped = append(m.mapped, mapped)
	h, err := parse(mapped.Bytes())
	if err != nil {
		if bad, ok := errors.AsType[*Error](err); ok {
			bad.Path = path
		}
		return nil, err
	}
	m.add(filepath.Base(path), mapped.Bytes(), h)
	return h, nil
}

func (m *Model) add(name string, data []byte, h *header) {
	m.files = append(m.files, name)
	m.data[name] = data
	for _, t := range h.tensors {
		t.File = name
		m.tensors = append(m.tensors, t)
	}
}

func (m *Model) sortTensors() error {
	slices.SortFunc(m.tensors, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(m.tensors); i++ {
		if a, b := m.tensors[i-1], m.tensors[i]; a.Name == b.Name {
			return fmt.Errorf("gguf: %s: tensor %q is in both %s and %s", m.path, a.Name, a.File, b.File)
		}
	}
	return nil
}

// Path returns what was given to Open.
func (m *Model) Path() string { return m.path }

// Files returns the base names of the files, the first one of a split first.
func (m *Model) Files() []string { return m.files }

// Metadata returns the key-value pairs of the first file.
func (m *Model) Metadata() *Metadata { return m.metadata }

// Tensors returns every tensor by name. The caller must not change the list.
func (m *Model) Tensors() []Tensor { return m.tensors }

// Tensor returns the tensor of that name.
func (m *Model) Tensor(name string) (Tensor, bool) {
	i, ok := slices.BinarySearchFunc(m.tensors, name, func(t Tensor, name string) int { return strings.Compare(t.Name, name) })
	if !ok {
		return Tensor{}, false
	}
	return m.tensors[i], true
}

// Bytes returns the data of a tensor of this model: blocks of its type, row
// after row.
func (m *Model) Bytes(t Tensor) ([]byte, error) {
	own, ok := m.Tensor(t.Name)
	if !ok || own.File != t.File || own.Offset != t.Offset || own.Length != t.Length {
		return nil, fmt.Errorf("gguf: %s has no tensor %q at offset %d of %q", m.path, t.Name, t.Offset, t.File)
	}
	data, ok := m.data[t.File]
	if !ok {
		return nil, fmt.Errorf("gguf: %s is closed", m.path)
	}
	end := t.Offset + t.Length
	return data[t.Offset:end:end], nil
}

// Close ends the use of the model's bytes.
func (m *Model) Close() error {
	var errs []error
	for _, f := range m.mapped {
		errs = append(errs, f.Close())
	}
	m.mapped, m.data = nil, nil
	return errors.Join(errs...)
}

// Places lists the tensors of one file, which may be a part of a split model,
// in the order of the file.
func Places(path string) ([]Tensor, error) {
	m := &Model{path: path, data: map[string][]byte{}}
	_, err := m.mapFile(path)
	slices.SortFunc(m.tensors, func(a, b Tensor) int { return cmp.Compare(a.Offset, b.Offset) })
	return m.tensors, errors.Join(err, m.Close())
}
