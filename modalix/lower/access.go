package lower

import "github.com/llima-build/llima/modalix/isa"

// space is what an access touches: S, a weight tile or a DRAM segment.
type space uint8

const (
	spaceS    space = iota
	spaceTile       // lo is the tile
	spaceDRAM       // + segment
)

// access is one operand of an instruction: bytes [lo,hi) of a space. A
// strided operand counts from its first to its last byte.
type access struct {
	space  space
	lo, hi int64
	write  bool
}

func (a access) conflicts(b access) bool {
	return (a.write || b.write) && a.space == b.space && a.lo < b.hi && b.lo < a.hi
}

const wholeSegment = int64(1) << 40

// accesses appends what an instruction reads and writes. inputs is the K of
// the tile that an MM reads.
func accesses(list []access, in *isa.Inst, inputs int64) []access {
	s := func(base uint32, rows, stride, length int64, write bool) {
		if rows > 0 && length > 0 {
			list = append(list, access{spaceS, int64(base), int64(base) + (rows-1)*stride + length, write})
		}
	}
	dram := func(lo, hi int64, write bool) {
		list = append(list, access{spaceDRAM + space(in.Seg), lo, hi, write})
	}
	tile := func(write bool) {
		list = append(list, access{spaceTile, int64(in.Tile), int64(in.Tile) + 1, write})
	}
	rows, length := int64(in.Rows), int64(in.Len)
	m, n := int64(in.M), int64(in.N)
	switch in.Op { //nolint:exhaustive // others are not emitted, or touch nothing
	case isa.LD, isa.ST:
		s(in.S, rows, int64(in.SStr), length, in.Op == isa.LD)
		dram(int64(in.Off), int64(in.Off)+(rows-1)*int64(in.DStr)+length, in.Op == isa.ST)
	case isa.LDG, isa.STS:
		s(in.S, rows, int64(in.SStr), length, in.Op == isa.LDG)
		s(in.Idx, 1, 0, rows*4, false)
		dram(0, wholeSegment, in.Op == isa.STS)
	case isa.LDW:
		tile(true)
		dram(0, wholeSegment, false)
	case isa.STK:
		s(in.X, m, int64(in.LdX), int64(in.H)*int64(in.D)*2, false)
		s(in.Idx, 1, 0, m*4, false)
		dram(0, wholeSegment, true)
	case isa.MM:
		size := int64(4)
		if in.OutBF16 {
			size = 2
		}
		s(in.A, m, int64(in.LdA), inputs*2, false)
		s(in.C, m, int64(in.LdC), int64(in.NP)*panelRows*size, true)
		tile(false)
	case isa.SOFTMAX:
		s(in.X, m, int64(in.LdX), n*typeSize(in.TX), false)
		s(in.Y, 1, 0, (m+int64(in.Aux)-1)/int64(in.Aux)*8, false)
		s(in.D, m, int64(in.LdD), n*typeSize(in.TD), true)
	case isa.ROPE:
		s(in.X, m, int64(in.LdX), int64(in.Aux)*n*typeSize(in.TX), false)
		s(in.Y, m, int64(in.LdY), int64(in.Imm)*typeSize(in.TY), false)
		s(in.D, m, int64(in.LdD), int64(in.Aux)*n*typeSize(in.TD), true)
	case isa.CONV:
		s(in.X, m+int64(in.Aux)-1, int64(in.LdX), n*typeSize(in.TX), false)
		s(in.Y, int64(in.Aux), int64(in.LdY), n*typeSize(in.TY), false)
		s(in.D, m, int64(in.LdD), n*typeSize(in.TD), true)
	case isa.GATH: // of columns
		s(in.X, m, int64(in.LdX), int64(in.Aux)*typeSize(in.TX), false)
		s(in.Y, 1, 0, n*4, false)
		s(in.D, m, int64(in.LdD), n*typeSize(in.TD), true)
	case isa.TOPK:
		s(in.X, m, int64(in.LdX), n*typeSize(in.TX), false)
		s(in.D, m, int64(in.LdD), int64(in.Aux)*8, true)
	case isa.GLU:
		s(in.X, m, int64(in.LdX), 2*n*typeSize(in.TX), false)
		s(in.D, m, int64(in.LdD), n*typeSize(in.TD), true)
	case isa.ADD, isa.MUL, isa.CVT, isa.ACT, isa.NORM:
		s(in.X, m, int64(in.LdX), n*typeSize(in.TX), false)
		s(in.D, m, int64(in.LdD), n*typeSize(in.TD), true)
		list = appendY(list, in)
	default: // END and BAR touch nothing; others are not emitted
	}
	return list
}
