//nolint:dupword // assembly repeats operands
package isa_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/llima-build/llima/modalix/isa"
)

// golden holds the words that were assembled by hand from the specification.
var golden = []struct {
	text string // one line of assembly
	word string
	inst isa.Inst
}{
	{
		"ld s:0 in+0 len=512",
		"01000000 00000000 00000000 01001000 10000000 10000000 02000000 00000000",
		isa.Inst{Op: isa.LD, Rows: 1, Len: 512, SStr: 512, DStr: 512, Seg: isa.In},
	},
	{
		"ldw w0 weights+0 np=4 k=256 int4.f16 g=32 scales=38000 push=mx",
		"03200000 00000000 001c0000 00000000 20000000 08000400 08000006 05000000",
		isa.Inst{Op: isa.LDW, Push: isa.QueueMX, Scales: 0x38000, CPitch: 2048, GPitch: 8, NP: 4, KB: 8, Fmt: isa.MakeFormat(isa.CodeINT4, isa.ScaleF16, isa.ScaleNone), GLog: 5},
	},
	{
		"mm s:800 s:0 w0 np=4 lda=512 pop=ld push=ld,st",
		"41910000 00000000 00080000 01001000 08000000 00000400 00000000 00000000",
		isa.Inst{Op: isa.MM, Pop: isa.QueueLD, Push: isa.QueueLD | isa.QueueST, C: 0x800, M: 1, LdA: 512, LdC: 256, NP: 4},
	},
	{
		"put s:800 s:800 len=256 quads=1,2,3 pop=mx",
		"c4020000 00080000 00080000 01000800 08000000 08000000 000e0000 00000000",
		isa.Inst{Op: isa.PUT, Pop: isa.QueueMX, S: 0x800, D: 0x800, Rows: 1, Len: 256, SStr: 256, DStr: 256, Quads: 0xe},
	},
	{
		"norm.rms s:c00.bf16 s:400 row s:1c00 n=256 imm=1e-5 push=mx",
		"91205400 000c0000 00040000 001c0000 01000001 10002000 00000000 acc52737",
		isa.Inst{Op: isa.NORM, Push: isa.QueueMX, TX: isa.F32, TY: isa.F32, YShape: isa.Row, D: 0xc00, X: 0x400, Y: 0x1c00, M: 1, N: 256, LdD: 512, LdX: 1024, Imm: math.Float32bits(1e-5)},
	},
	{
		"ldw w1 weights+28000 np=4 k=512 int4.f16 g=32 scales=3d000 pop=mx push=mx",
		"03220000 000a0000 801e0000 00000000 40000000 10000400 10000106 05000000",
		isa.Inst{Op: isa.LDW, Pop: isa.QueueMX, Push: isa.QueueMX, Codes: 0x28000, Scales: 0x3d000, CPitch: 4096, GPitch: 16, NP: 4, KB: 16, Tile: 1, Fmt: isa.MakeFormat(isa.CodeINT4, isa.ScaleF16, isa.ScaleNone), GLog: 5},
	},
	{
		"glu.silu s:1400.bf16 s:1000 n=128 pop=mx push=st",
		"8a820404 00140000 00100000 00000000 01008000 08002000 00000000 00000000",
		isa.Inst{Op: isa.GLU, Pop: isa.QueueMX, Push: isa.QueueST, TX: isa.F32, Mode: isa.FnSilu, D: 0x1400, X: 0x1000, M: 1, N: 128, LdD: 256, LdX: 1024},
	},
	{
		"stk.v x=s:0 kv+0 m=1 d=64 h=2 hpitch=32768 ppitch=8192 idx=s:2000 pop=vx",
		"c3040000 00000000 00000000 01004000 08000201 00040000 05008000 00200000",
		isa.Inst{Op: isa.STK, Pop: isa.QueueVX, M: 1, D: 64, H: 2, LdX: 256, Mode: isa.StkV, HPitch: 32768, PPitch: 8192, Seg: isa.KV, Idx: 0x2000},
	},
	{
		"softmax s:4000.bf16 s:1000 span s:3000 m=3 n=128 imm=0.125 aux=3",
		"92002400 00400000 00100000 00300000 03008000 08001000 00000300 0000003e",
		isa.Inst{Op: isa.SOFTMAX, TX: isa.F32, TY: isa.I32, D: 0x4000, X: 0x1000, Y: 0x3000, M: 3, N: 128, LdD: 256, LdX: 512, Aux: 3, Imm: math.Float32bits(0.125)},
	},
}

func word(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil || len(b) != isa.WordSize {
		t.Fatalf("bad word %q: %v", s, err)
	}
	return b
}

func TestGoldenWords(t *testing.T) {
	for _, g := range golden {
		want := word(t, g.word)
		got, err := g.inst.Encode()
		if err != nil || !bytes.Equal(got[:], want) {
			t.Errorf("Encode(%s) = %x, %v, want %x", g.text, got, err, want)
		}
		inst, err := isa.Decode(want)
		if err != nil || inst != g.inst {
			t.Errorf("Decode(%s) = %+v, %v, want %+v", g.text, inst, err, g.inst)
		}
	}
}

func TestEncodeNamesTheField(t *testing.T) {
	ld := golden[0].inst
	add := isa.Inst{Op: isa.ADD, TD: isa.F32, TX: isa.F32, TY: isa.F32, M: 1, N: 8, LdD: 32, LdX: 32}
	for _, c := range []struct {
		base isa.Inst
		edit func(*isa.Inst)
		want string
	}{
		{ld, func(i *isa.Inst) { i.Len = 48 }, "isa: ld: Len: 48 is not a multiple of 32"},
		{ld, func(i *isa.Inst) { i.S = 16 }, "isa: ld: S: 16 is not a multiple of 32"},
		{ld, func(i *isa.Inst) { i.Rows = 65536 }, "isa: ld: Rows: 65536 exceeds 65535"},
		{ld, func(i *isa.Inst) { i.SStr = 1 << 21 }, "isa: ld: SStr: 2097152 exceeds 2097120"},
		{ld, func(i *isa.Inst) { i.Aux = 1 }, "isa: ld: a field that the opcode does not have is set: Aux"},
		{ld, func(i *isa.Inst) { i.Seg = 9 }, "isa: ld: segment 9 is unknown"},
		{ld, func(i *isa.Inst) { i.Pop = isa.QueueLD }, "isa: ld: token to own queue"},
		{ld, func(i *isa.Inst) { i.Op = 0x42 }, "isa: unknown opcode 0x42"},
		{add, func(i *isa.Inst) { i.TX = isa.I32 }, "isa: add: type 2 not allowed for X"},
		{add, func(i *isa.Inst) { i.YShape, i.TY = isa.Imm, isa.BF16; i.LdY = 32 }, "isa: add: an immediate takes no Y"},
		{golden[8].inst, func(i *isa.Inst) { i.YShape = isa.Col }, "isa: softmax: Y shape 2 not allowed"},
		{golden[6].inst, func(i *isa.Inst) { i.Mode = 12 }, "isa: glu: mode 12 is unknown"},
		{golden[1].inst, func(i *isa.Inst) { i.GLog = 6; i.KB = 3 }, "isa: ldw: group 64 does not divide K = 96"},
		{golden[1].inst, func(i *isa.Inst) { i.Fmt = 4 }, "isa: ldw: bf16 takes no scale"},
		{golden[1].inst, func(i *isa.Inst) { i.Fmt = 2 }, "isa: ldw: codes need a scale"},
	} {
		inst := c.base
		c.edit(&inst)
		_, err := inst.Encode()
		if err == nil || err.Error() != c.want {
			t.Errorf("Encode(%+v) = %v, want %q", inst, err, c.want)
		}
	}
}

func TestDecodeRejects(t *testing.T) {
	for _, c := range []struct{ word, want string }{
		{"42000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000", "isa: unknown opcode 0x42"},
		{"00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000", "isa: unknown opcode 0x00"},
		{"c5000000 00000000 00000000 00000000 00000000 00000000 00000000 00000100", "isa: bar: reserved byte 30 is 0x01"},
		{"01001000 00000000 00000000 00000000 00000000 00000000 00000000 00000000", "isa: ld: reserved flag 4"},
		{"ff010000 00000000 00000000 00000000 00000000 00000000 00000000 00000000", "isa: end: reserved byte 1 is 0x01"},
		{"01000000 10040000 00000000 01001000 10000000 10000000 02000000 00000000", "isa: ld: address 0x410 is not a multiple of 32"},
		{"41200000 00000000 00080000 01001000 08000000 00000400 00000000 00000000", "isa: mm: token to own queue"},
		{"01000000 00000000 ffffffff 01001000 10000000 10000000 02000000 00000000", "isa: ld: Off: 0x1fffffffe0 exceeds 4 GiB"},
	} {
		_, err := isa.Decode(word(t, c.word))
		if err == nil || err.Error() != c.want {
			t.Errorf("Decode(%s) = %v, want %q", c.word, err, c.want)
		}
		if _, ok := errors.AsType[*isa.Error](err); !ok {
			t.Errorf("Decode(%s) = %T, want *isa.Error", c.word, err)
		}
	}
	if _, err := isa.Decode(make([]byte, 31)); err == nil {
		t.Error("Decode(31 bytes) = nil, want an error")
	}
}

// TestTable holds the table to the rules that the encoding relies on.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	last := isa.Op(0)
	for _, s := range isa.Table {
		if s.Op <= last || seen[s.Name] {
			t.Errorf("%s: opcode 0x%02x out of order or name used twice", s.Name, uint8(s.Op))
		}
		last, seen[s.Name] = s.Op, true
		var covered [isa.WordSize * 8]string
		for _, f := range s.Form.Fields {
			for b := f.Bit; b < f.Bit+f.Bits; b++ {
				if b < 16 || covered[b] != "" {
					t.Errorf("%s: %s overlaps %s at bit %d", s.Name, f.Name, covered[b], b)
				}
				covered[b] = f.Name
			}
			if f.Bits > 8 && f.Bit%f.Bits != 0 || f.Bits <= 8 && f.Bit/8 != (f.Bit+f.Bits-1)/8 {
				t.Errorf("%s: %s is not aligned", s.Name, f.Name)
			}
		}
	}
}

// randomWord returns bytes that have a chance to be an instruction.
func randomWord(r *rand.Rand) []byte {
	w := make([]byte, isa.WordSize)
	spec := isa.Table[r.IntN(len(isa.Table))]
	w[0] = byte(spec.Op)
	if spec.Op != isa.END {
		w[1] = byte(r.Uint32()) &^ (byte(spec.Op.Queue()) | byte(spec.Op.Queue())<<4)
	}
	for _, f := range spec.Form.Fields {
		v := r.Uint32() >> r.IntN(32) & uint32(1<<f.Bits-1)
		for b := range f.Bits {
			bit := f.Bit + b
			if f.Unit == isa.LineSize && f.Bits == 32 && b < 5 {
				continue
			}
			w[bit/8] |= byte(v>>b&1) << (bit % 8)
		}
	}
	return w
}

func TestDecodeEncodeRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	good := map[isa.Op]int{}
	for range 200000 {
		w := randomWord(r)
		if roundTrip(t, w) {
			good[isa.Op(w[0])]++
		}
	}
	for _, s := range isa.Table {
		if good[s.Op] == 0 {
			t.Errorf("%s: no random word decoded", s.Name)
		}
	}
}

// roundTrip demands that a word is an error or encodes to itself.
func roundTrip(t *testing.T, w []byte) bool {
	t.Helper()
	inst, err := isa.Decode(w)
	if err != nil {
		return false
	}
	back, err := inst.Encode()
	if err != nil || !bytes.Equal(back[:], w) {
		t.Fatalf("Encode(Decode(%x)) = %x, %v", w, back, err)
	}
	return true
}

func FuzzDecode(f *testing.F) {
	for _, g := range golden {
		b, _ := hex.DecodeString(strings.ReplaceAll(g.word, " ", ""))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, w []byte) { roundTrip(t, w) })
}

func BenchmarkDecode(b *testing.B) {
	w, _ := hex.DecodeString(strings.ReplaceAll(golden[4].word, " ", ""))
	b.SetBytes(isa.WordSize)
	for b.Loop() {
		if _, err := isa.Decode(w); err != nil {
			b.Fatal(err)
		}
	}
}
