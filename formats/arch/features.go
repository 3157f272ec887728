package arch

import (
	"fmt"
	"math"
	"slices"
)

// or returns what p points to, or def.
func or[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

// features reads what the graphs of a layer have and have not.
func (c *Config) features(raw *rawConfig) error {
	f := c.family
	c.TieWordEmbeddings = or(raw.TieEmbedding, or(raw.TieWordEmbeddings, false))
	c.QKVBias, c.OutputBias, c.MLPBias = f.qkvBias.has(raw.AttentionBias), f.outputBias.has(raw.AttentionBias), f.mlpBias.has(raw.MLPBias)
	if or(raw.Bidirectional, false) {
		return fmt.Errorf("use_bidirectional_attention = true is not supported; text is generated from left to right")
	}
	epsKey, eps := "rms_norm_eps", or(raw.RMSNormEps, 1e-6)
	if raw.NormEps != nil {
		epsKey, eps = "norm_eps", *raw.NormEps
	}
	if c.RMSNormEps = eps; !(eps > 0 && eps < 1) {
		return fmt.Errorf("%s = %g, want more than 0 and less than 1", epsKey, eps)
	}
	if err := c.activation(raw); err != nil {
		return err
	}
	c.EmbeddingScale = 1
	if f.scaleEmbeddings {
		c.EmbeddingScale = float32(math.Sqrt(float64(c.HiddenSize)))
	}
	return c.scores(raw)
}

func (c *Config) activation(raw *rawConfig) error {
	key := c.family.activation
	if key == "" {
		c.Activation = SiLU
		return nil
	}
	name := or(raw.HiddenAct, "")
	if key == "hidden_activation" {
		name = or(raw.HiddenActivation, "")
	}
	var ok bool
	if c.Activation, ok = activations[name]; !ok {
		return fmt.Errorf("%s %q is not supported for %s; these are: gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish", key, name, c.Architecture)
	}
	if c.Activation == Gelu && c.family.geluIsTanh {
		c.Activation = GeluTanh
	}
	return nil
}

// scores reads how scores and logits are scaled and capped.
func (c *Config) scores(raw *rawConfig) error {
	c.AttentionScale = float32(1 / math.Sqrt(float64(c.HeadDim)))
	if q := raw.QueryPreAttnScalar; q != nil && c.family.queryScalar {
		if !(*q > 0 && *q < 1e9) {
			return fmt.Errorf("query_pre_attn_scalar = %g, want more than 0", *q)
		}
		c.AttentionScale = float32(1 / math.Sqrt(*q))
	}
	for _, x := range []struct {
		has   bool
		key   string
		value *float64
		dst   *float32
	}{
		{c.family.scoreCap, "attn_logit_softcapping", raw.ScoreCap, &c.ScoreCap},
		{c.family.logitCap, "final_logit_softcapping", raw.LogitCap, &c.LogitCap},
	} {
		if !x.has || x.value == nil {
			continue
		}
		if !(*x.value > 1e-6 && *x.value < 1e6) {
			return fmt.Errorf("%s = %g, want 1e-6 to 1e6", x.key, *x.value)
		}
		*x.dst = float32(*x.value)
	}
	return nil
}

// layers reads the type of every layer.
func (c *Config) layers(raw *rawConfig) error {
	f := c.family
	derive := f.layerType
	if derive == nil {
		derive = func(*rawConfig, int) string { return layerFull }
	}
	if raw.LayerTypes != nil && len(raw.LayerTypes) < c.NumHiddenLayers {
		return fmt.Errorf("layer_types has %d entries for num_hidden_layers = %d", len(raw.LayerTypes), c.NumHiddenLayers)
	}
	for _, x := range raw.FullAttnIdxs {
		if x < 0 || x >= c.NumHiddenLayers {
			return fmt.Errorf("full_attn_idxs: %d is not a layer of num_hidden_layers = %d", x, c.NumHiddenLayers)
		}
	}
	for l := range c.NumHiddenLayers {
		kind := derive(raw, l)
		if raw.LayerTypes != nil {
			said := raw.LayerTypes[l]
			if !f.listed && said != kind {
				return fmt.Errorf("layer_types[%d] = %q is not supported for %s, where such a layer is %s", l, said, f.name, kind)
			}
			kind = said
		}
		layer, err := c.layer(raw, kind)
		if err != nil {
			return fmt.Errorf("layer_types[%d]: %w", l, err)
		}
		c.Layers = append(c.Layers, layer)
	}
	return c.convolution(raw)
}

// layer reads a layer of a type.
func (c *Config) layer(raw *rawConfig, kind string) (Layer, error) {
	const most = 1 << 24
	switch {
	case kind == layerFull:
		return Layer{}, nil
	case kind == layerSliding && c.family.names.conv == "":
		window := raw.SlidingWindow
		if c.family.names.qkv == "" && raw.UseSlidingWindow != nil && !*raw.UseSlidingWindow {
			window = nil
		}
		if window == nil {
			return Layer{}, fmt.Errorf("%s without a sliding_window", kind)
		}
		if *window < 1 || *window > most {
			return Layer{}, fmt.Errorf("sliding_window = %d, want 1 to %d", *window, most)
		}
		return Layer{Window: *window}, nil
	case kind == layerConv && c.family.names.conv != "":
		return Layer{Conv: true}, nil
	}
	return Layer{}, fmt.Errorf("%q is not supported for %s", kind, c.Architecture)
}

// convolution reads what layers with a short convolution have.
func (c *Config) convolution(raw *rawConfig) error {
	if !slices.ContainsFunc(c.Layers, func(l Layer) bool { return l.Conv }) {
		return nil
	}
	c.ConvTaps, c.ConvBias = or(raw.ConvTaps, 3), raw.ConvBias
	if c.ConvTaps < 2 || c.ConvTaps > 64 {
		return fmt.Errorf("conv_L_cache = %d, want 2 to 64", c.ConvTaps)
	}
	return nil
}
