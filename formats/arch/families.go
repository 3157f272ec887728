package arch

import "slices"

// family is one architecture: how it spells its configuration, what its
// tensors are called, and which of the features it has that graphs are built
// from. A tensor that has a name here is there in every layer.
type family struct {
	name  string // model_type, which is also the name that users see
	class string // entry of architectures
	// defaults is what config.json means where it leaves a key out, in its own
	// words; null in config.json overrides it.
	defaults string
	names    names

	qkvBias, outputBias, mlpBias bias

	activation      string  // key of the activation; "": it is always silu
	normOffset      float32 // added to the weights of every norm
	scaleEmbeddings bool    // by the square root of hidden_size
	geluIsTanh      bool    // hidden_act = "gelu" means the approximation
	queryScalar     bool    // query_pre_attn_scalar stands for head_dim in the scale of scores
	scoreCap        bool    // attn_logit_softcapping
	logitCap        bool    // final_logit_softcapping

	// ropeTypes are what rope_type may be beside "default".
	ropeTypes []string
	// ropeAliases are older names of rope types.
	ropeAliases   map[string]string
	partialRotary bool // partial_rotary_factor
	// localRope says that sliding layers turn by rope_local_base_freq, or by
	// their own entry in rope_parameters.
	localRope bool

	// layerType derives a layer's type where layer_types is missing; nil: all
	// attend to everything. listed says that layer_types is heeded; elsewhere
	// it has to agree with layerType.
	layerType func(raw *rawConfig, layer int) string
	listed    bool
}

// bias says whether a linear layer has a bias.
type bias uint8

const (
	never  bias = iota
	always      // the architecture has one
	asSaid      // as attention_bias or mlp_bias says
)

func (b bias) has(said bool) bool { return b == always || b == asSaid && said }

// names are the checkpoint's tensor names; %d is the layer. Linear layers stand
// without ".weight" or ".bias". One that is empty is not there.
type names struct {
	embedding, finalNorm, head string

	inputNorm     string
	q, k, v       string
	qkv           string // q, k and v in one
	qNorm, kNorm  string // of every head, before it turns
	o             string
	attentionNorm string // of what attention gives, before it is added
	mlpInputNorm  string
	gate, up      string
	gateUp        string // both in one
	down          string
	mlpOutputNorm string // of what the MLP gives, before it is added

	conv, convIn, convOut string // of layers with a short convolution
}

// llamaNames are the names of Llama, which most others share.
var llamaNames = names{
	embedding:    "model.embed_tokens.weight",
	finalNorm:    "model.norm.weight",
	head:         "lm_head.weight",
	inputNorm:    "model.layers.%d.input_layernorm.weight",
	q:            "model.layers.%d.self_attn.q_proj",
	k:            "model.layers.%d.self_attn.k_proj",
	v:            "model.layers.%d.self_attn.v_proj",
	o:            "model.layers.%d.self_attn.o_proj",
	mlpInputNorm: "model.layers.%d.post_attention_layernorm.weight",
	gate:         "model.layers.%d.mlp.gate_proj",
	up:           "model.layers.%d.mlp.up_proj",
	down:         "model.layers.%d.mlp.down_proj",
}

// with returns the names with changes.
func (n names) with(change func(*names)) names {
	change(&n)
	return n
}

// qkNorms adds norms of queries and keys.
func qkNorms(n *names) {
	n.qNorm, n.kNorm = "model.layers.%d.self_attn.q_norm.weight", "model.layers.%d.self_attn.k_norm.weight"
}

// sandwich has a norm on either side of attention and MLP.
func sandwich(n *names) {
	n.attentionNorm = "model.layers.%d.post_attention_layernorm.weight"
	n.mlpInputNorm = "model.layers.%d.pre_feedforward_layernorm.weight"
	n.mlpOutputNorm = "model.layers.%d.post_feedforward_layernorm.weight"
}

// families is the table of architectures, sorted by name. Defaults are those
// of each architecture's configuration class in transformers 5.23, as are the
// rope types that it takes.
var families = []*family{
	{ // Gemma 1
		name: "gemma", class: "GemmaForCausalLM",
		defaults: `{"head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 8192, "tie_word_embeddings": true,
			"num_key_value_heads": 16}`,
		names:   llamaNames,
		qkvBias: asSaid, outputBias: asSaid,
		activation: "hidden_act", normOffset: 1, scaleEmbeddings: true, geluIsTanh: true,
		ropeTypes: []string{"linear", "dynamic", "yarn", "llama3", "longrope"},
	},
	{ // Gemma 2
		name: "gemma2", class: "Gemma2ForCausalLM",
		defaults: `{"head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 8192, "tie_word_embeddings": true,
			"num_key_value_heads": 4, "query_pre_attn_scalar": 256, "sliding_window": 4096, "attn_logit_softcapping": 50,
			"final_logit_softcapping": 30}`,
		names:   llamaNames.with(sandwich),
		qkvBias: asSaid, outputBias: asSaid,
		activation: "hidden_activation", normOffset: 1, scaleEmbeddings: true, queryScalar: true, scoreCap: true, logitCap: true,
		ropeTypes: []string{"linear", "dynamic", "yarn", "llama3", "longrope"},
		layerType: everySecondFull, listed: true,
	},
	{ // Gemma 3, text only; transformers ignores attn_logit_softcapping
		name: "gemma3_text", class: "Gemma3ForCausalLM",
		defaults: `{"head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 131072, "tie_word_embeddings": true,
			"num_key_value_heads": 4, "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6,
			"rope_theta": 1000000, "rope_local_base_freq": 10000}`,
		names:   llamaNames.with(sandwich).with(qkNorms),
		qkvBias: asSaid, outputBias: asSaid,
		activation: "hidden_activation", normOffset: 1, scaleEmbeddings: true, queryScalar: true, logitCap: true,
		ropeTypes: []string{"linear", "dynamic", "yarn", "llama3", "longrope"}, localRope: true,
		layerType: byPattern, listed: true,
	},
	{ // LFM2: attention in some layers, a gated short convolution in the others
		name: "lfm2", class: "Lfm2ForCausalLM",
		defaults: `{"max_position_embeddings": 128000, "norm_eps": 1e-5, "tie_word_embeddings": true, "num_key_value_heads": 8,
			"rope_theta": 1000000, "conv_L_cache": 3, "block_multiple_of": 256, "block_ffn_dim_multiplier": 1,
			"block_auto_adjust_ff_dim": true, "intermediate_size": 12288}`,
		names: names{
			embedding:    "model.embed_tokens.weight",
			finalNorm:    "model.embedding_norm.weight",
			head:         "lm_head.weight",
			inputNorm:    "model.layers.%d.operator_norm.weight",
			q:            "model.layers.%d.self_attn.q_proj",
			k:            "model.layers.%d.self_attn.k_proj",
			v:            "model.layers.%d.self_attn.v_proj",
			qNorm:        "model.layers.%d.self_attn.q_layernorm.weight",
			kNorm:        "model.layers.%d.self_attn.k_layernorm.weight",
			o:            "model.layers.%d.self_attn.out_proj",
			mlpInputNorm: "model.layers.%d.ffn_norm.weight",
			gate:         "model.layers.%d.feed_forward.w1",
			up:           "model.layers.%d.feed_forward.w3",
			down:         "model.layers.%d.feed_forward.w2",
			conv:         "model.layers.%d.conv.conv",
			convIn:       "model.layers.%d.conv.in_proj",
			convOut:      "model.layers.%d.conv.out_proj",
		},
		ropeTypes: []string{"linear", "dynamic", "yarn", "llama3", "longrope"},
		layerType: byAttentionIndex, listed: true,
	},
	{ // Llama 2, 3, 3.1, 3.2, and what shares its graph
		name: "llama", class: "LlamaForCausalLM",
		defaults: `{"hidden_act": "silu", "max_position_embeddings": 2048}`,
		names:    llamaNames,
		qkvBias:  asSaid, outputBias: asSaid, mlpBias: asSaid,
		activation: "hidden_act",
		ropeTypes:  []string{"linear", "dynamic", "yarn", "llama3", "longrope"},
	},
	{ // Mistral 7B: every layer slides
		name: "mistral", class: "MistralForCausalLM",
		defaults:   `{"hidden_act": "silu", "max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096}`,
		names:      llamaNames,
		activation: "hidden_act",
		ropeTypes:  []string{"linear", "dynamic", "yarn", "llama3", "longrope"},
		layerType:  wheneverWindow,
	},
	{ // Phi-3 and 3.5
		name: "phi3", class: "Phi3ForCausalLM",
		defaults: `{"hidden_act": "silu", "max_position_embeddings": 4096, "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5}`,
		names: llamaNames.with(func(n *names) {
			n.q, n.k, n.v, n.qkv = "", "", "", "model.layers.%d.self_attn.qkv_proj"
			n.gate, n.up, n.gateUp = "", "", "model.layers.%d.mlp.gate_up_proj"
		}),
		activation: "hidden_act",
		ropeTypes:  []string{"longrope"}, ropeAliases: map[string]string{"su": "longrope", "yarn": "longrope"}, partialRotary: true,
		layerType: wheneverWindow,
	},
	{ // Qwen2 and 2.5
		name: "qwen2", class: "Qwen2ForCausalLM",
		defaults: `{"hidden_act": "silu", "max_position_embeddings": 32768, "num_key_value_heads": 32, "use_sliding_window": false,
			"sliding_window": 4096, "max_window_layers": 28}`,
		names:      llamaNames,
		qkvBias:    always,
		activation: "hidden_act",
		ropeTypes:  []string{"linear", "dynamic", "yarn", "llama3", "longrope"},
		layerType:  fromMaxWindowLayers, listed: true,
	},
	{ // Qwen3
		name: "qwen3", class: "Qwen3ForCausalLM",
		defaults: `{"head_dim": 128, "hidden_act": "silu", "max_position_embeddings": 32768, "num_key_value_heads": 32,
			"use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28}`,
		names:   llamaNames.with(qkNorms),
		qkvBias: asSaid, outputBias: asSaid,
		activation: "hidden_act",
		ropeTypes:  []string{"linear", "dynamic", "yarn", "llama3", "longrope"},
		layerType:  fromMaxWindowLayers, listed: true,
	},
}

// wheneverWindow slides in every layer where there is a window.
func wheneverWindow(raw *rawConfig, _ int) string {
	if raw.SlidingWindow != nil {
		return layerSliding
	}
	return layerFull
}

// everySecondFull alternates, a sliding layer first.
func everySecondFull(_ *rawConfig, layer int) string {
	if layer%2 == 0 {
		return layerSliding
	}
	return layerFull
}

// byPattern attends to everything in every sliding_window_pattern-th layer.
func byPattern(raw *rawConfig, layer int) string {
	if (layer+1)%max(1, or(raw.SlidingWindowPattern, 1)) != 0 {
		return layerSliding
	}
	return layerFull
}

// fromMaxWindowLayers slides from that layer on, where sliding is switched on.
func fromMaxWindowLayers(raw *rawConfig, layer int) string {
	if or(raw.UseSlidingWindow, false) && raw.SlidingWindow != nil && layer >= or(raw.MaxWindowLayers, 0) {
		return layerSliding
	}
	return layerFull
}

// byAttentionIndex attends in the layers of full_attn_idxs, in all where it
// is missing.
func byAttentionIndex(raw *rawConfig, layer int) string {
	if raw.FullAttnIdxs == nil || slices.Contains(raw.FullAttnIdxs, layer) {
		return layerFull
	}
	return layerConv
}
