package parquet

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// codecs are those of CompressionCodec in parquet.thrift. unpack returns up to
// size bytes and an error where there are more; nil where it is not supported.
var codecs = []struct {
	name   string
	unpack func(b []byte, size int) ([]byte, error)
}{
	{"none", func(b []byte, _ int) ([]byte, error) { return b, nil }},
	{"snappy", unsnappy},
	{"gzip", ungzip},
	{"lzo", nil},
	{"brotli", nil},
	{"lz4", nil}, // as Hadoop framed it; deprecated
	{"zstd", unzstd},
	{"lz4_raw", unlz4},
}

func unsupported(codec int64) error {
	name := fmt.Sprintf("by codec %d", codec)
	if codec >= 0 && codec < int64(len(codecs)) {
		name = "by " + codecs[codec].name
	}
	var have []string
	for _, c := range codecs {
		if c.unpack != nil {
			have = append(have, c.name)
		}
	}
	return fmt.Errorf("it is packed %s, which is not supported; write the file with one of %s", name, strings.Join(have, ", "))
}

// ratio is how many times more than its input a buffer is allocated for, no
// matter what a page claims; beyond it buffers grow as bytes come.
const ratio = 8

var errLong = errors.New("more bytes than the page says")

// all reads what r gives, size bytes at most.
func all(r io.Reader, packed, size int) ([]byte, error) {
	out := bytes.NewBuffer(make([]byte, 0, min(size, ratio*packed)))
	n, err := io.Copy(out, io.LimitReader(r, int64(size)+1))
	if err == nil && n > int64(size) {
		err = errLong
	}
	return out.Bytes(), err
}

func ungzip(b []byte, size int) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return all(r, len(b), size)
}

func unzstd(b []byte, size int) ([]byte, error) {
	const window = 32 << 20
	r, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return all(r, len(b), size)
}

// unsnappy unpacks a block (https://github.com/google/snappy/blob/main/format_description.txt).
func unsnappy(b []byte, size int) ([]byte, error) {
	n, head := binary.Uvarint(b)
	if head <= 0 || n != uint64(size) { //nolint:gosec // not negative
		return nil, fmt.Errorf("it says %d bytes, the page %d", n, size)
	}
	b = b[head:]
	out := make([]byte, 0, min(size, ratio*len(b)))
	for len(b) > 0 {
		tag := b[0]
		b = b[1:]
		var length, distance int
		switch tag & 3 {
		case 0:
			length = int(tag >> 2)
			if extra := length - 59; extra > 0 {
				if len(b) < extra {
					return nil, errShort
				}
				length = int(littleEndian(b[:extra]))
				b = b[extra:]
			}
			length++
			if length > len(b) {
				return nil, errShort
			}
			if length > size-len(out) {
				return nil, errLong
			}
			out = append(out, b[:length]...)
			b = b[length:]
			continue
		case 1:
			if len(b) < 1 {
				return nil, errShort
			}
			length, distance = 4+int(tag>>2&7), int(tag>>5)<<8|int(b[0])
			b = b[1:]
		default:
			n := 2 * int(tag&3-1) // 2 or 4 bytes
			if len(b) < n {
				return nil, errShort
			}
			length, distance = 1+int(tag>>2), int(littleEndian(b[:n]))
			b = b[n:]
		}
		var err error
		if out, err = repeat(out, distance, length, size); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func littleEndian(b []byte) uint32 {
	var v uint32
	for i, x := range b {
		v |= uint32(x) << (8 * i)
	}
	return v
}

// repeat appends bytes from a distance before the end, new ones too where
// they reach so far.
func repeat(out []byte, distance, length, size int) ([]byte, error) {
	if distance <= 0 || distance > len(out) {
		return nil, fmt.Errorf("bytes from %d before, at byte %d", distance, len(out))
	}
	if length > size-len(out) {
		return nil, errLong
	}
	for length > 0 {
		from := len(out) - distance
		n := min(length, distance)
		out = append(out, out[from:from+n]...)
		length -= n
	}
	return out, nil
}

// unlz4 unpacks a block (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md).
func unlz4(b []byte, size int) ([]byte, error) {
	out := make([]byte, 0, min(size, ratio*len(b)))
	for len(b) > 0 {
		token := b[0]
		var literals, length int
		var err error
		if literals, b, err = lz4Length(int(token>>4), b[1:]); err != nil {
			return nil, err
		}
		if literals > len(b) {
			return nil, errShort
		}
		if literals > size-len(out) {
			return nil, errLong
		}
		out, b = append(out, b[:literals]...), b[literals:]
		if len(b) == 0 {
			break // the last sequence has no match
		}
		if len(b) < 2 {
			return nil, errShort
		}
		distance := int(binary.LittleEndian.Uint16(b))
		if length, b, err = lz4Length(int(token&15), b[2:]); err != nil {
			return nil, err
		}
		if out, err = repeat(out, distance, length+4, size); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// lz4Length reads the rest of a length.
func lz4Length(n int, b []byte) (int, []byte, error) {
	if n < 15 {
		return n, b, nil
	}
	for i, x := range b {
		if n += int(x); x < 255 {
			return n, b[i+1:], nil
		}
	}
	return 0, nil, errShort
}
