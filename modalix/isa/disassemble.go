package isa

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// String returns the instruction as a line of assembly. Operands that
// [Assemble] supplies by itself are left out.
func (i Inst) String() string {
	spec, ok := Lookup(i.Op)
	if !ok {
		return i.Op.String()
	}
	var b strings.Builder
	b.WriteString(spec.Name)
	if spec.Modes != nil {
		mode := strconv.Itoa(int(i.Mode))
		if int(i.Mode) < len(spec.Modes) {
			mode = spec.Modes[i.Mode]
		}
		if mode != "" {
			b.WriteString("." + mode)
		}
	}
	for k := range spec.Form.Fields {
		if s := fieldText(&i, spec, &spec.Form.Fields[k]); s != "" {
			b.WriteString(" " + s)
		}
	}
	if i.Pop != 0 {
		b.WriteString(" pop=" + i.Pop.String())
	}
	if i.Push != 0 {
		b.WriteString(" push=" + i.Push.String())
	}
	return b.String()
}

// fieldText returns how a field reads, "" where it is left out.
func fieldText(i *Inst, spec *Spec, f *Field) string {
	kind, key := spec.Form.textOf(f)
	if f.kind == fieldFlag {
		if kind == textWord && *f.flag(i) {
			return key
		}
		return ""
	}
	v := *f.ref(i)
	switch kind { //nolint:exhaustive // textWord is a flag
	case textAttached:
		return ""
	case textAddress:
		return addressText(i, spec, f.Name, v)
	case textKeyed:
		return fmt.Sprintf("%s=s:%x", key, v)
	case textOffset:
		return fmt.Sprintf("%v+%x", i.Seg, v)
	case textOrdinal:
		return strconv.FormatUint(uint64(v), 10)
	case textTile:
		return fmt.Sprintf("w%d", v)
	case textFormat:
		return formatText(Format(v))
	case textImm:
		return immText(i, spec, v)
	case textNumber, textHex, textQuads, textGroup, textBlocks:
	}
	if d, ok := standard(i, spec, f.Name); ok && d == v && f.Name != "KB" {
		return ""
	}
	switch kind { //nolint:exhaustive // the rest has returned
	case textHex:
		return fmt.Sprintf("%s=%x", key, v)
	case textQuads:
		return key + "=" + quadsText(v)
	case textGroup:
		if v == GroupChannel {
			return key + "=channel"
		}
		return fmt.Sprintf("%s=%d", key, uint64(1)<<v)
	case textBlocks:
		return fmt.Sprintf("%s=%d", key, v*32)
	default:
		return fmt.Sprintf("%s=%d", key, v)
	}
}

// addressText returns an S operand with its shape and type.
func addressText(i *Inst, spec *Spec, name string, v uint32) string {
	s := fmt.Sprintf("s:%x", v)
	if name == "C" && i.OutBF16 {
		return s + "." + BF16.String()
	}
	t := typeOf(i, name)
	if t == nil || spec.D == 0 {
		return s
	}
	if name != "Y" {
		if *t != F32 {
			s += "." + t.String()
		}
		return s
	}
	switch i.YShape {
	case Imm:
		return ""
	case Row:
		s = "row " + s
	case Col:
		s = "col " + s
	case Full:
		switch {
		case spec.Op == GATH:
			return "idx " + s
		case spec.Y == onlyI32:
			return "span " + s
		}
	}
	if *t != F32 {
		s += "." + t.String()
	}
	return s
}

func formatText(f Format) string {
	s := f.Code().String()
	if f.Scale() != ScaleNone || f.Offset() != ScaleNone {
		s += "." + f.Scale().String()
	}
	if f.Offset() != ScaleNone {
		s += "." + f.Offset().String()
	}
	return s
}

// immText writes an immediate; NaNs as bits, so that their payload stays.
func immText(i *Inst, spec *Spec, v uint32) string {
	if v == 0 && (i.YShape != Imm || spec.Y == 0) {
		return ""
	}
	f := math.Float32frombits(v)
	switch {
	case spec.ImmInt:
		return fmt.Sprintf("imm=%d", v)
	case f != f:
		return fmt.Sprintf("imm=0x%x", v)
	}
	return "imm=" + strconv.FormatFloat(float64(f), 'g', -1, 32)
}

func quadsText(v uint32) string {
	var list []string
	for q := range 32 {
		if v>>q&1 != 0 {
			list = append(list, strconv.Itoa(q))
		}
	}
	return strings.Join(list, ",")
}

// Disassemble returns a quad's code as assembly, one instruction a line.
func Disassemble(code []byte) (string, error) {
	if len(code)%WordSize != 0 {
		return "", wordError(0, "code size %d is not a multiple of %d", len(code), WordSize)
	}
	var b strings.Builder
	for at := 0; at < len(code); at += WordSize {
		i, err := Decode(code[at : at+WordSize])
		if err != nil {
			return "", fmt.Errorf("offset 0x%04x: %w", at, err)
		}
		b.WriteString(i.String())
		b.WriteByte('\n')
	}
	return b.String(), nil
}
