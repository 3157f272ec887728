package arch_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/arch"
)

const familiesDir = "../../testdata/models/families"

// frequencies is a list of inverse frequencies, or one for each layer type.
type frequencies struct {
	Full    []float64 `json:"full_attention"`
	Sliding []float64 `json:"sliding_attention"`
}

func (f *frequencies) UnmarshalJSON(b []byte) error {
	if b[0] == '[' {
		return json.Unmarshal(b, &f.Full)
	}
	type plain frequencies
	return json.Unmarshal(b, (*plain)(f))
}

// expectation is what transformers derived from a config.json.
type expectation struct {
	HiddenSize       int         `json:"hidden_size"`
	NumLayers        int         `json:"num_layers"`
	NumHeads         int         `json:"num_heads"`
	NumKVHeads       int         `json:"num_kv_heads"`
	HeadDim          int         `json:"head_dim"`
	VocabSize        int         `json:"vocab_size"`
	IntermediateSize int         `json:"intermediate_size"`
	MaxPositions     int         `json:"max_position_embeddings"`
	NormEps          float64     `json:"norm_eps"`
	Activation       string      `json:"activation"`
	Tied             bool        `json:"tie_word_embeddings"`
	LayerTypes       []string    `json:"layer_types"`
	SlidingWindow    *int        `json:"sliding_window"`
	ScoreCap         *float64    `json:"attn_logit_softcapping"`
	LogitCap         *float64    `json:"final_logit_softcapping"`
	BOS              *int        `json:"bos_token_id"`
	EOS              any         `json:"eos_token_id"`
	MLPBias          bool        `json:"mlp_bias"`
	QKVBias          bool        `json:"qkv_bias"`
	OutputBias       bool        `json:"attention_out_bias"`
	AttentionScale   float64     `json:"attention_scale"`
	InvFreq          frequencies `json:"inv_freq"`
	InvFreqLong      []float64   `json:"inv_freq_long"`
	RopeFactor       any         `json:"rope_attention_scaling"`
	ConvTaps         int         `json:"conv_L_cache"`
	ConvBias         bool        `json:"conv_bias"`

	step int // of the inverse frequencies that are there; 0: all are
}

// TestFamilyConfigs compares what Parse makes of each family's config.json with
// what transformers made of it.
func TestFamilyConfigs(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(familiesDir, "*", "golden", "config_expect.json"))
	if err != nil || len(dirs) < 10 {
		t.Fatalf("%d families, %v, want 10 or more", len(dirs), err)
	}
	for _, path := range dirs {
		dir := filepath.Dir(filepath.Dir(path))
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c := parseFile(t, filepath.Join(dir, "config.json"))
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var want expectation
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
			want.compare(t, c)
		})
	}
}

func parseFile(t *testing.T, path string) *arch.Config {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := arch.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *expectation) compare(t *testing.T, c *arch.Config) {
	t.Helper()
	check := func(name string, got, want any) {
		if got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	check("hidden_size", c.HiddenSize, w.HiddenSize)
	check("num_hidden_layers", c.NumHiddenLayers, w.NumLayers)
	check("num_attention_heads", c.NumAttentionHeads, w.NumHeads)
	check("num_key_value_heads", c.NumKeyValueHeads, w.NumKVHeads)
	check("head_dim", c.HeadDim, w.HeadDim)
	check("vocab_size", c.VocabSize, w.VocabSize)
	check("intermediate_size", c.IntermediateSize, w.IntermediateSize)
	check("max_position_embeddings", c.MaxPositionEmbeddings, w.MaxPositions)
	check("rms_norm_eps", c.RMSNormEps, w.NormEps)
	check("activation", string(c.Activation), strings.Replace(w.Activation, "gelu_pytorch_tanh", "gelu_tanh", 1))
	check("tie_word_embeddings", c.TieWordEmbeddings, w.Tied)
	check("mlp_bias", c.MLPBias, w.MLPBias)
	check("qkv bias", c.QKVBias, w.QKVBias)
	check("output bias", c.OutputBias, w.OutputBias)
	if w.AttentionScale != 0 { // LFM2 states none: it is that of head_dim
		check("attention scale", c.AttentionScale, float32(w.AttentionScale))
	}
	check("conv_L_cache", c.ConvTaps, w.ConvTaps)
	check("conv_bias", c.ConvBias, w.ConvBias)
	check("attn_logit_softcapping", c.ScoreCap, orZero(w.ScoreCap))
	check("final_logit_softcapping", c.LogitCap, orZero(w.LogitCap))
	bos := -1
	if w.BOS != nil {
		bos = *w.BOS
	}
	check("bos_token_id", c.BOS, bos)
	var eos []int
	switch v := w.EOS.(type) {
	case float64:
		eos = []int{int(v)}
	case []any:
		for _, id := range v {
			eos = append(eos, int(id.(float64)))
		}
	}
	if !slices.Equal(c.EOS, eos) {
		t.Errorf("eos_token_id = %v, want %v", c.EOS, eos)
	}
	for i, l := range c.Layers {
		switch {
		case w.LayerTypes != nil:
			check("layer type", l.LayerType(), w.LayerTypes[i])
		case w.SlidingWindow != nil:
			check("layer type", l.LayerType(), "sliding_attention")
		default:
			check("layer type", l.LayerType(), "full_attention")
		}
		if l.LayerType() == "sliding_attention" {
			check("sliding_window", l.Window, *w.SlidingWindow)
		}
	}
	w.compareRopes(t, c)
}

func orZero(f *float64) float32 {
	if f == nil {
		return 0
	}
	return float32(*f)
}

func (w *expectation) compareRopes(t *testing.T, c *arch.Config) {
	t.Helper()
	want := map[string][]float64{"": w.InvFreq.Full}
	if w.InvFreq.Sliding != nil {
		want["local"] = w.InvFreq.Sliding
	}
	if w.InvFreqLong != nil {
		want["long"] = w.InvFreqLong
	}
	if len(c.Ropes) != len(want) {
		t.Errorf("%d ropes, want %d", len(c.Ropes), len(want))
	}
	for _, r := range c.Ropes {
		inv, step := want[r.Name], max(1, w.step)
		if (len(r.Inv)+step-1)/step != len(inv) {
			t.Fatalf("rope %q has %d frequencies, want %d of them", r.Name, len(r.Inv), len(inv))
		}
		for i, f := range inv {
			if d := math.Abs(float64(r.Inv[i*step])/f - 1); !(d <= 3e-7) {
				t.Errorf("rope %q: frequency %d is %v, want %v", r.Name, i*step, r.Inv[i*step], f)
			}
		}
		factor := w.RopeFactor
		if m, ok := factor.(map[string]any); ok {
			factor = m["full_attention"]
			if r.Name == "local" {
				factor = m["sliding_attention"]
			}
		}
		if math.Abs(float64(r.Factor)-factor.(float64)) > 2e-7 {
			t.Errorf("rope %q: factor %v, want %v", r.Name, r.Factor, factor)
		}
	}
}

// TestSpellings reads configurations of the hub and variations of them, made
// by testdata/configs.py, and compares with what transformers derives.
func TestSpellings(t *testing.T) {
	b, err := os.ReadFile("testdata/configs.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name   string
		Config json.RawMessage
		Expect *expectation
	}
	if err := json.Unmarshal(b, &cases); err != nil || len(cases) < 500 {
		t.Fatalf("%d cases, %v, want 500 or more", len(cases), err)
	}
	refused := 0
	for _, x := range cases {
		t.Run(x.Name, func(t *testing.T) {
			c, err := arch.Parse(x.Config)
			switch {
			case x.Expect == nil: // transformers takes it for a mistake
				refused++
			case err != nil:
				t.Error(err)
			default:
				x.Expect.step = 7
				x.Expect.compare(t, c)
			}
		})
	}
	if refused > 60 {
		t.Errorf("%d cases compare nothing", refused)
	}
}

// TestFamilyErrors refuses by name what a family does not have.
func TestFamilyErrors(t *testing.T) {
	for _, c := range []struct{ family, key, value, want string }{
		{"gemma2", "sliding_window", `null`, `layer_types[0]: sliding_attention without a sliding_window`},
		{"gemma2", "sliding_window", `0`, `layer_types[0]: sliding_window = 0, want 1 to`},
		{"gemma2", "layer_types", `["full_attention","conv","full_attention"]`, `layer_types[1]: "conv" is not supported for gemma2`},
		{"gemma2", "layer_types", `["full_attention"]`, `layer_types has 1 entries for num_hidden_layers = 3`},
		{"gemma2", "attn_logit_softcapping", `0`, `attn_logit_softcapping = 0, want 1e-6 to`},
		{"gemma2", "final_logit_softcapping", `-3`, `final_logit_softcapping = -3, want 1e-6 to`},
		{"gemma2", "query_pre_attn_scalar", `0`, `query_pre_attn_scalar = 0, want more than 0`},
		{"gemma2", "hidden_activation", `"quick_gelu"`, `hidden_activation "quick_gelu" is not supported for gemma2`},
		{"gemma", "use_bidirectional_attention", `true`, `use_bidirectional_attention = true is not supported`},
		{"gemma3_text", "rope_parameters", `{"rope_type":"linear","factor":2}`, `rope_parameters without full_attention and sliding_attention are not supported`},
		{"gemma3_text", "rope_parameters", `{"full_attention":{"rope_type":"spiral"}}`, `rope_type "spiral" is not supported for gemma3_text`},
		{"lfm2", "layer_types", `["conv","conv","sliding_attention","conv"]`, `layer_types[2]: "sliding_attention" is not supported for lfm2`},
		{"lfm2", "conv_L_cache", `1`, `conv_L_cache = 1, want 2 to 64`},
		{"lfm2", "block_multiple_of", `0`, `block_multiple_of = 0, want 1 to`},
		{"lfm2", "block_ffn_dim_multiplier", `-1`, `want 1 to`},
		{"lfm2", "norm_eps", `0`, `norm_eps = 0, want more than 0`},
		{"mistral", "layer_types", `["sliding_attention","full_attention"]`, `layer_types[1] = "full_attention" is not supported for mistral, where such a layer is sliding_attention`},
		{"phi3", "rope_scaling", `{"type":"linear","factor":2}`, `rope type "linear" is not supported for phi3; these are: default, longrope`},
		{"phi3", "rope_scaling", `{"type":"longrope","short_factor":[1,1,1,1,1,1,1,1]}`, `rope_type "longrope": long_factor has 0 entries, want one for each of 8 frequencies`},
		{"phi3", "rope_scaling", `{"type":"longrope","short_factor":[1,1,1,0,1,1,1,1],"long_factor":[1,1,1,1,1,1,1,1]}`, `short_factor[3] = 0, want more than 0`},
		{"phi3", "partial_rotary_factor", `0.2`, `partial_rotary_factor = 0.2 turns 3 of head_dim = 16, want an even number`},
		{"phi3", "original_max_position_embeddings", `1`, `original_max_position_embeddings = 1, want 2 to`},
		{"qwen2", "layer_types", `["full_attention","sliding_attention","full_attention"]`, `layer_types[1]: sliding_attention without a sliding_window`},
		{"qwen3", "architectures", `["Qwen3ForSequenceClassification"]`, `only "Qwen3ForCausalLM" is`},
	} {
		b, err := os.ReadFile(filepath.Join(familiesDir, c.family, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		doc := map[string]json.RawMessage{}
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		doc[c.key] = json.RawMessage(c.value)
		if b, err = json.Marshal(doc); err != nil {
			t.Fatal(err)
		}
		if _, err := arch.Parse(b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s = %s: %v, want %q", c.family, c.key, c.value, err, c.want)
		}
	}
	c := mustParse(t, `"rope_scaling": {"type": "dynamic", "factor": 2}`)
	if _, err := c.RopeTables(512); err != nil {
		t.Errorf("RopeTables(512) = %v", err)
	}
	want := `context of 513 tokens: beyond max_position_embeddings = 512 rope_type "dynamic" turns otherwise with every token, which is not supported`
	if _, err := c.RopeTables(513); err == nil || err.Error() != want {
		t.Errorf("RopeTables(513) = %v, want %q", err, want)
	}
}
