package arch

import "github.com/llima-build/llima/internal/addr"

// GraphFields returns the configuration values that the graph of a part
// depends on: two configurations with equal fields build equal graphs, given
// equal tensors.
func (c *Config) GraphFields(id addr.PartID) map[string]any {
	f := map[string]any{
		"family": c.Architecture, "num_attention_heads": c.NumAttentionHeads,
		"num_key_value_heads": c.NumKeyValueHeads, "head_dim": c.HeadDim,
	}
	if id.Part == addr.Cache {
		f["attention_scale"], f["attn_logit_softcapping"] = c.AttentionScale, c.ScoreCap
		return f
	}
	f["hidden_size"], f["rms_norm_eps"] = c.HiddenSize, c.RMSNormEps
	switch id.Part {
	case addr.Pre:
		f["attention_bias"], f["rotary_dim"] = c.QKVBias, c.RotaryDim
		return f
	case addr.Post:
		f["attention_bias"] = c.OutputBias
	case addr.Conv:
		f["conv_L_cache"], f["conv_bias"] = c.ConvTaps, c.ConvBias
	case addr.Cache, addr.Vision:
	}
	f["intermediate_size"], f["mlp_bias"], f["hidden_act"] = c.IntermediateSize, c.MLPBias, string(c.Activation)
	if id.Index == c.NumHiddenLayers-1 {
		f["last"], f["vocab_size"], f["tie_word_embeddings"] = true, c.VocabSize, c.TieWordEmbeddings
		f["final_logit_softcapping"] = c.LogitCap
	}
	return f
}
