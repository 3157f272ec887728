// Package parquet reads columns of strings, and of lists of objects with
// strings, from Parquet files (https://github.com/apache/parquet-format): all
// that a dataset of text takes. It reads a page of each column at a time,
// compares every length with the bytes that are there, and says where a file
// is wrong. It does not know what the text is for.
package parquet

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

const magic = "PAR1"

// Bounds on what a file may ask for.
const (
	maxFooterBytes = 64 << 20
	maxHeaderBytes = 1 << 20 // of a page
	maxPageBytes   = 256 << 20
	maxPageValues  = 1 << 24
	maxRowBytes    = 64 << 20
	maxRowItems    = 1 << 16
)

// File is an open Parquet file.
type File struct {
	r      io.ReaderAt
	footer int64 // offset
	root   *node
	groups []rowGroup
}

type rowGroup struct {
	rows   int64
	chunks []chunk
}

// chunk is where a row group has the pages of a column.
type chunk struct {
	path                string // of the column, by dots
	codec               int64
	values              int64
	size                int64 // bytes, compressed
	data, dictionary    int64 // offsets of the first pages; 0: none
	elsewhere, isSecret bool
}

// Open reads the footer of a file.
func Open(r io.ReaderAt, size int64) (*File, error) {
	const frame = len(magic) + 8
	if size < int64(frame) {
		return nil, fmt.Errorf("%d bytes are too short for Parquet", size)
	}
	f := &File{r: r}
	head, err := f.read(0, int64(len(magic)))
	if err != nil {
		return nil, err
	}
	tail, err := f.read(size-8, 8)
	if err != nil {
		return nil, err
	}
	switch {
	case string(tail[4:]) == "PARE":
		return nil, fmt.Errorf("offset %d: the file is encrypted", size-4)
	case string(head) != magic:
		return nil, fmt.Errorf("offset 0: the file begins with %q, not with %q as Parquet does", head, magic)
	case string(tail[4:]) != magic:
		return nil, fmt.Errorf("offset %d: the file ends with %q, not with %q: it was cut short, or is not Parquet", size-4, tail[4:], magic)
	}
	n := int64(binary.LittleEndian.Uint32(tail))
	if n > min(size-int64(frame), maxFooterBytes) {
		return nil, fmt.Errorf("offset %d: a footer of %d bytes, of at most %d", size-8, n, min(size-int64(frame), maxFooterBytes))
	}
	f.footer = size - 8 - n
	b, err := f.read(f.footer, n)
	if err != nil {
		return nil, err
	}
	if err := f.parse(&thrift{data: b, base: f.footer}); err != nil {
		return nil, fmt.Errorf("footer: %w", err)
	}
	return f, nil
}

// read returns n bytes at an offset, which the caller has compared with the
// file's size.
func (f *File) read(offset, n int64) ([]byte, error) {
	b := make([]byte, n)
	got, err := f.r.ReadAt(b, offset)
	if got < len(b) {
		return nil, fmt.Errorf("offset %d: %w", offset+int64(got), err)
	}
	return b, nil
}

// parse reads FileMetaData.
func (f *File) parse(t *thrift) error {
	var elements []element
	t.fields(func(id int64, typ byte) bool {
		switch id {
		case 2:
			t.items(typ, typeStruct, func(int) { elements = append(elements, t.element()) })
		case 4:
			t.items(typ, typeStruct, func(int) { f.groups = append(f.groups, t.rowGroup()) })
		case 8:
			t.failf("the columns are encrypted")
		default:
			return false
		}
		return true
	})
	if t.err != nil {
		return t.err
	}
	if len(elements) == 0 {
		return fmt.Errorf("offset %d: there is no schema", t.base)
	}
	b := builder{rest: elements}
	f.root = b.node(nil)
	if b.err != nil {
		return b.err
	}
	if len(b.rest) > 0 {
		return fmt.Errorf("schema: %d elements belong to nothing", len(b.rest))
	}
	return nil
}

// rowGroup reads RowGroup.
func (t *thrift) rowGroup() (g rowGroup) {
	t.fields(func(id int64, typ byte) bool {
		switch id {
		case 1:
			t.items(typ, typeStruct, func(int) { g.chunks = append(g.chunks, t.chunk()) })
		case 3:
			g.rows = t.i64(typ)
		default:
			return false
		}
		return true
	})
	if g.rows < 0 {
		t.failf("a row group of %d rows", g.rows)
	}
	return g
}

// chunk reads ColumnChunk with its ColumnMetaData.
func (t *thrift) chunk() (c chunk) {
	t.fields(func(id int64, typ byte) bool {
		switch id {
		case 1:
			c.elsewhere = true
		case 3:
			t.structure(typ, func(id int64, typ byte) bool { return t.metadata(&c, id, typ) })
			return true
		case 8:
			c.isSecret = true
		}
		return false
	})
	return c
}

func (t *thrift) metadata(c *chunk, id int64, typ byte) bool {
	switch id {
	case 3:
		var path []string
		t.items(typ, typeBinary, func(int) { path = append(path, string(t.binary())) })
		c.path = strings.Join(path, ".")
	case 4:
		c.codec = t.i32(typ)
	case 5:
		c.values = t.i64(typ)
	case 7:
		c.size = t.i64(typ)
	case 9:
		c.data = t.i64(typ)
	case 11:
		c.dictionary = t.i64(typ)
	default:
		return false
	}
	return true
}

// Columns returns the names of the columns at the top, in the file's order.
func (f *File) Columns() []string {
	var names []string
	for _, n := range f.root.kids {
		names = append(names, n.name)
	}
	return names
}

// Value is what a column has in a row.
type Value struct {
	Null bool
	Text []byte   // of a column of strings; valid until the next row
	List []Object // of a column of lists
	Lost []string // fields of the objects that are not strings, and left out
}

// Object is an item of a list: its fields that are not null.
type Object []Field

// Field is a field of an object.
type Field struct {
	Name string
	Text []byte
}

// Read calls visit with every row, by row group and row in it, both from 0;
// values are those of the named columns. It stops at the first error.
func (f *File) Read(columns []string, visit func(group, row int64, values []Value) error) error {
	list := make([]*column, len(columns))
	for i, name := range columns {
		var err error
		if list[i], err = f.column(name); err != nil {
			return err
		}
	}
	values := make([]Value, len(columns))
	for g := range f.groups {
		group := &f.groups[g]
		for i, c := range list {
			if err := c.open(f, group); err != nil {
				return fmt.Errorf("row group %d, column %q: %w", g, columns[i], err)
			}
		}
		for row := range group.rows {
			for i, c := range list {
				var err error
				if values[i], err = c.next(); err != nil {
					return fmt.Errorf("row group %d, row %d, column %q: %w", g, row, columns[i], err)
				}
			}
			if err := visit(int64(g), row, values); err != nil {
				return err
			}
		}
		for i, c := range list {
			if n := c.left(); n > 0 {
				return fmt.Errorf("row group %d, column %q: %d values more than rows", g, columns[i], n)
			}
		}
	}
	return nil
}

// column finds a column at the top of the schema that holds text.
func (f *File) column(name string) (*column, error) {
	i := slices.IndexFunc(f.root.kids, func(n *node) bool { return n.name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no column %q", name)
	}
	c, err := newColumn(f.root.kids[i])
	if err != nil {
		return nil, fmt.Errorf("column %q: %w", name, err)
	}
	return c, nil
}
