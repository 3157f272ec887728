package modalix_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/modalix/lower"
)

// randomConfig draws a configuration of some family with sizes that no unit
// of the machine divides, and with its features switched at random.
func randomConfig(r *rand.Rand) []byte {
	pick := func(list ...int) int { return list[r.IntN(len(list))] }
	yes := func() bool { return r.IntN(2) == 0 }
	names := arch.Supported()
	family := names[r.IntN(len(names))]
	kv := pick(1, 1, 2, 3)
	heads := kv * pick(1, 2, 3, 4, 5, 7, 8)
	dim := pick(16, 20, 24, 32, 40, 64, 80, 96, 128, 256)
	hidden := pick(24, 40, 50, 64, 72, 96, 100, 130)
	layers := pick(1, 2, 3)
	if family == "lfm2" || family == "qwen2" || family == "llama" && yes() || family == "phi3" {
		hidden = heads * pick(2, 4, 16, 18, 20) // head_dim follows
	}
	c := map[string]any{
		"model_type": family, "hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": dim,
		"num_hidden_layers": layers, "intermediate_size": pick(17, 40, 48, 64, 96, 100, 150, 176), "vocab_size": pick(37, 65, 100, 257, 301),
		"max_position_embeddings": 128, "tie_word_embeddings": yes(), "attention_bias": yes(), "mlp_bias": yes(),
	}
	if hidden%heads == 0 && hidden/heads%2 == 0 && yes() {
		delete(c, "head_dim")
		dim = hidden / heads
	}
	if yes() {
		c["sliding_window"] = pick(1, 3, 16, 33, 500)
		c["use_sliding_window"], c["max_window_layers"] = true, r.IntN(layers+1)
	}
	var types []string
	for range layers {
		types = append(types, []string{"full_attention", "sliding_attention"}[r.IntN(2)])
	}
	switch family {
	case "gemma", "gemma2", "gemma3_text":
		key := "hidden_activation"
		if family == "gemma" {
			key = "hidden_act"
		}
		c[key] = []string{"gelu_pytorch_tanh", "gelu", "silu", "relu"}[r.IntN(4)]
		c["query_pre_attn_scalar"] = pick(7, 24, 100)
		c["attn_logit_softcapping"], c["final_logit_softcapping"] = 2.5, 3.5
		if family != "gemma" && c["sliding_window"] != nil {
			delete(c, "use_sliding_window")
			c["layer_types"] = types
		}
	case "lfm2":
		c["conv_L_cache"], c["conv_bias"], c["block_multiple_of"] = pick(2, 3, 4, 5), yes(), pick(1, 8, 20)
		for i := range types {
			types[i] = []string{"full_attention", "conv"}[r.IntN(2)]
		}
		c["layer_types"] = types
		delete(c, "sliding_window")
	case "phi3":
		if partial := 0.5; dim%4 == 0 && yes() {
			c["partial_rotary_factor"] = partial
			dim /= 2
		}
		factors := make([]float64, dim/2)
		for i := range factors {
			factors[i] = 1 + r.Float64()
		}
		c["rope_scaling"] = map[string]any{"type": "longrope", "short_factor": factors, "long_factor": factors}
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return b
}

// TestShapes runs random models of random shapes on the emulator, every kind
// of part in one of the precisions, and compares with the evaluator; every
// third with so little memory that values wait and rows go in blocks.
func TestShapes(t *testing.T) {
	count := 40
	if os.Getenv("LLIMA_LONG") != "" {
		count = 400
	}
	for seed := range count {
		r := rand.New(rand.NewPCG(uint64(seed), 77))
		config := randomConfig(r)
		m := randomModel(t, config, uint64(seed))
		group := []int{1, 5, 8, 16, 24}[r.IntN(5)]
		p := arch.Params{ContextTokens: group * 4, GroupTokens: group, MaskTokens: group * 2}
		limits := lower.Limits{}
		if seed%3 == 0 {
			limits = lower.Limits{S: 160 << 10, Tile: 16 << 10}
		}
		o := precisions[r.IntN(len(precisions))]
		name := fmt.Sprintf("%d.%s.%s", seed, m.cfg.Architecture, o.name)
		if !t.Run(name, func(t *testing.T) {
			matchKinds(t, "part", m, p, o.options, limits)
		}) {
			t.Logf("%s: %s %+v", name, config, p)
		}
	}
}
