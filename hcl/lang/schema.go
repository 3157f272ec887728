package lang

import (
	"github.com/llima-build/llima/hcl/config"
)

// Kind is the type that an attribute takes.
type Kind uint8

// The kinds of attributes.
const (
	Any Kind = iota
	String
	Integer
	Number // at least 0
	Bool
	Enum
	Strings // list of strings
	Size    // whole number, or a string that function bytes takes
	TypeOf  // type constraint, not an expression
	// PerPrecision is one of Values for all precisions, or an object of them
	// by precision; those that look like numbers are numbers.
	PerPrecision
	Policies
)

// Attribute is one attribute of a block.
type Attribute struct {
	Name     string
	Kind     Kind
	Required bool
	Default  string   // as HCL would write it, "" where leaving it out means none
	Values   []string // of an Enum
	Min, Max int      // of an Integer, inclusive; no upper bound where Max is 0
	Static   bool     // taken without evaluating it; no scope applies
	Lazy     bool     // evaluated later: once per part by rules, or when a plan is there
	// Builds lists the values of an Enum, or "true" and "false" of a Bool,
	// that this version can build; nil means all of them.
	Builds []string
	// CheckOnly marks an attribute that is checked but cannot be built yet.
	CheckOnly bool
}

// Block is one type of block.
type Block struct {
	Type       string
	Labelled   bool     // takes one label, which is unique among its siblings
	Labels     []string // that there are; nil means any
	Single     bool     // at most one among its siblings
	Free       bool     // takes any attribute
	CheckOnly  bool     // checked, but this version cannot build with it
	Attributes []Attribute
	Blocks     []*Block
}

// Attribute returns the attribute called name.
func (b *Block) Attribute(name string) (Attribute, bool) {
	for _, a := range b.Attributes {
		if a.Name == name {
			return a, true
		}
	}
	return Attribute{}, false
}

// Block returns the type of nested block called name.
func (b *Block) Block(name string) (*Block, bool) {
	for _, n := range b.Blocks {
		if n.Type == name {
			return n, true
		}
	}
	return nil, false
}

// Limits of sizes. Buffers and tables grow with the context.
const maxTokens = 1 << 20

// Root is the schema of a whole file.
var Root = &Block{Blocks: []*Block{
	{Type: "llima", Single: true, Attributes: []Attribute{
		{Name: "required_version", Kind: String},
		{Name: "default_targets", Kind: Strings},
	}},
	{Type: "variable", Labelled: true, Attributes: []Attribute{
		{Name: "type", Kind: TypeOf, Required: true, Static: true},
		{Name: "default", Kind: Any},
		{Name: "description", Kind: String},
		{Name: "env", Kind: String},
	}, Blocks: []*Block{
		{Type: "validation", Attributes: []Attribute{
			{Name: "condition", Kind: Bool, Required: true},
			{Name: "error_message", Kind: String, Required: true},
		}},
	}},
	{Type: "locals", Free: true},
	{Type: "policy", Labelled: true, Blocks: []*Block{layerBlock}},
	{Type: "model", Labelled: true, Attributes: []Attribute{
		{Name: "source", Kind: String, Required: true},
		{Name: "format", Kind: Enum, Default: `"auto"`, Values: []string{"auto", "hf", "gguf", "compressed_tensors"}},
		{Name: "output", Kind: String, Default: `"NAME"`},
		{Name: "context_length", Kind: Integer, Default: "1024", Min: 1, Max: maxTokens},
		{Name: "language_group_size", Kind: Integer, Default: "128", Min: 1, Max: maxTokens},
		{Name: "future_token_mask_size", Kind: Integer, Default: "128", Min: 1, Max: maxTokens},
		{Name: "enable_filter_sharing", Kind: Bool, Default: "false"},
		{Name: "quantize_embeddings", Kind: Bool, Default: "false"},
		{Name: "return_logits", Kind: Bool, Default: "false"},
		{Name: "precision", Kind: Enum, Default: `"BF16"`, Values: names(config.Precisions)},
		{Name: "lora", Kind: Enum, Default: `"LORA_DISABLED"`, Values: names(config.LoRAModes), Builds: []string{string(config.LoRADisabled)}},
		{Name: "lora_rank", Kind: Integer, Min: 1, Max: 1 << 12, CheckOnly: true},
		{Name: "external_data", Kind: Enum, Default: `"auto"`, Values: []string{"auto", "copy", "link"}, Builds: []string{"auto", "copy"}},
		{Name: "convert", Kind: Enum, Values: []string{"bf16"}},
		{Name: "policies", Kind: Policies, Default: "[]"},
		{Name: "for_each", Kind: Any},
		{Name: "matrix", Kind: Any},
	}, Blocks: []*Block{
		layerBlock,
		{Type: "adapter", Labelled: true, CheckOnly: true, Attributes: []Attribute{
			{Name: "path", Kind: String, Required: true},
			{Name: "for_each", Kind: Any},
		}},
		{Type: "vision", Single: true, CheckOnly: true, Attributes: []Attribute{
			{Name: "height", Kind: Integer, Min: 1, Max: 1 << 14},
			{Name: "width", Kind: Integer, Min: 1, Max: 1 << 14},
		}},
		{Type: "calibration", Single: true, Attributes: []Attribute{
			{Name: "dataset", Kind: String, Required: true},
			{Name: "samples", Kind: Integer, Default: "128", Min: 1, Max: 1 << 20},
			{Name: "seq_len", Kind: Integer, Default: "512", Min: 1, Max: maxTokens},
			{Name: "seed", Kind: Integer, Default: "0"},
			{Name: "method", Kind: Enum, Default: `"sequential"`, Values: []string{"sequential"}},
		}},
		{Type: "quantization", Single: true, Attributes: []Attribute{
			{Name: "group_size", Kind: PerPrecision, Values: []string{"32", "64", "128", "channel"}},
			{Name: "method", Kind: PerPrecision, Values: names(config.Methods)},
			{Name: "head", Kind: Enum, Values: names(config.Precisions)},
		}},
		{Type: "budget", Single: true, Attributes: []Attribute{
			{Name: "max_size", Kind: Size, Lazy: true},
			{Name: "max_dram", Kind: Size, Lazy: true},
			{Name: "on_exceed", Kind: Enum, Default: `"error"`, Values: []string{"error", "warning"}, Lazy: true},
		}},
		{Type: "origin", Single: true, Attributes: []Attribute{
			{Name: "repo", Kind: String, Required: true},
			{Name: "revision", Kind: String},
		}},
	}},
	{Type: "eval", Labelled: true, Attributes: []Attribute{
		{Name: "model", Kind: Any, Required: true, Static: true},
		{Name: "dataset", Kind: String, Required: true},
		{Name: "metric", Kind: Enum, Required: true, Values: []string{"perplexity", "kl"}},
		{Name: "max_delta", Kind: Number, Lazy: true},
	}},
	{Type: "backend", Labelled: true, Labels: []string{"modalix"}, Attributes: []Attribute{
		{Name: "board", Kind: Enum, Values: boardNames()},
	}},
	{Type: "executor", Single: true, Attributes: []Attribute{
		{Name: "jobs", Kind: Integer, Min: 1, Max: 1 << 10},
		{Name: "keep_going", Kind: Bool, Default: "false"},
		{Name: "max_memory", Kind: Size},
		{Name: "remote", Kind: String, CheckOnly: true},
	}},
	{Type: "cache", Single: true, Attributes: []Attribute{
		{Name: "dir", Kind: String},
		{Name: "max_size", Kind: Size},
		{Name: "mode", Kind: Enum, Default: `"read_write"`, Values: []string{"read_write", "read"}},
	}},
}}

// layerBlock is a rule, in a model or in a policy.
var layerBlock = &Block{Type: "layer", Labelled: true, Attributes: []Attribute{
	{Name: "when", Kind: Bool, Default: "true", Lazy: true},
	{Name: "precision", Kind: Enum, Values: names(config.Precisions), Lazy: true},
	{Name: "compile", Kind: Bool, Default: "true", Lazy: true},
	{Name: "lora", Kind: Enum, Values: names(config.LoRAModes), Builds: []string{string(config.LoRADisabled)}, Lazy: true},
}}

func boardNames() []string {
	out := make([]string, len(config.Boards))
	for i, b := range config.Boards {
		out[i] = b.Name
	}
	return out
}

func names[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}
