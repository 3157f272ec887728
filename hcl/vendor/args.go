// Package vendor reads the command line of llima-compile and its config.py,
// and makes of them the same typed configuration that llima.hcl gives, or the
// text of an llima.hcl. It builds nothing. Source: the vendor's page "GenAI
// Model Compilation", and Python's argparse where the page is silent.
package vendor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llima-build/llima/hcl/lang"
)

// Args is a parsed command line.
type Args struct {
	ModelPath         string
	Output            string // "" is the model's name
	ConfigurationFile string // "" is none
	MaxNumTokens      int
	Resume            bool // what every build does
	Jobs              int  // 0 is the number of physical cores
	LogLevel          string
	InputHeight       int // pixels, 0 where not given
	InputWidth        int
	GroupSize         int // tokens
	MaskSize          int
	FilterSharing     bool
	QuantizeEmbedding bool
	ReturnLogits      bool
	LoRANames         []string
	LoRAPaths         []string
	ONNX              bool
	Quantize          bool
	ModelSDK          bool
	Compile           bool
	Devkit            bool
	Help              bool

	given map[string]bool // long names
	words []word          // options as they were given
}

// word is an option of the command line with its value, "" for a flag.
type word struct{ long, value string }

// Given reports whether an option was written, "max_num_tokens" for example.
func (a *Args) Given(name string) bool { return a.given[name] }

// stageNames are the options that select stages.
var stageNames = []string{"onnx", "quantize", "model_sdk", "compile", "devkit"}

// Line returns the same command line with other stages selected.
func (a *Args) Line(stages []string) []string {
	var out []string
	for _, name := range stageNames {
		if slices.Contains(stages, name) {
			out = append(out, "--"+name)
		}
	}
	for _, w := range a.words {
		if slices.Contains(stageNames, w.long) {
			continue
		}
		if out = append(out, "--"+w.long); w.value != "" {
			out = append(out, w.value)
		}
	}
	if strings.HasPrefix(a.ModelPath, "-") {
		out = append(out, "--")
	}
	return append(out, a.ModelPath)
}

// Stages returns the names of the options that select stages and were given.
func (a *Args) Stages() []string {
	var out []string
	for _, name := range stageNames {
		if a.given[name] {
			out = append(out, name)
		}
	}
	return out
}

// LogLevels are the values of --log_level, from the most talkative.
var LogLevels = []string{"DEBUG", "INFO", "WARNING", "ERROR"}

// option is one option; set gets its value, "" for a flag.
type option struct {
	short, long string
	metavar     string // "" is a flag
	help        string
	repeats     bool
	set         func(a *Args, value string) error
}

// group is a heading of the help with its options.
type group struct {
	title   string
	options []option
}

// positional is the argument that is no option.
const positional = "model_path"

// groups are the options in the order of the page.
var groups = []group{
	{"options", []option{
		{"h", "help", "", "Show this help and exit.", false, flag(func(a *Args) *bool { return &a.Help })},
		{"o", "output", "DIR", "Output directory for compiled files. Default: the model's name.", false, text(func(a *Args) *string { return &a.Output })},
		{"c", "configuration_file", "FILE", "Python script to configure precision per layer (e.g., for mixed precision).", false, text(func(a *Args) *string { return &a.ConfigurationFile })},
		{"", "max_num_tokens", "N", "Maximum context length. Default: 1024.", false, number(maxTokens, func(a *Args) *int { return &a.MaxNumTokens })},
		{"", "resume", "", "Resume an interrupted build. Every build does: what is finished and up to date is not built again.", false, flag(func(a *Args) *bool { return &a.Resume })},
		{"j", "jobs", "N", "Number of parallel compilation jobs. Default: number of physical CPU cores.", false, number(1<<10, func(a *Args) *int { return &a.Jobs })},
		{"", "log_level", "LEVEL", "What to print: DEBUG, INFO, WARNING or ERROR. Default: WARNING.", false, choice(LogLevels, func(a *Args) *string { return &a.LogLevel })},
		{"", "input_height", "PIXELS", "Height of input images. Required for Siglip2 and Qwen-VL based models.", false, number(1<<14, func(a *Args) *int { return &a.InputHeight })},
		{"", "input_width", "PIXELS", "Width of input images. Required for Siglip2 and Qwen-VL based models.", false, number(1<<14, func(a *Args) *int { return &a.InputWidth })},
	}},
	{"advanced options", []option{
		{"", "language_group_size", "N", "Tokens that prefill processes at once. Must divide the context length. Default: 128.", false, number(maxTokens, func(a *Args) *int { return &a.GroupSize })},
		{"", "future_token_mask_size", "N", "Token positions that share one compiled decode model. Must divide the context length. Default: 128.", false, number(maxTokens, func(a *Args) *int { return &a.MaskSize })},
		{"", "enable_filter_sharing", "", "Share weights between group and single models of the same precision. Required when compiling with LoRA.", false, flag(func(a *Args) *bool { return &a.FilterSharing })},
		{"", "quantize_embeddings", "", "Quantize the embeddings: less memory, maybe less accuracy.", false, flag(func(a *Args) *bool { return &a.QuantizeEmbedding })},
		{"", "return_logits", "", "Return logits at the output of the last layer, as the model evaluator needs.", false, flag(func(a *Args) *bool { return &a.ReturnLogits })},
		{"", "lora_name", "NAME", "Name of a LoRA adapter to compile with the base model. Repeat it for several, each with a --lora_path.", true, list(func(a *Args) *[]string { return &a.LoRANames })},
		{"", "lora_path", "DIR", "Directory of that adapter.", true, list(func(a *Args) *[]string { return &a.LoRAPaths })},
	}},
	{"stages, to run these alone on what is there; default: all that the model needs", []option{
		{"", "onnx", "", "Convert the model to ONNX.", false, flag(func(a *Args) *bool { return &a.ONNX })},
		{"", "quantize", "", "Quantize the weights.", false, flag(func(a *Args) *bool { return &a.Quantize })},
		{"", "model_sdk", "", "Convert an already quantized model (GGUF, GPTQ, AWQ) to the Model SDK's format.", false, flag(func(a *Args) *bool { return &a.ModelSDK })},
		{"", "compile", "", "Compile to machine code and write the MPK archives.", false, flag(func(a *Args) *bool { return &a.Compile })},
		{"", "devkit", "", "Write the runtime's files: tokenizer, configuration, embeddings.", false, flag(func(a *Args) *bool { return &a.Devkit })},
	}},
}

// maxTokens is the longest context, as in llima.hcl.
const maxTokens = 1 << 20

func flag(at func(*Args) *bool) func(*Args, string) error {
	return func(a *Args, _ string) error { *at(a) = true; return nil }
}

func text(at func(*Args) *string) func(*Args, string) error {
	return func(a *Args, v string) error {
		if v == "" {
			return fmt.Errorf("the value is empty")
		}
		*at(a) = v
		return nil
	}
}

func list(at func(*Args) *[]string) func(*Args, string) error {
	return func(a *Args, v string) error {
		if v == "" {
			return fmt.Errorf("the value is empty")
		}
		*at(a) = append(*at(a), v)
		return nil
	}
}

func number(high int, at func(*Args) *int) func(*Args, string) error {
	return func(a *Args, v string) error {
		n, err := strconv.Atoi(strings.ReplaceAll(strings.TrimSpace(v), "_", ""))
		switch {
		case err != nil:
			return fmt.Errorf("invalid int value: '%s'", v)
		case n < 1 || n > high:
			return fmt.Errorf("invalid value: '%s' (want 1 to %d)", v, high)
		}
		*at(a) = n
		return nil
	}
}

func choice(values []string, at func(*Args) *string) func(*Args, string) error {
	return func(a *Args, v string) error {
		upper := strings.ToUpper(v)
		if !slices.Contains(values, upper) {
			return fmt.Errorf("invalid choice: '%s' (choose from %s)", v, strings.Join(values, ", "))
		}
		*at(a) = upper
		return nil
	}
}

// name is how messages call an option: -o/--output.
func (o *option) name() string {
	if o.short != "" {
		return "-" + o.short + "/--" + o.long
	}
	return "--" + o.long
}

// Parse reads a command line, without the command's name. Errors read as
// argparse's do.
func Parse(line []string) (*Args, error) {
	a := &Args{MaxNumTokens: 1024, LogLevel: "WARNING", GroupSize: 128, MaskSize: 128, given: map[string]bool{}}
	var rest, unknown []string
	for i := 0; i < len(line); i++ {
		arg := line[i]
		if arg == "--" {
			rest = append(rest, line[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		o, value, hasValue, err := find(arg)
		if err != nil {
			return nil, err
		}
		if o == nil {
			unknown = append(unknown, arg)
			continue
		}
		switch {
		case o.metavar == "" && hasValue:
			return nil, fmt.Errorf("argument %s: ignored explicit argument '%s'", o.name(), value)
		case o.metavar != "" && !hasValue:
			if i+1 == len(line) || len(line[i+1]) > 1 && line[i+1][0] == '-' {
				return nil, fmt.Errorf("argument %s: expected one argument", o.name())
			}
			i++
			value = line[i]
		}
		if err := o.set(a, value); err != nil {
			return nil, fmt.Errorf("argument %s: %w", o.name(), err)
		}
		a.given[o.long] = true
		a.words = append(a.words, word{o.long, value})
		if a.Help {
			return a, nil
		}
	}
	return a, a.finish(rest, unknown)
}

// finish takes what is no option, and checks what belongs together.
func (a *Args) finish(rest, unknown []string) error {
	if len(rest) > 0 {
		a.ModelPath = rest[0]
		unknown = append(unknown, rest[1:]...)
	}
	switch {
	case a.ModelPath == "":
		if len(unknown) > 0 {
			return unrecognized(unknown)
		}
		return fmt.Errorf("the following arguments are required: %s", positional)
	case len(unknown) > 0:
		return unrecognized(unknown)
	case len(a.LoRANames) != len(a.LoRAPaths):
		return fmt.Errorf("--lora_name is given %d times and --lora_path %d times: each adapter needs both", len(a.LoRANames), len(a.LoRAPaths))
	}
	for i, name := range a.LoRANames {
		if label(name) != name {
			return fmt.Errorf("argument --lora_name: '%s': a name, which becomes a folder's, has letters, digits, _, - and . only", name)
		}
		if slices.Contains(a.LoRANames[:i], name) {
			return fmt.Errorf("argument --lora_name: '%s' is given twice", name)
		}
	}
	return a.checkSizes()
}

// checkSizes reports sizes that do not fit together: cache windows step by
// them up to the context length.
func (a *Args) checkSizes() error {
	for _, s := range []struct {
		name  string
		value int
	}{{"language_group_size", a.GroupSize}, {"future_token_mask_size", a.MaskSize}} {
		if a.MaxNumTokens%s.value == 0 {
			continue
		}
		below, above := a.MaxNumTokens/s.value*s.value, (a.MaxNumTokens/s.value+1)*s.value
		fits := fmt.Sprintf("%d or %d fits", below, above)
		if below == 0 {
			fits = fmt.Sprintf("%d fits", above)
		}
		return fmt.Errorf("argument --max_num_tokens: %d is not a multiple of --%s, which is %d; %s", a.MaxNumTokens, s.name, s.value, fits)
	}
	return nil
}

func unrecognized(args []string) error {
	text := "unrecognized arguments: " + strings.Join(args, " ")
	name, _, _ := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
	if !strings.HasPrefix(args[0], "-") {
		return fmt.Errorf("%s (one %s is compiled at a time)", text, positional)
	}
	var names []string
	for _, o := range options() {
		names = append(names, o.long)
	}
	if near := lang.Suggest(strings.ReplaceAll(name, "-", "_"), names); near != "" {
		text += " (did you mean --" + near + "?)"
	}
	return fmt.Errorf("%s", text)
}

func options() []option {
	var out []option
	for _, g := range groups {
		out = append(out, g.options...)
	}
	return out
}

// find returns the option that an argument names, in full or by a beginning
// that no other option has, and the value that stands behind an equals sign
// or, for short forms, behind the letter. nil is an option that is not known.
func find(arg string) (o *option, value string, hasValue bool, err error) {
	all := options()
	if !strings.HasPrefix(arg, "--") {
		for i := range all {
			if all[i].short == "" || !strings.HasPrefix(arg[1:], all[i].short) {
				continue
			}
			value = arg[2:]
			hasValue = value != ""
			return &all[i], strings.TrimPrefix(value, "="), hasValue, nil
		}
		return nil, "", false, nil
	}
	name, value, hasValue := strings.Cut(arg[2:], "=")
	var matches []*option
	for i := range all {
		if all[i].long == name {
			return &all[i], value, hasValue, nil
		}
		if strings.HasPrefix(all[i].long, name) {
			matches = append(matches, &all[i])
		}
	}
	switch len(matches) {
	case 0:
		return nil, "", false, nil
	case 1:
		return matches[0], value, hasValue, nil
	}
	var names []string
	for _, m := range matches {
		names = append(names, "--"+m.long)
	}
	return nil, "", false, fmt.Errorf("ambiguous option: --%s could match %s", name, strings.Join(names, ", "))
}
