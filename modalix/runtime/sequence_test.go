package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/dataset"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix/measure"
	"github.com/llima-build/llima/modalix/runtime"
)

// rowsOf reads a sequence to its end and returns its logits.
func rowsOf(tb testing.TB, s *runtime.Sequence, err error) [][]float32 {
	tb.Helper()
	must(tb, err)
	var out [][]float32
	for {
		rows, err := s.Next(tb.Context())
		if errors.Is(err, io.EOF) {
			return out
		}
		must(tb, err)
		for _, r := range rows {
			out = append(out, slices.Clone(r))
		}
	}
}

func sequence(tb testing.TB, m *runtime.Model, phase addr.Phase, ids []int) [][]float32 {
	tb.Helper()
	s, err := m.Sequence(phase, ids)
	return rowsOf(tb, s, err)
}

func equalRows(a, b [][]float32) bool {
	return len(a) == len(b) && slices.EqualFunc(a, b, slices.Equal[[]float32])
}

// furthest is the largest difference of two numbers.
func furthest(a, b [][]float32) float64 {
	worst := 0.0
	for i := range a {
		for j := range a[i] {
			worst = max(worst, math.Abs(float64(a[i][j])-float64(b[i][j])))
		}
	}
	return worst
}

// TestSequence compares the logits of sequences with those that a generation
// gives, of programs with and without logits, in both phases.
func TestSequence(t *testing.T) {
	full := small
	full.ReturnLogits = true
	top, all := open(t, buildBard(t, inINT8, small)), open(t, buildBard(t, inINT8, full))
	ids := readGolden(t, "long").input[:37] // two groups and a part of one
	for _, phase := range addr.Phases {
		var want [][]float32
		prompt, force := ids, []int(nil)
		if phase == addr.Decode {
			prompt, force = ids[:1], ids[1:]
		}
		_, err := all.Generate(t.Context(), prompt, runtime.Options{Force: force, Logits: func(row []float32) error {
			want = append(want, slices.Clone(row))
			return nil
		}}, nil)
		must(t, err)
		got := sequence(t, all, phase, ids)
		if phase == addr.Prefill && !equalRows(got, want) {
			t.Errorf("%v: logits differ from those of a prompt by %g", phase, furthest(got, want))
		}
		// The first token of the generation was a prompt, so its K and V are
		// those of a prefill program.
		if d := furthest(got, want); len(got) != len(want) || d > 0.1 {
			t.Errorf("%v: %d rows, %g from those of a generation", phase, len(got), d)
		}
		if tapped := sequence(t, top, phase, ids); !equalRows(tapped, got) {
			t.Errorf("%v: logits without return_logits differ by %g", phase, furthest(tapped, got))
		}
		testResume(t, all, phase, ids, got)
	}
	t.Run("conv", testSequenceConv)
	if _, err := all.Sequence(addr.Prefill, make([]int, 65)); err == nil {
		t.Errorf("a sequence longer than the context was taken")
	}
}

// testResume begins at a layer with what it got, of a model that ran something
// else in between.
func testResume(t *testing.T, m *runtime.Model, phase addr.Phase, ids []int, want [][]float32) {
	t.Helper()
	s, err := m.Sequence(phase, ids)
	must(t, err)
	var hidden []float32
	s.Inputs = func(layer int, rows []float32) {
		if layer == 2 {
			hidden = append(hidden, rows...)
		}
	}
	rowsOf(t, s, nil)
	sequence(t, m, phase, ids[5:])
	s, err = m.Resume(phase, 2, hidden)
	if got := rowsOf(t, s, err); !equalRows(got, want) {
		t.Errorf("%v: logits from layer 2 on differ by %g", phase, furthest(got, want))
	}
	for _, bad := range []struct {
		layer int
		rows  []float32
	}{{-1, hidden}, {m.Config().NumHiddenLayers, hidden}, {0, nil}, {0, hidden[:7]}} {
		if _, err := m.Resume(phase, bad.layer, bad.rows); err == nil {
			t.Errorf("Resume(%d, %d numbers) was taken", bad.layer, len(bad.rows))
		}
	}
}

// testSequenceConv has a model with convolutions, whose state a sequence must
// not find changed by running a part once for each row.
func testSequenceConv(t *testing.T) {
	full := small
	full.ReturnLogits = true
	dir := filepath.Join(familiesDir, "lfm2")
	top, all := open(t, build(t, dir, inBF16, small, nil)), open(t, build(t, dir, inBF16, full, nil))
	ids := make([]int, 21)
	for i := range ids {
		ids[i] = 3*i + 1
	}
	for _, phase := range addr.Phases {
		if a, b := sequence(t, top, phase, ids), sequence(t, all, phase, ids); !equalRows(a, b) || len(a) != len(ids) {
			t.Errorf("%v: logits without return_logits differ by %g", phase, furthest(a, b))
		}
	}
}

// TestUse mixes the programs of two builds, and runs one beside the other.
func TestUse(t *testing.T) {
	full := small
	full.ReturnLogits = true
	bf16, int4 := open(t, buildBard(t, inBF16, full)), open(t, buildBard(t, inINT4, small))
	ids := readGolden(t, "long").input[:37]
	for _, phase := range addr.Phases {
		want, other := sequence(t, bf16, phase, ids), sequence(t, int4, phase, ids)
		for _, id := range bf16.Parts(phase) {
			must(t, bf16.Use(id, int4))
		}
		if got := sequence(t, bf16, phase, ids); !equalRows(got, other) {
			t.Errorf("%v: with all parts of the other build logits differ by %g", phase, furthest(got, other))
		}
		for _, id := range bf16.Parts(phase)[1:] {
			must(t, bf16.Use(id, bf16))
		}
		if got := sequence(t, bf16, phase, ids); equalRows(got, want) || equalRows(got, other) {
			t.Errorf("%v: one part of another build makes no difference", phase)
		}
		must(t, bf16.Use(bf16.Parts(phase)[0], bf16))
		if got := sequence(t, bf16, phase, ids); !equalRows(got, want) {
			t.Errorf("%v: with its own parts again logits differ by %g", phase, furthest(got, want))
		}
		testBeside(t, bf16, int4, phase, ids, want)
	}
	short := open(t, buildBard(t, inBF16, arch.Params{ContextTokens: 32, GroupTokens: 16, MaskTokens: 32}))
	if err := bf16.Use(bf16.Parts(addr.Prefill)[0], short); err == nil || !hasAll(err.Error(), "max_num_tokens is 64 in one and 32 in the other") {
		t.Errorf("a model of another context: %v", err)
	}
	if err := bf16.Use(addr.PartID{Part: addr.Conv}, int4); err == nil {
		t.Errorf("a part that no layer has was taken")
	}
}

// testBeside holds that the model beside sees the same inputs: what a model
// gives beside itself is the same, what another gives is not, and the logits
// of the first stay as they were.
func testBeside(t *testing.T, m, other *runtime.Model, phase addr.Phase, ids []int, want [][]float32) {
	t.Helper()
	for _, beside := range []*runtime.Model{m, other} {
		seen := map[addr.PartID]int{}
		must(t, m.Beside(beside, func(id addr.PartID, a, b []float32) error {
			seen[id] += len(a)
			if len(a) != len(b) || slices.Equal(a, b) != (beside == m) {
				t.Errorf("%v: equal outputs is %v, of the same model %v", id, slices.Equal(a, b), beside == m)
			}
			return nil
		}))
		if got := sequence(t, m, phase, ids); !equalRows(got, want) {
			t.Errorf("%v: another model beside changes logits by %g", phase, furthest(got, want))
		}
		c := m.Config()
		for i, id := range m.Parts(phase) {
			n := len(ids) * c.HiddenSize
			switch {
			case id.Part == addr.Pre:
				n = len(ids) * (c.NumAttentionHeads + 2*c.NumKeyValueHeads) * c.HeadDim
			case i == len(m.Parts(phase))-1:
				n = len(ids) * c.VocabSize
			}
			if seen[id] != n {
				t.Errorf("%v: %d numbers were compared, want %d", id, seen[id], n)
			}
		}
	}
	must(t, m.Beside(nil, nil))
}

// TestPartErrors compares the output error of each POST with what the next
// layer, or who reads the logits, gets when only that part is another build's.
func TestPartErrors(t *testing.T) {
	full := small
	full.ReturnLogits = true
	reference := &measure.Model{Model: open(t, buildBard(t, inBF16, full))}
	int4 := &measure.Model{Model: open(t, buildBard(t, inINT4, small))}
	ids := readGolden(t, "long").input[:37]
	for _, phase := range addr.Phases {
		done := 0
		got, err := measure.PartErrors(t.Context(), measure.Options{
			Model: int4, Reference: reference, Windows: []dataset.Window{{IDs: ids}}, Phase: phase,
			Progress: func(n, of int) { done = n*1000 + of },
		})
		must(t, err)
		if len(got) != 8 || done != 37*1000+37 {
			t.Fatalf("%d parts, progress %d", len(got), done)
		}
		for i, p := range got {
			if p.ID != reference.Parts(phase)[i] || !(p.Error > 0.005 && p.Error < 0.1) {
				t.Errorf("part %d is %v, with an error of %g", i, p.ID, p.Error)
			}
			if p.ID.Part != addr.Post {
				continue
			}
			want := after(t, reference.Model, p.ID, ids)
			must(t, reference.Use(p.ID, int4.Model))
			given := after(t, reference.Model, p.ID, ids)
			must(t, reference.Use(p.ID, reference.Model))
			var d, n float64
			for j, v := range want {
				e := float64(given[j]) - float64(v)
				d, n = d+e*e, n+float64(v)*float64(v)
			}
			if w := math.Sqrt(d / n); math.Abs(p.Error-w) > 1e-9 {
				t.Errorf("%v: error %g, want %g", p.ID, p.Error, w)
			}
		}
	}
}

// after returns what a POST gave for a sequence.
func after(tb testing.TB, m *runtime.Model, id addr.PartID, ids []int) []float32 {
	tb.Helper()
	s, err := m.Sequence(id.Phase, ids)
	must(tb, err)
	var out []float32
	s.Inputs = func(layer int, hidden []float32) {
		if layer == id.Index+1 {
			out = append(out, hidden...)
		}
	}
	if rows := rowsOf(tb, s, nil); id.Index == m.Config().NumHiddenLayers-1 {
		return slices.Concat(rows...)
	}
	return out
}

// TestNotNumbers holds that logits that are not numbers are never scored, and
// that the model which gave them is named, with what is wrong with it.
func TestNotNumbers(t *testing.T) {
	dir := buildBard(t, inBF16, small)
	damaged := copyTree(t, dir)
	path := filepath.Join(damaged, "devkit", "embeddings.bin")
	data, err := os.ReadFile(path)
	must(t, err)
	ids := readGolden(t, "long").input[:20]
	width := 2 * open(t, dir).Config().HiddenSize
	data[ids[7]*width], data[ids[7]*width+1] = 0xc0, 0x7f // a NaN
	must(t, os.WriteFile(path, data, 0o644))
	sound, broken := &measure.Model{Model: open(t, dir), Name: "sound"}, &measure.Model{Model: open(t, damaged), Name: "broken"}
	for _, o := range []measure.Options{{Model: broken}, {Model: broken, Reference: sound}, {Model: sound, Reference: broken}} {
		for _, o.Phase = range addr.Phases {
			o.Windows = []dataset.Window{{IDs: ids}}
			_, err := measure.Compare(t.Context(), o)
			if err == nil || !hasAll(err.Error(), "broken: the logits are not numbers", fmt.Sprintf("embedding of token %d holds NaN", ids[7]), "llima build") {
				t.Errorf("%v: %v", o.Phase, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	o := measure.Options{Model: sound, Windows: []dataset.Window{{IDs: ids}, {IDs: ids}}, Progress: func(int, int) { cancel() }}
	if _, err := measure.Compare(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
