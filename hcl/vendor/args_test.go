package vendor_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/vendor"
)

// TestParse walks through argparse's ways to write an option.
func TestParse(t *testing.T) {
	for _, c := range []struct {
		line string
		good func(a *vendor.Args) bool
	}{
		{"m", func(a *vendor.Args) bool {
			return a.ModelPath == "m" && a.MaxNumTokens == 1024 && a.GroupSize == 128 && a.MaskSize == 128 && a.LogLevel == "WARNING" && a.Jobs == 0 && a.Output == ""
		}},
		{"--max_num_tokens 4096 m -o out", func(a *vendor.Args) bool { return a.MaxNumTokens == 4096 && a.Output == "out" && a.Given("output") }},
		{"m --max_num_tokens=4096 --output=out", func(a *vendor.Args) bool { return a.MaxNumTokens == 4096 && a.Output == "out" }},
		{"--max_num 2048 m --ret --enable", func(a *vendor.Args) bool { return a.MaxNumTokens == 2048 && a.ReturnLogits && a.FilterSharing }},
		{"-j4 -oout m", func(a *vendor.Args) bool { return a.Jobs == 4 && a.Output == "out" }},
		{"-j 4 -o=out m -c=x.py", func(a *vendor.Args) bool { return a.Jobs == 4 && a.Output == "out" && a.ConfigurationFile == "x.py" }},
		{"-o a m -o b --max_num_tokens 256 --max_num_tokens 512", func(a *vendor.Args) bool { return a.Output == "b" && a.MaxNumTokens == 512 }},
		{"m --lora_name x --lora_path p --lora_name y --lora_path q", func(a *vendor.Args) bool {
			return strings.Join(a.LoRANames, " ") == "x y" && strings.Join(a.LoRAPaths, " ") == "p q"
		}},
		{"--resume --log_level debug -- -m", func(a *vendor.Args) bool { return a.ModelPath == "-m" && a.Resume && a.LogLevel == "DEBUG" }},
		{"--onnx --quantize --model_sdk --compile --devkit m", func(a *vendor.Args) bool { return a.ONNX && a.Quantize && a.ModelSDK && a.Compile && a.Devkit }},
		{"--input_height 448 --input_width 336 m", func(a *vendor.Args) bool { return a.InputHeight == 448 && a.InputWidth == 336 }},
		{"--language_group_size 256 --future_token_mask_size 64 --quantize_embeddings m", func(a *vendor.Args) bool {
			return a.GroupSize == 256 && a.MaskSize == 64 && a.QuantizeEmbedding
		}},
		{"--nonsense -h", func(a *vendor.Args) bool { return a.Help }},
	} {
		a, err := vendor.Parse(strings.Fields(c.line))
		if err != nil || !c.good(a) {
			t.Errorf("Parse(%s) = %+v, %v", c.line, a, err)
		}
	}
}

// TestParseErrors holds argparse's sentences, and what is added to them.
func TestParseErrors(t *testing.T) {
	for line, want := range map[string]string{
		"":                                "the following arguments are required: model_path",
		"--resume":                        "the following arguments are required: model_path",
		"a b":                             "unrecognized arguments: b (one model_path is compiled at a time)",
		"m --max-num-tokens 4096":         "unrecognized arguments: --max-num-tokens 4096 (did you mean --max_num_tokens?)",
		"m --jobs=x":                      "argument -j/--jobs: invalid int value: 'x'",
		"m -j 0":                          "argument -j/--jobs: invalid value: '0' (want 1 to 1024)",
		"m -o":                            "argument -o/--output: expected one argument",
		"m -o --resume":                   "argument -o/--output: expected one argument",
		"m --resume=yes":                  "argument --resume: ignored explicit argument 'yes'",
		"m --lora x":                      "ambiguous option: --lora could match --lora_name, --lora_path",
		"m --log_level LOUD":              "argument --log_level: invalid choice: 'LOUD' (choose from DEBUG, INFO, WARNING, ERROR)",
		"m --max_num_tokens 1000":         "argument --max_num_tokens: 1000 is not a multiple of --language_group_size, which is 128; 896 or 1024 fits",
		"m --future_token_mask 2048":      "argument --max_num_tokens: 1024 is not a multiple of --future_token_mask_size, which is 2048; 2048 fits",
		"m --lora_name x/y --lora_path p": "argument --lora_name: 'x/y': a name, which becomes a folder's, has letters, digits, _, - and . only",
		"m --lora_name x":                 "--lora_name is given 1 times and --lora_path 0 times: each adapter needs both",
		"m --lora_name x --lora_path p --lora_name x --lora_path q": "argument --lora_name: 'x' is given twice",
	} {
		if _, err := vendor.Parse(strings.Fields(line)); err == nil || err.Error() != want {
			t.Errorf("Parse(%s) = %v, want %s", line, err, want)
		}
	}
}

// TestHelp holds the help, and the page's order in it.
func TestHelp(t *testing.T) {
	help := vendor.Help()
	at := 0
	for _, name := range []string{
		"model_path", "-o, --output", "-c, --configuration_file", "--max_num_tokens", "--resume", "-j, --jobs", "--log_level", "--input_height", "--input_width",
		"--language_group_size", "--future_token_mask_size", "--enable_filter_sharing", "--quantize_embeddings", "--return_logits", "--lora_name", "--lora_path",
		"--onnx", "--quantize", "--model_sdk", "--compile", "--devkit",
	} {
		next := strings.Index(help[at:], "\n  "+name)
		if next < 0 {
			t.Fatalf("--help lacks %s, or has it too early", name)
		}
		at += next + 1
	}
	for line := range strings.Lines(help) {
		if len(line) > 80 {
			t.Errorf("--help: %d columns: %s", len(line)-1, line)
		}
	}
	golden(t, filepath.Join("testdata", "help.txt"), help)
}

// TestConfig holds names, places and defaults of the model.
func TestConfig(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ line, name, output, root string }{
		{"Llama-3.2-3B-Instruct", "Llama-3.2-3B-Instruct", "Llama-3.2-3B-Instruct", ""},
		{"models/Llama/", "Llama", "Llama", ""},
		{"models/x.Q4_0.gguf", "x.Q4_0", "x.Q4_0", ""},
		{"models/x.GGUF", "x", "x", ""},
		{"m -o out/a", "a", "out/a", "out"},
		{"m -o .cache", "cache_", ".cache", ""},
	} {
		a, err := vendor.Parse(strings.Fields(c.line))
		if err != nil {
			t.Fatal(err)
		}
		cfg, diags := a.Config(t.Context(), dir, nil)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		m := cfg.Models[0]
		if !strings.HasPrefix(m.Name, c.name) || m.Output != filepath.Join(dir, c.output) || cfg.Root != filepath.Join(dir, c.root) {
			t.Errorf("Config(%s): name %s, output %s, root %s", c.line, m.Name, m.Output, cfg.Root)
		}
		d, _ := m.Rules.Decide(props, layer)
		if d.Precision != "BF16" || !d.Compile || d.LoRA != "LORA_DISABLED" {
			t.Errorf("Config(%s): %+v, want the defaults", c.line, d)
		}
	}
	a, err := vendor.Parse([]string{"m", "-o", "/"})
	if err != nil {
		t.Fatal(err)
	}
	if _, diags := a.Config(t.Context(), dir, nil); !diags.HasErrors() {
		t.Error("the root of the file system as output: accepted")
	}
	a, err = vendor.Parse([]string{"m", "-c", "none.py"})
	if err != nil {
		t.Fatal(err)
	}
	if _, diags := a.Config(t.Context(), dir, nil); !diags.HasErrors() || !strings.Contains(diags[0].Detail, "none.py: no such file") {
		t.Errorf("a missing configuration file: %v", diags)
	}
}
