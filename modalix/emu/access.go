package emu

import "github.com/llima-build/llima/modalix/isa"

// space is what an access touches: S of a quad, a weight tile, or a segment.
type space uint8

const (
	spaceS    space = 0
	spaceTile       = spaceS + isa.MaxQuads
	spaceDRAM       = spaceTile + isa.MaxQuads*isa.NumTiles
	numSpaces       = spaceDRAM + isa.NumSegments
)

// access is one operand of an instruction: rows of length bytes, stride
// apart. A tile is one byte.
type access struct {
	name   string // of the operand, for errors
	space  space
	write  bool
	base   int64
	rows   int64
	length int64
	stride int64
}

// end returns the offset behind the last byte.
func (a *access) end() int64 { return a.base + (a.rows-1)*a.stride + a.length }

// flat returns the access as one row where its rows touch.
func (a access) flat() access {
	if a.rows > 1 && a.stride <= a.length {
		a.length, a.rows = (a.rows-1)*a.stride+a.length, 1
	}
	return a
}

// overlaps reports whether two accesses share a byte. Rows are compared one
// by one, so interleaved columns do not overlap.
func overlaps(a, b *access) bool {
	if a.space != b.space || a.base >= b.end() || b.base >= a.end() {
		return false
	}
	x, y := a.flat(), b.flat()
	if x.rows > y.rows {
		x, y = y, x
	}
	for i := range x.rows {
		lo := x.base + i*x.stride
		hi := lo + x.length
		// The first row of y that ends behind lo.
		row := int64(0)
		if behind := lo - y.base - y.length; behind >= 0 && y.rows > 1 {
			row = behind/y.stride + 1
		}
		if at := y.base + row*y.stride; row < y.rows && at < hi && lo < at+y.length {
			return true
		}
	}
	return false
}

// covers reports whether a certainly contains every byte of b.
func covers(a, b *access) bool {
	if a.space != b.space {
		return false
	}
	if a.base == b.base && a.rows >= b.rows && a.length >= b.length && (a.stride == b.stride || b.rows == 1) {
		return true
	}
	f := a.flat()
	return f.rows == 1 && f.base <= b.base && b.end() <= f.end()
}

// same reports whether two accesses are the same bytes in the same order.
func same(a, b *access) bool {
	return a.space == b.space && a.base == b.base && a.rows == b.rows && a.length == b.length &&
		(a.stride == b.stride || a.rows == 1)
}

// footprint collects the accesses of one instruction.
type footprint struct {
	quad int
	list []access
}

func (f *footprint) s(name string, base uint32, rows, stride, length int64, write bool) {
	f.sOf(f.quad, name, base, rows, stride, length, write)
}

func (f *footprint) sOf(quad int, name string, base uint32, rows, stride, length int64, write bool) {
	f.list = append(f.list, access{name, spaceS + space(quad), write, int64(base), rows, length, stride})
}

func (f *footprint) dram(seg isa.Segment, base, rows, stride, length int64, write bool) {
	if rows > 1 && stride == 0 { // the same row again
		rows, stride = 1, length
	}
	f.list = append(f.list, access{seg.String(), spaceDRAM + space(seg), write, base, rows, length, stride})
}

func (f *footprint) tile(tile uint32, write bool) {
	at := spaceTile + space(f.quad*isa.NumTiles) + space(tile)
	f.list = append(f.list, access{"W", at, write, 0, 1, 1, 1})
}

// of collects what an instruction touches. inputs is the K of the tile that
// an MM reads, size the bytes of the segment that a transfer by index uses.
func (f *footprint) of(in *isa.Inst, inputs, size int64) {
	f.list = f.list[:0]
	switch in.Op { //nolint:exhaustive // the rest are vector instructions
	case isa.LD, isa.LDG, isa.LDP, isa.ST, isa.STS, isa.PUT:
		f.transfer(in, size)
	case isa.LDW:
		f.tileLoad(in)
	case isa.STK:
		f.s("X", in.X, int64(in.M), int64(in.LdX), int64(in.H)*int64(in.D)*2, false)
		f.s("idx", in.Idx, 1, 0, int64(in.M)*4, false)
		f.dram(in.Seg, int64(in.Off), int64(in.H), int64(in.HPitch), headBytes(in), true)
	case isa.MM:
		row := int64(in.NP) * isa.PanelRows * 4
		if in.OutBF16 {
			row /= 2
		}
		f.s("A", in.A, int64(in.M), int64(in.LdA), inputs*2, false)
		f.s("C", in.C, int64(in.M), int64(in.LdC), row, true)
		f.tile(in.Tile, false)
	case isa.BAR, isa.END:
	default:
		f.vector(in)
	}
}

// headBytes returns the bytes that one head of an STK may touch.
func headBytes(in *isa.Inst) int64 {
	if in.Mode == isa.StkV {
		return int64(in.D) / 16 * int64(in.PPitch)
	}
	return int64(in.HPitch)
}

func (f *footprint) transfer(in *isa.Inst, size int64) {
	rows, length := int64(in.Rows), int64(in.Len)
	load := in.Op == isa.LD || in.Op == isa.LDG || in.Op == isa.LDP
	switch in.Op { //nolint:exhaustive // called for transfers
	case isa.LDP:
		rows, length = int64(in.N), int64(in.SStr)
		last := (int64(in.First) + int64(in.N) - 1) / max(1, int64(in.WP))
		end := (last*int64(in.P)+int64(in.P)-1)*int64(in.RowB) + int64(in.WP)*int64(in.P)*int64(in.C)*2
		f.dram(in.Seg, int64(in.Off), 1, 0, end, false)
	case isa.LD, isa.ST:
		f.dram(in.Seg, int64(in.Off), rows, int64(in.DStr), length, !load)
	case isa.LDG, isa.STS:
		f.s("idx", in.Idx, 1, 0, rows*4, false)
		f.dram(in.Seg, int64(in.Off), 1, 0, max(length, size-int64(in.Off)), !load)
	default: // PUT
	}
	f.s("S", in.S, rows, int64(in.SStr), length, load)
	for q := range isa.MaxQuads {
		switch {
		case in.Quads>>q&1 == 0:
		case in.Op == isa.PUT:
			f.sOf(q, "D", in.D, rows, int64(in.DStr), length, true)
		default:
			f.sOf(q, "S", in.S, rows, int64(in.SStr), length, true)
		}
	}
}

// tileSizes returns the bytes of one panel's codes, of its scales and of its
// offsets.
func tileSizes(in *isa.Inst) (codes, scales, offsets int64) {
	k := int64(in.KB) * 32
	codes = k * isa.PanelRows * int64(in.Fmt.Code().Bits()) / 8
	if in.Fmt.Code() == isa.CodeBF16 {
		return codes, 0, 0
	}
	groups := int64(1)
	if in.GLog != isa.GroupChannel {
		groups = k >> in.GLog
	}
	entry := groups * isa.PanelRows
	return codes, entry * int64(in.Fmt.Scale().Size()), entry * int64(in.Fmt.Offset().Size())
}

func (f *footprint) tileLoad(in *isa.Inst) {
	codes, scales, offsets := tileSizes(in)
	np, group := int64(in.NP), int64(in.GPitch)*isa.PanelRows
	f.dram(in.Seg, int64(in.Codes), np, int64(in.CPitch), codes, false)
	if scales > 0 {
		f.dram(in.Seg, int64(in.Scales), np, group*int64(in.Fmt.Scale().Size()), scales, false)
	}
	if offsets > 0 {
		f.dram(in.Seg, int64(in.Offs), np, group*int64(in.Fmt.Offset().Size()), offsets, false)
	}
	f.tile(in.Tile, true)
}

// strideY returns the row stride of a full Y.
func strideY(in *isa.Inst, row int64) int64 {
	if in.LdY == 0 {
		return row
	}
	return int64(in.LdY)
}

func (f *footprint) vector(in *isa.Inst) {
	m, n := int64(in.M), int64(in.N)
	xRows, xCols, dCols := m, n, n
	switch in.Op { //nolint:exhaustive // the rest have X and D of [M,N]
	case isa.GLU:
		xCols = 2 * n
	case isa.ROPE:
		xCols, dCols = n*int64(in.Aux), n*int64(in.Aux)
	case isa.CONV:
		xRows = m + int64(in.Aux) - 1
	case isa.GATH:
		if in.Mode == isa.GatherCols {
			xCols = int64(in.Aux)
		} else {
			xRows = int64(in.Aux)
		}
	case isa.TOPK:
		dCols = 2 * int64(in.Aux)
	default:
	}
	f.s("X", in.X, xRows, int64(in.LdX), xCols*int64(in.TX.Size()), false)
	f.operandY(in, m, n)
	if in.Op == isa.RED {
		f.s("D", in.D, 1, 0, m*4, true)
		return
	}
	if in.Op == isa.TOPK && in.Mode == isa.TopkMerge {
		f.s("D", in.D, m, int64(in.LdD), dCols*4, false)
	}
	f.s("D", in.D, m, int64(in.LdD), dCols*int64(in.TD.Size()), true)
}

func (f *footprint) operandY(in *isa.Inst, m, n int64) {
	size := int64(in.TY.Size())
	full := func(rows, cols int64) { f.s("Y", in.Y, rows, strideY(in, cols*size), cols*size, false) }
	switch in.Op { //nolint:exhaustive // the rest have no Y
	case isa.SOFTMAX, isa.MASK:
		aux := max(1, int64(in.Aux))
		f.s("Y", in.Y, 1, 0, (m+aux-1)/aux*8, false)
	case isa.GATH:
		if in.Mode == isa.GatherCols {
			m = n
		}
		f.s("Y", in.Y, 1, 0, m*4, false)
	case isa.ROPE:
		full(m, int64(in.Imm))
	case isa.CONV:
		full(int64(in.Aux), n)
	case isa.NORM:
		if in.Mode == isa.NormLayer {
			n *= 2
		}
		f.s("Y", in.Y, 1, 0, n*size, false)
	case isa.ADD, isa.SUB, isa.MUL, isa.DIV, isa.MAX, isa.EXPS:
		switch in.YShape {
		case isa.Full:
			full(m, n)
		case isa.Row:
			f.s("Y", in.Y, 1, 0, n*size, false)
		case isa.Col:
			f.s("Y", in.Y, 1, 0, m*4, false)
		case isa.Imm:
		}
	default:
	}
}
