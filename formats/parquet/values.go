package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

var errShort = errors.New("the bytes end too early")

// values are the strings of a page that are not null.
type values interface {
	next() ([]byte, error) // valid until the next call
}

// width returns how many bits hold levels up to most.
func width(most int) int { return bits.Len(uint(most)) } //nolint:gosec // not negative

// hybrid reads numbers of up to 32 bits as runs of one, or packed by eights
// (Encodings.md, "Run Length Encoding / Bit-Packing Hybrid").
type hybrid struct {
	data  []byte
	width int
	run   uint64 // numbers left of the run in work
	value uint32
	bits  int  // numbers left of those packed
	bit   uint // where the next one begins
	pack  []byte
}

func newHybrid(data []byte, width int) hybrid { return hybrid{data: data, width: width} }

func (h *hybrid) next() (uint32, error) {
	for h.run == 0 && h.bits == 0 {
		if err := h.start(); err != nil {
			return 0, err
		}
	}
	if h.run > 0 {
		h.run--
		return h.value, nil
	}
	h.bits--
	v := unpackBits(h.pack, h.bit, h.width)
	h.bit += uint(h.width) //nolint:gosec // not negative
	return uint32(v), nil  //nolint:gosec // of 32 bits
}

// start reads the head of the next run.
func (h *hybrid) start() error {
	head, n := binary.Uvarint(h.data)
	if n <= 0 {
		return errShort
	}
	h.data = h.data[n:]
	if head&1 == 0 {
		size := (h.width + 7) / 8
		if len(h.data) < size {
			return errShort
		}
		h.run, h.value = head>>1, 0
		for i := range size {
			h.value |= uint32(h.data[i]) << (8 * i)
		}
		h.data = h.data[size:]
		return nil
	}
	groups := head >> 1
	// What is cut off of the last group is read as zero where it is not used.
	if groups*uint64(h.width) > uint64(len(h.data))+uint64(h.width) || groups > 1<<32 { //nolint:gosec // not negative
		return errShort
	}
	size := min(int(groups)*h.width, len(h.data)) //nolint:gosec // compared
	h.pack, h.data = h.data[:size], h.data[size:]
	h.bits, h.bit = int(groups)*8, 0 //nolint:gosec // compared
	return nil
}

// unpackBits returns the number of some bits, the lowest first, at a bit of b;
// bits beyond b are zero.
func unpackBits(b []byte, bit uint, width int) uint64 {
	var v uint64
	for i := range width {
		at := bit + uint(i) //nolint:gosec // not negative
		if at/8 < uint(len(b)) {
			v |= uint64(b[at/8]>>(at%8)&1) << i
		}
	}
	return v
}

// plainValues have their length before them.
type plainValues struct{ data []byte }

func (p *plainValues) next() ([]byte, error) {
	if len(p.data) < 4 {
		return nil, errShort
	}
	n := uint64(binary.LittleEndian.Uint32(p.data))
	if n > uint64(len(p.data)-4) {
		return nil, fmt.Errorf("a string of %d bytes, and %d are left of the page", n, len(p.data)-4)
	}
	v := p.data[4 : 4+n]
	p.data = p.data[4+n:]
	return v, nil
}

// dictionaryValues are indices.
type dictionaryValues struct {
	dictionary [][]byte
	indices    hybrid
}

func (d *dictionaryValues) next() ([]byte, error) {
	i, err := d.indices.next()
	if err != nil {
		return nil, err
	}
	if uint64(i) >= uint64(len(d.dictionary)) {
		return nil, fmt.Errorf("index %d, in a dictionary of %d strings", i, len(d.dictionary))
	}
	return d.dictionary[i], nil
}

// delta reads numbers by their differences (Encodings.md, "Delta Encoding").
type delta struct {
	data   []byte
	block  uint64 // numbers of a block
	minis  uint64 // parts of a block
	left   uint64
	value  int64
	first  bool
	least  int64 // difference in the block
	widths []byte
	pack   []byte // of the part in work
	bit    uint
	bits   uint64 // numbers left of it
}

func newDelta(data []byte) (delta, error) {
	d := delta{data: data, first: true}
	for _, to := range []*uint64{&d.block, &d.minis, &d.left} {
		v, n := binary.Uvarint(d.data)
		if n <= 0 {
			return d, errShort
		}
		*to, d.data = v, d.data[n:]
	}
	v, n := binary.Varint(d.data)
	if n <= 0 {
		return d, errShort
	}
	d.value, d.data = v, d.data[n:]
	if d.minis == 0 || d.minis > 1<<10 || d.block > 1<<20 || d.block%d.minis != 0 || d.block/d.minis%32 != 0 || d.block == 0 || d.left > maxPageValues {
		return d, fmt.Errorf("differences of %d numbers, in blocks of %d and %d parts", d.left, d.block, d.minis)
	}
	return d, nil
}

func (d *delta) next() (int64, error) {
	if d.left == 0 {
		return 0, errShort
	}
	d.left--
	if d.first {
		d.first = false
		return d.value, nil
	}
	if d.bits == 0 {
		if err := d.part(); err != nil {
			return 0, err
		}
	}
	w := len(d.pack) * 8 / int(d.block/d.minis)              //nolint:gosec // bounded
	d.value += d.least + int64(unpackBits(d.pack, d.bit, w)) //nolint:gosec // wraps as it is written
	d.bit += uint(w)                                         //nolint:gosec // not negative
	d.bits--
	return d.value, nil
}

// part goes to the next part of a block, or to the next block.
func (d *delta) part() error {
	if len(d.widths) == 0 {
		v, n := binary.Varint(d.data)
		if n <= 0 || uint64(len(d.data)-n) < d.minis {
			return errShort
		}
		d.least = v
		d.widths, d.data = d.data[n:n+int(d.minis)], d.data[n+int(d.minis):] //nolint:gosec // bounded
	}
	w := uint64(d.widths[0])
	d.widths = d.widths[1:]
	if w > 64 {
		return fmt.Errorf("differences of %d bits", w)
	}
	d.bits, d.bit = d.block/d.minis, 0
	size := w * d.bits / 8
	if size > uint64(len(d.data)) {
		return errShort
	}
	d.pack, d.data = d.data[:size], d.data[size:]
	return nil
}

// rest returns what follows the numbers, which are all read for it.
func (d delta) rest() ([]byte, error) { //nolint:gocritic // a copy, so that the numbers can be read again
	for d.left > 0 {
		if _, err := d.next(); err != nil {
			return nil, err
		}
	}
	return d.data, nil
}

// lengthValues are lengths, and then all strings behind each other.
type lengthValues struct {
	lengths delta
	data    []byte
}

func newLengthValues(b []byte) (*lengthValues, error) {
	d, err := newDelta(b)
	if err != nil {
		return nil, fmt.Errorf("lengths: %w", err)
	}
	v := &lengthValues{lengths: d}
	if v.data, err = d.rest(); err != nil {
		return nil, fmt.Errorf("lengths: %w", err)
	}
	return v, nil
}

func (v *lengthValues) next() ([]byte, error) {
	n, err := v.lengths.next()
	if err != nil {
		return nil, err
	}
	if n < 0 || n > int64(len(v.data)) {
		return nil, fmt.Errorf("a string of %d bytes, and %d are left of the page", n, len(v.data))
	}
	s := v.data[:n]
	v.data = v.data[n:]
	return s, nil
}

// prefixValues share bytes with the string before.
type prefixValues struct {
	prefixes delta
	suffixes *lengthValues
	last     []byte
}

func newPrefixValues(b []byte) (*prefixValues, error) {
	d, err := newDelta(b)
	if err != nil {
		return nil, fmt.Errorf("prefixes: %w", err)
	}
	rest, err := d.rest()
	if err != nil {
		return nil, fmt.Errorf("prefixes: %w", err)
	}
	s, err := newLengthValues(rest)
	return &prefixValues{prefixes: d, suffixes: s}, err
}

func (v *prefixValues) next() ([]byte, error) {
	n, err := v.prefixes.next()
	if err != nil {
		return nil, err
	}
	s, err := v.suffixes.next()
	if err != nil {
		return nil, err
	}
	if n < 0 || n > int64(len(v.last)) {
		return nil, fmt.Errorf("%d bytes of the string before, which has %d", n, len(v.last))
	}
	if len(s) > maxRowBytes-int(n) {
		return nil, fmt.Errorf("a string of more than %d bytes", maxRowBytes)
	}
	v.last = append(v.last[:n], s...)
	return v.last, nil
}
