package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Page types and encodings of parquet.thrift.
const (
	dataPage       = 0
	dictionaryPage = 2
	dataPageV2     = 3

	plain           = 0
	plainDictionary = 2
	rle             = 3
	deltaLengths    = 6
	deltaStrings    = 7
	rleDictionary   = 8
)

// leaf reads the values of one leaf of the schema from a row group.
type leaf struct {
	node       *node
	file       *File
	chunk      *chunk
	at, end    int64 // offsets of the pages that are left
	page       int64 // offset of the one in work
	left       int64 // values of the chunk
	pageLeft   int
	reps, defs hybrid
	dictionary [][]byte
	values     values

	// The next value, once peeked.
	peeked   bool
	rep, def int
	value    []byte
}

func (l *leaf) open(f *File, c *chunk) error {
	start := c.data
	if c.dictionary > 0 && c.dictionary < start {
		start = c.dictionary
	}
	switch {
	case c.values == 0: // with offsets that mean nothing
		*l = leaf{node: l.node}
		return nil
	case c.elsewhere:
		return errors.New("its pages are in another file; put them into one")
	case c.isSecret:
		return errors.New("it is encrypted")
	case c.codec < 0 || c.codec >= int64(len(codecs)) || codecs[c.codec].unpack == nil:
		return unsupported(c.codec)
	case c.values < 0 || start < int64(len(magic)) || c.size < 0 || start > f.footer || c.size > f.footer-start:
		return fmt.Errorf("its %d values are at offset %d in %d bytes, want them within the %d bytes before the footer", c.values, start, c.size, f.footer)
	}
	*l = leaf{node: l.node, file: f, chunk: c, at: start, end: start + c.size, left: c.values}
	return nil
}

// peek reads the next value, unless that was done.
func (l *leaf) peek() error {
	if l.peeked {
		return nil
	}
	if l.left == 0 {
		return fmt.Errorf("%q has fewer values than rows", l.node.path)
	}
	for l.pageLeft == 0 {
		if err := l.nextPage(); err != nil {
			return fmt.Errorf("page at offset %d: %w", l.page, err)
		}
	}
	if err := l.decode(); err != nil {
		return fmt.Errorf("page at offset %d: %w", l.page, err)
	}
	l.left--
	l.pageLeft--
	l.peeked = true
	return nil
}

func (l *leaf) decode() (err error) {
	l.rep, l.def, l.value = 0, 0, nil
	if l.node.rep > 0 {
		if l.rep, err = l.level(&l.reps, l.node.rep, "repetition"); err != nil {
			return err
		}
	}
	if l.node.def > 0 {
		if l.def, err = l.level(&l.defs, l.node.def, "definition"); err != nil {
			return err
		}
	}
	if l.def == l.node.def {
		l.value, err = l.values.next()
	}
	return err
}

func (l *leaf) level(h *hybrid, most int, what string) (int, error) {
	v, err := h.next()
	if err != nil {
		return 0, fmt.Errorf("%s levels: %w", what, err)
	}
	if v > uint32(most) { //nolint:gosec // small
		return 0, fmt.Errorf("%s level %d, of at most %d", what, v, most)
	}
	return int(v), nil
}

// header is a PageHeader with the header of its type.
type header struct {
	typ          int64
	packed, size int64 // bytes as they are in the file, and unpacked
	crc          int64
	hasCRC       bool
	values       int64
	encoding     int64
	defCode      int64 // encodings of levels
	repCode      int64
	defSize      int64 // bytes of levels, in version 2
	repSize      int64
	isPlain      bool // not compressed, in version 2
	hasOwn       bool
}

func (t *thrift) header() (h header) {
	h.typ, h.defCode, h.repCode = -1, rle, rle
	t.fields(func(id int64, typ byte) bool {
		switch id {
		case 1:
			h.typ = t.i32(typ)
		case 2:
			h.size = t.i32(typ)
		case 3:
			h.packed = t.i32(typ)
		case 4:
			h.crc, h.hasCRC = t.i32(typ), true
		case 5, 7, 8:
			h.hasOwn = true
			version2 := id == 8
			t.structure(typ, func(id int64, typ byte) bool {
				if version2 {
					return t.headerV2(&h, id, typ)
				}
				return t.headerV1(&h, id, typ)
			})
		default:
			return false
		}
		return true
	})
	return h
}

// headerV1 reads DataPageHeader and DictionaryPageHeader.
func (t *thrift) headerV1(h *header, id int64, typ byte) bool {
	switch {
	case id == 1:
		h.values = t.i32(typ)
	case id == 2:
		h.encoding = t.i32(typ)
	case id == 3 && typ == typeI32:
		h.defCode = t.i32(typ)
	case id == 4:
		h.repCode = t.i32(typ)
	default:
		return false
	}
	return true
}

// headerV2 reads DataPageHeaderV2.
func (t *thrift) headerV2(h *header, id int64, typ byte) bool {
	switch id {
	case 1:
		h.values = t.i32(typ)
	case 4:
		h.encoding = t.i32(typ)
	case 5:
		h.defSize = t.i32(typ)
	case 6:
		h.repSize = t.i32(typ)
	case 7:
		h.isPlain = typ == typeFalse
		return false // a bool has no bytes
	default:
		return false
	}
	return true
}

// readHeader reads the header of the next page, and moves behind it.
func (l *leaf) readHeader() (header, error) {
	for _, n := range []int64{4 << 10, maxHeaderBytes} {
		b, err := l.file.read(l.at, min(n, l.end-l.at))
		if err != nil {
			return header{}, err
		}
		t := &thrift{data: b, base: l.at}
		h := t.header()
		if t.err == nil {
			l.at += int64(t.at)
			return h, nil
		}
		if !t.short || int64(len(b)) < n || n == maxHeaderBytes {
			return header{}, t.err
		}
	}
	panic("llima: internal error: the last size returns")
}

// nextPage reads the next page: its values, or the dictionary for them.
func (l *leaf) nextPage() error {
	l.page = l.at
	if l.at == l.end {
		return fmt.Errorf("%d values of the column are in no page", l.left)
	}
	h, err := l.readHeader()
	if err != nil {
		return err
	}
	isData := h.typ == dataPage || h.typ == dataPageV2
	switch {
	case h.packed < 0 || h.packed > l.end-l.at:
		return fmt.Errorf("it has %d bytes, and %d are left of the column", h.packed, l.end-l.at)
	case h.size < 0 || h.size > maxPageBytes:
		return fmt.Errorf("it unpacks to %d bytes, of at most %d; write the file with smaller pages", h.size, maxPageBytes)
	case h.values < 0 || h.values > maxPageValues || isData && h.values > l.left:
		return fmt.Errorf("it has %d values, and %d are left of the column", h.values, l.left)
	case (isData || h.typ == dictionaryPage) && !h.hasOwn:
		return errors.New("the header lacks the part for its type")
	}
	b, err := l.file.read(l.at, h.packed)
	if err != nil {
		return err
	}
	l.at += h.packed
	if !isData && h.typ != dictionaryPage {
		return nil
	}
	if h.hasCRC && crc32.ChecksumIEEE(b) != uint32(h.crc) { //nolint:gosec // bits
		return errors.New("its CRC is not that of its bytes: the file is damaged")
	}
	switch h.typ {
	case dictionaryPage:
		return l.readDictionary(&h, b)
	case dataPageV2:
		return l.startV2(&h, b)
	}
	return l.startV1(&h, b)
}

func (l *leaf) unpack(b []byte, size int64) ([]byte, error) {
	c := codecs[l.chunk.codec]
	out, err := c.unpack(b, int(size))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	if int64(len(out)) != size {
		return nil, fmt.Errorf("%s: %d bytes, want %d", c.name, len(out), size)
	}
	return out, nil
}

func (l *leaf) readDictionary(h *header, b []byte) error {
	b, err := l.unpack(b, h.size)
	if err != nil {
		return err
	}
	if h.encoding != plain && h.encoding != plainDictionary {
		return fmt.Errorf("the dictionary has encoding %d", h.encoding)
	}
	l.dictionary = [][]byte{}
	p := plainValues{b}
	for i := range h.values {
		v, err := p.next()
		if err != nil {
			return fmt.Errorf("dictionary: value %d: %w", i, err)
		}
		l.dictionary = append(l.dictionary, v)
	}
	return nil
}

// startV1 begins a page in which levels are packed with the values.
func (l *leaf) startV1(h *header, b []byte) error {
	b, err := l.unpack(b, h.size)
	if err != nil {
		return err
	}
	if l.node.rep > 0 {
		if l.reps, b, err = levels(b, h.repCode, l.node.rep); err != nil {
			return fmt.Errorf("repetition levels: %w", err)
		}
	}
	if l.node.def > 0 {
		if l.defs, b, err = levels(b, h.defCode, l.node.def); err != nil {
			return fmt.Errorf("definition levels: %w", err)
		}
	}
	return l.startValues(h, b)
}

// levels takes levels off a page of version 1, which says their length.
func levels(b []byte, encoding int64, most int) (hybrid, []byte, error) {
	if encoding != rle {
		return hybrid{}, nil, fmt.Errorf("encoding %d is not supported; write the file with a newer program", encoding)
	}
	if len(b) < 4 {
		return hybrid{}, nil, errShort
	}
	n := binary.LittleEndian.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) {
		return hybrid{}, nil, errShort
	}
	return newHybrid(b[:n], width(most)), b[n:], nil
}

// startV2 begins a page in which levels come first and are not packed.
func (l *leaf) startV2(h *header, b []byte) error {
	if h.repSize < 0 || h.defSize < 0 || h.repSize > int64(len(b)) || h.defSize > int64(len(b))-h.repSize {
		return fmt.Errorf("levels of %d and %d bytes, in %d", h.repSize, h.defSize, len(b))
	}
	n := h.repSize + h.defSize
	l.reps = newHybrid(b[:h.repSize], width(l.node.rep))
	l.defs = newHybrid(b[h.repSize:n], width(l.node.def))
	b = b[n:]
	if !h.isPlain {
		if h.size < n {
			return fmt.Errorf("it unpacks to %d bytes, and has %d of levels", h.size, n)
		}
		var err error
		if b, err = l.unpack(b, h.size-n); err != nil {
			return err
		}
	}
	return l.startValues(h, b)
}

func (l *leaf) startValues(h *header, b []byte) error {
	l.pageLeft = int(h.values)
	switch h.encoding {
	case plain:
		l.values = &plainValues{b}
		return nil
	case plainDictionary, rleDictionary:
		if l.dictionary == nil {
			return errors.New("there is no dictionary before it")
		}
		if len(b) == 0 { // as where all values are null
			b = []byte{0}
		}
		if b[0] > 32 {
			return fmt.Errorf("indices of %d bits", b[0])
		}
		l.values = &dictionaryValues{l.dictionary, newHybrid(b[1:], int(b[0]))}
		return nil
	case deltaLengths:
		v, err := newLengthValues(b)
		l.values = v
		return err
	case deltaStrings:
		v, err := newPrefixValues(b)
		l.values = v
		return err
	}
	return fmt.Errorf("encoding %d of strings is not known", h.encoding)
}
