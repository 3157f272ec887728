// Package config is the typed model of an evaluated llima.hcl: what remains
// when expressions, scopes and expansion are done. It knows neither HCL nor
// cty; rules stay behind an interface because they are asked once per part.
package config

import (
	"fmt"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// Precision is how a part's weights are stored and multiplied.
type Precision string

// The precisions of the vendor's page. Activations are BF16 in all of them.
const (
	BF16 Precision = "BF16"
	INT8 Precision = "A_BF16_W_INT8"
	INT4 Precision = "A_BF16_W_INT4"
)

// Precisions lists every precision, widest first.
var Precisions = []Precision{BF16, INT8, INT4}

// LoRA is how a part takes adapters.
type LoRA string

// The LoRA modes of the vendor's page.
const (
	LoRADisabled LoRA = "LORA_DISABLED"
	LoRABranch   LoRA = "LORA_BRANCH"
	LoRAMerged   LoRA = "LORA_MERGED"
)

// LoRAModes lists every LoRA mode.
var LoRAModes = []LoRA{LoRADisabled, LoRABranch, LoRAMerged}

// Config is an evaluated configuration: every model, expanded.
type Config struct {
	Root   string   // absolute folder of llima.hcl
	Files  []string // configuration files read, relative to Root, sorted
	Models []*Model // in order of declaration, then of key

	Evals    []Eval // in order of declaration
	Backend  Backend
	Executor Executor
	Cache    Cache

	DefaultTargets []string   // patterns of llima.default_targets, nil where absent
	Variables      []Variable // declared variables, by name
	Reads          []string   // files that functions asked for, relative to Root, sorted

	// Sources holds the text of each configuration file by the name that the
	// File of a diagnostic's range has, for snippets.
	Sources map[string][]byte
	// Unsupported says what no model of this file can be built with by this
	// version; building turns it into errors, validating does not.
	Unsupported diag.List
}

// Variable is a declared variable and where its value comes from.
type Variable struct {
	Name  string
	Value string // as HCL would write it
	From  string // "default", "--var", "LLIMA_CTX", "llima.vars.hcl:3"
}

// Model is one model block, or one expansion of it.
type Model struct {
	Name string // label, with "-key" appended where for_each expanded it; unique
	Decl diag.Range

	Source string // absolute path of the checkpoint
	Output string // absolute path of the output folder
	// SourceText and OutputText are the same as written, relative to the file.
	SourceText, OutputText string
	SourceRange            diag.Range

	Format              string // "auto", "hf", "gguf", "compressed_tensors"
	ContextTokens       int    // context_length
	GroupTokens         int    // language_group_size
	MaskTokens          int    // future_token_mask_size
	EnableFilterSharing bool
	QuantizeEmbeddings  bool
	ReturnLogits        bool
	ExternalData        string // "auto", "copy", "link"
	Precision           Precision
	LoRA                LoRA
	LoRARank            int    // lora_rank, 0 where absent
	Convert             string // "" or "bf16"
	Origin              Origin
	ContextRange        diag.Range // of context_length, or of the block where it is absent
	GroupRange          diag.Range
	MaskRange           diag.Range

	// Hidden is a model that is built to be measured: only what runs is made,
	// for every part, and it is published into the store.
	Hidden bool

	Rules        Rules
	Adapters     []Adapter
	Vision       *Vision       // nil where absent, as those below
	Calibration  *Calibration  //
	Quantization *Quantization //
	Budget       Budget        //

	// Unsupported says what this version can check but not build. Validating
	// lets it pass; building turns it into errors.
	Unsupported diag.List
}

// Origin says where a checkpoint can be downloaded; both are "" where the
// configuration does not say.
type Origin struct{ Repo, Revision string }

// Rules decides what becomes of each part. The first matching rule decides
// everything; what it leaves unset takes the model's default.
type Rules interface {
	// Decide asks the rules about one part.
	Decide(m Properties, layer Layer) (Decision, diag.List)
	// List returns the rules in the order in which they are asked.
	List() []Rule
}

// Rule names a rule and where it stands.
type Rule struct {
	Name   string
	Policy string // the policy that it comes from, "" for the model's own
	Range  diag.Range
}

// Properties is what rules see as "model".
type Properties struct {
	NumHiddenLayers int
	Architecture    string // "llama"
	Format          string // "hf"
}

// Layer is what rules see as "layer".
type Layer struct {
	addr.PartID
	FromEnd int // 1 for the last layer
}

// IsGroup reports whether the part handles a group of tokens: true in prefill,
// except for the vision tower.
func (l Layer) IsGroup() bool { return l.Phase == addr.Prefill && l.Part != addr.Vision }

// Decision is what the rules say of one part.
type Decision struct {
	Precision Precision
	Compile   bool
	LoRA      LoRA
	Rule      int // index into Rules.List, -1 where no rule matched
	// Where names the line that set the precision: the matching rule's
	// attribute, or the model's default.
	Where diag.Range
}

// DownloadHint says how the checkpoint can be brought to its place; it is ""
// where the configuration does not say where from.
func (m *Model) DownloadHint() string {
	if m.Origin.Repo == "" {
		return ""
	}
	command := "hf download " + m.Origin.Repo
	if m.Origin.Revision != "" {
		command += " --revision " + m.Origin.Revision
	}
	return " It can be downloaded:\n\n    " + command + " --local-dir " + m.SourceText
}

// CheckSizes reports sizes that do not fit together: group and mask must
// divide the context, because cache windows step by them.
func (m *Model) CheckSizes() diag.List {
	var l diag.List
	check := func(name string, value int, r diag.Range) {
		if value <= 0 || m.ContextTokens%value == 0 {
			return
		}
		above := (m.ContextTokens/value + 1) * value
		fits := fmt.Sprintf("The nearest context_length that fits is %d.", above)
		if m.ContextTokens > value {
			fits = fmt.Sprintf("The nearest context_length values that fit are %d and %d.", m.ContextTokens/value*value, above)
		}
		l = append(l, diag.Diagnostic{
			Severity: diag.Error,
			Summary:  name + " does not divide context_length",
			Detail: fmt.Sprintf("Cache windows of model %q step by %s = %d up to context_length = %d, so it must divide it. %s",
				m.Name, name, value, m.ContextTokens, fits),
			Subject: &r,
		})
	}
	check("language_group_size", m.GroupTokens, m.GroupRange)
	check("future_token_mask_size", m.MaskTokens, m.MaskRange)
	return l
}

// CheckContext warns about a context_length beyond maxTokens, the longest
// context that the checkpoint was trained for; 0 means unknown.
func (m *Model) CheckContext(maxTokens int) diag.List {
	if maxTokens <= 0 || m.ContextTokens <= maxTokens {
		return nil
	}
	return diag.List{{
		Severity: diag.Warning,
		Summary:  "context_length is beyond the model's own maximum",
		Detail: fmt.Sprintf("Model %q has context_length = %d, but %s was trained for at most %d tokens. Text beyond that length tends to fall apart.",
			m.Name, m.ContextTokens, m.SourceText, maxTokens),
		Subject: &m.ContextRange,
	}}
}
