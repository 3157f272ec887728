package planner_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// facts is a world of earlier builds, set by hand.
type facts struct {
	digests map[string]fingerprint.Digest
	records map[string]planner.Record
	results map[fingerprint.Digest]result
	problem string
	lost    []fingerprint.Reason
}

// result is what was made under a key.
type result struct {
	preimage fingerprint.Preimage
	outputs  []planner.Output
}

func (f *facts) Digest(s planner.Source) (fingerprint.Digest, error) { return f.digests[s.Name], nil }

func (f *facts) Record(a addr.Target) (planner.Record, bool, string) {
	rec, ok := f.records[a.String()]
	return rec, ok, f.problem
}

func (f *facts) Result(key fingerprint.Digest) ([]planner.Output, []fingerprint.Reason, bool) {
	r, ok := f.results[key]
	return r.outputs, f.lost, ok
}

func (f *facts) Preimage(key fingerprint.Digest) (fingerprint.Preimage, bool) {
	r, ok := f.results[key]
	return r.preimage, ok
}

func (f *facts) Modified(string, []planner.Published) []fingerprint.Reason { return nil }

func target() *planner.Target {
	t := &planner.Target{
		Addr: addr.Target{Model: "m", Stage: addr.Quantize, Unit: "prefill.PRE.0"}, Version: 1,
		Params: fingerprint.Params{}, Where: map[string]string{"precision": "rule x (llima.hcl:3)"},
		Sources: []planner.Source{{Name: "tensor/w"}},
		Deps:    []*planner.Target{{Addr: addr.Target{Model: "m", Stage: addr.ONNX, Unit: "prefill.PRE.0"}}},
	}
	t.Params.Set("precision", "BF16")
	return t
}

var upstream = [][]planner.Output{{{Name: "g.onnx", Digest: "sha256:a"}}}

// TestDecide walks a target through the reasons for which it may be stale.
func TestDecide(t *testing.T) {
	world := func() *facts {
		return &facts{
			digests: map[string]fingerprint.Digest{"tensor/w": "sha256:1"},
			records: map[string]planner.Record{}, results: map[fingerprint.Digest]result{},
		}
	}
	decide := func(tt *planner.Target, f *facts) planner.Decision {
		d, err := planner.Decide(tt, upstream, f)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := decide(target(), world())
	built := planner.Record{Key: first.Key}
	made := result{first.Preimage, []planner.Output{{Name: "o"}}}
	for _, c := range []struct {
		name   string
		change func(tt *planner.Target, f *facts)
		state  planner.State
		want   fingerprint.Reason
	}{
		{"fresh", func(*planner.Target, *facts) {}, planner.Fresh, fingerprint.Reason{}},
		{"never built", func(_ *planner.Target, f *facts) { clear(f.records); clear(f.results) }, planner.Run, fingerprint.Reason{Code: fingerprint.NeverBuilt}},
		{
			"begun", func(tt *planner.Target, f *facts) { f.records[tt.Addr.String()] = planner.Record{}; clear(f.results) },
			planner.Run,
			fingerprint.Reason{Code: fingerprint.Interrupted},
		},
		{
			"damaged record", func(_ *planner.Target, f *facts) { f.problem = "damaged"; clear(f.results) },
			planner.Run,
			fingerprint.Reason{Code: fingerprint.Interrupted, Name: "damaged"},
		},
		{
			"parameter", func(tt *planner.Target, _ *facts) { tt.Params.Set("precision", "A_BF16_W_INT8") },
			planner.Run,
			fingerprint.Reason{Code: fingerprint.ParamChanged, Name: "precision", Old: "BF16", New: "A_BF16_W_INT8", Where: "rule x (llima.hcl:3)"},
		},
		{
			"parameter gone", func(tt *planner.Target, _ *facts) { delete(tt.Params, "precision") },
			planner.Run,
			fingerprint.Reason{Code: fingerprint.ParamChanged, Name: "precision", Old: "BF16", Where: "rule x (llima.hcl:3)"},
		},
		{
			"tensor", func(_ *planner.Target, f *facts) { f.digests["tensor/w"] = "sha256:2" },
			planner.Run,
			fingerprint.Reason{Code: fingerprint.InputChanged, Name: "tensor/w", Old: "sha256:1", New: "sha256:2"},
		},
		{
			"one more", func(tt *planner.Target, f *facts) {
				tt.Sources = append(tt.Sources, planner.Source{Name: "tensor/b"})
				f.digests["tensor/b"] = "sha256:3"
			}, planner.Run, fingerprint.Reason{Code: fingerprint.InputAdded, Name: "tensor/b", New: "sha256:3"},
		},
		{
			"one less", func(tt *planner.Target, _ *facts) { tt.Sources = nil },
			planner.Run,
			fingerprint.Reason{Code: fingerprint.InputRemoved, Name: "tensor/w", Old: "sha256:1"},
		},
		{
			"version", func(tt *planner.Target, _ *facts) { tt.Version = 2 },
			planner.Run,
			fingerprint.Reason{Code: fingerprint.ToolChanged, Name: "quantize", Old: "1", New: "2"},
		},
		{
			"forced", func(tt *planner.Target, _ *facts) { tt.Force = true },
			planner.Run,
			fingerprint.Reason{Code: fingerprint.Forced},
		},
		{
			"blob gone", func(_ *planner.Target, f *facts) {
				f.lost = []fingerprint.Reason{{Code: fingerprint.OutputMissing, Name: "o"}}
			},
			planner.Run,
			fingerprint.Reason{Code: fingerprint.OutputMissing, Name: "o"},
		},
		{
			"made before", func(_ *planner.Target, f *facts) { clear(f.records) },
			planner.Restore,
			fingerprint.Reason{Code: fingerprint.NeverBuilt},
		},
	} {
		tt, f := target(), world()
		f.records[tt.Addr.String()], f.results[built.Key] = built, made
		c.change(tt, f)
		d := decide(tt, f)
		if d.State != c.state {
			t.Errorf("%s: state %v, want %v", c.name, d.State, c.state)
		}
		want := []fingerprint.Reason{c.want}
		if c.state == planner.Fresh {
			want = nil
		}
		if !slices.Equal(d.Reasons, want) {
			t.Errorf("%s: reasons %+v, want %+v", c.name, d.Reasons, want)
		}
	}
	// What another target made is told apart from what came from outside.
	f := world()
	f.records[target().Addr.String()], f.results[built.Key] = built, made
	d, err := planner.Decide(target(), [][]planner.Output{{{Name: "g.onnx", Digest: "sha256:b"}}}, f)
	if want := (fingerprint.Reason{Code: fingerprint.UpstreamChanged, Name: "onnx/g.onnx", Old: "sha256:a", New: "sha256:b"}); err != nil || len(d.Reasons) != 1 || d.Reasons[0] != want {
		t.Errorf("reasons %+v, %v, want %+v", d.Reasons, err, want)
	}
}

// TestKeyIsPinned guards the form of keys: changing it makes everything stale
// for everybody, which has to be meant.
func TestKeyIsPinned(t *testing.T) {
	p := fingerprint.Preimage{Stage: "onnx", Version: 1, Params: fingerprint.Params{}, Inputs: []fingerprint.Input{{Name: "b", Digest: "sha256:2"}, {Name: "a", Digest: "sha256:1"}, {Name: "a", Digest: "sha256:1"}}}
	p.Params.Set("z", 1)
	p.Params.Set("a", []string{"x"})
	if err := p.Normalize(); err != nil {
		t.Fatal(err)
	}
	want := fingerprint.Sum([]byte("llima-fp/1\n" + `{"stage":"onnx","version":1,"params":{"a":["x"],"z":1},"inputs":[{"name":"a","digest":"sha256:1"},{"name":"b","digest":"sha256:2"}]}`))
	if got := p.Key(); got != want {
		t.Errorf("Key = %s, want %s", got, want)
	}
	p.Inputs = append(p.Inputs, fingerprint.Input{Name: "a", Digest: "sha256:9"})
	if err := p.Normalize(); err == nil {
		t.Error("one name with two digests was accepted")
	}
}

// TestDecidePicks holds that a target which picks outputs of a dependency
// depends on no others.
func TestDecidePicks(t *testing.T) {
	key := func(outputs ...planner.Output) fingerprint.Digest {
		tt := target()
		tt.Picks = map[*planner.Target][]string{tt.Deps[0]: {"a", "b"}}
		f := &facts{digests: map[string]fingerprint.Digest{"tensor/w": "sha256:1"}}
		d, err := planner.Decide(tt, [][]planner.Output{outputs}, f)
		if err != nil {
			t.Fatal(err)
		}
		return d.Key
	}
	want := key(planner.Output{Name: "a", Digest: "sha256:1"}, planner.Output{Name: "c", Digest: "sha256:1"})
	for _, c := range []struct {
		name    string
		outputs []planner.Output
		same    bool
	}{
		{"another output changed", []planner.Output{{Name: "a", Digest: "sha256:1"}, {Name: "c", Digest: "sha256:2"}}, true},
		{"another output is gone", []planner.Output{{Name: "a", Digest: "sha256:1"}}, true},
		{"its output changed", []planner.Output{{Name: "a", Digest: "sha256:2"}, {Name: "c", Digest: "sha256:1"}}, false},
		{"its other output appeared", []planner.Output{{Name: "a", Digest: "sha256:1"}, {Name: "b", Digest: "sha256:1"}}, false},
	} {
		if got := key(c.outputs...); (got == want) != c.same {
			t.Errorf("%s: same key %v, want %v", c.name, got == want, c.same)
		}
	}
}

// TestDecideWithUnknownInputs holds that a target whose dependency has yet to
// run is said to run only where something else changed for certain.
func TestDecideWithUnknownInputs(t *testing.T) {
	f := &facts{
		digests: map[string]fingerprint.Digest{"tensor/w": "sha256:1"},
		records: map[string]planner.Record{}, results: map[fingerprint.Digest]result{},
	}
	d, err := planner.Decide(target(), upstream, f)
	if err != nil {
		t.Fatal(err)
	}
	f.records[target().Addr.String()], f.results[d.Key] = planner.Record{Key: d.Key}, result{preimage: d.Preimage}
	unknown := [][]planner.Output{nil}
	if d, err = planner.Decide(target(), unknown, f); err != nil || d.State != planner.MayRun || len(d.Reasons) != 0 || d.Key != "" {
		t.Errorf("Decide = %v, %v, %v, want that it may run", d.State, d.Reasons, err)
	}
	changed := target()
	changed.Params.Set("precision", "A_BF16_W_INT4")
	if d, err = planner.Decide(changed, unknown, f); err != nil || d.State != planner.Run || len(d.Reasons) != 1 || d.Reasons[0].Name != "precision" {
		t.Errorf("Decide = %v, %v, %v, want that it runs for its precision", d.State, d.Reasons, err)
	}
}

// TestEvaluateTwins holds that of targets which will have one key the first
// runs and the others wait for it, also where the key is not known yet.
func TestEvaluateTwins(t *testing.T) {
	unit := func(stage addr.Stage, layer int, params string, deps ...*planner.Target) *planner.Target {
		tt := &planner.Target{
			Addr: addr.Target{Model: "m", Stage: stage, Unit: fmt.Sprintf("prefill.CACHE.%d", layer)}, Version: 1,
			Params: fingerprint.Params{}, Deps: deps, Model: &planner.Model{Config: &config.Model{}},
		}
		tt.Params.Set("of", params)
		return tt
	}
	a, b, c := unit(addr.ONNX, 0, "same"), unit(addr.ONNX, 1, "same"), unit(addr.ONNX, 2, "other")
	x, y, z := unit(addr.Quantize, 0, "same", a), unit(addr.Quantize, 1, "same", b), unit(addr.Quantize, 2, "same", c)
	pack := unit(addr.Package, 0, "same", x, y, z)
	p, err := planner.Evaluate(&planner.Graph{Order: []*planner.Target{a, b, c, x, y, z, pack}}, &facts{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []*planner.Target{nil, a, nil, nil, x, nil, nil} {
		d := p.Decisions[i]
		state := planner.Run
		if want != nil {
			state = planner.Restore
		}
		if d.With != want || d.State != state {
			t.Errorf("%s: %v with %v, want %v with %v", d.Target.Addr, d.State, d.With, state, want)
		}
	}
}

// TestKeyIsJSON compares the text of keys with encoding/json's.
func TestKeyIsJSON(t *testing.T) {
	p := fingerprint.Preimage{Stage: "a<b>&\"\\\t\u2028é", Params: fingerprint.Params{}, Inputs: []fingerprint.Input{{Name: "\x7f\x00 ü", Digest: "sha256:1"}, {Name: "tensor/a.b", Digest: "x"}}}
	p.Params.Set("k<\n", map[string]any{"b": 1.5e-7, "a": []int{1}})
	p.Params.Set("a", nil)
	want, err := json.Marshal(&p)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.AppendJSON(nil); !bytes.Equal(got, want) {
		t.Errorf("AppendJSON = %s\nwant %s", got, want)
	}
}
