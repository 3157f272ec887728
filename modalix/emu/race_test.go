//nolint:dupword // assembly repeats operands
package emu_test

import (
	"strings"
	"testing"

	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/isa"
)

func TestRaces(t *testing.T) {
	for _, c := range []struct {
		name string
		code []string
		want string // "" when there is no race
	}{
		{"load then add", []string{"ld s:0 in+0 len=64\nadd s:40 s:0 n=16 imm=1\nend"}, "isa: q0+0x0020: add: reads S [0x0,0x40) unordered with q0+0x0000 ld"},
		{"ordered", []string{"ld s:0 in+0 len=64 push=vx\nadd s:40 s:0 n=16 imm=1 pop=ld\nend"}, ""},
		{"overwritten too early", []string{"ld s:0 in+0 len=64 push=vx\nadd s:40 s:0 n=16 imm=1 pop=ld\nld s:0 in+40 len=64\nend"}, "isa: q0+0x0040: ld: writes S [0x0,0x40) unordered with q0+0x0020 add"},
		{"token covers earlier work of the queue", []string{"ld s:0 in+0 len=64\nld s:80 in+0 len=64 push=vx\nadd s:40 s:0 n=16 imm=1 pop=ld\nend"}, ""},
		{"through a third queue", []string{"ld s:0 in+0 len=64 push=vx\nadd s:40 s:200 n=16 imm=1 pop=ld push=st\nst s:0 out+0 len=64 pop=vx\nend"}, ""},
		{"reads do not race", []string{"ld s:0 in+0 len=64 push=vx,st\nadd s:40 s:0 n=16 imm=1 pop=ld\nst s:0 out+0 len=64 pop=ld\nend"}, ""},
		{"tile", []string{"ldw w0 weights+0 np=1 k=32 push=mx\nmm s:400 s:0 w0 np=1 lda=64 pop=ld\nldw w0 weights+0 np=1 k=32\nend"}, "isa: q0+0x0040: ldw: writes tile [0x0,0x1) unordered with q0+0x0020 mm"},
		{"tmp", []string{"st s:0 tmp+0 len=64\nld s:0 tmp+20 len=64\nend"}, "isa: q0+0x0020: ld: reads tmp [0x20,0x60) unordered with q0+0x0000 st"},
		{"interleaved columns", []string{"ld s:0 in+0 len=32 rows=4 sstr=64\nadd s:20 s:200 n=8 m=4 ldd=64 ldx=64 imm=1\nend"}, ""},
		{"touching columns", []string{"ld s:0 in+0 len=64 rows=4 sstr=128\nadd s:20 s:200 n=8 m=4 ldd=128 ldx=64 imm=1\nend"}, "isa: q0+0x0020: add: writes S [0x20,0x1c0) unordered with q0+0x0000 ld"},
		{"second token needed", []string{"ld s:0 in+0 len=64 push=vx\nld s:80 in+0 len=64 push=vx\nadd s:200 s:80 n=16 imm=1 pop=ld\nadd s:200 s:0 n=16 imm=1 pop=ld\nend"}, "isa: q0+0x0040: add: reads S [0x80,0xc0) unordered with q0+0x0020 ld"},

		{"put without bar", []string{"put s:0 s:0 len=64 quads=1\nend", "add s:40 s:0 n=16 imm=1\nend"}, "isa: q1+0x0000: add: reads S [0x0,0x40) unordered with q0+0x0000 put"},
		{"put before bar", []string{"put s:0 s:0 len=64 quads=1\nbar 0\nend", "bar 0 push=vx\nadd s:40 s:0 n=16 imm=1 pop=st\nend"}, ""},
		{"bar not waited for", []string{"put s:0 s:0 len=64 quads=1\nbar 0\nend", "bar 0\nadd s:40 s:0 n=16 imm=1\nend"}, "isa: q1+0x0020: add: reads S [0x0,0x40) unordered with q0+0x0000 put"},
		{"load for all quads", []string{"ld s:0 in+0 len=64 quads=1\nend", "ld s:0 in+0 len=64\nend"}, "isa: q1+0x0000: ld: writes S [0x0,0x40) unordered with q0+0x0000 ld"},
		{"out by two quads", []string{"st s:0 out+0 len=64\nend", "st s:0 out+40 len=64\nend"}, ""},
		{"out twice", []string{"st s:0 out+0 len=64\nend", "st s:0 out+20 len=64\nend"}, "isa: q1+0x0000: st: writes out [0x20,0x60) unordered with q0+0x0000 st"},
		{"columns of out", []string{"st s:0 out+0 len=32 rows=4 dstr=64\nend", "st s:0 out+20 len=32 rows=4 dstr=64\nend"}, ""},
	} {
		o := &object{code: c.code, host: hosts, weights: make([]byte, 1024)}
		_, err := emu.Load(o.bytes(t))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: Load = %q, want %q", c.name, got, c.want)
		}
	}
}

// TestExample loads the program of docs/isa.md on four quads: each has its
// slices, rows are exchanged by PUT and BAR.
func TestExample(t *testing.T) {
	const src = `
ld   s:0 in+0 len=512
ldw  w0 weights+0 np=4 k=256 int4.f16 g=32 scales=38000 push=mx
ldw  w1 weights+8000 np=8 k=256 int4.f16 g=32 scales=39000 push=mx
ld   s:400 in+200 len=1024
ld   s:1c00 const+0 len=1024 push=vx
mm   s:OWN s:0 w0 np=4 pop=ld push=ld,st
ldw  w0 weights+c000 np=8 k=256 int4.f16 g=32 scales=39800 pop=mx push=mx
put  s:OWN s:OWN len=256 quads=OTHERS pop=mx
bar  0 push=vx
add  s:400 s:400 s:800 n=256 f32 pop=ld,st
norm.rms s:c00.bf16 s:400 row s:1c00 n=256 imm=1e-5 push=mx
mm   s:1000 s:c00 w1 np=8 pop=ld,vx push=ld
ldw  w1 weights+28000 np=4 k=512 int4.f16 g=32 scales=3d000 pop=mx push=mx
mm   s:1200 s:c00 w0 np=8 pop=ld push=vx
glu.silu s:HALF.bf16 s:1000 n=128 pop=mx push=st
put  s:HALF s:HALF len=256 quads=OTHERS pop=vx
bar  1 push=mx
mm   s:1800 s:1400 w1 np=4 pop=ld,st push=vx
add  s:2000 s:1800 s:400 n=64 f32 pop=mx push=st
st   s:2000 out+OUT len=256 pop=vx
end
`
	var code []string
	for q := range 4 {
		code = append(code, replaceAll(src, "OWN", hex(0x800+q*256), "HALF", hex(0x1400+q*256), "OUT", hex(q*256),
			"OTHERS", []string{"1,2,3", "0,2,3", "0,1,3", "0,1,2"}[q]))
	}
	o := &object{
		code: code, weights: make([]byte, 0x3f000), consts: make([]byte, 1024),
		host: map[isa.Segment]int64{isa.In: 0x600, isa.Out: 1024},
	}
	_, err := emu.Load(o.bytes(t))
	if err != nil {
		t.Errorf("Load = %v", err)
	}
	code[1] = strings.Replace(code[1], " pop=ld,st\nnorm", " pop=ld\nnorm", 1)
	if _, err = emu.Load(o.bytes(t)); err == nil {
		t.Error("Load without a token = nil")
	}
}

// BenchmarkLoad loads a program of 8192 instructions that stream tiles.
func BenchmarkLoad(b *testing.B) {
	const step = `ldw w0 weights+0 np=4 k=256 push=mx
mm s:A000 s:0 w0 np=4 pop=ld push=vx,ld
add s:A000 s:A000 n=64 imm=1 pop=mx push=st
st s:A000 out+B len=256 pop=vx push=ld
ldw w1 weights+0 np=4 k=256 push=mx pop=mx,st
mm s:C000 s:0 w1 np=4 pop=ld push=vx
add s:C000 s:C000 n=64 imm=1 pop=mx push=st
st s:C000 out+D len=256 pop=vx
`
	var code strings.Builder
	for i := range 1024 {
		code.WriteString(replaceAll(step, "A000", hex(0x10000+i*512), "C000", hex(0x10100+i*512), "B", hex(i*512), "D", hex(i*512+256)))
	}
	code.WriteString("end")
	o := &object{code: []string{code.String()}, host: map[isa.Segment]int64{isa.Out: 1 << 19}, weights: make([]byte, 32768)}
	elf := o.bytes(b)
	b.SetBytes(int64(len(elf)))
	for b.Loop() {
		if _, err := emu.Load(elf); err != nil {
			b.Fatal(err)
		}
	}
}
