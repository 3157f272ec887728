// Package isa is the instruction set of docs/isa.md: one table of opcodes and
// forms, the fixed 32-byte encoding, its textual form, and the machine's
// parameters. It knows neither object files nor how an instruction is lowered
// to or executed.
package isa

import "fmt"

// WordSize is the size of an encoded instruction in bytes.
const WordSize = 32

// Units of the encoding, in bytes.
const (
	LineSize  = 32 // unit L: S addresses, transfer lengths and strides
	PanelUnit = 64 // unit P: weight codes and pitches
)

// Version of the instruction set that this package encodes.
const (
	Major = 1
	Minor = 1
)

// Op is an opcode. Its top two bits select the queue.
type Op uint8

// The opcodes.
const (
	LD  Op = 0x01 // DRAM to S
	LDG Op = 0x02 // DRAM to S, rows by index
	LDW Op = 0x03 // DRAM to a weight tile
	LDP Op = 0x04 // image patches to S

	MM Op = 0x41 // matrix multiply by a weight tile

	ADD     Op = 0x81
	SUB     Op = 0x82
	MUL     Op = 0x83
	DIV     Op = 0x84
	MAX     Op = 0x85
	CVT     Op = 0x88 // conversion
	ACT     Op = 0x89 // elementwise function
	GLU     Op = 0x8a // gated function of alternating panels
	RED     Op = 0x90 // row reduction
	NORM    Op = 0x91 // RMS or layer normalisation
	SOFTMAX Op = 0x92
	MASK    Op = 0x93 // -Inf outside a span
	EXPS    Op = 0x94 // exp of a difference
	ROPE    Op = 0x95 // rotary embedding
	CONV    Op = 0x96 // depthwise causal convolution
	GATH    Op = 0x97 // rows by index
	TOPK    Op = 0x98

	ST  Op = 0xc1 // S to DRAM
	STS Op = 0xc2 // S to DRAM, rows by index
	STK Op = 0xc3 // append to KV
	PUT Op = 0xc4 // S to S of other quads
	BAR Op = 0xc5 // barrier of all quads
	END Op = 0xff
)

// Queue is a set of queues of a quad, one bit each.
type Queue uint8

// The queues.
const (
	QueueLD Queue = 1 << iota // DRAM to S or W
	QueueMX                   // matrix unit
	QueueVX                   // vector unit
	QueueST                   // S to DRAM or to other quads, BAR, END
)

// NumQueues is the number of queues of a quad.
const NumQueues = 4

var queueNames = [NumQueues]string{"ld", "mx", "vx", "st"}

// String returns the names in the set, "ld,st" for example.
func (q Queue) String() string {
	s := ""
	for i, n := range queueNames {
		if q>>i&1 != 0 {
			if s != "" {
				s += ","
			}
			s += n
		}
	}
	if q>>NumQueues != 0 {
		s = fmt.Sprintf("Queue(%#x)", uint8(q))
	}
	return s
}

// Index returns the queue that runs the opcode, 0 to 3.
func (o Op) Index() int { return int(o >> 6) }

// Queue returns the queue that runs the opcode.
func (o Op) Queue() Queue { return 1 << o.Index() }

// Segment is a part of DRAM that the loader binds.
type Segment uint32

// The segments.
const (
	Weights Segment = iota // read-only, the program's
	Const                  // read-only, the program's
	In                     // read-only, written by the host
	Out                    // write-only, read by the host
	Tmp                    // scratch
	KV                     // cache of the layer bound at launch
	Lora                   // adapter weights, written by the host between launches
	State                  // read-only, of the layer bound at launch
	Embed                  // read-only
)

// NumSegments is the number of segments.
const NumSegments = 9

var segmentNames = [NumSegments]string{"weights", "const", "in", "out", "tmp", "kv", "lora", "state", "embed"}

// String returns the name that assembly uses, "weights" for example.
func (s Segment) String() string {
	if s < NumSegments {
		return segmentNames[s]
	}
	return fmt.Sprintf("Segment(%d)", uint32(s))
}

// Readable reports whether a program may load from the segment.
func (s Segment) Readable() bool { return s < NumSegments && s != Out }

// Writable reports whether a program may store to the segment.
func (s Segment) Writable() bool { return s == Out || s == Tmp || s == KV }

// Type is the element type of a vector operand.
type Type uint32

// The element types. I32 and I8 are for CVT, indices and spans.
const (
	BF16 Type = iota
	F32
	I32
	I8
)

var (
	typeNames = [...]string{"bf16", "f32", "i32", "i8"}
	typeSizes = [...]uint32{2, 4, 4, 1}
)

// String returns the name that assembly uses, "bf16" for example.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("Type(%d)", uint32(t))
}

// Size returns the size of an element in bytes.
func (t Type) Size() uint32 {
	if int(t) < len(typeSizes) {
		return typeSizes[t]
	}
	return 0
}

// Shape is the shape of a vector operand Y.
type Shape uint32

// The shapes of Y.
const (
	Full Shape = iota // [M,N]; also tables, spans and indices
	Row               // [1,N]
	Col               // packed F32 [M]
	Imm               // the immediate
)

// Code is the format of the codes in a weight tile.
type Code uint32

// The code formats.
const (
	CodeBF16  Code = iota
	CodeINT8       // two's complement
	CodeINT4       // q = code - 8
	CodeUINT4      // q = code
)

var codeNames = [...]string{"bf16", "int8", "int4", "uint4"}

// String returns the name that assembly uses, "int4" for example.
func (c Code) String() string { return codeNames[c&3] }

// Bits returns the width of a code.
func (c Code) Bits() uint32 { return [...]uint32{16, 8, 4, 4}[c&3] }

// Scale is the type of a stream of scales or offsets.
type Scale uint32

// The scale types.
const (
	ScaleNone Scale = iota
	ScaleF16
	ScaleBF16
	ScaleF32
)

var scaleNames = [...]string{"none", "f16", "bf16", "f32"}

// String returns the name that assembly uses, "f16" for example.
func (s Scale) String() string { return scaleNames[s&3] }

// Size returns the size of a scale in bytes.
func (s Scale) Size() uint32 { return [...]uint32{0, 2, 2, 4}[s&3] }

// Format is the fmt field of LDW: codes, scales, offsets.
type Format uint32

// MakeFormat packs the three parts of a format.
func MakeFormat(code Code, scale, offset Scale) Format {
	return Format(code&3) | Format(scale&3)<<2 | Format(offset&3)<<4
}

// Code returns the format of the codes.
func (f Format) Code() Code { return Code(f & 3) }

// Scale returns the type of the scales.
func (f Format) Scale() Scale { return Scale(f >> 2 & 3) }

// Offset returns the type of the offsets.
func (f Format) Offset() Scale { return Scale(f >> 4 & 3) }

// GroupChannel is the GLog of one scale per output channel and tile.
const GroupChannel = 15

// Functions of ACT and GLU, values of Mode.
const (
	FnExp uint32 = iota
	FnRsqrt
	FnTanh
	FnSigmoid
	FnSilu
	FnGeluTanh
	FnGeluErf
	FnRecip
	FnSoftcap // imm·tanh(x/imm)
	FnRelu
)

// Modes of RED, NORM, ROPE, TOPK and STK, values of Mode.
const (
	RedSum   uint32 = 0
	RedSumSq uint32 = 1
	RedMax   uint32 = 2

	NormRMS   uint32 = 0
	NormLayer uint32 = 1

	RopeHalf uint32 = 0 // rotates (i, i+R/2)
	RopePair uint32 = 1 // rotates (2i, 2i+1)

	TopkFresh uint32 = 0
	TopkMerge uint32 = 1 // merges with the pairs in D

	StkK uint32 = 0
	StkV uint32 = 1
)

// Modes of GATH.
const (
	GatherRows uint32 = 0
	GatherCols uint32 = 1 // since 1.1
)

// Inst is one instruction: the union of all forms' fields, in bytes and
// elements, never in units of the encoding. A field that the opcode's form
// does not list is zero.
type Inst struct {
	Op        Op
	Pop, Push Queue

	// LD, LDG, ST, STS, PUT: Rows rows of Len bytes between S+i·SStr and
	// Off+i·DStr of Seg; PUT writes D+i·DStr of the quads in Quads.
	S, Off, Rows, Len, SStr, DStr uint32
	Seg                           Segment
	Quads                         uint32 // bit per quad
	Idx                           uint32 // S address of int32 [Rows], or [M] for STK

	// LDP, with Off, S, SStr, N, Seg and C.
	First, WP, RowB, P uint32

	// LDW: NP panels of K = 32·KB, with Seg.
	Codes, Scales, Offs uint32 // offsets in Seg
	CPitch              uint32 // bytes from panel to panel
	GPitch              uint32 // groups from panel to panel
	NP, KB, Tile        uint32
	Fmt                 Format
	GLog                uint32 // log2 of the group size, GroupChannel, or 0 for BF16

	// MM: C[M,16·NP] = A[M,K] × tile^T, panels P0 to P0+NP of Tile.
	A, C, LdA, LdC, P0 uint32
	Acc                bool // adds to C
	OutBF16            bool // C is BF16, else F32

	// STK: X [M, H·D] BF16 to Off, with Seg and Idx; D is the head dimension.
	H, HPitch, PPitch uint32

	// Vector: D[M,N] = op(X, Y). D, X and Y are S addresses.
	D, X, Y       uint32
	M, N          uint32
	LdD, LdX, LdY uint32 // row strides in bytes
	Aux           uint32
	Imm           uint32 // bits of an F32, or a plain number in MASK, ROPE and TOPK
	TD, TX, TY    Type
	YShape        Shape
	Mode          uint32

	K uint32 // BAR: ordinal of the barrier
}
