package runtime

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"unsafe"

	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/isa"
)

// program is a loaded program with its host buffers.
type program struct {
	path    string
	prog    *emu.Program
	in, out []byte
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
		return nil, err
	}
	prog, err := emu.Load(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w, so the file is damaged%s", path, err, again)
	}
	if err := m.share(prog); err != nil {
		return nil, fmt.Errorf("%s: %w%s", path, err, again)
	}
	p := &program{path: path, prog: prog}
	for _, seg := range []isa.Segment{isa.In, isa.Out, isa.Tmp, isa.KV, isa.State} {
		if n := prog.SegmentSize(seg); n < 0 || n > maxBufferBytes {
			return nil, fmt.Errorf("%s: %v has %d bytes, more than %d%s", path, seg, n, int64(maxBufferBytes), again)
		}
	}
	return p, nil
}

// share binds weights that lie in another program of the output, loaded
// before, and keeps this one's for those to come.
func (m *Model) share(prog *emu.Program) error {
	sum, ok := prog.Digest(isa.Weights)
	if !ok {
		return nil
	}
	if _, external := prog.External(isa.Weights); !external {
		m.weights[sum] = prog.Bytes(isa.Weights)
		return nil
	}
	data, ok := m.weights[sum]
	if !ok {
		return fmt.Errorf("its weights sha256:%x are in no program of the other phase, so one of the two is damaged", sum)
	}
	return prog.Bind(isa.Weights, data)
}

// explain looks for what made logits that are not numbers.
func (m *Model) explain(err error) error {
	for _, p := range m.programs {
		if bad := p.prog.Verify(); bad != nil {
			return fmt.Errorf("%w, since %s is damaged: %w%s", err, p.path, bad, again)
		}
	}
	row := make([]float32, m.cfg.HiddenSize)
	for id := range m.cfg.VocabSize {
		m.embedRow(row, id)
		for _, v := range row {
			if !finite(v) {
				return fmt.Errorf("%w: %s: the embedding of token %d holds %v, so the file is damaged%s", err, m.embedPath, id, v, again)
			}
		}
	}
	return fmt.Errorf("%w, though the weights and embeddings of %s are as they were built: a weight of the checkpoint is too large for bfloat16, "+
		"or a table or the code of a program is damaged%s", err, filepath.Dir(filepath.Dir(m.embedPath)), again)
}

func finite(v float32) bool { return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) }

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

// buffer is a host buffer that a program must have.
type buffer struct {
	name  string
	seg   isa.Segment
	bytes int64
}

// checkAll compares the buffers of the program with what the configuration
// implies: nothing larger than that is allocated.
func (p *program) checkAll(want []buffer) error {
	room := map[isa.Segment]int64{}
	for _, b := range want {
		if err := p.check(b); err != nil {
			return err
		}
		room[b.seg] += (b.bytes + 63) / 64 * 64
	}
	for _, seg := range []isa.Segment{isa.In, isa.Out} {
		if size := p.prog.SegmentSize(seg); size > room[seg] {
			return fmt.Errorf("%s: %v has %d bytes, want %d, so it is of another build%s", p.path, seg, size, room[seg], again)
		}
	}
	return nil
}

func (p *program) check(b buffer) error {
	s, ok := p.prog.Symbol(b.name)
	size := p.prog.SegmentSize(b.seg)
	switch {
	case !ok:
		return fmt.Errorf("%s: has no buffer %s, so it is of another build%s", p.path, b.name, again)
	case s.Segment != b.seg || s.Size != b.bytes:
		return fmt.Errorf("%s: buffer %s has %d bytes of %v, want %d of %v, so it is of another build%s",
			p.path, b.name, s.Size, s.Segment, b.bytes, b.seg, again)
	case s.Offset < 0 || s.Offset%4 != 0 || s.Offset > size-s.Size:
		return fmt.Errorf("%s: buffer %s lies at %d of %v, which has %d bytes%s", p.path, b.name, s.Offset, b.seg, size, again)
	}
	return nil
}

// rowsBytes is the size of rows in a host buffer: each fills a multiple of 64
// bytes.
func rowsBytes(rows int, rowBytes int64) int64 { return int64(rows) * ((rowBytes + 63) / 64 * 64) }

// preBuffers, cacheBuffers, postBuffers and convBuffers are the host buffers
// of the parts.
func (m *Model) preBuffers(rows int) []buffer {
	kv := m.kvBytes() / 2
	return []buffer{
		m.hiddenBuffer("in.hidden", isa.In, rows),
		{"in.rope", isa.In, rowsBytes(rows, int64(m.half)*2*4)},
		{"in.positions", isa.In, int64(rows) * 4},
		{"out.q", isa.Out, int64(rows) * m.attentionBytes()},
		{"kv.k", isa.KV, kv},
		{"kv.v", isa.KV, kv},
	}
}

func (m *Model) cacheBuffers(rows int) []buffer {
	n, kv := int64(rows), m.kvBytes()/2
	return []buffer{
		{"in.q", isa.In, n * m.attentionBytes()},
		{"in.spans", isa.In, n * 8},
		{"out.attention", isa.Out, n * m.attentionBytes()},
		{"kv.k", isa.KV, kv},
		{"kv.v", isa.KV, kv},
	}
}

func (m *Model) postBuffers(rows int, last bool) []buffer {
	c := &m.cfg
	return append([]buffer{
		{"in.attention", isa.In, rowsBytes(rows, int64(c.NumAttentionHeads)*int64(c.HeadDim)*2)},
		m.hiddenBuffer("in.hidden", isa.In, rows),
	}, m.resultBuffers(rows, last)...)
}

func (m *Model) convBuffers(rows int, last bool) []buffer {
	return append([]buffer{
		m.hiddenBuffer("in.hidden", isa.In, rows),
		{"state.state", isa.State, m.stateBytes()},
		m.hiddenBuffer("out.gated", isa.Out, rows),
	}, m.resultBuffers(rows, last)...)
}

// resultBuffers are those of what a layer gives in the end.
func (m *Model) resultBuffers(rows int, last bool) []buffer {
	c := &m.cfg
	top := buffer{"out.top", isa.Out, int64(min(topCount, c.VocabSize)) * 8}
	switch {
	case !last:
		return []buffer{m.hiddenBuffer("out.hidden_out", isa.Out, rows)}
	case c.ReturnLogits:
		return []buffer{{"out.logits", isa.Out, rowsBytes(rows, int64(c.VocabSize)*4)}}
	case rows > 1:
		return []buffer{{"in.last_row", isa.In, 4}, top}
	}
	return []buffer{top}
}

// hiddenBuffer holds rows of the residual stream, F32.
func (m *Model) hiddenBuffer(name string, seg isa.Segment, rows int) buffer {
	return buffer{name, seg, rowsBytes(rows, int64(m.cfg.HiddenSize)*4)}
}

// attentionBytes is the size of one row of q, and of what attention gives.
func (m *Model) attentionBytes() int64 { return int64(m.cfg.NumAttentionHeads) * m.headBytes() }

// has reports whether there is a host buffer of that name.
func (p *program) has(name string) bool {
	_, ok := p.prog.Symbol(name)
	return ok
}

// bytes returns a host buffer that was checked.
func (p *program) bytes(name string) []byte {
	s, _ := p.prog.Symbol(name)
	seg := p.in
	if s.Segment == isa.Out {
		seg = p.out
	}
	return seg[s.Offset : s.Offset+s.Size]
}

func (p *program) f32(name string) []float32 { return view[float32](p.bytes(name)) }
func (p *program) i32(name string) []int32   { return view[int32](p.bytes(name)) }

// copyRows copies rows between buffers whose rows may lie apart, with zeros
// behind them where there is room.
func copyRows[T any](dst, src []T, rows int) {
	to, from := len(dst)/rows, len(src)/rows
	for i := range rows {
		row := dst[i*to : (i+1)*to]
		clear(row[copy(row, src[i*from:(i+1)*from]):])
	}
}

// view returns bytes as elements of four bytes; buffers are aligned.
func view[T float32 | int32](b []byte) []T {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), len(b)/4)
}

// launch runs a program for one layer.
func (m *Model) launch(ctx context.Context, p *program, layer int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n := p.prog.SegmentSize(isa.Tmp); n > int64(len(m.tmp)) {
		m.tmp = alignedBytes(n)
	}
	b := emu.Buffers{In: p.in, Out: p.out, Tmp: m.tmp, KV: m.kv[layer], State: m.state[layer]}
	if err := m.machine.Run(p.prog, b); err != nil {
		return fmt.Errorf("%s: %w", p.path, err)
	}
	if m.trace != nil {
		return m.trace(Launch{File: filepath.Base(p.path), Layer: layer, Program: p.prog, Buffers: b})
	}
	return nil
}
