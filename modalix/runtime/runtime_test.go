package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/chat"
	"github.com/llima-build/llima/modalix/runtime"
)

var withLogits = arch.Params{ContextTokens: 1024, GroupTokens: 128, MaskTokens: 128, ReturnLogits: true}

// small has short groups and windows and no logits.
var small = arch.Params{ContextTokens: 64, GroupTokens: 16, MaskTokens: 32}

func open(tb testing.TB, dir string) *runtime.Model {
	tb.Helper()
	m, err := runtime.Open(dir)
	must(tb, err)
	tb.Cleanup(func() { must(tb, m.Close()) })
	return m
}

// TestGolden compares a BF16 build with transformers in float32: the same 32
// tokens, and logits within what rounding activations to BF16 explains.
func TestGolden(t *testing.T) {
	m := open(t, buildBard(t, inBF16, withLogits))
	for _, name := range []string{"short", "medium", "long"} {
		want := readGolden(t, name)
		row, worst, sum := 0, 0.0, 0.0
		vocab := m.Config().VocabSize
		skip := len(want.input) - len(want.logits)/vocab
		var emitted strings.Builder
		got, err := m.Generate(t.Context(), want.input, runtime.Options{
			MaxTokens: 32, Greedy: true, IgnoreEOS: true,
			Logits: func(l []float32) error {
				if row >= skip && row < len(want.input) {
					for i, v := range l {
						d := math.Abs(float64(v) - float64(want.logits[(row-skip)*vocab+i]))
						worst, sum = max(worst, d), sum+d
					}
				}
				row++
				return nil
			},
		}, func(_ int, text string) error {
			emitted.WriteString(text)
			return nil
		})
		must(t, err)
		mean := sum / float64(len(want.logits))
		t.Logf("%s: logits differ by %.4f, %.4f at most", name, mean, worst)
		if mean > 0.012 || worst > 0.12 {
			t.Errorf("%s: logits differ by %.4f, %.4f at most, want 0.012 and 0.12 or less", name, mean, worst)
		}
		if !slices.Equal(got.IDs, want.greedy) {
			t.Errorf("%s: ids = %v, want %v", name, got.IDs, want.greedy)
		}
		if got.Text != want.text || emitted.String() != want.text || got.Reason != runtime.ReasonMaxTokens {
			t.Errorf("%s: text %q, emitted %q, reason %s, want %q", name, got.Text, emitted.String(), got.Reason, want.text)
		}
		if row != len(want.input)+31 {
			t.Errorf("%s: %d rows of logits, want %d", name, row, len(want.input)+31)
		}
	}
}

// TestTop compares a build that returns its 64 best ids, in short groups and
// windows, with one that returns logits.
func TestTop(t *testing.T) {
	full := small
	full.ReturnLogits = true
	top, all := open(t, buildBard(t, inBF16, small)), open(t, buildBard(t, inBF16, full))
	prompt := readGolden(t, "long").input[:37]
	for _, o := range []runtime.Options{
		{MaxTokens: 20, Greedy: true, IgnoreEOS: true},
		{MaxTokens: 20, Temperature: 0.8, TopK: 40, TopP: 0.9, Seed: 7, IgnoreEOS: true},
		{MaxTokens: 20, Temperature: 1.5, TopK: 64, Seed: 8, IgnoreEOS: true},
	} {
		a, err := top.Generate(t.Context(), prompt, o, nil)
		must(t, err)
		b, err := all.Generate(t.Context(), prompt, o, nil)
		must(t, err)
		if !slices.Equal(a.IDs, b.IDs) || len(a.IDs) != 20 {
			t.Errorf("%+v: ids = %v without logits, %v with", o, a.IDs, b.IDs)
		}
		c, err := top.Generate(t.Context(), prompt, o, nil)
		must(t, err)
		if !slices.Equal(a.IDs, c.IDs) {
			t.Errorf("%+v: ids = %v, then %v", o, a.IDs, c.IDs)
		}
	}
	t.Run("length", func(t *testing.T) {
		got, err := top.Generate(t.Context(), prompt, runtime.Options{MaxTokens: 100, Greedy: true, IgnoreEOS: true}, nil)
		must(t, err)
		if got.Reason != runtime.ReasonLength || len(got.IDs) != 64-37+1 {
			t.Errorf("%d ids, reason %s, want %d and length", len(got.IDs), got.Reason, 64-37+1)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_, err := top.Generate(ctx, prompt, runtime.Options{MaxTokens: 9, Greedy: true, Trace: func(runtime.Launch) error {
			if n++; n == 5 {
				cancel()
			}
			return nil
		}}, nil)
		if !errors.Is(err, context.Canceled) || n != 5 {
			t.Errorf("error %v after %d launches, want %v after 5", err, n, context.Canceled)
		}
	})
	t.Run("options", func(t *testing.T) { testOptions(t, top) })
	t.Run("force", func(t *testing.T) { testForce(t, all, prompt) })
}

func testOptions(t *testing.T, m *runtime.Model) {
	t.Helper()
	nop := func([]float32) error { return nil }
	for _, c := range []struct {
		prompt []int
		o      runtime.Options
		want   []string
	}{
		{nil, runtime.Options{}, []string{"prompt is empty"}},
		{make([]int, 65), runtime.Options{}, []string{"prompt has 65 tokens", "built for 64"}},
		{make([]int, 60), runtime.Options{Force: make([]int, 5)}, []string{"60 + 5 = 65 tokens", "built for 64"}},
		{[]int{2048}, runtime.Options{}, []string{"token 0 of the prompt has id 2048", "vocabulary of 2048"}},
		{[]int{1}, runtime.Options{Force: []int{-1}}, []string{"forced tokens has id -1"}},
		{[]int{1}, runtime.Options{Temperature: 1, TopK: 65}, []string{"top_k 65", "64 best tokens", "return_logits = true"}},
		{[]int{1}, runtime.Options{Logits: nop}, []string{"without logits", "return_logits = true"}},
		{[]int{1}, runtime.Options{Temperature: math.NaN()}, []string{"temperature NaN"}},
		{[]int{1}, runtime.Options{TopK: -1}, []string{"top_k -1"}},
		{[]int{1}, runtime.Options{TopP: 1.5}, []string{"top_p 1.5"}},
		{[]int{1}, runtime.Options{MaxTokens: -1}, []string{"max_tokens -1"}},
	} {
		_, err := m.Generate(t.Context(), c.prompt, c.o, nil)
		if err == nil || !hasAll(err.Error(), c.want...) {
			t.Errorf("Generate(%d tokens, %+v): %v, want %q", len(c.prompt), c.o, err, c.want)
		}
	}
	if got, err := m.Generate(t.Context(), []int{5}, runtime.Options{}, nil); err != nil || len(got.IDs) != 0 || got.Reason != runtime.ReasonMaxTokens {
		t.Errorf("Generate of no tokens = %+v, %v", got, err)
	}
}

// testForce feeds what prefill has seen through decode: the logits are those
// of prefill but for the order of sums.
func testForce(t *testing.T, m *runtime.Model, text []int) {
	t.Helper()
	rows := func(prompt, force []int) (out [][]float32, ids []int) {
		got, err := m.Generate(t.Context(), prompt, runtime.Options{Greedy: true, Force: force, Logits: func(row []float32) error {
			out = append(out, slices.Clone(row))
			return nil
		}}, nil)
		must(t, err)
		return out, got.IDs
	}
	want, _ := rows(text, nil)
	got, ids := rows(text[:5], text[5:])
	if len(got) != len(want) || len(ids) != len(text)-5 {
		t.Fatalf("%d rows, %d ids, want %d and %d", len(got), len(ids), len(want), len(text)-5)
	}
	for i := range want {
		for j := range want[i] {
			if d := math.Abs(float64(want[i][j] - got[i][j])); d > 0.15 {
				t.Fatalf("logit %d of token %d differs by %.3f between decode and prefill", j, i, d)
			}
		}
		best := slices.Index(want[i], slices.Max(want[i]))
		if k := i - 4; k >= 0 && k < len(ids) && want[i][best]-want[i][ids[k]] > 0.15 {
			t.Errorf("after token %d id %d was sampled, want %d", i, ids[k], best)
		}
	}
}

// TestEOS ends at an end-of-text token, which has no text.
func TestEOS(t *testing.T) {
	dir := buildBard(t, inBF16, small)
	prompt := readGolden(t, "short").input
	m := open(t, dir)
	free, err := m.Generate(t.Context(), prompt, runtime.Options{MaxTokens: 8, Greedy: true}, nil)
	must(t, err)
	edit(t, dir, "devkit/vlm_config.json", func(doc map[string]any) {
		doc["language"].(map[string]any)["eos_token_ids"] = []int{free.IDs[3]}
	})
	got, err := open(t, dir).Generate(t.Context(), prompt, runtime.Options{MaxTokens: 8, Greedy: true}, nil)
	must(t, err)
	if got.Reason != runtime.ReasonEOS || !slices.Equal(got.IDs, free.IDs[:4]) {
		t.Errorf("ids %v, reason %s, want %v and eos", got.IDs, got.Reason, free.IDs[:4])
	}
}

// edit changes a JSON document of an output.
func edit(tb testing.TB, dir, name string, change func(map[string]any)) {
	tb.Helper()
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	must(tb, err)
	doc := map[string]any{}
	must(tb, json.Unmarshal(b, &doc))
	change(doc)
	b, err = json.Marshal(doc)
	must(tb, err)
	must(tb, os.WriteFile(path, b, 0o644))
}

// TestOpenErrors damages an output in every way that Open tells apart.
func TestOpenErrors(t *testing.T) {
	good := buildBard(t, inINT4, small)
	language := func(key string, value any) func(string) {
		return func(dir string) {
			edit(t, dir, "devkit/vlm_config.json", func(doc map[string]any) { doc["language"].(map[string]any)[key] = value })
		}
	}
	programs := func(change func([]any) []any) func(string) {
		return func(dir string) {
			edit(t, dir, "elf_files/index.json", func(doc map[string]any) { doc["programs"] = change(doc["programs"].([]any)) })
		}
	}
	drop := func(lost func(phase, part string, layer, window int) bool) func(string) {
		return programs(func(list []any) []any {
			return slices.DeleteFunc(list, func(e any) bool {
				m := e.(map[string]any)
				window, _ := m["window"].(float64)
				return lost(m["phase"].(string), m["part"].(string), int(m["layer"].(float64)), int(window))
			})
		})
	}
	remove := func(name string) func(string) {
		return func(dir string) { must(t, os.Remove(filepath.Join(dir, name))) }
	}
	truncate := func(name string) func(string) {
		return func(dir string) {
			path := filepath.Join(dir, name)
			st, err := os.Stat(path)
			must(t, err)
			must(t, os.Truncate(path, st.Size()/2))
		}
	}
	for _, c := range []struct {
		name   string
		damage func(dir string)
		want   []string
	}{
		{"no config", remove("devkit/vlm_config.json"), []string{"vlm_config.json: missing"}},
		{"bad config", truncate("devkit/vlm_config.json"), []string{"vlm_config.json: ", "damaged"}},
		{"version", func(dir string) {
			edit(t, dir, "devkit/vlm_config.json", func(doc map[string]any) { doc["format_version"] = 2 })
		}, []string{"format_version 2"}},
		{"no layers", language("num_hidden_layers", 0), []string{"language.num_hidden_layers = 0, want 1 to"}},
		{"group", language("language_group_size", 24), []string{"language_group_size = 24 does not divide max_num_tokens = 64"}},
		{"eos", language("eos_token_ids", []int{9999}), []string{"eos_token_ids: 9999"}},
		{"no tokenizer", remove("devkit/tokenizer.json"), []string{"tokenizer.json: missing"}},
		{"bad tokenizer", truncate("devkit/tokenizer.json"), []string{"tokenizer.json: tokenizer: "}},
		{"no embeddings", remove("devkit/embeddings.bin"), []string{"embeddings.bin: missing"}},
		{"short embeddings", truncate("devkit/embeddings.bin"), []string{"embeddings.bin: 524288 bytes", "vocab_size 2048", "hidden_size 256", "1048576"}},
		{"vocabulary", language("vocab_size", 2047), []string{"embeddings.bin: 1048576 bytes", "vocab_size 2047"}},
		{"no table", remove("devkit/rope_sin.npy"), []string{"rope_sin.npy: missing"}},
		{"short table", truncate("devkit/rope_sin.npy"), []string{"rope_sin.npy: npy: "}},
		{"context", language("max_num_tokens", 128), []string{"rope_cos.npy: F32 [64 32]", "max_num_tokens 128"}},
		{"no index", remove("elf_files/index.json"), []string{"index.json: missing"}},
		{"one window", drop(func(phase, part string, layer, window int) bool {
			return phase == "prefill" && layer == 3 && window == 32
		}), []string{"elf_files lacks the program of prefill.CACHE.3 (window 32), "}},
		{"layers", drop(func(_, part string, layer, _ int) bool { return part == "CACHE" && layer > 1 }), []string{"lacks the programs of prefill.CACHE.2-3, decode.CACHE.2-3, "}},
		{"late windows", drop(func(_, part string, layer, window int) bool { return part == "CACHE" && layer == 3 && window > 16 }), []string{"lacks the programs of prefill.CACHE.3 (windows 32,48,64), decode.CACHE.3, "}},
		{"all", drop(func(_, _ string, _, _ int) bool { return true }), []string{"prefill.PRE.0-3, prefill.CACHE.0-3, prefill.POST.0-3, decode.PRE.0-3, decode.CACHE.0-3, decode.POST.0-3, "}},
		{"file", remove("elf_files/single_post_2.elf"), []string{"lacks the file single_post_2.elf, which its index.json lists"}},
		{"path", programs(func(l []any) []any { l[0].(map[string]any)["file"] = "../x"; return l }), []string{`programs[0].file: "../x"`}},
		{"part", programs(func(l []any) []any { l[0].(map[string]any)["part"] = "MID"; return l }), []string{`programs[0].part: "MID"`}},
		{"phase", programs(func(l []any) []any { l[0].(map[string]any)["phase"] = "late"; return l }), []string{`programs[0].phase: "late"`}},
		{"bad program", truncate("elf_files/group_pre_1.elf"), []string{"group_pre_1.elf: ", "damaged"}},
		{"other program", func(dir string) {
			b, err := os.ReadFile(filepath.Join(dir, "elf_files/single_pre_1.elf"))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, "elf_files/group_pre_1.elf"), b, 0o644))
		}, []string{"group_pre_1.elf: buffer in.hidden has 1024 bytes", "want 16384", "another build"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyTree(t, good)
			c.damage(dir)
			m, err := runtime.Open(dir)
			if err == nil {
				must(t, m.Close())
				t.Fatal("Open succeeded, want an error")
			}
			if !hasAll(err.Error(), c.want...) || !strings.Contains(err.Error(), "llima build") {
				t.Errorf("Open: %v\nwant %q, and what to do", err, c.want)
			}
		})
	}
	if _, err := runtime.Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "vlm_config.json: missing") {
		t.Errorf("Open of an empty folder: %v", err)
	}
}

// TestChat renders a message in the template that the output brings, wherever
// it stands.
func TestChat(t *testing.T) {
	good := buildBard(t, inINT4, small)
	const text = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
	plain := open(t, good)
	if plain.HasChatTemplate() {
		t.Error("HasChatTemplate() = true for a model without one")
	}
	ids, err := plain.EncodeChat("Hi")
	if err != nil || !slices.Equal(ids, plain.Encode("Hi")) {
		t.Errorf("EncodeChat without a template = %v, %v, want %v", ids, err, plain.Encode("Hi"))
	}
	want := plain.EncodeRendered("<|begin_of_text|><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
	for name, put := range map[string]func(dir string){
		"jinja": func(dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "devkit/chat_template.jinja"), []byte(text), 0o644))
		},
		"config": func(dir string) {
			edit(t, dir, "devkit/tokenizer_config.json", func(doc map[string]any) { doc["chat_template"] = text })
		},
		"named": func(dir string) {
			edit(t, dir, "devkit/tokenizer_config.json", func(doc map[string]any) {
				doc["bos_token"] = map[string]any{"content": "<|begin_of_text|>"}
				doc["chat_template"] = []any{map[string]any{"name": "rag", "template": "no"}, map[string]any{"name": "default", "template": text}}
			})
		},
	} {
		dir := copyTree(t, good)
		put(dir)
		m := open(t, dir)
		if got, err := m.EncodeChat("Hi"); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: EncodeChat = %v, %v, want %v", name, got, err, want)
		}
		messages := json.RawMessage(`[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]`)
		got, err := m.RenderChat(messages, chat.Options{Variables: json.RawMessage(`{"bos_token":"<B>"}`)})
		if want := "<B><|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"; err != nil || got != want {
			t.Errorf("%s: RenderChat = %q, %v, want %q", name, got, err, want)
		}
	}
	dir := copyTree(t, good)
	must(t, os.WriteFile(filepath.Join(dir, "devkit/chat_template.jinja"), []byte("{% if %}"), 0o644))
	if _, err := open(t, dir).EncodeChat("Hi"); err == nil || !hasAll(err.Error(), "chat_template.jinja", "line 1") {
		t.Errorf("EncodeChat with a broken template: %v", err)
	}
}

// BenchmarkDecode measures one token of the bard model.
func BenchmarkDecode(b *testing.B) {
	m := open(b, buildBard(b, inINT4, small))
	for b.Loop() {
		if _, err := m.Generate(b.Context(), []int{0, 5, 6}, runtime.Options{MaxTokens: 32, Greedy: true, IgnoreEOS: true}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/32, "µs/token")
}
