package arch

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
)

// Opset is the ONNX operator set of the graphs.
const Opset = 23

// TopCount is how many ids the last POST returns where it returns no logits.
const TopCount = 64

// Producer is the producer name that graphs carry.
const Producer = "llima"

// Graph is the ONNX graph of one part, or of one cache window of it.
type Graph struct {
	Name   string // file name without extension
	Window int    // CACHE: tokens
	Model  *onnx.Model
}

// Lookup says where a checkpoint has a tensor.
type Lookup func(name string) (dtype tensor.DType, shape []int, ext onnx.External, err error)

// Build returns the float graphs of a part: one, or one for each window of
// CACHE, which carry no layer and so are the same for all layers of a shape.
func (c *Config) Build(id addr.PartID, p Params, look Lookup) ([]Graph, error) {
	if id.Index < 0 || id.Index >= c.NumHiddenLayers {
		return nil, fmt.Errorf("part %v: the model has %d layers", id, c.NumHiddenLayers)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("part %v: %w", id, err)
	}
	if err := c.CheckContext(p.ContextTokens); err != nil {
		return nil, fmt.Errorf("part %v: %w", id, err)
	}
	if id.Part == addr.Cache && !c.Layers[id.Index].Conv {
		var out []Graph
		for _, w := range c.Windows(id.Phase, p) {
			b := newBuilder(c, id, look)
			b.cache(p.Rows(id.Phase), w)
			g, err := b.finish(CacheName(id.Phase, w, p), p, w)
			if err != nil {
				return nil, err
			}
			out = append(out, g)
		}
		return out, nil
	}
	b := newBuilder(c, id, look)
	b.part(p)
	g, err := b.finish(id.FileName(), p, 0)
	if err != nil {
		return nil, err
	}
	return []Graph{g}, nil
}

// part builds a part other than CACHE.
func (b *builder) part(p Params) {
	rows := p.Rows(b.id.Phase)
	conv := b.cfg.Layers[b.id.Index].Conv
	switch {
	case b.id.Part == addr.Pre && !conv:
		b.pre(rows)
	case b.id.Part == addr.Post && !conv:
		b.post(rows, p)
	case b.id.Part == addr.Conv && conv:
		b.conv(rows, p)
	default:
		b.fail("%s has none", b.cfg.Architecture)
	}
}

// CacheName returns the vendor's name of a cache program: a group's by its
// first token, a single one's by the last token that it reaches.
func CacheName(phase addr.Phase, window int, p Params) string {
	if phase == addr.Prefill {
		return fmt.Sprintf("group_cache_%d", window-p.GroupTokens)
	}
	return fmt.Sprintf("single_cache_%d", window-1)
}

func layerName(pattern string, layer int) string {
	return strings.ReplaceAll(pattern, "%d", strconv.Itoa(layer))
}

// value is a typed tensor of a graph under construction.
type value struct {
	name  string
	dtype onnx.DataType
	dims  []int
}

// builder appends nodes and keeps types; its first error stays.
type builder struct {
	cfg     *Config
	id      addr.PartID
	look    Lookup // nil: only tensors are listed
	tensors []TensorShape
	m       onnx.Model
	known   map[string]bool // names in use
	err     error
}

func newBuilder(c *Config, id addr.PartID, look Lookup) *builder {
	b := &builder{cfg: c, id: id, look: look, known: map[string]bool{}}
	b.m = onnx.Model{Opset: Opset, Producer: Producer}
	return b
}

func (b *builder) finish(name string, p Params, window int) (Graph, error) {
	if b.err != nil {
		return Graph{}, fmt.Errorf("part %v: %w", b.id, b.err)
	}
	b.m.Graph.Name = name
	var meta []onnx.Property
	if b.id.Part == addr.Pre || b.id.Part == addr.Cache { // they address the KV cache
		meta = append(meta, onnx.Property{Key: "llima.context", Value: strconv.Itoa(p.ContextTokens)})
	}
	meta = append(meta,
		onnx.Property{Key: "llima.part", Value: b.id.Part.String()},
		onnx.Property{Key: "llima.phase", Value: b.id.Phase.String()},
		onnx.Property{Key: "llima.rows", Value: strconv.Itoa(p.Rows(b.id.Phase))},
	)
	if window > 0 {
		meta = append(meta, onnx.Property{Key: "llima.window", Value: strconv.Itoa(window)})
	}
	b.m.Metadata = meta
	return Graph{Name: name, Window: window, Model: &b.m}, nil
}

func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

func (b *builder) claim(name string) {
	if b.known[name] {
		b.fail("llima: internal error: value %q is defined twice", name)
	}
	b.known[name] = true
}

func dims64(dims []int) []int64 {
	out := make([]int64, len(dims))
	for i, d := range dims {
		out[i] = int64(d)
	}
	return out
}

func info(v value) onnx.ValueInfo {
	return onnx.ValueInfo{Name: v.name, DType: v.dtype, Dims: dims64(v.dims)}
}

func (b *builder) input(name string, dt onnx.DataType, dims ...int) value {
	b.claim(name)
	v := value{name, dt, dims}
	b.m.Graph.Inputs = append(b.m.Graph.Inputs, info(v))
	return v
}

// output declares a value as the graph's output: it is no intermediate.
func (b *builder) output(v value) {
	b.m.Graph.Outputs = append(b.m.Graph.Outputs, info(v))
	b.m.Graph.Values = slices.DeleteFunc(b.m.Graph.Values, func(i onnx.ValueInfo) bool { return i.Name == v.name })
}

func intAttr(name string, v int) onnx.Attr {
	return onnx.Attr{Name: name, Kind: onnx.AttrInt, Int: int64(v)}
}

func strAttr(name, v string) onnx.Attr {
	return onnx.Attr{Name: name, Kind: onnx.AttrString, Str: v}
}

func floatAttr(name string, v float64) onnx.Attr {
	return onnx.Attr{Name: name, Kind: onnx.AttrFloat, Float: float32(v)}
}

// node appends an operator with one output of the same name as the node.
func (b *builder) node(op, name string, in []value, dt onnx.DataType, dims []int, attrs ...onnx.Attr) value {
	return b.nodes(op, []string{name}, in, []onnx.DataType{dt}, dims, attrs...)[0]
}

// nodes appends an operator whose outputs all have one shape.
func (b *builder) nodes(op string, names []string, in []value, types []onnx.DataType, dims []int, attrs ...onnx.Attr) []value {
	n := onnx.Node{Name: names[0], Op: op, Attrs: attrs}
	for _, v := range in {
		n.Inputs = append(n.Inputs, v.name)
	}
	var out []value
	for i, name := range names {
		b.claim(name)
		v := value{name, types[i], dims}
		n.Outputs = append(n.Outputs, name)
		b.m.Graph.Values = append(b.m.Graph.Values, info(v))
		out = append(out, v)
	}
	b.m.Graph.Nodes = append(b.m.Graph.Nodes, n)
	return out
}

// constant adds an inline initialiser.
func (b *builder) constant(name string, dt onnx.DataType, dims []int, raw []byte) value {
	b.claim(name)
	b.m.Graph.Initializers = append(b.m.Graph.Initializers, onnx.Tensor{Name: name, DType: dt, Dims: dims64(dims), Raw: raw})
	return value{name, dt, dims}
}

func (b *builder) ints(name string, values ...int64) value {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	return b.constant(name, onnx.Int64, []int{len(values)}, raw)
}

func (b *builder) float(name string, v float32) value {
	return b.constant(name, onnx.Float, nil, binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
}

// positions is 0, 1, … n-1.
func (b *builder) positions(name string, n int) value {
	var raw []byte
	for i := range n {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(i))
	}
	return b.constant(name, onnx.Int32, []int{n}, raw)
}

// weight adds a tensor of the checkpoint, by reference, and widens it.
func (b *builder) weight(name string, want ...int) value {
	b.tensors = append(b.tensors, TensorShape{name, want})
	if b.look == nil {
		return value{name, onnx.Float, want}
	}
	dt, shape, ext, err := b.look(name)
	if err != nil {
		b.fail("%w", err)
		return value{dims: want}
	}
	if !slices.Equal(shape, want) {
		b.fail("tensor %q has shape %v, the configuration implies %v", name, shape, want)
	}
	var elem onnx.DataType
	switch dt { //nolint:exhaustive // weights have these three types
	case tensor.BF16:
		elem = onnx.BFloat16
	case tensor.F16:
		elem = onnx.Float16
	case tensor.F32:
		elem = onnx.Float
	default:
		b.fail("tensor %q is %v; weights must be BF16, F16 or F32", name, dt)
	}
	t := onnx.Tensor{Name: name, DType: elem, Dims: dims64(shape), External: &ext}
	if size, err := t.SizeBytes(); b.err == nil && (err != nil || size != ext.Length) {
		b.fail("tensor %q of shape %v has %d bytes", name, shape, ext.Length)
	}
	b.claim(name)
	b.m.Graph.Initializers = append(b.m.Graph.Initializers, t)
	v := value{name, elem, want}
	if elem == onnx.Float {
		return v
	}
	return b.node("Cast", name+".float", []value{v}, onnx.Float, want, intAttr("to", int(onnx.Float)))
}

func (b *builder) reshape(name string, v value, dims ...int) value {
	shape := b.ints(name+".shape", dims64(dims)...)
	return b.node("Reshape", name, []value{v, shape}, v.dtype, dims)
}

func (b *builder) transpose(name string, v value, perm ...int) value {
	dims := make([]int, len(perm))
	for i, p := range perm {
		dims[i] = v.dims[p]
	}
	return b.node("Transpose", name, []value{v}, v.dtype, dims, onnx.Attr{Name: "perm", Kind: onnx.AttrInts, Ints: dims64(perm)})
}

// matMul multiplies [B, M, K] by [B, K, N].
func (b *builder) matMul(name string, x, y value) value {
	return b.node("MatMul", name, []value{x, y}, onnx.Float, []int{x.dims[0], x.dims[1], y.dims[2]})
}

func (b *builder) add(name string, x, y value) value {
	return b.node("Add", name, []value{x, y}, onnx.Float, x.dims)
}

// name is a tensor's name in the layer at work.
func (b *builder) name(pattern string) string { return layerName(pattern, b.id.Index) }

// rmsNorm normalises over the last dimension.
func (b *builder) rmsNorm(label string, x value, pattern string) value {
	gamma := b.weight(b.name(pattern), x.dims[len(x.dims)-1])
	if c := b.cfg.family.normOffset; c != 0 {
		gamma = b.add(label+".scale", gamma, b.float(label+".offset", c))
	}
	return b.node("RMSNormalization", label, []value{x, gamma}, onnx.Float, x.dims, intAttr("axis", -1), floatAttr("epsilon", b.cfg.RMSNormEps))
}

// linear multiplies by a layer of the checkpoint with n outputs.
func (b *builder) linear(label string, x value, pattern string, n int, bias bool) value {
	layer, biasName := b.name(pattern), ""
	if bias {
		biasName = layer + ".bias"
	}
	return b.gemm(label, x, layer+".weight", n, biasName)
}

func (b *builder) gemm(label string, x value, tensorName string, n int, biasName string) value {
	in := []value{x, b.weight(tensorName, n, x.dims[1])}
	if biasName != "" {
		in = append(in, b.weight(biasName, n))
	}
	return b.node("Gemm", label, in, onnx.Float, []int{x.dims[0], n}, intAttr("transB", 1))
}

// split cuts columns apart.
func (b *builder) split(names []string, x value, sizes ...int) []value {
	n := onnx.Node{Name: names[0], Op: "Split", Attrs: []onnx.Attr{intAttr("axis", 1)}}
	n.Inputs = []string{x.name, b.ints(names[0]+".sizes", dims64(sizes)...).name}
	var out []value
	for i, name := range names {
		b.claim(name)
		v := value{name, x.dtype, []int{x.dims[0], sizes[i]}}
		n.Outputs = append(n.Outputs, name)
		b.m.Graph.Values = append(b.m.Graph.Values, info(v))
		out = append(out, v)
	}
	b.m.Graph.Nodes = append(b.m.Graph.Nodes, n)
	return out
}
