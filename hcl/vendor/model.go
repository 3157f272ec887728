package vendor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
)

// argument is the place that stands for an option of the command line.
func (a *Args) argument(long string) diag.Range {
	if a.given[long] {
		return diag.Range{File: "argument --" + long}
	}
	return diag.Range{File: "default of --" + long}
}

// Config is what a command line asks for, as if an llima.hcl had said it: one
// model, whose store stands beside the output. dir is the absolute folder
// that paths are relative to, print gets what the configuration file prints,
// which ends with ctx.
func (a *Args) Config(ctx context.Context, dir string, print func(text string)) (*config.Config, diag.List) {
	cfg := &config.Config{Sources: map[string][]byte{}}
	at := func(path string) string {
		if filepath.IsAbs(path) {
			return filepath.Clean(path)
		}
		return filepath.Join(dir, path)
	}
	m := &config.Model{
		SourceText: a.ModelPath, Source: at(a.ModelPath), OutputText: a.Output,
		SourceRange: diag.Range{File: "argument " + positional}, Decl: diag.Range{File: "the command line"},
		Format: "auto", ExternalData: "auto", Precision: config.BF16, LoRA: config.LoRADisabled,
		ContextTokens: a.MaxNumTokens, GroupTokens: a.GroupSize, MaskTokens: a.MaskSize,
		ContextRange: a.argument("max_num_tokens"), GroupRange: a.argument("language_group_size"), MaskRange: a.argument("future_token_mask_size"),
		EnableFilterSharing: a.FilterSharing, QuantizeEmbeddings: a.QuantizeEmbedding, ReturnLogits: a.ReturnLogits,
	}
	if m.OutputText == "" {
		m.OutputText = modelName(m.Source)
	}
	m.Output = at(m.OutputText)
	if m.Output == filepath.Dir(m.Output) {
		return cfg, diag.Errorf("Unusable output", "%s is the root of the file system; the output is a folder in it.", m.OutputText)
	}
	cfg.Root = filepath.Dir(m.Output)
	m.Name = label(filepath.Base(m.Output))
	for i, name := range a.LoRANames {
		m.Adapters = append(m.Adapters, config.Adapter{Name: name, Path: at(a.LoRAPaths[i]), PathText: a.LoRAPaths[i]})
	}
	if a.InputHeight > 0 || a.InputWidth > 0 {
		m.Vision = &config.Vision{Height: a.InputHeight, Width: a.InputWidth}
	}
	m.Unsupported = a.unsupported()
	cfg.Models = []*config.Model{m}
	rules, diags := a.rules(ctx, at(a.ConfigurationFile), cfg, print)
	m.Rules = rules
	return cfg, diags
}

// modelName is the name of a model by its path: the folder's, or the file's
// without .gguf.
func modelName(path string) string {
	base := filepath.Base(path)
	if ext := filepath.Ext(base); strings.EqualFold(ext, ".gguf") && ext != base {
		return strings.TrimSuffix(base, ext)
	}
	return base
}

var notInLabels = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// label makes a name that addresses can hold of that of a folder. Where that
// changes it a piece of the name's digest keeps two folders apart.
func label(name string) string {
	out := strings.TrimLeft(notInLabels.ReplaceAllString(name, "_"), ".-")
	if out == name && len(out) <= 100 {
		return out
	}
	digest := sha256.Sum256([]byte(name))
	return out[:min(len(out), 80)] + "_" + hex.EncodeToString(digest[:4])
}

// rules reads the configuration file, or returns those that say nothing.
func (a *Args) rules(ctx context.Context, path string, cfg *config.Config, print func(string)) (config.Rules, diag.List) {
	none := &Rules{where: diag.Range{File: "no --configuration_file"}}
	if a.ConfigurationFile == "" {
		return none, nil
	}
	place := a.argument("configuration_file")
	src, err := os.ReadFile(path)
	if err != nil {
		why := err.Error()
		if pathError, ok := errors.AsType[*fs.PathError](err); ok {
			why = pathError.Err.Error()
		}
		return none, diag.List{{
			Severity: diag.Error, Summary: "Unusable configuration file", Subject: &place,
			Detail: fmt.Sprintf("%s: %s.", a.ConfigurationFile, why),
		}}
	}
	name := filepath.ToSlash(a.ConfigurationFile)
	cfg.Files = append(cfg.Files, name)
	cfg.Sources[name] = src
	rules, diags := loadRules(ctx, a.ConfigurationFile, src, a.FilterSharing, print)
	if rules == nil {
		return none, diags
	}
	return rules, diags
}

// unsupported says what the command line asks for and this version cannot
// build yet. What llima.hcl has a word for says so in that word's sentence.
func (a *Args) unsupported() diag.List {
	var out diag.List
	model, _ := lang.Root.Block("model")
	for _, o := range []struct {
		long, attribute string
		value           bool
	}{
		{"enable_filter_sharing", "enable_filter_sharing", a.FilterSharing},
		{"quantize_embeddings", "quantize_embeddings", a.QuantizeEmbedding},
		{"return_logits", "return_logits", a.ReturnLogits},
	} {
		attr, ok := model.Attribute(o.attribute)
		if !ok || !o.value {
			continue
		}
		if d, found := attr.Unsupported(cty.True, hcl.Range{Filename: a.argument(o.long).File}); found {
			out = append(out, d)
		}
	}
	for _, o := range []struct{ long, block, what string }{
		{"lora_name", "adapter", "compile LoRA adapters"},
		{"input_height", "vision", "compile vision towers"},
		{"input_width", "vision", "compile vision towers"},
	} {
		if block, ok := model.Block(o.block); ok && block.CheckOnly && a.given[o.long] {
			at := a.argument(o.long)
			out = append(out, diag.Diagnostic{
				Severity: diag.Error, Summary: "Not supported by this version", Subject: &at,
				Detail: fmt.Sprintf("This version of llima-compile reads --%s, but cannot %s yet. Without it the model can be compiled.", o.long, o.what),
			})
		}
	}
	return out
}

// UnsupportedLoRA says that a configuration file asks for LoRA, which this
// version cannot build yet; found is false where decision does not.
func UnsupportedLoRA(decision config.Decision) (d diag.Diagnostic, found bool) {
	layer, _ := lang.Root.Block("policy")
	for _, b := range layer.Blocks {
		if attr, ok := b.Attribute("lora"); ok {
			d, found = attr.Unsupported(cty.StringVal(string(decision.LoRA)), hcl.Range{})
		}
	}
	at := decision.Where
	d.Subject = &at
	return d, found
}
