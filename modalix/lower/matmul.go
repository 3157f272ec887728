package lower

import (
	"fmt"

	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/isa"
)

// tiles remembers what the weight tiles hold.
type tiles struct {
	keys [numTiles]any
	used [numTiles]int
	tick int
}

// find returns the tile that holds key, or the one whose last use is the
// longest ago: loads then rotate and run ahead of the matrix unit.
func (t *tiles) find(key any) (tile uint32, resident bool) {
	t.tick++
	oldest := 0
	for i := range t.keys {
		if t.keys[i] == key {
			t.used[i] = t.tick
			return uint32(i), true
		}
		if t.used[i] < t.used[oldest] {
			oldest = i
		}
	}
	t.keys[oldest], t.used[oldest] = key, t.tick
	return uint32(oldest), false
}

// span is a range of a linear's inputs that one tile load covers.
type span struct {
	lo, k   int
	channel bool // one scale an output for the whole span
}

// tiling cuts a matrix into tile loads: spans of K, and panels a tile.
type tiling struct {
	spans  []span
	panels int
}

// tile cuts K where a panel exceeds a tile, at group boundaries; a last group
// that is shorter than the others is a span of its own, with one scale.
func (m *matrix) tile(tileBytes int) (tiling, error) {
	grouped := m.bits != 16 && m.group != 0
	unit, rest := kUnit, 0
	if grouped {
		unit = max(kUnit, m.group)
		rest = m.k % m.group
	}
	fits := func(k int) int { return tileBytes / (m.panelBytes(k) + m.groups(k)*(entry(m.scale)+entry(m.offset))) }
	whole := m.k - rest
	step := whole
	for step > unit && fits(step) == 0 {
		step = (step/2 + unit - 1) / unit * unit
	}
	var t tiling
	for lo := 0; lo < whole; lo += step {
		t.spans = append(t.spans, span{lo, min(step, whole-lo), m.bits != 16 && !grouped})
	}
	if rest > 0 {
		t.spans = append(t.spans, span{whole, rest, true})
	}
	if t.panels = fits(max(step, rest)); t.panels == 0 {
		return t, fmt.Errorf("a panel of %d inputs exceeds a tile", step)
	}
	return t, nil
}

type tileKey struct {
	matrix *matrix
	panel  int
	span   int
}

// matmul emits C = X · panels [first, first+count) of m.
func (l *lowerer) matmul(m *matrix, t tiling, x, c operand, first, count int) {
	for p := first; p < first+count; {
		base := p / t.panels * t.panels
		inTile := min(t.panels, len(m.panels)-base)
		np := min(base+inTile, first+count) - p
		for i, s := range t.spans {
			tile, resident := l.tiles.find(tileKey{m, base, i})
			if !resident {
				l.emit(loadPanels(m, base, inTile, s, tile))
			}
			a := x.columns(s.lo, s.k)
			in := isa.Inst{
				Op: isa.MM, M: uint32(l.rows), LdA: uint32(a.stride), LdC: uint32(c.stride), Tile: tile,
				P0: uint32(p - base), NP: uint32(np), Acc: i > 0, OutBF16: c.dtype == ir.BF16,
			}
			l.emit(in, inA(a.place), inC(c.columns((p-first)*panelRows, 0).place))
		}
		p += np
	}
}

// linear streams a linear by chunks of columns through everything that can
// follow on columns.
func (l *lowerer) linear(n *ir.Node) {
	x := l.value(n.Args[0])
	if x.dtype != ir.BF16 {
		l.err = fmt.Errorf("operand is %s, not rounded to bf16", x.dtype)
		return
	}
	m := l.lay.matrices[n]
	t, err := m.tile(int(l.limit.Tile))
	if err != nil {
		l.err = err
		return
	}
	slices := 0
	for _, u := range l.users[n] {
		if u.Op == ir.Slice && u.Lo%panelRows == 0 {
			slices++
		}
	}
	if slices < len(l.users[n]) || slices == 0 {
		l.columns(n, n, m, t, x, 0)
		return
	}
	for _, u := range l.users[n] {
		l.streamed[u] = n
		l.columns(n, u, m, t, x, u.Lo)
	}
}

// columns computes the columns of root, which is linear n or a slice of it
// that starts at column first.
func (l *lowerer) columns(n, root *ir.Node, m *matrix, t tiling, x operand, first int) {
	l.tree(root)
	var bias *ir.Node
	if len(n.Args) == 2 {
		bias = n.Args[1]
	}
	exact := bias == nil && len(t.spans) == 1 // the matrix unit may round
	target := root
	if us := l.users[root]; exact && root.Type.DType == ir.F32 && len(us) == 1 && us[0].Op == ir.Cast && l.streamed[us[0]] == root {
		target = us[0]
	}
	if root.Type.DType == ir.F32 && target == root {
		exact = true
	}
	width := l.chunkWidth(root)
	for lo := 0; lo < root.Type.Cols && l.err == nil; lo += width {
		cols := min(width, root.Type.Cols-lo)
		d := l.dest(target, lo, cols)
		c := d
		if !exact {
			c = l.temporary(l.rows, cols, ir.F32)
		}
		l.matmul(m, t, x, c, (first+lo)/panelRows, (cols+panelRows-1)/panelRows)
		switch {
		case bias != nil:
			y := l.value(bias).columns(first+lo, cols)
			l.vector(vectorOp{op: isa.ADD, d: d, x: c, y: y, shape: isa.Row})
		case !exact:
			l.vector(vectorOp{op: isa.CVT, d: d, x: c})
		}
		l.flow(target, d, lo)
		l.endChunk()
	}
}

// chunkWidth returns the columns of a chunk: what the plan allows, in units
// that every node fed by it can work on.
func (l *lowerer) chunkWidth(root *ir.Node) int {
	const maxCols = 8192
	unit := l.unit(root)
	cols := min(maxCols, int(l.plan.chunk)/(4*l.rows))
	return max(unit, cols/unit*unit)
}

// unit returns the number of columns that n's streamed users need at a time.
func (l *lowerer) unit(n *ir.Node) int {
	unit := panelRows
	switch n.Op { //nolint:exhaustive // others take any panel
	case ir.Rope, ir.Norm:
		if n.Heads > 0 {
			unit = n.HeadDim
		}
	case ir.Append:
		unit = n.HeadDim
	case ir.TopK:
		unit = maxTopK
	case ir.GLU:
		unit = 2 * panelRows
	}
	for _, u := range l.users[n] {
		if l.streamed[u] == n {
			unit = lcm(unit, l.unit(u))
		}
	}
	return unit
}

func lcm(a, b int) int {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}
