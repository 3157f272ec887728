//nolint:dupword // assembly repeats operands
package isa_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/llima-build/llima/modalix/isa"
)

// example is the program of docs/isa.md: quad 0 of a POST part.
const example = `
.matrix o       weights+0     k=256 int4.f16 g=32 scales=38000
.matrix gate_up weights+8000  k=256 int4.f16 g=32 scales=39000
.matrix down    weights+28000 k=512 int4.f16 g=32 scales=3d000
 0 ld   s:0 in+0 len=512 ; attention output, BF16
 1 ldw  w0 o[0:4] k=256 push=mx
 2 ldw  w1 gate_up[0:8] k=256 push=mx
 3 ld   s:400 in+200 len=1024 ; residual, F32
 4 ld   s:1c00 const+0 len=1024 push=vx ; gamma; covers 3
 5 mm   s:800 s:0 w0 np=4 pop=ld push=ld,st ; w0 is free
 6 ldw  w0 gate_up[8:16] k=256 pop=mx push=mx
 7 put  s:800 s:800 len=256 quads=1,2,3 pop=mx
 8 bar  0 push=vx
 9 add  s:400 s:400 s:800 n=256 f32 pop=ld,st
10 norm.rms s:c00.bf16 s:400 row s:1c00 n=256 imm=1e-5 push=mx
11 mm   s:1000 s:c00 w1 np=8 pop=ld,vx push=ld
12 ldw  w1 down[0:4] k=512 pop=mx push=mx
13 mm   s:1200 s:c00 w0 np=8 pop=ld push=vx
14 glu.silu s:1400.bf16 s:1000 n=128 pop=mx push=st
15 put  s:1400 s:1400 len=256 quads=1,2,3 pop=vx
16 bar  1 push=mx
17 mm   s:1800 s:1400 w1 np=4 pop=ld,st push=vx
18 add  s:2000 s:1800 s:400 n=64 f32 pop=mx push=st
19 st   s:2000 out+0 len=256 pop=vx
20 end
`

func TestAssembleExample(t *testing.T) {
	insts, err := isa.Assemble(example)
	if err != nil || len(insts) != 21 {
		t.Fatalf("Assemble = %d instructions, %v, want 21", len(insts), err)
	}
	for at, g := range map[int]int{0: 0, 1: 1, 5: 2, 7: 3, 10: 4, 12: 5, 14: 6} {
		if insts[at] != golden[g].inst {
			t.Errorf("instruction %d = %+v, want %+v", at, insts[at], golden[g].inst)
		}
	}
	text := reassemble(t, insts)
	if !strings.Contains(text, "ldw w0 weights+c000 int4.f16 np=8 k=256 g=32 scales=39800 pop=mx push=mx\n") {
		t.Errorf("Disassemble = %s", text)
	}
}

// reassemble demands that a program's disassembly assembles to itself.
func reassemble(t *testing.T, insts []isa.Inst) string {
	t.Helper()
	var code []byte
	for _, i := range insts {
		w, err := i.Encode()
		if err != nil {
			t.Fatalf("Encode(%+v) = %v", i, err)
		}
		code = append(code, w[:]...)
	}
	text, err := isa.Disassemble(code)
	if err != nil {
		t.Fatalf("Disassemble = %v", err)
	}
	back, err := isa.Assemble(text)
	if err != nil || len(back) != len(insts) {
		t.Fatalf("Assemble(%s) = %d, %v, want %d", text, len(back), err, len(insts))
	}
	for k := range back {
		if back[k] != insts[k] {
			t.Fatalf("Assemble(%q) = %+v, want %+v", insts[k], back[k], insts[k])
		}
	}
	return text
}

func TestAssembleGolden(t *testing.T) {
	for _, g := range golden {
		got, err := isa.Assemble(g.text)
		if err != nil || len(got) != 1 || got[0] != g.inst {
			t.Errorf("Assemble(%q) = %+v, %v, want %+v", g.text, got, err, g.inst)
		}
		reassemble(t, []isa.Inst{g.inst})
	}
}

func TestAssembleRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 50000 {
		if i, err := isa.Decode(randomWord(r)); err == nil {
			reassemble(t, []isa.Inst{i})
		}
	}
}

func TestAssembleRejects(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"nop", `isa: line 1: mnemonic "nop" is unknown`},
		{"\nglu.gelu s:0 s:20 n=16", `isa: line 2: glu: mode "gelu" is unknown, have exp rsqrt tanh sigmoid silu gelu_tanh gelu_erf recip softcap relu`},
		{"add.x s:0 s:20 n=16", "isa: line 1: add: takes no mode"},
		{"ld s:0 in+0", "isa: line 1: ld: len is missing"},
		{"ld s:0 in+0 len=33", "isa: line 1: isa: ld: Len: 33 is not a multiple of 32"},
		{"ld s:0 s:20 in+0 len=32", `isa: line 1: ld: "s:20": one address too many`},
		{"ld s:0.bf16 in+0 len=32", `isa: line 1: ld: "s:0.bf16": takes no type`},
		{"ld s:0 in+0 len=32 len=32", `isa: line 1: ld: "len=32": len is given twice`},
		{"ld s:0 nowhere+0 len=32", `isa: line 1: ld: "nowhere+0": is not an operand`},
		{"ld s:0 in+0 len=32 pop=dma", `isa: line 1: ld: "pop=dma": queue "dma" is unknown`},
		{"ldw w0 weights+0 np=1 k=40", `isa: line 1: ldw: "k=40": not a multiple of 32`},
		{"ldw w0 o[0:4] k=32", `isa: line 1: ldw: "o[0:4]": matrix "o" is not defined`},
		{"ldw w0 weights+0 np=1 k=32 int4.f16", "isa: line 1: ldw: g is missing"},
		{"mm s:0 s:40 w0 np=1", "isa: line 1: mm: lda is missing"},
		{"softmax s:0 s:40 n=1 span s:80 imm=x", `isa: line 1: softmax: "imm=x": want a binary32 number`},
		{"put s:0 s:40 len=32 quads=9", `isa: line 1: put: "quads=9": "9" is not a quad`},
	} {
		_, err := isa.Assemble(c.src)
		if err == nil || err.Error() != c.want {
			t.Errorf("Assemble(%q) = %v, want %q", c.src, err, c.want)
		}
	}
}

func FuzzAssemble(f *testing.F) {
	for line := range strings.SplitSeq(example, "\n") {
		f.Add(line)
	}
	for _, g := range golden {
		f.Add(g.text)
	}
	f.Add("rope.half s:0.bf16 s:400 s:800 n=64 aux=4 imm=64 ldy=256")
	f.Add("gath s:0 s:400 idx s:800 n=8 aux=3")
	f.Add("topk.merge s:0 s:400 n=16 aux=8 imm=16")
	f.Add("mul s:0 s:400 n=16 imm=0x7fc00001")
	f.Fuzz(func(t *testing.T, src string) {
		insts, err := isa.Assemble(src)
		if err == nil && len(insts) > 0 {
			reassemble(t, insts)
		}
	})
}
