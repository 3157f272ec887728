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
	consts   map[*ir.Node]operand
	tmpSize  int64

	tiles tiles
	temps []*buffer // of the chunk at work
	older []*buffer // of the one before
	err   error
}

func attempt(f *ir.Func, lay *layout, p plan, limits Limits) (code []isa.Inst, tmpSize int64, err error) {
	l := &lowerer{lay: lay, plan: p, limit: limits, users: f.Users(), consts: make(map[*ir.Node]operand), spilled: make(map[*ir.Node]int64)}
	for l.first = 0; l.first < lay.rows; l.first += p.rows {
		l.rows = min(p.rows, lay.rows-l.first)
		l.full = make(map[*ir.Node]operand)
		l.streamed = make(map[*ir.Node]*ir.Node)
		for _, n := range f.Nodes {
			l.node(n)
			if l.err != nil {
				return nil, 0, fmt.Errorf("node %d: %s: %w", n.ID, n.Op, l.err)
			}
		}
	}
	code, err = l.finish(limits.S)
	return code, l.tmpSize, err
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
		l.norm(n)
	case ir.Gather:
		l.gather(n)
	case ir.Cast, ir.Add, ir.Mul, ir.Sigmoid, ir.Silu, ir.GLU, ir.Rope, ir.Append, ir.TopK, ir.Output:
		l.tree(n)
		l.consume(n, n.Args[0], l.value(n.Args[0]), 0)
	case ir.Scores, ir.Scale, ir.Softmax, ir.Values:
		l.err = errors.New("stands outside of attention")
	}
}

// norm computes whole rows.
func (l *lowerer) norm(n *ir.Node) {
	l.tree(n)
	x, gamma := l.value(n.Args[0]), l.value(n.Args[1])
	d := l.dest(n, 0, n.Type.Cols)
	l.vector(vectorOp{op: isa.NORM, d: d, x: x, y: gamma, shape: isa.Row, imm: n.Eps})
	l.flow(n, d, 0)
}

// gather loads one row of an input.
func (l *lowerer) gather(n *ir.Node) {
	in := n.Args[0]
	if in.Op != ir.Input {
		l.err = fmt.Errorf("picks a row of %s, want an input", in.Op)
		return
	}
	l.tree(n)
	index := l.value(n.Args[1])
	d := l.dest(n, 0, n.Type.Cols)
	pitch := int64(in.Type.Cols * in.Type.DType.Size())
	l.emit(loadGather(l.lay.inputs[in], pitch), inS(d.place), inIdx(index.place))
	l.flow(n, d, 0)
}
