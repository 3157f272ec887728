package emu

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/llima-build/llima/internal/cursor"
	"github.com/llima-build/llima/modalix/isa"
)

// Program is a loaded and checked program. It refers to the bytes that it was
// loaded from.
type Program struct {
	code     []quadCode
	segments [isa.NumSegments]segment
	symbols  []Symbol
	byName   map[string]int
	sBytes   int64 // of S that the program may use
	tile     int64 // bytes of a tile that it may use
}

// quadCode is the code of one quad, encoded and decoded.
type quadCode struct {
	raw   []byte
	insts []isa.Inst
}

// segmentKind says where a segment's bytes are.
type segmentKind uint8

const (
	kindSection segmentKind = iota
	kindExternal
	kindHost
)

type segment struct {
	used   bool
	kind   segmentKind
	size   int64
	digest [sha256.Size]byte
	data   []byte // section or bound external bytes
}

// Symbol is a named range of a segment, a host buffer for example.
type Symbol struct {
	Name         string
	Segment      isa.Segment
	Offset, Size int64 // bytes
}

// fileError is an error that concerns the file, not an instruction.
func fileError(format string, args ...any) error {
	return &isa.Error{Quad: -1, Text: fmt.Sprintf(format, args...)}
}

// Load reads a program and checks all that §8 of docs/isa.md lists as checked
// at load, races included. The bytes are kept, not copied; digests are left
// to [Program.Verify].
func Load(elf []byte) (*Program, error) {
	f, err := readELF(elf)
	if err != nil {
		return nil, err
	}
	p := &Program{}
	quads, err := p.readNote(f)
	if err != nil {
		return nil, err
	}
	if err := p.readSegments(f); err != nil {
		return nil, err
	}
	if err := p.readSymbols(f); err != nil {
		return nil, err
	}
	if err := p.readCode(f, quads); err != nil {
		return nil, err
	}
	if err := checkProgram(p); err != nil {
		return nil, err
	}
	return p, nil
}

const noteSize = 36

// readNote reads .note.llima and returns the number of quads.
func (p *Program) readNote(f *elfFile) (int, error) {
	s, err := f.section(".note.llima", shtNote)
	if err != nil {
		return 0, err
	}
	if s == nil {
		return 0, elfError(0, "no section .note.llima")
	}
	if len(s.data) != noteSize {
		return 0, elfError(s.offset, "note of %d bytes, want %d", len(s.data), noteSize)
	}
	want := []byte{6, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 'L', 'L', 'I', 'M', 'A', 0, 0, 0}
	if !bytes.Equal(s.data[:len(want)], want) {
		return 0, elfError(s.offset, "not a note of type 1 by LLIMA")
	}
	r := cursor.New(s.data[len(want):])
	major, minor := r.U16(), r.U16()
	quads, sBytes, tile := r.U32(), r.U32(), r.U32()
	switch {
	case major > isa.Major || major == isa.Major && minor > isa.Minor:
		return 0, fileError("version %d.%d exceeds %d.%d", major, minor, isa.Major, isa.Minor)
	case major < isa.Major:
		return 0, fileError("version %d.%d precedes %d.0", major, minor, isa.Major)
	case quads == 0 || quads > isa.MaxQuads:
		return 0, fileError("needs %d quads, has %d", quads, isa.MaxQuads)
	case sBytes > isa.SBytes:
		return 0, fileError("needs %d bytes of S, has %d", sBytes, isa.SBytes)
	case tile > isa.TileBytes:
		return 0, fileError("needs %d bytes of tile, has %d", tile, isa.TileBytes)
	}
	p.sBytes, p.tile = int64(sBytes), int64(tile)
	return int(quads), nil
}

const segmentEntry = 64

// sectionOf names the section that holds a segment of kind 0.
func sectionOf(seg isa.Segment) string { return "." + seg.String() }

// readSegments reads .llima.segs.
func (p *Program) readSegments(f *elfFile) error {
	s, err := f.section(".llima.segs", shtProgBits)
	if err != nil {
		return err
	}
	if s == nil {
		return elfError(0, "no section .llima.segs")
	}
	if len(s.data)%segmentEntry != 0 {
		return elfError(s.offset, "segment table of %d bytes is not a multiple of %d", len(s.data), segmentEntry)
	}
	next := 0
	for at := 0; at < len(s.data); at += segmentEntry {
		if err := p.readSegment(f, s.data[at:at+segmentEntry], s.offset+uint64(at), &next); err != nil {
			return err
		}
	}
	return nil
}

// readSegment reads one record; next is the lowest segment it may describe.
func (p *Program) readSegment(f *elfFile, record []byte, at uint64, next *int) error {
	const maxSegment = 1 << 32
	r := cursor.New(record)
	seg, kind, zero, index, size := isa.Segment(r.U8()), segmentKind(r.U8()), r.U16(), r.U32(), r.U64()
	reserved, digest := r.Bytes(16), r.Bytes(sha256.Size)
	switch {
	case seg >= isa.NumSegments:
		return elfError(at, "segment %d is unknown", uint32(seg))
	case int(seg) < *next:
		return elfError(at, "segment %v is out of order", seg)
	case zero != 0 || !allZero(reserved):
		return elfError(at, "reserved bytes of segment %v are not zero", seg)
	case size >= maxSegment:
		return elfError(at, "segment %v of %d bytes", seg, size)
	case kind > kindHost || seg <= isa.Const && kind == kindHost || seg > isa.Const && seg != isa.Lora && kind != kindHost:
		return elfError(at, "kind %d of segment %v", kind, seg)
	case kind == kindHost && !allZero(digest):
		return elfError(at, "digest of a host buffer")
	case kind != kindSection && index != 0:
		return elfError(at, "section %d of a segment that is elsewhere", index)
	}
	*next = int(seg) + 1
	entry := segment{used: true, kind: kind, size: int64(size)}
	copy(entry.digest[:], digest)
	if kind == kindSection {
		if index == 0 || uint64(index) >= uint64(len(f.sections)) {
			return elfError(at, "section %d of %d", index, len(f.sections))
		}
		s := &f.sections[index]
		switch {
		case s.name != sectionOf(seg) || s.kind != shtProgBits:
			return elfError(at, "segment %v in section %q of type %d", seg, s.name, s.kind)
		case uint64(len(s.data)) != size:
			return fileError("segment size %d, section %d", size, len(s.data))
		case s.offset%pageSize != 0:
			return elfError(s.offset, "section %s is not aligned to %d", s.name, pageSize)
		}
		entry.data = s.data
	}
	p.segments[seg] = entry
	return nil
}

func allZero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

// readSymbols reads .symtab, if there is one.
func (p *Program) readSymbols(f *elfFile) error {
	s, err := f.section(".symtab", shtSymTab)
	if err != nil || s == nil {
		return err
	}
	if len(s.data)%elfSymbolSize != 0 {
		return elfError(s.offset, "symbol table of %d bytes is not a multiple of %d", len(s.data), elfSymbolSize)
	}
	if uint64(s.link) >= uint64(len(f.sections)) || f.sections[s.link].kind != shtStrTab {
		return elfError(s.offset, "section %d of symbol names", s.link)
	}
	names := f.sections[s.link].data
	p.byName = make(map[string]int)
	for at := elfSymbolSize; at < len(s.data); at += elfSymbolSize {
		if err := p.readSymbol(f, names, s.data[at:], s.offset+uint64(at)); err != nil {
			return err
		}
	}
	return nil
}

func (p *Program) readSymbol(f *elfFile, names, record []byte, at uint64) error {
	r := cursor.New(record)
	nameAt := r.U32()
	r.Skip(2)
	index, offset, size := r.U16(), r.U64(), r.U64()
	name, ok := stringAt(names, nameAt)
	if !ok {
		return elfError(at, "name at %d is not in the string table", nameAt)
	}
	seg := isa.Segment(isa.NumSegments)
	switch {
	case index == shnAbs:
		prefix, _, _ := strings.Cut(name, ".")
		seg = hostSegment(prefix)
	case int(index) < len(f.sections):
		for _, held := range []isa.Segment{isa.Weights, isa.Const, isa.Lora} {
			if f.sections[index].name == sectionOf(held) {
				seg = held
			}
		}
	}
	if seg == isa.NumSegments {
		return nil
	}
	limit := uint64(p.segments[seg].size)
	if offset > limit || size > limit-offset {
		return elfError(at, "symbol %q: [%d,+%d) exceeds segment %v of %d bytes", name, offset, size, seg, limit)
	}
	if _, twice := p.byName[name]; twice {
		return elfError(at, "symbol %q appears twice", name)
	}
	p.byName[name] = len(p.symbols)
	p.symbols = append(p.symbols, Symbol{Name: name, Segment: seg, Offset: int64(offset), Size: int64(size)})
	return nil
}

// hostSegment returns the segment that a host buffer's prefix names.
func hostSegment(prefix string) isa.Segment {
	for seg := isa.In; seg < isa.NumSegments; seg++ {
		if seg.String() == prefix {
			return seg
		}
	}
	return isa.NumSegments
}

// readCode decodes .text.q0 and on.
func (p *Program) readCode(f *elfFile, quads int) error {
	for q := range isa.MaxQuads {
		s, err := f.section(fmt.Sprintf(".text.q%d", q), shtProgBits)
		if err != nil {
			return err
		}
		if (s != nil) != (q < quads) {
			return elfError(0, "section .text.q%d and %d quads", q, quads)
		}
		if s == nil {
			continue
		}
		if len(s.data)%isa.WordSize != 0 {
			return fileError("code size %d is not a multiple of %d", len(s.data), isa.WordSize)
		}
		code := quadCode{raw: s.data, insts: make([]isa.Inst, len(s.data)/isa.WordSize)}
		for i := range code.insts {
			inst, err := isa.Decode(s.data[i*isa.WordSize : (i+1)*isa.WordSize])
			if err != nil {
				return located(err, q, i)
			}
			code.insts[i] = inst
		}
		p.code = append(p.code, code)
	}
	return nil
}

// Quads returns the number of quads that the program runs on.
func (p *Program) Quads() int { return len(p.code) }

// Code returns the encoded code of a quad, nil where it has none.
func (p *Program) Code(quad int) []byte {
	if quad < 0 || quad >= len(p.code) {
		return nil
	}
	return p.code[quad].raw
}

// Symbols returns the symbols in file order.
func (p *Program) Symbols() []Symbol { return p.symbols }

// Symbol returns the symbol of that name.
func (p *Program) Symbol(name string) (Symbol, bool) {
	i, ok := p.byName[name]
	if !ok {
		return Symbol{}, false
	}
	return p.symbols[i], true
}

// SegmentSize returns the size of a segment in bytes, 0 for one not used.
func (p *Program) SegmentSize(seg isa.Segment) int64 {
	if seg >= isa.NumSegments {
		return 0
	}
	return p.segments[seg].size
}

// Digest returns the SHA-256 that a segment is said to have, and whether it
// has one: a host buffer has none.
func (p *Program) Digest(seg isa.Segment) ([sha256.Size]byte, bool) {
	if seg >= isa.NumSegments || !p.segments[seg].used || p.segments[seg].kind == kindHost {
		return [sha256.Size]byte{}, false
	}
	return p.segments[seg].digest, true
}

// Bytes returns what a segment holds, nil for a host buffer and for an
// external one that is not bound.
func (p *Program) Bytes(seg isa.Segment) []byte {
	if seg >= isa.NumSegments {
		return nil
	}
	return p.segments[seg].data
}

// External returns the SHA-256 that the bytes of a segment must have when
// they are not in this file, and whether that is so.
func (p *Program) External(seg isa.Segment) ([sha256.Size]byte, bool) {
	if seg >= isa.NumSegments || !p.segments[seg].used || p.segments[seg].kind != kindExternal {
		return [sha256.Size]byte{}, false
	}
	return p.segments[seg].digest, true
}

// Bind gives the program the bytes of a segment that is external. Their
// digest is left to [Program.Verify].
func (p *Program) Bind(seg isa.Segment, data []byte) error {
	if _, ok := p.External(seg); !ok {
		return fileError("%v is not external", seg)
	}
	if int64(len(data)) != p.segments[seg].size {
		return fileError("segment size %d, section %d", p.segments[seg].size, len(data))
	}
	p.segments[seg].data = data
	return nil
}

// Verify compares the digests of all segments that the program holds or that
// are bound to it.
func (p *Program) Verify() error {
	for seg := range isa.Segment(isa.NumSegments) {
		s := &p.segments[seg]
		if !s.used || s.kind == kindHost {
			continue
		}
		if s.kind == kindExternal && s.data == nil {
			return notFound(seg, s)
		}
		if sha256.Sum256(s.data) != s.digest {
			return fileError("%v: digest mismatch", seg)
		}
	}
	return nil
}

func notFound(seg isa.Segment, s *segment) error {
	return fileError("%v sha256:%x not found", seg, s.digest)
}
