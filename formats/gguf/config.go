package gguf

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/llima-build/llima/formats/tensor"
)

// architecture is one of the architectures that files name.
type architecture struct {
	modelType string // of config.json
	class     string
	permuted  bool // q and k, see [Source.Order]
	plusOne   bool // norms, see [Source.PlusOne]
	// more adds what is peculiar to the architecture.
	more func(m *Model, c *config) error
}

// architectures is the table, by the name in general.architecture.
var architectures = map[string]architecture{
	"llama":  {modelType: "llama", class: "LlamaForCausalLM", permuted: true, more: moreLlama},
	"qwen2":  {modelType: "qwen2", class: "Qwen2ForCausalLM", more: moreQwen2},
	"qwen3":  {modelType: "qwen3", class: "Qwen3ForCausalLM", more: moreQwen3},
	"gemma":  {modelType: "gemma", class: "GemmaForCausalLM", plusOne: true, more: moreGemma},
	"gemma2": {modelType: "gemma2", class: "Gemma2ForCausalLM", plusOne: true, more: moreGemma2},
	"gemma3": {modelType: "gemma3_text", class: "Gemma3ForCausalLM", plusOne: true, more: moreGemma3},
	"phi3":   {modelType: "phi3", class: "Phi3ForCausalLM", more: morePhi3},
	"lfm2":   {modelType: "lfm2", class: "Lfm2ForCausalLM", more: moreLfm2},
}

// architecture finds the model's architecture.
func (m *Model) architecture() (name string, a architecture, err error) {
	const key = "general.architecture"
	name, ok, err := m.metadata.Text(key)
	switch {
	case err != nil:
		return "", a, m.located(m.path, err)
	case !ok:
		return "", a, m.located(m.path, &Error{Field: `key "` + key + `"`, Problem: "missing; convert the model again"})
	}
	if a, ok = architectures[name]; !ok {
		these := slices.Sorted(maps.Keys(architectures))
		return "", a, m.located(m.path, m.metadata.problem(key, "%q is not supported; these are: %s", name, strings.Join(these, ", ")))
	}
	return name, a, nil
}

// config collects the members of a config.json. The first error stays.
type config struct {
	m       *Model
	arch    string
	members map[string]any
	err     error
}

// Config returns the configuration as Hugging Face's config.json spells it,
// with what the tensors tell: biases, a head of its own, and the factors of
// the rotary frequencies.
func (m *Model) Config() ([]byte, error) {
	name, a, err := m.architecture()
	if err != nil {
		return nil, err
	}
	c := &config{m: m, arch: name, members: map[string]any{
		"model_type": a.modelType, "architectures": []string{a.class}, "dtype": "bfloat16",
		"tie_word_embeddings": !m.has("output.weight"),
	}}
	c.sizes()
	c.tokens()
	c.number("rms_norm_eps", "attention.layer_norm_rms_epsilon")
	c.number("rope_theta", "rope.freq_base")
	c.ropeScaling()
	if c.err == nil {
		c.err = a.more(m, c)
	}
	if c.err != nil {
		return nil, m.located(m.path, c.err)
	}
	return json.Marshal(c.members)
}

func (m *Model) has(name string) bool {
	_, ok := m.Tensor(name)
	return ok
}

// key returns the architecture's key, "llama.block_count" for "block_count".
func (c *config) key(name string) string { return c.arch + "." + name }

func (c *config) fail(name, format string, args ...any) {
	if c.err == nil {
		c.err = c.m.metadata.problem(c.key(name), format, args...)
	}
}

// integer returns the integer of a key; a list of equal ones counts as one.
func (c *config) integer(name string) (n int, ok bool) {
	list, ok, err := c.m.metadata.Ints(c.key(name))
	switch {
	case err != nil && c.err == nil:
		c.err = err
	case ok && (len(list) == 0 || slices.Min(list) != slices.Max(list)):
		c.fail(name, "differs from layer to layer, which is not supported for %s", c.arch)
	}
	if c.err != nil || !ok {
		return 0, false
	}
	return list[0], true
}

// count sets a member to the integer of a key.
func (c *config) count(member, name string, required bool) {
	n, ok := c.integer(name)
	if ok {
		c.members[member] = n
	} else if required {
		c.fail(name, "missing; convert the model again")
	}
}

// float returns the number of a key.
func (c *config) float(name string) (f float64, ok bool) {
	f, ok, err := c.m.metadata.Float(c.key(name))
	if err != nil && c.err == nil {
		c.err = err
	}
	if ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		c.fail(name, "%v is not finite", f)
	}
	return f, ok && c.err == nil
}

// decimal writes a number as the shortest decimal that is the same float32:
// what config.json said before the conversion.
func decimal(f float64) json.Number {
	return json.Number(strconv.FormatFloat(f, 'g', -1, 32))
}

func (c *config) number(member, name string) {
	if f, ok := c.float(name); ok {
		c.members[member] = decimal(f)
	}
}

func (c *config) sizes() {
	c.count("hidden_size", "embedding_length", true)
	c.count("num_hidden_layers", "block_count", true)
	c.count("num_attention_heads", "attention.head_count", true)
	c.count("intermediate_size", "feed_forward_length", true)
	c.count("max_position_embeddings", "context_length", true)
	if c.arch != "lfm2" {
		c.count("num_key_value_heads", "attention.head_count_kv", false)
	}
	c.count("head_dim", "attention.key_length", false)
	if k, ok := c.members["head_dim"].(int); ok {
		if v, ok := c.integer("attention.value_length"); ok && v != k {
			c.fail("attention.value_length", "%d differs from attention.key_length, %d", v, k)
		}
	}
	if n, ok := c.integer("expert_count"); ok && n > 0 {
		c.fail("expert_count", "%d: mixtures of experts are not supported", n)
	}
	embedding, ok := c.m.Tensor("token_embd.weight")
	if !ok && c.err == nil {
		c.err = &Error{Field: `tensor "token_embd.weight"`, Problem: "missing"}
	} else if ok {
		c.members["vocab_size"] = embedding.Shape[0]
	}
}

// turnEnds are tokens that end an assistant's turn.
var turnEnds = []string{"<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>"}

// tokens sets the ids at which a text begins and ends.
func (c *config) tokens() {
	id := func(key string) (int, bool) {
		n, ok, err := c.m.metadata.Int("tokenizer.ggml." + key)
		if err != nil && c.err == nil {
			c.err = err
		}
		return n, ok
	}
	if bos, ok := id("bos_token_id"); ok {
		c.members["bos_token_id"] = bos
	}
	var ends []int
	add := func(n int) {
		if !slices.Contains(ends, n) {
			ends = append(ends, n)
		}
	}
	for _, key := range []string{"eos_token_id", "eot_token_id", "eom_token_id"} {
		if n, ok := id(key); ok {
			add(n)
		}
	}
	tokens, _, err := c.m.metadata.Texts("tokenizer.ggml.tokens")
	if err != nil && c.err == nil {
		c.err = err
	}
	for i, s := range tokens {
		if slices.Contains(turnEnds, s) {
			add(i)
		}
	}
	if len(ends) > 0 {
		c.members["eos_token_id"] = ends
	}
}

// factors returns the float32 values of a tensor of factors, nil without one.
func (m *Model) factors(name string) ([]float32, error) {
	t, ok := m.Tensor(name)
	if !ok {
		return nil, nil
	}
	if dt, ok := t.Type.Float(); !ok || dt != tensor.F32 || len(t.Shape) != 1 {
		return nil, &Error{Field: fmt.Sprintf("tensor %q", name), Offset: t.Offset, Problem: fmt.Sprintf("%v %v, want a row of F32", t.Type, t.Shape)}
	}
	b, err := m.Bytes(t)
	if err != nil {
		return nil, err
	}
	out := make([]float32, t.Shape[0])
	if err := tensor.ToF32(out, b, tensor.F32); err != nil {
		return nil, err
	}
	for i, f := range out {
		if !(f > 0 && f <= math.MaxFloat32) {
			return nil, &Error{Field: fmt.Sprintf("tensor %q", name), Offset: t.Offset + int64(4*i), Problem: fmt.Sprintf("factor %v, want a positive number", f)}
		}
	}
	return out, nil
}

func decimals(list []float32) []json.Number {
	out := make([]json.Number, len(list))
	for i, f := range list {
		out[i] = decimal(float64(f))
	}
	return out
}

// ropeScaling reads the keys rope.scaling.*.
func (c *config) ropeScaling() {
	kind, _, err := c.m.metadata.Text(c.key("rope.scaling.type"))
	if err != nil && c.err == nil {
		c.err = err
	}
	if kind == "" || kind == "none" {
		return
	}
	scaling := map[string]any{"rope_type": kind}
	if f, ok := c.float("rope.scaling.factor"); ok {
		scaling["factor"] = decimal(f)
	}
	if n, ok := c.integer("rope.scaling.original_context_length"); ok {
		scaling["original_max_position_embeddings"] = n
	}
	c.members["rope_scaling"] = scaling
}
