package walk

import (
	"fmt"
	"maps"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
)

// graph is the float graph of a whole layer, its parts joined: hidden →
// hidden_out, and logits after the last.
type graph struct {
	m     *Model
	model *onnx.Model
	types map[string]onnx.ValueInfo
	fixed map[string]eval.Value // what every text reads: tables, spans, state, and float matrices
	last  map[string]int        // the node that a value is read by last
}

// layer joins the parts of a layer and binds what is the same for all texts.
func (m *Model) layer(index int) (*graph, error) {
	g := &graph{m: m, model: &onnx.Model{}, types: map[string]onnx.ValueInfo{}, fixed: map[string]eval.Value{}, last: map[string]int{}}
	parts := []addr.Part{addr.Pre, addr.Cache, addr.Post}
	if m.Arch.Layers[index].Conv {
		parts = []addr.Part{addr.Conv}
	}
	for _, p := range parts {
		one, err := m.part(addr.PartID{Phase: addr.Prefill, Part: p, Index: index})
		if err != nil {
			return nil, err
		}
		if p == addr.Cache {
			rename(one)
		}
		if err := g.join(one); err != nil {
			return nil, err
		}
	}
	for i, n := range g.model.Graph.Nodes {
		for _, in := range n.Inputs {
			g.last[in] = i
		}
	}
	if err := g.bind(index); err != nil {
		return nil, err
	}
	return g, g.constants()
}

// part builds the float graph of a part; its matrices are F32, so that
// replaced ones fit.
func (m *Model) part(id addr.PartID) (*onnx.Graph, error) {
	look := func(name string) (tensor.DType, []int, onnx.External, error) {
		dt, shape, raw, err := m.Tensor(name)
		if err != nil {
			return 0, nil, onnx.External{}, err
		}
		n := int64(len(raw))
		if len(shape) == 2 {
			dt, n = tensor.F32, n/int64(dt.Bytes())*4
		}
		return dt, shape, onnx.External{Location: name, Length: n}, nil
	}
	graphs, err := m.Arch.Build(id, m.params(), look)
	if err != nil {
		return nil, err
	}
	if len(graphs) != 1 {
		return nil, fmt.Errorf("llima: internal error: %v has %d graphs", id, len(graphs))
	}
	return &graphs[0].Model.Graph, nil
}

// rename gives what CACHE calls its own names of their own, and its inputs
// those that PRE has for them.
func rename(g *onnx.Graph) {
	known := map[string]string{"": "", "q": "q", "K": "k", "V": "v", "spans": "spans", "attention": "attention"}
	name := func(s string) string {
		if k, ok := known[s]; ok {
			return k
		}
		return "cache." + s
	}
	for _, list := range [][]onnx.ValueInfo{g.Inputs, g.Outputs, g.Values} {
		for i := range list {
			list[i].Name = name(list[i].Name)
		}
	}
	for i := range g.Initializers {
		g.Initializers[i].Name = name(g.Initializers[i].Name)
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		n.Name = name(n.Name)
		for j := range n.Inputs {
			n.Inputs[j] = name(n.Inputs[j])
		}
		for j := range n.Outputs {
			n.Outputs[j] = name(n.Outputs[j])
		}
	}
}

// join appends a graph whose inputs may be values of those before it.
func (g *graph) join(one *onnx.Graph) error {
	to := &g.model.Graph
	for _, list := range [][]onnx.ValueInfo{one.Inputs, one.Outputs, one.Values} {
		for _, v := range list {
			g.types[v.Name] = v
		}
	}
	made := map[string]bool{}
	for _, n := range to.Nodes {
		for _, o := range n.Outputs {
			made[o] = true
		}
	}
	for _, n := range one.Nodes {
		for _, o := range n.Outputs {
			if made[o] {
				return fmt.Errorf("llima: internal error: %q is computed by two parts of a layer", o)
			}
		}
	}
	for i := range one.Initializers { // but for matrices, whose values are fixed
		if t := &one.Initializers[i]; t.External == nil || len(t.Dims) != 2 {
			g.types[t.Name] = onnx.ValueInfo{Name: t.Name, DType: t.DType, Dims: t.Dims}
		}
	}
	to.Nodes = append(to.Nodes, one.Nodes...)
	to.Initializers = append(to.Initializers, one.Initializers...)
	return nil
}

// bind sets the values that are the same for all texts.
func (g *graph) bind(index int) error {
	m, a := g.m, g.m.Arch
	for i := range g.model.Graph.Initializers {
		t := &g.model.Graph.Initializers[i]
		if t.External == nil || len(t.Dims) != 2 {
			continue
		}
		w, err := m.floats(t.Name)
		if err != nil {
			return err
		}
		if t.Name != a.HeadName() { // the head is large, and Logits alone reads it
			g.fixed[t.Name] = floats(w, int(t.Dims[0]), int(t.Dims[1]))
		}
	}
	if a.Layers[index].Conv {
		g.fixed["state"] = floats(make([]float32, (a.ConvTaps-1)*a.HiddenSize), a.ConvTaps-1, a.HiddenSize)
		return nil
	}
	tables, err := a.RopeTables(m.Tokens)
	if err != nil {
		return err
	}
	t := tables[a.Layers[index].Rope]
	g.fixed["cos"], g.fixed["sin"] = floats(t.Cos, m.Tokens, t.Half), floats(t.Sin, m.Tokens, t.Half)
	spans := eval.Value{DType: onnx.Int32, Dims: []int64{int64(m.Tokens), 2}}
	sees := a.Layers[index].Window
	if sees == 0 {
		sees = m.Tokens
	}
	for t := range m.Tokens {
		spans.I = append(spans.I, int64(max(0, t+1-sees)), int64(t+1))
	}
	g.fixed["spans"] = spans
	return nil
}

// constants computes what depends on no text: norms' weights, masks.
func (g *graph) constants() error {
	known := map[string]bool{"": true}
	for i := range g.model.Graph.Initializers {
		known[g.model.Graph.Initializers[i].Name] = true
	}
	for name := range g.fixed {
		known[name] = true
	}
	var want []string
	for _, n := range g.model.Graph.Nodes {
		if slices.ContainsFunc(n.Inputs, func(in string) bool { return !known[in] }) {
			continue
		}
		for _, o := range n.Outputs {
			known[o] = true
			want = append(want, o)
		}
	}
	v, err := g.run(nil, nil, want...)
	maps.Copy(g.fixed, v)
	return err
}

// run computes values from values that are given, with weights in place of
// the float ones.
func (g *graph) run(w, given map[string]eval.Value, want ...string) (map[string]eval.Value, error) {
	in := map[string]eval.Value{}
	find := func(name string) (eval.Value, bool) {
		for _, from := range []map[string]eval.Value{given, w, g.fixed} {
			if v, ok := from[name]; ok {
				return v, true
			}
		}
		return eval.Value{}, false
	}
	pruned, err := g.prune(find, in, want)
	if err != nil {
		return nil, err
	}
	return eval.Run(pruned, g.m.data, in)
}

// prune returns the nodes that some values need, and adds to in what they read
// of what find has.
func (g *graph) prune(find func(string) (eval.Value, bool), in map[string]eval.Value, want []string) (*onnx.Model, error) {
	out := &onnx.Model{Opset: g.model.Opset}
	out.Graph.Name = "layer"
	needed := map[string]bool{}
	for _, name := range want {
		v, ok := g.types[name]
		if !ok {
			return nil, fmt.Errorf("llima: internal error: a layer has no value %q", name)
		}
		if !needed[name] {
			out.Graph.Outputs = append(out.Graph.Outputs, v)
		}
		needed[name] = true
	}
	for name := range needed {
		g.give(name, find, in)
	}
	for _, n := range slices.Backward(g.model.Graph.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(o string) bool {
			_, given := in[o]
			return needed[o] && !given
		}) {
			continue
		}
		out.Graph.Nodes = append(out.Graph.Nodes, n)
		for _, name := range n.Inputs {
			needed[name] = true
			g.give(name, find, in)
		}
	}
	slices.Reverse(out.Graph.Nodes)
	for name, v := range in {
		out.Graph.Inputs = append(out.Graph.Inputs, onnx.ValueInfo{Name: name, DType: v.DType, Dims: v.Dims})
	}
	for i := range g.model.Graph.Initializers {
		t := &g.model.Graph.Initializers[i]
		if _, given := in[t.Name]; needed[t.Name] && !given {
			out.Graph.Initializers = append(out.Graph.Initializers, *t)
		}
	}
	return out, nil
}

func (g *graph) give(name string, find func(string) (eval.Value, bool), in map[string]eval.Value) {
	if v, ok := find(name); ok {
		in[name] = v
	}
}

// group is the Gemms of a graph that read one value.
type group struct {
	input string
	gemms []*onnx.Node
	first int // index of the node that comes first
}

// groups lists the products with matrices in running order; heads are left out.
func (g *graph) groups() []group {
	var out []group
	for i := range g.model.Graph.Nodes {
		n := &g.model.Graph.Nodes[i]
		if n.Op != "Gemm" || isHead(n) {
			continue
		}
		if at := slices.IndexFunc(out, func(g group) bool { return g.input == n.Inputs[0] }); at >= 0 {
			out[at].gemms = append(out[at].gemms, n)
			continue
		}
		out = append(out, group{n.Inputs[0], []*onnx.Node{n}, i})
	}
	return out
}

// isHead reports whether a product gives logits, before they are capped.
func isHead(n *onnx.Node) bool { return n.Name == "logits" || n.Name == "logits.raw" }

// residual returns the value that a Gemm's result is added to, where it is
// added to one as it is.
func (g *graph) residual(gemm *onnx.Node) string {
	for i := range g.model.Graph.Nodes {
		n := &g.model.Graph.Nodes[i]
		if n.Op == "Add" && len(n.Inputs) == 2 {
			switch gemm.Outputs[0] {
			case n.Inputs[0]:
				return n.Inputs[1]
			case n.Inputs[1]:
				return n.Inputs[0]
			}
		}
	}
	return ""
}

// border lists the values of texts that nodes from an index on need: what has
// to be kept of the nodes before it. A norm is not kept but what it is of.
func (g *graph) border(index int) []string {
	var out []string
	add := func(name string) {
		if _, fixed := g.fixed[name]; !fixed && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if g.last["hidden"] >= index {
		add("hidden")
	}
	for _, n := range g.model.Graph.Nodes[:index] {
		for _, o := range n.Outputs {
			switch {
			case g.last[o] < index:
			case n.Op == "RMSNormalization":
				add(n.Inputs[0])
			default:
				add(o)
			}
		}
	}
	return out
}
