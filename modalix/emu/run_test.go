//nolint:dupword // assembly repeats operands
package emu_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/isa"
)

func TestCopyThroughS(t *testing.T) {
	in := make([]byte, 96)
	for i := range in {
		in[i] = byte(i)
	}
	// Rows of 32 bytes, spread by 64, and back by index 2, -1 (zeros), 0.
	work := []isa.Inst{
		{Op: isa.LD, S: 0x100, Off: 0, Rows: 3, Len: 32, SStr: 64, DStr: 32, Seg: isa.In},
		{Op: isa.ST, S: 0x100, Off: 0, Rows: 3, Len: 32, SStr: 64, DStr: 32, Seg: isa.Tmp},
		{Op: isa.LD, S: 0x80, Off: 96, Rows: 1, Len: 32, SStr: 32, DStr: 32, Seg: isa.In},
		{Op: isa.LDG, S: 0x200, Off: 0, Rows: 3, Len: 32, SStr: 32, DStr: 32, Seg: isa.Tmp, Idx: 0x80},
	}
	out, err := runWith(t, &object{}, emu.Buffers{In: slices.Concat(in, i32Bytes(2, -1, 0)), Tmp: make([]byte, 96)}, work, 0x200, 96)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Concat(in[64:96], make([]byte, 32), in[:32])
	if !slices.Equal(out, want) {
		t.Errorf("out = %v, want %v", out, want)
	}
}

func TestScatter(t *testing.T) {
	in := make([]byte, 128)
	for i := range in[:96] {
		in[i] = byte(i)
	}
	copy(in[96:], i32Bytes(1, -1, 0))
	work := []isa.Inst{
		{Op: isa.STS, S: 0, Off: 0, Rows: 3, Len: 32, SStr: 32, DStr: 32, Seg: isa.Tmp, Idx: 0x60},
		{Op: isa.LD, S: 0x200, Off: 0, Rows: 1, Len: 64, SStr: 64, DStr: 64, Seg: isa.Tmp},
	}
	out, err := runWith(t, &object{}, emu.Buffers{In: in, Tmp: make([]byte, 64)}, work, 0x200, 64)
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.Concat(in[64:96], in[:32]); !slices.Equal(out, want) {
		t.Errorf("out = %v, want %v", out, want)
	}
}

func TestPatches(t *testing.T) {
	// An image of 4 rows of 6 pixels of 2 channels; patches of 2×2.
	const w, h, c, p = 6, 4, 2, 2
	img := make([]float32, w*h*c)
	for i := range img {
		img[i] = float32(i)
	}
	work := []isa.Inst{{Op: isa.LDP, S: 0x400, Off: 0, N: 4, First: 1, SStr: 32, WP: w / p, RowB: w * c * 2, P: p, C: c, Seg: isa.In}}
	out, err := run(t, bf16Bytes(img), work, 0x400, 128)
	if err != nil {
		t.Fatal(err)
	}
	got := fromBF16(out)
	for i := range 4 {
		patch := i + 1
		want := make([]float32, 16)
		for y := range p {
			for x := range p * c {
				want[y*p*c+x] = img[(patch/(w/p)*p+y)*w*c+patch%(w/p)*p*c+x]
			}
		}
		if !slices.Equal(got[i*16:(i+1)*16], want) {
			t.Errorf("patch %d = %v, want %v", patch, got[i*16:(i+1)*16], want)
		}
	}
}

func TestRunTimeErrors(t *testing.T) {
	gath := isa.Inst{Op: isa.GATH, D: 0x400, X: 0x100, Y: 0, M: 4, N: 8, LdD: 32, LdX: 32, Aux: 2, TD: isa.F32, TX: isa.F32, TY: isa.I32}
	soft := isa.Inst{Op: isa.SOFTMAX, D: 0x400, X: 0x100, Y: 0, M: 2, N: 8, LdD: 32, LdX: 32, Aux: 1, TD: isa.F32, TX: isa.F32, TY: isa.I32}
	kv := isa.Inst{Op: isa.STK, X: 0x100, M: 4, D: 32, H: 1, LdX: 64, HPitch: 2048, Seg: isa.KV, Idx: 0}
	ldg := isa.Inst{Op: isa.LDG, S: 0x400, Rows: 4, Len: 32, SStr: 32, DStr: 32, Seg: isa.In, Idx: 0}
	for _, c := range []struct {
		in   []byte
		work isa.Inst
		want string
	}{
		{i32Bytes(0, 1, -1, 2), gath, "isa: q0+0x0020: gath: index 2 at row 3 is outside X (2)"},
		{i32Bytes(0, 1, -2, 2), gath, "isa: q0+0x0020: gath: index -2 at row 2 is outside X (2)"},
		{i32Bytes(4, 2, 0, 0), soft, "isa: q0+0x0020: softmax: span [4,2) at row 0 is inverted"},
		{i32Bytes(0, 1, 31, 5000), kv, "isa: q0+0x0020: stk: index 5000 at row 3 is outside kv (32)"},
		{i32Bytes(0, -1, 0, 1), ldg, "isa: q0+0x0020: ldg: index 1 at row 3 is outside in (1)"},
	} {
		_, err := runWith(t, &object{}, emu.Buffers{In: c.in, KV: make([]byte, 2048)}, []isa.Inst{c.work}, 0x400, 32)
		if err == nil || err.Error() != c.want {
			t.Errorf("Run(%v) = %v, want %q", c.work, err, c.want)
		}
	}
}

func TestBuffersTooSmall(t *testing.T) {
	o := &object{code: []string{"ld s:0 in+0 len=64\nend"}, host: map[isa.Segment]int64{isa.In: 64}}
	err := emu.NewMachine().Run(o.load(t), emu.Buffers{In: make([]byte, 63)})
	if want := "isa: buffer in has 63 bytes, needs 64"; err == nil || err.Error() != want {
		t.Errorf("Run = %v, want %q", err, want)
	}
}

// TestFourQuads splits D = (X·W)·2 over quads that exchange slices by PUT.
func TestFourQuads(t *testing.T) {
	const inputs = 64
	r := rand.New(rand.NewPCG(5, 6))
	w := randomMatrix(r, 4*16, inputs, isa.MakeFormat(isa.CodeINT8, isa.ScaleF16, isa.ScaleNone), 32)
	x := randomNormal(r, inputs)
	codes, scales, _ := w.streams()
	weights := append(codes, scales...)
	var code []string
	for q := range 4 {
		code = append(code, replaceAll(`
ld s:0 in+0 len=128
ldw w0 weights+CODES int8.f16 np=1 k=64 g=32 scales=SCALES push=mx
mm s:SLICE s:0 w0 np=1 lda=128 pop=ld push=st
put s:SLICE s:SLICE len=64 quads=OTHERS pop=mx
bar 0 push=vx
mul s:800 s:400 n=64 imm=2 pop=st push=st
st s:STORE out+OUT len=64 pop=vx
end`,
			"CODES", hex(q*16*inputs), "SCALES", hex(len(codes)+q*2*32), "SLICE", hex(0x400+q*64),
			"OTHERS", []string{"1,2,3", "0,2,3", "0,1,3", "0,1,2"}[q], "STORE", hex(0x800+(3-q)*64), "OUT", hex((3-q)*64)))
	}
	o := &object{code: code, weights: weights, host: map[isa.Segment]int64{isa.In: 128, isa.Out: 256}}
	p := o.load(t)
	out := make([]byte, 256)
	m := emu.NewMachine()
	m.Exact = true
	if err := m.Run(p, emu.Buffers{In: bf16Bytes(x), Out: out}); err != nil {
		t.Fatal(err)
	}
	want := w.reference(x, 1, nil)
	for i, v := range toF32(out) {
		if v != 2*want[i] {
			t.Fatalf("out[%d] = %v, want %v", i, v, 2*want[i])
		}
	}
}
