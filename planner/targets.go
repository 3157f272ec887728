package planner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner/fingerprint"
)

// Versions of the stages: raised by hand when the same inputs give other
// bytes. Golden outputs guard them.
var stageVersions = map[addr.Stage]int{
	addr.Devkit: 1, addr.ONNX: 1, addr.Quantize: 1, addr.Compile: 2, addr.MPK: 1, addr.Package: 1,
}

// devkitFiles are what DEVKIT copies from a checkpoint, where it has them.
var devkitFiles = []string{
	"config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
	"special_tokens_map.json", "chat_template.jinja", "chat_template.json",
}

// target adds a target to the model.
func (m *Model) target(stage addr.Stage, unit string, deps ...*Target) *Target {
	t := &Target{
		Addr: addr.Target{Model: m.Config.Name, Stage: stage, Unit: unit}, Version: stageVersions[stage],
		Params: fingerprint.Params{}, Where: map[string]string{}, Deps: deps, Model: m,
	}
	m.Targets = append(m.Targets, t)
	return t
}

func (m *Model) addTargets() error {
	if err := m.checkWeights(); err != nil {
		return err
	}
	devkit, err := m.addDevkit()
	if err != nil {
		return err
	}
	all := []*Target{devkit}
	byLayer := map[int][]*Target{}
	programs := map[addr.PartID]*Target{}
	var caches []*Target
	for _, p := range m.Parts {
		if !p.Decision.Compile {
			continue
		}
		onnx, quantize, compile, err := m.addPart(p)
		if err != nil {
			return err
		}
		all = append(all, onnx, quantize, compile)
		programs[p.ID] = compile
		if p.ID.Part == addr.Cache {
			caches = append(caches, compile)
		} else {
			byLayer[p.ID.Index] = append(byLayer[p.ID.Index], compile)
		}
	}
	m.shareFilters(programs)
	for l := range m.Arch.NumHiddenLayers {
		if len(byLayer[l]) > 0 {
			all = append(all, m.addMPK(fmt.Sprintf("layer_%d", l), byLayer[l]))
		}
	}
	if len(caches) > 0 {
		all = append(all, m.addMPK("cache", caches))
	}
	return m.addPackage(all)
}

func (m *Model) addDevkit() (*Target, error) {
	t := m.target(addr.Devkit, "")
	t.Params.Set("context_length", m.Params.ContextTokens)
	t.Params.Set("language_group_size", m.Params.GroupTokens)
	t.Params.Set("future_token_mask_size", m.Params.MaskTokens)
	t.Params.Set("return_logits", m.Params.ReturnLogits)
	t.Params.Set("quantize_embeddings", m.Config.QuantizeEmbeddings)
	t.where("context_length", m.Config.ContextRange)
	t.where("language_group_size", m.Config.GroupRange)
	t.where("future_token_mask_size", m.Config.MaskRange)
	for _, name := range devkitFiles {
		path := filepath.Join(m.Checkpoint.Dir(), name)
		switch st, err := os.Stat(path); {
		case err == nil && !st.Mode().IsRegular(): // reading a pipe would wait
			return nil, fmt.Errorf("%s is not a regular file", path)
		case err == nil:
			t.Sources = append(t.Sources, Source{Name: "file/" + name, Path: path})
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return t, t.addTensors(m.Arch.EmbeddingName())
}

func (t *Target) where(param string, r diag.Range) { t.Where[param] = r.String() }

// addTensors makes a target read tensors of the checkpoint.
func (t *Target) addTensors(names ...string) error {
	for _, name := range names {
		c, ok := t.Model.Checkpoint.Tensor(name)
		if !ok {
			return fmt.Errorf("the checkpoint lacks tensor %q, which %s needs", name, t.Addr)
		}
		t.Sources = append(t.Sources, TensorSource(t.Model.Checkpoint, c))
	}
	return nil
}

// TensorName is the name of a tensor as a source.
func TensorName(tensor string) string { return "tensor/" + tensor }

// TensorSource names a tensor of a checkpoint as a source.
func TensorSource(ck *checkpoint.Checkpoint, c checkpoint.Tensor) Source {
	return Source{
		Name: TensorName(c.Name), Path: filepath.Join(ck.Dir(), c.File), Kind: FileTensor,
		Offset: c.Offset, Length: c.Length,
	}
}

// addPart adds ONNX, QUANTIZE and COMPILE of one part. A part of CACHE has
// the same parameters in every layer, so they all have one key.
func (m *Model) addPart(p Part) (onnx, quantize, compile *Target, err error) {
	a, unit := m.Arch, p.ID.String()
	var tensors []string
	for _, t := range m.Tensors(p.ID) {
		tensors = append(tensors, t.Name)
	}

	onnx = m.target(addr.ONNX, unit)
	onnx.Params.Set("architecture", a.GraphFields(p.ID))
	onnx.Params.Set("phase", p.ID.Phase.String())
	onnx.Params.Set("part", p.ID.Part.String())
	if p.ID.Part != addr.Cache {
		onnx.Params.Set("layer", p.ID.Index)
	}
	if p.ID.Part == addr.Pre || p.ID.Part == addr.Cache { // they address the KV cache
		onnx.Params.Set("context_length", m.Params.ContextTokens)
		onnx.where("context_length", m.Config.ContextRange)
	}
	if p.ID.Phase == addr.Prefill {
		onnx.Params.Set("language_group_size", m.Params.GroupTokens)
		onnx.where("language_group_size", m.Config.GroupRange)
	} else if p.ID.Part == addr.Cache {
		onnx.Params.Set("future_token_mask_size", m.Params.MaskTokens)
		onnx.where("future_token_mask_size", m.Config.MaskRange)
	}
	if (p.ID.Part == addr.Post || p.ID.Part == addr.Conv) && p.ID.Index == a.NumHiddenLayers-1 {
		onnx.Params.Set("return_logits", m.Params.ReturnLogits)
	}
	var places []string
	for _, name := range tensors {
		c, ok := m.Checkpoint.Tensor(name)
		if !ok {
			return nil, nil, nil, fmt.Errorf("the checkpoint lacks tensor %q, which %v needs", name, p.ID)
		}
		places = append(places, fmt.Sprintf("%s %v %v %s@%d", name, c.DType, c.Shape, c.File, c.Offset))
	}
	onnx.Params.Set("tensors", places)
	if err := onnx.addTensors(tensors...); err != nil {
		return nil, nil, nil, err
	}

	quantize = m.target(addr.Quantize, unit, onnx)
	if p.ID.Part != addr.Cache { // nothing in it has a precision
		quantize.Params.Set("precision", p.Decision.Precision)
		quantize.Where["precision"] = m.ruleAt(p.Decision)
	}
	if err := quantize.addTensors(tensors...); err != nil {
		return nil, nil, nil, err
	}

	compile = m.target(addr.Compile, unit, quantize)
	compile.Params.Set("backend", "modalix")
	for _, t := range []*Target{onnx, quantize, compile} {
		t.Part = p.ID
	}
	return onnx, quantize, compile, nil
}

// ruleAt names the rule that decided, and its line.
func (m *Model) ruleAt(d config.Decision) string {
	if d.Rule < 0 {
		return "default (" + d.Where.String() + ")"
	}
	return fmt.Sprintf("rule %s (%s)", m.Config.Rules.List()[d.Rule].Name, d.Where)
}

func (m *Model) addMPK(unit string, deps []*Target) *Target {
	t := m.target(addr.MPK, unit, deps...)
	t.Params.Set("name", unit)
	return t
}

func (m *Model) addPackage(deps []*Target) error {
	t := m.target(addr.Package, "", deps...)
	var parts []string
	for _, p := range m.Parts {
		if p.Decision.Compile {
			parts = append(parts, p.ID.String())
		}
	}
	t.Params.Set("parts", parts) // these and the sizes say what Programs does
	t.Params.Set("context_length", m.Params.ContextTokens)
	t.Params.Set("language_group_size", m.Params.GroupTokens)
	t.Params.Set("future_token_mask_size", m.Params.MaskTokens)
	t.where("context_length", m.Config.ContextRange)
	t.where("language_group_size", m.Config.GroupRange)
	t.where("future_token_mask_size", m.Config.MaskRange)
	t.Params.Set("precisions", m.Precisions())
	t.Params.Set("external_data", m.Config.ExternalData)
	for _, name := range m.Checkpoint.Files() {
		t.Sources = append(t.Sources, Source{Name: "shard/" + name, Path: filepath.Join(m.Checkpoint.Dir(), name), Kind: Shard})
	}
	return nil
}

// layer returns the last field of a target's unit: its layer, where it has one.
func (t *Target) layer() string {
	return t.Addr.Unit[strings.LastIndexByte(t.Addr.Unit, '.')+1:]
}
