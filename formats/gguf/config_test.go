package gguf_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/gguf"
)

const models = "../../testdata/gguf"

// expected is what testdata/gguf/expect.py says of a checkpoint.
type expected struct {
	Config  map[string]any
	Tensors map[string][2]json.RawMessage
}

func readExpected(tb testing.TB) map[string]expected {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(models, "expect.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var out map[string]expected
	if err := json.Unmarshal(b, &out); err != nil {
		tb.Fatal(err)
	}
	if len(out) != 10 {
		tb.Fatalf("%d models, want 10", len(out))
	}
	return out
}

// irrelevant are members of config.json that say nothing about inference, or
// that a file of the kind does not need.
var irrelevant = []string{
	"attention_dropout", "initializer_range", "use_cache", "pad_token_id", "transformers_version", "torch_dtype", "dtype", "pretraining_tp",
	"embd_pdrop", "resid_pdrop", "_sliding_window_pattern", "use_bidirectional_attention", "max_window_layers", "full_attn_idxs",
	"block_multiple_of", "block_ffn_dim_multiplier",
}

// changed are members that the conversion to GGUF loses or states otherwise.
var changed = map[string]map[string]any{
	"llama3": {"eos_token_id": []any{511.0}},
	"mistral": {
		"model_type": "llama", "architectures": []any{"LlamaForCausalLM"}, "sliding_window": nil,
	},
	"qwen3":       {"layer_types": nil}, // all of them full attention
	"gemma":       {"eos_token_id": []any{1.0, 5.0}},
	"gemma2":      {"eos_token_id": []any{1.0, 5.0}, "query_pre_attn_scalar": 32.0},
	"gemma3_text": {"eos_token_id": []any{1.0, 5.0}, "query_pre_attn_scalar": 32.0, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0},
	"phi3":        {"eos_token_id": []any{507.0, 510.0}},
	"lfm2":        {"intermediate_size": 128.0, "block_auto_adjust_ff_dim": false},
}

// TestConfig compares with the config.json that a model was converted from.
func TestConfig(t *testing.T) {
	for name, want := range readExpected(t) {
		m := open(t, filepath.Join(models, name+".gguf"))
		b, err := m.Config()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got map[string]any
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		for key, v := range want.Config {
			if slices.Contains(irrelevant, key) {
				continue
			}
			if other, ok := changed[name][key]; ok {
				v = other
			}
			compareMember(t, name, key, got, v)
		}
		for key, v := range changed[name] {
			compareMember(t, name, key, got, v)
		}
	}
}

// compareMember knows the spellings that mean the same.
func compareMember(t *testing.T, name, key string, got map[string]any, want any) {
	t.Helper()
	have := got[key]
	switch key {
	case "eos_token_id":
		if one, ok := want.(float64); ok {
			want = []any{one}
		}
	case "hidden_act", "hidden_activation", "rope_theta", "attention_bias", "mlp_bias":
		if have == nil && (want == 10000.0 || want == false) {
			return
		}
	case "rope_parameters":
		p, _ := want.(map[string]any)
		if p["rope_theta"] != nil && p["rope_theta"] != got["rope_theta"] {
			t.Errorf("%s: rope_theta = %v, want %v", name, got["rope_theta"], p["rope_theta"])
		}
		return
	case "partial_rotary_factor":
		if have == nil && want == 1.0 {
			return
		}
	case "rope_scaling":
		w, _ := want.(map[string]any)
		h, _ := have.(map[string]any)
		for k, v := range w {
			if fmt.Sprint(h[k]) != fmt.Sprint(v) {
				t.Errorf("%s: rope_scaling.%s = %v, want %v", name, k, h[k], v)
			}
		}
		if w == nil && h != nil {
			t.Errorf("%s: rope_scaling = %v, want none", name, h)
		}
		return
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("%s: %s = %v, want %v", name, key, have, want)
	}
}

// TestSources finds every tensor of the checkpoints, and its values.
func TestSources(t *testing.T) {
	for name, want := range readExpected(t) {
		m := open(t, filepath.Join(models, name+".gguf"))
		sources, err := m.Sources()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(sources) != len(want.Tensors) {
			t.Errorf("%s: %d tensors, want %d", name, len(sources), len(want.Tensors))
		}
		for hf, w := range want.Tensors {
			s, ok := sources[hf]
			if !ok {
				t.Errorf("%s: no tensor %q", name, hf)
				continue
			}
			shape, _ := json.Marshal(s.Shape)
			sum := sha256.Sum256(float32s(values(t, m, s)))
			if digest := hex.EncodeToString(sum[:]); string(shape) != string(w[0]) || `"`+digest+`"` != string(w[1]) {
				t.Errorf("%s: %q: shape %s, digest %s, want %s, %s", name, hf, shape, digest, w[0], w[1])
			}
		}
	}
}

// values reads a tensor in Hugging Face's layout.
func values(t *testing.T, m *gguf.Model, s gguf.Source) []float32 {
	t.Helper()
	rows, cols := s.Rows()
	if len(s.Tensor.Shape) == 1 {
		rows, cols = cols, 1
	}
	w := make([]float32, rows*cols)
	if err := gguf.Dequantize(s.Type, w, data(t, m, s.Tensor)); err != nil {
		t.Fatal(err)
	}
	if order := s.Order(); order != nil {
		moved := make([]float32, 0, len(w))
		for _, from := range order {
			moved = append(moved, w[from*cols:(from+1)*cols]...)
		}
		w = moved
	}
	if s.PlusOne {
		// The conversion rounded 1 + w to float32; w itself has 8 bits.
		for i := range w {
			b := math.Float32bits(w[i] - 1)
			w[i] = math.Float32frombits((b + 0x7fff + b>>16&1) >> 16 << 16)
		}
	}
	return w
}

func float32s(w []float32) []byte {
	var b []byte
	for _, f := range w {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

// tinyFile is the header of a small model; each change replaces a pair.
func tinyFile(arch string, change ...pair) file {
	f := file{
		pairs: []pair{
			text("general.architecture", arch), number(arch+".embedding_length", 64), number(arch+".block_count", 2),
			number(arch+".attention.head_count", 4), number(arch+".attention.head_count_kv", 2), number(arch+".feed_forward_length", 96),
			number(arch+".context_length", 128), float(arch+".attention.layer_norm_rms_epsilon", 1e-5), number(arch+".attention.sliding_window", 0),
		},
		tensors: []info{{"token_embd.weight", []uint64{64, 10}, 0, 0}},
		data:    make([]byte, 64*10*4),
	}
	for _, c := range change {
		f.pairs = slices.DeleteFunc(f.pairs, func(p pair) bool { return p.key == c.key })
		if c.value != nil {
			f.pairs = append(f.pairs, c)
		}
	}
	return f
}

func tiny(arch string, change ...pair) *gguf.Model {
	m, err := gguf.Decode(tinyFile(arch, change...).bytes())
	if err != nil {
		panic(err)
	}
	return m
}

func TestConfigSpellings(t *testing.T) {
	flags := array("gemma3.attention.sliding_window_pattern", 7, 2, []byte{0, 1})
	for _, c := range []struct {
		m    *gguf.Model
		want string
	}{
		{tiny("llama", number("llama.attention.sliding_window", 32)), `"model_type":"mistral"`},
		{tiny("llama", number("llama.attention.sliding_window", 32)), `"sliding_window":32`},
		{tiny("llama"), `"rms_norm_eps":1e-05`},
		{tiny("llama"), `"vocab_size":10`},
		{tiny("llama"), `"tie_word_embeddings":true`},
		{tiny("llama", text("llama.rope.scaling.type", "linear"), float("llama.rope.scaling.factor", 4)), `"rope_scaling":{"factor":4,"rope_type":"linear"}`},
		{tiny("qwen2", text("qwen2.rope.scaling.type", "yarn"), float("qwen2.rope.scaling.factor", 4), number("qwen2.rope.scaling.original_context_length", 32)), `"rope_scaling":{"factor":4,"original_max_position_embeddings":32,"rope_type":"yarn"}`},
		{tiny("llama", text("llama.rope.scaling.type", "none")), `"rms_norm_eps":1e-05,"tie`},
		{tiny("gemma2", number("gemma2.block_count", 46)), `"query_pre_attn_scalar":16`},
		{tiny("gemma2", float("gemma2.attention.scale", 0.125)), `"query_pre_attn_scalar":64`},
		{tiny("gemma3", flags), `"layer_types":["full_attention","sliding_attention"]`},
		{tiny("gemma3", number("gemma3.attention.sliding_window_pattern", 2)), `"layer_types":["sliding_attention","full_attention"]`},
		{tiny("llama", array("llama.attention.head_count_kv", 5, 2, slices.Concat(u32(2), u32(2)))), `"num_key_value_heads":2`},
		{tiny("llama", number("tokenizer.ggml.eos_token_id", 3), number("tokenizer.ggml.eot_token_id", 5), texts("tokenizer.ggml.tokens", "a", "<|im_end|>")), `"eos_token_id":[3,5,1]`},
	} {
		b, err := c.m.Config()
		if err != nil || !strings.Contains(string(b), c.want) {
			t.Errorf("Config() = %s, %v, want %s", b, err, c.want)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		m    *gguf.Model
		want string
	}{
		{tiny("mamba"), `key "general.architecture": offset 56: "mamba" is not supported; these are: gemma, gemma2, gemma3, lfm2, llama, phi3, qwen2, qwen3`},
		{tiny("llama", pair{key: "general.architecture"}), `key "general.architecture": offset 0: missing`},
		{tiny("llama", pair{key: "llama.block_count"}), `key "llama.block_count": offset 0: missing; convert the model again`},
		{tiny("llama", text("llama.block_count", "2")), `is STRING, want integers`},
		{tiny("llama", array("llama.attention.head_count", 5, 2, slices.Concat(u32(2), u32(4)))), `differs from layer to layer`},
		{tiny("llama", array("llama.attention.head_count", 5, 0, nil)), `differs from layer to layer`},
		{tiny("llama", number("llama.attention.key_length", 32), number("llama.attention.value_length", 16)), `16 differs from attention.key_length, 32`},
		{tiny("llama", number("llama.expert_count", 8)), `8: mixtures of experts are not supported`},
		{tiny("llama", float("llama.rope.freq_base", float32(math.NaN()))), `NaN is not finite`},
		{tiny("llama", text("llama.rope.freq_base", "x")), `is STRING, want a number`},
		{tiny("llama", number("llama.rope.scaling.type", 1)), `is UINT32, want STRING`},
		{tiny("gemma2", pair{key: "gemma2.attention.sliding_window"}), `key "gemma2.attention.sliding_window": offset 0: missing`},
		{tiny("gemma3", array("gemma3.attention.sliding_window_pattern", 7, 1, []byte{1})), `does not tell the types of 2 layers`},
		{tiny("gemma3", number("gemma3.attention.sliding_window_pattern", 0)), `does not tell the types of 2 layers`},
		{tiny("gemma3", number("gemma3.block_count", 1<<30)), `does not tell the types of 1073741824 layers`},
		{tiny("lfm2"), `key "lfm2.attention.head_count_kv": offset`},
		{tiny("lfm2", array("lfm2.attention.head_count_kv", 5, 2, slices.Concat(u32(2), u32(4)))), `want one number in all layers`},
		{tiny("llama", number("tokenizer.ggml.tokens", 3)), `want an array of STRING`},
		{tiny("llama", text("tokenizer.ggml.eos_token_id", "3")), `is STRING, want an integer`},
	} {
		b, err := c.m.Config()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "gguf: ") {
			t.Errorf("Config() = %s, %v, want %q", b, err, c.want)
		}
	}
}

func TestSourcesRefuses(t *testing.T) {
	for _, c := range []struct{ tensor, want string }{
		{"blk.0.ssm_in.weight", `tensor "blk.0.ssm_in.weight" has no place in architecture "llama"`},
		{"blk.00.attn_q.weight", "has no place"},
		{"blk.x.attn_q.weight", "has no place"},
		{"blk.0.attn_q", "has no place"},
		{"attn_q.weight", "has no place"},
		{"blk.0.attn_q.weight", `10 rows are not 4 heads of pairs (key "llama.attention.head_count")`},
	} {
		f := file{
			pairs:   []pair{text("general.architecture", "llama"), number("llama.attention.head_count", 4)},
			tensors: []info{{c.tensor, []uint64{64, 10}, 0, 0}}, data: make([]byte, 64*10*4),
		}
		m, err := gguf.Decode(f.bytes())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Sources(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Sources() = %v, want %q", err, c.want)
		}
	}
}

// TestUnknownFactors: factors that Llama 3's formula does not give are stated.
func TestUnknownFactors(t *testing.T) {
	f := file{
		pairs: []pair{
			text("general.architecture", "llama"), number("llama.embedding_length", 64), number("llama.block_count", 2), number("llama.attention.head_count", 4),
			number("llama.feed_forward_length", 96), number("llama.context_length", 128),
		},
		tensors: []info{{"token_embd.weight", []uint64{64, 10}, 0, 64}, {"rope_freqs.weight", []uint64{3}, 0, 0}},
	}
	for _, c := range []struct {
		factors []float32
		want    string
	}{
		{[]float32{1, 1.5, 3}, `"rope_scaling":{"attention_factor":1,"long_factor":[1,1.5,3],"original_max_position_embeddings":128,"rope_type":"longrope","short_factor":[1,1.5,3]}`},
		{[]float32{1, 0, 3}, `tensor "rope_freqs.weight": offset`},
		{[]float32{1, float32(math.Inf(1)), 3}, `factor +Inf, want a positive number`},
	} {
		f.data = append(float32s(c.factors), make([]byte, 52+64*10*4)...)
		m, err := gguf.Decode(f.bytes())
		if err != nil {
			t.Fatal(err)
		}
		b, err := m.Config()
		if got := fmt.Sprintf("%s %v", b, err); !strings.Contains(got, c.want) {
			t.Errorf("Config() = %s, want %s", got, c.want)
		}
	}
}
