// Package encode writes a lowered program as an ELF64 object, as docs/isa.md
// §5 lays it down: code, constants and weights as loadable sections, a symbol
// for every host buffer and weight, a note with the version and a table of
// segments. The weights pass through without being held in memory. The bytes
// depend on nothing but the program and its weights.
package encode

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/llima-build/llima/modalix/isa"
	"github.com/llima-build/llima/modalix/lower"
)

// Values of the ELF specification (System V ABI, chapters 4 and 5).
const (
	headerSize  = 64
	programSize = 56
	sectionSize = 64
	symbolSize  = 24
	pageSize    = 4096

	typeExec = 2 // ET_EXEC; the machine is EM_NONE, 0
	ptLoad   = 1

	flagAlloc = 2 // SHF_ALLOC
	flagExec  = 4 // SHF_EXECINSTR

	shtProgBits = 1
	shtSymTab   = 2
	shtStrTab   = 3
	shtNote     = 7

	shnAbs       = 0xfff1
	globalObject = 1<<4 | 1 // STB_GLOBAL, STT_OBJECT
)

// Kinds of an entry in .llima.segs.
const (
	kindSection  = 0
	kindExternal = 1
	kindHost     = 2
)

// section is one section of the file. Its bytes are data, or, for the
// weights, streamed.
type section struct {
	name          string
	kind          uint32
	flags         uint64
	align         int64
	data          []byte
	stream        bool
	size          int64
	link, info    uint32
	entry         uint64
	offset        int64
	segment       isa.Segment
	hasSegment    bool
	loadable      bool
	programAccess uint32
}

// Write writes a program. Weights are read through data while writing.
// elsewhere, where it is not nil, is the SHA-256 of the weights of an object
// that will lie beside this one: a program of the same weights refers to them
// and holds none.
func Write(w io.Writer, p *lower.Program, data lower.Source, elsewhere []byte) error {
	text, err := code(p.Code)
	if err != nil {
		return fmt.Errorf("encode: %s: %w", p.Name, err)
	}
	digests := make(map[isa.Segment][]byte)
	if elsewhere != nil && p.WeightsSize > 0 {
		hash := sha256.New()
		if err := p.WriteWeights(hash, data); err != nil {
			return fmt.Errorf("encode: %s: %w", p.Name, err)
		}
		if sum := hash.Sum(nil); bytes.Equal(sum, elsewhere) {
			digests[isa.Weights] = sum
		}
	}
	list := sections(p, text, digests[isa.Weights] != nil)
	place(list)
	out := &writer{w: w}
	out.bytes(header(list))
	out.bytes(programHeaders(list))
	for i := range list {
		s := &list[i]
		if s.size == 0 {
			continue
		}
		out.pad(s.offset)
		switch {
		case s.stream:
			hash := sha256.New()
			if out.err == nil {
				out.err = p.WriteWeights(io.MultiWriter(out, hash), data)
			}
			digests[s.segment] = hash.Sum(nil)
		case s.name == ".llima.segs":
			out.bytes(segmentTable(list, p, digests))
		default:
			out.bytes(s.data)
			if s.hasSegment {
				sum := sha256.Sum256(s.data)
				digests[s.segment] = sum[:]
			}
		}
		if out.err == nil && out.offset != s.offset+s.size {
			return fmt.Errorf("encode: %s: section %s has %d bytes, want %d", p.Name, s.name, out.offset-s.offset, s.size)
		}
	}
	out.pad(sectionTableOffset(list))
	out.bytes(sectionHeaders(list))
	if out.err != nil {
		return fmt.Errorf("encode: %s: %w", p.Name, out.err)
	}
	return nil
}

// writer counts what it writes and remembers the first error.
type writer struct {
	w      io.Writer
	offset int64
	err    error
}

// Write implements io.Writer.
func (w *writer) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(b)
	w.offset += int64(n)
	w.err = err
	return n, err
}

func (w *writer) bytes(b []byte) {
	_, _ = w.Write(b) // w.err keeps the error
}

func (w *writer) pad(to int64) {
	if w.err == nil {
		w.bytes(make([]byte, to-w.offset))
	}
}

// code encodes the instructions of one quad.
func code(insts []isa.Inst) ([]byte, error) {
	out := make([]byte, 0, len(insts)*isa.WordSize)
	for i := range insts {
		word, err := insts[i].Encode()
		if err != nil {
			return nil, fmt.Errorf("instruction %d: %w", i, err)
		}
		out = append(out, word[:]...)
	}
	return out, nil
}

// sections lists the sections in file order, without offsets; external weights
// have none.
func sections(p *lower.Program, text []byte, external bool) []section {
	const read, exec = 4, 1
	list := []section{
		{}, // index 0 is undefined
		{
			name: ".text.q0", kind: shtProgBits, flags: flagAlloc | flagExec, align: pageSize, data: text,
			loadable: true, programAccess: read | exec,
		},
	}
	if len(p.Consts) > 0 {
		list = append(list, section{
			name: ".const", kind: shtProgBits, flags: flagAlloc, align: pageSize, data: p.Consts,
			segment: isa.Const, hasSegment: true, loadable: true, programAccess: read,
		})
	}
	weights := uint16(0) // SHN_UNDEF, as of what is defined elsewhere
	if p.WeightsSize > 0 && !external {
		weights = uint16(len(list))
		list = append(list, section{
			name: ".weights", kind: shtProgBits, flags: flagAlloc, align: pageSize, stream: true, size: p.WeightsSize,
			segment: isa.Weights, hasSegment: true, loadable: true, programAccess: read,
		})
	}
	entries := len(p.Segments)
	for i := range list {
		if list[i].hasSegment {
			entries++
		}
	}
	if p.WeightsSize > 0 && external {
		entries++
	}
	symbols, names := symbolTable(p.Symbols, weights)
	list = append(list,
		section{name: ".note.llima", kind: shtNote, align: 4, data: note()},
		section{name: ".llima.segs", kind: shtProgBits, align: 8, size: int64(entries * segmentEntry), entry: segmentEntry},
		section{name: ".symtab", kind: shtSymTab, align: 8, data: symbols, link: uint32(len(list) + 3), info: 1, entry: symbolSize},
		section{name: ".strtab", kind: shtStrTab, align: 1, data: names})
	shstr := stringTable{bytes: []byte{0}}
	for i := range list {
		shstr.add(list[i].name)
	}
	shstr.add(".shstrtab")
	return append(list, section{name: ".shstrtab", kind: shtStrTab, align: 1, data: shstr.bytes})
}

// place gives every section its offset.
func place(list []section) {
	end := int64(headerSize)
	for i := range list {
		if list[i].loadable {
			end += programSize
		}
	}
	for i := range list {
		s := &list[i]
		if i == 0 {
			continue
		}
		if s.data != nil {
			s.size = int64(len(s.data))
		}
		s.offset = (end + s.align - 1) / s.align * s.align
		end = s.offset + s.size
	}
}

func sectionTableOffset(list []section) int64 {
	last := &list[len(list)-1]
	return (last.offset + last.size + 7) / 8 * 8
}

// stringTable is the contents of a string table section.
type stringTable struct{ bytes []byte }

func (t *stringTable) add(s string) uint32 {
	if s == "" {
		return 0
	}
	at := uint32(len(t.bytes))
	t.bytes = append(append(t.bytes, s...), 0)
	return at
}

const segmentEntry = 64

// segmentTable lists the segments; one with a digest and no section is external.
func segmentTable(list []section, p *lower.Program, digests map[isa.Segment][]byte) []byte {
	var out []byte
	add := func(seg, kind uint8, shndx uint32, size int64, digest []byte) {
		e := make([]byte, segmentEntry)
		e[0], e[1] = seg, kind
		binary.LittleEndian.PutUint32(e[4:], shndx)
		binary.LittleEndian.PutUint64(e[8:], uint64(size))
		copy(e[32:], digest)
		out = append(out, e...)
	}
	for seg := range isa.Segment(isa.NumSegments) {
		held := false
		for i := range list {
			if s := &list[i]; s.hasSegment && s.segment == seg {
				add(uint8(seg), kindSection, uint32(i), s.size, digests[seg])
				held = true
			}
		}
		if seg == isa.Weights && p.WeightsSize > 0 && !held {
			add(uint8(seg), kindExternal, 0, p.WeightsSize, digests[seg])
		}
		for _, h := range p.Segments {
			if isa.Segment(h.Segment) == seg {
				add(h.Segment, kindHost, 0, h.Size, nil)
			}
		}
	}
	return out
}

func symbolTable(symbols []lower.Symbol, weights uint16) (table, names []byte) {
	strings := stringTable{bytes: []byte{0}}
	table = append(table, make([]byte, symbolSize)...)
	for _, s := range symbols {
		shndx := uint16(shnAbs)
		if isa.Segment(s.Segment) == isa.Weights {
			shndx = weights
		}
		table = binary.LittleEndian.AppendUint32(table, strings.add(s.Name))
		table = append(table, globalObject, 0)
		table = binary.LittleEndian.AppendUint16(table, shndx)
		table = binary.LittleEndian.AppendUint64(table, uint64(s.Offset))
		table = binary.LittleEndian.AppendUint64(table, uint64(s.Size))
	}
	return table, strings.bytes
}

func note() []byte {
	const owner = "LLIMA\x00"
	var b bytes.Buffer
	le := binary.LittleEndian
	head := make([]byte, 0, 36)
	head = le.AppendUint32(head, uint32(len(owner)))
	head = le.AppendUint32(head, 16) // description
	head = le.AppendUint32(head, 1)  // type
	b.Write(head)
	b.WriteString(owner + "\x00\x00") // to 4 bytes
	d := le.AppendUint16(nil, isa.Major)
	d = le.AppendUint16(d, isa.Minor)
	d = le.AppendUint32(d, 1) // quads
	d = le.AppendUint32(d, isa.SBytes)
	d = le.AppendUint32(d, isa.TileBytes)
	b.Write(d)
	return b.Bytes()
}

func header(list []section) []byte {
	loads := uint16(0)
	for i := range list {
		if list[i].loadable {
			loads++
		}
	}
	le := binary.LittleEndian
	h := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0} // 64 bits, little-endian, version 1
	h = le.AppendUint16(h, typeExec)
	h = le.AppendUint16(h, 0) // EM_NONE
	h = le.AppendUint32(h, 1) // version
	h = le.AppendUint64(h, 0) // entry
	h = le.AppendUint64(h, headerSize)
	h = le.AppendUint64(h, uint64(sectionTableOffset(list)))
	h = le.AppendUint32(h, 0) // flags
	for _, v := range []uint16{headerSize, programSize, loads, sectionSize, uint16(len(list)), uint16(len(list) - 1)} {
		h = le.AppendUint16(h, v)
	}
	return h
}

func programHeaders(list []section) []byte {
	le := binary.LittleEndian
	var out []byte
	for i := range list {
		s := &list[i]
		if !s.loadable {
			continue
		}
		out = le.AppendUint32(out, ptLoad)
		out = le.AppendUint32(out, s.programAccess)
		for _, v := range []int64{s.offset, s.offset, s.offset, s.size, s.size, pageSize} { // offset, addresses, sizes, alignment
			out = le.AppendUint64(out, uint64(v))
		}
	}
	return out
}

func sectionHeaders(list []section) []byte {
	le := binary.LittleEndian
	out := make([]byte, sectionSize)
	name := uint32(1)
	for i := range list[1:] {
		s := &list[i+1]
		address := int64(0)
		if s.loadable {
			address = s.offset
		}
		out = le.AppendUint32(out, name)
		name += uint32(len(s.name)) + 1
		out = le.AppendUint32(out, s.kind)
		out = le.AppendUint64(out, s.flags)
		out = le.AppendUint64(out, uint64(address))
		out = le.AppendUint64(out, uint64(s.offset))
		out = le.AppendUint64(out, uint64(s.size))
		out = le.AppendUint32(out, s.link)
		out = le.AppendUint32(out, s.info)
		out = le.AppendUint64(out, uint64(s.align))
		out = le.AppendUint64(out, s.entry)
	}
	return out
}
