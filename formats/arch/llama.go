package arch

import "fmt"

// llama is Llama 2 and 3 without RoPE scaling, and what shares its graph.
var llama = &family{
	name:  "llama",
	class: "LlamaForCausalLM",
	parse: func(_ *Config, raw *rawConfig) error {
		if raw.HiddenAct != "" && raw.HiddenAct != "silu" {
			return fmt.Errorf("config.json: hidden_act %q is not supported for llama; only \"silu\" is", raw.HiddenAct)
		}
		return nil
	},
	names: names{
		embedding: "model.embed_tokens.weight",
		finalNorm: "model.norm.weight",
		head:      "lm_head.weight",
		inputNorm: "model.layers.%d.input_layernorm.weight",
		postNorm:  "model.layers.%d.post_attention_layernorm.weight",
		q:         "model.layers.%d.self_attn.q_proj",
		k:         "model.layers.%d.self_attn.k_proj",
		v:         "model.layers.%d.self_attn.v_proj",
		o:         "model.layers.%d.self_attn.o_proj",
		gate:      "model.layers.%d.mlp.gate_proj",
		up:        "model.layers.%d.mlp.up_proj",
		down:      "model.layers.%d.mlp.down_proj",
	},
	tensors: decoderTensors,
	pre:     decoderPre,
	cache:   decoderCache,
	post:    decoderPost,
}
