package runtime_test

import (
	"path/filepath"
	"testing"

	"github.com/llima-build/llima/modalix/runtime"
)

// TestFeaturesShow switches features off, one at a time: each moves the logits
// of a prompt beyond the bound of TestFamilies, which so would notice a build
// that lacks it. What is smaller shows in float graphs (quant/rewrite).
func TestFeaturesShow(t *testing.T) {
	as := func(kind, class string) func(map[string]any) {
		return func(c map[string]any) {
			c["model_type"], c["architectures"] = kind, []string{class}
		}
	}
	set := func(pairs ...any) func(map[string]any) {
		return func(c map[string]any) {
			for i := 0; i < len(pairs); i += 2 {
				c[pairs[i].(string)] = pairs[i+1]
			}
		}
	}
	for _, c := range []struct {
		dir, feature string
		config       func(map[string]any) // of config.json
		language     func(map[string]any) // of vlm_config.json
	}{
		{"llama-yarn-bias", "attention bias", set("attention_bias", false), nil},
		{"llama-yarn-bias", "mlp bias", set("mlp_bias", false), nil},
		{"llama-yarn-bias", "yarn", set("rope_scaling", nil), nil},
		{"llama-yarn-bias", "a head of its own", set("tie_word_embeddings", true), nil},
		{"llama-linear-f16", "linear scaling", set("rope_parameters", map[string]any{"rope_theta": 500}), nil},
		{"llama3", "llama3 scaling", set("rope_scaling", nil), nil},
		{"llama3", "its theta", set("rope_theta", 500000), nil},
		{"mistral", "window", set("sliding_window", nil), nil},
		{"mistral-narrow", "window", set("sliding_window", nil), nil},
		{"mistral-narrow", "one position less", set("sliding_window", 4), nil},
		{"mistral-narrow", "one position more", set("sliding_window", 6), nil},
		{"qwen2", "bias", as("llama", "LlamaForCausalLM"), nil},
		{"qwen2-sliding", "bias", as("mistral", "MistralForCausalLM"), nil},
		{"qwen2-sliding", "window", set("use_sliding_window", false), nil},
		{"qwen2-sliding", "one sliding layer", set("max_window_layers", 2), nil},
		{"qwen2-sliding", "one full layer", set("max_window_layers", 0), nil},
		{"qwen3", "norms of q and k", as("llama", "LlamaForCausalLM"), nil},
		{"qwen3-sliding-bias", "bias", set("attention_bias", false), nil},
		{"qwen3-sliding-bias", "window", set("layer_types", nil, "use_sliding_window", false), nil},
		{"qwen3-sliding-bias", "order of layers", set("layer_types", []string{"full_attention", "sliding_attention", "sliding_attention"}), nil},
		{"gemma", "1 + w", as("llama", "LlamaForCausalLM"), nil},
		{"gemma-legacy-gelu", "bias", set("attention_bias", false), nil},
		{"gemma-legacy-gelu", "activation", set("hidden_act", "silu"), nil},
		{"gemma-legacy-gelu", "scale of embeddings", nil, set("embedding_scale", 1)},
		{"gemma2", "norms behind", as("gemma", "GemmaForCausalLM"), nil},
		{"gemma2", "cap of scores", set("attn_logit_softcapping", nil), nil},
		{"gemma2", "window", nil, set("layer_types", []string{"full_attention", "full_attention", "full_attention"})},
		{"gemma2-full-first", "cap of scores", set("attn_logit_softcapping", nil), nil},
		{"gemma2-full-first", "cap of logits", set("final_logit_softcapping", nil), nil},
		{"gemma2-full-first", "scale of scores", set("query_pre_attn_scalar", 24), nil},
		{"gemma2-full-first", "order of layers", set("layer_types", nil), nil},
		{"gemma3_text", "local rope", nil, set("local_rope", false)},
		{"gemma3_text", "window", set("sliding_window", 1000), nil},
		{"gemma3_text-linear", "linear scaling", set("rope_scaling", nil), nil},
		{"gemma3_text-linear", "local rope", set("rope_local_base_freq", 5000), nil},
		{"gemma3_text-linear", "pattern", set("sliding_window_pattern", 3), nil},
		{"gemma3_text-linear", "cap of logits", set("final_logit_softcapping", nil), nil},
		{"gemma3_text-linear", "norms of q and k", func(c map[string]any) {
			as("gemma2", "Gemma2ForCausalLM")(c)
			set("attn_logit_softcapping", nil, "rope_scaling", map[string]any{"type": "linear", "factor": 8})(c)
		}, nil},
		{"phi3", "longrope", set("rope_scaling", nil), nil},
		{"phi3", "long factors", nil, set("long_rope_from", 90)},
		{"phi3-partial", "long factors", nil, set("long_rope_from", 90)},
		{"phi3-partial", "window", set("sliding_window", nil), nil},
		{"phi3-partial", "partial rotation", set("partial_rotary_factor", 1, "rope_scaling", nil), nil},
		{"lfm2-bias", "bias", set("conv_bias", false), nil},
		{"lfm2", "epsilon of norms", set("norm_eps", 0.1), nil},
	} {
		t.Run(c.dir+"/"+c.feature, func(t *testing.T) {
			src := filepath.Join(familiesDir, c.dir)
			dir := build(t, src, inBF16, familySizes, c.config)
			if c.language != nil {
				edit(t, dir, "devkit/vlm_config.json", func(doc map[string]any) { c.language(doc["language"].(map[string]any)) })
			}
			g := goldenOf(t, src, "long")
			var logits []float32
			_, err := open(t, dir).Generate(t.Context(), g.input, runtime.Options{Logits: func(row []float32) error {
				logits = append(logits, row...)
				return nil
			}}, nil)
			must(t, err)
			p := part(t, logits, g.logits)
			t.Logf("logits differ by %.3f of their standard deviation", p)
			if !(p > logitsBound) {
				t.Errorf("logits differ by %.4f of their standard deviation without it, which the bound of %.4f hides", p, logitsBound)
			}
		})
	}
}
