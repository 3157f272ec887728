package emu

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/llima-build/llima/modalix/emu/kern"
	"github.com/llima-build/llima/modalix/isa"
)

// Buffers are the segments that the host owns. Each must have at least the
// size that the program states; one that the program does not use may be nil.
type Buffers struct {
	In, Out, Tmp, KV, State, Lora, Embed []byte
}

// Machine is the state that programs run in: S and the tiles of all quads,
// and scratch memory. It is for one goroutine at a time; [NewMachine] makes one.
type Machine struct {
	// Exact keeps MM to the reference order, whose bits are the same on every
	// CPU; otherwise it may use kernels within the bounds of docs/isa.md §1.
	Exact bool
	// Top, which may be nil, sees the numbers that each TOPK chooses among: a
	// row's, the first of which has index first. They are valid during the call.
	Top func(row, first int, values []float32)

	quads    [isa.MaxQuads]quad
	segments [isa.NumSegments][]byte
	sets     []*kern.Set // kernels that may be used, the fastest first
	pool     *pool
	matrix   matrixUnit
	rows     vectorUnit
}

// quad is the memory of one quad. S is nil until a program uses the quad.
type quad struct {
	s     []byte
	tiles [isa.NumTiles]tile
	next  int // instruction
}

// NewMachine returns a machine whose S is zero. What a program leaves in S is
// there when the next one starts.
func NewMachine() *Machine {
	m := &Machine{sets: kern.Sets(), pool: &pool{}}
	m.matrix.pool, m.rows.pool = m.pool, m.pool
	m.matrix.panels, m.rows.rows = m.matrix.compute, m.rows.work
	runtime.AddCleanup(m, (*pool).close, m.pool) // workers know the pool only
	return m
}

// Kernels names what machines compute with on this CPU. Unless they are exact,
// the bits of their results may be others with other kernels.
func Kernels() string {
	if sets := kern.Sets(); len(sets) > 0 {
		return sets[0].Name
	}
	return "none"
}

// Fill sets every byte of S that has been used to b, so that a test can tell
// whether a program reads what it has not written.
func (m *Machine) Fill(b byte) {
	for q := range m.quads {
		s := m.quads[q].s
		for i := range s {
			s[i] = b
		}
	}
}

// Run executes a program. An error names the instruction; what the buffers
// then hold is not specified.
func (m *Machine) Run(p *Program, b Buffers) error {
	if !littleEndian() {
		return fileError("the host is not little-endian")
	}
	if err := m.bind(p, &b); err != nil {
		return err
	}
	for q := range p.code {
		m.quads[q].next = 0
		if m.quads[q].s == nil {
			m.quads[q].s = newS()
		}
	}
	m.matrix.set = nil
	if !m.Exact && len(m.sets) > 0 {
		m.matrix.set = m.sets[0]
	}
	m.rows.use(m.matrix.set)
	for {
		done := true
		for q := range p.code {
			end, err := m.untilBar(p, q)
			if err != nil {
				return err
			}
			done = done && end
		}
		if done {
			return nil
		}
	}
}

// newS returns the memory of a quad, aligned to 8 bytes.
func newS() []byte {
	words := make([]uint64, isa.SBytes/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), isa.SBytes)
}

func littleEndian() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}

// bind points the segments at a program's sections and at host buffers.
func (m *Machine) bind(p *Program, b *Buffers) error {
	host := [isa.NumSegments][]byte{
		isa.In: b.In, isa.Out: b.Out, isa.Tmp: b.Tmp, isa.KV: b.KV,
		isa.Lora: b.Lora, isa.State: b.State, isa.Embed: b.Embed,
	}
	for seg := range isa.Segment(isa.NumSegments) {
		s := &p.segments[seg]
		data := s.data
		switch {
		case !s.used:
			data = nil
		case s.kind == kindHost:
			data = host[seg]
			if int64(len(data)) < s.size {
				return fileError("buffer %v has %d bytes, needs %d", seg, len(data), s.size)
			}
		case s.kind == kindExternal && data == nil:
			return notFound(seg, s)
		}
		m.segments[seg] = data[:s.size:s.size]
	}
	return nil
}

// untilBar runs a quad up to and including its next BAR, or to END.
func (m *Machine) untilBar(p *Program, q int) (end bool, err error) {
	insts := p.code[q].insts
	quad := &m.quads[q]
	for {
		in := &insts[quad.next]
		if in.Op != isa.MM && in.Op != isa.LDW {
			m.matrix.flush()
		}
		switch in.Op { //nolint:exhaustive // the rest is exec's
		case isa.END:
			return true, nil
		case isa.BAR:
			quad.next++
			return false, nil
		}
		if err := m.exec(quad, in); err != nil {
			return false, located(err, q, quad.next)
		}
		quad.next++
	}
}

// exec runs one instruction. Load has checked its operands.
func (m *Machine) exec(q *quad, in *isa.Inst) error {
	switch in.Op { //nolint:exhaustive // BAR and END do not come here
	case isa.LD, isa.ST:
		m.transfer(q, in)
	case isa.LDG, isa.STS:
		return m.transferIndexed(q, in)
	case isa.LDP:
		m.loadPatches(q, in)
	case isa.LDW:
		q.tiles[in.Tile] = m.loadTile(in)
	case isa.STK:
		return m.appendKV(q, in)
	case isa.PUT:
		m.put(q, in)
	case isa.MM:
		m.matrix.multiply(q, in)
	case isa.ADD, isa.SUB, isa.MUL, isa.DIV, isa.MAX:
		m.rows.run(q, in, (*vectorSpace).binary)
	case isa.CVT:
		m.rows.run(q, in, (*vectorSpace).convert)
	case isa.ACT:
		m.rows.run(q, in, (*vectorSpace).act)
	case isa.GLU:
		m.rows.run(q, in, (*vectorSpace).glu)
	case isa.RED:
		m.rows.run(q, in, (*vectorSpace).reduce)
	case isa.NORM:
		m.rows.run(q, in, (*vectorSpace).norm)
	case isa.SOFTMAX, isa.MASK:
		if err := checkSpans(q, in); err != nil {
			return err
		}
		if in.Op == isa.MASK {
			m.rows.run(q, in, (*vectorSpace).mask)
		} else {
			m.rows.run(q, in, (*vectorSpace).softmax)
		}
	case isa.EXPS:
		m.rows.run(q, in, (*vectorSpace).exps)
	case isa.ROPE:
		m.rows.run(q, in, (*vectorSpace).rope)
	case isa.CONV:
		m.rows.run(q, in, (*vectorSpace).conv)
	case isa.GATH:
		if in.Mode == isa.GatherCols {
			return m.rows.spaces[0].gatherCols(q, in)
		}
		return m.rows.spaces[0].gather(q, in)
	case isa.TOPK:
		m.rows.spaces[0].topk(q, in, m.Top)
	default:
		panic(fmt.Sprintf("llima: internal error: emu: %v passed the checks", in.Op))
	}
	return nil
}

// view returns n elements of S at a byte address. Load has checked that they
// are there; addresses are multiples of 32.
func view[T float32 | int32 | uint16 | int8](s []byte, at, n int) []T {
	var t T
	size := int(unsafe.Sizeof(t))
	if n == 0 {
		return nil
	}
	b := s[at : at+n*size]
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n)
}
