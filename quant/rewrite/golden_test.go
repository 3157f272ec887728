package rewrite_test

import (
	"math"
	"os"
	"slices"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/rewrite"
)

var (
	// long asks for the long prompt too.
	long      = os.Getenv("LLIMA_LONG") != ""
	precision = map[string]*rewrite.Options{
		"float": nil,
		"bf16":  {Matrix: bf16, Head: bf16},
		"int8":  {Matrix: int8Channel, Head: int8Channel},
		"int4":  {Matrix: int4g32, Head: int8Channel},
	}
	bf16        = quant.Format{Bits: 16}
	int8Channel = quant.Format{Bits: 8}
	int4g32     = quant.Format{Bits: 4, GroupSize: 32}
)

// prompts are the goldens with group sizes that leave pad rows, and that need
// several windows.
var prompts = []struct {
	name string
	p    arch.Params
}{
	{"short", arch.Params{ContextTokens: 32, GroupTokens: 8, MaskTokens: 16, ReturnLogits: true}},
	{"medium", arch.Params{ContextTokens: 64, GroupTokens: 16, MaskTokens: 32, ReturnLogits: true}},
	{"long", arch.Params{ContextTokens: 512, GroupTokens: 128, MaskTokens: 128, ReturnLogits: true}},
}

// distance is the mean and the largest absolute difference, and the largest
// over the largest magnitude.
type distance struct{ mean, most, relative float64 }

func distanceOf(t *testing.T, got, want []float32) distance {
	t.Helper()
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%d elements, want %d", len(got), len(want))
	}
	var d distance
	var scale float64
	for i := range got {
		e := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(e) {
			t.Fatalf("element %d = %v, want %v", i, got[i], want[i])
		}
		d.mean += e
		d.most = max(d.most, e)
		scale = max(scale, math.Abs(float64(want[i])))
	}
	d.mean /= float64(len(got))
	d.relative = d.most / scale
	return d
}

// deviation is the standard deviation of all elements.
func deviation(x []float32) float64 {
	var sum, squares float64
	for _, v := range x {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	n := float64(len(x))
	return math.Sqrt(squares/n - (sum/n)*(sum/n))
}

// argmaxDiffers counts rows whose best id differs where the margin of the
// best over the second exceeds margin.
func argmaxDiffers(got, want []float32, vocab int, margin float64) (differ, rows int) {
	for at := 0; at < len(want); at += vocab {
		w := want[at : at+vocab]
		order := slices.Clone(w)
		slices.Sort(order)
		if float64(order[vocab-1]-order[vocab-2]) <= margin {
			continue
		}
		rows++
		g := got[at : at+vocab]
		if slices.Index(g, slices.Max(g)) != slices.Index(w, slices.Max(w)) {
			differ++
		}
	}
	return differ, rows
}

// TestGolden compares whole models with transformers, in float32. Bounds are
// about twice what was measured.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		precision string
		prompt    int
		relative  float64 // of hidden states and logits
		mean      float64 // of logits
	}{
		{"float", 0, 1.5e-6, 3e-6},
		{"float", 1, 1.5e-6, 3e-6},
		{"float", 2, 1.5e-6, 3e-6},
		{"bf16", 0, 0.008, 0.015},
		{"bf16", 1, 0.008, 0.015},
		{"bf16", 2, 0.008, 0.015},
		{"int8", 0, 0.025, 0.04},
		{"int8", 1, 0.025, 0.04},
		{"int4", 0, 0.2, 0.35},
		{"int4", 1, 0.2, 0.35},
	} {
		prompt := prompts[c.prompt]
		if prompt.name == "long" && !long {
			continue
		}
		t.Run(c.precision+"/"+prompt.name, func(t *testing.T) {
			m := openBard(t)
			g := readGolden(t, prompt.name, m.cfg.NumHiddenLayers)
			hidden, logits := newRunner(t, m, prompt.p, precision[c.precision]).logits(t, g.ids)
			for l, h := range hidden {
				if g.hidden[l] == nil {
					continue
				}
				d := distanceOf(t, h, g.hidden[l])
				t.Logf("hidden.%d: mean %.3g, max %.3g, relative %.3g", l, d.mean, d.most, d.relative)
				if d.relative > c.relative {
					t.Errorf("hidden.%d differs by %.3g of its largest magnitude, bound %.3g", l, d.relative, c.relative)
				}
			}
			logits = logits[len(logits)-len(g.logits):]
			d := distanceOf(t, logits, g.logits)
			differ, rows := argmaxDiffers(logits, g.logits, m.cfg.VocabSize, 0)
			firm, firmRows := argmaxDiffers(logits, g.logits, m.cfg.VocabSize, 2*d.most)
			t.Logf("logits: mean %.3g, max %.3g, relative %.3g; argmax differs at %d of %d", d.mean, d.most, d.relative, differ, rows)
			if d.relative > c.relative || d.mean > c.mean {
				t.Errorf("logits differ by %.3g (mean %.3g), bounds %.3g of the largest, %.3g", d.relative, d.mean, c.relative, c.mean)
			}
			if firm > 0 {
				t.Errorf("argmax differs at %d of %d tokens whose margin exceeds twice the largest difference", firm, firmRows)
			}
		})
	}
}

// TestDecodeAgreesWithPrefill runs the last tokens of a prompt one by one:
// the same operations on the same numbers, hence the same bits.
func TestDecodeAgreesWithPrefill(t *testing.T) {
	m := openBard(t)
	g := readGolden(t, "medium", m.cfg.NumHiddenLayers)
	p := prompts[1].p
	for name, o := range precision {
		_, want := newRunner(t, m, p, o).logits(t, g.ids)
		r := newRunner(t, m, p, o)
		const head = 28
		r.logits(t, g.ids[:head])
		e := m.embed(t, g.ids)
		for at := head; at < len(g.ids); at++ {
			h, v := m.cfg.HiddenSize, m.cfg.VocabSize
			_, last := r.forward(t, addr.Decode, at, e[at*h:(at+1)*h])
			if d := distanceOf(t, last["logits"].F, want[at*v:(at+1)*v]); d.most > 0 {
				t.Errorf("%s: decode of token %d differs from prefill by %.3g, want equal bits", name, at, d.most)
			}
		}
	}
}

// TestTopAgreesWithLogits checks the other form of the last part.
func TestTopAgreesWithLogits(t *testing.T) {
	m := openBard(t)
	g := readGolden(t, "short", m.cfg.NumHiddenLayers)
	p := prompts[0].p
	o := precision["bf16"]
	_, logits := newRunner(t, m, p, o).logits(t, g.ids)
	row := logits[len(logits)-m.cfg.VocabSize:]
	p.ReturnLogits = false
	_, last := newRunner(t, m, p, o).forward(t, addr.Prefill, 0, m.embed(t, g.ids))
	values, ids := last["top_values"], last["top_ids"]
	if len(values.F) != arch.TopCount || !slices.Equal(values.Dims, []int64{1, arch.TopCount}) || ids.DType != onnx.Int32 {
		t.Fatalf("top_values is %v, top_ids %v%v", values.Dims, ids.DType, ids.Dims)
	}
	sorted := slices.Clone(row)
	slices.SortFunc(sorted, func(a, b float32) int {
		if a > b {
			return -1
		}
		return 1
	})
	for i, v := range values.F {
		if v != sorted[i] || row[ids.I[i]] != v {
			t.Errorf("top %d = %v at %d, want %v", i, v, ids.I[i], sorted[i])
		}
	}
}

// TestResidualType measures a residual stream that is rounded to BF16 after
// every sum, against one that stays float32 as llima has it.
func TestResidualType(t *testing.T) {
	for _, prompt := range prompts {
		if prompt.name == "long" && !long {
			continue
		}
		var mean [2]float64
		for i, round := range []bool{false, true} {
			m := openBard(t)
			if round {
				m.change = roundResidual
			}
			g := readGolden(t, prompt.name, m.cfg.NumHiddenLayers)
			_, logits := newRunner(t, m, prompt.p, precision["bf16"]).logits(t, g.ids)
			logits = logits[len(logits)-len(g.logits):]
			d := distanceOf(t, logits, g.logits)
			differ, rows := argmaxDiffers(logits, g.logits, m.cfg.VocabSize, 0)
			t.Logf("%s: BF16 residual %v: logits differ by %.4f on average, %.3f at most; argmax at %d of %d", prompt.name, round, d.mean, d.most, differ, rows)
			mean[i] = d.mean
		}
		if mean[1] < mean[0] {
			t.Errorf("%s: a BF16 residual is closer (%.4f) than a float32 one (%.4f)", prompt.name, mean[1], mean[0])
		}
	}
}

// roundResidual inserts a rounding after the two sums of POST.
func roundResidual(m *onnx.Model) {
	to := func(dt onnx.DataType) []onnx.Attr {
		return []onnx.Attr{{Name: "to", Kind: onnx.AttrInt, Int: int64(dt)}}
	}
	g := &m.Graph
	var nodes []onnx.Node
	for _, n := range g.Nodes {
		if n.Op == "Add" && (n.Name == "residual" || n.Name == "hidden_out") {
			out := n.Outputs[0]
			n.Outputs = []string{out + ".sum"}
			nodes = append(nodes, n,
				onnx.Node{Name: out + ".narrow", Op: "Cast", Inputs: []string{out + ".sum"}, Outputs: []string{out + ".narrow"}, Attrs: to(onnx.BFloat16)},
				onnx.Node{Name: out, Op: "Cast", Inputs: []string{out + ".narrow"}, Outputs: []string{out}, Attrs: to(onnx.Float)})
			continue
		}
		nodes = append(nodes, n)
	}
	g.Nodes = nodes
}
