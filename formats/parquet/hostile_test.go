package parquet_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
)

// A file in the making: Thrift's compact protocol by hand.
type (
	fields []any // id, value, id, value, …
	list   []any // of one type
)

func zigzag(n int) []byte { return binary.AppendVarint(nil, int64(n)) }

// thrift returns a value's bytes and type.
func thrift(v any) (b []byte, typ byte) {
	switch v := v.(type) {
	case int:
		return zigzag(v), 5
	case string:
		return append(binary.AppendUvarint(nil, uint64(len(v))), v...), 8
	case bool:
		if v {
			return nil, 1
		}
		return nil, 2
	case list:
		item := byte(5)
		for _, x := range v {
			var one []byte
			one, item = thrift(x)
			b = append(b, one...)
		}
		return append(append([]byte{0xf0 | item}, binary.AppendUvarint(nil, uint64(len(v)))...), b...), 9
	case fields:
		for i := 0; i < len(v); i += 2 {
			id, _ := v[i].(int)
			one, typ := thrift(v[i+1])
			b = append(append(append(b, typ), zigzag(id)...), one...)
		}
		return append(b, 0), 12
	case []byte: // as it is, for a structure
		return v, 12
	}
	panic("no such type")
}

func structure(v fields) []byte { b, _ := thrift(v); return b }

// made is a file of one optional column of strings, each part of which can be
// something else.
type made struct {
	codec, values, rows, size, offset int
	header                            fields
	page, dictionary                  []byte
	footer                            []byte
}

func one(page []byte) *made {
	return &made{values: 2, rows: 2, size: -1, offset: 4, page: page, header: fields{1, 0, 2, len(page), 3, len(page), 5, fields{1, 2, 2, 0, 3, 3, 4, 3}}}
}

func (m *made) bytes() []byte {
	var pages []byte
	if n := len(m.dictionary); n > 0 {
		pages = append(structure(fields{1, 2, 2, n, 3, n, 7, fields{1, int(m.dictionary[0] % 8), 2, 0}}), m.dictionary...)
	}
	pages = append(append(pages, structure(m.header)...), m.page...)
	size := m.size
	if size < 0 {
		size = len(pages)
	}
	footer := m.footer
	if footer == nil {
		footer = structure(fields{
			1, 1,
			2,
			list{fields{4, "schema", 5, 1}, fields{1, 6, 3, 1, 4, "text", 6, 0}},
			3, m.rows,
			4,
			list{fields{1, list{fields{3, fields{1, 6, 3, list{"text"}, 4, m.codec, 5, m.values, 7, size, 9, m.offset}}}, 2, size, 3, m.rows}},
		})
	}
	b := append([]byte("PAR1"), pages...)
	b = append(b, footer...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(footer)))
	return append(b, "PAR1"...)
}

// twoStrings is a page with "a" and "bc", its definition levels first.
var twoStrings = []byte("\x02\x00\x00\x00\x04\x01\x01\x00\x00\x00a\x02\x00\x00\x00bc")

func deep(n int) []byte {
	return append(bytes.Repeat([]byte{0x1c}, n), bytes.Repeat([]byte{0}, n+1)...)
}

// TestHostile claims what is not there: errors say where, and nothing large
// is allocated.
func TestHostile(t *testing.T) {
	if got, err := rows(one(twoStrings).bytes(), "text"); err != nil || len(got) != 2 || got[0] != "a" || got[1] != "bc" {
		t.Fatalf("%v, %v", got, err)
	}
	with := func(change func(m *made)) []byte {
		m := one(twoStrings)
		change(m)
		return m.bytes()
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 32<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	header := func(values, size, packed, encoding int) fields {
		return fields{1, 0, 2, size, 3, packed, 5, fields{1, values, 2, encoding, 3, 3, 4, 3}}
	}
	const huge = 1<<31 - 1
	levels := string(twoStrings[:6])
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"footer too long", append([]byte("PAR1aaaa"), "\xff\xff\xff\x7fPAR1"...), "offset 8: a footer of 2147483647 bytes, of at most 4"},
		{"encrypted", []byte("PAR1aaaaaaaaPARE"), "offset 12: the file is encrypted"},
		{"cut", one(twoStrings).bytes()[:60], "it was cut short"},
		{"no schema", with(func(m *made) { m.footer = structure(fields{1, 1}) }), "there is no schema"},
		{"children", with(func(m *made) { m.footer = structure(fields{2, list{fields{4, "schema", 5, huge}}}) }), "2147483647 children, of 0 elements that are left"},
		{"left over", with(func(m *made) { m.footer = structure(fields{2, list{fields{4, "schema"}, fields{4, "a"}}}) }), "1 elements belong to nothing"},
		{"repetition", with(func(m *made) { m.footer = structure(fields{2, list{fields{4, "schema", 5, 1}, fields{4, "a", 3, 9}}}) }), "repetition type 9 is not known"},
		{"deep structure", with(func(m *made) { m.footer = deep(1000) }), "nested more than 64 deep"},
		{"long list", with(func(m *made) { m.footer = []byte("\x29\xfc\xff\xff\xff\xff\x0f\x00") }), "the structure goes on where its bytes end"},
		{"long string", with(func(m *made) { m.footer = []byte("\x69\xff\xff\xff\xff\x0f\x00") }), "the structure goes on where its bytes end"},
		{"long number", with(func(m *made) { m.footer = []byte("\x15\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00") }), "a number of more than 64 bits"},
		{"negative rows", with(func(m *made) { m.rows = -1 }), "a row group of -1 rows"},
		{"more rows", with(func(m *made) { m.rows = 3 }), `row group 0, row 2, column "text": "text" has fewer values than rows`},
		{"fewer rows", with(func(m *made) { m.rows = 1 }), `1 values more than rows`},
		{"rows without values", with(func(m *made) { m.values = 0 }), `"text" has fewer values than rows`},
		{"chunk beyond the file", with(func(m *made) { m.size = 1 << 40 }), "want them within"},
		{"chunk before the file", with(func(m *made) { m.offset = -5 }), "want them within"},
		{"codec", with(func(m *made) { m.codec = 99 }), "it is packed by codec 99"},
		{"page beyond the chunk", with(func(m *made) { m.header = header(2, 16, huge, 0) }), "page at offset 4: it has 2147483647 bytes"},
		{"page unpacks to much", with(func(m *made) { m.header = header(2, huge, len(twoStrings), 0) }), "it unpacks to 2147483647 bytes"},
		{"page of many values", with(func(m *made) { m.header, m.values = header(huge, 16, 16, 0), huge }), "it has 2147483647 values"},
		{"more values than the chunk", with(func(m *made) { m.header = header(3, 16, 16, 0) }), "it has 3 values, and 2 are left"},
		{"negative size", with(func(m *made) { m.header = header(2, -1, 16, 0) }), "it unpacks to -1 bytes"},
		{"size that is not", with(func(m *made) { m.header = header(2, 17, 16, 0) }), "none: 16 bytes, want 17"},
		{"no header of its own", with(func(m *made) { m.header = fields{1, 0, 2, 16, 3, 16} }), "the header lacks the part for its type"},
		{"levels by bits", with(func(m *made) { m.header = fields{1, 0, 2, 16, 3, 16, 5, fields{1, 2, 2, 0, 3, 4}} }), "definition levels: encoding 4 is not supported"},
		{"encoding", with(func(m *made) { m.header = header(2, 16, 16, 9) }), "encoding 9 of strings is not known"},
		{"no dictionary", with(func(m *made) { m.header = header(2, 16, 16, 8) }), "there is no dictionary before it"},
		{"long levels", one([]byte("\xff\xff\xff\xff\x04\x01")).bytes(), "definition levels: the bytes end too early"},
		{"levels too high", one([]byte("\x02\x00\x00\x00\x04\x03\x01\x00\x00\x00a\x02\x00\x00\x00bc")).bytes(), "definition level 3, of at most 1"},
		{"string beyond the page", one([]byte(levels + "\xff\xff\xff\x7f")).bytes(), "a string of 2147483647 bytes, and 0 are left of the page"},
		{"snappy that claims", with(func(m *made) { m.codec, m.page, m.header = 1, []byte("\xff\xff\xff\x7f\x00a"), header(2, 16, 6, 0) }), "it says 268435455 bytes, the page 16"},
		{"snappy from before", with(func(m *made) {
			m.codec, m.page, m.header = 1, []byte("\x10\x00a\xfe\xff\x00"), header(2, 16, 6, 0)
		}), "bytes from 255 before, at byte 1"},
		{"gzip bomb", with(func(m *made) {
			m.codec, m.page, m.header = 2, bomb.Bytes(), header(2, 1000, bomb.Len(), 0)
		}), "gzip: more bytes than the page says"},
		{"zstd window", with(func(m *made) {
			m.codec, m.page, m.header = 6, []byte("\x28\xb5\x2f\xfd\x00\xa8\x09\x00\x00abcdefg"), header(2, 16, 16, 0)
		}), "zstd: window size exceeded"},
		{"zstd frame", with(func(m *made) {
			m.codec, m.page, m.header = 6, []byte("\x28\xb5\x2f\xfd\xa0\xff\xff\xff\x00\x02\x00\x00a"), header(2, 1<<28, 13, 0)
		}), "zstd: "},
		{"lz4 long", with(func(m *made) {
			m.codec, m.page, m.header = 7, append([]byte("\x1fa\x01\x00"), bytes.Repeat([]byte{255}, 100)...), header(2, 16, 104, 0)
		}), "lz4_raw: the bytes end too early"},
		{"lz4 bomb", with(func(m *made) {
			m.codec, m.page, m.header = 7, append(append([]byte("\x1fa\x01\x00"), bytes.Repeat([]byte{255}, 100)...), 0), header(2, 16, 105, 0)
		}), "lz4_raw: more bytes than the page says"},
		{"many lengths", with(func(m *made) {
			m.page = []byte(levels + "\x80\x80\x80\x01\x04\x80\x80\x80\x04\x00" + "\x00\x00\x00\x00\x00")
			m.header = header(2, len(m.page), len(m.page), 6)
		}), "lengths: differences of 8388608 numbers, in blocks of 2097152"},
		{"negative length", with(func(m *made) {
			m.page = []byte(levels + "\x80\x01\x04\x01\x03")
			m.header = header(2, len(m.page), len(m.page), 6)
		}), "a string of -2 bytes"},
		{"prefix of nothing", with(func(m *made) {
			m.page = []byte(levels + "\x80\x01\x04\x01\x06" + "\x80\x01\x04\x01\x00")
			m.header = header(2, len(m.page), len(m.page), 7)
		}), "3 bytes of the string before, which has 0"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := rows(c.b, "text")
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		most := uint64(2 << 20)
		if c.name == "zstd frame" { // the window that a frame asks for, of at most 32 MiB
			most = 34 << 20
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > most {
			t.Errorf("%s: %d bytes allocated for a file of %d", c.name, n, len(c.b))
		}
	}
}

// FuzzPage reads a page of any bytes in a file that is otherwise right.
func FuzzPage(f *testing.F) {
	for encoding := range 10 {
		f.Add(twoStrings, uint8(0), uint8(encoding), uint8(2), uint8(0), encoding%2 == 0, []byte(nil))
	}
	f.Add([]byte("\x02\x00\x00\x00\x04\x01\x80\x01\x04\x02\x02\x02\x01\x00\x00\x00\x00\x80\x01\x04\x02\x02\x02\x01\x00\x00\x00\x00ab"), uint8(0), uint8(7), uint8(2), uint8(0), false, []byte(nil))
	f.Add([]byte("\x10\x3c\x02\x00\x00\x00\x04\x01\x01\x00\x00\x00a\x02\x00\x00\x00bc"), uint8(1), uint8(0), uint8(2), uint8(16), false, []byte(nil))
	f.Add([]byte("\x02\x00\x00\x00\x04\x01\x01\x04\x00"), uint8(0), uint8(8), uint8(2), uint8(0), false, []byte("\x01\x00\x00\x00a"))
	f.Fuzz(func(t *testing.T, page []byte, codec, encoding, values, size uint8, version2 bool, dictionary []byte) {
		m := one(page)
		m.dictionary = dictionary
		m.codec, m.values, m.rows = int(codec%8), int(values), int(values)
		unpacked := len(page)
		if size > 0 {
			unpacked = int(size)
		}
		m.header = fields{1, 0, 2, unpacked, 3, len(page), 5, fields{1, int(values), 2, int(encoding), 3, 3, 4, 3}}
		if version2 {
			levels := min(2, len(page))
			m.header = fields{1, 3, 2, unpacked, 3, len(page), 8, fields{1, int(values), 2, 0, 3, int(values), 4, int(encoding), 5, levels, 6, 0}}
		}
		got, err := rows(m.bytes(), "text")
		if err == nil && len(got) != int(values) {
			t.Errorf("%d rows, want %d", len(got), values)
		}
	})
}
