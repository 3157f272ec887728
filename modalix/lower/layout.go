package lower

import (
	"fmt"
	"slices"

	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/isa"
)

// layout says where everything outside of S lies.
type layout struct {
	rows     int // token rows of the part
	inputs   map[*ir.Node]int64
	outputs  map[*ir.Node]int64
	consts   map[*ir.Node]int64
	matrices map[*ir.Node]*matrix
	cache    cache

	zeros     int64 // offset of a line of zeros in CONST; -1: nobody needs one
	order     []*matrix
	symbols   []Symbol
	constData []byte
	inSize    int64
	outSize   int64
	stateSize int64
	kvSize    int64
	weights   int64
}

// cache is the geometry of segment KV as docs/isa.md lays it down: K of all
// heads in panels of 16 tokens, then V in panels of 16 dims.
type cache struct {
	heads, headDim, capacity int64 // capacity in tokens, a multiple of 32
}

func (c cache) headPitch() int64  { return c.capacity * c.headDim * 2 } // bytes, K and V
func (c cache) panelPitch() int64 { return c.capacity * 32 }            // bytes, V
func (c cache) values() int64     { return c.heads * c.headPitch() }    // offset of V

func newLayout(f *ir.Func) (*layout, error) {
	l := &layout{
		zeros:  -1,
		inputs: make(map[*ir.Node]int64), outputs: make(map[*ir.Node]int64),
		consts: make(map[*ir.Node]int64), matrices: make(map[*ir.Node]*matrix),
	}
	for _, n := range f.Nodes {
		if err := l.add(f, n); err != nil {
			return nil, fmt.Errorf("node %d: %s %s: %w", n.ID, n.Op, n.Name, err)
		}
	}
	const maxRows = 1 << 16
	if l.rows == 0 || l.rows > maxRows {
		return nil, fmt.Errorf("%d token rows, want 1 to %d", l.rows, maxRows)
	}
	const maxSegment = 1 << 32 // offsets of instructions are 32 bits wide
	if largest := max(l.weights, l.kvSize, l.inSize, l.outSize, l.stateSize); largest >= maxSegment {
		return nil, fmt.Errorf("a segment of %d bytes is not below %d", largest, int64(maxSegment))
	}
	slices.SortStableFunc(l.symbols, func(a, b Symbol) int { return int(a.Segment) - int(b.Segment) })
	return l, nil
}

func (l *layout) add(f *ir.Func, n *ir.Node) error {
	buffer := func(prefix string, seg isa.Segment, t ir.Type, end *int64) int64 {
		offset, size := *end, int64(t.Rows)*rowPitch(t)
		l.symbols = append(l.symbols, Symbol{prefix + n.Name, uint8(seg), offset, size})
		*end = align(offset+size, alignment)
		return offset
	}
	var err error
	switch n.Op { //nolint:exhaustive // others lie in S
	case ir.Input:
		if n.Name == stateInput {
			l.inputs[n] = buffer("state.", isa.State, n.Type, &l.stateSize)
		} else {
			l.inputs[n] = buffer("in.", isa.In, n.Type, &l.inSize)
		}
	case ir.Output:
		l.outputs[n] = buffer("out.", isa.Out, n.Args[0].Type, &l.outSize)
		l.rows = max(l.rows, n.Args[0].Type.Rows)
	case ir.Const:
		l.consts[n] = int64(len(l.constData))
		width := n.Type.Cols * n.Type.DType.Size()
		for row := range n.Type.Rows {
			l.addConst(n.Data[row*width:][:width])
		}
	case ir.Append:
		l.rows = max(l.rows, n.Args[0].Type.Rows)
		err = l.bindCache(f, n)
	case ir.Cached:
		err = l.bindCache(f, n)
	case ir.Linear:
		err = l.addMatrix(n)
	}
	return err
}

// stateInput is the input that lies in segment STATE.
const stateInput = "state"

// rowPitch returns the distance between rows of a host buffer or a constant,
// bytes: rows fill multiples of 64, with zeros by the host. Indices, spans and
// pairs are packed.
func rowPitch(t ir.Type) int64 {
	size := int64(t.Cols) * int64(t.DType.Size())
	if t.DType == ir.I32 || t.DType == ir.Pairs {
		return size
	}
	return align(size, alignment)
}

// addConst appends to segment CONST.
func (l *layout) addConst(data []byte) {
	l.constData = append(l.constData, data...)
	l.constData = append(l.constData, make([]byte, align(int64(len(data)), alignment)-int64(len(data)))...)
}

func (l *layout) addMatrix(n *ir.Node) error {
	m, err := newMatrix(n, l.weights)
	if err != nil {
		return err
	}
	if n.Args[0].Type.Cols != m.k && l.zeros < 0 {
		l.zeros = int64(len(l.constData))
		l.addConst(make([]byte, alignment))
	}
	l.matrices[n], l.weights = m, m.end()
	l.order = append(l.order, m)
	for _, w := range n.Weights {
		first := slices.IndexFunc(m.panels, func(p panel) bool { return p.weight == w })
		end := first + 1
		for i, p := range m.panels {
			if p.weight == w {
				end = i + 1
			}
		}
		at, count := int64(first), int64(end-first)
		name := w.Name
		if w.Stored != 0 {
			name += fmt.Sprintf("[%d:%d]", w.First, w.First+w.N)
		}
		l.symbols = append(l.symbols, Symbol{
			name, uint8(isa.Weights), m.codes + at*int64(m.panelBytes(m.k)), count * int64(m.panelBytes(m.k)),
		})
		if g := int64(m.groups(m.k)); g > 0 {
			const entry = panelRows * 2
			l.symbols = append(l.symbols, Symbol{name + ".scales", uint8(isa.Weights), m.scales + at*g*entry, count * g * entry})
		}
	}
	return nil
}

// bindCache fixes the geometry of segment KV and its two symbols.
func (l *layout) bindCache(f *ir.Func, n *ir.Node) error {
	c := cache{heads: int64(n.KVHeads), headDim: int64(n.HeadDim), capacity: align(int64(f.ContextTokens), kUnit)}
	switch {
	case f.ContextTokens <= 0 || n.Op == ir.Cached && n.Type.Rows > f.ContextTokens:
		return fmt.Errorf("the cache holds %d tokens", f.ContextTokens)
	case c.headDim%kUnit != 0:
		return fmt.Errorf("head dimension %d is not a multiple of %d", c.headDim, kUnit)
	case l.cache == cache{}:
		l.cache = c
		l.kvSize = 2 * c.values()
		l.symbols = append(l.symbols,
			Symbol{"kv.k", uint8(isa.KV), 0, c.values()},
			Symbol{"kv.v", uint8(isa.KV), c.values(), c.values()})
	case l.cache != c:
		return fmt.Errorf("%d heads of %d, the cache has %d of %d", c.heads, c.headDim, l.cache.heads, l.cache.headDim)
	}
	return nil
}

func (l *layout) program(name string, code []isa.Inst, tmpSize int64) *Program {
	p := &Program{
		Name: name, Code: code, Consts: l.constData, Symbols: l.symbols, WeightsSize: l.weights, matrices: l.order,
	}
	for _, s := range []Segment{
		{uint8(isa.In), l.inSize},
		{uint8(isa.Out), l.outSize},
		{uint8(isa.Tmp), align(tmpSize, alignment)},
		{uint8(isa.KV), l.kvSize},
		{uint8(isa.State), l.stateSize},
	} {
		if s.Size > 0 {
			p.Segments = append(p.Segments, s)
		}
	}
	return p
}
