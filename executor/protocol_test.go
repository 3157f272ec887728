package executor_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

func TestRebuildRunsNothing(t *testing.T) {
	p := newTiny(t, 2)
	first := p.mustBuild(t)
	if first.Ran == 0 || first.Fresh != 0 {
		t.Errorf("the first build: %+v", first.Summary)
	}
	before := files(t, p.dir)
	p.mustBuild(t).wantRan(t)
	if plan := p.plan(t); plan.Stale() {
		t.Errorf("the plan of a fresh build is %v", plan.Count())
	}
	sameFiles(t, files(t, p.dir), before)
}

// TestSharedPrograms holds that programs of one shape are made once.
func TestSharedPrograms(t *testing.T) {
	p := newTiny(t, 3)
	plan := p.plan(t)
	quantised.Clear()
	r := p.mustBuild(t)
	quantised.Range(func(digest, n any) bool {
		if got := n.(*counter).n; got != 1 {
			t.Errorf("the matrix %v was quantised %d times, want once for both phases", digest, got)
		}
		return true
	})
	n := 0
	for _, a := range r.ran {
		if strings.Contains(a, ".CACHE.") {
			n++
		}
	}
	if n != 6 { // three stages, two phases
		t.Errorf("%d targets of CACHE ran, want 6: %v", n, r.ran)
	}
	if got := plan.Count(); got[planner.Restore] != 12 || got[planner.Run] != len(r.ran) {
		t.Errorf("the plan of a first build counts %v, want 12 shared (three stages of CACHE, two layers, two phases) and %d run, as the build did", got, len(r.ran))
	}
}

func TestTouchAndCopyAreFresh(t *testing.T) {
	p := newTiny(t, 1)
	p.mustBuild(t)
	when := time.Now().Add(-time.Hour)
	for _, name := range []string{"source/model.safetensors", "source/config.json", "out/sima_files/elf_files/group_pre_0.elf"} {
		if err := os.Chtimes(p.path(name), when, when); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(p.path("source/model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p.path("source/model.safetensors")); err != nil {
		t.Fatal(err)
	}
	p.write(t, "source/model.safetensors", data)
	if plan := p.plan(t); plan.Stale() {
		t.Errorf("the plan after a touch is %v", plan.Count())
	}
	p.mustBuild(t).wantRan(t)
}

// TestEditWithRestoredTime changes one tensor, keeping the file's size and
// time: its ctime gives it away.
func TestEditWithRestoredTime(t *testing.T) {
	p := newTiny(t, 2)
	p.mustBuild(t)
	file := p.path("source/model.safetensors")
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	const changed = "model.layers.1.self_attn.q_proj.weight"
	p.writeCheckpoint(t, func(name string, data []byte) {
		if name == changed {
			data[0] ^= 1
		}
	})
	if err := os.Chtimes(file, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	plan := p.plan(t)
	for _, d := range plan.Decisions {
		if d.Target.Addr.String() == "m:onnx:decode.PRE.1" {
			want := fingerprint.Reason{Code: fingerprint.InputChanged, Name: "tensor/" + changed}
			if len(d.Reasons) != 1 || d.Reasons[0].Code != want.Code || d.Reasons[0].Name != want.Name {
				t.Errorf("the reasons of %s are %v, want %v", d.Target.Addr, d.Reasons, want)
			}
		}
	}
	p.mustBuild(t).wantRan(t, "m:*:*.PRE.1", "m:mpk:layer_1", "m:package")
	sameFiles(t, files(t, p.path("out")), p.clean(t))
}

// TestUnchangedOutputStopsTheBuild changes what the quantised graph does not hold.
func TestUnchangedOutputStopsTheBuild(t *testing.T) {
	p := newTiny(t, 1)
	p.mustBuild(t)
	p.writeCheckpoint(t, func(name string, data []byte) {
		if name == "model.layers.0.input_layernorm.weight" {
			data[5] ^= 1
		}
	})
	p.mustBuild(t).wantRan(t, "m:onnx:*.PRE.0", "m:quantize:*.PRE.0", "m:package")
}

// TestRuleChange edits one rule, and takes the edit back.
func TestRuleChange(t *testing.T) {
	p := newTiny(t, 3)
	old := p.rules
	p.mustBuild(t)
	before := files(t, p.path("out"))
	p.rules = func(l config.Layer) config.Decision {
		d := old(l)
		if l.Index == 1 && l.Phase == addr.Decode {
			d.Precision = config.BF16
		}
		return d
	}
	plan := p.plan(t)
	for _, d := range plan.Decisions {
		if d.Target.Addr.String() != "m:quantize:decode.PRE.1" {
			continue
		}
		if d.State != planner.Run || len(d.Reasons) != 1 || d.Reasons[0].Code != fingerprint.ParamChanged || d.Reasons[0].Old != "A_BF16_W_INT8" ||
			d.Reasons[0].New != "BF16" || !strings.Contains(d.Reasons[0].Where, "llima.hcl:7") {
			t.Errorf("quantize has %v, %+v; want the precision with old, new and line", d.State, d.Reasons)
		}
	}
	p.mustBuild(t).wantRan(t, "m:quantize:decode.P*.1", "m:compile:decode.P*.1", "m:mpk:layer_1", "m:package")
	sameFiles(t, files(t, p.path("out")), p.clean(t))
	p.rules = old
	p.mustBuild(t).wantRan(t, "m:package")
	sameFiles(t, files(t, p.path("out")), before)
}

func TestContextChange(t *testing.T) {
	p := newTiny(t, 2)
	p.mustBuild(t)
	p.context = 8
	r := p.mustBuild(t)
	for _, a := range r.ran {
		if matches(t, "m:compile:*.POST.*", a) {
			t.Errorf("%s ran for another context length", a)
		}
	}
	sameFiles(t, files(t, p.path("out")), p.clean(t))
}

func TestNotCompiled(t *testing.T) {
	p := newTiny(t, 2)
	old := p.rules
	p.mustBuild(t)
	p.write(t, "out/sima_files/mpk/notes.txt", []byte("mine"))
	p.rules = func(l config.Layer) config.Decision {
		d := old(l)
		d.Compile = l.Index != 1
		return d
	}
	p.mustBuild(t).wantRan(t, "m:package")
	got := files(t, p.path("out"))
	if _, ok := got["sima_files/mpk/notes.txt"]; !ok {
		t.Error("a file that no record lists was removed")
	}
	delete(got, "sima_files/mpk/notes.txt")
	sameFiles(t, got, p.clean(t))
}

// TestDamagedOutput deletes and changes published files and blobs.
func TestDamagedOutput(t *testing.T) {
	const elf = "out/sima_files/elf_files/group_pre_0.elf"
	for name, c := range map[string]struct {
		damage func(tb testing.TB, p *project)
		ran    []string
		code   fingerprint.Code
	}{
		"deleted": {func(tb testing.TB, p *project) {
			tb.Helper()
			if err := os.Remove(p.path(elf)); err != nil {
				tb.Fatal(err)
			}
		}, []string{"m:package"}, fingerprint.OutputMissing},
		"replaced": {func(tb testing.TB, p *project) {
			tb.Helper()
			if err := os.Remove(p.path(elf)); err != nil {
				tb.Fatal(err)
			}
			p.write(tb, elf, []byte("other"))
		}, []string{"m:package"}, fingerprint.OutputModified},
		"in place": {func(tb testing.TB, p *project) {
			tb.Helper()
			flip(tb, p.path(elf))
		}, []string{"m:package", "m:compile:prefill.PRE.0"}, fingerprint.OutputModified},
		"folder": {func(tb testing.TB, p *project) {
			tb.Helper()
			if err := os.RemoveAll(p.path("out")); err != nil {
				tb.Fatal(err)
			}
		}, []string{"m:package"}, fingerprint.OutputMissing},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTiny(t, 1)
			p.mustBuild(t)
			before := files(t, p.path("out"))
			c.damage(t, p)
			plan := p.plan(t)
			var planned []string
			codes := map[fingerprint.Code]bool{}
			for _, d := range plan.Decisions {
				if d.State == planner.Run || d.State == planner.MayRun {
					planned = append(planned, d.Target.Addr.String())
				}
				for _, r := range d.Reasons {
					codes[r.Code] = true
				}
			}
			if !codes[c.code] {
				t.Errorf("the plan gives reasons %v, want %s", codes, c.code)
			}
			r := p.mustBuild(t)
			r.wantRan(t, c.ran...)
			for _, a := range r.ran {
				if !slices.Contains(planned, a) {
					t.Errorf("%s ran and was not planned", a)
				}
			}
			sameFiles(t, files(t, p.path("out")), before)
			p.mustBuild(t).wantRan(t)
		})
	}
}

// flip changes a byte of a file in place, and restores its time.
func flip(tb testing.TB, name string) {
	tb.Helper()
	st, err := os.Stat(name)
	if err != nil {
		tb.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		tb.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(name, data, 0o644); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chtimes(name, st.ModTime(), st.ModTime()); err != nil {
		tb.Fatal(err)
	}
}

// blobs lists the store's blobs with their contents.
func blobs(tb testing.TB, p *project) []string {
	tb.Helper()
	var out []string
	for name := range files(tb, p.path(".llima/blobs")) {
		out = append(out, p.path(".llima/blobs/"+name))
	}
	slices.Sort(out)
	return out
}

// TestDamagedBlobs deletes and changes each blob of the store.
func TestDamagedBlobs(t *testing.T) {
	p := newTiny(t, 1)
	p.mustBuild(t)
	before := files(t, p.path("out"))
	all := blobs(t, p)
	for i, name := range all {
		if i%5 != 0 {
			continue
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		r := p.mustBuild(t)
		if i%10 == 0 {
			if _, err := os.Stat(name); err != nil {
				t.Errorf("blob %d was not made again (%v)", i, r.ran)
			}
		}
		flip(t, name)
		// The output is a link to the same bytes, so it has to be mended too.
		p.mustBuild(t)
		sameFiles(t, files(t, p.path("out")), before)
	}
	p.mustBuild(t).wantRan(t)
}

// TestDamagedStore cuts and overwrites each kind of file of the store.
func TestDamagedStore(t *testing.T) {
	for _, kind := range []string{"records", "actions", "digests"} {
		for name, damage := range map[string]func([]byte) []byte{
			"cut":     func(b []byte) []byte { return b[:len(b)/2] },
			"flipped": func(b []byte) []byte { b[len(b)/3] ^= 4; return b },
			"garbage": func([]byte) []byte { return []byte("\x00\xff{}\n{\"addr\":3}\n") },
			"empty":   func([]byte) []byte { return nil },
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				p := newTiny(t, 1)
				p.mustBuild(t)
				before := files(t, p.path("out"))
				found := 0
				for file := range files(t, p.path(".llima")) {
					if !strings.HasPrefix(file, kind) {
						continue
					}
					found++
					b, err := os.ReadFile(p.path(".llima/" + file))
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(p.path(".llima/"+file), damage(b), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if found == 0 {
					t.Fatalf("the store has no %s", kind)
				}
				p.plan(t)
				p.mustBuild(t)
				sameFiles(t, files(t, p.path("out")), before)
				p.mustBuild(t).wantRan(t)
			})
		}
	}
}

func TestJobsGiveSameKeys(t *testing.T) {
	p := newTiny(t, 2)
	p.jobs = 1
	p.mustBuild(t)
	one := files(t, p.path("out"))
	q := newTiny(t, 2)
	q.jobs = 8
	q.mustBuild(t)
	sameFiles(t, files(t, q.path("out")), one)
	a, b := p.plan(t), q.plan(t)
	for i, d := range a.Decisions {
		if d.Key != b.Decisions[i].Key || d.Key == "" {
			t.Errorf("%s has key %s with one job, %s with eight", d.Target.Addr, d.Key, b.Decisions[i].Key)
		}
	}
}

// TestInputChangesDuringBuild edits a tensor while it is quantised.
func TestInputChangesDuringBuild(t *testing.T) {
	for name, stage := range map[string]addr.Stage{"quantize": addr.Quantize, "package": addr.Package} {
		t.Run(name, func(t *testing.T) {
			p := newTiny(t, 1)
			p.jobs = 1
			edited := false
			p.wrap = func(kind addr.Stage, s executor.Stage) executor.Stage {
				return stageFunc(func(ctx context.Context, a *executor.Action) error {
					if kind == stage && !edited && (stage == addr.Package || a.Target.Part.Part == addr.Pre) {
						edited = true
						p.overwrite(t, "model.layers.0.self_attn.q_proj.weight")
					}
					return s.Run(ctx, a)
				})
			}
			r := p.build(t)
			if r.err == nil {
				t.Fatal("the build succeeded")
			}
			failed := slices.IndexFunc(r.events, func(e executor.Event) bool { return e.Kind == executor.Failed })
			if failed < 0 || !strings.Contains(r.events[failed].Err.Error(), "changed during the build") {
				t.Fatalf("the build says %v, want that an input changed", r.err)
			}
			p.wrap = nil
			p.mustBuild(t)
			sameFiles(t, files(t, p.path("out")), p.clean(t))
		})
	}
}

// overwrite changes a tensor's first byte in place.
func (p *project) overwrite(tb testing.TB, name string) {
	tb.Helper()
	g := p.graph(tb)
	t, ok := g.Models[0].Checkpoint.Weight(name)
	if !ok {
		tb.Fatalf("no tensor %s", name)
	}
	f, err := os.OpenFile(p.path("source/model.safetensors"), os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, t.Parts[0].Offset); err != nil {
		tb.Fatal(err)
	}
	b[0] ^= 0x55
	if _, err := f.WriteAt(b, t.Parts[0].Offset); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}

// TestYoungFiles holds that a file written a moment ago is read again: it may
// have changed without its times changing.
func TestYoungFiles(t *testing.T) {
	p := newTiny(t, 1)
	p.now = time.Now
	p.mustBuild(t)
	p.mustBuild(t).wantRan(t)
	b, err := os.ReadFile(p.path(".llima/digests.json"))
	if err == nil && bytes.Contains(b, []byte("model.safetensors")) {
		t.Error("the digests of a young file are remembered")
	}
}

func TestFailure(t *testing.T) {
	p := newTiny(t, 2)
	boom := errors.New("boom")
	p.wrap = func(kind addr.Stage, s executor.Stage) executor.Stage {
		return stageFunc(func(ctx context.Context, a *executor.Action) error {
			if kind == addr.Compile && a.Target.Part.Part == addr.Pre && a.Target.Part.Index == 0 {
				if _, err := a.Log.Write([]byte("one\ntwo\n")); err != nil {
					return err
				}
				return boom
			}
			return s.Run(ctx, a)
		})
	}
	p.options = func(o *executor.Options) { o.KeepGoing = true }
	r := p.build(t)
	var failed *executor.FailedError
	if !errors.As(r.err, &failed) || len(failed.Targets) != 2 {
		t.Fatalf("Build = %v, want two failed targets", r.err)
	}
	if r.Skipped != 2 || r.Failed != 2 { // an archive and the package
		t.Errorf("the summary is %+v", r.Summary)
	}
	i := slices.IndexFunc(r.events, func(e executor.Event) bool { return e.Kind == executor.Failed })
	if !errors.Is(r.events[i].Err, boom) || r.events[i].Message != "one\ntwo" {
		t.Errorf("the failure says %v, %q", r.events[i].Err, r.events[i].Message)
	}
	p.wrap, p.options = nil, nil
	p.mustBuild(t).wantRan(t, "m:compile:*.PRE.0", "m:mpk:layer_0", "m:package")
	sameFiles(t, files(t, p.path("out")), p.clean(t))
	if left := files(t, p.path(".llima/tmp")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestInterrupt(t *testing.T) {
	p := newTiny(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	p.jobs = 1
	s := p.store(t)
	opt := executor.Options{Jobs: 1, Stages: stages, Now: time.Now, Step: func(string, *planner.Target) error {
		if n++; n == 30 {
			cancel()
		}
		return nil
	}}
	if _, err := executor.Build(ctx, p.graph(t), s, opt); !errors.Is(err, context.Canceled) {
		t.Fatalf("Build = %v, want %v", err, context.Canceled)
	}
	p.mustBuild(t)
	sameFiles(t, files(t, p.path("out")), p.clean(t))
}

// TestOutputMoves holds that another output folder is filled, and that files
// of a person in it are left alone though the old folder had such names.
func TestOutputMoves(t *testing.T) {
	p := newTiny(t, 2)
	old := p.rules
	p.mustBuild(t)
	p.output = "elsewhere"
	p.write(t, "elsewhere/sima_files/mpk/layer_1.tar.gz", []byte("mine"))
	p.rules = func(l config.Layer) config.Decision {
		d := old(l)
		d.Compile = l.Index != 1
		return d
	}
	p.mustBuild(t)
	b, err := os.ReadFile(p.path("elsewhere/sima_files/mpk/layer_1.tar.gz"))
	if err != nil || string(b) != "mine" {
		t.Errorf("the file of a person is %q, %v", b, err)
	}
}

// TestModelsShareAStore builds two models of one checkpoint at once: their
// outputs are their own, what they have in common is stored once.
func TestModelsShareAStore(t *testing.T) {
	p := newTiny(t, 2)
	one, two := *p, *p
	one.name, one.output = "one", "out/one"
	two.name, two.output, two.rules = "two", "out/two", precision(config.BF16)
	done := make(chan result)
	for _, q := range []*project{&one, &two} {
		go func() { done <- q.build(t) }()
	}
	for range 2 {
		if r := <-done; r.err != nil {
			t.Fatal(r.err)
		}
	}
	sameFiles(t, files(t, p.path("out/one")), one.clean(t))
	sameFiles(t, files(t, p.path("out/two")), two.clean(t))
	one.mustBuild(t).wantRan(t)
	two.mustBuild(t).wantRan(t)
	three := one
	three.name, three.output = "three", "out/three"
	three.mustBuild(t).wantRan(t, "three:package")
	sameFiles(t, files(t, p.path("out/three")), files(t, p.path("out/one")))
}

// TestOneOutputForTwo refuses models that would publish into one folder, by
// whatever name.
func TestOneOutputForTwo(t *testing.T) {
	p := newTiny(t, 1)
	p.write(t, "real/keep", nil)
	if err := os.Symlink("real", p.path("link")); err != nil {
		t.Skip(err)
	}
	a, b := p.model("a"), p.model("b")
	a.Output, b.Output = p.path("real/out"), p.path("link/./out")
	g, diags := planner.New([]*config.Model{a, b}, nil)
	if !diags.HasErrors() || !strings.Contains(diags.Error(), `"a" and "b"`) {
		t.Errorf("New = %v, want that both have one output", diags)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func TestOrder(t *testing.T) {
	g := newTiny(t, 3).graph(t)
	at := map[*planner.Target]int{}
	for i, target := range g.Order {
		at[target] = i
		for _, d := range target.Deps {
			if j, ok := at[d]; !ok || j >= i {
				t.Errorf("%s is at %d, before its dependency %s", target.Addr, i, d.Addr)
			}
		}
	}
	if want := 1 + 3*2*3*3 + 3 + 1 + 1; len(g.Order) != want {
		t.Errorf("%d targets, want %d", len(g.Order), want)
	}
}
