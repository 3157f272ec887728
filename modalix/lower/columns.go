package lower

import (
	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/isa"
)

// gatherColumns puts the columns of a matrix's input in the order of its own.
func (l *lowerer) gatherColumns(n *ir.Node) {
	l.tree(n)
	x, index := l.value(n.Args[0]), l.value(n.Args[1])
	d := l.dest(n, 0, n.Type.Cols)
	l.vector(vectorOp{op: isa.GATH, d: d, x: x, y: index, shape: isa.Full, mode: isa.GatherCols, aux: uint32(n.Type.Cols)})
	l.flow(n, d, 0)
	l.endChunk()
}
