package main_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/llima-build/llima/formats/dataset"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix/measure"
)

// sensitivityProject writes a project with blocks in its one model, and a
// text that makes three windows of 128 tokens.
func sensitivityProject(t *testing.T, settings string) (dir, text string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	play, err := os.ReadFile(filepath.Join(root, "testdata/text/eval-tempest.txt"))
	if err != nil {
		t.Fatal(err)
	}
	text = filepath.Join(dir, "play.txt")
	if err := os.WriteFile(text, play[20000:21400], 0o600); err != nil {
		t.Fatal(err)
	}
	writeProject(t, dir, root, settings)
	return dir, text
}

func writeProject(t *testing.T, dir, root, settings string) {
	t.Helper()
	hcl := "locals {\n  source = \"" + filepath.ToSlash(filepath.Join(root, "testdata/models/bard-3m")) + "\"\n}\n"
	for _, p := range []string{"BF16", "A_BF16_W_INT8", "A_BF16_W_INT4"} {
		hcl += "model \"" + p + "\" {\n  source = local.source\n  output = \"out/" + p + "\"\n  context_length = 256\n  return_logits = true\n  precision = \"" + p + "\"\n}\n"
	}
	hcl += "model \"m\" {\n  source = local.source\n  output = \"out/m\"\n  context_length = 256\n  return_logits = true\n" + settings + "}\n"
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(hcl), 0o600); err != nil {
		t.Fatal(err)
	}
}

func openMeasured(t *testing.T, dir, name string) *measure.Model {
	t.Helper()
	m, err := measure.Open(filepath.Join(dir, "out", name, "sima_files"), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func openBench(t *testing.T, dir string) *measure.Bench {
	t.Helper()
	return &measure.Bench{
		Reference: openMeasured(t, dir, "BF16"),
		Others:    []*measure.Model{openMeasured(t, dir, "A_BF16_W_INT8"), openMeasured(t, dir, "A_BF16_W_INT4")},
	}
}

// cutText cuts a text into windows of 128 tokens.
func cutText(t *testing.T, m *measure.Model, path string) []dataset.Window {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	windows, err := m.Windows(t.Context(), &dataset.File{Name: "text", Reader: bytes.NewReader(b), SizeBytes: int64(len(b))}, dataset.EveryToken, 128)
	if err != nil {
		t.Fatal(err)
	}
	return windows
}

// TestMixtures compares mixtures with whole outputs: each with what comparing
// a model that runs the same programs says, and one with a build of its own.
func TestMixtures(t *testing.T) {
	dir, text := sensitivityProject(t, `
  layer "some" {
    when      = layer.is_group && layer.index < 2 && layer.part == "POST"
    precision = "A_BF16_W_INT4"
  }
  layer "rest" {
    when      = layer.index == 3
    precision = "A_BF16_W_INT8"
  }
`)
	llima(t, "build", "-C", dir, "--progress=quiet")
	bench, reference := openBench(t, dir), openMeasured(t, dir, "BF16")
	windows := cutText(t, reference, text)[:3]
	part := func(phase addr.Phase, part addr.Part, layer, other int) measure.Substitute {
		return measure.Substitute{ID: addr.PartID{Phase: phase, Part: part, Index: layer}, Other: other}
	}
	mixed := func(phase addr.Phase) []measure.Substitute {
		list := []measure.Substitute{part(phase, addr.Pre, 3, 0), part(phase, addr.Post, 3, 0)}
		if phase == addr.Prefill {
			list = append(list, part(phase, addr.Post, 0, 1), part(phase, addr.Post, 1, 1))
		}
		return list
	}
	mixtures := []measure.Mixture{
		{Phase: addr.Prefill},
		{Phase: addr.Prefill, Parts: []measure.Substitute{part(addr.Prefill, addr.Post, 0, 1)}},
		{Phase: addr.Decode, Parts: []measure.Substitute{part(addr.Decode, addr.Pre, 3, 0)}},
		{Phase: addr.Prefill, Parts: mixed(addr.Prefill)},
		{Phase: addr.Decode, Parts: mixed(addr.Decode)},
		{Phase: addr.Prefill, Parts: []measure.Substitute{part(addr.Prefill, addr.Post, 3, 1)}},
	}
	o := measure.MixtureOptions{Benches: []*measure.Bench{bench}, Windows: windows}
	var done, total int64
	o.Progress = func(d, all int64) {
		if d < done || all != total && total != 0 {
			t.Errorf("progress went from %d of %d to %d of %d", done, total, d, all)
		}
		done, total = d, all
	}
	got, err := measure.Mixtures(t.Context(), o, mixtures)
	if err != nil {
		t.Fatal(err)
	}
	if done != total || total == 0 {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	for i, m := range mixtures {
		want := compareWhole(t, bench, reference, m, windows)
		checkFigure(t, m, got[i], want)
	}
	own := openMeasured(t, dir, "m")
	for _, i := range []int{3, 4} {
		r, err := measure.Compare(t.Context(), measure.Options{Model: own, Reference: reference, Windows: windows, Phase: mixtures[i].Phase})
		if err != nil {
			t.Fatal(err)
		}
		checkFigure(t, mixtures[i], got[i], r.Reference.KL)
	}
	o.Benches, o.Progress = append(o.Benches, openBench(t, dir), openBench(t, dir)), nil
	again, err := measure.Mixtures(t.Context(), o, mixtures)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		checkFigure(t, mixtures[i], again[i], got[i])
	}
	o.Benches = o.Benches[:1]
	checkKept(t, o, mixtures, got)
}

// runs keeps what runs give in memory.
type runs struct {
	known map[string]float64
	put   []string
}

func (r *runs) Get(run string) (float64, bool) { kl, ok := r.known[run]; return kl, ok }

func (r *runs) Put(run string, kl float64) { r.known[run], r.put = kl, append(r.put, run) }

// checkKept stops measuring after some runs and goes on: each is done once, and
// the figures have the bits of those of one go.
func checkKept(t *testing.T, o measure.MixtureOptions, mixtures []measure.Mixture, want []measure.Figure) {
	t.Helper()
	all := (len(mixtures) - 1) * len(o.Windows) // one is the reference
	kept := &runs{known: map[string]float64{}}
	ctx, stop := context.WithCancel(t.Context())
	o.Kept, o.Progress = kept, func(int64, int64) {
		if len(kept.put) == all/2 {
			stop()
		}
	}
	if _, err := measure.Mixtures(ctx, o, mixtures); !errors.Is(err, context.Canceled) || len(kept.put) != all/2 && len(kept.put) != all/2+1 {
		t.Errorf("%d runs were kept, %v, want %d of %d, or one more, and %v", len(kept.put), err, all/2, all, context.Canceled)
	}
	o.Progress = nil
	for _, done := range []int{all, all} {
		got, err := measure.Mixtures(t.Context(), o, mixtures)
		if err != nil || len(kept.put) != done || len(kept.known) != done {
			t.Fatalf("%d runs were done of %d, %v", len(kept.put), done, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("figures are %v, in one go %v", got, want)
		}
	}
	for run := range kept.known {
		kept.known[run] = 1
	}
	got, err := measure.Mixtures(t.Context(), o, mixtures)
	if err != nil || got[1].Value != 1 || got[0].Value != 0 {
		t.Errorf("of runs that gave 1 the figures are %v, %v", got, err)
	}
}

// TestShaken holds what is known of the floor: a rounding more moves the logits
// a little, the earlier the more, and far less than INT4 does anywhere.
func TestShaken(t *testing.T) {
	dir, text := sensitivityProject(t, "")
	llima(t, "build", "-C", dir, "--progress=quiet", "BF16", "A_BF16_W_INT8", "A_BF16_W_INT4")
	bench := openBench(t, dir)
	var mixtures []measure.Mixture
	for layer := range 4 {
		mixtures = append(mixtures, measure.Mixture{Phase: addr.Prefill, Shaken: true, Layer: layer})
	}
	mixtures = append(mixtures, measure.Mixture{Phase: addr.Decode, Shaken: true, Layer: 2})
	for other := range 2 {
		id := addr.PartID{Phase: addr.Prefill, Part: addr.Pre, Index: 2}
		mixtures = append(mixtures, measure.Mixture{Phase: addr.Prefill, Parts: []measure.Substitute{{ID: id, Other: other}}})
	}
	o := measure.MixtureOptions{Benches: []*measure.Bench{bench}, Windows: cutText(t, bench.Reference, text)}
	kl, err := measure.Mixtures(t.Context(), o, mixtures)
	if err != nil {
		t.Fatal(err)
	}
	for layer := range 3 {
		if kl[layer].Value <= kl[layer+1].Value {
			t.Errorf("shaking layer %d loses %g, layer %d %g", layer, kl[layer].Value, layer+1, kl[layer+1].Value)
		}
	}
	if kl[3].Value <= 0 {
		t.Errorf("shaking the last layer loses %g", kl[3].Value)
	}
	checkFigure(t, mixtures[4], kl[4], kl[2])
	// The weights of PRE in layer 2 lose next to nothing in INT8 and ten times
	// the floor in INT4.
	if int8, int4 := kl[5].Value, kl[6].Value; int8 > 2*kl[2].Value || int8 < kl[2].Value/2 || int4 < 5*kl[2].Value {
		t.Errorf("INT8 loses %g, INT4 %g, the floor is %g", int8, int4, kl[2].Value)
	}
}

// compareWhole runs a mixture from its first layer on, beside the reference.
func compareWhole(t *testing.T, b *measure.Bench, reference *measure.Model, m measure.Mixture, windows []dataset.Window) measure.Figure {
	t.Helper()
	use := func(who func(measure.Substitute) *measure.Model) {
		for _, p := range m.Parts {
			if err := b.Reference.Use(p.ID, who(p).Model); err != nil {
				t.Fatal(err)
			}
		}
	}
	use(func(p measure.Substitute) *measure.Model { return b.Others[p.Other] })
	defer use(func(measure.Substitute) *measure.Model { return b.Reference })
	r, err := measure.Compare(t.Context(), measure.Options{Model: b.Reference, Reference: reference, Windows: windows, Phase: m.Phase})
	if err != nil {
		t.Fatal(err)
	}
	return r.Reference.KL
}

// checkFigure allows what probabilities in float32 and other orders of sums
// make of a KL: far less than its last shown digit.
func checkFigure(t *testing.T, m measure.Mixture, got, want measure.Figure) {
	t.Helper()
	if math.Abs(got.Value-want.Value) > 1e-4*want.Value+1e-9 {
		t.Errorf("KL of %v is %.9g, want %.9g", m, got.Value, want.Value)
	}
	if got.Interval != nil && math.Abs(got.Interval[1]-want.Interval[1]) > 1e-4*want.Interval[1]+1e-9 {
		t.Errorf("interval of %v is %v, want %v", m, *got.Interval, *want.Interval)
	}
}
