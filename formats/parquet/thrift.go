package parquet

import (
	"encoding/binary"
	"fmt"
)

// The types of fields in Thrift's compact protocol
// (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md).
const (
	typeStop = iota
	typeTrue
	typeFalse
	typeI8
	typeI16
	typeI32
	typeI64
	typeDouble
	typeBinary
	typeList
	typeSet
	typeMap
	typeStruct
	typeUUID
)

const maxNesting = 64

// thrift reads values of the compact protocol. The first error stays: every
// later read returns zero.
type thrift struct {
	data  []byte
	at    int
	base  int64 // offset of data in the file
	depth int
	err   error
	short bool // the error is that data ends too early
}

func (t *thrift) failf(format string, a ...any) {
	if t.err == nil {
		t.err = fmt.Errorf("offset %d: %w", t.base+int64(t.at), fmt.Errorf(format, a...))
	}
}

func (t *thrift) end() {
	t.short = t.short || t.err == nil
	t.failf("the structure goes on where its bytes end")
}

func (t *thrift) byte() byte {
	if t.err != nil {
		return 0
	}
	if t.at == len(t.data) {
		t.end()
		return 0
	}
	t.at++
	return t.data[t.at-1]
}

func (t *thrift) uvarint() uint64 {
	if t.err != nil {
		return 0
	}
	v, n := binary.Uvarint(t.data[t.at:])
	switch {
	case n == 0:
		t.end()
		return 0
	case n < 0:
		t.failf("a number of more than 64 bits")
		return 0
	}
	t.at += n
	return v
}

func (t *thrift) int() int64 {
	v := t.uvarint()
	return int64(v>>1) ^ -int64(v&1) //nolint:gosec // zigzag
}

// binary returns the bytes of a string, which are not copied.
func (t *thrift) binary() []byte {
	n := t.uvarint()
	if t.err != nil {
		return nil
	}
	if n > uint64(len(t.data)-t.at) {
		t.end()
		return nil
	}
	t.at += int(n) //nolint:gosec // compared
	return t.data[t.at-int(n) : t.at]
}

// fields calls visit with every field of a structure; visit returns whether it
// has read the field's value, which is passed over otherwise.
func (t *thrift) fields(visit func(id int64, typ byte) bool) {
	if t.depth++; t.depth > maxNesting {
		t.failf("nested more than %d deep", maxNesting)
	}
	id := int64(0)
	for t.err == nil {
		head := t.byte()
		typ := head & 15
		if typ == typeStop {
			break
		}
		if delta := int64(head >> 4); delta != 0 {
			id += delta
		} else {
			id = t.int()
		}
		if !visit(id, typ) {
			t.skip(typ, true)
		}
	}
	t.depth--
}

// list calls visit for every item of a list, whose type must be the given one.
func (t *thrift) list(want byte, visit func(i int)) {
	n, typ := t.listHead()
	if t.err == nil && n > 0 && typ != want {
		t.failf("a list of type %d, want %d", typ, want)
	}
	for i := 0; i < n && t.err == nil; i++ {
		visit(i)
	}
}

// listHead returns how many items a list has, each of a byte at least.
func (t *thrift) listHead() (n int, typ byte) {
	head := t.byte()
	size := uint64(head >> 4)
	if size == 15 {
		size = t.uvarint()
	}
	if t.err == nil && size > uint64(len(t.data)-t.at) {
		t.end()
		return 0, 0
	}
	return int(size), head & 15 //nolint:gosec // compared
}

// skip passes over a value. A bool in a structure has no bytes of its own.
func (t *thrift) skip(typ byte, field bool) {
	if t.depth++; t.depth > maxNesting {
		t.failf("nested more than %d deep", maxNesting)
	}
	switch typ {
	case typeTrue, typeFalse:
		if !field {
			t.byte()
		}
	case typeI8:
		t.byte()
	case typeI16, typeI32, typeI64:
		t.uvarint()
	case typeDouble:
		t.pass(8)
	case typeUUID:
		t.pass(16)
	case typeBinary:
		t.binary()
	case typeList, typeSet:
		n, item := t.listHead()
		for i := 0; i < n && t.err == nil; i++ {
			t.skip(item, false)
		}
	case typeMap:
		t.skipMap()
	case typeStruct:
		t.fields(func(int64, byte) bool { return false })
	default:
		t.failf("type %d is not known", typ)
	}
	t.depth--
}

func (t *thrift) skipMap() {
	n := t.uvarint()
	if n == 0 {
		return
	}
	types := t.byte()
	for i := uint64(0); i < n && t.err == nil; i++ {
		t.skip(types>>4, false)
		t.skip(types&15, false)
	}
}

func (t *thrift) pass(n int) {
	if t.err == nil && n > len(t.data)-t.at {
		t.end()
	}
	if t.err == nil {
		t.at += n
	}
}

// i32 reads a field that must be a 32-bit number.
func (t *thrift) i32(typ byte) int64 {
	v := t.i64(typ)
	if v != int64(int32(v)) { //nolint:gosec // that is the question
		t.failf("%d has more than 32 bits", v)
		return 0
	}
	return v
}

// i64 reads a field that must be a number.
func (t *thrift) i64(typ byte) int64 {
	if typ != typeI16 && typ != typeI32 && typ != typeI64 {
		t.failf("a value of type %d, want a number", typ)
	}
	return t.int()
}

// text reads a field that must be a string.
func (t *thrift) text(typ byte) string {
	if typ != typeBinary {
		t.failf("a value of type %d, want a string", typ)
	}
	return string(t.binary())
}

// structure reads a field that must be one.
func (t *thrift) structure(typ byte, visit func(id int64, typ byte) bool) {
	if typ != typeStruct {
		t.failf("a value of type %d, want a structure", typ)
	}
	t.fields(visit)
}

// items reads a field that must be a list.
func (t *thrift) items(typ, want byte, visit func(i int)) {
	if typ != typeList {
		t.failf("a value of type %d, want a list", typ)
	}
	t.list(want, visit)
}
