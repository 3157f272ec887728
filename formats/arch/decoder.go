package arch

import (
	"fmt"
	"math"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/internal/addr"
)

// TensorShape is a tensor of the checkpoint with the shape that the
// configuration implies.
type TensorShape struct {
	Name  string
	Shape []int
}

// Tensors lists what a part reads of the checkpoint, in the order in which its
// graph does.
func (c *Config) Tensors(id addr.PartID) []TensorShape {
	if id.Part == addr.Cache {
		return nil
	}
	b := newBuilder(c, id, nil)
	b.part(Params{ContextTokens: 1, GroupTokens: 1, MaskTokens: 1})
	return b.tensors
}

// TensorNames lists the names of [Config.Tensors].
func (c *Config) TensorNames(id addr.PartID) []string {
	var out []string
	for _, t := range c.Tensors(id) {
		out = append(out, t.Name)
	}
	return out
}

// Shape returns the shape that the configuration implies for a tensor of the
// checkpoint, one that the embeddings or a part reads.
func (c *Config) Shape(name string) ([]int, error) {
	if shape, ok := c.shapes()[name]; ok {
		return shape, nil
	}
	return nil, fmt.Errorf("tensor %q is not part of %s", name, c.Architecture)
}

func (c *Config) allShapes() map[string][]int {
	out := map[string][]int{c.EmbeddingName(): {c.VocabSize, c.HiddenSize}}
	for _, id := range c.Parts() {
		if id.Phase != addr.Prefill {
			break
		}
		for _, t := range c.Tensors(id) {
			out[t.Name] = t.Shape
		}
	}
	return out
}

// pre builds input norm, projections, norms of queries and keys, and RoPE:
// hidden [M, H], cos and sin [M, R/2] → q [M, heads, D], k and v [M, kvHeads, D].
func (b *builder) pre(rows int) {
	c, n := b.cfg, &b.cfg.family.names
	d, half := c.HeadDim, c.RotaryDim/2
	hidden := b.input("hidden", onnx.Float, rows, c.HiddenSize)
	cos := b.reshape("cos.batch", b.input("cos", onnx.Float, rows, half), 1, rows, half)
	sin := b.reshape("sin.batch", b.input("sin", onnx.Float, rows, half), 1, rows, half)
	x := b.rmsNorm("input_norm", hidden, n.inputNorm)
	kinds := []struct {
		out, label, pattern, norm string
		heads                     int
		rotate                    bool
	}{
		{"q", "q_proj", n.q, n.qNorm, c.NumAttentionHeads, true},
		{"k", "k_proj", n.k, n.kNorm, c.NumKeyValueHeads, true},
		{"v", "v_proj", n.v, "", c.NumKeyValueHeads, false},
	}
	var fused []value
	if n.qkv != "" {
		all := b.linear("qkv_proj", x, n.qkv, (c.NumAttentionHeads+2*c.NumKeyValueHeads)*d, c.QKVBias)
		fused = b.split([]string{"q_proj", "k_proj", "v_proj"}, all, c.NumAttentionHeads*d, c.NumKeyValueHeads*d, c.NumKeyValueHeads*d)
	}
	for i, p := range kinds {
		var y value
		if fused != nil {
			y = fused[i]
		} else {
			y = b.linear(p.label, x, p.pattern, p.heads*d, c.QKVBias)
		}
		if p.norm != "" {
			y = b.rmsNorm(p.out+"_norm", b.reshape(p.out+".heads", y, rows, p.heads, d), p.norm)
		}
		if p.rotate {
			y = b.rotary(p.out, b.reshape(p.out+".batch", y, 1, rows, p.heads*d), cos, sin, p.heads)
		}
		b.output(b.reshape(p.out, y, rows, p.heads, d))
	}
}

// rotary turns the first RotaryDim dims of every head.
func (b *builder) rotary(out string, x, cos, sin value, heads int) value {
	attrs := []onnx.Attr{intAttr("interleaved", 0), intAttr("num_heads", heads)}
	if b.cfg.RotaryDim < b.cfg.HeadDim {
		attrs = append(attrs, intAttr("rotary_embedding_dim", b.cfg.RotaryDim))
	}
	return b.node("RotaryEmbedding", out+".rope", []value{x, cos, sin}, onnx.Float, x.dims, attrs...)
}

// cache builds attention over a window of W tokens:
// q [M, heads, D], K and V [W, kvHeads, D], spans int32 [M, 2] → attention [M, heads·D].
func (b *builder) cache(rows, window int) {
	c := b.cfg
	heads, kv, d := c.NumAttentionHeads, c.NumKeyValueHeads, c.HeadDim
	group := heads / kv
	q := b.input("q", onnx.Float, rows, heads, d)
	k := b.input("K", onnx.Float, window, kv, d)
	v := b.input("V", onnx.Float, window, kv, d)
	spans := b.input("spans", onnx.Int32, rows, 2)

	q = b.reshape("q.groups", b.transpose("q.heads", q, 1, 0, 2), kv, group*rows, d)
	scores := b.matMul("scores", q, b.transpose("K.heads", k, 1, 2, 0))
	scale := b.float("scale", c.AttentionScale)
	scores = b.node("Mul", "scores.scaled", []value{scores, scale}, onnx.Float, scores.dims)
	if c.ScoreCap != 0 {
		scores = b.softCap("scores.capped", scores, c.ScoreCap)
	}
	scores = b.reshape("scores.rows", scores, kv, group, rows, window)

	column := func(name string, i int) value {
		return b.node("Gather", name, []value{spans, b.ints(name+".index", int64(i))}, onnx.Int32, []int{rows, 1}, intAttr("axis", 1))
	}
	positions := b.positions("positions", window)
	mask := []int{rows, window}
	from := b.node("GreaterOrEqual", "seen.from", []value{positions, column("span.lo", 0)}, onnx.Bool, mask)
	to := b.node("Less", "seen.to", []value{positions, column("span.hi", 1)}, onnx.Bool, mask)
	seen := b.node("And", "seen", []value{from, to}, onnx.Bool, mask)
	scores = b.node("Where", "scores.masked", []value{seen, scores, b.float("unseen", negInf)}, onnx.Float, scores.dims)
	probs := b.node("Softmax", "probs", []value{scores}, onnx.Float, scores.dims, intAttr("axis", -1))

	probs = b.reshape("probs.groups", probs, kv, group*rows, window)
	out := b.matMul("values", probs, b.transpose("V.heads", v, 1, 0, 2))
	out = b.transpose("values.rows", b.reshape("values.heads", out, heads, rows, d), 1, 0, 2)
	b.output(b.reshape("attention", out, rows, heads*d))
}

// post builds output projection, norms and MLP, and the head in the last layer:
// attention [M, heads·D], hidden [M, H] → hidden_out [M, H], or what head gives.
func (b *builder) post(rows int, p Params) {
	c, n := b.cfg, &b.cfg.family.names
	attention := b.input("attention", onnx.Float, rows, c.NumAttentionHeads*c.HeadDim)
	hidden := b.input("hidden", onnx.Float, rows, c.HiddenSize)
	o := b.linear("o_proj", attention, n.o, c.HiddenSize, c.OutputBias)
	if n.attentionNorm != "" {
		o = b.rmsNorm("attention_norm", o, n.attentionNorm)
	}
	b.mlp(b.add("residual", hidden, o), p)
}

// conv builds a whole layer with a gated short convolution:
// hidden [M, H], state [taps-1, H] → gated [M, H], the rows that later states
// consist of, and hidden_out [M, H], or what head gives.
func (b *builder) conv(rows int, p Params) {
	c, n := b.cfg, &b.cfg.family.names
	h, taps := c.HiddenSize, c.ConvTaps
	hidden := b.input("hidden", onnx.Float, rows, h)
	state := b.input("state", onnx.Float, taps-1, h)
	x := b.rmsNorm("input_norm", hidden, n.inputNorm)
	in := b.split([]string{"conv.b", "conv.c", "conv.x"}, b.linear("in_proj", x, n.convIn, 3*h, c.ConvBias), h, h, h)
	gated := b.node("Mul", "gated", []value{in[0], in[2]}, onnx.Float, in[0].dims)
	b.output(gated)
	all := []int{taps - 1 + rows, h}
	seen := b.node("Concat", "conv.rows", []value{state, gated}, onnx.Float, all, intAttr("axis", 0))
	seen = b.reshape("conv.batch", b.transpose("conv.channels", seen, 1, 0), 1, h, all[0])
	args := []value{seen, b.weight(b.name(n.conv)+".weight", h, 1, taps)}
	if c.ConvBias {
		args = append(args, b.weight(b.name(n.conv)+".bias", h))
	}
	y := b.node("Conv", "conv", args, onnx.Float, []int{1, h, rows}, intAttr("group", h))
	y = b.transpose("conv.out", b.reshape("conv.flat", y, h, rows), 1, 0)
	y = b.node("Mul", "conv.gated", []value{in[1], y}, onnx.Float, y.dims)
	b.mlp(b.add("residual", hidden, b.linear("out_proj", y, n.convOut, h, c.ConvBias)), p)
}

// mlp builds the second half of a layer, and the head where it is the last.
func (b *builder) mlp(h value, p Params) {
	c, n := b.cfg, &b.cfg.family.names
	size := c.IntermediateSize
	x := b.rmsNorm("post_norm", h, n.mlpInputNorm)
	var gate, up value
	if n.gateUp != "" {
		both := b.split([]string{"gate_proj", "up_proj"}, b.linear("gate_up_proj", x, n.gateUp, 2*size, c.MLPBias), size, size)
		gate, up = both[0], both[1]
	} else {
		gate = b.linear("gate_proj", x, n.gate, size, c.MLPBias)
		up = b.linear("up_proj", x, n.up, size, c.MLPBias)
	}
	act := b.node("Mul", "mlp", []value{b.activate(gate), up}, onnx.Float, gate.dims)
	down := b.linear("down_proj", act, n.down, c.HiddenSize, c.MLPBias)
	if n.mlpOutputNorm != "" {
		down = b.rmsNorm("mlp_norm", down, n.mlpOutputNorm)
	}
	h = b.add("hidden_out", h, down)
	if b.id.Index == c.NumHiddenLayers-1 {
		b.head(h, p)
	} else {
		b.output(h)
	}
}

// activate applies the activation to the gate.
func (b *builder) activate(x value) value {
	unary := func(op, name string, attrs ...onnx.Attr) value {
		return b.node(op, name, []value{x}, onnx.Float, x.dims, attrs...)
	}
	switch b.cfg.Activation {
	case SiLU:
		return b.node("Mul", "gate.silu", []value{x, unary("Sigmoid", "gate.sigmoid")}, onnx.Float, x.dims)
	case GeluTanh:
		return unary("Gelu", "gate.gelu", strAttr("approximate", "tanh"))
	case Gelu:
		return unary("Gelu", "gate.gelu", strAttr("approximate", "none"))
	case ReLU:
		return unary("Relu", "gate.relu")
	}
	panic("llima: internal error: activation " + string(b.cfg.Activation))
}

// head builds final norm and output head: logits [M, V], or top_values and
// top_ids [1, k] of row last_row.
func (b *builder) head(h value, p Params) {
	c := b.cfg
	if !p.ReturnLogits && b.id.Phase == addr.Prefill {
		row := b.input("last_row", onnx.Int32, 1)
		h = b.node("Gather", "last_hidden", []value{h, row}, onnx.Float, []int{1, c.HiddenSize}, intAttr("axis", 0))
	}
	h = b.rmsNorm("final_norm", h, c.family.names.finalNorm)
	var logits value
	if c.LogitCap == 0 {
		logits = b.gemm("logits", h, c.HeadName(), c.VocabSize, "")
	} else {
		logits = b.softCap("logits", b.gemm("logits.raw", h, c.HeadName(), c.VocabSize, ""), c.LogitCap)
	}
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

// softCap is limit·tanh(x/limit).
func (b *builder) softCap(name string, x value, limit float32) value {
	by := b.float(name+".limit", limit)
	x = b.node("Div", name+".ratio", []value{x, by}, onnx.Float, x.dims)
	x = b.node("Tanh", name+".tanh", []value{x}, onnx.Float, x.dims)
	return b.node("Mul", name, []value{x, by}, onnx.Float, x.dims)
}

var negInf = float32(math.Inf(-1))
