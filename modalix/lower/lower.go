// Package lower turns a part in intermediate form into the program of one
// quad: it lays out segments, cuts weights into tiles and values into row
// blocks and column chunks, places buffers in data memory by liveness, and
// inserts the tokens that order the queues. It knows instructions but
// neither their encoding nor the object file.
//
// The design is docs/isa.md's machine: weights stream through the four tiles
// in turn, so that the load queue runs ahead of the matrix unit; what follows
// a linear (bias, residual, GLU, RoPE, storing) works on chunks of columns
// while the matrix unit computes the next ones.
package lower

import (
	"errors"
	"fmt"
	"io"

	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/isa"
)

// Program is a part ready to be encoded.
type Program struct {
	Name     string
	Code     []isa.Inst // quad 0; ends with END
	Consts   []byte     // segment CONST
	Segments []Segment  // host buffers, by segment number
	Symbols  []Symbol   // by segment number, then offset

	WeightsSize int64 // bytes of segment WEIGHTS

	matrices []*matrix
}

// Segment is a segment that the host binds.
type Segment struct {
	Segment uint8
	Size    int64 // bytes
}

// Symbol names a range of a segment.
type Symbol struct {
	Name         string
	Segment      uint8
	Offset, Size int64 // bytes
}

// WriteWeights streams segment WEIGHTS, reading the files that data maps.
func (p *Program) WriteWeights(w io.Writer, data Source) error {
	for _, m := range p.matrices {
		if err := m.write(w, data); err != nil {
			return fmt.Errorf("lower: %s: %w", p.Name, err)
		}
	}
	return nil
}

// Limits bound the memories that a program may use, in bytes. A program for
// less runs on the machine too: tests reach every plan with small parts.
type Limits struct {
	S    int64 // data memory
	Tile int64 // one weight tile
}

// MachineLimits returns the machine's own.
func MachineLimits() Limits { return Limits{S: isa.SBytes, Tile: isa.TileBytes} }

// plan is one way to make the live values fit into data memory.
type plan struct {
	rows  int   // token rows computed at once
	spill bool  // a residual waits in DRAM, not in S
	slack bool  // chunks alternate between buffers
	chunk int64 // bytes of a float32 chunk
}

// plans returns ways to try, the fastest first.
func plans(rows int) []plan {
	const big, small, maxRows, minRows = 64 << 10, 16 << 10, 256, 8
	var list []plan
	for r := min(rows, maxRows); ; r = max(minRows, int(align(int64(r/2), minRows))) {
		list = append(list,
			plan{rows: r, slack: true, chunk: big},
			plan{rows: r, spill: true, slack: true, chunk: big},
			plan{rows: r, spill: true, chunk: small})
		if r <= minRows {
			return list
		}
	}
}

// Lower compiles a function that [ir.Run] has prepared.
func Lower(f *ir.Func, limits Limits) (*Program, error) {
	if most := MachineLimits(); limits.S > most.S || limits.Tile > most.Tile {
		return nil, fmt.Errorf("lower: %s: limits %+v exceed the machine's %+v", f.Name, limits, most)
	}
	lay, err := newLayout(f)
	if err != nil {
		return nil, fmt.Errorf("lower: %s: %w", f.Name, err)
	}
	for _, p := range plans(lay.rows) {
		code, tmp, err := attempt(f, lay, p, limits)
		if errors.Is(err, errNoRoom) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("lower: %s: %w", f.Name, err)
		}
		return lay.program(f.Name, code, tmp), nil
	}
	return nil, fmt.Errorf("lower: %s: live values of %d token rows do not fit into %d bytes of S", f.Name, lay.rows, limits.S)
}

// lowerer emits one attempt at a program.
type lowerer struct {
	builder
	lay   *layout
	plan  plan
	limit Limits
	users map[*ir.Node][]*ir.Node

	first, rows int // token rows [first, first+rows) of the block at work

	full     map[*ir.Node]operand  // values of the block that lie in S as a whole
	streamed map[*ir.Node]*ir.Node // node to the producer whose chunks feed it
	spilled  map[*ir.Node]int64    // node to its offset in TMP
	picked   map[*ir.Node]int64    // the same for all rows of a node of which one is picked
	carried  map[*ir.Node]operand  // convolution to the last rows of the block before
	consts   map[*ir.Node]operand
	tmpSize  int64

	tiles tiles
	temps []*buffer // of the chunk at work
	older []*buffer // of the one before
	err   error
}

func attempt(f *ir.Func, lay *layout, p plan, limits Limits) (code []isa.Inst, tmpSize int64, err error) {
	l := &lowerer{lay: lay, plan: p, limit: limits, users: f.Users(), consts: make(map[*ir.Node]operand), spilled: make(map[*ir.Node]int64)}
	l.picked, l.carried = make(map[*ir.Node]int64), make(map[*ir.Node]operand)
	body, tail := parts(f, lay.rows)
	for l.first = 0; l.first < lay.rows; l.first += p.rows {
		l.rows = min(p.rows, lay.rows-l.first)
		if err := l.block(body); err != nil {
			return nil, 0, err
		}
	}
	l.first, l.rows = 0, 1
	if err := l.block(tail); err != nil {
		return nil, 0, err
	}
	code, err = l.finish(limits.S)
	return code, l.tmpSize, err
}

// parts tells nodes that have all token rows, block by block, from those that
// follow the one that is picked of several.
func parts(f *ir.Func, rows int) (body, tail []*ir.Node) {
	last := make(map[*ir.Node]bool)
	for _, n := range f.Nodes {
		last[n] = n.Op == ir.Gather && rows > 1
		for _, a := range n.Args {
			last[n] = last[n] || last[a]
		}
		if last[n] {
			tail = append(tail, n)
		} else {
			body = append(body, n)
		}
	}
	return body, tail
}

// block emits nodes for the rows at work.
func (l *lowerer) block(nodes []*ir.Node) error {
	l.full = make(map[*ir.Node]operand)
	l.streamed = make(map[*ir.Node]*ir.Node)
	for _, n := range nodes {
		l.node(n)
		if l.err != nil {
			return fmt.Errorf("node %d: %s: %w", n.ID, n.Op, l.err)
		}
	}
	return nil
}

// node emits what computes a node, unless a producer streams into it.
func (l *lowerer) node(n *ir.Node) {
	if l.streamed[n] != nil {
		return
	}
	switch n.Op {
	case ir.Input, ir.Const, ir.Cached, ir.Slice: // read where they are used
	case ir.Linear:
		l.linear(n)
	case ir.Attention:
		l.attention(n)
	case ir.Norm:
		if n.Heads > 0 {
			l.alone(n)
		} else {
			l.norm(n)
		}
	case ir.Gather:
		l.gather(n)
	case ir.Conv:
		l.conv(n)
	case ir.Columns:
		l.gatherColumns(n)
	case ir.Cast, ir.Add, ir.Mul, ir.Sigmoid, ir.SoftCap, ir.Act, ir.GLU, ir.Rope, ir.Append, ir.TopK, ir.Output:
		l.alone(n)
	case ir.Scores, ir.Scale, ir.Softmax, ir.Values:
		l.err = errors.New("stands outside of attention")
	case ir.Ratio, ir.Tanh:
		l.err = errors.New("stands outside of a cap")
	case ir.Concat:
		l.err = errors.New("stands outside of a convolution")
	}
}

// alone computes a node that nothing streams into, over whole rows.
func (l *lowerer) alone(n *ir.Node) {
	l.tree(n)
	l.consume(n, n.Args[0], l.value(n.Args[0]), 0)
}

// norm computes whole rows.
func (l *lowerer) norm(n *ir.Node) {
	l.tree(n)
	x, gamma := l.value(n.Args[0]), l.value(n.Args[1])
	d := l.dest(n, 0, n.Type.Cols)
	l.vector(vectorOp{op: isa.NORM, d: d, x: x, y: gamma, shape: isa.Row, imm: n.Eps})
	l.flow(n, d, 0)
}

// gather loads one row of an input, or of what the blocks have left in TMP.
func (l *lowerer) gather(n *ir.Node) {
	in := n.Args[0]
	segment, offset, pitch := isa.In, l.lay.inputs[in], rowPitch(in.Type)
	if in.Op != ir.Input {
		at, ok := l.picked[in]
		if !ok {
			l.err = fmt.Errorf("picks a row of %s, which is not computed yet", in.Op)
			return
		}
		segment, offset, pitch = isa.Tmp, at, spillPitch(in)
	}
	l.tree(n)
	index := l.value(n.Args[1])
	d := l.dest(n, 0, n.Type.Cols)
	size := int64(n.Type.Cols * n.Type.DType.Size())
	if n.Type.DType == ir.BF16 {
		size = pitch // with the zeros behind
	}
	l.emit(loadGather(segment, offset, size, pitch), inS(d.place), inIdx(index.place))
	l.flow(n, d, 0)
}

// conv computes a convolution over whole rows. Its operand lies behind room
// for the rows of state: those of the host, then those of the block before.
func (l *lowerer) conv(n *ir.Node) {
	l.tree(n)
	x, state, taps := l.value(n.Args[0]), n.Args[1], l.value(n.Args[2])
	before := state.Type.Rows
	all := x
	all.place = x.at(-int64(before) * x.stride)
	if old, ok := l.carried[n]; ok {
		l.vector(vectorOp{op: isa.CVT, d: all, x: old, rows: before})
	} else {
		size := align(int64(state.Type.Cols)*4, sAlign)
		l.emit(load(isa.State, l.lay.inputs[state], before, size, all.stride, rowPitch(state.Type)), inS(all.place))
	}
	l.carried[n] = operand{all.at(int64(l.rows) * all.stride), all.stride, all.dtype, all.cols}
	d := l.dest(n, 0, n.Type.Cols)
	c := d
	if len(n.Args) == 4 && d.dtype != ir.F32 {
		c = l.temporary(l.rows, n.Type.Cols, ir.F32)
	}
	l.vector(vectorOp{op: isa.CONV, d: c, x: all, y: taps, shape: isa.Full, aux: uint32(before + 1)})
	if len(n.Args) == 4 {
		l.vector(vectorOp{op: isa.ADD, d: d, x: c, y: l.value(n.Args[3]), shape: isa.Row})
	}
	l.flow(n, d, 0)
	l.endChunk()
}
