package executor_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// project is a folder with a tiny checkpoint and the settings of one model.
type project struct {
	dir     string // of llima.hcl
	name    string // of the model
	layers  int
	context int
	output  string // relative to dir
	rules   rules
	jobs    int
	now     func() time.Time
	options func(*executor.Options) // changes the options of each build, or nil
	wrap    func(addr.Stage, executor.Stage) executor.Stage
}

// rules decides by a function.
type rules func(config.Layer) config.Decision

func (r rules) Decide(_ config.Properties, l config.Layer) (config.Decision, diag.List) {
	return r(l), nil
}
func (rules) List() []config.Rule { return []config.Rule{{Name: "all"}} }

// precision is the rule that gives every part one precision.
func precision(p config.Precision) rules {
	return func(config.Layer) config.Decision {
		return config.Decision{Precision: p, Compile: true, Where: diag.Range{File: "llima.hcl", Start: diag.Pos{Line: 7}}}
	}
}

// tinyDir makes a folder for a tiny project: in memory where the system has a
// place for that, since there are hundreds of them and every build waits for
// the disk.
func tinyDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "llima-test-") //nolint:usetesting // not where the others are
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

func newTiny(tb testing.TB, layers int) *project {
	tb.Helper()
	p := &project{dir: tinyDir(tb), name: "m", layers: layers, context: 4, output: "out", rules: precision(config.INT8), jobs: 2, now: later}
	p.writeCheckpoint(tb, nil)
	return p
}

const tinyConfig = `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "num_hidden_layers": %d,
"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16, "vocab_size": 32, "tie_word_embeddings": true,
"max_position_embeddings": 4096, "eos_token_id": 1}
`

// writeCheckpoint writes every file of the checkpoint; edit may change a
// tensor's bytes.
func (p *project) writeCheckpoint(tb testing.TB, edit func(name string, data []byte)) {
	tb.Helper()
	configJSON := fmt.Appendf(nil, tinyConfig, p.layers)
	cfg, err := arch.Parse(configJSON)
	if err != nil {
		tb.Fatal(err)
	}
	names := []string{cfg.EmbeddingName()}
	for _, id := range cfg.Parts() {
		names = append(names, cfg.TensorNames(id)...)
	}
	slices.Sort(names)
	var tensors []safetensors.Tensor
	for _, name := range slices.Compact(names) {
		shape, err := cfg.Shape(name)
		if err != nil {
			tb.Fatal(err)
		}
		info := tensor.Info{Name: name, DType: tensor.BF16, Shape: shape}
		size, err := info.SizeBytes()
		if err != nil {
			tb.Fatal(err)
		}
		seed := sha256.Sum256([]byte(name))
		data := bytes.Repeat(seed[:], int(size)/len(seed)+1)[:size]
		if edit != nil {
			edit(name, data)
		}
		tensors = append(tensors, safetensors.Tensor{Info: info, Data: data})
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, tensors, nil); err != nil {
		tb.Fatal(err)
	}
	p.write(tb, "source/config.json", configJSON)
	p.write(tb, "source/tokenizer.json", []byte("{}"))
	p.write(tb, "source/model.safetensors", b.Bytes())
}

func (p *project) path(name string) string { return filepath.Join(p.dir, filepath.FromSlash(name)) }

func (p *project) write(tb testing.TB, name string, data []byte) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(p.path(name)), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(p.path(name), data, 0o644); err != nil {
		tb.Fatal(err)
	}
}

func (p *project) model(name string) *config.Model {
	return &config.Model{
		Name: name, Source: p.path("source"), Output: p.path(p.output), SourceText: "source", Format: "hf",
		ContextTokens: p.context, GroupTokens: 2, MaskTokens: 2, ExternalData: "auto", Precision: config.BF16, Rules: p.rules,
		ContextRange: diag.Range{File: "llima.hcl", Start: diag.Pos{Line: 3}},
	}
}

// graph returns the graph of the project's model; it is closed with the test.
func (p *project) graph(tb testing.TB) *planner.Graph {
	tb.Helper()
	g, diags := planner.New([]*config.Model{p.model(p.name)}, nil)
	if diags.HasErrors() {
		tb.Fatal(diags)
	}
	tb.Cleanup(func() { _ = g.Close() })
	return g
}

func (p *project) store(tb testing.TB) *store.Store {
	tb.Helper()
	s, err := store.Open(p.dir, p.now)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// plan says what a build would do, as a process of its own would.
func (p *project) plan(tb testing.TB) *planner.Plan {
	tb.Helper()
	s := p.store(tb)
	plan, err := planner.Evaluate(p.graph(tb), s)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	return plan
}

// result is what a build did.
type result struct {
	executor.Summary
	ran    []string // addresses, sorted
	events []executor.Event
	err    error
}

// build builds as a process of its own would.
func (p *project) build(tb testing.TB) result {
	tb.Helper()
	s := p.store(tb)
	var r result
	opt := executor.Options{
		Jobs: p.jobs, Stages: map[addr.Stage]executor.Stage{}, Now: time.Now, Holder: "pid 1 on host: llima build",
		Events: func(e executor.Event) {
			r.events = append(r.events, e)
			if e.Kind == executor.Finished && e.State == planner.Run {
				r.ran = append(r.ran, e.Target.Addr.String())
			}
		},
	}
	for name, stage := range stages {
		opt.Stages[name] = stage
		if p.wrap != nil {
			opt.Stages[name] = p.wrap(name, stage)
		}
	}
	if p.options != nil {
		p.options(&opt)
	}
	r.Summary, r.err = executor.Build(tb.Context(), p.graph(tb), s, opt)
	slices.Sort(r.ran)
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	return r
}

func (p *project) mustBuild(tb testing.TB) result {
	tb.Helper()
	r := p.build(tb)
	if r.err != nil {
		for _, e := range r.events {
			if e.Kind == executor.Failed {
				tb.Logf("%s: %v", e.Target.Addr, e.Err)
			}
		}
		tb.Fatal(r.err)
	}
	return r
}

// wantRan fails the test unless exactly the targets that match a pattern ran.
func (r result) wantRan(tb testing.TB, patterns ...string) {
	tb.Helper()
	for _, pattern := range patterns {
		if !slices.ContainsFunc(r.ran, func(a string) bool { return matches(tb, pattern, a) }) {
			tb.Errorf("nothing ran that matches %q", pattern)
		}
	}
	for _, a := range r.ran {
		if !slices.ContainsFunc(patterns, func(pattern string) bool { return matches(tb, pattern, a) }) {
			tb.Errorf("%s ran, want only %q", a, patterns)
		}
	}
}

func matches(tb testing.TB, pattern, address string) bool {
	tb.Helper()
	t, err := addr.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	ok, err := addr.Match(pattern, t)
	if err != nil {
		tb.Fatal(err)
	}
	return ok
}

// files returns the digests of the files below a folder.
func files(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(name)
		out[filepath.ToSlash(rel)] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// sameFiles fails the test where two folders differ.
func sameFiles(tb testing.TB, got, want map[string]string) {
	tb.Helper()
	for name, digest := range want {
		if got[name] != digest {
			tb.Errorf("%s has digest %.12s, want %.12s", name, got[name], digest)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			tb.Errorf("%s is there, and should not be", name)
		}
	}
}

// clean returns the output of a build of the same settings in a new folder.
func (p *project) clean(tb testing.TB) map[string]string {
	tb.Helper()
	q := *p
	q.dir, q.options, q.wrap = tinyDir(tb), nil, nil
	if err := os.CopyFS(q.path("source"), os.DirFS(p.path("source"))); err != nil {
		tb.Fatal(err)
	}
	q.mustBuild(tb)
	return files(tb, q.path(q.output))
}

// stages are small stand-ins whose outputs depend on all that they read.
var stages = map[addr.Stage]executor.Stage{
	addr.Devkit:   stageFunc(devkit),
	addr.ONNX:     stageFunc(float),
	addr.Quantize: stageFunc(quantize),
	addr.Compile:  join(".onnx", ".elf"),
	addr.MPK:      stageFunc(archive),
	addr.Package:  stageFunc(publish),
}

type stageFunc func(context.Context, *executor.Action) error

func (f stageFunc) Run(ctx context.Context, a *executor.Action) error { return f(ctx, a) }

func devkit(_ context.Context, a *executor.Action) error {
	for _, src := range a.Target.Sources {
		if name, ok := strings.CutPrefix(src.Name, "file/"); ok {
			data, _, err := a.Target.Model.Checkpoint.Aux(name)
			if err != nil {
				return err
			}
			if err := a.WriteFile(name, data); err != nil {
				return err
			}
		}
	}
	if err := a.WriteFile("tables.bin", make([]byte, a.Target.Model.Params.ContextTokens)); err != nil {
		return err
	}
	return a.Refer("embeddings.bin", a.Target.Model.Arch.EmbeddingName())
}

func float(_ context.Context, a *executor.Action) error {
	params, err := json.Marshal(a.Target.Params)
	if err != nil {
		return err
	}
	m, id := a.Target.Model, a.Target.Part
	if id.Part != addr.Cache {
		return a.WriteFile(id.FileName()+".onnx", params)
	}
	for _, w := range m.Arch.Windows(id.Phase, m.Params) {
		if err := a.WriteFile(arch.CacheName(id.Phase, w, m.Params)+".onnx", fmt.Appendf(params, "%d", w)); err != nil {
			return err
		}
	}
	return nil
}

// quantize inlines the first byte of vectors, so that a change elsewhere in
// them changes nothing downstream.
func quantize(_ context.Context, a *executor.Action) error {
	var head []byte
	bf16 := true
	for _, part := range a.Target.Model.Parts {
		if part.ID == a.Target.Part {
			bf16 = part.Decision.Precision == config.BF16
			head = []byte(part.Decision.Precision)
		}
	}
	if a.Target.Part.Part == addr.Cache {
		head = nil
	}
	for _, src := range a.Target.Sources {
		name := strings.TrimPrefix(src.Name, "tensor/")
		t, _ := a.Target.Model.Checkpoint.Weight(name)
		data, err := a.Tensor(name)
		switch {
		case err != nil:
		case len(t.Shape) == 1:
			head = append(head, data[0])
		case bf16:
			err = a.Refer("weights/"+name+".bf16", name)
		default:
			err = memo(a, name)
		}
		if err != nil {
			return err
		}
	}
	for _, in := range a.Inputs() {
		b, err := a.Bytes(in)
		if err != nil {
			return err
		}
		if err := a.WriteFile(in.Name, slices.Concat(head, b[:min(len(b), 20)], []byte(in.Name))); err != nil {
			return err
		}
	}
	return nil
}

// quantised counts how often a tensor was quantised.
var quantised sync.Map

func memo(a *executor.Action, name string) error {
	inputs, err := a.TensorDigests(name)
	if err != nil {
		return err
	}
	p := fingerprint.Preimage{Stage: "tensor", Version: 1, Inputs: inputs}
	return a.Memo("weights/"+name+".int8", p, func(file string) error {
		data, err := a.Tensor(name)
		if err != nil {
			return err
		}
		n, _ := quantised.LoadOrStore(inputs[0].Digest, new(counter))
		n.(*counter).add()
		return os.WriteFile(file, data[:len(data)/2], 0o644)
	})
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

// join makes a file of each input with the suffix, and of all weights.
func join(from, to string) stageFunc {
	return func(_ context.Context, a *executor.Action) error {
		var weights []byte
		for _, in := range a.Inputs() {
			if strings.HasPrefix(in.Name, "weights/") {
				b, err := a.Bytes(in)
				if err != nil {
					return err
				}
				weights = append(weights, b...)
			}
		}
		for _, in := range a.Inputs() {
			name, ok := strings.CutSuffix(in.Name, from)
			if !ok {
				continue
			}
			b, err := a.Bytes(in)
			if err != nil {
				return err
			}
			f, err := a.Create(name + to)
			if err != nil {
				return err
			}
			if _, err := io.MultiWriter(f, a.Log).Write(slices.Concat(b, weights)); err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
		return nil
	}
}

func archive(_ context.Context, a *executor.Action) error {
	var all []byte
	for _, in := range a.Inputs() {
		b, err := a.Bytes(in)
		if err != nil {
			return err
		}
		all = append(all, b...)
	}
	return a.WriteFile(a.Target.Addr.Unit+".tar.gz", all)
}

var folders = map[addr.Stage]string{
	addr.Devkit: "sima_files/devkit", addr.ONNX: "onnx_files", addr.Quantize: "sima_files/model_sdk",
	addr.Compile: "sima_files/elf_files", addr.MPK: "sima_files/mpk",
}

func publish(_ context.Context, a *executor.Action) error {
	var entries []store.Entry
	ck := a.Target.Model.Checkpoint
	for _, in := range a.Inputs() {
		e := store.Entry{
			Path: path.Join(folders[in.From.Addr.Stage], in.Name), Source: in.Digest,
			NoLink: strings.HasPrefix(in.Name, "weights/"),
		}
		if in.Tensor != "" {
			w, _ := ck.Weight(in.Tensor)
			p := w.Parts[0]
			e.File, e.Offset, e.Length = filepath.Join(ck.Dir(), p.File), p.Offset, p.Length
		}
		entries = append(entries, e)
	}
	for _, src := range a.Target.Sources {
		digest, err := a.SourceDigest(src)
		if err != nil {
			return err
		}
		entries = append(entries, store.Entry{Path: "onnx_files/" + path.Base(src.Name), Source: digest, File: src.Path})
	}
	programs, err := json.Marshal(a.Target.Model.Programs())
	if err != nil {
		return err
	}
	if err := a.WriteFile("index.json", programs); err != nil {
		return err
	}
	kept, err := a.Keep("index.json")
	if err != nil {
		return err
	}
	a.Publish(append(entries, store.Entry{Path: "sima_files/elf_files/index.json", Source: kept.Digest}))
	return nil
}
