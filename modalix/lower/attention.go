package lower

import (
	"fmt"

	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/isa"
)

// heads is the work of one matrix product of attention: rows that share a KV
// head. With one token they are its query heads, else tokens of one query
// head.
type heads struct {
	kv      int // KV head
	rows    int
	perSpan int // rows that share a span
	q, out  operand
}

// attention emits softmax(scale·q·K^T)·V by KV heads.
func (l *lowerer) attention(n *ir.Node) {
	q, k, spans := n.Args[0], n.Args[1], l.value(n.Args[3])
	group, d := n.Heads/n.KVHeads, n.HeadDim
	const maxColumns = 1 << 16
	if window := int(align(int64(k.Type.Rows), kUnit)); window >= maxColumns {
		l.err = fmt.Errorf("a window of %d tokens exceeds %d", window, maxColumns-1)
		return
	}
	l.tree(n)
	for kv := range n.KVHeads {
		first := kv * group * d
		part := l.chunk(q, first, group*d)
		if l.rows == 1 {
			out := l.dest(n, first, group*d)
			h := heads{kv: kv, rows: group, perSpan: group, q: part, out: out}
			h.q.stride, h.out.stride = int64(d*part.dtype.Size()), int64(d*out.dtype.Size())
			h.q.cols, h.out.cols = d, d
			l.head(n, h, spans)
			l.flow(n, out, first)
			l.endChunk()
			continue
		}
		for i := range group {
			out := l.dest(n, first+i*d, d)
			l.head(n, heads{kv: kv, rows: l.rows, perSpan: 1, q: part.columns(i*d, d), out: out}, spans)
			l.flow(n, out, first+i*d)
			l.endChunk()
		}
	}
}

type cacheKey struct {
	values bool
	head   int
	token  int
}

// head emits one product: scores over the whole window, softmax, values.
func (l *lowerer) head(n *ir.Node, h heads, spans operand) {
	c := l.lay.cache
	window := int(align(int64(n.Args[1].Type.Rows), kUnit))
	d := n.HeadDim
	scores := l.temporary(h.rows, window, ir.F32)
	step := int(l.limit.Tile) / (d * 2) / kUnit * kUnit // tokens a tile
	if step == 0 {
		l.err = fmt.Errorf("a head of %d dims exceeds a tile of %d bytes", d, l.limit.Tile)
		return
	}
	mm := isa.Inst{Op: isa.MM, M: uint32(h.rows)}
	for t := 0; t < window; t += step {
		tokens := min(step, window-t)
		tile, resident := l.tiles.find(cacheKey{false, h.kv, t})
		if !resident {
			l.emit(loadCache(int64(h.kv)*c.headPitch()+int64(t)*int64(d)*2, 32*int64(d), tokens/panelRows, d, tile))
		}
		in := mm
		in.LdA, in.LdC, in.Tile, in.NP = uint32(h.q.stride), uint32(scores.stride), tile, uint32(tokens/panelRows)
		l.emit(in, inA(h.q.place), inC(scores.columns(t, tokens).place))
	}
	scale := n.Scale
	if n.Cap != 0 {
		l.vector(vectorOp{op: isa.MUL, d: scores, x: scores, shape: isa.Imm, rows: h.rows, imm: scale})
		l.vector(vectorOp{op: isa.ACT, d: scores, x: scores, rows: h.rows, mode: isa.FnSoftcap, imm: n.Cap})
		scale = 1
	}
	p := l.temporary(h.rows, window, ir.BF16)
	l.vector(vectorOp{
		op: isa.SOFTMAX, d: p, x: scores, y: spans, shape: isa.Full, rows: h.rows, imm: scale, aux: uint32(h.perSpan),
	})
	out := h.out
	if window > step && out.dtype == ir.BF16 {
		out = l.temporary(h.rows, d, ir.F32)
	}
	for t := 0; t < window; t += step {
		tokens := min(step, window-t)
		tile, resident := l.tiles.find(cacheKey{true, h.kv, t})
		if !resident {
			l.emit(loadCache(c.values()+int64(h.kv)*c.headPitch()+int64(t)*32, c.panelPitch(), d/panelRows, tokens, tile))
		}
		in := mm
		in.LdA, in.LdC, in.Tile, in.NP = uint32(p.stride), uint32(out.stride), tile, uint32(d/panelRows)
		in.Acc, in.OutBF16 = t > 0, out.dtype == ir.BF16
		l.emit(in, inA(p.columns(t, tokens).place), inC(out.place))
	}
	if out.place != h.out.place {
		l.vector(vectorOp{op: isa.CVT, d: h.out, x: out, rows: h.rows})
	}
}
