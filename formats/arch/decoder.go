package arch

import (
	"fmt"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/internal/addr"
)

// TensorNames lists the checkpoint's tensors that a part reads, in the order
// in which its graph does.
func (c *Config) TensorNames(id addr.PartID) []string {
	var out []string
	for _, m := range c.family.tensors(c, &c.family.names, id) {
		out = append(out, m.name)
	}
	return out
}

// Shape returns the shape that the configuration implies for a tensor of the
// checkpoint, one that the embeddings or a part reads.
func (c *Config) Shape(name string) ([]int, error) {
	if name == c.EmbeddingName() {
		return []int{c.VocabSize, c.HiddenSize}, nil
	}
	for _, id := range c.Parts() {
		for _, t := range c.family.tensors(c, &c.family.names, id) {
			if t.name == name {
				return t.shape, nil
			}
		}
	}
	return nil, fmt.Errorf("tensor %q is not part of %s", name, c.Architecture)
}

// tensorShape is a tensor with the shape that the configuration implies.
type tensorShape struct {
	name  string
	shape []int
}

// decoderTensors lists the tensors of a layer with grouped-query attention
// and a gated MLP.
func decoderTensors(c *Config, n *names, id addr.PartID) []tensorShape {
	attention, kv := c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	var out []tensorShape
	vector := func(pattern string) {
		out = append(out, tensorShape{layerName(pattern, id.Index), []int{c.HiddenSize}})
	}
	linear := func(pattern string, rows, cols int, bias bool) {
		name := layerName(pattern, id.Index)
		out = append(out, tensorShape{name + ".weight", []int{rows, cols}})
		if bias {
			out = append(out, tensorShape{name + ".bias", []int{rows}})
		}
	}
	switch id.Part {
	case addr.Pre:
		vector(n.inputNorm)
		linear(n.q, attention, c.HiddenSize, c.AttentionBias)
		linear(n.k, kv, c.HiddenSize, c.AttentionBias)
		linear(n.v, kv, c.HiddenSize, c.AttentionBias)
	case addr.Post:
		linear(n.o, c.HiddenSize, attention, c.AttentionBias)
		vector(n.postNorm)
		linear(n.gate, c.IntermediateSize, c.HiddenSize, c.MLPBias)
		linear(n.up, c.IntermediateSize, c.HiddenSize, c.MLPBias)
		linear(n.down, c.HiddenSize, c.IntermediateSize, c.MLPBias)
		if id.Index == c.NumHiddenLayers-1 {
			out = append(out, tensorShape{n.finalNorm, []int{c.HiddenSize}}, tensorShape{c.HeadName(), []int{c.VocabSize, c.HiddenSize}})
		}
	case addr.Cache, addr.Conv, addr.Vision:
	}
	return out
}

// decoderPre builds input norm, projections and RoPE:
// hidden [M, H], cos and sin [M, D/2] → q [M, heads, D], k and v [M, kvHeads, D].
func decoderPre(c *Config, n *names, b *builder, rows int) {
	d := c.HeadDim
	hidden := b.input("hidden", onnx.Float, rows, c.HiddenSize)
	cos := b.reshape("cos.batch", b.input("cos", onnx.Float, rows, d/2), 1, rows, d/2)
	sin := b.reshape("sin.batch", b.input("sin", onnx.Float, rows, d/2), 1, rows, d/2)
	x := b.rmsNorm("input_norm", hidden, layerName(n.inputNorm, b.id.Index), c.RMSNormEps)
	for _, p := range []struct {
		out, label, pattern string
		heads               int
		rotate              bool
	}{
		{"q", "q_proj", n.q, c.NumAttentionHeads, true},
		{"k", "k_proj", n.k, c.NumKeyValueHeads, true},
		{"v", "v_proj", n.v, c.NumKeyValueHeads, false},
	} {
		y := b.linear(p.label, x, layerName(p.pattern, b.id.Index), p.heads*d, c.AttentionBias)
		if p.rotate {
			y = b.reshape(p.out+".batch", y, 1, rows, p.heads*d)
			y = b.node("RotaryEmbedding", p.out+".rope", []value{y, cos, sin}, onnx.Float, y.dims, intAttr("interleaved", 0), intAttr("num_heads", p.heads))
		}
		b.output(b.reshape(p.out, y, rows, p.heads, d))
	}
}

// decoderCache builds attention over a window of W tokens:
// q [M, heads, D], K and V [W, kvHeads, D], spans int32 [M, 2] → attention [M, heads·D].
func decoderCache(c *Config, b *builder, rows, window int) {
	heads, kv, d := c.NumAttentionHeads, c.NumKeyValueHeads, c.HeadDim
	group := heads / kv
	q := b.input("q", onnx.Float, rows, heads, d)
	k := b.input("K", onnx.Float, window, kv, d)
	v := b.input("V", onnx.Float, window, kv, d)
	spans := b.input("spans", onnx.Int32, rows, 2)

	q = b.reshape("q.groups", b.transpose("q.heads", q, 1, 0, 2), kv, group*rows, d)
	scores := b.matMul("scores", q, b.transpose("K.heads", k, 1, 2, 0))
	scale := b.floats("scale", nil, invSqrt(d))
	scores = b.node("Mul", "scores.scaled", []value{scores, scale}, onnx.Float, scores.dims)
	scores = b.reshape("scores.rows", scores, kv, group, rows, window)

	column := func(name string, i int) value {
		return b.node("Gather", name, []value{spans, b.ints(name+".index", int64(i))}, onnx.Int32, []int{rows, 1}, intAttr("axis", 1))
	}
	positions := b.positions("positions", window)
	mask := []int{rows, window}
	from := b.node("GreaterOrEqual", "seen.from", []value{positions, column("span.lo", 0)}, onnx.Bool, mask)
	to := b.node("Less", "seen.to", []value{positions, column("span.hi", 1)}, onnx.Bool, mask)
	seen := b.node("And", "seen", []value{from, to}, onnx.Bool, mask)
	scores = b.node("Where", "scores.masked", []value{seen, scores, b.floats("unseen", nil, negInf)}, onnx.Float, scores.dims)
	probs := b.node("Softmax", "probs", []value{scores}, onnx.Float, scores.dims, intAttr("axis", -1))

	probs = b.reshape("probs.groups", probs, kv, group*rows, window)
	out := b.matMul("values", probs, b.transpose("V.heads", v, 1, 0, 2))
	out = b.transpose("values.rows", b.reshape("values.heads", out, heads, rows, d), 1, 0, 2)
	b.output(b.reshape("attention", out, rows, heads*d))
}

// decoderPost builds output projection, norms and MLP, and the head in the last layer:
// attention [M, heads·D], hidden [M, H] → hidden_out [M, H], or logits [M, V],
// or top_values and top_ids [1, k].
func decoderPost(c *Config, n *names, b *builder, rows int, p Params) {
	last := b.id.Index == c.NumHiddenLayers-1
	attention := b.input("attention", onnx.Float, rows, c.NumAttentionHeads*c.HeadDim)
	hidden := b.input("hidden", onnx.Float, rows, c.HiddenSize)
	o := b.linear("o_proj", attention, layerName(n.o, b.id.Index), c.HiddenSize, c.AttentionBias)
	h := b.add("residual", hidden, o)
	x := b.rmsNorm("post_norm", h, layerName(n.postNorm, b.id.Index), c.RMSNormEps)
	gate := b.linear("gate_proj", x, layerName(n.gate, b.id.Index), c.IntermediateSize, c.MLPBias)
	up := b.linear("up_proj", x, layerName(n.up, b.id.Index), c.IntermediateSize, c.MLPBias)
	sigmoid := b.node("Sigmoid", "gate.sigmoid", []value{gate}, onnx.Float, gate.dims)
	silu := b.node("Mul", "gate.silu", []value{gate, sigmoid}, onnx.Float, gate.dims)
	act := b.node("Mul", "mlp", []value{silu, up}, onnx.Float, gate.dims)
	down := b.linear("down_proj", act, layerName(n.down, b.id.Index), c.HiddenSize, c.MLPBias)
	if !last {
		b.output(b.add("hidden_out", h, down))
		return
	}
	h = b.add("hidden_out", h, down)
	if !p.ReturnLogits && b.id.Phase == addr.Prefill {
		row := b.input("last_row", onnx.Int32, 1)
		h = b.node("Gather", "last_hidden", []value{h, row}, onnx.Float, []int{1, c.HiddenSize}, intAttr("axis", 0))
	}
	h = b.rmsNorm("final_norm", h, n.finalNorm, c.RMSNormEps)
	logits := b.gemm("logits", h, c.HeadName(), c.VocabSize, "")
	if p.ReturnLogits {
		b.output(logits)
		return
	}
	k := min(TopCount, c.VocabSize)
	top := b.nodes("TopK", []string{"top_values", "top_indices"}, []value{logits, b.ints("top.k", int64(k))},
		[]onnx.DataType{onnx.Float, onnx.Int64}, []int{1, k}, intAttr("axis", -1), intAttr("largest", 1), intAttr("sorted", 1))
	b.output(top[0])
	b.output(b.node("Cast", "top_ids", []value{top[1]}, onnx.Int32, []int{1, k}, intAttr("to", int(onnx.Int32))))
}
