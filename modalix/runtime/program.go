package runtime

import (
	"fmt"
	"path/filepath"
	"unsafe"

	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/isa"
)

// program is a loaded program with its host buffers.
type program struct {
	file    string
	prog    *emu.Program
	in, out []byte
	symbols map[string]emu.Symbol
}

// Launch is one execution of a program, as a trace sees it.
type Launch struct {
	File    string // name in elf_files
	Layer   int
	Program *emu.Program
	Buffers emu.Buffers
}

// maxBufferBytes bounds what a program may claim for its host buffers.
const maxBufferBytes = 1 << 32

func (m *Model) loadProgram(dir, file string) (*program, error) {
	path := filepath.Join(dir, file)
	b, err := m.mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w\n  this output is incomplete, build it again:\n    llima build", err)
	}
	prog, err := emu.Load(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n  the file is damaged, build it again:\n    llima build", path, err)
	}
	p := &program{file: path, prog: prog, symbols: map[string]emu.Symbol{}}
	for _, s := range prog.Symbols() {
		p.symbols[s.Name] = s
	}
	for _, seg := range []struct {
		id  isa.Segment
		dst *[]byte
	}{{isa.In, &p.in}, {isa.Out, &p.out}} {
		n := prog.SegmentSize(seg.id)
		if n < 0 || n > maxBufferBytes {
			return nil, fmt.Errorf("%s: %d bytes of %v", path, n, seg.id)
		}
		*seg.dst = alignedBytes(n)
	}
	return p, nil
}

// alignedBytes returns n zero bytes at an address that is a multiple of 64.
func alignedBytes(n int64) []byte {
	if n == 0 {
		return nil
	}
	lines := make([][8]uint64, (n+63)/64+1)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&lines[0])), len(lines)*64)
	skip := -uintptr(unsafe.Pointer(&b[0])) & 63
	return b[skip : int64(skip)+n]
}

func (p *program) kvBytes() int64 { return p.prog.SegmentSize(isa.KV) }

// bytes returns a host buffer by its symbol.
func (p *program) bytes(name string) []byte {
	s := p.symbols[name]
	seg := p.in
	if s.Segment == isa.Out {
		seg = p.out
	}
	return seg[s.Offset : s.Offset+s.Size]
}

func (p *program) f32(name string) []float32 { return view[float32](p.bytes(name)) }
func (p *program) i32(name string) []int32   { return view[int32](p.bytes(name)) }

// view returns bytes as elements of a fixed size; buffers are aligned to 64.
func view[T float32 | int32 | uint16](b []byte) []T {
	var t T
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), len(b)/int(unsafe.Sizeof(t)))
}

// check compares a buffer's size with what the configuration implies.
func (p *program) check(name string, seg isa.Segment, sizeBytes int) error {
	s, ok := p.symbols[name]
	switch {
	case !ok:
		return fmt.Errorf("%s: no buffer %s\n  the file belongs to another build, build again:\n    llima build", p.file, name)
	case s.Segment != seg || s.Size != int64(sizeBytes) || s.Offset < 0 || s.Offset%4 != 0 ||
		s.Size > p.prog.SegmentSize(seg) || s.Offset > p.prog.SegmentSize(seg)-s.Size:
		return fmt.Errorf("%s: buffer %s has %d bytes at %d of %v, want %d in %v\n  the file belongs to another build, build again:\n    llima build",
			p.file, name, s.Size, s.Offset, s.Segment, sizeBytes, seg)
	}
	return nil
}

type bufferWant struct {
	name  string
	seg   isa.Segment
	bytes int
}

func (p *program) checkAll(want []bufferWant) error {
	for _, w := range want {
		if err := p.check(w.name, w.seg, w.bytes); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) checkPre(m *Model, rows int) error {
	c := &m.cfg
	return p.checkAll([]bufferWant{
		{"in.hidden", isa.In, rows * c.HiddenSize * 4},
		{"in.rope", isa.In, rows * m.half * 2 * 4},
		{"in.positions", isa.In, rows * 4},
		{"out.q", isa.Out, rows * c.NumAttentionHeads * c.HeadDim * 2},
	})
}

func (p *program) checkCache(m *Model, rows int) error {
	c := &m.cfg
	return p.checkAll([]bufferWant{
		{"in.q", isa.In, rows * c.NumAttentionHeads * c.HeadDim * 2},
		{"in.spans", isa.In, rows * 8},
		{"out.attention", isa.Out, rows * c.NumAttentionHeads * c.HeadDim * 2},
	})
}

func (p *program) checkPost(m *Model, rows int, last bool) error {
	c := &m.cfg
	want := []bufferWant{
		{"in.attention", isa.In, rows * c.NumAttentionHeads * c.HeadDim * 2},
		{"in.hidden", isa.In, rows * c.HiddenSize * 4},
	}
	switch {
	case !last:
		want = append(want, bufferWant{"out.hidden_out", isa.Out, rows * c.HiddenSize * 4})
	case c.ReturnLogits:
		want = append(want, bufferWant{"out.logits", isa.Out, rows * c.VocabSize * 4})
	default:
		want = append(want, bufferWant{"out.top", isa.Out, min(topCount, c.VocabSize) * 8})
		if rows > 1 {
			want = append(want, bufferWant{"in.last_row", isa.In, 4})
		}
	}
	return p.checkAll(want)
}

// launch runs a program for one layer.
func (m *Model) launch(p *program, layer int) error {
	b := emu.Buffers{In: p.in, Out: p.out, KV: m.kv[layer]}
	if n := p.prog.SegmentSize(isa.Tmp); n > 0 {
		b.Tmp = alignedBytes(min(n, maxBufferBytes))
	}
	if err := m.machine.Run(p.prog, b); err != nil {
		return fmt.Errorf("%s: %w", p.file, err)
	}
	if m.trace != nil {
		return m.trace(Launch{File: filepath.Base(p.file), Layer: layer, Program: p.prog, Buffers: b})
	}
	return nil
}
