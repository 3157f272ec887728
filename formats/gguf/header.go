package gguf

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"

	"github.com/llima-build/llima/internal/cursor"
)

// Bounds of the format (ggml, docs/gguf.md, "File Structure"), and of ggml.
const (
	maxKeyBytes      = 65535
	maxNameBytes     = 64
	maxDims          = 4
	defaultAlignment = 32
	maxAlignment     = 1 << 20
	maxPairs         = 1 << 16
	maxTensors       = 1 << 20
)

// The least bytes that a pair and a tensor's description take: no count of
// them is believed beyond what the file has room for.
const (
	minPairBytes   = 8 + 1 + 4 + 1
	minTensorBytes = 8 + 1 + 4 + 8 + 4 + 8
)

// header is a parsed and checked header.
type header struct {
	metadata *Metadata
	tensors  []Tensor // in the order of their bytes
}

// parser reads a header.
type parser struct {
	*cursor.Reader
	size  int64
	field string // in work, for errors
}

func (p *parser) fail(offset int64, format string, args ...any) error {
	return &Error{Field: p.field, Offset: offset, Problem: fmt.Sprintf(format, args...)}
}

// short returns the error of the cursor as one of the file.
func (p *parser) short() error {
	short, ok := errors.AsType[*cursor.ShortError](p.Err())
	if !ok {
		return nil
	}
	return p.fail(int64(short.Offset), "want %d bytes, the file has %d more; it is cut short or damaged: bring it again", short.Want, short.Have)
}

func parse(data []byte) (*header, error) {
	p := &parser{Reader: cursor.New(data), size: int64(len(data))}
	if err := p.magic(data); err != nil {
		return nil, err
	}
	tensors, pairs := p.U64(), p.U64()
	if err := p.short(); err != nil {
		return nil, err
	}
	if left := uint64(p.Len()); tensors > left/minTensorBytes || pairs > left/minPairBytes {
		return nil, p.fail(8, "%d tensors and %d keys cannot be in the %d bytes that follow", tensors, pairs, left)
	}
	if tensors > maxTensors || pairs > maxPairs {
		return nil, p.fail(8, "%d tensors and %d keys, want at most %d and %d", tensors, pairs, maxTensors, maxPairs)
	}
	h := &header{metadata: newMetadata()}
	for range pairs {
		if err := p.pair(h.metadata); err != nil {
			return nil, err
		}
	}
	seen := map[string]bool{}
	for range tensors {
		at := int64(p.Offset())
		t, err := p.tensor()
		if err != nil {
			return nil, err
		}
		if seen[t.Name] {
			return nil, p.fail(at, "the file has two tensors of that name")
		}
		seen[t.Name] = true
		h.tensors = append(h.tensors, t)
	}
	p.field = ""
	return h, p.place(h)
}

// magic checks the first eight bytes.
func (p *parser) magic(data []byte) error {
	switch {
	case bytes.HasPrefix(data, []byte("version https://git-lfs.github.com/spec/")):
		return p.fail(0, "a git-LFS pointer instead of a model; run `git lfs pull` in its folder")
	case len(data) < 8:
		return p.fail(0, "%d bytes, want at least 24 for a header", len(data))
	}
	switch magic := string(p.Bytes(4)); magic {
	case "GGUF":
	case "lmgg", "tjgg", "fmgg", "algg":
		return p.fail(0, "an older GGML file (%q), which holds no metadata; convert the model to GGUF again", magic)
	default:
		return p.fail(0, "the file begins with %q, want \"GGUF\"", magic)
	}
	switch v := p.U32(); {
	case v == 2 || v == 3:
		return nil
	case v == 1:
		return p.fail(4, "version 1 is not supported, only 2 and 3; convert the model with a current llama.cpp")
	case v&0xffff == 0 && v != 0:
		return p.fail(4, "a big-endian file (version %d), only little-endian ones are supported; run llama.cpp's gguf_convert_endian.py on it", bits.ReverseBytes32(v))
	default:
		return p.fail(4, "version %d is not supported, only 2 and 3", v)
	}
}

// name reads a string that must be a name.
func (p *parser) name(what string, limit int) (string, error) {
	at := int64(p.Offset())
	n := p.U64()
	if err := p.short(); err != nil {
		return "", err
	}
	if n == 0 || n > uint64(limit) {
		return "", p.fail(at, "%s of %d bytes, want 1 to %d", what, n, limit)
	}
	b := p.Bytes(n)
	if err := p.short(); err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", p.fail(at+8, "%s is not UTF-8", what)
	}
	return string(b), nil
}

func (p *parser) tensor() (t Tensor, err error) {
	p.field = ""
	at := int64(p.Offset())
	if t.Name, err = p.name("a tensor's name", maxNameBytes); err != nil {
		return t, err
	}
	p.field = fmt.Sprintf("tensor %q", t.Name)
	dims := p.U32()
	if p.Err() == nil && (dims == 0 || dims > maxDims) {
		return t, p.fail(at, "%d dimensions, want 1 to %d", dims, maxDims)
	}
	t.Shape = make([]int, min(dims, maxDims))
	for i := range t.Shape {
		at := int64(p.Offset())
		d := p.U64()
		if p.Err() == nil && (d == 0 || d > math.MaxInt) {
			return t, p.fail(at, "dimension %d is %d, want 1 to %d", i, d, math.MaxInt)
		}
		t.Shape[len(t.Shape)-1-i] = int(d)
	}
	at = int64(p.Offset())
	t.Type = Type(p.U32())
	offset := p.U64()
	if err := p.short(); err != nil {
		return t, err
	}
	if offset > math.MaxInt64/2 {
		return t, p.fail(at+4, "data at %d, which no file reaches", offset)
	}
	t.Offset = int64(offset)
	t.Length, err = p.length(t, at)
	return t, err
}

// length returns how many bytes a tensor takes.
func (p *parser) length(t Tensor, at int64) (int64, error) {
	elements, blockBytes := t.Type.Block()
	if elements == 0 {
		return 0, p.fail(at, "%s", t.Type.problem())
	}
	n := uint64(1)
	for _, d := range t.Shape {
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt64/8 {
			return 0, p.fail(at, "shape %v has too many elements", t.Shape)
		}
		n = lo
	}
	if cols := t.Shape[len(t.Shape)-1]; cols%elements != 0 {
		return 0, p.fail(at, "a row of %d elements is no multiple of the block of %v, %d", cols, t.Type, elements)
	}
	hi, size := bits.Mul64(n/uint64(elements), uint64(blockBytes))
	if hi != 0 || size > math.MaxInt64/2 {
		return 0, p.fail(at, "shape %v of %v has too many bytes", t.Shape, t.Type)
	}
	return int64(size), nil
}

// place turns offsets within the data into offsets within the file, and checks
// that the tensors lie in it, aligned and apart from each other.
func (p *parser) place(h *header) error {
	alignment, err := h.alignment()
	if err != nil {
		return err
	}
	slices.SortFunc(h.tensors, func(a, b Tensor) int { return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Name, b.Name)) })
	start := (int64(p.Offset()) + alignment - 1) / alignment * alignment
	end, last := int64(0), ""
	for i := range h.tensors {
		t := &h.tensors[i]
		p.field = fmt.Sprintf("tensor %q", t.Name)
		switch {
		case t.Offset%alignment != 0:
			return p.fail(start+t.Offset, "data at %d is no multiple of the alignment, %d", t.Offset, alignment)
		case t.Offset < end:
			return p.fail(start+t.Offset, "overlaps tensor %q, which ends at offset %d", last, start+end)
		case t.Length > p.size-start-t.Offset:
			return p.fail(start+t.Offset, "want %d bytes, the file has %d more; it is cut short: bring it again", t.Length, max(p.size-start-t.Offset, 0))
		}
		end, last = t.Offset+t.Length, t.Name
		t.Offset += start
	}
	return nil
}

func (h *header) alignment() (int64, error) {
	const key = "general.alignment"
	v, ok := h.metadata.Value(key)
	if !ok {
		return defaultAlignment, nil
	}
	n, _, err := h.metadata.Int(key)
	if err != nil || v.Type != Uint32 {
		return 0, h.metadata.problem(key, "is %v, want UINT32", v.Type)
	}
	if n < 8 || n > maxAlignment || n&(n-1) != 0 {
		return 0, h.metadata.problem(key, "%d, want a power of two from 8 to %d", n, maxAlignment)
	}
	return int64(n), nil
}
