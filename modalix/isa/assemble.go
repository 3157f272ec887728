package isa

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Assemble reads the assembly of one quad: an instruction a line, ";" begins
// a comment, and a line may begin with its number. A line
//
//	.matrix NAME weights+8000 k=256 int4.f16 g=32 scales=39000
//
// defines panels that "ldw w1 NAME[0:8]" may name. The inverse is
// [Disassemble].
func Assemble(src string) ([]Inst, error) {
	a := assembler{matrices: map[string]Inst{}}
	var out []Inst
	for n, line := range strings.Split(src, "\n") {
		line, _, _ = strings.Cut(line, ";")
		words := strings.Fields(line)
		if len(words) > 0 {
			if _, err := strconv.Atoi(words[0]); err == nil {
				words = words[1:]
			}
		}
		if len(words) == 0 {
			continue
		}
		var err error
		if words[0] == ".matrix" {
			err = a.define(words[1:])
		} else {
			var i Inst
			if i, err = a.line(words); err == nil {
				out = append(out, i)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("isa: line %d: %w", n+1, err)
		}
	}
	return out, nil
}

type assembler struct {
	matrices map[string]Inst // an LDW of the first panel
	inputs   [256]uint32     // K of each tile, for MM
}

// statement is one line under way.
type statement struct {
	inst   Inst
	spec   *Spec
	set    map[string]bool // fields given
	shape  Shape           // of the next Y
	shaped bool
	plain  Type // type of an operand without a suffix
}

func (a *assembler) line(words []string) (Inst, error) {
	name, mode, hasMode := strings.Cut(words[0], ".")
	at := slices.IndexFunc(Table, func(s Spec) bool { return s.Name == name })
	if at < 0 {
		return Inst{}, fmt.Errorf("mnemonic %q is unknown", name)
	}
	s := statement{spec: &Table[at], set: map[string]bool{}, plain: F32}
	s.inst.Op = s.spec.Op
	if s.spec.Modes != nil {
		m := slices.Index(s.spec.Modes, mode)
		if m < 0 {
			return Inst{}, fmt.Errorf("%s: mode %q is unknown, have %s", name, mode, strings.Join(s.spec.Modes, " "))
		}
		s.inst.Mode = uint32(m)
	} else if hasMode {
		return Inst{}, fmt.Errorf("%s: takes no mode", name)
	}
	for _, w := range words[1:] {
		if err := a.word(&s, w); err != nil {
			return Inst{}, fmt.Errorf("%s: %q: %w", name, w, err)
		}
	}
	if err := a.finish(&s); err != nil {
		return Inst{}, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := s.inst.Encode(); err != nil {
		return Inst{}, err
	}
	return s.inst, nil
}

// word reads one word of a line.
func (a *assembler) word(s *statement, w string) error {
	if key, value, ok := strings.Cut(w, "="); ok {
		return s.keyed(key, value)
	}
	switch w {
	case "row":
		s.shape, s.shaped = Row, true
		return nil
	case "col":
		s.shape, s.shaped = Col, true
		return nil
	case "full", "span", "idx":
		s.shape, s.shaped = Full, true
		return nil
	case "acc":
		if s.spec.Op == MM {
			s.inst.Acc = true
			return nil
		}
	}
	if t := slices.Index(typeNames[:2], w); t >= 0 && s.spec.D != 0 {
		s.plain = Type(t)
		return nil
	}
	if strings.HasPrefix(w, "s:") {
		return s.address(w[2:])
	}
	for k := range s.spec.Form.Fields {
		f := &s.spec.Form.Fields[k]
		kind, _ := s.spec.Form.textOf(f)
		done, err := a.positional(s, f, kind, w)
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("is not an operand")
}

// positional tries a word as a field that is written without a key.
func (a *assembler) positional(s *statement, f *Field, kind syntax, w string) (bool, error) {
	if f.kind == fieldFlag {
		return false, nil
	}
	switch kind { //nolint:exhaustive // the rest have keys, or are addresses
	case textOffset:
		seg, offset, ok := strings.Cut(w, "+")
		if at := slices.Index(segmentNames[:], seg); ok && at >= 0 {
			s.inst.Seg = Segment(at)
			return true, s.number(f, offset, 16)
		}
		if name, panels, ok := strings.Cut(w, "["); ok && s.spec.Op == LDW {
			return true, a.panels(s, name, panels)
		}
	case textOrdinal:
		return true, s.number(f, w, 10)
	case textTile:
		if len(w) > 1 && w[0] == 'w' && w[1] >= '0' && w[1] <= '9' {
			return true, s.number(f, w[1:], 10)
		}
	case textFormat:
		if v, ok := parseFormat(w); ok {
			*f.ref(&s.inst) = uint32(v)
			return true, s.once(f.Name)
		}
	default:
	}
	return false, nil
}

func parseFormat(w string) (Format, bool) {
	parts := strings.Split(w, ".")
	code := slices.Index(codeNames[:], parts[0])
	if code < 0 || len(parts) > 3 {
		return 0, false
	}
	var types [2]Scale
	for i, p := range parts[1:] {
		t := slices.Index(scaleNames[:], p)
		if t < 0 {
			return 0, false
		}
		types[i] = Scale(t)
	}
	return MakeFormat(Code(code), types[0], types[1]), true
}

// finish fills in what the line left out.
func (a *assembler) finish(s *statement) error {
	i := &s.inst
	if s.spec.Shapes.Has(Imm) && !s.set["Y"] {
		i.YShape = Imm
	}
	if i.Op == MM && !s.set["LdA"] && a.inputs[i.Tile&255] != 0 {
		i.LdA = a.inputs[i.Tile&255] * 2
		s.set["LdA"] = true
	}
	for k := range s.spec.Form.Fields {
		f := &s.spec.Form.Fields[k]
		kind, key := s.spec.Form.textOf(f)
		if kind == textAttached || f.kind == fieldFlag || s.set[f.Name] {
			continue
		}
		if kind == textAddress && f.Name == "Y" && i.YShape == Imm && s.spec.Shapes.Has(Imm) {
			continue
		}
		v, ok := standard(i, s.spec, f.Name)
		if !ok {
			return fmt.Errorf("%s is missing", key)
		}
		*f.ref(i) = v
	}
	if i.Op == LDW {
		a.inputs[i.Tile&255] = i.KB * 32
	}
	return nil
}

// define reads .matrix.
func (a *assembler) define(words []string) error {
	if len(words) < 2 {
		return fmt.Errorf(".matrix: want a name and a place")
	}
	inputs := a.inputs // the definition loads no tile
	load, err := a.line(append([]string{"ldw", "w0", "np=1"}, words[1:]...))
	a.inputs = inputs
	if err != nil {
		return err
	}
	a.matrices[words[0]] = load
	return nil
}

// panels reads the rest of NAME[from:to].
func (a *assembler) panels(s *statement, name, rest string) error {
	m, ok := a.matrices[name]
	if !ok {
		return fmt.Errorf("matrix %q is not defined", name)
	}
	bounds, closed := strings.CutSuffix(rest, "]")
	first, last, ok := strings.Cut(bounds, ":")
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if !closed || !ok || err1 != nil || err2 != nil || from >= to {
		return fmt.Errorf("want NAME[FROM:TO]")
	}
	i := m
	i.Tile, i.Pop, i.Push = s.inst.Tile, s.inst.Pop, s.inst.Push
	i.NP = uint32(to - from)
	i.Codes += uint32(from) * i.CPitch
	group := uint32(from) * i.GPitch * PanelRows
	i.Scales += group * i.Fmt.Scale().Size()
	i.Offs += group * i.Fmt.Offset().Size()
	if s.set["KB"] {
		i.KB = s.inst.KB
	}
	s.inst = i
	for _, f := range s.spec.Form.Fields {
		if f.Name != "Tile" && f.Name != "KB" {
			s.set[f.Name] = true
		}
	}
	return nil
}
