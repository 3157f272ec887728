// Package safetensors reads and writes safetensors files: eight bytes with the
// length of a header, the header in JSON, then the tensors' bytes. It checks
// every rule of the format (huggingface/safetensors, README, "Format" and
// "Notes") before it gives out a single byte, and copies no weights.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/mmap"
)

// MaxHeaderBytes is the size that a header may not exceed.
const MaxHeaderBytes = 100_000_000

const lengthBytes = 8

// lfsPointer is the first line of what git-LFS leaves in place of a file that
// it has not fetched (git-lfs, docs/spec.md, "The Pointer").
const lfsPointer = "version https://git-lfs.github.com/spec/"

// Entry is one tensor of a file.
type Entry struct {
	tensor.Info
	Offset int64 // of the first byte, from the start of the file
	Length int64 // bytes
}

// File is a checked file. Its bytes are read-only and valid until Close.
type File struct {
	data     []byte
	entries  []Entry
	metadata map[string]string
	file     *os.File   // nil when decoded from memory
	mapped   *mmap.File // of file
}

// Error says what is wrong with a file and where.
type Error struct {
	Path    string // as given to Open, or empty
	Tensor  string // or empty
	Offset  int64  // bytes from the start of the file
	Problem string
	Pointer bool // the file is a git-LFS pointer
}

// Error implements error.
func (e *Error) Error() string {
	var b bytes.Buffer
	b.WriteString("safetensors: ")
	if e.Path != "" {
		fmt.Fprintf(&b, "%s: ", e.Path)
	}
	if e.Tensor != "" {
		fmt.Fprintf(&b, "tensor %q: ", e.Tensor)
	}
	fmt.Fprintf(&b, "offset %d: %s", e.Offset, e.Problem)
	return b.String()
}

// Open maps and checks a file. Only the header is read.
func Open(path string) (*File, error) {
	file, err := mmap.OpenRegular(path)
	if err != nil {
		return nil, openError(path, err)
	}
	mapped, err := mmap.Map(file)
	if err != nil {
		return nil, errors.Join(openError(path, err), file.Close())
	}
	f, err := Decode(mapped.Bytes())
	if err != nil {
		if bad, ok := errors.AsType[*Error](err); ok {
			bad.Path = path
		}
		return nil, errors.Join(err, mapped.Close(), file.Close())
	}
	f.file, f.mapped = file, mapped
	return f, nil
}

// openError states the path once.
func openError(path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return fmt.Errorf("safetensors: %s: %w", path, err)
}

// Decode checks a file that is in memory, which stays in use until Close.
func Decode(data []byte) (*File, error) {
	if isPointer(data) {
		return nil, &Error{Pointer: true, Problem: "a git-LFS pointer instead of weights; run `git lfs pull` in the checkpoint's folder"}
	}
	if len(data) < lengthBytes {
		return nil, &Error{Problem: fmt.Sprintf("%d bytes, want at least %d for the length of the header", len(data), lengthBytes)}
	}
	n := binary.LittleEndian.Uint64(data)
	if n > MaxHeaderBytes {
		return nil, &Error{Problem: fmt.Sprintf("header of %d bytes, the limit is %d", n, MaxHeaderBytes)}
	}
	if n > uint64(len(data)-lengthBytes) {
		return nil, &Error{Problem: fmt.Sprintf("header of %d bytes, the file has %d more", n, len(data)-lengthBytes)}
	}
	h, err := parseHeader(data[lengthBytes : lengthBytes+int(n)])
	if err != nil {
		return nil, err
	}
	f := &File{data: data, entries: h.entries, metadata: h.metadata}
	if err := f.place(lengthBytes + int64(n)); err != nil {
		return nil, err
	}
	return f, nil
}

func isPointer(data []byte) bool { return bytes.HasPrefix(data, []byte(lfsPointer)) }

// place turns offsets within the data into offsets within the file, and checks
// that the tensors cover the data one after the other.
func (f *File) place(start int64) error {
	slices.SortFunc(f.entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Length, b.Length), cmp.Compare(a.Name, b.Name))
	})
	end, last := int64(0), ""
	for i := range f.entries {
		e := &f.entries[i]
		switch {
		case e.Offset < end:
			return &Error{Tensor: e.Name, Offset: start + e.Offset, Problem: fmt.Sprintf("overlaps tensor %q, which ends at offset %d", last, start+end)}
		case e.Offset > end:
			return &Error{Tensor: e.Name, Offset: start + end, Problem: fmt.Sprintf("a hole of %d bytes before the tensor", e.Offset-end)}
		case e.Length > int64(len(f.data))-start-end:
			return &Error{Tensor: e.Name, Offset: start + end, Problem: fmt.Sprintf("want %d bytes, the file has %d more", e.Length, int64(len(f.data))-start-end)}
		}
		end, last = end+e.Length, e.Name
		e.Offset += start
	}
	if extra := int64(len(f.data)) - start - end; extra > 0 {
		return &Error{Offset: start + end, Problem: fmt.Sprintf("%d bytes belong to no tensor", extra)}
	}
	return nil
}

// Tensors returns the tensors in the order of their bytes. The caller must not
// change the list.
func (f *File) Tensors() []Entry { return f.entries }

// Metadata returns what the header holds under __metadata__.
func (f *File) Metadata() map[string]string { return f.metadata }

// Bytes returns a tensor's bytes, little-endian, the last axis contiguous. e
// must come from Tensors.
func (f *File) Bytes(e Entry) []byte {
	end := e.Offset + e.Length
	return f.data[e.Offset:end:end]
}

// Reader reads a tensor's bytes without mapping them, for whoever goes through
// a large tensor piece by piece. e must come from Tensors.
func (f *File) Reader(e Entry) *io.SectionReader {
	var r io.ReaderAt = f.file
	if f.file == nil {
		r = bytes.NewReader(f.data)
	}
	return io.NewSectionReader(r, e.Offset, e.Length)
}

// Drop says that the bytes of a tensor need not stay in memory; they may be
// read again. e must come from Tensors.
func (f *File) Drop(e Entry) {
	if f.mapped != nil {
		f.mapped.Drop(f.Bytes(e))
	}
}

// Close ends the use of the file's bytes. Closing twice is harmless.
func (f *File) Close() error {
	f.data = nil
	if f.mapped == nil {
		return nil
	}
	err := errors.Join(f.mapped.Close(), f.file.Close())
	f.mapped = nil
	return err
}

// Tensor is a tensor to write.
type Tensor struct {
	tensor.Info
	Data []byte // little-endian
}

// Write writes a file with the tensors in the order given. Equal arguments
// give equal bytes; the data start at a multiple of 8.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	header, err := appendHeader(nil, tensors, metadata)
	if err != nil {
		return err
	}
	if len(header) > MaxHeaderBytes {
		return fmt.Errorf("safetensors: header of %d bytes, the limit is %d", len(header), MaxHeaderBytes)
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))); err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
	}
	return nil
}

// span checks data_offsets against the size that dtype and shape ask for.
func span(info tensor.Info, begin, end uint64) (offset, length int64, err error) {
	if begin > end || end > math.MaxInt64 {
		return 0, 0, fmt.Errorf("data_offsets [%d, %d) are not a range", begin, end)
	}
	want, err := info.SizeBytes()
	if err != nil {
		return 0, 0, err
	}
	offset, length = int64(begin), int64(end-begin)
	if length != want {
		return 0, 0, fmt.Errorf("data_offsets [%d, %d) hold %d bytes, want %d for %v of %v", begin, end, length, want, info.Shape, info.DType)
	}
	return offset, length, nil
}
