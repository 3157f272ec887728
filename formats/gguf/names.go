package gguf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Source is where a tensor of Hugging Face's layout is in a GGUF model, and
// what the conversion to GGUF did to it.
type Source struct {
	Tensor
	// Shape is the shape in Hugging Face's layout.
	Shape []int
	// Heads is not 0 where the rows of each of so many heads were put in
	// another order: see [Source.Order].
	Heads int
	// PlusOne says that the conversion added 1: the file holds what Gemma's
	// norms multiply by, not what Hugging Face's file holds.
	PlusOne bool
}

// Order lists, for each row of Hugging Face's layout, the row of the file that
// holds it; nil where they are the same. Llama's conversion moves the two
// halves of a head, which rotate together, side by side.
func (s Source) Order() []int {
	if s.Heads == 0 {
		return nil
	}
	order := make([]int, s.Shape[0])
	dim := len(order) / s.Heads
	for r := range order {
		head, in := r/dim, r%dim
		half, i := in/(dim/2), in%(dim/2)
		order[r] = head*dim + 2*i + half
	}
	return order
}

// blockNames are the names of a layer's tensors behind "blk.N." and
// "model.layers.N.", in most architectures.
var blockNames = map[string]string{
	"attn_norm":   "input_layernorm",
	"attn_q":      "self_attn.q_proj",
	"attn_k":      "self_attn.k_proj",
	"attn_v":      "self_attn.v_proj",
	"attn_output": "self_attn.o_proj",
	"attn_q_norm": "self_attn.q_norm",
	"attn_k_norm": "self_attn.k_norm",
	"attn_qkv":    "self_attn.qkv_proj",
	"ffn_norm":    "post_attention_layernorm",
	"ffn_gate":    "mlp.gate_proj",
	"ffn_up":      "mlp.up_proj",
	"ffn_down":    "mlp.down_proj",
}

// otherNames are where an architecture differs from blockNames.
var otherNames = map[string]map[string]string{
	"gemma2": gemmaNames,
	"gemma3": gemmaNames,
	"phi3":   {"ffn_up": "mlp.gate_up_proj"},
	"lfm2": {
		"attn_norm": "operator_norm", "attn_output": "self_attn.out_proj", "attn_q_norm": "self_attn.q_layernorm",
		"attn_k_norm": "self_attn.k_layernorm", "ffn_norm": "ffn_norm", "ffn_gate": "feed_forward.w1", "ffn_down": "feed_forward.w2",
		"ffn_up": "feed_forward.w3", "shortconv.conv": "conv.conv", "shortconv.in_proj": "conv.in_proj", "shortconv.out_proj": "conv.out_proj",
	},
}

var gemmaNames = map[string]string{
	"post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
}

// modelNames are the names outside of the layers.
var modelNames = map[string]string{
	"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head", "token_embd_norm": "model.embedding_norm",
}

// factorTensors scale rotary frequencies. [Model.Config] holds what they say.
var factorTensors = []string{"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}

// Sources returns the tensors of the model by Hugging Face's names. A tensor
// that has no place in the architecture is an error.
func (m *Model) Sources() (map[string]Source, error) {
	name, a, err := m.architecture()
	if err != nil {
		return nil, err
	}
	out := make(map[string]Source, len(m.tensors))
	for _, t := range m.tensors {
		if slices.Contains(factorTensors, t.Name) {
			continue
		}
		hf, ok := sourceName(name, t.Name)
		if !ok {
			return nil, fmt.Errorf("gguf: %s: tensor %q has no place in architecture %q", m.path, t.Name, name)
		}
		s := Source{Tensor: t, Shape: t.Shape, PlusOne: a.plusOne && strings.HasSuffix(t.Name, "norm.weight")}
		if a.permuted {
			if s.Heads, err = m.permutedHeads(name, t); err != nil {
				return nil, err
			}
		}
		if strings.HasSuffix(hf, "conv.conv.weight") && len(t.Shape) == 2 {
			s.Shape = []int{t.Shape[0], 1, t.Shape[1]}
		}
		out[hf] = s
	}
	return out, nil
}

// sourceName returns Hugging Face's name of a tensor.
func sourceName(arch, name string) (string, bool) {
	stem, suffix := name, ""
	for _, s := range []string{".weight", ".bias"} {
		if rest, ok := strings.CutSuffix(name, s); ok {
			stem, suffix = rest, s
		}
	}
	if suffix == "" {
		return "", false
	}
	block, ok := strings.CutPrefix(stem, "blk.")
	if !ok {
		hf, ok := modelNames[stem]
		return hf + suffix, ok
	}
	layer, part, _ := strings.Cut(block, ".")
	if n, err := strconv.Atoi(layer); err != nil || n < 0 || strconv.Itoa(n) != layer {
		return "", false
	}
	hf, ok := otherNames[arch][part]
	if !ok {
		hf, ok = blockNames[part]
	}
	return "model.layers." + layer + "." + hf + suffix, ok
}

// permutedHeads returns how many heads a tensor of q or k has, else 0.
func (m *Model) permutedHeads(arch string, t Tensor) (int, error) {
	var key string
	stem := strings.TrimSuffix(strings.TrimSuffix(t.Name, ".weight"), ".bias")
	switch {
	case strings.HasSuffix(stem, ".attn_q"):
		key = "attention.head_count"
	case strings.HasSuffix(stem, ".attn_k"):
		key = "attention.head_count_kv"
	default:
		return 0, nil
	}
	heads, ok, err := m.metadata.Int(arch + "." + key)
	if err == nil && !ok {
		heads, ok, err = m.metadata.Int(arch + ".attention.head_count")
	}
	if err != nil {
		return 0, m.located(m.path, err)
	}
	if rows := t.Shape[0]; !ok || heads < 1 || rows%(2*heads) != 0 {
		return 0, fmt.Errorf("gguf: %s: tensor %q: %d rows are not %d heads of pairs (key %q)", m.path, t.Name, rows, heads, arch+"."+key)
	}
	return heads, nil
}
