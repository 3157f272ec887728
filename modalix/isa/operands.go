package isa

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// once marks a field as given.
func (s *statement) once(name string) error {
	if s.set[name] {
		return fmt.Errorf("%s is given twice", strings.ToLower(name))
	}
	s.set[name] = true
	return nil
}

func (s *statement) number(f *Field, text string, base int) error {
	v, err := strconv.ParseUint(text, base, 32)
	if err != nil {
		return fmt.Errorf("%q is not a number of 32 bits", text)
	}
	*f.ref(&s.inst) = uint32(v)
	return s.once(f.Name)
}

// address gives a positional S operand to the next field that takes one.
func (s *statement) address(text string) error {
	text, suffix, typed := strings.Cut(text, ".")
	for k := range s.spec.Form.Fields {
		f := &s.spec.Form.Fields[k]
		if kind, _ := s.spec.Form.textOf(f); kind != textAddress || s.set[f.Name] {
			continue
		}
		if err := s.number(f, text, 16); err != nil {
			return err
		}
		return s.typed(f.Name, suffix, typed)
	}
	return fmt.Errorf("one address too many")
}

// typed sets the type, and for Y the shape, of an operand.
func (s *statement) typed(name, suffix string, given bool) error {
	t := s.plain
	if given {
		at := slices.Index(typeNames[:], suffix)
		if at < 0 {
			return fmt.Errorf("type %q is unknown", suffix)
		}
		t = Type(at)
	}
	if name == "C" && s.spec.Op == MM {
		s.inst.OutBF16 = given && t == BF16
		if given && t != BF16 && t != F32 {
			return fmt.Errorf("result is f32 or bf16")
		}
		return nil
	}
	if s.spec.D == 0 {
		if given {
			return fmt.Errorf("takes no type")
		}
		return nil
	}
	if name == "Y" {
		s.inst.YShape = s.shape
		if !s.shaped && s.spec.Shapes == 1<<Row {
			s.inst.YShape = Row
		}
		if !given && s.spec.Y == onlyI32 {
			t = I32
		}
	}
	*typeOf(&s.inst, name) = t
	return nil
}

// keyed reads key=value.
func (s *statement) keyed(key, value string) error {
	switch key {
	case "pop", "push":
		q, err := parseQueues(value)
		if key == "pop" {
			s.inst.Pop = q
		} else {
			s.inst.Push = q
		}
		return err
	}
	for k := range s.spec.Form.Fields {
		f := &s.spec.Form.Fields[k]
		if kind, name := s.spec.Form.textOf(f); name == key {
			return s.value(f, kind, value)
		}
	}
	return fmt.Errorf("is not an operand")
}

func (s *statement) value(f *Field, kind syntax, value string) error {
	switch kind {
	case textNumber:
		return s.number(f, value, 10)
	case textHex:
		return s.number(f, value, 16)
	case textKeyed:
		address, ok := strings.CutPrefix(value, "s:")
		if !ok {
			return fmt.Errorf("want s:ADDRESS")
		}
		return s.number(f, address, 16)
	case textQuads:
		return s.quads(f, value)
	case textBlocks:
		if err := s.number(f, value, 10); err != nil {
			return err
		}
		if s.inst.KB%32 != 0 {
			return fmt.Errorf("not a multiple of 32")
		}
		s.inst.KB /= 32
		return nil
	case textGroup:
		return s.group(value)
	case textImm:
		return s.imm(value)
	case textAddress, textOffset, textOrdinal, textTile, textFormat, textWord, textAttached:
	}
	return fmt.Errorf("is not written with a key")
}

func (s *statement) group(value string) error {
	if value == "channel" {
		s.inst.GLog = GroupChannel
		return s.once("GLog")
	}
	for log := uint32(4); log <= 8; log++ {
		if value == strconv.Itoa(1<<log) {
			s.inst.GLog = log
			return s.once("GLog")
		}
	}
	return fmt.Errorf("want 16, 32, 64, 128, 256 or channel")
}

func (s *statement) quads(f *Field, value string) error {
	for q := range strings.SplitSeq(value, ",") {
		n, err := strconv.ParseUint(q, 10, 8)
		if err != nil || n >= 8 {
			return fmt.Errorf("%q is not a quad", q)
		}
		*f.ref(&s.inst) |= 1 << n
	}
	return s.once(f.Name)
}

func (s *statement) imm(value string) error {
	bits, isBits := strings.CutPrefix(value, "0x")
	switch {
	case isBits:
		v, err := strconv.ParseUint(bits, 16, 32)
		if err != nil {
			return fmt.Errorf("want 32 bits")
		}
		s.inst.Imm = uint32(v)
	case s.spec.ImmInt:
		v, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return fmt.Errorf("want a number of 32 bits")
		}
		s.inst.Imm = uint32(v)
	default:
		v, err := strconv.ParseFloat(value, 32)
		if err != nil {
			return fmt.Errorf("want a binary32 number")
		}
		s.inst.Imm = math.Float32bits(float32(v))
	}
	return s.once("Imm")
}

func parseQueues(value string) (Queue, error) {
	var q Queue
	for n := range strings.SplitSeq(value, ",") {
		at := slices.Index(queueNames[:], n)
		if at < 0 {
			return 0, fmt.Errorf("queue %q is unknown", n)
		}
		q |= 1 << at
	}
	return q, nil
}
