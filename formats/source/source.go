// Package source reads a model in whichever form it comes: a Hugging Face
// folder, the same with weights that llm-compressor packed, or a GGUF file.
// Weights have Hugging Face's names and layout in all of them; each is plain
// numbers or codes, and says which bytes of which file it is made of. It
// knows neither architectures nor quantisation.
package source

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/compressedtensors"
	"github.com/llima-build/llima/formats/gguf"
	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/formats/tensor"
)

// The forms of a source, as llima.hcl names them.
const (
	Auto              = "auto"
	HF                = "hf"
	GGUF              = "gguf"
	CompressedTensors = "compressed_tensors"
)

// Part is a piece of a file that a weight is made of.
type Part struct {
	Name           string // of the tensor in the file
	File           string // base name
	Offset, Length int64  // bytes
}

// Weight is one weight of a model.
type Weight struct {
	Name  string
	Shape []int
	// DType is the type of a weight of plain numbers, F32, F16 or BF16; 0 of
	// one that is held as codes, whose coding Coding is.
	DType  tensor.DType
	Coding tensor.Coding
	// Raw says that the one part's bytes are the weight, row-major.
	Raw bool
	// Form says what the parts' bytes mean, beside their types; empty where
	// they are plain.
	Form  string
	Parts []Part

	gguf   gguf.Source
	packed compressedtensors.Weight
}

// Coded reports whether the weight is held as codes.
func (w *Weight) Coded() bool { return w.DType == 0 }

// Model is an open source. Weights are mapped, not read.
type Model struct {
	format  string
	config  []byte
	dir     string
	weights map[string]*Weight
	names   []string

	checkpoint *checkpoint.Checkpoint
	packed     *compressedtensors.Model
	file       *gguf.Model
}

// Detect returns the form of the source at a path: format itself, unless it is
// "auto" or empty.
func Detect(path, format string) (string, error) {
	if format != Auto && format != "" {
		return format, nil
	}
	if strings.HasSuffix(path, ".gguf") {
		return GGUF, nil
	}
	if isGGUF(path) {
		return GGUF, nil
	}
	config, err := checkpoint.ReadConfig(path)
	if err != nil {
		return "", err
	}
	// Whoever reads the rest of a broken config.json says what is wrong with it.
	if method, err := compressedtensors.Method(config); err == nil && method != "" {
		return CompressedTensors, nil
	}
	return HF, nil
}

// ReadConfig returns config.json and the form of a source; of a folder it
// reads no weights.
func ReadConfig(path, format string) (config []byte, form string, err error) {
	if form, err = Detect(path, format); err != nil {
		return nil, "", err
	}
	if form != GGUF {
		config, err = checkpoint.ReadConfig(path)
		return config, form, err
	}
	m, err := gguf.Open(path)
	if err != nil {
		return nil, form, missing(path, err)
	}
	config, err = m.Config()
	return config, form, errors.Join(err, m.Close())
}

// missing says what is looked for where there is nothing.
func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("gguf: file %s: %w", path, fs.ErrNotExist)
	}
	return err
}

// Open opens a source in a form, or the one that Detect finds. The caller
// closes it.
func Open(path, format string) (*Model, error) {
	form, err := Detect(path, format)
	if err != nil {
		return nil, err
	}
	m := &Model{format: form, dir: path, weights: map[string]*Weight{}}
	if form == GGUF {
		m.dir = filepath.Dir(path)
		err = m.openGGUF(path)
	} else {
		err = m.openFolder(path)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.names = slices.Sorted(maps.Keys(m.weights))
	return m, nil
}

func (m *Model) openFolder(path string) (err error) {
	if m.checkpoint, err = checkpoint.Open(path); err != nil {
		return err
	}
	m.config = m.checkpoint.Config()
	if m.format == HF {
		for _, t := range m.checkpoint.Tensors() {
			m.add(&Weight{Name: t.Name, Shape: t.Shape, DType: t.DType, Raw: true, Parts: []Part{partOf(t)}})
		}
		return nil
	}
	if m.packed, err = compressedtensors.New(m.checkpoint); err != nil {
		return err
	}
	for _, p := range m.packed.Weights() {
		w := &Weight{Name: p.Name, Shape: p.Shape, packed: p}
		for _, t := range p.Parts {
			w.Parts = append(w.Parts, partOf(t))
		}
		if p.Compressed() {
			w.Form, w.Coding = p.Scheme(), p.Coding()
		} else {
			w.DType, w.Raw = p.Parts[0].DType, true
		}
		m.add(w)
	}
	return nil
}

func partOf(t checkpoint.Tensor) Part {
	return Part{Name: t.Name, File: t.File, Offset: t.Offset, Length: t.Length}
}

func (m *Model) openGGUF(path string) (err error) {
	if m.file, err = gguf.Open(path); err != nil {
		return missing(path, err)
	}
	if m.config, err = m.file.Config(); err != nil {
		return err
	}
	sources, err := m.file.Sources()
	if err != nil {
		return err
	}
	for name, s := range sources {
		w := &Weight{
			Name: name, Shape: s.Shape, Form: "gguf " + s.Type.String(), gguf: s,
			Parts: []Part{{Name: s.Name, File: s.File, Offset: s.Offset, Length: s.Length}},
		}
		if s.Heads > 0 {
			w.Form += fmt.Sprintf(", halves of %d heads side by side", s.Heads)
		}
		dt, float := s.Type.Float()
		coding, coded := s.Type.Coding()
		switch {
		case float:
			w.DType, w.Raw = dt, s.Heads == 0 && !s.PlusOne
		case coded:
			w.Coding = coding
		default:
			return fmt.Errorf("gguf: %s: tensor %q is %v, which holds no weights", path, s.Name, s.Type)
		}
		m.add(w)
	}
	return nil
}

func (m *Model) add(w *Weight) { m.weights[w.Name] = w }

// Format returns the form of the source.
func (m *Model) Format() string { return m.format }

// Config returns config.json, made of the metadata where the source is GGUF.
func (m *Model) Config() []byte { return m.config }

// Dir returns the folder of the source's files.
func (m *Model) Dir() string { return m.dir }

// Files returns the base names of the files with weights.
func (m *Model) Files() []string {
	if m.file != nil {
		return m.file.Files()
	}
	return m.checkpoint.Files()
}

// Names lists the weights, sorted. The caller must not change the list.
func (m *Model) Names() []string { return m.names }

// Weight returns the weight of that name.
func (m *Model) Weight(name string) (*Weight, bool) {
	w, ok := m.weights[name]
	return w, ok
}

// Bytes returns a raw weight: mapped, read-only, valid until Close.
func (m *Model) Bytes(w *Weight) ([]byte, error) {
	if !w.Raw {
		return nil, fmt.Errorf("llima: internal error: tensor %q is not stored as it is", w.Name)
	}
	if m.file != nil {
		return m.file.Bytes(w.gguf.Tensor)
	}
	t, _ := m.checkpoint.Tensor(w.Parts[0].Name)
	return m.checkpoint.Bytes(t)
}

// Reader reads a raw weight piece by piece, without mapping it.
func (m *Model) Reader(w *Weight) (io.ReaderAt, error) {
	if m.file != nil || !w.Raw {
		b, err := m.Bytes(w)
		return readerAt(b), err
	}
	t, _ := m.checkpoint.Tensor(w.Parts[0].Name)
	return m.checkpoint.Reader(t)
}

// readerAt reads bytes in memory.
type readerAt []byte

func (b readerAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Drop says that the bytes of a weight need not stay in memory.
func (m *Model) Drop(w *Weight) {
	if m.checkpoint == nil {
		return
	}
	for _, p := range w.Parts {
		if t, ok := m.checkpoint.Tensor(p.Name); ok {
			m.checkpoint.Drop(t)
		}
	}
}

// Carry takes a weight that is held as codes over as it is.
func (m *Model) Carry(w *Weight) (*tensor.Coded, error) {
	switch {
	case !w.Coded():
		return nil, fmt.Errorf("llima: internal error: tensor %q is not held as codes", w.Name)
	case m.file != nil:
		return m.file.Coded(w.gguf)
	}
	return m.packed.Carry(w.packed)
}

// Plain returns a weight of plain numbers in Hugging Face's layout, of its
// type; mapped where it is raw.
func (m *Model) Plain(w *Weight) ([]byte, error) {
	switch {
	case w.Coded():
		return nil, fmt.Errorf("llima: internal error: tensor %q is held as codes", w.Name)
	case w.Raw:
		return m.Bytes(w)
	}
	raw, err := m.file.Bytes(w.gguf.Tensor)
	if err != nil {
		return nil, err
	}
	raw = reorder(raw, w.gguf.Order(), w.Shape[0])
	if !w.gguf.PlusOne {
		return raw, nil
	}
	// The graph adds the 1 again.
	values := make([]float32, len(raw)/w.DType.Bytes())
	if err := tensor.ToF32(values, raw, w.DType); err != nil {
		return nil, err
	}
	for i := range values {
		values[i]--
	}
	out := make([]byte, 4*len(values))
	return out, tensor.FromF32(out, values, tensor.F32)
}

// PlainType is the type of what Plain returns.
func (w *Weight) PlainType() tensor.DType {
	if w.gguf.PlusOne {
		return tensor.F32
	}
	return w.DType
}

// reorder copies rows in an order; nil leaves them.
func reorder(b []byte, order []int, rows int) []byte {
	if order == nil {
		return b
	}
	size := len(b) / rows
	out := make([]byte, 0, len(b))
	for _, r := range order {
		out = append(out, b[r*size:(r+1)*size]...)
	}
	return out
}

// Close ends the use of the source.
func (m *Model) Close() error {
	var errs []error
	if m.checkpoint != nil {
		errs = append(errs, m.checkpoint.Close())
	}
	if m.file != nil {
		errs = append(errs, m.file.Close())
	}
	return errors.Join(errs...)
}

// Ranges lists the tensors of one file of weights in the file's order; what
// comes before the first describes them.
func Ranges(path string) (parts []Part, err error) {
	name := filepath.Base(path)
	if isGGUF(path) {
		tensors, err := gguf.Places(path)
		if err != nil {
			return nil, err
		}
		for _, t := range tensors {
			parts = append(parts, Part{Name: t.Name, File: name, Offset: t.Offset, Length: t.Length})
		}
		return parts, nil
	}
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	for _, e := range f.Tensors() {
		parts = append(parts, Part{Name: e.Name, File: name, Offset: e.Offset, Length: e.Length})
	}
	slices.SortFunc(parts, func(a, b Part) int { return cmp.Compare(a.Offset, b.Offset) })
	return parts, f.Close()
}

// isGGUF reports whether a file begins as GGUF files do.
func isGGUF(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // opened for reading
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && string(magic[:]) == "GGUF"
}
