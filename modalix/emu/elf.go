package emu

import (
	"bytes"
	"fmt"

	"github.com/llima-build/llima/internal/cursor"
)

// Values of the ELF specification (System V ABI, chapters 4 and 5).
const (
	elfHeaderSize  = 64
	elfSectionSize = 64
	elfSymbolSize  = 24

	typeExec = 2

	shtProgBits = 1
	shtSymTab   = 2
	shtStrTab   = 3
	shtNote     = 7

	shnAbs   = 0xfff1
	maxName  = 4096 // bytes of a symbol or section name
	pageSize = 4096
)

// elfSection is one section of the file; data is nil for index 0.
type elfSection struct {
	name   string
	kind   uint32
	link   uint32
	offset uint64
	data   []byte
}

type elfFile struct {
	sections []elfSection
}

func elfError(offset uint64, format string, args ...any) error {
	return fmt.Errorf("isa: elf: offset %d: %s", offset, fmt.Sprintf(format, args...))
}

// readELF reads the section headers of an ELF64 executable. Nothing is
// copied but names.
func readELF(b []byte) (*elfFile, error) {
	if len(b) < elfHeaderSize {
		return nil, elfError(0, "file of %d bytes has no header", len(b))
	}
	if !bytes.Equal(b[:7], []byte{0x7f, 'E', 'L', 'F', 2, 1, 1}) {
		return nil, elfError(0, "not a little-endian ELF64 file")
	}
	r := cursor.New(b[:elfHeaderSize])
	r.Skip(16)
	if t := r.U16(); t != typeExec {
		return nil, elfError(16, "type %d, want %d", t, typeExec)
	}
	if m := r.U16(); m != 0 {
		return nil, elfError(18, "machine %d, want 0", m)
	}
	if v := r.U32(); v != 1 {
		return nil, elfError(20, "version %d, want 1", v)
	}
	r.Skip(8 + 8)
	table := r.U64()
	r.Skip(4 + 2 + 2 + 2)
	entry, count, names := r.U16(), uint64(r.U16()), uint64(r.U16())
	if entry != elfSectionSize {
		return nil, elfError(58, "section header of %d bytes, want %d", entry, elfSectionSize)
	}
	headers, ok := within(b, table, count*elfSectionSize)
	if !ok {
		return nil, elfError(40, "section table [%d,+%d) exceeds the file of %d bytes", table, count*elfSectionSize, len(b))
	}
	if names >= count {
		return nil, elfError(62, "section %d of names, have %d", names, count)
	}
	f := &elfFile{sections: make([]elfSection, count)}
	nameOffsets := make([]uint32, count)
	for i := range f.sections {
		var err error
		if f.sections[i], nameOffsets[i], err = readSection(b, headers[i*elfSectionSize:], table+uint64(i)*elfSectionSize); err != nil {
			return nil, err
		}
	}
	strings := f.sections[names]
	if strings.kind != shtStrTab {
		return nil, elfError(62, "section %d of names has type %d", names, strings.kind)
	}
	for i := 1; i < len(f.sections); i++ {
		name, ok := stringAt(strings.data, nameOffsets[i])
		if !ok {
			return nil, elfError(table+uint64(i)*elfSectionSize, "name at %d is not in the string table", nameOffsets[i])
		}
		f.sections[i].name = name
	}
	return f, nil
}

// readSection reads one section header at the given offset of the file.
func readSection(b, header []byte, at uint64) (elfSection, uint32, error) {
	const shtNull, shtNoBits = 0, 8
	r := cursor.New(header)
	name := r.U32()
	s := elfSection{kind: r.U32()}
	r.Skip(8 + 8)
	s.offset = r.U64()
	size := r.U64()
	s.link = r.U32()
	if s.kind == shtNull {
		return s, name, nil
	}
	if s.kind == shtNoBits {
		return s, name, elfError(at, "section without bytes")
	}
	var ok bool
	if s.data, ok = within(b, s.offset, size); !ok {
		return s, name, elfError(at, "section [%d,+%d) exceeds the file of %d bytes", s.offset, size, len(b))
	}
	return s, name, nil
}

// within returns b[offset, offset+size), or false when that is not there.
func within(b []byte, offset, size uint64) ([]byte, bool) {
	if offset > uint64(len(b)) || size > uint64(len(b))-offset {
		return nil, false
	}
	return b[offset : offset+size : offset+size], true
}

// stringAt returns the NUL-terminated string at an offset of a string table.
func stringAt(table []byte, offset uint32) (string, bool) {
	if uint64(offset) >= uint64(len(table)) {
		return "", false
	}
	rest := table[offset:]
	end := bytes.IndexByte(rest[:min(len(rest), maxName)], 0)
	if end < 0 {
		return "", false
	}
	return string(rest[:end]), true
}

// section returns the only section of that name and type, nil when there is
// none.
func (f *elfFile) section(name string, kind uint32) (*elfSection, error) {
	var found *elfSection
	for i := range f.sections {
		s := &f.sections[i]
		if s.name != name || i == 0 {
			continue
		}
		if found != nil {
			return nil, elfError(s.offset, "section %s appears twice", name)
		}
		if s.kind != kind {
			return nil, elfError(s.offset, "section %s has type %d, want %d", name, s.kind, kind)
		}
		found = s
	}
	return found, nil
}
