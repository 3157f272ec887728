package arch_test

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// tiny is a small model; change replaces one "key": value of it.
func tiny(change ...string) []byte {
	lines := []string{
		`"architectures": ["LlamaForCausalLM"]`, `"model_type": "llama"`, `"hidden_size": 96`, `"num_hidden_layers": 2`,
		`"num_attention_heads": 4`, `"num_key_value_heads": 2`, `"head_dim": 32`, `"intermediate_size": 160`, `"vocab_size": 300`,
		`"max_position_embeddings": 512`, `"rms_norm_eps": 1e-5`, `"rope_theta": 10000.0`, `"tie_word_embeddings": false`,
		`"bos_token_id": 1`, `"eos_token_id": [2, 3]`, `"hidden_act": "silu"`,
	}
	for _, c := range change {
		key, value, _ := strings.Cut(c, ":")
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+":") })
		if value != "" {
			lines = append(lines, c)
		}
	}
	return []byte("{" + strings.Join(lines, ",\n") + "}")
}

func mustParse(t *testing.T, change ...string) *arch.Config {
	t.Helper()
	c, err := arch.Parse(tiny(change...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// theta recovers rope_theta from the second inverse frequency.
func theta(c *arch.Config) float64 {
	return math.Round(math.Pow(1/float64(c.Ropes[0].Inv[1]), float64(c.HeadDim)/2)/10) * 10
}

func TestParse(t *testing.T) {
	c := mustParse(t)
	if c.Architecture != "llama" || c.HeadDim != 32 || c.BOS != 1 || !slices.Equal(c.EOS, []int{2, 3}) {
		t.Errorf("Parse = %+v, want head_dim 32, bos 1, eos 2 and 3", c)
	}
	c = mustParse(t, `"head_dim":`, `"num_key_value_heads": null`, `"rope_theta":`, `"bos_token_id": null`, `"eos_token_id": 7`,
		`"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}`)
	if c.HeadDim != 24 || c.NumKeyValueHeads != 4 || theta(c) != 500000 || c.BOS != -1 || !slices.Equal(c.EOS, []int{7}) {
		t.Errorf("Parse = %+v, want head_dim 24, 4 kv heads, theta 500000, no bos, eos 7", c)
	}
	if c := mustParse(t, `"rope_theta":`, `"rope_scaling": null`, `"rms_norm_eps":`); theta(c) != 10000 || c.RMSNormEps != 1e-6 {
		t.Errorf("Parse = %+v, want the defaults of theta and eps", c)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ change, want string }{
		{`"model_type": "mamba"`, `model_type "mamba" is not supported; these are: gemma, gemma2, gemma3_text, lfm2, llama, mistral, phi3, qwen2, qwen3`},
		{`"architectures": ["LlamaForSequenceClassification"]`, `only "LlamaForCausalLM" is`},
		{`"hidden_size":`, "hidden_size is missing"},
		{`"hidden_size": -4`, "hidden_size = -4, want 1 to"},
		{`"hidden_size": 4.5`, "hidden_size"},
		{`"hidden_size": 1000000000`, "hidden_size = 1000000000, want 1 to"},
		{`"num_key_value_heads": 3`, "num_attention_heads = 4 is not a multiple of num_key_value_heads = 3"},
		{`"head_dim": 33`, "head_dim = 33 is odd"},
		{`"rms_norm_eps": 0`, "rms_norm_eps = 0, want more than 0"},
		{`"rope_theta": -1`, "rope_theta = -1, want 1 to"},
		{`"rope_scaling": {"rope_type": "llama3", "factor": 8}`, `rope_type "llama3": low_freq_factor is missing`},
		{`"rope_scaling": {"type": "linear", "factor": 0}`, `rope_type "linear": factor = 0, want more than 0`},
		{`"rope_parameters": {"rope_type": "yarn"}`, `rope_type "yarn": factor is missing`},
		{`"rope_parameters": {"rope_type": "longrope", "short_factor": [1], "long_factor": [1]}`, `short_factor has 1 entries, want one for each of 16 frequencies`},
		{`"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}`, `rope type "mrope" is not supported for llama; these are: default, linear, dynamic, yarn, llama3, longrope`},
		{`"rope_parameters": {"full_attention": {"rope_type": "default"}}`, `rope_parameters for each layer type are not supported for llama`},
		{`"layer_types": ["full_attention", "sliding_attention"]`, `layer_types[1] = "sliding_attention" is not supported for llama, where such a layer is full_attention`},
		{`"layer_types": ["full_attention"]`, `layer_types has 1 entries for num_hidden_layers = 2`},
		{`"use_bidirectional_attention": true`, `use_bidirectional_attention = true is not supported`},
		{`"partial_rotary_factor": 0.5`, "partial_rotary_factor = 0.5 is not supported"},
		{`"hidden_act": "mish"`, `hidden_act "mish" is not supported for llama; these are: gelu, gelu_new,`},
		{`"eos_token_id": 300`, "eos_token_id = 300 is outside the vocabulary of 300"},
		{`"bos_token_id": "x"`, "bos_token_id: want a token id"},
	} {
		if _, err := arch.Parse(tiny(c.change)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Parse(%s) = %v, want %q", c.change, err, c.want)
		}
	}
	if _, err := arch.Parse([]byte("{")); err == nil {
		t.Error("Parse({) succeeded, want an error")
	}
	if _, err := arch.Parse(tiny(`"head_dim":`, `"hidden_size": 98`)); err == nil || !strings.Contains(err.Error(), "head_dim is missing") {
		t.Errorf("Parse without head_dim = %v, want head_dim is missing", err)
	}
}

// lookup places a tensor of the shape that the configuration implies.
func lookup(c *arch.Config, dt tensor.DType) arch.Lookup {
	return func(name string) (tensor.DType, []int, onnx.External, error) {
		shape, err := c.Shape(name)
		if err != nil {
			return 0, nil, onnx.External{}, err
		}
		size, err := tensor.Info{Name: name, DType: dt, Shape: shape}.SizeBytes()
		return dt, shape, onnx.External{Location: "model.safetensors", Offset: 64, Length: size}, err
	}
}

var sizes = arch.Params{ContextTokens: 64, GroupTokens: 16, MaskTokens: 32, ReturnLogits: true}

// TestGraphs compares every graph of a small model with a listing.
func TestGraphs(t *testing.T) {
	var out bytes.Buffer
	c := mustParse(t, `"attention_bias": true`, `"mlp_bias": true`)
	for _, p := range []arch.Params{sizes, {ContextTokens: 64, GroupTokens: 16, MaskTokens: 32}} {
		for _, id := range c.Parts() {
			if !p.ReturnLogits && (id.Part != addr.Post || id.Index == 0) {
				continue
			}
			graphs, err := c.Build(id, p, lookup(c, tensor.BF16))
			if err != nil {
				t.Fatal(err)
			}
			if id.Part == addr.Cache && (id.Index > 0 || id.Phase == addr.Decode) {
				continue
			}
			for _, g := range graphs {
				list(&out, g)
			}
		}
	}
	const golden = "testdata/llama.txt"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("graphs differ from %s; run the test with -update and read the difference", golden)
	}
}

// list prints a graph, one node a line.
func list(w *bytes.Buffer, g arch.Graph) {
	m := g.Model
	fmt.Fprintf(w, "%s opset %d %v\n", g.Name, m.Opset, m.Metadata)
	types := map[string]string{}
	describe := func(name string, dt onnx.DataType, dims []int64) {
		types[name] = fmt.Sprintf("%s %v%v", name, dt, dims)
	}
	for _, v := range slices.Concat(m.Graph.Inputs, m.Graph.Values, m.Graph.Outputs) {
		describe(v.Name, v.DType, v.Dims)
	}
	for _, i := range m.Graph.Initializers {
		describe(i.Name, i.DType, i.Dims)
	}
	for _, v := range m.Graph.Inputs {
		fmt.Fprintf(w, "  in  %s\n", types[v.Name])
	}
	for _, n := range m.Graph.Nodes {
		fmt.Fprintf(w, "  %s", n.Op)
		for _, a := range n.Attrs {
			fmt.Fprintf(w, " %s=%v%v", a.Name, a.Int, a.Ints)
			if a.Kind == onnx.AttrFloat {
				fmt.Fprintf(w, "%v", a.Float)
			}
		}
		fmt.Fprintf(w, " (%s) ->", strings.Join(n.Inputs, ", "))
		for _, o := range n.Outputs {
			fmt.Fprintf(w, " %s", types[o])
		}
		w.WriteByte('\n')
	}
	for _, v := range m.Graph.Outputs {
		fmt.Fprintf(w, "  out %s\n", types[v.Name])
	}
	w.WriteByte('\n')
}

func TestCacheHasNoLayer(t *testing.T) {
	c := mustParse(t)
	for _, phase := range addr.Phases {
		var first []arch.Graph
		for l := range c.NumHiddenLayers {
			graphs, err := c.Build(addr.PartID{Phase: phase, Part: addr.Cache, Index: l}, sizes, nil)
			if err != nil {
				t.Fatal(err)
			}
			if l == 0 {
				first = graphs
			}
			for i, g := range graphs {
				if !bytes.Equal(g.Model.Encode(), first[i].Model.Encode()) || g.Name != first[i].Name {
					t.Errorf("%v CACHE of layer %d: graph %s differs from layer 0's", phase, l, g.Name)
				}
			}
		}
		var names []string
		for _, g := range first {
			names = append(names, g.Name)
		}
		want := []string{"group_cache_0", "group_cache_16", "group_cache_32", "group_cache_48"}
		if phase == addr.Decode {
			want = []string{"single_cache_31", "single_cache_63"}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%v CACHE graphs = %v, want %v", phase, names, want)
		}
	}
}

func TestBuildErrors(t *testing.T) {
	c := mustParse(t)
	pre := addr.PartID{Part: addr.Pre}
	good := lookup(c, tensor.BF16)
	for _, x := range []struct {
		id   addr.PartID
		p    arch.Params
		look arch.Lookup
		want string
	}{
		{addr.PartID{Part: addr.Pre, Index: 2}, sizes, good, "part prefill.PRE.2: the model has 2 layers"},
		{addr.PartID{Part: addr.Vision}, sizes, good, "part VISION.0: llama has none"},
		{pre, arch.Params{ContextTokens: 64, GroupTokens: 24, MaskTokens: 32}, good, "group of 24 tokens does not divide the context of 64"},
		{pre, arch.Params{ContextTokens: 64, GroupTokens: 16}, good, "mask of 0 tokens, want 1 to"},
		{pre, sizes, lookup(c, tensor.I8), `tensor "model.layers.0.input_layernorm.weight" is I8; weights must be BF16, F16 or F32`},
		{pre, sizes, lookup(mustParse(t, `"hidden_size": 64`), tensor.BF16), "has shape [64], the configuration implies [96]"},
		{pre, sizes, func(name string) (tensor.DType, []int, onnx.External, error) {
			dt, shape, ext, err := good(name)
			ext.Length--
			return dt, shape, ext, err
		}, "of shape [96] has 191 bytes"},
	} {
		if _, err := c.Build(x.id, x.p, x.look); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("Build(%v) = %v, want %q", x.id, err, x.want)
		}
	}
}

func TestTensorNamesFollowGraphs(t *testing.T) {
	for _, c := range []*arch.Config{mustParse(t), mustParse(t, `"attention_bias": true`, `"mlp_bias": true`, `"tie_word_embeddings": true`)} {
		for _, id := range c.Parts() {
			graphs, err := c.Build(id, sizes, lookup(c, tensor.F16))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, i := range graphs[0].Model.Graph.Initializers {
				if i.External != nil {
					got = append(got, i.Name)
				}
			}
			if want := c.TensorNames(id); !slices.Equal(got, want) {
				t.Errorf("graph %v reads %v, TensorNames says %v", id, got, want)
			}
		}
	}
}

func TestWindows(t *testing.T) {
	c := mustParse(t)
	if got, want := c.Windows(addr.Prefill, sizes), []int{16, 32, 48, 64}; !slices.Equal(got, want) {
		t.Errorf("Windows(prefill) = %v, want %v", got, want)
	}
	if got, want := c.Windows(addr.Decode, sizes), []int{32, 64}; !slices.Equal(got, want) {
		t.Errorf("Windows(decode) = %v, want %v", got, want)
	}
}
