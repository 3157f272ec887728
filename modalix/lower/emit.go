package lower

import (
	"math"
	"math/bits"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/isa"
)

// Counts of the machine that programs are made for.
const (
	numTiles = isa.NumTiles
	maxTopK  = isa.MaxTopk
)

// typeOf returns the vector unit's name for an element type. Pairs are F32
// to it.
func typeOf(t ir.DType) isa.Type {
	switch t {
	case ir.BF16:
		return isa.BF16
	case ir.I32:
		return isa.I32
	case ir.F32, ir.Pairs:
	}
	return isa.F32
}

// load copies rows of size bytes from a segment into S, size rounded up to
// whole lines.
func load(seg isa.Segment, offset int64, rows int, size, sStride, dStride int64) isa.Inst {
	in := isa.Inst{
		Op: isa.LD, Seg: seg, Off: uint32(offset), Rows: uint32(rows), Len: uint32(align(size, sAlign)),
		SStr: uint32(sStride), DStr: uint32(dStride),
	}
	return dense(in)
}

// store is the reverse of load.
func store(seg isa.Segment, offset int64, rows int, size, sStride, dStride int64) isa.Inst {
	in := load(seg, offset, rows, size, sStride, dStride)
	in.Op = isa.ST
	return in
}

// dense gives a transfer of one row the strides that assembly leaves out.
func dense(in isa.Inst) isa.Inst {
	if in.Rows == 1 {
		in.SStr, in.DStr = in.Len, in.Len
	}
	return in
}

// loadGather loads the row that an index in S names.
func loadGather(seg isa.Segment, offset, size, pitch int64) isa.Inst {
	in := load(seg, offset, 1, size, pitch, pitch)
	in.Op, in.DStr = isa.LDG, uint32(pitch)
	return in
}

// scaleTypes are the instruction set's names of scales and offsets.
var scaleTypes = map[tensor.DType]isa.Scale{0: isa.ScaleNone, tensor.F16: isa.ScaleF16, tensor.BF16: isa.ScaleBF16, tensor.F32: isa.ScaleF32}

// loadPanels loads inputs s of panels [first, first+count) of a matrix.
func loadPanels(m *matrix, first, count int, s span, tile uint32) isa.Inst {
	in := isa.Inst{
		Op: isa.LDW, Seg: isa.Weights, NP: uint32(count), KB: uint32(s.k / kUnit), Tile: tile,
		Codes:  uint32(m.codes + int64(first)*int64(m.panelBytes(m.k)) + int64(m.panelBytes(s.lo))),
		CPitch: uint32(m.panelBytes(m.k)),
	}
	if m.bits == 16 {
		return in
	}
	code := isa.CodeINT8
	switch {
	case m.unsigned:
		code = isa.CodeUINT4
	case m.bits == 4:
		code = isa.CodeINT4
	}
	before := 0
	if m.group != 0 {
		before = s.lo / m.group
	}
	in.Fmt = isa.MakeFormat(code, scaleTypes[m.scale], scaleTypes[m.offset])
	at := int64(first)*int64(m.groups(m.k)) + int64(before)
	in.Scales = uint32(m.scales + at*int64(entry(m.scale)))
	if m.offset != 0 {
		in.Offs = uint32(m.offsets + at*int64(entry(m.offset)))
	}
	in.GPitch = uint32(m.groups(m.k))
	in.GLog = isa.GroupChannel
	if !s.channel {
		in.GLog = uint32(bits.TrailingZeros(uint(m.group)))
	}
	return in
}

// loadCache loads panels of K or V, k inputs each, from segment KV.
func loadCache(offset, pitch int64, count, k int, tile uint32) isa.Inst {
	return isa.Inst{
		Op: isa.LDW, Seg: isa.KV, NP: uint32(count), KB: uint32(k / kUnit), Tile: tile,
		Codes: uint32(offset), CPitch: uint32(pitch),
	}
}

// vectorOp is a vector instruction over operands.
type vectorOp struct {
	op      isa.Op
	d, x, y operand
	shape   isa.Shape // of y; there is none when y is empty
	rows    int       // 0: the block's
	mode    uint32
	aux     uint32
	imm     float32
	index   uint32 // imm of TOPK
}

// vector emits one vector instruction over the columns of d, for TOPK of x.
func (l *lowerer) vector(v vectorOp) {
	if v.rows == 0 {
		v.rows = l.rows
	}
	in := isa.Inst{
		Op: v.op, M: uint32(v.rows), N: uint32(v.d.cols), Mode: v.mode, Aux: v.aux,
		LdD: uint32(v.d.stride), LdX: uint32(v.x.stride), TD: typeOf(v.d.dtype), TX: typeOf(v.x.dtype),
		Imm: math.Float32bits(v.imm),
	}
	fixups := []fixup{inD(v.d.place), inX(v.x.place)}
	if v.op == isa.TOPK {
		in.N, in.Imm = uint32(v.x.cols), v.index
	}
	if v.shape == isa.Imm {
		in.YShape = isa.Imm
	}
	if v.y.buf != nil {
		in.TY, in.YShape = typeOf(v.y.dtype), v.shape
		if v.shape == isa.Full && v.op != isa.SOFTMAX && v.op != isa.GATH {
			in.LdY = uint32(v.y.stride)
		}
		fixups = append(fixups, inY(v.y.place))
	}
	l.emit(in, fixups...)
}

// rope emits a rotation of the first dims of all heads in x's columns.
func (l *lowerer) rope(d, x, table operand, headDim, rotary int) {
	in := isa.Inst{
		Op: isa.ROPE, M: uint32(l.rows), N: uint32(headDim), Aux: uint32(x.cols / headDim), Imm: uint32(rotary),
		LdD: uint32(d.stride), LdX: uint32(x.stride), LdY: uint32(table.stride),
		TD: typeOf(d.dtype), TX: typeOf(x.dtype), TY: typeOf(table.dtype), YShape: isa.Full, Mode: isa.RopeHalf,
	}
	l.emit(in, inD(d.place), inX(x.place), inY(table.place))
}

// typeSize returns the bytes of an element.
func typeSize(t isa.Type) int64 { return int64(t.Size()) }

// appendY appends the access of a vector instruction's second operand.
func appendY(list []access, in *isa.Inst) []access {
	spec, ok := isa.Lookup(in.Op)
	if !ok || spec.Shapes == 0 {
		return list
	}
	row := int64(in.N) * typeSize(in.TY)
	y := access{space: spaceS, lo: int64(in.Y)}
	switch in.YShape {
	case isa.Full:
		y.hi = y.lo + int64(in.M-1)*int64(in.LdY) + row
	case isa.Row:
		y.hi = y.lo + row
	case isa.Col:
		y.hi = y.lo + int64(in.M)*4
	case isa.Imm:
		return list
	}
	return append(list, y)
}
