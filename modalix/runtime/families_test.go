package runtime_test

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/modalix/runtime"
)

const familiesDir = "../../testdata/models/families"

// families lists the folders of checkpoints of every family.
func families(tb testing.TB) []string {
	tb.Helper()
	all, err := filepath.Glob(filepath.Join(familiesDir, "*", "config.json"))
	if err != nil || len(all) < 10 {
		tb.Fatalf("%d families, %v, want 10 or more", len(all), err)
	}
	for i := range all {
		all[i] = filepath.Dir(all[i])
	}
	return all
}

// familySizes make a prompt of 66 tokens span six groups and twelve windows,
// with pad rows, and groups that are shorter than what sliding layers see.
var familySizes = arch.Params{ContextTokens: 96, GroupTokens: 12, MaskTokens: 8, ReturnLogits: true}

// Bounds of a BF16 build against transformers in float32, as parts of the
// standard deviation: the average difference of hidden states, and of logits.
const (
	hiddenBound = 0.02
	logitsBound = 0.03
)

// part is the average difference over the standard deviation of what is
// wanted.
func part(tb testing.TB, got, want []float32) float64 {
	tb.Helper()
	if len(got) != len(want) || len(got) == 0 {
		tb.Fatalf("%d elements, want %d", len(got), len(want))
	}
	var diff, sum, squares float64
	for i, w := range want {
		diff += math.Abs(float64(got[i]) - float64(w))
		sum += float64(w)
		squares += float64(w) * float64(w)
	}
	n := float64(len(want))
	return diff / n / math.Sqrt(squares/n-(sum/n)*(sum/n)) // NaN where there is one
}

// trace collects what the layers give, by layer, the embeddings first.
type trace struct {
	cfg    runtime.Language
	hidden [][]float32
}

// see notes the residual stream before and after a layer. Rows of pad are cut
// by the caller: prefill's rows stand where their positions are.
func (r *trace) see(l runtime.Launch) error {
	if r.hidden == nil {
		r.hidden = make([][]float32, r.cfg.NumHiddenLayers)
	}
	in, ok := l.Program.Symbol("in.hidden")
	if !ok || strings.Contains(l.File, "_pre_") {
		return nil
	}
	rows := 1
	if strings.HasPrefix(l.File, "group_") {
		rows = r.cfg.LanguageGroupSize
	}
	b := l.Buffers.In[in.Offset:][:in.Size]
	all := unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4)
	for m := range rows {
		r.hidden[l.Layer] = append(r.hidden[l.Layer], all[m*(len(all)/rows):][:r.cfg.HiddenSize]...)
	}
	return nil
}

// TestFamilies compares whole BF16 builds of every family with transformers in
// float32: hidden states of every layer and logits of a prompt, in prefill, in
// forced decode and in a mixture of both, and greedy tokens as far as margins
// exceed the differences.
func TestFamilies(t *testing.T) {
	var table []supportRow
	for _, dir := range families(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			m := open(t, build(t, dir, inBF16, familySizes, nil))
			row := supportRow{name: filepath.Base(dir), format: "safetensors", oracle: "transformers 5.23, float32"}
			for _, name := range []string{"short", "long"} {
				g := goldenOf(t, dir, name)
				most := 0.0
				for i, split := range []int{len(g.input), 1, len(g.input) / 2} {
					d := comparePrompt(t, m, fmt.Sprintf("%s after %d", name, split), g, split)
					most = max(most, d.most)
					row.hidden = max(row.hidden, d.hidden)
					if i == 0 {
						row.prefill = max(row.prefill, d.logits)
					} else {
						row.decode = max(row.decode, d.logits)
					}
				}
				compareGreedy(t, m, name, g, most)
			}
			table = append(table, row)
		})
	}
	checkSupport(t, "families", table)
}

// distance is how far a run is from what is wanted: parts of the standard
// deviation, and the largest difference of a logit.
type distance struct{ hidden, logits, most float64 }

// comparePrompt feeds the first tokens as a prompt and forces the rest.
func comparePrompt(t *testing.T, m *runtime.Model, name string, g golden, split int) distance {
	t.Helper()
	c := m.Config()
	tr := trace{cfg: c}
	var logits []float32
	_, err := m.Generate(t.Context(), g.input[:split], runtime.Options{
		Greedy: true, Force: g.input[split:], Trace: tr.see,
		Logits: func(row []float32) error {
			logits = append(logits, row...)
			return nil
		},
	}, nil)
	must(t, err)
	want := g.logits
	if c.LongRopeFrom >= split && c.LongRopeFrom < len(g.input) {
		// What came before the switch was computed as a short sequence.
		from := c.LongRopeFrom * c.VocabSize
		logits, want, tr.hidden = logits[from:], want[from:], nil
	}
	d := distance{logits: part(t, logits, want)}
	t.Logf("%s: logits differ by %.4f of their standard deviation", name, d.logits)
	if !(d.logits <= logitsBound) {
		t.Errorf("%s: logits differ by %.4f of their standard deviation, bound %.4f", name, d.logits, logitsBound)
	}
	width, group := c.HiddenSize, c.LanguageGroupSize
	for l, h := range tr.hidden {
		padded := (split + group - 1) / group * group
		h = slices.Concat(h[:split*width], h[padded*width:])
		p := part(t, h, g.hidden[l])
		d.hidden = max(d.hidden, p)
		if !(p <= hiddenBound) {
			t.Errorf("%s: hidden states before layer %d differ by %.4f of their standard deviation, bound %.4f", name, l, p, hiddenBound)
		}
	}
	d.most = largest(logits, want)
	return d
}

// compareGreedy feeds the tokens that transformers generated and compares what
// would have been sampled, and its logits. A token that differs must be behind
// by no more than twice the largest difference of a logit: agreement would be
// luck there.
func compareGreedy(t *testing.T, m *runtime.Model, name string, g golden, most float64) {
	t.Helper()
	var rows [][]float32
	got, err := m.Generate(t.Context(), g.input, runtime.Options{
		Greedy: true, IgnoreEOS: true, Force: g.greedy,
		Logits: func(row []float32) error {
			rows = append(rows, slices.Clone(row))
			return nil
		},
	}, nil)
	must(t, err)
	rows = rows[len(g.input)-1:]
	if len(got.IDs) != len(g.greedy) {
		t.Fatalf("%s: %d tokens, want %d", name, len(got.IDs), len(g.greedy))
	}
	if len(g.greedyLogits) > 0 {
		all := slices.Concat(rows[:len(g.greedy)]...)
		if len(all) != len(g.greedyLogits) || len(all) != len(g.greedy)*m.Config().VocabSize {
			t.Fatalf("%s: %d logits of generated tokens, want %d", name, len(all), len(g.greedyLogits))
		}
		if p := part(t, all, g.greedyLogits); !(p <= logitsBound) {
			t.Errorf("%s: logits of generated tokens differ by %.4f of their standard deviation, bound %.4f", name, p, logitsBound)
		}
		most = max(most, largest(all, g.greedyLogits))
	}
	differ := 0
	for i, id := range got.IDs {
		if id != g.greedy[i] {
			differ++
			if gap := rows[i][id] - rows[i][g.greedy[i]]; float64(gap) > 2*most {
				t.Errorf("%s: generated token %d is %d, want %d, which is %.3f behind", name, i, id, g.greedy[i], gap)
			}
		}
	}
	t.Logf("%s: %d of %d generated tokens differ", name, differ, len(got.IDs))
}

// largest returns the largest difference.
func largest(got, want []float32) float64 {
	most := 0.0
	for i, w := range want {
		most = max(most, math.Abs(float64(got[i])-float64(w)))
	}
	return most
}

// TestFamilyTop compares builds that return the best ids with builds that
// return logits: the last layer then computes one row of a group only, behind
// attention or behind a convolution.
func TestFamilyTop(t *testing.T) {
	sizes := familySizes
	sizes.ReturnLogits = false
	for _, name := range []string{"gemma2-full-first", "lfm2", "lfm2-convolution", "lfm2-bias", "phi3-partial"} {
		dir := filepath.Join(familiesDir, name)
		prompt := goldenOf(t, dir, "long").input[:29]
		o := runtime.Options{MaxTokens: 30, Greedy: true, IgnoreEOS: true}
		var ids [2][]int
		for i, p := range []arch.Params{familySizes, sizes} {
			got, err := open(t, build(t, dir, inINT8, p, nil)).Generate(t.Context(), prompt, o, nil)
			must(t, err)
			ids[i] = got.IDs
		}
		if !slices.Equal(ids[0], ids[1]) || len(ids[0]) != 30 {
			t.Errorf("%s: ids %v with logits, %v without", name, ids[0], ids[1])
		}
	}
}
