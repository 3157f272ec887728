package modalix_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix"
	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/isa"
	"github.com/llima-build/llima/modalix/lower"
	"github.com/llima-build/llima/quant/rewrite"
)

// Bounds of the differential test, as part of the largest magnitude of an
// output. Both sides round at the same points and differ in the order of
// float32 sums, so a BF16 value may fall to the other side of a rounding
// boundary; one such step of an activation, 2^-8 of it, moves what is
// computed from it by about 2^-8 of its share. A BF16 output may differ by
// one such step of its own magnitude.
//
// In a model that is only some tens of columns wide one step weighs more, and
// a step is up to 2^-7 of the number that it rounds: there any output may
// differ as much. What tells an error from such steps is that on average they
// stay within 1/1024 of the average magnitude, and two rows more.
const (
	floatBound = 1.0 / 512
	bf16Bound  = 1.0 / 256
	stepBound  = 1.0 / 128
)

// bounds of outputs by type.
type bounds struct{ floats, bf16 float64 }

func meanBound(rows int) float64 { return 1.0/1024 + 2*stepBound/float64(rows) }

// host holds the buffers of one program.
type host struct {
	t       *testing.T
	p       *emu.Program
	buf     emu.Buffers
	headDim int // of the model, which attention does not say
}

func newHost(t *testing.T, p *emu.Program) *host {
	t.Helper()
	size := func(s isa.Segment) []byte { return make([]byte, p.SegmentSize(s)) }
	return &host{t: t, p: p, buf: emu.Buffers{In: size(isa.In), Out: size(isa.Out), Tmp: size(isa.Tmp), KV: size(isa.KV), State: size(isa.State)}}
}

// bytes returns a host buffer by its symbol.
func (h *host) bytes(name string) []byte {
	h.t.Helper()
	s, ok := h.p.Symbol(name)
	if !ok {
		h.t.Fatalf("symbol %s is missing", name)
	}
	var seg []byte
	switch s.Segment {
	case isa.In:
		seg = h.buf.In
	case isa.Out:
		seg = h.buf.Out
	case isa.KV:
		seg = h.buf.KV
	case isa.State:
		seg = h.buf.State
	default:
		h.t.Fatalf("symbol %s is in segment %v", name, s.Segment)
	}
	return seg[s.Offset : s.Offset+s.Size]
}

// row returns row m of a host buffer of rows; rows are as far apart as the
// buffer's size says.
func (h *host) row(name string, m, rows int) []byte {
	h.t.Helper()
	b := h.bytes(name)
	pitch := len(b) / rows
	return b[m*pitch : (m+1)*pitch]
}

// padHeads returns the dims of a head as q and the cache keep them.
func padHeads(dim int) int { return (dim + 31) / 32 * 32 }

func putFloats(dst []byte, v []float32) {
	for i, f := range v {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(f))
	}
}

func putBF16(dst []byte, v []float32) {
	for i, f := range v {
		binary.LittleEndian.PutUint16(dst[2*i:], tensor.ToBF16(f))
	}
}

func getFloats(src []byte) []float32 {
	out := make([]float32, len(src)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
	return out
}

func getBF16(src []byte) []float32 {
	out := make([]float32, len(src)/2)
	for i := range out {
		out[i] = tensor.FromBF16(binary.LittleEndian.Uint16(src[2*i:]))
	}
	return out
}

// cacheOffset returns where the cache keeps an element, by docs/isa.md §2.
func cacheOffset(values bool, capacity, headDim, head, token, dim int) int {
	hpitch := capacity * headDim * 2
	if values {
		return head*hpitch + dim/16*(capacity*32) + token/2*64 + dim%16*4 + token%2*2
	}
	return head*hpitch + token/16*32*headDim + dim/2*64 + token%16*4 + dim%2*2
}

// rowsOf returns the token rows of a graph.
func rowsOf(g *onnx.Graph) int {
	for _, in := range g.Inputs {
		if in.Name == "hidden" {
			return int(in.Dims[0])
		}
	}
	return 1
}

// randomInputs draws values for a graph's inputs; spans are causal with a few
// that are narrower.
func randomInputs(r *rand.Rand, g *onnx.Graph) map[string]eval.Value {
	out := map[string]eval.Value{}
	for _, in := range g.Inputs {
		v := eval.Value{DType: in.DType, Dims: in.Dims}
		n := 1
		for _, d := range in.Dims {
			n *= int(d)
		}
		switch in.Name {
		case "spans":
			window := 0
			for _, other := range g.Inputs {
				if other.Name == "K" {
					window = int(other.Dims[0])
				}
			}
			rows := n / 2
			for m := range rows {
				hi := window - rows + m + 1
				lo := 0
				if m%5 == 4 {
					lo = r.IntN(hi)
				}
				v.I = append(v.I, int64(lo), int64(hi))
			}
		case "last_row":
			v.I = []int64{int64(rowsOf(g)) * 3 / 4}
		case "cos", "sin":
			for range n {
				v.F = append(v.F, float32(math.Cos(r.Float64()*7)))
			}
		default:
			for range n {
				f := float32(r.NormFloat64())
				if in.DType == onnx.BFloat16 {
					f = tensor.FromBF16(tensor.ToBF16(f))
				}
				v.F = append(v.F, f)
			}
		}
		out[in.Name] = v
	}
	return out
}

// bind writes ONNX inputs into the program's buffers.
func (h *host) bind(inputs map[string]eval.Value, context int) {
	h.t.Helper()
	for name, v := range inputs {
		switch name {
		case "cos":
			rows, half := int(v.Dims[0]), int(v.Dims[1])
			for m := range rows {
				rope := h.row("in.rope", m, rows)
				putFloats(rope, v.F[m*half:][:half])
				putFloats(rope[half*4:], inputs["sin"].F[m*half:][:half])
			}
			positions := h.bytes("in.positions")
			for m := range rows {
				binary.LittleEndian.PutUint32(positions[4*m:], uint32(firstPosition(context, rows)+m))
			}
		case "sin":
		case "K", "V":
			dst := h.bytes(map[string]string{"K": "kv.k", "V": "kv.v"}[name])
			window, heads, dim := int(v.Dims[0]), int(v.Dims[1]), int(v.Dims[2])
			for i, f := range v.F[:window*heads*dim] {
				at := cacheOffset(name == "V", capacity(context), padHeads(dim), i/dim%heads, i/dim/heads, i%dim)
				putBF16(dst[at:], []float32{f})
			}
		case "spans", "last_row":
			dst := h.bytes("in." + name)
			for i, x := range v.I {
				binary.LittleEndian.PutUint32(dst[4*i:], uint32(x))
			}
		default:
			h.bindRows(name, v)
		}
	}
}

// bindRows writes a matrix, or q with the padding of its heads.
func (h *host) bindRows(name string, v eval.Value) {
	h.t.Helper()
	rows := int(v.Dims[0])
	cols := len(v.F) / rows
	symbol := "in." + name
	if name == "state" {
		symbol = "state.state"
	}
	for m := range rows {
		dst, src := h.row(symbol, m, rows), v.F[m*cols:(m+1)*cols]
		switch {
		case v.DType != onnx.BFloat16:
			putFloats(dst, src)
		case len(v.Dims) == 3:
			dim := int(v.Dims[2])
			for i := range int(v.Dims[1]) {
				putBF16(dst[i*padHeads(dim)*2:], src[i*dim:(i+1)*dim])
			}
		default:
			putBF16(dst, src)
		}
	}
}

// rows reads a matrix, without the padding of its rows and heads.
func (h *host) rows(o onnx.ValueInfo) []float32 {
	h.t.Helper()
	rows, cols := int(o.Dims[0]), 1
	for _, d := range o.Dims[1:] {
		cols *= int(d)
	}
	head := 0
	if o.Name == "q" {
		head = int(o.Dims[2])
	}
	if o.Name == "attention" {
		head = h.headDim
	}
	var out []float32
	for m := range rows {
		src := h.row("out."+o.Name, m, rows)
		switch {
		case o.DType != onnx.BFloat16:
			out = append(out, getFloats(src[:4*cols])...)
		case head > 0:
			for i := range cols / head {
				out = append(out, getBF16(src[i*padHeads(head)*2:][:head*2])...)
			}
		default:
			out = append(out, getBF16(src[:2*cols])...)
		}
	}
	return out
}

// firstPosition is where PRE appends in the test: at the end of the context.
func firstPosition(context, rows int) int { return context - rows }

// capacity is how many tokens the cache has room for.
func capacity(context int) int { return (context + 31) / 32 * 32 }

// output reads what corresponds to an ONNX output.
func (h *host) output(o onnx.ValueInfo, context int) []float32 {
	h.t.Helper()
	switch o.Name {
	case "k", "v":
		src := h.bytes("kv." + o.Name)
		rows, heads, dim := int(o.Dims[0]), int(o.Dims[1]), int(o.Dims[2])
		out := make([]float32, rows*heads*dim)
		for i := range out {
			at := cacheOffset(o.Name == "v", capacity(context), padHeads(dim), i/dim%heads, firstPosition(context, rows)+i/dim/heads, i%dim)
			out[i] = getBF16(src[at : at+2])[0]
		}
		return out
	case "top_values":
		var out []float32
		pairs := getFloats(h.bytes("out.top"))
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, pairs[i])
		}
		return out
	}
	return h.rows(o)
}

// TestCompiledMatchesEvaluator runs every kind of part, phase and precision on
// the emulator and compares with the ONNX evaluator on the same graph.
func TestCompiledMatchesEvaluator(t *testing.T) {
	for _, c := range []struct {
		name  string
		model *model
		group int
	}{{"bard", openModel(t), 128}, {"odd", oddModel(t), 48}} {
		for _, p := range precisions {
			for _, v := range variants(c.model.cfg, c.group) {
				if v.id.Part == addr.Cache && p.options.Matrix.Bits != 16 {
					continue // no weights: equal programs
				}
				t.Run(c.name+"/"+p.name+"/"+v.name, func(t *testing.T) {
					compare(t, c.model, v, p.options, lower.Limits{})
				})
			}
		}
	}
}

// TestSmallMemoryMatchesEvaluator does the same with so little memory that
// values wait in DRAM, rows go in blocks and K is split over tiles.
func TestSmallMemoryMatchesEvaluator(t *testing.T) {
	for _, c := range []struct {
		name   string
		model  *model
		group  int
		limits lower.Limits
	}{
		{"bard", openModel(t), 128, lower.Limits{S: 288 << 10, Tile: 8 << 10}},
		{"bard rows", openModel(t), 128, lower.Limits{S: 80 << 10, Tile: 4160}},
		{"odd", oddModel(t), 48, lower.Limits{S: 40 << 10, Tile: 2112}},
	} {
		for _, i := range []int{0, 1, 4} { // one of each width
			p := precisions[i]
			for _, v := range variants(c.model.cfg, c.group) {
				if v.id.Part == addr.Cache && p.options.Matrix.Bits != 16 {
					continue
				}
				t.Run(c.name+"/"+p.name+"/"+v.name, func(t *testing.T) {
					compare(t, c.model, v, p.options, c.limits)
				})
			}
		}
	}
}

func compare(t *testing.T, m *model, v variant, o rewrite.Options, limits lower.Limits) {
	t.Helper()
	compareWithin(t, m, v, o, limits, bounds{floatBound, bf16Bound})
}

func compareWithin(t *testing.T, m *model, v variant, o rewrite.Options, limits lower.Limits, b bounds) {
	t.Helper()
	g := m.graph(t, v, o)
	var elf bytes.Buffer
	if err := modalix.CompilePart(g, m.data, modalix.Options{Name: v.name, Limits: limits}, &elf); err != nil {
		t.Fatal(err)
	}
	p, err := emu.Load(elf.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	inputs := randomInputs(rand.New(rand.NewPCG(7, uint64(len(v.name)))), &g.Graph)
	h := newHost(t, p)
	h.headDim = m.cfg.HeadDim
	h.bind(inputs, v.params.ContextTokens)
	machine := emu.NewMachine()
	for range 2 { // the second time over NaN wherever the program does not write
		for i := range h.buf.Tmp {
			h.buf.Tmp[i] = 0xff
		}
		machine.Fill(0xff)
		if err := machine.Run(p, h.buf); err != nil {
			t.Fatal(err)
		}
	}
	want, err := eval.Run(g, m.data, inputs)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range g.Graph.Outputs {
		if o.Name == "top_ids" {
			checkTop(t, h, want, b.floats)
			continue
		}
		got := h.output(o, v.params.ContextTokens)
		bound := b.floats
		if o.DType == onnx.BFloat16 {
			bound = b.bf16
		}
		worst, mean := difference(t, o.Name, got, want[o.Name].F)
		if most := meanBound(int(o.Dims[0])); !(mean <= most) {
			t.Errorf("%s differs by %.3g of its average magnitude on average, bound %.3g", o.Name, mean, most)
		}
		t.Logf("%s: largest difference %.3g of the largest magnitude, %d instructions, %d bytes",
			o.Name, worst, len(p.Code(0))/isa.WordSize, elf.Len())
		if !(worst <= bound) {
			t.Errorf("%s differs by %.3g of its largest magnitude, bound %.3g", o.Name, worst, bound)
		}
	}
}

// difference returns the largest difference over the largest magnitude, and
// the average one over the average one.
func difference(t *testing.T, name string, got, want []float32) (worst, mean float64) {
	t.Helper()
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%s has %d elements, want %d", name, len(got), len(want))
	}
	var largest, sum, all float64 // 0 gives NaN, which fails
	for i := range got {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(d) {
			t.Fatalf("%s[%d] = %v, want %v", name, i, got[i], want[i])
		}
		worst = max(worst, d)
		largest = max(largest, math.Abs(float64(want[i])))
		sum, all = sum+d, all+math.Abs(float64(want[i]))
	}
	return worst / largest, sum / all
}

// checkTop compares ids; two that stand the other way round must be as close
// as the bound allows.
func checkTop(t *testing.T, h *host, want map[string]eval.Value, bound float64) {
	t.Helper()
	pairs := h.bytes("out.top")
	values := want["top_values"].F
	rank := map[int64]int{}
	for i, id := range want["top_ids"].I {
		rank[id] = i
	}
	for i := range values {
		id := int64(int32(binary.LittleEndian.Uint32(pairs[8*i+4:])))
		at, ok := rank[id]
		if !ok {
			at = len(values) - 1
		}
		if gap := math.Abs(float64(values[i]) - float64(values[at])); gap > bound*math.Abs(float64(values[0])) {
			t.Errorf("top_ids[%d] = %d, want %d", i, id, want["top_ids"].I[i])
		}
	}
}
