package isa

import "fmt"

// Field is one operand field of a form: where it stands in the word, in which
// unit, and which field of [Inst] holds it.
type Field struct {
	Name string
	Bit  uint32 // position in the 256-bit word, little-endian
	Bits uint32 // width
	Unit uint32 // bytes or elements per count; an S address has unit 32 but is stored unscaled
	kind fieldKind
	ref  func(*Inst) *uint32
	flag func(*Inst) *bool
}

type fieldKind uint8

const (
	fieldScaled fieldKind = iota // stored divided by Unit
	fieldAddr                    // S address: stored in bytes, multiple of Unit
	fieldFlag                    // one bit, a bool of Inst
)

// Form is the operand layout that several opcodes share.
type Form struct {
	Name   string
	Fields []Field
}

// has reports whether the form lists the field.
func (f *Form) has(name string) bool {
	for i := range f.Fields {
		if f.Fields[i].Name == name {
			return true
		}
	}
	return false
}

// TypeSet is a set of element types, one bit each.
type TypeSet uint8

// Has reports whether the set contains t.
func (s TypeSet) Has(t Type) bool { return t < 8 && s>>t&1 != 0 }

// ShapeSet is a set of Y shapes, one bit each.
type ShapeSet uint8

// Has reports whether the set contains y.
func (s ShapeSet) Has(y Shape) bool { return y < 8 && s>>y&1 != 0 }

const (
	floats   = TypeSet(1<<BF16 | 1<<F32)
	anyType  = TypeSet(1<<BF16 | 1<<F32 | 1<<I32 | 1<<I8)
	onlyF32  = TypeSet(1 << F32)
	onlyI32  = TypeSet(1 << I32)
	allShape = ShapeSet(1<<Full | 1<<Row | 1<<Col | 1<<Imm)
)

// Spec is one row of the instruction table.
type Spec struct {
	Op      Op
	Name    string // mnemonic
	Form    *Form
	D, X, Y TypeSet  // allowed element types; zero where there is no such operand
	Shapes  ShapeSet // allowed shapes of Y
	Modes   []string // names of the values of Mode, an empty one prints as nothing
	ImmInt  bool     // Imm is a plain number, not the bits of an F32
}

// Field constructors: position in bytes, width in bits.
func num(name string, at, bits, unit uint32, ref func(*Inst) *uint32) Field {
	return Field{Name: name, Bit: at * 8, Bits: bits, Unit: unit, ref: ref}
}

func addr(name string, at uint32, ref func(*Inst) *uint32) Field {
	return Field{Name: name, Bit: at * 8, Bits: 32, Unit: LineSize, kind: fieldAddr, ref: ref}
}

func bits(name string, bit, width uint32, ref func(*Inst) *uint32) Field {
	return Field{Name: name, Bit: 16 + bit, Bits: width, Unit: 1, ref: ref}
}

func flag(name string, bit uint32, ref func(*Inst) *bool) Field {
	return Field{Name: name, Bit: 16 + bit, Bits: 1, Unit: 1, kind: fieldFlag, flag: ref}
}

const (
	lines  = LineSize
	panels = PanelUnit
)

// Fields that several forms share.
var (
	fieldS     = addr("S", 4, func(i *Inst) *uint32 { return &i.S })
	fieldOff   = num("Off", 8, 32, lines, func(i *Inst) *uint32 { return &i.Off })
	fieldRows  = num("Rows", 12, 16, 1, func(i *Inst) *uint32 { return &i.Rows })
	fieldLen   = num("Len", 14, 16, lines, func(i *Inst) *uint32 { return &i.Len })
	fieldSStr  = num("SStr", 16, 16, lines, func(i *Inst) *uint32 { return &i.SStr })
	fieldDStr  = num("DStr", 20, 32, lines, func(i *Inst) *uint32 { return &i.DStr })
	fieldSeg   = num("Seg", 24, 8, 1, func(i *Inst) *uint32 { return (*uint32)(&i.Seg) })
	fieldQuads = num("Quads", 25, 8, 1, func(i *Inst) *uint32 { return &i.Quads })
	fieldIdx   = addr("Idx", 28, func(i *Inst) *uint32 { return &i.Idx })

	fieldD      = addr("D", 4, func(i *Inst) *uint32 { return &i.D })
	fieldX      = addr("X", 8, func(i *Inst) *uint32 { return &i.X })
	fieldY      = addr("Y", 12, func(i *Inst) *uint32 { return &i.Y })
	fieldM      = num("M", 16, 16, 1, func(i *Inst) *uint32 { return &i.M })
	fieldN      = num("N", 18, 16, 1, func(i *Inst) *uint32 { return &i.N })
	fieldLdD    = num("LdD", 20, 16, lines, func(i *Inst) *uint32 { return &i.LdD })
	fieldLdX    = num("LdX", 22, 16, lines, func(i *Inst) *uint32 { return &i.LdX })
	fieldLdY    = num("LdY", 24, 16, lines, func(i *Inst) *uint32 { return &i.LdY })
	fieldAux    = num("Aux", 26, 16, 1, func(i *Inst) *uint32 { return &i.Aux })
	fieldImm    = num("Imm", 28, 32, 1, func(i *Inst) *uint32 { return &i.Imm })
	fieldTD     = bits("TD", 0, 2, func(i *Inst) *uint32 { return (*uint32)(&i.TD) })
	fieldTX     = bits("TX", 2, 2, func(i *Inst) *uint32 { return (*uint32)(&i.TX) })
	fieldTY     = bits("TY", 4, 2, func(i *Inst) *uint32 { return (*uint32)(&i.TY) })
	fieldYShape = bits("YShape", 6, 2, func(i *Inst) *uint32 { return (*uint32)(&i.YShape) })
	fieldMode   = bits("Mode", 8, 8, func(i *Inst) *uint32 { return &i.Mode })
)

// The forms. A bit that no field of the opcode's form covers is reserved.
var (
	formLoad    = &Form{"load", []Field{fieldS, fieldOff, fieldRows, fieldLen, fieldSStr, fieldDStr, fieldSeg, fieldQuads}}
	formLoadIdx = &Form{"load by index", []Field{fieldS, fieldOff, fieldRows, fieldLen, fieldSStr, fieldDStr, fieldSeg, fieldQuads, fieldIdx}}
	formStore   = &Form{"store", []Field{fieldS, fieldOff, fieldRows, fieldLen, fieldSStr, fieldDStr, fieldSeg}}
	formScatter = &Form{"store by index", []Field{fieldS, fieldOff, fieldRows, fieldLen, fieldSStr, fieldDStr, fieldSeg, fieldIdx}}
	formPut     = &Form{"put", []Field{
		addr("D", 8, func(i *Inst) *uint32 { return &i.D }), fieldS,
		fieldRows, fieldLen, fieldSStr, fieldDStr, fieldQuads,
	}}
	formPatches = &Form{"patches", []Field{
		fieldS, fieldOff,
		num("N", 12, 16, 1, func(i *Inst) *uint32 { return &i.N }),
		num("First", 14, 16, 1, func(i *Inst) *uint32 { return &i.First }),
		fieldSStr,
		num("WP", 18, 16, 1, func(i *Inst) *uint32 { return &i.WP }),
		num("RowB", 20, 32, 1, func(i *Inst) *uint32 { return &i.RowB }),
		fieldSeg,
		num("P", 26, 8, 1, func(i *Inst) *uint32 { return &i.P }),
		num("C", 27, 8, 1, func(i *Inst) *uint32 { return &i.C }),
	}}
	formTile = &Form{"tile", []Field{
		num("Tile", 26, 8, 1, func(i *Inst) *uint32 { return &i.Tile }),
		num("Codes", 4, 32, panels, func(i *Inst) *uint32 { return &i.Codes }),
		num("Fmt", 27, 8, 1, func(i *Inst) *uint32 { return (*uint32)(&i.Fmt) }),
		num("NP", 22, 16, 1, func(i *Inst) *uint32 { return &i.NP }),
		num("KB", 24, 16, 1, func(i *Inst) *uint32 { return &i.KB }),
		num("GLog", 28, 8, 1, func(i *Inst) *uint32 { return &i.GLog }),
		num("Scales", 8, 32, lines, func(i *Inst) *uint32 { return &i.Scales }),
		num("Offs", 12, 32, lines, func(i *Inst) *uint32 { return &i.Offs }),
		num("CPitch", 16, 32, panels, func(i *Inst) *uint32 { return &i.CPitch }),
		num("GPitch", 20, 16, 1, func(i *Inst) *uint32 { return &i.GPitch }),
		num("Seg", 29, 8, 1, func(i *Inst) *uint32 { return (*uint32)(&i.Seg) }),
	}}
	formAppend = &Form{"append", []Field{
		addr("X", 4, func(i *Inst) *uint32 { return &i.X }),
		fieldOff,
		num("M", 12, 16, 1, func(i *Inst) *uint32 { return &i.M }),
		num("D", 14, 16, 1, func(i *Inst) *uint32 { return &i.D }),
		num("H", 18, 8, 1, func(i *Inst) *uint32 { return &i.H }),
		num("LdX", 16, 16, lines, func(i *Inst) *uint32 { return &i.LdX }),
		num("Mode", 19, 8, 1, func(i *Inst) *uint32 { return &i.Mode }),
		num("HPitch", 20, 32, lines, func(i *Inst) *uint32 { return &i.HPitch }),
		fieldSeg,
		num("PPitch", 26, 16, panels, func(i *Inst) *uint32 { return &i.PPitch }),
		fieldIdx,
	}}
	formMatrix = &Form{"matrix", []Field{
		addr("C", 8, func(i *Inst) *uint32 { return &i.C }),
		addr("A", 4, func(i *Inst) *uint32 { return &i.A }),
		num("Tile", 18, 8, 1, func(i *Inst) *uint32 { return &i.Tile }),
		num("M", 12, 16, 1, func(i *Inst) *uint32 { return &i.M }),
		num("P0", 20, 16, 1, func(i *Inst) *uint32 { return &i.P0 }),
		num("NP", 22, 16, 1, func(i *Inst) *uint32 { return &i.NP }),
		num("LdA", 14, 16, lines, func(i *Inst) *uint32 { return &i.LdA }),
		num("LdC", 16, 16, lines, func(i *Inst) *uint32 { return &i.LdC }),
		flag("Acc", 0, func(i *Inst) *bool { return &i.Acc }),
		flag("OutBF16", 1, func(i *Inst) *bool { return &i.OutBF16 }),
	}}
	formBinary   = &Form{"binary", []Field{fieldTD, fieldTX, fieldTY, fieldYShape, fieldD, fieldX, fieldY, fieldM, fieldN, fieldLdD, fieldLdX, fieldLdY, fieldImm}}
	formConvert  = &Form{"convert", []Field{fieldTD, fieldTX, fieldD, fieldX, fieldM, fieldN, fieldLdD, fieldLdX}}
	formUnary    = &Form{"unary", []Field{fieldTD, fieldTX, fieldMode, fieldD, fieldX, fieldM, fieldN, fieldLdD, fieldLdX, fieldImm}}
	formReduce   = &Form{"reduce", []Field{fieldTD, fieldTX, fieldMode, fieldD, fieldX, fieldM, fieldN, fieldLdX}}
	formNorm     = &Form{"norm", []Field{fieldTD, fieldTX, fieldTY, fieldYShape, fieldMode, fieldD, fieldX, fieldY, fieldM, fieldN, fieldLdD, fieldLdX, fieldImm}}
	formSpan     = &Form{"span", []Field{fieldTD, fieldTX, fieldTY, fieldYShape, fieldD, fieldX, fieldY, fieldM, fieldN, fieldLdD, fieldLdX, fieldAux, fieldImm}}
	formExps     = &Form{"exps", []Field{fieldTD, fieldTX, fieldTY, fieldYShape, fieldD, fieldX, fieldY, fieldM, fieldN, fieldLdD, fieldLdX, fieldLdY}}
	formRotate   = &Form{"rotate", []Field{fieldTD, fieldTX, fieldTY, fieldYShape, fieldMode, fieldD, fieldX, fieldY, fieldM, fieldN, fieldLdD, fieldLdX, fieldLdY, fieldAux, fieldImm}}
	formConv     = &Form{"convolve", []Field{fieldTD, fieldTX, fieldTY, fieldYShape, fieldD, fieldX, fieldY, fieldM, fieldN, fieldLdD, fieldLdX, fieldLdY, fieldAux}}
	formGather   = &Form{"gather", []Field{fieldTD, fieldTX, fieldTY, fieldYShape, fieldMode, fieldD, fieldX, fieldY, fieldM, fieldN, fieldLdD, fieldLdX, fieldAux}}
	formTopk     = &Form{"topk", []Field{fieldTD, fieldTX, fieldMode, fieldD, fieldX, fieldM, fieldN, fieldLdD, fieldLdX, fieldAux, fieldImm}}
	formBarrier  = &Form{"barrier", []Field{num("K", 4, 32, 1, func(i *Inst) *uint32 { return &i.K })}}
	formNoFields = &Form{"none", nil}
)

var functionNames = []string{"exp", "rsqrt", "tanh", "sigmoid", "silu", "gelu_tanh", "gelu_erf", "recip", "softcap", "relu"}

// Table lists every instruction, in the order of the opcodes.
var Table = []Spec{
	{Op: LD, Name: "ld", Form: formLoad},
	{Op: LDG, Name: "ldg", Form: formLoadIdx},
	{Op: LDW, Name: "ldw", Form: formTile},
	{Op: LDP, Name: "ldp", Form: formPatches},
	{Op: MM, Name: "mm", Form: formMatrix},
	{Op: ADD, Name: "add", Form: formBinary, D: floats, X: floats, Y: floats, Shapes: allShape},
	{Op: SUB, Name: "sub", Form: formBinary, D: floats, X: floats, Y: floats, Shapes: allShape},
	{Op: MUL, Name: "mul", Form: formBinary, D: floats, X: floats, Y: floats, Shapes: allShape},
	{Op: DIV, Name: "div", Form: formBinary, D: floats, X: floats, Y: floats, Shapes: allShape},
	{Op: MAX, Name: "max", Form: formBinary, D: floats, X: floats, Y: floats, Shapes: allShape},
	{Op: CVT, Name: "cvt", Form: formConvert, D: anyType, X: anyType},
	{Op: ACT, Name: "act", Form: formUnary, D: floats, X: floats, Modes: functionNames},
	{Op: GLU, Name: "glu", Form: formUnary, D: floats, X: floats, Modes: functionNames},
	{Op: RED, Name: "red", Form: formReduce, D: onlyF32, X: floats, Modes: []string{"sum", "sumsq", "max"}},
	{Op: NORM, Name: "norm", Form: formNorm, D: floats, X: floats, Y: floats, Shapes: 1 << Row, Modes: []string{"rms", "layer"}},
	{Op: SOFTMAX, Name: "softmax", Form: formSpan, D: floats, X: floats, Y: onlyI32, Shapes: 1 << Full},
	{Op: MASK, Name: "mask", Form: formSpan, D: floats, X: floats, Y: onlyI32, Shapes: 1 << Full, ImmInt: true},
	{Op: EXPS, Name: "exps", Form: formExps, D: floats, X: floats, Y: floats, Shapes: 1<<Full | 1<<Col},
	{Op: ROPE, Name: "rope", Form: formRotate, D: floats, X: floats, Y: floats, Shapes: 1 << Full, Modes: []string{"half", "pair"}, ImmInt: true},
	{Op: CONV, Name: "conv", Form: formConv, D: floats, X: floats, Y: floats, Shapes: 1 << Full},
	{Op: GATH, Name: "gath", Form: formGather, D: floats, X: floats, Y: onlyI32, Shapes: 1 << Full, Modes: []string{"", "cols"}},
	{Op: TOPK, Name: "topk", Form: formTopk, D: onlyF32, X: floats, Modes: []string{"", "merge"}, ImmInt: true},
	{Op: ST, Name: "st", Form: formStore},
	{Op: STS, Name: "sts", Form: formScatter},
	{Op: STK, Name: "stk", Form: formAppend, Modes: []string{"k", "v"}},
	{Op: PUT, Name: "put", Form: formPut},
	{Op: BAR, Name: "bar", Form: formBarrier},
	{Op: END, Name: "end", Form: formNoFields},
}

// byOp maps an opcode to its row of Table plus one, 0 where there is none.
var byOp = func() (t [256]uint8) {
	for i := range Table {
		t[Table[i].Op] = uint8(i + 1)
	}
	return t
}()

// Lookup returns the row of the table for an opcode.
func Lookup(op Op) (*Spec, bool) {
	if i := byOp[op]; i != 0 {
		return &Table[i-1], true
	}
	return nil, false
}

// String returns the mnemonic.
func (o Op) String() string {
	if s, ok := Lookup(o); ok {
		return s.Name
	}
	return fmt.Sprintf("Op(%#02x)", uint8(o))
}
