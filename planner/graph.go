package planner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dominikbraun/graph"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner/fingerprint"
	"github.com/llima-build/llima/quant"
)

// Versions of the stages: raised by hand when the same inputs give other
// bytes. Golden outputs guard them.
var stageVersions = map[addr.Stage]int{
	addr.Devkit: 1, addr.ONNX: 1, addr.Quantize: 1, addr.Compile: 1, addr.MPK: 1, addr.Package: 1,
}

// devkitFiles are what DEVKIT copies from a checkpoint, where it has them.
var devkitFiles = []string{
	"config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
	"special_tokens_map.json", "chat_template.jinja", "chat_template.json",
}

// Graph is every target of the selected models, dependencies first.
type Graph struct {
	Models []*Model
	Order  []*Target
}

// Close releases the checkpoints.
func (g *Graph) Close() error {
	var errs []error
	for _, m := range g.Models {
		if m.Checkpoint != nil {
			errs = append(errs, m.Checkpoint.Close())
		}
	}
	return errors.Join(errs...)
}

// New opens the checkpoints of models and builds their graph. check, which
// may be nil, is asked about each model once its parts are known.
func New(models []*config.Model, check func(*Model) diag.List) (*Graph, diag.List) {
	g := &Graph{}
	diags := checkOutputs(models)
	for _, c := range models {
		m, ds := Inspect(c)
		if m != nil && check != nil {
			ds = append(ds, check(m)...)
		}
		diags = append(diags, ds...)
		if ds.HasErrors() {
			continue
		}
		ck, err := checkpoint.Open(c.Source)
		if err != nil {
			diags = append(diags, sourceError(c, err))
			continue
		}
		m.Checkpoint = ck
		g.Models = append(g.Models, m)
		if err := m.addTargets(); err != nil {
			diags = append(diags, sourceError(c, err))
		}
	}
	if diags.HasErrors() {
		return g, append(diags, closeError(g)...)
	}
	if err := g.sort(); err != nil {
		diags = append(diags, diag.Errorf("Build graph", "%v", err)...)
	}
	return g, diags
}

// checkOutputs reports models that would write into one folder.
func checkOutputs(models []*config.Model) diag.List {
	var diags diag.List
	owners := map[string]*config.Model{}
	for _, c := range models {
		folder := realPath(c.Output)
		if other, ok := owners[folder]; ok {
			r := c.Decl
			diags = append(diags, diag.Diagnostic{
				Severity: diag.Error, Summary: "Two models with one output folder", Subject: &r,
				Detail: fmt.Sprintf("Models %q and %q would both be published into %s, each removing files of the other. Give one of them another output.", other.Name, c.Name, folder),
			})
		}
		owners[folder] = c
	}
	return diags
}

// realPath resolves symbolic links in what exists of a path.
func realPath(path string) string {
	rest := ""
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return filepath.Clean(path)
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

func closeError(g *Graph) diag.List {
	if err := g.Close(); err != nil {
		return diag.Errorf("Checkpoint", "%v", err)
	}
	return nil
}

func sourceError(c *config.Model, err error) diag.Diagnostic {
	r := c.SourceRange
	return diag.Diagnostic{
		Severity: diag.Error, Summary: "Unusable model source", Subject: &r,
		Detail: fmt.Sprintf("Model %q: %v.", c.Name, err),
	}
}

// Inspect reads a model's configuration, no weights, and asks the rules about
// every part.
func Inspect(c *config.Model) (*Model, diag.List) {
	raw, err := checkpoint.ReadConfig(c.Source)
	if err != nil {
		return nil, diag.List{sourceError(c, err)}
	}
	a, err := arch.Parse(raw)
	if err != nil {
		return nil, diag.List{sourceError(c, err)}
	}
	m := &Model{Config: c, Arch: a, Params: arch.Params{
		ContextTokens: c.ContextTokens, GroupTokens: c.GroupTokens, MaskTokens: c.MaskTokens, ReturnLogits: c.ReturnLogits,
	}}
	props := m.Properties()
	var diags diag.List
	sizes := map[sizeClass]Part{}
	for _, id := range a.Parts() {
		d, ds := c.Rules.Decide(props, config.Layer{PartID: id, FromEnd: a.NumHiddenLayers - id.Index})
		diags = append(diags, ds...)
		p := Part{ID: id, Decision: d}
		class := sizeClass{id.Part, id.Index == a.NumHiddenLayers-1, d.Precision}
		if same, ok := sizes[class]; ok {
			p.WeightBytes, p.FloatBytes = same.WeightBytes, same.FloatBytes
		} else if err := m.size(&p); err != nil {
			return nil, diag.List{sourceError(c, err)}
		}
		sizes[class] = p
		m.Parts = append(m.Parts, p)
	}
	return m, diags
}

// Properties returns what rules see as "model".
func (m *Model) Properties() config.Properties {
	return config.Properties{NumHiddenLayers: m.Arch.NumHiddenLayers, Architecture: m.Arch.Architecture, Format: "hf"}
}

// FormatOf returns how a precision stores a matrix; the output head of an
// INT4 model is INT8.
func FormatOf(p config.Precision, head bool) quant.Format {
	switch {
	case p == config.INT8, p == config.INT4 && head:
		return quant.Format{Bits: 8}
	case p == config.INT4:
		return quant.Format{Bits: 4, GroupSize: 32}
	default:
		return quant.Format{Bits: 16}
	}
}

// sizeClass is what the size of a part's weights depends on.
type sizeClass struct {
	part      addr.Part
	last      bool
	precision config.Precision
}

func (m *Model) size(p *Part) error {
	for _, name := range m.Arch.TensorNames(p.ID) {
		shape, err := m.Arch.Shape(name)
		if err != nil {
			return err
		}
		if len(shape) != 2 {
			continue
		}
		f := FormatOf(p.Decision.Precision, name == m.Arch.HeadName())
		p.WeightBytes += f.SizeBytes(shape[0], shape[1])
		p.FloatBytes += quant.Format{Bits: 16}.SizeBytes(shape[0], shape[1])
	}
	return nil
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
	devkit, err := m.addDevkit()
	if err != nil {
		return err
	}
	all := []*Target{devkit}
	byLayer := map[int][]*Target{}
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
		if p.ID.Part == addr.Cache {
			caches = append(caches, compile)
		} else {
			byLayer[p.ID.Index] = append(byLayer[p.ID.Index], compile)
		}
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
	t.where("context_length", m.Config.ContextRange)
	t.where("language_group_size", m.Config.GroupRange)
	t.where("future_token_mask_size", m.Config.MaskRange)
	for _, name := range devkitFiles {
		path := filepath.Join(m.Checkpoint.Dir(), name)
		switch _, err := os.Stat(path); {
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
	tensors := a.TensorNames(p.ID)

	onnx = m.target(addr.ONNX, unit)
	onnx.Params.Set("architecture", a.GraphFields(p.ID))
	onnx.Params.Set("phase", p.ID.Phase.String())
	onnx.Params.Set("part", p.ID.Part.String())
	if p.ID.Part != addr.Cache {
		onnx.Params.Set("layer", p.ID.Index)
	}
	onnx.Params.Set("context_length", m.Params.ContextTokens) // in the metadata of every graph
	onnx.where("context_length", m.Config.ContextRange)
	if p.ID.Phase == addr.Prefill {
		onnx.Params.Set("language_group_size", m.Params.GroupTokens)
		onnx.where("language_group_size", m.Config.GroupRange)
	} else if p.ID.Part == addr.Cache {
		onnx.Params.Set("future_token_mask_size", m.Params.MaskTokens)
		onnx.where("future_token_mask_size", m.Config.MaskRange)
	}
	if p.ID.Part == addr.Post && p.ID.Index == a.NumHiddenLayers-1 {
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

// Program is a line of elf_files/index.json: the program of a part, or of one
// cache window of it.
type Program struct {
	Phase  string `json:"phase"`
	Part   string `json:"part"`
	Layer  int    `json:"layer"`
	Window int    `json:"window,omitempty"` // tokens
	File   string `json:"file"`
}

// Programs lists the programs of a model that are compiled.
func (m *Model) Programs() []Program {
	var out []Program
	for _, p := range m.Parts {
		if !p.Decision.Compile {
			continue
		}
		line := Program{Phase: p.ID.Phase.String(), Part: p.ID.Part.String(), Layer: p.ID.Index, File: p.ID.FileName() + ".elf"}
		if p.ID.Part != addr.Cache {
			out = append(out, line)
			continue
		}
		for _, w := range m.Arch.Windows(p.ID.Phase, m.Params) {
			line.Window, line.File = w, arch.CacheName(p.ID.Phase, w, m.Params)+".elf"
			out = append(out, line)
		}
	}
	return out
}

// PartPrecision is a line of devkit/precision.json.
type PartPrecision struct {
	Part      string           `json:"part"`
	Index     int              `json:"idx"`
	Precision config.Precision `json:"precision"`
}

// Precisions lists what precision.json says, layer by layer.
func (m *Model) Precisions() []PartPrecision {
	var out []PartPrecision
	for l := range m.Arch.NumHiddenLayers {
		for _, phase := range addr.Phases {
			for _, part := range []addr.Part{addr.Pre, addr.Post} {
				i := slices.IndexFunc(m.Parts, func(p Part) bool { return p.ID == addr.PartID{Phase: phase, Part: part, Index: l} })
				if i >= 0 && m.Parts[i].Decision.Compile {
					name := phase.FilePrefix() + "_" + strings.ToLower(part.String())
					out = append(out, PartPrecision{name, l, m.Parts[i].Decision.Precision})
				}
			}
		}
	}
	return out
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

// Select keeps the targets that patterns name, and what they depend on. A
// pattern that names none is an error.
func (g *Graph) Select(patterns []string) error {
	if len(patterns) == 0 {
		return nil
	}
	keep := map[*Target]bool{}
	var mark func(t *Target)
	mark = func(t *Target) {
		if !keep[t] {
			keep[t] = true
			for _, d := range t.Deps {
				mark(d)
			}
		}
	}
	for _, p := range patterns {
		found := false
		for _, t := range g.Order {
			ok, err := addr.Match(p, t.Addr)
			if err != nil {
				return err
			}
			if ok {
				found = true
				mark(t)
			}
		}
		if !found {
			return fmt.Errorf("%s names no target\n  see what there is:\n    llima plan --all", p)
		}
	}
	g.Order = slices.DeleteFunc(g.Order, func(t *Target) bool { return !keep[t] })
	var errs []error
	g.Models = slices.DeleteFunc(g.Models, func(m *Model) bool {
		m.Targets = slices.DeleteFunc(m.Targets, func(t *Target) bool { return !keep[t] })
		if len(m.Targets) == 0 {
			errs = append(errs, m.Checkpoint.Close())
		}
		return len(m.Targets) == 0
	})
	return errors.Join(errs...)
}

// sort orders the targets, dependencies first, in a stable order. The library
// takes time in the square of the vertices (11 ms at 460, 1.9 s at 10,000), so
// its vertices are groups: the targets of one stage and layer of a model, none
// of which depends on another.
func (g *Graph) sort() error {
	type group struct {
		rank    int
		targets []*Target
	}
	groups := map[string]*group{}
	name := func(t *Target) string {
		return t.Addr.Model + ":" + t.Addr.Stage.String() + ":" + t.layer()
	}
	d := graph.New(graph.StringHash, graph.Directed())
	edges := map[[2]string]bool{}
	for _, m := range g.Models {
		for _, t := range m.Targets {
			of := name(t)
			if groups[of] == nil {
				groups[of] = &group{rank: len(groups)}
				if err := d.AddVertex(of); err != nil {
					return fmt.Errorf("target %s: %w", t.Addr, err)
				}
			}
			groups[of].targets = append(groups[of].targets, t)
			for _, dep := range t.Deps {
				edge := [2]string{name(dep), of}
				if edges[edge] {
					continue
				}
				edges[edge] = true
				if err := d.AddEdge(edge[0], edge[1]); err != nil {
					return fmt.Errorf("target %s: depends on %s: %w", t.Addr, dep.Addr, err)
				}
			}
		}
	}
	order, err := graph.StableTopologicalSort(d, func(a, b string) bool { return groups[a].rank < groups[b].rank })
	if err != nil {
		return err
	}
	for _, name := range order {
		g.Order = append(g.Order, groups[name].targets...)
	}
	return nil
}

// layer returns the last field of a target's unit: its layer, where it has one.
func (t *Target) layer() string {
	return t.Addr.Unit[strings.LastIndexByte(t.Addr.Unit, '.')+1:]
}
