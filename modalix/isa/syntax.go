package isa

import "strings"

// syntax is how assembly writes a field.
type syntax uint8

const (
	textNumber   syntax = iota // key=decimal
	textHex                    // key=hexadecimal
	textAddress                // s:hexadecimal, by position
	textKeyed                  // key=s:hexadecimal
	textOffset                 // segment+hexadecimal, with the form's Seg
	textOrdinal                // decimal, by position
	textTile                   // w and decimal, by position
	textQuads                  // key=list of quads
	textGroup                  // g=size or g=channel
	textBlocks                 // k=inputs, 32 each
	textFormat                 // int4.f16
	textImm                    // imm=number
	textWord                   // the field's key alone, a flag
	textAttached               // part of another field's text: types, shapes, modes, segments
)

// textOf returns how a form's field is written, and under which key.
func (f *Form) textOf(field *Field) (syntax, string) {
	key := strings.ToLower(field.Name)
	switch field.Name {
	case "TD", "TX", "TY", "YShape", "Mode", "OutBF16", "Seg":
		return textAttached, key
	case "Off", "Codes":
		return textOffset, key
	case "Scales", "Offs":
		return textHex, key
	case "Quads":
		return textQuads, key
	case "Tile":
		return textTile, key
	case "KB":
		return textBlocks, "k"
	case "GLog":
		return textGroup, "g"
	case "Fmt":
		return textFormat, key
	case "Imm":
		return textImm, key
	case "Acc":
		return textWord, key
	case "K":
		return textOrdinal, key
	case "Idx":
		return textKeyed, key
	}
	switch {
	case field.kind == fieldAddr && f == formAppend:
		return textKeyed, key
	case field.kind == fieldAddr:
		return textAddress, key
	}
	return textNumber, key
}

// typeOf returns the field with the type of an operand.
func typeOf(i *Inst, operand string) *Type {
	switch operand {
	case "D":
		return &i.TD
	case "X":
		return &i.TX
	case "Y":
		return &i.TY
	}
	return nil
}

// standard returns the value that assembly leaves out, false where a field
// has none. Fields it depends on come earlier in the form or are set.
func standard(i *Inst, spec *Spec, name string) (uint32, bool) {
	switch name {
	case "Off", "Seg", "Quads", "P0", "Scales", "Offs", "LdY", "Imm", "Fmt", "TD", "TX", "TY", "YShape", "Mode", "PPitch", "First", "Tile":
		return 0, true
	case "Rows", "M":
		return 1, true
	case "Aux":
		return 1, spec.Form == formSpan
	case "SStr", "DStr":
		return i.Len, spec.Op != LDP
	case "LdA":
		return 0, false
	case "LdC":
		size := uint32(4)
		if i.OutBF16 {
			size = 2
		}
		return i.NP * PanelRows * size, true
	case "LdD":
		return alignLine(uint64(columnsD(i)) * uint64(i.TD.Size()))
	case "LdX":
		if spec.Op == STK {
			return alignLine(uint64(i.H) * uint64(i.D) * 2)
		}
		return alignLine(uint64(columnsX(i)) * uint64(i.TX.Size()))
	case "KB":
		return i.KB, i.KB != 0
	case "GLog":
		return 0, i.Fmt.Code() == CodeBF16
	case "CPitch":
		return i.KB * 32 * PanelRows / 8 * i.Fmt.Code().Bits(), true
	case "GPitch":
		switch {
		case i.Fmt.Code() == CodeBF16:
			return 0, true
		case i.GLog == GroupChannel:
			return 1, true
		}
		return i.KB * 32 >> (i.GLog & 31), true
	}
	return 0, false
}

// alignLine rounds a row up to the unit of strides.
func alignLine(n uint64) (uint32, bool) {
	n = (n + LineSize - 1) / LineSize * LineSize
	return uint32(n), n < 1<<32
}

func columnsD(i *Inst) uint32 {
	switch i.Op { //nolint:exhaustive // the rest have N
	case ROPE:
		return i.N * i.Aux
	case TOPK:
		return 2 * i.Aux
	}
	return i.N
}

func columnsX(i *Inst) uint32 {
	switch i.Op { //nolint:exhaustive // the rest have N
	case GLU:
		return 2 * i.N
	case ROPE:
		return i.N * i.Aux
	}
	return i.N
}
