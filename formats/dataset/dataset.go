// Package dataset reads text to calibrate and evaluate with: plain text, JSON
// lines and Parquet, as one stream of token ids, and cuts windows from it. The
// same file, tokenizer and seed give the same ids on every machine. It reads
// in one pass and holds a stretch of text, a line or a page at a time.
//
// It knows tokenizers, and of chat templates that they turn messages into
// text; it knows neither models nor what the windows are for.
package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/llima-build/llima/formats/tokenizer"
	"github.com/llima-build/llima/internal/mmap"
)

// Format says how a file holds its documents.
type Format string

// The formats. A plain text is one document, a line of JSON and a row of
// Parquet each are one.
const (
	Text    Format = "text"
	JSON    Format = "jsonl"
	Parquet Format = "parquet"
)

// Encoder turns documents into token ids.
type Encoder struct {
	Tokenizer *tokenizer.Tokenizer
	// Render lays out messages, a JSON list of objects with role and content,
	// in the model's chat template; nil where it has none.
	Render func(messages json.RawMessage) (string, error)
	// EOS goes between documents where the tokenizer begins no text with a
	// token of its own; -1 for none.
	EOS int
}

// File is a dataset that is open for reading.
type File struct {
	Name      string // as errors call it; its extension tells the format
	Reader    io.ReaderAt
	SizeBytes int64
}

// Open opens a regular file that errors call by another name than its path.
func Open(path, name string) (*File, error) {
	f, err := mmap.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &File{Name: name, Reader: f, SizeBytes: st.Size()}, nil
}

// Close closes what [Open] opened.
func (f *File) Close() error {
	if c, ok := f.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// packed are the first bytes of files that must be unpacked first.
var packed = []struct{ magic, name, fix string }{
	{"\x1f\x8b", "gzip", "gunzip"},
	{"\x28\xb5\x2f\xfd", "zstd", "zstd -d"},
	{"\xfd7zXZ\x00", "xz", "xz -d"},
	{"BZh", "bzip2", "bunzip2"},
	{"PK\x03\x04", "zip", "unzip"},
}

const parquetMagic = "PAR1"

// Format finds out how the file holds its documents, by its extension and its
// first bytes, and refuses what is none of the formats.
func (f *File) Format() (Format, error) {
	if f.SizeBytes == 0 {
		return "", f.failf("the file is empty; want text")
	}
	head := make([]byte, min(f.SizeBytes, 64))
	if _, err := f.Reader.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", f.failf("%w", err)
	}
	extension := strings.ToLower(filepath.Ext(f.Name))
	for _, p := range packed {
		if bytes.HasPrefix(head, []byte(p.magic)) {
			return "", f.failf("offset 0: the file is packed by %s; unpack it, by %s for example", p.name, p.fix)
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return "", f.failf("offset 0: the text is UTF-16; want UTF-8: iconv -f UTF-16 -t UTF-8")
	case extension == ".parquet", f.framed(head):
		return Parquet, nil
	case extension == ".jsonl", extension == ".ndjson", extension == ".json":
		return JSON, nil
	}
	return Text, nil
}

// framed reports whether a file begins and ends as Parquet does.
func (f *File) framed(head []byte) bool {
	tail := make([]byte, len(parquetMagic))
	if f.SizeBytes < 12 || !bytes.HasPrefix(head, []byte(parquetMagic)) {
		return false
	}
	n, _ := f.Reader.ReadAt(tail, f.SizeBytes-int64(len(tail)))
	return string(tail[:n]) == parquetMagic
}

func (f *File) failf(format string, a ...any) error {
	return fmt.Errorf("%s: %w", f.Name, fmt.Errorf(format, a...))
}

// sink takes the tokens of a file, document by document.
type sink interface {
	begin() // of a document that has text
	add(ids []int)
}

// read passes the tokens of a file's documents to a sink.
func (e *Encoder) read(ctx context.Context, f *File, to sink) error {
	format, err := f.Format()
	if err != nil {
		return err
	}
	r := &reader{ctx: ctx, file: f, encoder: e, to: to}
	switch format {
	case Text:
		err = r.text()
	case JSON:
		err = r.lines()
	case Parquet:
		err = r.parquet()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return f.failf("%w", err)
	case r.documents == 0:
		return f.failf("no document has any text")
	}
	return nil
}

// reader reads one file.
type reader struct {
	ctx       context.Context //nolint:containedctx // of one call
	file      *File
	encoder   *Encoder
	to        sink
	documents int
}

// document starts a document, whose text may come in pieces.
func (r *reader) document() *stretcher {
	r.documents++
	r.to.begin()
	return &stretcher{encode: func(s string) []int { return r.encoder.Tokenizer.Encode(s, false) }, add: r.to.add}
}

// whole passes on a document that is there as a whole, if it is not empty.
func (r *reader) whole(text string) error {
	if text != "" {
		d := r.document()
		d.write(text)
		d.close()
	}
	return r.ctx.Err()
}

// between returns what goes between two documents.
func (e *Encoder) between() []int {
	begin := e.Tokenizer.Prefix()
	if len(begin) == 0 && e.EOS >= 0 {
		return []int{e.EOS}
	}
	return begin
}
