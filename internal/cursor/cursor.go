// Package cursor reads little-endian integers and byte strings off a slice and
// remembers where it is, for parsers of untrusted files. It never allocates:
// a claimed length is checked against the bytes that are there.
package cursor

import (
	"encoding/binary"
	"fmt"
)

// Reader reads a slice from front to back. The first read past the end sets
// an error that stays: every later read returns zero, so that a parser may
// read a whole header and check [Reader.Err] once.
type Reader struct {
	data []byte
	off  int
	err  error
}

// ShortError says that a read went past the end.
type ShortError struct {
	Offset int    // byte offset of the read
	Want   uint64 // bytes asked for
	Have   int    // bytes left at Offset
}

// Error implements error.
func (e *ShortError) Error() string {
	return fmt.Sprintf("offset %d: want %d bytes, have %d", e.Offset, e.Want, e.Have)
}

// New returns a reader at the start of data.
func New(data []byte) *Reader { return &Reader{data: data} }

// Err returns the first error, a [*ShortError], or nil.
func (r *Reader) Err() error { return r.err }

// Offset returns the offset of the next byte, in bytes from the start.
func (r *Reader) Offset() int { return r.off }

// Len returns the number of bytes left.
func (r *Reader) Len() int { return len(r.data) - r.off }

// Bytes returns the next n bytes without copying them, nil past the end.
func (r *Reader) Bytes(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(r.Len()) {
		r.err = &ShortError{Offset: r.off, Want: n, Have: r.Len()}
		return nil
	}
	end := r.off + int(n)
	b := r.data[r.off:end:end]
	r.off = end
	return b
}

// Skip passes over the next n bytes.
func (r *Reader) Skip(n uint64) { r.Bytes(n) }

// Seek goes to an offset in bytes from the start; the end itself is legal.
func (r *Reader) Seek(offset uint64) {
	if r.err != nil {
		return
	}
	if offset > uint64(len(r.data)) {
		r.err = &ShortError{Offset: 0, Want: offset, Have: len(r.data)}
		return
	}
	r.off = int(offset)
}

// Align passes over bytes until the offset is a multiple of n, a power of two.
func (r *Reader) Align(n int) { r.Skip(uint64(-r.off & (n - 1))) }

// U8 reads one byte.
func (r *Reader) U8() uint8 {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads two bytes.
func (r *Reader) U16() uint16 {
	if b := r.Bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// U32 reads four bytes.
func (r *Reader) U32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64 reads eight bytes.
func (r *Reader) U64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}
