// Package arch knows architectures: how each spells its configuration, what
// its tensors are called, and the ONNX graph of each part. One table, in
// families.go, describes them all. It knows neither quantisation nor the
// compiler.
package arch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/document"
)

// Config is a model's configuration in one spelling.
type Config struct {
	Architecture          string // "llama"
	HiddenSize            int
	NumHiddenLayers       int
	NumAttentionHeads     int
	NumKeyValueHeads      int
	HeadDim               int
	IntermediateSize      int
	VocabSize             int
	MaxPositionEmbeddings int
	RMSNormEps            float64
	Activation            Activation
	TieWordEmbeddings     bool
	QKVBias               bool
	OutputBias            bool // of attention
	MLPBias               bool
	Layers                []Layer // by index
	Ropes                 []Rope  // those that layers name, and then "long" where the table has it
	RotaryDim             int     // how many dims of a head turn, the first ones
	EmbeddingScale        float32 // by which embeddings are multiplied
	AttentionScale        float32 // by which scores are multiplied
	ScoreCap              float32 // scores become cap·tanh(score/cap); 0: they do not
	LogitCap              float32 // logits likewise
	ConvTaps              int     // rows that a short convolution sees; 0 where no layer has one
	ConvBias              bool
	BOS                   int // -1: none
	EOS                   []int

	family *family
	shapes func() map[string][]int // of every tensor, made on first use
}

// Layer says what is peculiar to one layer.
type Layer struct {
	Conv   bool // a short convolution instead of attention
	Window int  // how many positions a token sees, its own included; 0: all up to its own
	Rope   int  // index into Ropes
}

// LayerType returns the name that config.json has for such a layer.
func (l Layer) LayerType() string {
	switch {
	case l.Conv:
		return layerConv
	case l.Window > 0:
		return layerSliding
	}
	return layerFull
}

// The names of layer_types.
const (
	layerFull    = "full_attention"
	layerSliding = "sliding_attention"
	layerConv    = "conv"
)

// Activation is the function of the gate in an MLP.
type Activation string

// The activations.
const (
	SiLU     Activation = "silu"
	GeluTanh Activation = "gelu_tanh"
	Gelu     Activation = "gelu"
	ReLU     Activation = "relu"
)

// activations maps what config.json calls them.
var activations = map[string]Activation{
	"silu": SiLU, "swish": SiLU, "gelu": Gelu, "gelu_pytorch_tanh": GeluTanh, "gelu_new": GeluTanh, "relu": ReLU,
}

// familyOf finds the architecture of a checkpoint that generates text.
func familyOf(raw *rawConfig) (*family, error) {
	i := slices.IndexFunc(families, func(f *family) bool { return f.name == raw.ModelType })
	if i < 0 {
		return nil, fmt.Errorf("config.json: model_type %q is not supported; these are: %s", raw.ModelType, strings.Join(Supported(), ", "))
	}
	f := families[i]
	if len(raw.Architectures) > 0 && !slices.Contains(raw.Architectures, f.class) {
		return nil, fmt.Errorf("config.json: architectures %q is not supported for model_type %q; only %q is", raw.Architectures, f.name, f.class)
	}
	return f, nil
}

// Supported lists the architectures, sorted.
func Supported() []string {
	var all []string
	for _, f := range families {
		all = append(all, f.name)
	}
	return all
}

// rawConfig is config.json as published: both the older and the newer
// spellings of what changed its name.
type rawConfig struct {
	ModelType             string   `json:"model_type"`
	Architectures         []string `json:"architectures"`
	HiddenSize            *int     `json:"hidden_size"`
	NumHiddenLayers       *int     `json:"num_hidden_layers"`
	NumAttentionHeads     *int     `json:"num_attention_heads"`
	NumKeyValueHeads      *int     `json:"num_key_value_heads"`
	HeadDim               *int     `json:"head_dim"`
	IntermediateSize      *int     `json:"intermediate_size"`
	VocabSize             *int     `json:"vocab_size"`
	MaxPositionEmbeddings *int     `json:"max_position_embeddings"`
	RMSNormEps            *float64 `json:"rms_norm_eps"`
	NormEps               *float64 `json:"norm_eps"` // LFM2's rms_norm_eps
	HiddenAct             *string  `json:"hidden_act"`
	HiddenActivation      *string  `json:"hidden_activation"` // Gemma's hidden_act
	TieWordEmbeddings     *bool    `json:"tie_word_embeddings"`
	TieEmbedding          *bool    `json:"tie_embedding"` // older LFM2
	AttentionBias         bool     `json:"attention_bias"`
	MLPBias               bool     `json:"mlp_bias"`

	LayerTypes           []string `json:"layer_types"`
	SlidingWindow        *int     `json:"sliding_window"`
	UseSlidingWindow     *bool    `json:"use_sliding_window"`
	MaxWindowLayers      *int     `json:"max_window_layers"`
	SlidingWindowPattern *int     `json:"sliding_window_pattern"` // older layer_types
	Bidirectional        *bool    `json:"use_bidirectional_attention"`

	QueryPreAttnScalar *float64 `json:"query_pre_attn_scalar"`
	ScoreCap           *float64 `json:"attn_logit_softcapping"`
	LogitCap           *float64 `json:"final_logit_softcapping"`

	ConvTaps        *int     `json:"conv_L_cache"`
	ConvBias        bool     `json:"conv_bias"`
	FullAttnIdxs    []int    `json:"full_attn_idxs"` // older layer_types
	BlockFFDim      *int     `json:"block_ff_dim"`   // older intermediate_size
	BlockAutoAdjust *bool    `json:"block_auto_adjust_ff_dim"`
	BlockMultiplier *float64 `json:"block_ffn_dim_multiplier"`
	BlockMultipleOf *int     `json:"block_multiple_of"`

	rawRope

	BOS json.RawMessage `json:"bos_token_id"`
	EOS json.RawMessage `json:"eos_token_id"`
}

// Parse reads config.json. What it says must fit together; an architecture
// that is not in the table is refused with the list of those that are.
func Parse(configJSON []byte) (*Config, error) {
	var raw rawConfig
	if err := document.Decode(configJSON, &raw); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	fam, err := familyOf(&raw)
	if err != nil {
		return nil, err
	}
	if raw, err = fam.complete(configJSON); err != nil {
		return nil, err
	}
	c := &Config{Architecture: fam.name, family: fam, BOS: -1}
	c.shapes = sync.OnceValue(c.allShapes)
	for _, read := range []func(*rawConfig) error{c.sizes, c.features, c.layers, c.ropes, c.tokens} {
		if err := read(&raw); err != nil {
			return nil, fmt.Errorf("config.json: %w", err)
		}
	}
	return c, nil
}

// complete reads config.json over the family's defaults.
func (f *family) complete(configJSON []byte) (rawConfig, error) {
	var raw rawConfig
	if f.defaults != "" {
		if err := json.Unmarshal([]byte(f.defaults), &raw); err != nil {
			panic("llima: internal error: defaults of " + f.name + ": " + err.Error())
		}
	}
	err := json.Unmarshal(configJSON, &raw)
	return raw, err
}

func (c *Config) sizes(raw *rawConfig) error {
	if raw.BlockFFDim != nil {
		raw.IntermediateSize = raw.BlockFFDim
	}
	for _, f := range []struct {
		key      string
		value    *int
		dst      *int
		top      int
		fallback func() int
	}{
		{"hidden_size", raw.HiddenSize, &c.HiddenSize, 1 << 17, nil},
		{"num_hidden_layers", raw.NumHiddenLayers, &c.NumHiddenLayers, 1 << 10, nil},
		{"num_attention_heads", raw.NumAttentionHeads, &c.NumAttentionHeads, 1 << 10, nil},
		{"num_key_value_heads", raw.NumKeyValueHeads, &c.NumKeyValueHeads, 1 << 10, func() int { return c.NumAttentionHeads }},
		{"head_dim", raw.HeadDim, &c.HeadDim, 1 << 12, func() int { return c.HiddenSize / c.NumAttentionHeads }},
		{"intermediate_size", raw.IntermediateSize, &c.IntermediateSize, 1 << 20, nil},
		{"vocab_size", raw.VocabSize, &c.VocabSize, 1 << 22, nil},
		{"max_position_embeddings", raw.MaxPositionEmbeddings, &c.MaxPositionEmbeddings, 1 << 24, func() int { return 2048 }},
	} {
		switch {
		case f.value != nil:
			*f.dst = *f.value
		case f.fallback != nil:
			*f.dst = f.fallback()
		default:
			return fmt.Errorf("%s is missing", f.key)
		}
		if *f.dst < 1 || *f.dst > f.top {
			return fmt.Errorf("%s = %d, want 1 to %d", f.key, *f.dst, f.top)
		}
	}
	if c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		return fmt.Errorf("num_attention_heads = %d is not a multiple of num_key_value_heads = %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	}
	if raw.HeadDim == nil && c.HiddenSize%c.NumAttentionHeads != 0 {
		return fmt.Errorf("hidden_size = %d is not a multiple of num_attention_heads = %d, and head_dim is missing", c.HiddenSize, c.NumAttentionHeads)
	}
	if c.HeadDim%2 != 0 {
		return fmt.Errorf("head_dim = %d is odd, and rotary embedding turns pairs", c.HeadDim)
	}
	return c.feedForward(raw)
}

// feedForward shrinks and rounds the size of the MLP where the configuration
// says so: to two thirds, times a factor, up to a multiple.
func (c *Config) feedForward(raw *rawConfig) error {
	if raw.BlockAutoAdjust == nil || !*raw.BlockAutoAdjust {
		return nil
	}
	size := float64(2*c.IntermediateSize) / 3
	size = math.Floor(size)
	if raw.BlockMultiplier != nil {
		size = math.Floor(float64(*raw.BlockMultiplier * size))
		multiple := 1
		if raw.BlockMultipleOf != nil {
			multiple = *raw.BlockMultipleOf
		}
		if multiple < 1 || multiple > 1<<20 {
			return fmt.Errorf("block_multiple_of = %d, want 1 to %d", multiple, 1<<20)
		}
		size = math.Ceil(size/float64(multiple)) * float64(multiple)
	}
	if !(size >= 1 && size <= 1<<20) {
		return fmt.Errorf("intermediate_size of %d becomes %g by block_ffn_dim_multiplier and block_multiple_of, want 1 to %d", c.IntermediateSize, size, 1<<20)
	}
	c.IntermediateSize = int(size)
	return nil
}

// tokens reads which tokens begin and end a text.
func (c *Config) tokens(raw *rawConfig) error {
	bos, err := tokenIDs("bos_token_id", raw.BOS, c.VocabSize)
	if err != nil {
		return err
	}
	if len(bos) > 0 {
		c.BOS = bos[0]
	}
	c.EOS, err = tokenIDs("eos_token_id", raw.EOS, c.VocabSize)
	return err
}

// tokenIDs reads a token id, a list of them, or null.
func tokenIDs(key string, raw json.RawMessage, vocab int) ([]int, error) {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, nil
	}
	var ids []int
	var one int
	if json.Unmarshal(raw, &one) == nil {
		ids = []int{one}
	} else if err := json.Unmarshal(raw, &ids); err != nil {
		return nil, fmt.Errorf("%s: want a token id or a list of them", key)
	}
	for _, id := range ids {
		if id < 0 || id >= vocab {
			return nil, fmt.Errorf("%s = %d is outside the vocabulary of %d", key, id, vocab)
		}
	}
	return ids, nil
}

// EmbeddingName returns the name of the token embeddings, [VocabSize, HiddenSize].
func (c *Config) EmbeddingName() string { return c.family.names.embedding }

// HeadName returns the name of the output head's matrix, [VocabSize, HiddenSize].
func (c *Config) HeadName() string {
	if c.TieWordEmbeddings {
		return c.family.names.embedding
	}
	return c.family.names.head
}

// UntiedHeadName returns what the matrix of an output head of its own is called.
func (c *Config) UntiedHeadName() string { return c.family.names.head }

// Untie gives the model an output head of its own.
func (c *Config) Untie() {
	c.TieWordEmbeddings = false
	c.shapes = sync.OnceValue(c.allShapes)
}

// Parts lists the parts of the model: prefill, then decode; by layer.
func (c *Config) Parts() []addr.PartID {
	var out []addr.PartID
	for _, phase := range addr.Phases {
		for l, layer := range c.Layers {
			parts := []addr.Part{addr.Pre, addr.Cache, addr.Post}
			if layer.Conv {
				parts = []addr.Part{addr.Conv}
			}
			for _, p := range parts {
				out = append(out, addr.PartID{Phase: phase, Part: p, Index: l})
			}
		}
	}
	return out
}
