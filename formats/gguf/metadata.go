package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/llima-build/llima/internal/cursor"
)

// ValueType is the type of a metadata value, by the number that files have
// for it.
type ValueType uint32

// The types of values.
const (
	Uint8 ValueType = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

var valueTypes = [...]struct {
	name      string
	sizeBytes uint64 // 0 where the file says how many
}{
	Uint8: {"UINT8", 1}, Int8: {"INT8", 1}, Uint16: {"UINT16", 2}, Int16: {"INT16", 2}, Uint32: {"UINT32", 4}, Int32: {"INT32", 4},
	Float32: {"FLOAT32", 4}, Bool: {"BOOL", 1}, String: {"STRING", 0}, Array: {"ARRAY", 0}, Uint64: {"UINT64", 8}, Int64: {"INT64", 8},
	Float64: {"FLOAT64", 8},
}

// String returns the name of the type, "UINT32" for example.
func (t ValueType) String() string {
	if int(t) < len(valueTypes) {
		return valueTypes[t].name
	}
	return fmt.Sprintf("ValueType(%d)", uint32(t))
}

// Value is one metadata value. Its bytes are the file's, checked and not yet
// decoded.
type Value struct {
	Type   ValueType
	Elem   ValueType // of an array's elements
	Len    int       // elements of an array, 1 for any other
	Offset int64     // of the value's bytes, from the start of the file
	raw    []byte    // strings in arrays with their lengths
}

// kind names the type for people.
func (v Value) kind() string {
	if v.Type == Array {
		return "ARRAY of " + v.Elem.String()
	}
	return v.Type.String()
}

// Metadata holds the key-value pairs of a file.
type Metadata struct {
	keys   []string // in the file's order
	values map[string]Value
}

func newMetadata() *Metadata { return &Metadata{values: map[string]Value{}} }

// Keys returns the keys in the order of the file. The caller must not change
// the list.
func (m *Metadata) Keys() []string { return m.keys }

// Value returns the value of a key.
func (m *Metadata) Value(key string) (Value, bool) {
	v, ok := m.values[key]
	return v, ok
}

// problem says what is wrong with the value of a key.
func (m *Metadata) problem(key, format string, args ...any) error {
	return &Error{Field: fmt.Sprintf("key %q", key), Offset: m.values[key].Offset, Problem: fmt.Sprintf(format, args...)}
}

// integer decodes element i of a value of an integer type.
func (v Value) integer(t ValueType, i int) (n int64, ok bool) {
	b := v.raw
	switch t { //nolint:exhaustive // the others are no integers
	case Uint8:
		return int64(b[i]), true
	case Int8:
		return int64(int8(b[i])), true
	case Uint16:
		return int64(binary.LittleEndian.Uint16(b[2*i:])), true
	case Int16:
		return int64(int16(binary.LittleEndian.Uint16(b[2*i:]))), true
	case Uint32:
		return int64(binary.LittleEndian.Uint32(b[4*i:])), true
	case Int32:
		return int64(int32(binary.LittleEndian.Uint32(b[4*i:]))), true
	case Uint64:
		u := binary.LittleEndian.Uint64(b[8*i:])
		return int64(u), u <= math.MaxInt64
	case Int64:
		return int64(binary.LittleEndian.Uint64(b[8*i:])), true
	}
	return 0, false
}

// Int returns the integer of a key, of whatever integer type; ok is false
// where the key is missing, and a value of another type is an error.
func (m *Metadata) Int(key string) (n int, ok bool, err error) {
	v, ok := m.values[key]
	if !ok {
		return 0, false, nil
	}
	i, good := v.integer(v.Type, 0)
	if !good || int64(int(i)) != i {
		return 0, true, m.problem(key, "is %v, want an integer", v.Type)
	}
	return int(i), true, nil
}

// Ints returns an array of integers, or of one where the value is no array.
func (m *Metadata) Ints(key string) ([]int, bool, error) {
	v, ok := m.values[key]
	if !ok {
		return nil, false, nil
	}
	t := v.Type
	if t == Array {
		t = v.Elem
	}
	out := make([]int, v.Len)
	for i := range out {
		n, good := v.integer(t, i)
		if !good && t == Bool {
			n, good = int64(v.raw[i]), true
		}
		if !good || int64(int(n)) != n {
			return nil, true, m.problem(key, "is %v, want integers", v.kind())
		}
		out[i] = int(n)
	}
	return out, true, nil
}

// Float returns the number of a key.
func (m *Metadata) Float(key string) (f float64, ok bool, err error) {
	v, ok := m.values[key]
	switch {
	case !ok:
		return 0, false, nil
	case v.Type == Float32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(v.raw))), true, nil
	case v.Type == Float64:
		return math.Float64frombits(binary.LittleEndian.Uint64(v.raw)), true, nil
	}
	if n, good := v.integer(v.Type, 0); good {
		return float64(n), true, nil
	}
	return 0, true, m.problem(key, "is %v, want a number", v.Type)
}

// Floats returns an array of FLOAT32.
func (m *Metadata) Floats(key string) ([]float32, bool, error) {
	v, ok := m.values[key]
	if !ok {
		return nil, false, nil
	}
	if v.Type != Array || v.Elem != Float32 {
		return nil, true, m.problem(key, "is %v, want an array of FLOAT32", v.kind())
	}
	out := make([]float32, v.Len)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(v.raw[4*i:]))
	}
	return out, true, nil
}

// Bool returns the truth value of a key.
func (m *Metadata) Bool(key string) (b, ok bool, err error) {
	v, ok := m.values[key]
	if ok && v.Type != Bool {
		return false, true, m.problem(key, "is %v, want BOOL", v.Type)
	}
	return ok && v.raw[0] != 0, ok, nil
}

// Text returns the string of a key.
func (m *Metadata) Text(key string) (s string, ok bool, err error) {
	v, ok := m.values[key]
	if ok && v.Type != String {
		return "", true, m.problem(key, "is %v, want STRING", v.Type)
	}
	return string(v.raw), ok, nil
}

// Texts returns an array of strings.
func (m *Metadata) Texts(key string) ([]string, bool, error) {
	v, ok := m.values[key]
	if !ok {
		return nil, false, nil
	}
	if v.Type != Array || v.Elem != String {
		return nil, true, m.problem(key, "is %v, want an array of STRING", v.kind())
	}
	out := make([]string, v.Len)
	r := cursor.New(v.raw)
	for i := range out {
		out[i] = string(r.Bytes(r.U64()))
	}
	return out, true, nil
}

// pair reads a key and checks its value.
func (p *parser) pair(m *Metadata) error {
	p.field = ""
	at := int64(p.Offset())
	key, err := p.name("a key", maxKeyBytes)
	if err != nil {
		return err
	}
	p.field = fmt.Sprintf("key %q", key)
	if _, ok := m.values[key]; ok {
		return p.fail(at, "the file has the key twice")
	}
	v := Value{Type: ValueType(p.U32()), Len: 1}
	if v.Type == Array {
		v.Elem = ValueType(p.U32())
		err = p.array(&v)
	} else {
		v.Offset = int64(p.Offset())
		v.raw, err = p.scalar(v.Type)
	}
	if err != nil {
		return err
	}
	m.keys = append(m.keys, key)
	m.values[key] = v
	return nil
}

// scalar reads the bytes of a value that is no array.
func (p *parser) scalar(t ValueType) ([]byte, error) {
	at := int64(p.Offset())
	if err := p.short(); err != nil {
		return nil, err
	}
	var b []byte
	switch {
	case t == String:
		b = p.Bytes(p.U64())
	case int(t) < len(valueTypes) && valueTypes[t].sizeBytes > 0:
		b = p.Bytes(valueTypes[t].sizeBytes)
	default:
		return nil, p.fail(at-4, "value type %d is unknown", uint32(t))
	}
	if err := p.short(); err != nil {
		return nil, err
	}
	if t == Bool && b[0] > 1 {
		return nil, p.fail(at, "BOOL of %d, want 0 or 1", b[0])
	}
	return b, nil
}

// array checks the elements of an array.
func (p *parser) array(v *Value) error {
	at := int64(p.Offset())
	n := p.U64()
	if err := p.short(); err != nil {
		return err
	}
	size := uint64(8) // of a string's length
	switch {
	case v.Elem == Array:
		return p.fail(at-4, "an array of arrays is not supported")
	case int(v.Elem) >= len(valueTypes):
		return p.fail(at-4, "value type %d is unknown", uint32(v.Elem))
	case v.Elem != String:
		size = valueTypes[v.Elem].sizeBytes
	}
	if n > uint64(p.Len())/size {
		return p.fail(at, "an array of %d elements cannot be in the %d bytes that follow", n, p.Len())
	}
	v.Len, v.Offset = int(n), int64(p.Offset())
	if v.Elem == String {
		for range n {
			p.Skip(p.U64())
		}
		if err := p.short(); err != nil {
			return err
		}
		size, n = uint64(int64(p.Offset())-v.Offset), 1
		p.Seek(uint64(v.Offset))
	}
	v.raw = p.Bytes(n * size)
	if v.Elem == Bool {
		for i, b := range v.raw {
			if b > 1 {
				return p.fail(v.Offset+int64(i), "BOOL of %d, want 0 or 1", b)
			}
		}
	}
	return p.short()
}
