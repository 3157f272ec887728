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
		return f
	}
	f["hidden_size"], f["rms_norm_eps"] = c.HiddenSize, c.RMSNormEps
	f["attention_bias"] = c.AttentionBias
	if id.Part == addr.Post {
		f["intermediate_size"], f["mlp_bias"] = c.IntermediateSize, c.MLPBias
		if id.Index == c.NumHiddenLayers-1 {
			f["last"], f["vocab_size"], f["tie_word_embeddings"] = true, c.VocabSize, c.TieWordEmbeddings
		}
	}
	return f
}
