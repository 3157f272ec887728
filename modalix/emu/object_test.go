package emu_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/emu/kern"
	"github.com/llima-build/llima/modalix/isa"
)

var le = binary.LittleEndian

// object is an ELF file to be written for a test, from docs/isa.md and not
// from the compiler.
type object struct {
	set       *kern.Set // of kernels; nil: none
	backwards bool      // panels last first
	code      []string  // assembly of each quad
	raw       [][]byte  // or code as it is
	weights   []byte
	consts    []byte
	host      map[isa.Segment]int64
	symbols   []emu.Symbol
	edit      func(name string, data []byte) []byte // of sections, before layout
}

type testSection struct {
	name  string
	kind  uint32
	data  []byte
	link  uint32
	entry uint64
	at    int
	nameX uint32
}

func (o *object) bytes(tb testing.TB) []byte {
	tb.Helper()
	code := o.raw
	for _, src := range o.code {
		code = append(code, assemble(tb, src))
	}
	sections := []testSection{{}}
	add := func(name string, kind uint32, data []byte) uint32 {
		if o.edit != nil {
			data = o.edit(name, data)
		}
		sections = append(sections, testSection{name: name, kind: kind, data: data})
		return uint32(len(sections) - 1)
	}
	index := map[isa.Segment]uint32{}
	for q, c := range code {
		add(".text.q"+string(rune('0'+q)), 1, c)
	}
	if o.weights != nil {
		index[isa.Weights] = add(".weights", 1, o.weights)
	}
	if o.consts != nil {
		index[isa.Const] = add(".const", 1, o.consts)
	}
	note := append([]byte{6, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0}, "LLIMA\x00\x00\x00"...)
	note = le.AppendUint16(note, isa.Major)
	note = le.AppendUint16(note, isa.Minor)
	for _, v := range []uint32{uint32(len(code)), isa.SBytes, isa.TileBytes} {
		note = le.AppendUint32(note, v)
	}
	add(".note.llima", 7, note)
	add(".llima.segs", 1, o.segments(index))
	symbols, names := o.symbolTable(index)
	at := add(".symtab", 2, symbols)
	sections[at].link = add(".strtab", 3, names)
	sections[at].entry = 24
	return layOut(sections)
}

func assemble(tb testing.TB, src string) []byte {
	tb.Helper()
	insts, err := isa.Assemble(src)
	if err != nil {
		tb.Fatalf("%v in\n%s", err, src)
	}
	return encodeAll(tb, insts)
}

func encodeAll(tb testing.TB, insts []isa.Inst) []byte {
	tb.Helper()
	var b []byte
	for _, i := range insts {
		w, err := i.Encode()
		if err != nil {
			tb.Fatalf("%v: %v", i, err)
		}
		b = append(b, w[:]...)
	}
	return b
}

func (o *object) segments(index map[isa.Segment]uint32) []byte {
	var out []byte
	for seg := range isa.Segment(isa.NumSegments) {
		r := make([]byte, 64)
		r[0] = byte(seg)
		size, used := o.host[seg]
		if used {
			r[1] = 2
		}
		for s, data := range map[isa.Segment][]byte{isa.Weights: o.weights, isa.Const: o.consts} {
			if s == seg && data != nil {
				used, size = true, int64(len(data))
				sum := sha256.Sum256(data)
				copy(r[32:], sum[:])
				le.PutUint32(r[4:], index[seg])
			}
		}
		le.PutUint64(r[8:], uint64(size))
		if used {
			out = append(out, r...)
		}
	}
	return out
}

func (o *object) symbolTable(index map[isa.Segment]uint32) (table, names []byte) {
	table, names = append(table, make([]byte, 24)...), []byte{0}
	for _, s := range o.symbols {
		table = le.AppendUint32(table, uint32(len(names)))
		table = append(table, 0x11, 0)
		shndx, ok := index[s.Segment]
		if !ok {
			shndx = 0xfff1
		}
		table = le.AppendUint16(table, uint16(shndx))
		table = le.AppendUint64(table, uint64(s.Offset))
		table = le.AppendUint64(table, uint64(s.Size))
		names = append(append(names, s.Name...), 0)
	}
	return table, names
}

// layOut writes the sections and the table of their headers.
func layOut(sections []testSection) []byte {
	names := []byte{0}
	sections = append(sections, testSection{name: ".shstrtab", kind: 3})
	for i := range sections[1:] {
		sections[i+1].nameX = uint32(len(names))
		names = append(append(names, sections[i+1].name...), 0)
	}
	sections[len(sections)-1].data = names
	b := append([]byte{}, make([]byte, 64)...)
	for i := range sections[1:] {
		s := &sections[i+1]
		align := 16
		if s.name == ".weights" || s.name == ".const" {
			align = 4096
		}
		b = append(b, make([]byte, -len(b)&(align-1))...)
		s.at = len(b)
		b = append(b, s.data...)
	}
	b = append(b, make([]byte, -len(b)&7)...)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[40:], uint64(len(b)))
	for i, v := range []uint16{64, 56, 0, 64, uint16(len(sections)), uint16(len(sections) - 1)} {
		le.PutUint16(b[52+2*i:], v)
	}
	for _, s := range sections {
		h := make([]byte, 64)
		le.PutUint32(h[0:], s.nameX)
		le.PutUint32(h[4:], s.kind)
		le.PutUint64(h[24:], uint64(s.at))
		le.PutUint64(h[32:], uint64(len(s.data)))
		le.PutUint32(h[40:], s.link)
		le.PutUint64(h[56:], s.entry)
		b = append(b, h...)
	}
	return b
}

// load loads an object that must be legal.
func (o *object) load(tb testing.TB) *emu.Program {
	tb.Helper()
	p, err := emu.Load(o.bytes(tb))
	if err != nil {
		tb.Fatalf("Load = %v\n%s", err, strings.Join(o.code, "\n--\n"))
	}
	return p
}

// run executes instructions that move IN to S at 0, work, and store S at
// outAt to OUT, chained by enough tokens.
func run(tb testing.TB, in []byte, work []isa.Inst, outAt, outSize int) ([]byte, error) {
	tb.Helper()
	return runWith(tb, &object{}, emu.Buffers{In: in}, work, outAt, outSize)
}

func runWith(tb testing.TB, o *object, b emu.Buffers, work []isa.Inst, outAt, outSize int) ([]byte, error) {
	tb.Helper()
	b.In = pad(b.In)
	outSize = (outSize + 31) &^ 31
	b.Out = bytes.Repeat([]byte{0xa5}, outSize)
	var insts []isa.Inst
	for at := 0; at < len(b.In); at += 65536 {
		n := uint32(min(65536, len(b.In)-at))
		insts = append(insts, isa.Inst{Op: isa.LD, S: uint32(at), Off: uint32(at), Rows: 1, Len: n, SStr: n, DStr: n, Seg: isa.In})
	}
	insts = append(insts, work...)
	for at := 0; at < outSize; at += 65536 {
		n := uint32(min(65536, outSize-at))
		insts = append(insts, isa.Inst{Op: isa.ST, S: uint32(outAt + at), Off: uint32(at), Rows: 1, Len: n, SStr: n, DStr: n, Seg: isa.Out})
	}
	insts = chain(append(insts, isa.Inst{Op: isa.END}))
	o.raw = [][]byte{encodeAll(tb, insts)}
	o.host = map[isa.Segment]int64{isa.Out: int64(outSize)}
	if len(b.In) > 0 {
		o.host[isa.In] = int64(len(b.In))
	}
	if len(b.KV) > 0 {
		o.host[isa.KV] = int64(len(b.KV))
	}
	if len(b.Tmp) > 0 {
		o.host[isa.Tmp] = int64(len(b.Tmp))
	}
	p := o.load(tb)
	if err := p.Verify(); err != nil {
		tb.Fatalf("Verify = %v", err)
	}
	m := emu.NewMachine()
	m.Force(o.set)
	if o.backwards {
		m.Backwards()
	}
	if err := m.Run(p, b); err != nil {
		return nil, err
	}
	return b.Out, nil
}

// chain orders the instructions strictly by a token between neighbours in
// different queues.
func chain(insts []isa.Inst) []isa.Inst {
	for i := range insts[:len(insts)-2] {
		a, b := &insts[i], &insts[i+1]
		if a.Op.Queue() != b.Op.Queue() {
			a.Push |= b.Op.Queue()
			b.Pop |= a.Op.Queue()
		}
	}
	return insts
}

func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&31)...) }

func f32Bytes(v []float32) []byte {
	var b []byte
	for _, x := range v {
		b = le.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func i32Bytes(v ...int32) []byte {
	var b []byte
	for _, x := range v {
		b = le.AppendUint32(b, uint32(x))
	}
	return b
}

func bf16Bytes(v []float32) []byte {
	var b []byte
	for _, x := range v {
		b = le.AppendUint16(b, roundBF16(x))
	}
	return b
}

func toF32(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(le.Uint32(b[4*i:]))
	}
	return v
}

func toI32(b []byte) []int32 {
	v := make([]int32, len(b)/4)
	for i := range v {
		v[i] = int32(le.Uint32(b[4*i:]))
	}
	return v
}

func fromBF16(b []byte) []float32 {
	v := make([]float32, len(b)/2)
	for i := range v {
		v[i] = math.Float32frombits(uint32(le.Uint16(b[2*i:])) << 16)
	}
	return v
}

// roundBF16 rounds to nearest even by comparing the two neighbours.
func roundBF16(x float32) uint16 {
	if x != x {
		return 0x7fc0
	}
	lo := uint16(math.Float32bits(x) >> 16)
	if uint32(lo)<<16 == math.Float32bits(x) {
		return lo
	}
	a := float64(math.Float32frombits(uint32(lo) << 16))
	b := float64(math.Float32frombits(uint32(lo+1) << 16))
	if math.IsInf(b, 0) { // the step of the last binade
		b = math.Copysign(math.Ldexp(1, 128), b)
	}
	da, db := math.Abs(float64(x)-a), math.Abs(float64(x)-b)
	if da < db || da == db && lo%2 == 0 {
		return lo
	}
	return lo + 1
}
