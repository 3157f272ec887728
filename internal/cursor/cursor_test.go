package cursor_test

import (
	"errors"
	"math"
	"testing"

	"github.com/llima-build/llima/internal/cursor"
)

func TestReader(t *testing.T) {
	r := cursor.New([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17})
	if got := r.U8(); got != 1 {
		t.Errorf("U8() = %d, want 1", got)
	}
	if got := r.U16(); got != 0x0302 {
		t.Errorf("U16() = %#x, want 0x0302", got)
	}
	if got := r.U32(); got != 0x07060504 {
		t.Errorf("U32() = %#x, want 0x07060504", got)
	}
	if got := r.U64(); got != 0x0f0e0d0c0b0a0908 {
		t.Errorf("U64() = %#x, want 0x0f0e0d0c0b0a0908", got)
	}
	if r.Offset() != 15 || r.Len() != 2 || r.Err() != nil {
		t.Errorf("Offset, Len, Err = %d, %d, %v, want 15, 2, nil", r.Offset(), r.Len(), r.Err())
	}
	r.Align(16)
	r.Align(16)
	if r.Offset() != 16 {
		t.Errorf("Offset() = %d after Align(16), want 16", r.Offset())
	}
	r.Seek(3)
	if b := r.Bytes(2); string(b) != "\x04\x05" || cap(b) != 2 {
		t.Errorf("Bytes(2) = %v (cap %d), want [4 5] (cap 2)", b, cap(b))
	}
	r.Seek(17)
	if r.Len() != 0 || r.Err() != nil {
		t.Errorf("Len, Err = %d, %v at the end, want 0, nil", r.Len(), r.Err())
	}
}

func TestShort(t *testing.T) {
	tests := map[string]func(r *cursor.Reader){
		"U8":    func(r *cursor.Reader) { r.Skip(4); r.U8() },
		"U16":   func(r *cursor.Reader) { r.Skip(3); r.U16() },
		"U32":   func(r *cursor.Reader) { r.U8(); r.U32() },
		"U64":   func(r *cursor.Reader) { r.U64() },
		"Bytes": func(r *cursor.Reader) { r.Bytes(math.MaxUint64) },
		"Seek":  func(r *cursor.Reader) { r.Seek(5) },
		"Align": func(r *cursor.Reader) { r.U8(); r.Align(8) },
	}
	for name, read := range tests {
		r := cursor.New(make([]byte, 4))
		read(r)
		var short *cursor.ShortError
		if !errors.As(r.Err(), &short) {
			t.Errorf("%s: Err() = %v, want a ShortError", name, r.Err())
			continue
		}
		before := r.Offset()
		if r.U8() != 0 || r.Bytes(1) != nil || r.Offset() != before || !errors.Is(r.Err(), error(short)) {
			t.Errorf("%s: the reader went on after %v", name, short)
		}
	}
	r := cursor.New([]byte{1, 2, 3})
	r.U16()
	r.U32()
	if got, want := r.Err().Error(), "offset 2: want 4 bytes, have 1"; got != want {
		t.Errorf("Err() = %q, want %q", got, want)
	}
}
