package encode_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"testing"

	"github.com/llima-build/llima/modalix/encode"
	"github.com/llima-build/llima/modalix/isa"
	"github.com/llima-build/llima/modalix/lower"
)

func program() *lower.Program {
	return &lower.Program{
		Name:     "small",
		Code:     []isa.Inst{{Op: isa.LD, Seg: isa.In, Rows: 1, Len: 64, SStr: 64, DStr: 64}, {Op: isa.END}},
		Consts:   make([]byte, 128),
		Segments: []lower.Segment{{Segment: uint8(isa.In), Size: 64}},
		Symbols:  []lower.Symbol{{Name: "in.x", Segment: uint8(isa.In), Size: 60}},
	}
}

// TestWrite reads an object back with the standard library's reader.
func TestWrite(t *testing.T) {
	var b bytes.Buffer
	if err := encode.Write(&b, program(), nil, nil); err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_EXEC || f.Machine != elf.EM_NONE || f.Class != elf.ELFCLASS64 || len(f.Progs) != 2 {
		t.Errorf("header = %+v with %d segments", f.FileHeader, len(f.Progs))
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Off%4096 != 0 || p.Align != 4096 {
			t.Errorf("program header = %+v", p.ProgHeader)
		}
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	if len(symbols) != 1 || symbols[0].Name != "in.x" || symbols[0].Section != elf.SHN_ABS || symbols[0].Size != 60 {
		t.Errorf("Symbols = %+v", symbols)
	}
	for name, size := range map[string]uint64{".text.q0": 64, ".const": 128, ".note.llima": 36, ".llima.segs": 128} {
		if s := f.Section(name); s == nil || s.Size != size {
			t.Errorf("section %s = %+v, want %d bytes", name, s, size)
		}
	}
	if f.Section(".weights") != nil {
		t.Error("an object without weights has a section .weights")
	}
}

var errFull = errors.New("full")

// limited fails after some bytes.
type limited int

func (l *limited) Write(b []byte) (int, error) {
	if int(*l) < len(b) {
		return 0, errFull
	}
	*l -= limited(len(b))
	return len(b), nil
}

// TestWriteErrors checks that a writer's error and a field that does not fit
// come back.
func TestWriteErrors(t *testing.T) {
	for n := range limited(6000) {
		w := n
		if err := encode.Write(&w, program(), nil, nil); n < 4096 && !errors.Is(err, errFull) {
			t.Fatalf("Write to %d bytes = %v, want %v", n, err, errFull)
		}
	}
	p := program()
	p.Code[0].Off = 7
	if err := encode.Write(&bytes.Buffer{}, p, nil, nil); err == nil {
		t.Error("Write of an offset that is no multiple of 32 = nil, want an error")
	}
}
