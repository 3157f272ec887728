package emu_test

import (
	"math/rand/v2"
	"testing"

	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/isa"
)

// pick returns one of the values.
func pick(r *rand.Rand, values ...uint32) uint32 { return values[r.IntN(len(values))] }

// randomField returns a small operand, in the unit of the encoding. Ranges
// often end near the end of S or of a segment.
func randomField(r *rand.Rand, op isa.Op, f *isa.Field) uint32 {
	line := pick(r, 0, 1, 2, 3, 4, 8, 16, 32)
	switch f.Name {
	case "S", "D", "X", "Y", "A", "C", "Idx":
		if f.Bits == 32 {
			return pick(r, line*32, 0x1000+line*32, 0x4000+line*32, isa.SBytes-32-line*32)
		}
		return pick(r, 1, 2, 3, 32, 64)
	case "Seg":
		if op == isa.STK {
			return uint32(isa.KV)
		}
		if op == isa.LDW {
			return pick(r, uint32(isa.Weights), uint32(isa.KV))
		}
		return uint32(r.IntN(isa.NumSegments + 1))
	case "Off":
		return pick(r, line, 32-min(line, 32), 1024)
	case "Codes", "Scales", "Offs":
		return uint32(r.IntN(512))
	case "Fmt":
		return pick(r, 0, 5, 6, 7, 0x16, 0x3f, 1, 0x40)
	case "GLog":
		return pick(r, 0, 4, 5, 15)
	case "HPitch", "CPitch", "PPitch":
		return pick(r, 0, 16, 64, 128, 256)
	case "Tile", "Mode", "YShape", "TD", "TX", "TY", "P0", "Quads", "KB", "P", "Acc", "OutBF16":
		return min(uint32(r.IntN(4)), 1<<f.Bits-1)
	case "SStr", "DStr", "LdA", "LdC", "LdD", "LdX", "LdY", "Len", "RowB":
		return line
	case "Imm":
		return pick(r, 0, 0, 2, 16, 0x3f800000)
	}
	return pick(r, 0, 1, 1, 2, 3, 16, 17, 32, 64)
}

func randomInst(r *rand.Rand, spec *isa.Spec) []byte {
	w := make([]byte, isa.WordSize)
	w[0] = byte(spec.Op)
	for k := range spec.Form.Fields {
		f := &spec.Form.Fields[k]
		v := randomField(r, spec.Op, f)
		for b := range f.Bits {
			w[(f.Bit+b)/8] |= byte(v>>b&1) << ((f.Bit + b) % 8)
		}
	}
	return w
}

// TestRandomPrograms runs what Load accepts: an error is fine, a panic is
// not. Every opcode must have been accepted, and run without error, at times.
func TestRandomPrograms(t *testing.T) {
	r := rand.New(rand.NewPCG(20, 21))
	b := emu.Buffers{In: make([]byte, 1024), Out: make([]byte, 1024), Tmp: make([]byte, 1024), KV: make([]byte, 1<<16)}
	weights := make([]byte, 1<<15)
	m := emu.NewMachine()
	ldw, _ := isa.Lookup(isa.LDW)
	for k := range isa.Table {
		spec := &isa.Table[k]
		if spec.Op == isa.BAR || spec.Op == isa.END {
			continue
		}
		ran := 0
		for try := 0; ran < 20 && try < 100000; try++ {
			var insts []isa.Inst
			if spec.Op == isa.MM {
				i, err := isa.Decode(randomInst(r, ldw))
				if err != nil {
					continue
				}
				insts = append(insts, i)
			}
			i, err := isa.Decode(randomInst(r, spec))
			if err != nil {
				continue
			}
			code := encodeAll(t, chain(append(insts, i, isa.Inst{Op: isa.END})))
			o := &object{raw: [][]byte{code}, host: hosts, weights: weights}
			if spec.Op == isa.PUT {
				o.raw = append(o.raw, assemble(t, "end"))
			}
			p, err := emu.Load(o.bytes(t))
			if err != nil {
				continue
			}
			m.Fill(0) // indices that are legal
			if m.Run(p, b) == nil {
				ran++
			}
		}
		if ran < 20 {
			t.Errorf("%v: %d random instructions ran, want 20", spec.Op, ran)
		}
	}
}
