package lower

import (
	"cmp"
	"errors"
	"slices"

	"github.com/llima-build/llima/modalix/isa"
)

// sAlign is the alignment of addresses and strides in S, bytes.
const sAlign = 32

// errNoRoom says that a plan's buffers do not fit into S.
var errNoRoom = errors.New("lower: data memory is full")

// buffer is a range of S that lives from its first to its last use.
type buffer struct {
	size        int64
	first, last int // steps; last < first while unused
	address     int64
}

// place is a position within a buffer.
type place struct {
	buf    *buffer
	offset int64
}

func (p place) at(offset int64) place { return place{p.buf, p.offset + offset} }

// fixup is an S address that an instruction gets once buffers are placed.
type fixup struct {
	field func(*isa.Inst) *uint32
	place place
}

func inD(p place) fixup   { return fixup{func(in *isa.Inst) *uint32 { return &in.D }, p} }
func inX(p place) fixup   { return fixup{func(in *isa.Inst) *uint32 { return &in.X }, p} }
func inY(p place) fixup   { return fixup{func(in *isa.Inst) *uint32 { return &in.Y }, p} }
func inA(p place) fixup   { return fixup{func(in *isa.Inst) *uint32 { return &in.A }, p} }
func inC(p place) fixup   { return fixup{func(in *isa.Inst) *uint32 { return &in.C }, p} }
func inS(p place) fixup   { return fixup{func(in *isa.Inst) *uint32 { return &in.S }, p} }
func inIdx(p place) fixup { return fixup{func(in *isa.Inst) *uint32 { return &in.Idx }, p} }

type step struct {
	inst   isa.Inst
	fixups []fixup
}

// builder collects the instructions of one quad over buffers that have no
// address yet.
type builder struct {
	steps   []step
	buffers []*buffer
}

func (b *builder) buffer(size int64) *buffer {
	buf := &buffer{size: align(size, sAlign), first: -1, last: -2}
	b.buffers = append(b.buffers, buf)
	return buf
}

// emit appends an instruction.
func (b *builder) emit(in isa.Inst, fixups ...fixup) {
	for _, f := range fixups {
		f.place.buf.touch(len(b.steps))
	}
	b.steps = append(b.steps, step{in, fixups})
}

func (b *buffer) touch(step int) {
	if b.first < 0 {
		b.first = step
	}
	b.last = step
}

// keep extends the lives of buffers to the next instruction, so that what
// follows them gets other bytes and need not wait.
func (b *builder) keep(buffers []*buffer) {
	for _, buf := range buffers {
		if buf.first >= 0 {
			buf.last = max(buf.last, len(b.steps))
		}
	}
}

// allocate places every buffer in S so that no two that live at one step
// overlap: the largest first, each at the lowest address that is free.
func (b *builder) allocate(sBytes int64) error {
	order := make([]*buffer, 0, len(b.buffers))
	for _, buf := range b.buffers {
		if buf.first >= 0 {
			order = append(order, buf)
		}
	}
	slices.SortStableFunc(order, func(x, y *buffer) int {
		return cmp.Or(cmp.Compare(y.size, x.size), cmp.Compare(x.first, y.first))
	})
	var busy []*buffer
	for i, buf := range order {
		busy = busy[:0]
		for _, other := range order[:i] {
			if other.first <= buf.last && buf.first <= other.last {
				busy = append(busy, other)
			}
		}
		slices.SortFunc(busy, func(x, y *buffer) int { return cmp.Compare(x.address, y.address) })
		buf.address = 0
		for _, other := range busy {
			if buf.address+buf.size <= other.address {
				break
			}
			buf.address = max(buf.address, other.address+other.size)
		}
		if buf.address+buf.size > sBytes {
			return errNoRoom
		}
	}
	return nil
}

// finish sets addresses, appends END and inserts tokens.
func (b *builder) finish(sBytes int64) ([]isa.Inst, error) {
	if err := b.allocate(sBytes); err != nil {
		return nil, err
	}
	code := make([]isa.Inst, 0, len(b.steps)+1)
	for i := range b.steps {
		in := b.steps[i].inst
		for _, f := range b.steps[i].fixups {
			*f.field(&in) = uint32(f.place.buf.address + f.place.offset)
		}
		code = append(code, in)
	}
	code = append(code, isa.Inst{Op: isa.END})
	return code, insertTokens(code)
}
