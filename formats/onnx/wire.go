package onnx

import (
	"errors"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// reader walks over the fields of one message, whose bytes are [pos, end) of
// the file. path names the message in errors, "graph.node[3]" for example.
type reader struct {
	data []byte
	pos  int
	end  int
	path string
}

// field is one field of a message. num is its value when wire is VarintType
// or Fixed32Type; data[lo:hi] is its value when wire is BytesType.
type field struct {
	n      int32
	wire   protowire.Type
	offset int // of the tag
	num    uint64
	lo, hi int
}

// fail returns an error at a byte offset of the file.
func (r *reader) fail(offset int, format string, args ...any) error {
	where := ""
	if r.path != "" {
		where = r.path + ": "
	}
	return fmt.Errorf("onnx: %soffset %d: %w", where, offset, fmt.Errorf(format, args...))
}

// malformed says what a negative length from protowire means. Its own errors
// are not used: their text differs from build to build on purpose.
func malformed(code int) error {
	if errors.Is(protowire.ParseError(code), io.ErrUnexpectedEOF) {
		return io.ErrUnexpectedEOF
	}
	return errors.New("malformed")
}

// next returns the next field; ok is false at the end of the message.
func (r *reader) next() (f field, ok bool, err error) {
	if r.pos == r.end {
		return field{}, false, nil
	}
	f.offset = r.pos
	n, wire, size := protowire.ConsumeTag(r.data[r.pos:r.end])
	if size < 0 {
		return f, false, r.fail(f.offset, "bad tag: %w", malformed(size))
	}
	f.n, f.wire = int32(n), wire
	r.pos += size
	rest := r.data[r.pos:r.end]
	switch wire {
	case protowire.VarintType:
		f.num, size = protowire.ConsumeVarint(rest)
	case protowire.Fixed32Type:
		var v uint32
		v, size = protowire.ConsumeFixed32(rest)
		f.num = uint64(v)
	case protowire.Fixed64Type:
		f.num, size = protowire.ConsumeFixed64(rest)
	case protowire.BytesType:
		var b []byte
		b, size = protowire.ConsumeBytes(rest)
		if size >= 0 {
			f.hi = r.pos + size
			f.lo = f.hi - len(b)
		}
	case protowire.StartGroupType, protowire.EndGroupType:
		return f, false, r.fail(f.offset, "field %d is a group", n)
	default:
		return f, false, r.fail(f.offset, "field %d has wire type %d", n, wire)
	}
	if size < 0 {
		return f, false, r.fail(f.offset, "field %d: %w", n, malformed(size))
	}
	r.pos += size
	return f, true, nil
}

// want checks the wire type of a field that the caller reads.
func (r *reader) want(f field, wire protowire.Type) error {
	if f.wire != wire {
		return r.fail(f.offset, "field %d has wire type %d, want %d", f.n, f.wire, wire)
	}
	return nil
}

func (r *reader) bytes(f field) ([]byte, error) {
	return r.data[f.lo:f.hi:f.hi], r.want(f, protowire.BytesType)
}

func (r *reader) text(f field) (string, error) {
	b, err := r.bytes(f)
	return string(b), err
}

func (r *reader) integer(f field) (int64, error) {
	return int64(f.num), r.want(f, protowire.VarintType)
}

func (r *reader) enum(f field) (int32, error) {
	v, err := r.integer(f)
	if err == nil && v != int64(int32(v)) {
		return 0, r.fail(f.offset, "field %d: %d is not an enum value", f.n, v)
	}
	return int32(v), err
}

func (r *reader) float(f field) (float32, error) {
	return math.Float32frombits(uint32(f.num)), r.want(f, protowire.Fixed32Type)
}

// integers appends the values of a repeated int64 field, packed or not.
func (r *reader) integers(list []int64, f field) ([]int64, error) {
	if f.wire != protowire.BytesType {
		v, err := r.integer(f)
		return append(list, v), err
	}
	for pos := f.lo; pos < f.hi; {
		v, size := protowire.ConsumeVarint(r.data[pos:f.hi])
		if size < 0 {
			return nil, r.fail(pos, "field %d: %w", f.n, malformed(size))
		}
		list = append(list, int64(v))
		pos += size
	}
	return list, nil
}

// floats appends the values of a repeated float field, packed or not.
func (r *reader) floats(list []float32, f field) ([]float32, error) {
	if f.wire != protowire.BytesType {
		v, err := r.float(f)
		return append(list, v), err
	}
	for pos := f.lo; pos < f.hi; {
		v, size := protowire.ConsumeFixed32(r.data[pos:f.hi])
		if size < 0 {
			return nil, r.fail(pos, "field %d: %w", f.n, malformed(size))
		}
		list = append(list, math.Float32frombits(v))
		pos += size
	}
	return list, nil
}

// sub returns a reader of the message in a field; name extends the path.
func (r *reader) sub(f field, name string) (*reader, error) {
	if err := r.want(f, protowire.BytesType); err != nil {
		return nil, err
	}
	if r.path != "" {
		name = r.path + "." + name
	}
	return &reader{data: r.data, pos: f.lo, end: f.hi, path: name}, nil
}

// each calls visit with every field of the message. visit ignores the fields
// that it does not know.
func (r *reader) each(visit func(f field) error) error {
	for {
		f, ok, err := r.next()
		if err != nil || !ok {
			return err
		}
		if err := visit(f); err != nil {
			return err
		}
	}
}
