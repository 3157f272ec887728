package planner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner/fingerprint"
)

// Versions of the stages: raised by hand when the same inputs give other
// bytes. Golden outputs guard them.
var stageVersions = map[addr.Stage]int{
	addr.Devkit: 1, addr.ONNX: 1, addr.Calibrate: 5, addr.Quantize: 1, addr.ModelSDKDirect: 1, addr.SourceToQuant: 1, addr.Compile: 3, addr.MPK: 1, addr.Package: 1,
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
	if err := m.addCalibration(); err != nil {
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
		made, err := m.addPart(p)
		if err != nil {
			return err
		}
		all = append(all, made...)
		compile := made[len(made)-1]
		programs[p.ID] = compile
		if p.ID.Part == addr.Cache {
			caches = append(caches, compile)
		} else {
			byLayer[p.ID.Index] = append(byLayer[p.ID.Index], compile)
		}
	}
	m.shareFilters(programs)
	if m.Config.Hidden {
		return m.addPackage(slices.DeleteFunc(all, func(t *Target) bool { return t.Addr.Stage != addr.Devkit && t.Addr.Stage != addr.Compile }))
	}
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
	if m.Format == source.GGUF {
		t.Sources = append(t.Sources, Source{Name: "header/metadata", Path: filepath.Join(m.Checkpoint.Dir(), m.Checkpoint.Files()[0]), Kind: Header})
		if w, ok := m.Checkpoint.Weight(m.Arch.EmbeddingName()); ok {
			t.Params.Set("embeddings", w.Form)
		}
		t.Params.Set("convert", m.Config.Convert)
		return t, t.addTensors(m.Arch.EmbeddingName())
	}
	if err := t.addFiles(m.Checkpoint.AuxNames()...); err != nil {
		return nil, err
	}
	return t, t.addTensors(m.Arch.EmbeddingName())
}

// addFiles makes a target read those small files of a checkpoint that there
// are.
func (t *Target) addFiles(names ...string) error {
	for _, name := range names {
		path := filepath.Join(t.Model.Checkpoint.Dir(), name)
		switch st, err := os.Stat(path); {
		case err == nil && !st.Mode().IsRegular(): // reading a pipe would wait
			return fmt.Errorf("%s is not a regular file", path)
		case err == nil:
			t.Sources = append(t.Sources, Source{Name: "file/" + name, Path: path})
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

func (t *Target) where(param string, r diag.Range) { t.Where[param] = r.String() }

// addPart adds the targets of one part, COMPILE the last. A part of CACHE has
// the same parameters in every layer, so they all have one key.
func (m *Model) addPart(p Part) ([]*Target, error) {
	unit := p.ID.String()
	var made []*Target
	if m.Format == source.HF {
		onnx, err := m.addONNX(p.ID)
		if err != nil {
			return nil, err
		}
		quantize := m.target(addr.Quantize, unit, onnx)
		if p.ID.Part != addr.Cache { // nothing in it has a precision
			m.formatParams(quantize, &p)
			m.calibrateQuantize(quantize, &p)
		}
		if err := quantize.addTensors(m.tensorNames(p.ID)...); err != nil {
			return nil, err
		}
		made = append(made, onnx, quantize)
	} else {
		carried, err := m.addCarried(p)
		if err != nil {
			return nil, err
		}
		made = append(made, carried)
	}
	compile := m.target(addr.Compile, unit, made[len(made)-1])
	compile.Params.Set("backend", "modalix")
	made = append(made, compile)
	for _, t := range made {
		t.Part = p.ID
	}
	return made, nil
}

// addONNX adds the target that makes the float graphs of a part.
func (m *Model) addONNX(id addr.PartID) (*Target, error) {
	t := m.target(addr.ONNX, id.String())
	m.shapeParams(t, id)
	tensors := m.tensorNames(id)
	places, err := m.describe(tensors, true)
	if err != nil {
		return nil, err
	}
	t.Params.Set("tensors", places)
	return t, t.addTensors(tensors...)
}

// shapeParams sets what the graphs of a part depend on beside its tensors.
func (m *Model) shapeParams(t *Target, id addr.PartID) {
	t.Params.Set("architecture", m.Arch.GraphFields(id))
	t.Params.Set("phase", id.Phase.String())
	t.Params.Set("part", id.Part.String())
	if id.Part != addr.Cache {
		t.Params.Set("layer", id.Index)
	}
	if id.Part == addr.Pre || id.Part == addr.Cache { // they address the KV cache
		t.Params.Set("context_length", m.Params.ContextTokens)
		t.where("context_length", m.Config.ContextRange)
	}
	if id.Phase == addr.Prefill {
		t.Params.Set("language_group_size", m.Params.GroupTokens)
		t.where("language_group_size", m.Config.GroupRange)
	} else if id.Part == addr.Cache {
		t.Params.Set("future_token_mask_size", m.Params.MaskTokens)
		t.where("future_token_mask_size", m.Config.MaskRange)
	}
	if m.HasHead(id) {
		t.Params.Set("return_logits", m.Params.ReturnLogits)
	}
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
	m.calibrateReports(t)
	t.Params.Set("precisions", m.Precisions())
	t.Params.Set("external_data", m.Config.ExternalData)
	if m.Format != source.HF || m.Config.Hidden {
		return nil // no float graphs refer to its files
	}
	for _, name := range m.Checkpoint.Files() {
		t.Sources = append(t.Sources, Source{Name: "shard/" + name, Path: filepath.Join(m.Checkpoint.Dir(), name), Kind: Shard})
	}
	return nil
}

// layer returns the last field of a target's unit: its layer, where it has one.
func (t *Target) layer() string {
	return t.Addr.Unit[strings.LastIndexByte(t.Addr.Unit, '.')+1:]
}
