package lang

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/diag"
)

// footprint lists the attributes of "plan".
var footprint = []struct {
	name string
	of   func(config.Footprint) int64
}{
	{"bf16_size", func(f config.Footprint) int64 { return f.BF16SizeBytes }},
	{"board_dram", func(f config.Footprint) int64 { return f.BoardDRAMBytes }},
	{"buffers", func(f config.Footprint) int64 { return f.BufferBytes }},
	{"context_length", func(f config.Footprint) int64 { return int64(f.ContextTokens) }},
	{"dram", func(f config.Footprint) int64 { return f.DRAMBytes }},
	{"embeddings", func(f config.Footprint) int64 { return f.EmbeddingBytes }},
	{"kv_cache", func(f config.Footprint) int64 { return f.KVCacheBytes }},
	{"num_hidden_layers", func(f config.Footprint) int64 { return int64(f.NumHiddenLayers) }},
	{"size", func(f config.Footprint) int64 { return f.SizeBytes }},
	{"weights", func(f config.Footprint) int64 { return f.WeightBytes }},
}

// planScope returns a context in which plan has the values of f, or only
// their types where f is nil.
func planScope(base *hcl.EvalContext, f *config.Footprint) *hcl.EvalContext {
	plan := map[string]cty.Value{}
	for _, a := range footprint {
		plan[a.name] = unknown(cty.Number)
		if f != nil {
			plan[a.name] = cty.NumberIntVal(a.of(*f))
		}
	}
	ctx := base.NewChild()
	ctx.Variables = map[string]cty.Value{"plan": cty.ObjectVal(plan)}
	return ctx
}

// Limits is a block whose lazy attributes wait for a plan: a budget, or the
// gate of an eval.
type Limits struct {
	schema *Block
	body   *hclsyntax.Body
	base   *hcl.EvalContext
	block  string // the blocks around, for messages
}

var (
	_ config.Budget = (*Limits)(nil)
	_ config.Gate   = (*Limits)(nil)
)

// NewLimits returns the lazy attributes of a body. base is the scope around
// it, without plan; block names it in messages, `model "a", budget` for
// example.
func NewLimits(schema *Block, body *hclsyntax.Body, base *hcl.EvalContext, block string) *Limits {
	return &Limits{schema, body, base, block}
}

// Check finds what is wrong whatever the plan says.
func (l *Limits) Check() diag.List {
	ctx := planScope(l.base, nil)
	var out diag.List
	for _, a := range l.schema.Attributes {
		if attr := l.body.Attributes[a.Name]; attr != nil && a.Lazy {
			out = append(out, CheckAttribute(a, attr, ctx)...)
		}
	}
	return out
}

// value evaluates one attribute, null where the body has none.
func (l *Limits) value(name string, f config.Footprint) (v cty.Value, at diag.Range, diags diag.List) {
	attr := l.body.Attributes[name]
	a, ok := l.schema.Attribute(name)
	if attr == nil || !ok {
		return cty.NullVal(cty.DynamicPseudoType), at, nil
	}
	v, diags = EvalAttribute(a, attr, planScope(l.base, &f))
	for i := range diags {
		diags[i].Block = l.block
	}
	return v, RangeOf(attr.SrcRange), diags
}

// Limits implements [config.Budget].
func (l *Limits) Limits(f config.Footprint) (config.Limits, diag.List) {
	out := config.Limits{OnExceed: "error"}
	size, sizeAt, diags := l.value("max_size", f)
	dram, dramAt, more := l.value("max_dram", f)
	diags = append(diags, more...)
	exceed, _, more := l.value("on_exceed", f)
	diags = append(diags, more...)
	out.MaxSizeBytes, out.MaxSizeRange = SizeOf(size), sizeAt
	out.MaxDRAMBytes, out.MaxDRAMRange = SizeOf(dram), dramAt
	if !exceed.IsNull() {
		out.OnExceed = exceed.AsString()
	}
	return out, diags
}

// MaxDelta implements [config.Gate].
func (l *Limits) MaxDelta(f config.Footprint) (config.MaxDelta, diag.List) {
	v, at, diags := l.value("max_delta", f)
	if v.IsNull() {
		return config.MaxDelta{}, diags
	}
	delta, _ := v.AsBigFloat().Float64()
	return config.MaxDelta{Given: true, Value: delta, Range: at}, diags
}

// SizeOf returns the bytes of a checked value of kind [Size], 0 where it is
// null.
func SizeOf(v cty.Value) int64 {
	if v.IsNull() {
		return 0
	}
	n, _ := bytesOf(v) // checked already
	return n
}
