package lower_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/encode"
	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/lower"
)

// shape is what decides how a part is cut.
type shape struct {
	name                                   string
	hidden, ffn, heads, kv, headDim, vocab int
	context, group                         int
	bits, groupSize                        int
}

var shapes = []shape{
	{"llama-3.2-3b bf16", 3072, 8192, 24, 8, 128, 128256, 2048, 128, 16, 0},
	{"llama-3.2-3b int8", 3072, 8192, 24, 8, 128, 128256, 8192, 128, 8, 0},
	{"llama-3.2-3b int4", 3072, 8192, 24, 8, 128, 128256, 2048, 256, 4, 32},
	{"llama-2-7b int8", 4096, 11008, 32, 32, 128, 32000, 4096, 128, 8, 0},
	{"smollm2-135m int4", 576, 1536, 9, 3, 64, 49152, 2048, 128, 4, 32},
	{"smollm2-135m g128", 576, 1536, 9, 3, 64, 49152, 2048, 128, 4, 128},
	{"long k bf16", 5120, 20480, 40, 8, 128, 1024, 1024, 128, 16, 0},
	{"long k int8", 5120, 20480, 40, 8, 128, 1024, 1024, 128, 8, 0},
}

// part builds functions as import and passes leave them.
type part struct {
	s shape
	f *ir.Func
	m int
}

func (p *part) add(n *ir.Node) *ir.Node { return p.f.Append(n) }

func (p *part) input(name string, t ir.Type) *ir.Node {
	return p.add(&ir.Node{Op: ir.Input, Name: name, Type: t})
}

func (p *part) linear(name string, x *ir.Node, outs ...int) *ir.Node {
	n := &ir.Node{Op: ir.Linear, Args: []*ir.Node{x}, Type: ir.Type{DType: ir.F32, Rows: x.Type.Rows}}
	for _, out := range outs {
		k := x.Type.Cols
		groups := 1
		if p.s.groupSize > 0 {
			groups = (k + p.s.groupSize - 1) / p.s.groupSize
		}
		layout := ir.KN
		if p.s.bits == 16 {
			layout = ir.NK
		}
		codes, scales := int64(k)*int64(out)*int64(p.s.bits)/8, int64(groups)*int64(out)*2
		n.Weights = append(n.Weights, &ir.Weight{
			Name: name, N: out, K: k, Bits: p.s.bits, GroupSize: p.s.groupSize, Layout: layout, ScaleType: scaleType(p.s.bits),
			Codes: ir.Range{Location: "zero", Length: codes}, Scales: ir.Range{Location: "zero", Offset: codes, Length: scales},
		})
		n.Type.Cols += out
		name += "'"
	}
	return p.add(n)
}

func scaleType(bits int) tensor.DType {
	if bits == 16 {
		return 0
	}
	return tensor.F16
}

func (p *part) norm(x *ir.Node) *ir.Node {
	gamma := p.add(&ir.Node{Op: ir.Const, Type: ir.Type{DType: ir.F32, Rows: 1, Cols: x.Type.Cols}, Data: make([]byte, 4*x.Type.Cols)})
	return p.add(&ir.Node{Op: ir.Norm, Type: ir.Type{DType: ir.BF16, Rows: x.Type.Rows, Cols: x.Type.Cols}, Args: []*ir.Node{x, gamma}, Eps: 1e-5})
}

func (p *part) output(name string, x *ir.Node) {
	p.add(&ir.Node{Op: ir.Output, Name: name, Args: []*ir.Node{x}})
}

func (s shape) pre(m int) *ir.Func {
	p := &part{s: s, f: &ir.Func{Name: "pre", ContextTokens: s.context}, m: m}
	hidden := p.input("hidden", ir.Type{DType: ir.F32, Rows: m, Cols: s.hidden})
	rope := p.input("rope", ir.Type{DType: ir.F32, Rows: m, Cols: s.headDim})
	positions := p.input("positions", ir.Type{DType: ir.I32, Rows: 1, Cols: m})
	q, kv := s.heads*s.headDim, s.kv*s.headDim
	all := p.linear("qkv", p.norm(hidden), q, kv, kv)
	slice := func(lo, cols int) *ir.Node {
		return p.add(&ir.Node{Op: ir.Slice, Type: ir.Type{DType: ir.F32, Rows: m, Cols: cols}, Args: []*ir.Node{all}, Lo: lo})
	}
	rotate := func(x *ir.Node, heads int) *ir.Node {
		t := ir.Type{DType: ir.BF16, Rows: m, Cols: x.Type.Cols}
		return p.add(&ir.Node{Op: ir.Rope, Type: t, Args: []*ir.Node{x, rope}, Heads: heads, HeadDim: s.headDim, Rotary: s.headDim})
	}
	p.output("q", rotate(slice(0, q), s.heads))
	k := rotate(slice(q, kv), s.kv)
	p.add(&ir.Node{Op: ir.Append, Name: "k", Args: []*ir.Node{k, positions}, KVHeads: s.kv, HeadDim: s.headDim})
	v := p.add(&ir.Node{Op: ir.Cast, Type: ir.Type{DType: ir.BF16, Rows: m, Cols: kv}, Args: []*ir.Node{slice(q+kv, kv)}})
	p.add(&ir.Node{Op: ir.Append, Name: "v", Args: []*ir.Node{v, positions}, KVHeads: s.kv, HeadDim: s.headDim})
	return p.f
}

func (s shape) cache(m, window int) *ir.Func {
	p := &part{s: s, f: &ir.Func{Name: "cache", ContextTokens: s.context}, m: m}
	t := ir.Type{DType: ir.BF16, Rows: m, Cols: s.heads * s.headDim}
	q := p.input("q", t)
	cached := ir.Type{DType: ir.BF16, Rows: window, Cols: s.kv * s.headDim}
	k := p.add(&ir.Node{Op: ir.Cached, Name: "k", Type: cached, KVHeads: s.kv, HeadDim: s.headDim})
	v := p.add(&ir.Node{Op: ir.Cached, Name: "v", Type: cached, KVHeads: s.kv, HeadDim: s.headDim})
	spans := p.input("spans", ir.Type{DType: ir.I32, Rows: m, Cols: 2})
	p.output("attention", p.add(&ir.Node{
		Op: ir.Attention, Type: t, Args: []*ir.Node{q, k, v, spans}, Scale: 0.125, Heads: s.heads, KVHeads: s.kv, HeadDim: s.headDim,
	}))
	return p.f
}

func (s shape) post(m int, last, logits bool) *ir.Func {
	p := &part{s: s, f: &ir.Func{Name: "post", ContextTokens: s.context}, m: m}
	attention := p.input("attention", ir.Type{DType: ir.BF16, Rows: m, Cols: s.heads * s.headDim})
	hidden := p.input("hidden", ir.Type{DType: ir.F32, Rows: m, Cols: s.hidden})
	t := hidden.Type
	h := p.add(&ir.Node{Op: ir.Add, Type: t, Args: []*ir.Node{hidden, p.linear("o", attention, s.hidden)}})
	both := p.linear("gate_up", p.norm(h), s.ffn, s.ffn)
	both.Interleave = true
	act := p.add(&ir.Node{Op: ir.GLU, Type: ir.Type{DType: ir.BF16, Rows: m, Cols: s.ffn}, Args: []*ir.Node{both}})
	h = p.add(&ir.Node{Op: ir.Add, Type: t, Args: []*ir.Node{h, p.linear("down", act, s.hidden)}})
	if !last {
		p.output("hidden_out", h)
		return p.f
	}
	if !logits && m > 1 {
		row := p.input("last_row", ir.Type{DType: ir.I32, Rows: 1, Cols: 1})
		h = p.add(&ir.Node{Op: ir.Gather, Type: ir.Type{DType: ir.F32, Rows: 1, Cols: s.hidden}, Args: []*ir.Node{h, row}})
	}
	head := p.linear("head", p.norm(h), s.vocab)
	if logits {
		p.output("logits", head)
		return p.f
	}
	p.output("top", p.add(&ir.Node{Op: ir.TopK, Type: ir.Type{DType: ir.Pairs, Rows: 1, Cols: 64}, Args: []*ir.Node{head}, K: 64}))
	return p.f
}

func (s shape) parts() map[string]*ir.Func {
	out := map[string]*ir.Func{}
	for _, m := range []int{1, s.group} {
		suffix := map[bool]string{true: " decode", false: " prefill"}[m == 1]
		out["pre"+suffix] = s.pre(m)
		out["cache"+suffix] = s.cache(m, s.context)
		out["post"+suffix] = s.post(m, false, false)
		out["logits"+suffix] = s.post(m, true, true)
		out["top"+suffix] = s.post(m, true, false)
	}
	return out
}

// TestShapesFit compiles every kind of part at the shapes of real models:
// data memory, tiles, fields and counters must all suffice.
func TestShapesFit(t *testing.T) {
	for _, s := range shapes {
		for name, f := range s.parts() {
			if err := ir.Run(f); err != nil {
				t.Fatalf("%s %s: Run = %v", s.name, name, err)
			}
			p, err := lower.Lower(f, lower.MachineLimits())
			if err != nil {
				t.Errorf("%s: %s: Lower = %v", s.name, name, err)
				continue
			}
			for i := range p.Code {
				if _, err := p.Code[i].Encode(); err != nil {
					t.Fatalf("%s: %s: instruction %d: %v", s.name, name, i, err)
				}
			}
			t.Logf("%s: %s: %d instructions, %d MB of weights", s.name, name, len(p.Code), p.WeightsSize>>20)
		}
	}
}

// TestPartsAreLegal checks the rules of docs/isa.md §1 on whole programs.
func TestPartsAreLegal(t *testing.T) {
	s := shape{"small", 256, 512, 4, 2, 64, 2048, 256, 32, 4, 32}
	for name, f := range s.parts() {
		if err := ir.Run(f); err != nil {
			t.Fatal(err)
		}
		p, err := lower.Lower(f, lower.MachineLimits())
		if err != nil {
			t.Fatalf("%s: Lower = %v", name, err)
		}
		checkLegal(t, p.Code, lower.Conflicts(p.Code))
	}
}

// TestShapesLoad passes programs at the shapes of real models, with zero
// weights, through the loader's static checks.
func TestShapesLoad(t *testing.T) {
	zero := make([]byte, 64<<20)
	for _, c := range []struct {
		shape int
		parts []string
	}{
		{2, []string{"pre prefill", "cache prefill", "post prefill", "post decode"}}, // llama-3.2-3b int4
		{1, []string{"pre decode", "cache prefill", "cache decode"}},                 // its windows of 8192 tokens
		{5, nil}, // smollm2-135m
	} {
		s := shapes[c.shape]
		for name, f := range s.parts() {
			if c.parts != nil && !slices.Contains(c.parts, name) {
				continue
			}
			if err := ir.Run(f); err != nil {
				t.Fatal(err)
			}
			p, err := lower.Lower(f, lower.MachineLimits())
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := encode.Write(&b, p, func(string) ([]byte, error) { return zero, nil }, nil); err != nil {
				t.Fatalf("%s %s: Write = %v", s.name, name, err)
			}
			if _, err := emu.Load(b.Bytes()); err != nil {
				t.Errorf("%s %s: Load = %v", s.name, name, err)
			}
		}
	}
}
