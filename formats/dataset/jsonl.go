package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode"
)

// maxLineBytes bounds a line of JSON.
const maxLineBytes = 64 << 20

// lines reads JSON lines: one object each, empty lines apart.
func (r *reader) lines() error {
	in := bufio.NewReaderSize(io.NewSectionReader(r.file.Reader, 0, r.file.SizeBytes), blockBytes)
	offset := int64(0)
	for number := 1; ; number++ {
		line, err := nextLine(in)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return fmt.Errorf("line %d, offset %d: %w", number, offset, err)
		}
		size := int64(len(line))
		if offset == 0 {
			line = bytes.TrimPrefix(line, []byte(byteOrderMark))
		}
		if err := r.line(line, number == 1); err != nil {
			at := offset
			if p, ok := errors.AsType[*placedError](err); ok {
				at += size - int64(len(line)) + int64(p.at)
			}
			return fmt.Errorf("line %d, offset %d: %w", number, at, err)
		}
		if last {
			return nil
		}
		offset += size
	}
}

// nextLine returns a line with what ends it.
func nextLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		b, err := in.ReadSlice('\n')
		line = append(line, b...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > maxLineBytes {
			return nil, fmt.Errorf("the line has more than %d bytes; want one document a line", maxLineBytes)
		}
	}
}

func (r *reader) line(line []byte, first bool) error {
	object := bytes.TrimSpace(line)
	switch {
	case len(object) == 0:
		return r.ctx.Err()
	case object[0] == '[' && first:
		return errors.New("a JSON list begins here; want one object a line: jq -c '.[]' makes them")
	case len(object) == 1 && object[0] == '{' && first:
		return errors.New("an object begins here and does not end on its line; want one object a line: jq -c . makes them")
	}
	if good, _ := wellFormed(line); good < len(line) {
		return &placedError{good, notUTF8(line[good])}
	}
	text, err := r.encoder.object(object)
	if err != nil {
		if p, ok := errors.AsType[*placedError](err); ok {
			p.at += len(line) - len(bytes.TrimLeftFunc(line, unicode.IsSpace))
		}
		return err
	}
	return r.whole(text)
}

// placedError is an error at a byte of a line or a value.
type placedError struct {
	at  int
	err error
}

// Error implements error.
func (e *placedError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong there.
func (e *placedError) Unwrap() error { return e.err }
