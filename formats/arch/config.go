// Package arch knows architectures: how each spells its configuration, what
// its tensors are called, and the ONNX graph of each part. One table describes
// an architecture. It knows neither quantisation nor the compiler.
package arch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

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
	RopeTheta             float64
	TieWordEmbeddings     bool
	AttentionBias         bool
	MLPBias               bool
	BOS                   int
	EOS                   []int

	family *family
}

// family is one architecture: how it spells its configuration, what its
// tensors are called, and the graph of each part.
type family struct {
	name  string // model_type, which is also the name that users see
	class string // entry of architectures
	// parse checks and completes what is peculiar to the architecture.
	parse func(c *Config, raw *rawConfig) error
	names names
	// tensors lists what a part reads, in the order in which its graph does.
	tensors func(c *Config, n *names, id addr.PartID) []tensorShape
	pre     func(c *Config, n *names, b *builder, rows int)
	cache   func(c *Config, b *builder, rows, window int)
	post    func(c *Config, n *names, b *builder, rows int, p Params)
}

// names are the checkpoint's tensor names; %d is the layer.
type names struct {
	embedding, finalNorm, head string
	inputNorm, postNorm        string
	q, k, v, o, gate, up, down string // without ".weight" or ".bias"
}

// families is the table of architectures, sorted by name.
var families = []*family{llama}

// Supported lists the architectures, sorted.
func Supported() []string {
	var all []string
	for _, f := range families {
		all = append(all, f.name)
	}
	return all
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

// rawConfig is config.json as published: both the older and the newer
// spellings of what changed its name.
type rawConfig struct {
	ModelType             string          `json:"model_type"`
	Architectures         []string        `json:"architectures"`
	HiddenSize            *int            `json:"hidden_size"`
	NumHiddenLayers       *int            `json:"num_hidden_layers"`
	NumAttentionHeads     *int            `json:"num_attention_heads"`
	NumKeyValueHeads      *int            `json:"num_key_value_heads"`
	HeadDim               *int            `json:"head_dim"`
	IntermediateSize      *int            `json:"intermediate_size"`
	VocabSize             *int            `json:"vocab_size"`
	MaxPositionEmbeddings *int            `json:"max_position_embeddings"`
	RMSNormEps            *float64        `json:"rms_norm_eps"`
	RopeTheta             *float64        `json:"rope_theta"`
	PartialRotaryFactor   *float64        `json:"partial_rotary_factor"`
	RopeScaling           *ropeParameters `json:"rope_scaling"`
	RopeParameters        *ropeParameters `json:"rope_parameters"`
	HiddenAct             string          `json:"hidden_act"`
	TieWordEmbeddings     bool            `json:"tie_word_embeddings"`
	AttentionBias         bool            `json:"attention_bias"`
	MLPBias               bool            `json:"mlp_bias"`
	BOS                   json.RawMessage `json:"bos_token_id"`
	EOS                   json.RawMessage `json:"eos_token_id"`
}

// ropeParameters is rope_parameters, or the older rope_scaling.
type ropeParameters struct {
	RopeTheta           *float64 `json:"rope_theta"`
	RopeType            string   `json:"rope_type"`
	Type                string   `json:"type"` // older spelling of rope_type
	PartialRotaryFactor *float64 `json:"partial_rotary_factor"`
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
	c := &Config{Architecture: fam.name, family: fam, BOS: -1}
	if err := c.sizes(&raw); err != nil {
		return nil, err
	}
	if err := c.rope(&raw); err != nil {
		return nil, err
	}
	c.TieWordEmbeddings, c.AttentionBias, c.MLPBias = raw.TieWordEmbeddings, raw.AttentionBias, raw.MLPBias
	bos, err := tokenIDs("bos_token_id", raw.BOS, c.VocabSize)
	if err != nil {
		return nil, err
	}
	if len(bos) > 0 {
		c.BOS = bos[0]
	}
	if c.EOS, err = tokenIDs("eos_token_id", raw.EOS, c.VocabSize); err != nil {
		return nil, err
	}
	return c, fam.parse(c, &raw)
}

func (c *Config) sizes(raw *rawConfig) error {
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
			return fmt.Errorf("config.json: %s is missing", f.key)
		}
		if *f.dst < 1 || *f.dst > f.top {
			return fmt.Errorf("config.json: %s = %d, want 1 to %d", f.key, *f.dst, f.top)
		}
	}
	if c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		return fmt.Errorf("config.json: num_attention_heads = %d is not a multiple of num_key_value_heads = %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	}
	if raw.HeadDim == nil && c.HiddenSize%c.NumAttentionHeads != 0 {
		return fmt.Errorf("config.json: hidden_size = %d is not a multiple of num_attention_heads = %d, and head_dim is missing", c.HiddenSize, c.NumAttentionHeads)
	}
	if c.HeadDim%2 != 0 {
		return fmt.Errorf("config.json: head_dim = %d is odd, and rotary embedding turns pairs", c.HeadDim)
	}
	c.RMSNormEps = 1e-6
	if raw.RMSNormEps != nil {
		c.RMSNormEps = *raw.RMSNormEps
	}
	if !(c.RMSNormEps > 0 && c.RMSNormEps < 1) {
		return fmt.Errorf("config.json: rms_norm_eps = %g, want more than 0 and less than 1", c.RMSNormEps)
	}
	return nil
}

func (c *Config) rope(raw *rawConfig) error {
	c.RopeTheta = 10000
	if raw.RopeTheta != nil {
		c.RopeTheta = *raw.RopeTheta
	}
	top := &ropeParameters{PartialRotaryFactor: raw.PartialRotaryFactor}
	for _, p := range []*ropeParameters{top, raw.RopeScaling, raw.RopeParameters} {
		if p == nil {
			continue
		}
		if p.PartialRotaryFactor != nil && *p.PartialRotaryFactor != 1 {
			return fmt.Errorf("config.json: partial_rotary_factor = %g is not supported; only 1 is", *p.PartialRotaryFactor)
		}
		if p.RopeTheta != nil {
			c.RopeTheta = *p.RopeTheta
		}
		kind := p.RopeType
		if kind == "" {
			kind = p.Type
		}
		if kind != "" && kind != "default" {
			return fmt.Errorf("config.json: rope_type %q is not supported; only \"default\" is", kind)
		}
	}
	if !(c.RopeTheta >= 1 && c.RopeTheta <= 1e12) {
		return fmt.Errorf("config.json: rope_theta = %g, want 1 to 1e12", c.RopeTheta)
	}
	return nil
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
		return nil, fmt.Errorf("config.json: %s: want a token id or a list of them", key)
	}
	for _, id := range ids {
		if id < 0 || id >= vocab {
			return nil, fmt.Errorf("config.json: %s = %d is outside the vocabulary of %d", key, id, vocab)
		}
	}
	return ids, nil
}

// Params are the sizes that a build chooses, in tokens.
type Params struct {
	ContextTokens, GroupTokens, MaskTokens int
	ReturnLogits                           bool
}

// maxTokens bounds the sizes of a build.
const maxTokens = 1 << 24

// check reports sizes that no graph can have.
func (p Params) check() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"context", p.ContextTokens}, {"group", p.GroupTokens}, {"mask", p.MaskTokens}} {
		if f.value < 1 || f.value > maxTokens {
			return fmt.Errorf("%s of %d tokens, want 1 to %d", f.name, f.value, maxTokens)
		}
		if p.ContextTokens%f.value != 0 {
			return fmt.Errorf("%s of %d tokens does not divide the context of %d", f.name, f.value, p.ContextTokens)
		}
	}
	return nil
}

// Parts lists the parts of the model: prefill, then decode; by layer.
func (c *Config) Parts() []addr.PartID {
	var out []addr.PartID
	for _, phase := range addr.Phases {
		for l := range c.NumHiddenLayers {
			for _, p := range []addr.Part{addr.Pre, addr.Cache, addr.Post} {
				out = append(out, addr.PartID{Phase: phase, Part: p, Index: l})
			}
		}
	}
	return out
}

// Windows lists the cache windows of a phase, rising, in tokens.
func (c *Config) Windows(phase addr.Phase, p Params) []int {
	step := p.GroupTokens
	if phase == addr.Decode {
		step = p.MaskTokens
	}
	var out []int
	for w := step; step > 0 && w <= p.ContextTokens; w += step {
		out = append(out, w)
	}
	return out
}

// Rows returns how many tokens a program of the phase handles.
func (p Params) Rows(phase addr.Phase) int {
	if phase == addr.Prefill {
		return p.GroupTokens
	}
	return 1
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
