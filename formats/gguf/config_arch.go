package gguf

import (
	"math"
	"slices"
)

// moreLlama tells Mistral from Llama by the sliding window, and reads the
// factors that Llama 3 scales its frequencies by.
func moreLlama(m *Model, c *config) error {
	c.members["hidden_act"] = "silu"
	c.members["attention_bias"] = m.has("blk.0.attn_q.bias")
	c.members["mlp_bias"] = m.has("blk.0.ffn_gate.bias")
	if n, ok := c.integer("attention.sliding_window"); ok && n > 0 {
		c.members["model_type"], c.members["architectures"] = "mistral", []string{"MistralForCausalLM"}
		c.members["sliding_window"] = n
	}
	factors, err := m.factors("rope_freqs.weight")
	if err != nil || factors == nil {
		return err
	}
	theta, ok := c.float("rope.freq_base")
	if !ok {
		theta = 10000
	}
	c.members["rope_scaling"] = llama3Scaling(factors, theta, c.members["max_position_embeddings"])
	return nil
}

// llama3Scaling says by which parameters Llama 3's formula gives the factors.
// Where none do, it states the factors themselves.
func llama3Scaling(factors []float32, theta float64, context any) map[string]any {
	const low, high = 1.0, 4.0
	top := float64(slices.Max(factors))
	original := 8192.0
	wavelength := func(i int) float64 {
		return 2 * math.Pi * math.Pow(theta, float64(i)/float64(len(factors)))
	}
	for i, f := range factors {
		if f > 1 && float64(f) < top {
			smooth := (1/float64(f) - 1/top) / (1 - 1/top)
			original = math.Round(wavelength(i) * (smooth*(high-low) + low))
			break
		}
	}
	for i, f := range factors {
		smooth := (original/wavelength(i) - low) / (high - low)
		smooth = min(max(smooth, 0), 1)
		if want := 1 / ((1-smooth)/top + smooth); math.Abs(float64(f)/want-1) > 1e-5 {
			return map[string]any{
				"rope_type": "longrope", "short_factor": decimals(factors), "long_factor": decimals(factors),
				"attention_factor": 1.0, "original_max_position_embeddings": context,
			}
		}
	}
	return map[string]any{
		"rope_type": "llama3", "factor": decimal(top), "low_freq_factor": low, "high_freq_factor": high,
		"original_max_position_embeddings": int(original),
	}
}

func moreQwen2(_ *Model, c *config) error {
	c.members["hidden_act"], c.members["use_sliding_window"] = "silu", false
	return nil
}

func moreQwen3(m *Model, c *config) error {
	c.members["hidden_act"], c.members["use_sliding_window"] = "silu", false
	c.members["attention_bias"] = m.has("blk.0.attn_q.bias")
	return nil
}

func moreGemma(_ *Model, c *config) error {
	c.members["hidden_act"], c.members["hidden_activation"] = "gelu_pytorch_tanh", "gelu_pytorch_tanh"
	return nil
}

func moreGemma2(_ *Model, c *config) error {
	c.members["hidden_activation"] = "gelu_pytorch_tanh"
	c.number("attn_logit_softcapping", "attn_logit_softcapping")
	c.number("final_logit_softcapping", "final_logit_softcapping")
	c.count("sliding_window", "attention.sliding_window", true)
	c.queryScale(46)
	return c.err
}

// queryScale sets what scores are divided by the root of. Files leave it to
// the reader: the width of a head, but hidden size over heads in the largest
// model of a family, which is known by its number of layers.
func (c *config) queryScale(layersOfLargest int) {
	hidden, _ := c.members["hidden_size"].(int)
	heads, _ := c.members["num_attention_heads"].(int)
	dim, ok := c.members["head_dim"].(int)
	if c.err != nil || heads == 0 {
		return
	}
	if !ok || c.members["num_hidden_layers"] == layersOfLargest {
		dim = hidden / heads
	}
	c.members["query_pre_attn_scalar"] = dim
	if f, ok := c.float("attention.scale"); ok && f > 0 {
		c.members["query_pre_attn_scalar"] = decimal(1 / (f * f))
	}
}

func moreGemma3(_ *Model, c *config) error {
	c.members["hidden_activation"] = "gelu_pytorch_tanh"
	c.number("attn_logit_softcapping", "attn_logit_softcapping")
	c.number("final_logit_softcapping", "final_logit_softcapping")
	c.count("sliding_window", "attention.sliding_window", true)
	c.queryScale(62)
	if _, ok := c.members["rope_theta"]; !ok {
		c.members["rope_theta"] = 1000000.0
	}
	c.members["rope_local_base_freq"] = 10000.0
	c.number("rope_local_base_freq", "rope.freq_base_swa")
	if c.err != nil {
		return c.err
	}
	types, err := c.layerTypes()
	c.members["layer_types"] = types
	return err
}

// layerTypes reads which layers slide: every one but each n-th, or a list.
func (c *config) layerTypes() ([]string, error) {
	const key = "attention.sliding_window_pattern"
	layers, _ := c.members["num_hidden_layers"].(int)
	list, ok, err := c.m.metadata.Ints(c.key(key))
	if err != nil {
		return nil, err
	}
	v, _ := c.m.metadata.Value(c.key(key))
	if layers < 0 || layers > maxLayers || v.Type == Array && len(list) < layers || ok && v.Type != Array && list[0] < 1 {
		return nil, c.m.metadata.problem(c.key(key), "does not tell the types of %d layers", layers)
	}
	every := 6
	if ok && v.Type != Array {
		every = list[0]
	}
	types := make([]string, layers)
	for i := range types {
		slides := (i+1)%every != 0
		if v.Type == Array {
			slides = list[i] != 0
		}
		types[i] = "full_attention"
		if slides {
			types[i] = "sliding_attention"
		}
	}
	return types, nil
}

// maxLayers bounds lists that have an element for each layer.
const maxLayers = 1 << 12

func morePhi3(m *Model, c *config) error {
	c.members["hidden_act"] = "silu"
	delete(c.members, "head_dim")
	if n, ok := c.integer("attention.sliding_window"); ok && n > 0 {
		c.members["sliding_window"] = n
	}
	original, ok := c.integer("rope.scaling.original_context_length")
	if ok {
		c.members["original_max_position_embeddings"] = original
	}
	hidden, _ := c.members["hidden_size"].(int)
	heads, _ := c.members["num_attention_heads"].(int)
	if dims, ok := c.integer("rope.dimension_count"); ok && heads > 0 && dims*heads != hidden {
		c.members["partial_rotary_factor"] = float64(dims) / float64(hidden/heads)
	}
	long, err := m.factors("rope_factors_long.weight")
	if err != nil {
		return err
	}
	short, err := m.factors("rope_factors_short.weight")
	if err != nil || long == nil || short == nil {
		return err
	}
	scaling := map[string]any{"type": "longrope", "rope_type": "longrope", "short_factor": decimals(short), "long_factor": decimals(long)}
	if f, ok := c.float("rope.scaling.attn_factor"); ok {
		context, _ := c.members["max_position_embeddings"].(int)
		usual := 1.0
		if original > 1 && context > original {
			usual = math.Sqrt(1 + math.Log(float64(context)/float64(original))/math.Log(float64(original)))
		}
		if math.Abs(f/usual-1) > 1e-6 {
			scaling["attention_factor"] = decimal(f)
		}
	}
	c.members["rope_scaling"] = scaling
	return c.err
}

// moreLfm2 tells convolutions from attention by the heads of each layer.
func moreLfm2(_ *Model, c *config) error {
	const key = "attention.head_count_kv"
	heads, ok, err := c.m.metadata.Ints(c.key(key))
	if err != nil {
		return err
	}
	layers, _ := c.members["num_hidden_layers"].(int)
	if !ok || len(heads) != layers {
		return c.m.metadata.problem(c.key(key), "%d numbers, want one for each of %d layers", len(heads), layers)
	}
	types := make([]string, layers)
	for i, n := range heads {
		types[i] = "conv"
		if n > 0 {
			types[i], c.members["num_key_value_heads"] = "full_attention", n
			if n != slices.Max(heads) {
				return c.m.metadata.problem(c.key(key), "%d and %d heads, want one number in all layers with attention", n, slices.Max(heads))
			}
		}
	}
	c.members["layer_types"] = types
	c.members["norm_eps"] = c.members["rms_norm_eps"]
	delete(c.members, "rms_norm_eps")
	c.members["block_auto_adjust_ff_dim"], c.members["conv_bias"] = false, false
	c.count("conv_L_cache", "shortconv.l_cache", true)
	return c.err
}
