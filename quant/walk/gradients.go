package walk

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/formats/onnx/gradient"
	"github.com/llima-build/llima/internal/ordered"
	"github.com/llima-build/llima/quant/calib"
)

// atOnce bounds the hidden states that gradients keep, in elements: as many
// texts go through the model together as fit, and two at least.
const atOnce = 1 << 26

// Gradients computes, for every matrix of the layers, the mean of g·gᵀ: g is
// what the log probability of tokens drawn from the model's own distribution
// changes by with an output of the matrix (the Fisher information), by one
// draw a position. It looks at as many texts as [gradientTexts] counts, picked
// evenly. alloc gives zeroed memory for a matrix [n, k],
// [calib.GradientSize](n) elements, laid out as [calib.Problem] says. It is
// complete when Gradients returns.
func (m *Model) Gradients(ctx context.Context, texts [][]int, alloc func(tensor string, n int) ([]float32, error), progress func(done, total int)) error {
	picked := make([][]int, gradientTexts(len(texts)))
	for i := range picked {
		picked[i] = texts[i*len(texts)/len(picked)]
	}
	if err := m.gradients(ctx, picked, alloc, progress); err != nil {
		return fmt.Errorf("gradients, of %d of %d texts: %w", len(picked), len(texts), err)
	}
	return nil
}

// gradientTexts is how many of some texts gradients are found from: half of
// them, and 32 at least. On bard-3m all 128 texts gain less than what two texts
// to evaluate on differ by; a quarter of them loses 2 % more on average.
func gradientTexts(texts int) int { return max(texts/2, min(texts, 32)) }

// gradients is [Model.Gradients] for the texts that are picked. The draw
// depends on a text's index alone.
func (m *Model) gradients(ctx context.Context, texts [][]int, alloc func(tensor string, n int) ([]float32, error), progress func(done, total int)) error {
	b := &backward{m: m, alloc: alloc, sums: map[string][]float32{}, widths: map[string]int{}}
	layers := m.Arch.NumHiddenLayers
	total := 2 * layers * len(texts)
	b.tick = func(n int) {
		if b.done += n; progress != nil {
			progress(b.done, total)
		}
	}
	together := max(2, atOnce/(layers*m.Tokens*m.Arch.HiddenSize))
	for first := 0; first < len(texts); first += together {
		part := texts[first:min(first+together, len(texts))]
		if err := b.texts(ctx, first, part); err != nil {
			return err
		}
	}
	for name, sum := range b.sums {
		divide(sum, m.Tokens*len(texts))
		n := b.widths[name]
		for _, size := range blocks(n) {
			mirror(sum, size)
			sum = sum[size*size:]
		}
	}
	return nil
}

// backward sums what [Model.Gradients] returns.
type backward struct {
	m     *Model
	alloc func(tensor string, n int) ([]float32, error)
	sums  map[string][]float32
	// widths are how many outputs the matrices have.
	widths map[string]int
	done   int
	tick   func(texts int)
}

// texts takes some texts, the first of which has an index, through the model
// and back.
func (b *backward) texts(ctx context.Context, first int, texts [][]int) error {
	layers := b.m.Arch.NumHiddenLayers
	borders := make([]Stream, layers)
	for l := range borders {
		borders[l] = b.m.NewStream(len(texts))
		if l == 0 {
			if err := b.m.Embed(borders[0], texts); err != nil {
				return err
			}
			continue
		}
		for i, from := range borders[l-1] {
			copy(borders[l][i], from)
		}
		if err := b.m.Advance(ctx, l-1, borders[l], nil); err != nil {
			return err
		}
		b.tick(len(texts))
	}
	var grads [][]float32 // of hidden_out
	for l := layers - 1; l >= 0; l-- {
		g, err := b.m.layer(l)
		if err != nil {
			return fmt.Errorf("layer %d: %w", l, err)
		}
		if l == layers-1 {
			if err := g.bindHead(); err != nil {
				return err
			}
		}
		next := make([][]float32, len(texts))
		err = each(ctx, len(texts), func(i int) (map[string]eval.Value, error) {
			if l == layers-1 {
				r := rand.New(rand.NewPCG(0x9e3779b97f4a7c15, uint64(first+i)))
				return g.back(borders[l][i], "logits", func(logits []float32) []float32 { return drawn(logits, b.m.Arch.VocabSize, r) })
			}
			return g.back(borders[l][i], "hidden_out", func([]float32) []float32 { return grads[i] })
		}, func(i int, v map[string]eval.Value) error {
			next[i] = v["hidden"].F
			return b.add(l, first+i, g, v)
		})
		if err != nil {
			return err
		}
		grads, borders[l] = next, nil
		b.tick(len(texts))
	}
	b.tick(len(texts))
	return nil
}

// back returns the gradients of a layer's input and of what its matrices give,
// from that of a value at its end, which seed makes of the value.
func (g *graph) back(hidden []float32, end string, seed func([]float32) []float32) (map[string]eval.Value, error) {
	v, err := g.run(nil, map[string]eval.Value{"hidden": g.hidden(hidden)}, g.between(end)...)
	if err != nil {
		return nil, err
	}
	maps.Copy(v, g.fixed)
	v["hidden"] = g.hidden(hidden)
	at := v[end]
	at.F = seed(at.F)
	want := []string{"hidden"}
	for _, x := range g.groups() {
		for _, n := range x.gemms {
			want = append(want, n.Outputs[0])
		}
	}
	return gradient.Run(&g.model.Graph, v, map[string]eval.Value{end: at}, want...)
}

// between lists the values that lead to one, and those constants that are not
// fixed already.
func (g *graph) between(end string) []string {
	needed := map[string]bool{end: true}
	out := []string{end}
	for _, n := range slices.Backward(g.model.Graph.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(o string) bool { return needed[o] }) {
			continue
		}
		for _, in := range n.Inputs {
			_, fixed := g.fixed[in]
			if _, typed := g.types[in]; typed && !needed[in] && !fixed && in != "hidden" {
				out = append(out, in)
				needed[in] = true
			}
		}
	}
	for i := range g.model.Graph.Nodes { // a split has outputs that nothing may read
		n := &g.model.Graph.Nodes[i]
		for _, o := range n.Outputs {
			if n.Op == "Split" && !needed[o] {
				out = append(out, o)
			}
		}
	}
	return out
}

// drawn turns logits into their gradient of the log probability of tokens
// that are drawn from them, up to its sign.
func drawn(logits []float32, vocab int, r *rand.Rand) []float32 {
	out := make([]float32, len(logits))
	for at := 0; at < len(logits); at += vocab {
		p := out[at : at+vocab]
		softmax(p, logits[at:at+vocab])
		p[draw(p, r.Float64())]--
	}
	return out
}

// softmax turns logits into probabilities, in an order and with an exponential
// of our own.
func softmax(p, logits []float32) {
	ordered.ExpOf(p, logits, ordered.Max(logits))
	sum := 0.0
	for _, v := range p {
		sum += float64(v)
	}
	for i := range p {
		p[i] = float32(float64(p[i]) / sum)
	}
}

// draw returns the token at which the probabilities below u end, the last one
// that has any where rounding leaves a rest.
func draw(p []float32, u float64) int {
	last := 0
	for i, v := range p {
		if u -= float64(v); u < 0 {
			return i
		}
		if v > 0 {
			last = i
		}
	}
	return last
}

// add adds the gradients of a text.
func (b *backward) add(layer, text int, g *graph, v map[string]eval.Value) error {
	for _, x := range g.groups() {
		for _, n := range x.gemms {
			name, d := n.Inputs[1], v[n.Outputs[0]].F
			if err := b.m.check(layer, text, "gradient of "+n.Outputs[0], d); err != nil {
				return err
			}
			width := len(d) / b.m.Tokens
			if b.sums[name] == nil {
				sum, err := b.alloc(name, width)
				if err != nil {
					return err
				}
				if len(sum) != calib.GradientSize(width) {
					return fmt.Errorf("llima: internal error: %d elements for gradients of %q", len(sum), name)
				}
				b.sums[name], b.widths[name] = sum, width
			}
			addBlocks(b.sums[name], d, b.m.Tokens, width)
		}
	}
	return nil
}

// addBlocks adds yᵀ·y of rows of y [rows, n] to the blocks along the diagonal.
func addBlocks(sum, y []float32, rows, n int) {
	first := 0
	for _, size := range blocks(n) {
		addSquare(sum, y, rows, n, first, size)
		first, sum = first+size, sum[size*size:]
	}
}

// blocks lists the sizes of the blocks of gradients of n outputs.
func blocks(n int) []int {
	var out []int
	for b := calib.GradientBlock(n); n > 0; n -= b {
		out = append(out, min(b, n))
	}
	return out
}
