package isa

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Error is a word that may not run, or a field that cannot be encoded.
type Error struct {
	Quad   int   // quad of the word, -1 where unknown
	Offset int64 // byte offset in the quad's code
	Op     Op    // 0 where unknown
	Text   string
}

// Error returns "isa: q0+0x00a0: mm: TEXT", without the parts not known.
func (e *Error) Error() string {
	s := "isa: "
	if e.Quad >= 0 {
		s += fmt.Sprintf("q%d+0x%04x: ", e.Quad, e.Offset)
	}
	if e.Op != 0 {
		s += e.Op.String() + ": "
	}
	return s + e.Text
}

func wordError(op Op, format string, args ...any) error {
	return &Error{Quad: -1, Op: op, Text: fmt.Sprintf(format, args...)}
}

// Encode returns the 32-byte word. A field out of range or not a multiple of
// its unit, and a field that the opcode does not have, is an error naming it.
func (i Inst) Encode() ([WordSize]byte, error) {
	var w [WordSize]byte
	spec, ok := Lookup(i.Op)
	if !ok {
		return w, wordError(0, "unknown opcode 0x%02x", uint8(i.Op))
	}
	rest := i
	rest.Op, rest.Pop, rest.Push = 0, 0, 0
	for k := range spec.Form.Fields {
		f := &spec.Form.Fields[k]
		if err := f.put(&w, &rest, i.Op); err != nil {
			return w, err
		}
	}
	if rest != (Inst{}) {
		return w, wordError(i.Op, "a field that the opcode does not have is set: %s", firstField(&rest))
	}
	if err := check(&i, spec); err != nil {
		return w, err
	}
	w[0] = byte(i.Op)
	w[1] = byte(i.Pop&15) | byte(i.Push)<<4
	return w, nil
}

// put writes the field of i into the word and clears it in i.
func (f *Field) put(w *[WordSize]byte, i *Inst, op Op) error {
	var v uint64
	if f.kind == fieldFlag {
		p := f.flag(i)
		if *p {
			v = 1
		}
		*p = false
	} else {
		p := f.ref(i)
		v = uint64(*p)
		*p = 0
		if v%uint64(f.Unit) != 0 {
			return wordError(op, "%s: %d is not a multiple of %d", f.Name, v, f.Unit)
		}
		if f.kind == fieldScaled {
			v /= uint64(f.Unit)
		}
	}
	if limit := uint64(1)<<f.Bits - 1; v > limit {
		return wordError(op, "%s: %d exceeds %d", f.Name, v*uint64(f.Unit), limit*uint64(f.Unit))
	}
	at := f.Bit / 8
	switch f.Bits {
	case 32:
		binary.LittleEndian.PutUint32(w[at:], uint32(v))
	case 16:
		binary.LittleEndian.PutUint16(w[at:], uint16(v))
	default:
		w[at] |= byte(v << (f.Bit % 8))
	}
	return nil
}

// raw reads the field's bits.
func (f *Field) raw(w []byte) uint64 {
	at := f.Bit / 8
	switch f.Bits {
	case 32:
		return uint64(binary.LittleEndian.Uint32(w[at:]))
	case 16:
		return uint64(binary.LittleEndian.Uint16(w[at:]))
	}
	return uint64(w[at]) >> (f.Bit % 8) & (1<<f.Bits - 1)
}

// firstField names a non-zero field of an instruction.
func firstField(i *Inst) string {
	for s := range Table {
		for k := range Table[s].Form.Fields {
			f := &Table[s].Form.Fields[k]
			if f.kind == fieldFlag && *f.flag(i) || f.kind != fieldFlag && *f.ref(i) != 0 {
				return f.Name
			}
		}
	}
	return "unknown"
}

// Decode reads one word of 32 bytes. What it returns encodes to the same
// bytes. It checks everything that can be told from the word alone and the
// table: opcode, reserved bits, tokens, units, types, shapes and modes.
func Decode(w []byte) (Inst, error) {
	if len(w) != WordSize {
		return Inst{}, wordError(0, "word of %d bytes, want %d", len(w), WordSize)
	}
	op := Op(w[0])
	spec, ok := Lookup(op)
	if !ok {
		return Inst{}, wordError(0, "unknown opcode 0x%02x", w[0])
	}
	if err := checkReserved(w, op); err != nil {
		return Inst{}, err
	}
	i := Inst{Op: op, Pop: Queue(w[1] & 15), Push: Queue(w[1] >> 4)}
	for k := range spec.Form.Fields {
		f := &spec.Form.Fields[k]
		v := f.raw(w)
		switch f.kind {
		case fieldFlag:
			*f.flag(&i) = v != 0
			continue
		case fieldAddr:
			if v%LineSize != 0 {
				return Inst{}, wordError(op, "address 0x%x is not a multiple of %d", v, LineSize)
			}
		case fieldScaled:
			v *= uint64(f.Unit)
			if v > math.MaxUint32 {
				return Inst{}, wordError(op, "%s: 0x%x exceeds 4 GiB", f.Name, v)
			}
		}
		*f.ref(&i) = uint32(v)
	}
	return i, check(&i, spec)
}

// used holds, for each row of Table, a mask of the bits that its form covers.
var used = func() [][WordSize]byte {
	masks := make([][WordSize]byte, len(Table))
	for s := range Table {
		m := &masks[s]
		m[0] = 0xff
		if Table[s].Op != END {
			m[1] = 0xff
		}
		for _, f := range Table[s].Form.Fields {
			for b := f.Bit; b < f.Bit+f.Bits; b++ {
				m[b/8] |= 1 << (b % 8)
			}
		}
	}
	return masks
}()

// checkReserved demands that all bits outside the form's fields are zero.
func checkReserved(w []byte, op Op) error {
	mask := &used[byOp[op]-1]
	for at, b := range w {
		extra := b &^ mask[at]
		if extra == 0 {
			continue
		}
		if at == 2 || at == 3 {
			for bit := range 8 {
				if extra>>bit&1 != 0 {
					return wordError(op, "reserved flag %d", (at-2)*8+bit)
				}
			}
		}
		return wordError(op, "reserved byte %d is 0x%02x", at, b)
	}
	return nil
}

// check holds the rules of the table that Encode and Decode share.
func check(i *Inst, spec *Spec) error {
	if q := i.Op.Queue(); (i.Pop|i.Push)&q != 0 {
		return wordError(i.Op, "token to own queue")
	}
	if (i.Pop|i.Push)>>NumQueues != 0 {
		return wordError(i.Op, "token queues 0x%02x are unknown", uint8(i.Pop|i.Push))
	}
	if i.Op == END && i.Pop|i.Push != 0 {
		return wordError(i.Op, "reserved byte 1 is 0x%02x", byte(i.Pop)|byte(i.Push)<<4)
	}
	if spec.Modes != nil && int(i.Mode) >= len(spec.Modes) {
		return wordError(i.Op, "mode %d is unknown", i.Mode)
	}
	if spec.Form.has("Seg") && i.Seg >= NumSegments {
		return wordError(i.Op, "segment %d is unknown", uint32(i.Seg))
	}
	switch {
	case i.Op == LDW:
		return checkFormat(i)
	case i.Op == STK && i.Mode == StkK && i.PPitch != 0:
		return wordError(i.Op, "k takes no ppitch")
	case spec.Form == formUnary && i.Mode != FnSoftcap && i.Imm != 0:
		return wordError(i.Op, "immediate without softcap")
	}
	return checkTypes(i, spec)
}

// checkTypes applies the table's type and shape sets.
func checkTypes(i *Inst, spec *Spec) error {
	if spec.D != 0 && !spec.D.Has(i.TD) {
		return wordError(i.Op, "type %d not allowed for D", uint32(i.TD))
	}
	if spec.X != 0 && !spec.X.Has(i.TX) {
		return wordError(i.Op, "type %d not allowed for X", uint32(i.TX))
	}
	if spec.Y == 0 {
		return nil
	}
	if !spec.Shapes.Has(i.YShape) {
		return wordError(i.Op, "Y shape %d not allowed", uint32(i.YShape))
	}
	if i.YShape == Imm {
		if i.Y != 0 || i.LdY != 0 || i.TY != 0 {
			return wordError(i.Op, "an immediate takes no Y")
		}
		return nil
	}
	if !spec.Y.Has(i.TY) || i.YShape == Col && i.TY != F32 {
		return wordError(i.Op, "type %d not allowed for Y", uint32(i.TY))
	}
	if i.YShape != Full && i.LdY != 0 {
		return wordError(i.Op, "stride of a Y that is not full")
	}
	if spec.Shapes.Has(Imm) && i.Imm != 0 {
		return wordError(i.Op, "immediate beside a Y")
	}
	return nil
}

// checkFormat applies the rules of LDW's fmt and glog.
func checkFormat(i *Inst) error {
	f := i.Fmt
	switch {
	case f>>6 != 0:
		return wordError(LDW, "format 0x%02x is unknown", uint32(f))
	case f.Code() == CodeBF16:
		if f.Scale() != ScaleNone || f.Offset() != ScaleNone {
			return wordError(LDW, "bf16 takes no scale")
		}
		if i.GLog != 0 || i.GPitch != 0 || i.Scales != 0 || i.Offs != 0 {
			return wordError(LDW, "bf16 takes no group")
		}
		return nil
	case f.Scale() == ScaleNone:
		return wordError(LDW, "codes need a scale")
	case f.Offset() == ScaleNone && i.Offs != 0:
		return wordError(LDW, "offsets without a format")
	case i.GLog < 4 || i.GLog > 8 && i.GLog != GroupChannel:
		return wordError(LDW, "group log %d is unknown", i.GLog)
	}
	if k := i.KB * 32; i.GLog != GroupChannel && k%(1<<i.GLog) != 0 {
		return wordError(LDW, "group %d does not divide K = %d", 1<<i.GLog, k)
	}
	return nil
}
