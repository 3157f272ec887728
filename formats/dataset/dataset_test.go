package dataset_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/chat"
	"github.com/llima-build/llima/formats/dataset"
	"github.com/llima-build/llima/formats/tokenizer"
)

const text = "../../testdata/text"

func load(tb testing.TB, path string) *tokenizer.Tokenizer {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	tok, err := tokenizer.Load(b)
	if err != nil {
		tb.Fatal(err)
	}
	return tok
}

func bard(tb testing.TB) *dataset.Encoder {
	tb.Helper()
	return &dataset.Encoder{Tokenizer: load(tb, "../../testdata/models/bard-3m/tokenizer.json"), EOS: 1}
}

// chatty has a template that wants roles to take turns.
func chatty(tb testing.TB) *dataset.Encoder {
	tb.Helper()
	e := bard(tb)
	template, err := chat.Parse(`{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must take turns') }}{% endif %}<{{ m.role }}> {{ m.content }}
{% endfor %}`)
	if err != nil {
		tb.Fatal(err)
	}
	e.Render = func(messages json.RawMessage) (string, error) { return template.Render(messages, chat.Options{}) }
	return e
}

func file(name string, b []byte) *dataset.File {
	return &dataset.File{Name: name, Reader: bytes.NewReader(b), SizeBytes: int64(len(b))}
}

func read(tb testing.TB, name string) *dataset.File {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(text, name))
	if err != nil {
		tb.Fatal(err)
	}
	return file(name, b)
}

// all returns every token of a file, as windows of two tokens where the
// second one counts.
func all(tb testing.TB, e *dataset.Encoder, f *dataset.File) ([]int, error) {
	tb.Helper()
	var ids []int
	n := len(e.Tokenizer.Prefix())
	err := e.Windows(tb.Context(), f, dataset.EveryToken, n+2, func(w dataset.Window) error {
		ids = append(ids, w.IDs[n:]...)
		return nil
	})
	return ids, err
}

// TestSample pins what a seed gives: the same on every machine.
func TestSample(t *testing.T) {
	e := bard(t)
	o := dataset.Options{Samples: 128, Tokens: 512, Seed: 7}
	got, err := e.Sample(t.Context(), read(t, "calibration.txt"), o)
	if err != nil {
		t.Fatal(err)
	}
	want := dataset.Coverage{
		Format: dataset.Text, Documents: 1, Tokens: 520965, Samples: 128, SampleTokens: 512, TokensUsed: 65408,
		Vocabulary: 2048, SeenInFile: 1827, SeenInUse: 1771, Seed: 7,
		OffsetsSHA256: "8c3395111d5ca7d8eebf00a01a387433599e95c5a13cef8d3341e9ab00605060",
	}
	if got.Coverage != want {
		t.Errorf("coverage\n got %+v\nwant %+v", got.Coverage, want)
	}
	if first, want := got.Windows[0][:6], []int{0, 304, 1489, 371, 637, 335}; !slices.Equal(first, want) {
		t.Errorf("first window begins %v, want %v", first, want)
	}
	again, err := e.Sample(t.Context(), read(t, "calibration.txt"), o)
	if err != nil || !slices.EqualFunc(got.Windows, again.Windows, slices.Equal) {
		t.Errorf("a second time differs: %v", err)
	}
	o.Seed = -1
	other, err := e.Sample(t.Context(), read(t, "calibration.txt"), o)
	if err != nil || slices.EqualFunc(got.Windows, other.Windows, slices.Equal) {
		t.Errorf("another seed gives the same windows: %v", err)
	}
}

// TestSampleSpread checks, for files that hold from one to many times what is
// wanted, that windows are slots of the file, no two the same, and spread.
func TestSampleSpread(t *testing.T) {
	e := bard(t)
	ids, err := all(t, e, read(t, "calibration.txt"))
	if err != nil {
		t.Fatal(err)
	}
	text := e.Tokenizer.Decode(ids, false)
	for _, c := range []struct{ samples, tokens, bytes int }{{1, 2, 4}, {1, 9, 3000}, {5, 9, 200}, {16, 17, 800}, {16, 17, 2000}, {16, 17, 60_000}, {7, 33, 90_000}} {
		text := text[:c.bytes]
		whole := e.Tokenizer.Encode(text, false)
		size := c.tokens - 1
		if len(whole)/size < c.samples {
			t.Fatalf("%+v: only %d tokens", c, len(whole))
		}
		hits := make([]int, len(whole)/size)
		for seed := range int64(80) {
			got, err := e.Sample(t.Context(), file("a.txt", []byte(text)), dataset.Options{Samples: c.samples, Tokens: c.tokens, Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			var places []int
			for _, w := range got.Windows {
				at := -1
				for i := range hits {
					if slices.Equal(w[1:], whole[i*size:(i+1)*size]) && !slices.Contains(places, i) {
						at = i
						break
					}
				}
				if at < 0 || w[0] != 0 {
					t.Fatalf("%+v, seed %d: %v is no slot, or one twice", c, seed, w)
				}
				places = append(places, at)
				hits[at]++
			}
			slices.Sort(places)
			// Blocks are chosen at even distances, so no gap is larger than
			// three of the mean distance and a bit.
			mean := float64(len(hits)) / float64(c.samples)
			last := -1
			for _, p := range append(places, len(hits)) {
				if gap := float64(p - last); c.samples > 1 && gap > 4*mean+2 {
					t.Fatalf("%+v, seed %d: a gap of %g slots at %d, the mean distance is %.1f", c, seed, gap, p, mean)
				}
				last = p
			}
		}
		if n := slices.Index(hits, 0); n >= 0 && len(hits) < 10*c.samples {
			t.Errorf("%+v: 80 seeds never gave slot %d of %d", c, n, len(hits))
		}
	}
}

// TestText checks that a text that is read in stretches has the ids that it
// has as a whole, for every kind of tokenizer.
func TestText(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(text, "calibration.txt"))
	if err != nil {
		t.Fatal(err)
	}
	oneLine := bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r"), nil), []byte("\n"), []byte(" "))
	names := []string{"gemma3", "llama", "llama3"} // one of each kind
	if os.Getenv("LLIMA_LONG") != "" {
		names = append(names, "gemma", "lfm2", "mistral", "phi3", "qwen2")
	} else {
		b, oneLine = b[:1_150_000], oneLine[:1_150_000] // one cut
	}
	for _, name := range names {
		e := &dataset.Encoder{Tokenizer: load(t, "../tokenizer/testdata/files/"+name+".json"), EOS: -1}
		for kind, b := range map[string][]byte{"lines": b, "one line": oneLine} {
			got, err := all(t, e, file("a.txt", b))
			if err != nil {
				t.Fatal(err)
			}
			want := e.Tokenizer.Encode(string(b), false)
			want = want[:len(want)/2*2]
			if !slices.Equal(got, want) {
				at := 0
				for at < min(len(got), len(want)) && got[at] == want[at] {
					at++
				}
				t.Errorf("%s, %s: %d ids, want %d; they differ at %d", name, kind, len(got), len(want), at)
			}
		}
	}
}

// TestWindows checks both layouts against what they are defined as.
func TestWindows(t *testing.T) {
	e := bard(t)
	b, err := os.ReadFile(filepath.Join(text, "eval-tempest.txt"))
	if err != nil {
		t.Fatal(err)
	}
	ids := e.Tokenizer.Encode(string(b), false)
	var every, half []dataset.Window
	scored := 0
	for i := 0; i+511 <= len(ids); i += 511 {
		every = append(every, dataset.Window{IDs: append([]int{0}, ids[i:i+511]...)})
		scored += 511
	}
	if scored != 35770 { // what the fixtures' perplexity is of
		t.Errorf("%d tokens count, want 35770", scored)
	}
	with := append([]int{0}, ids...)
	for i := 0; i+512 <= len(with); i += 512 {
		w := slices.Clone(with[i : i+512])
		w[0] = 0
		half = append(half, dataset.Window{IDs: w, First: 256})
	}
	for layout, want := range map[dataset.Layout][]dataset.Window{dataset.EveryToken: every, dataset.SecondHalf: half} {
		var got []dataset.Window
		if err := e.Windows(t.Context(), file("a.txt", b), layout, 512, func(w dataset.Window) error {
			got = append(got, w)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got, want, func(a, b dataset.Window) bool { return a.First == b.First && slices.Equal(a.IDs, b.IDs) }) {
			t.Errorf("%s: %d windows, not the %d wanted", layout, len(got), len(want))
		}
	}
	stop := errors.New("stop")
	calls := 0
	if err := e.Windows(t.Context(), file("a.txt", b), dataset.EveryToken, 512, func(dataset.Window) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Errorf("after an error of the caller: %v in %d calls", err, calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Windows(ctx, file("a.txt", b), dataset.EveryToken, 512, func(dataset.Window) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestJSON checks what text the fields of a document give.
func TestJSON(t *testing.T) {
	e := chatty(t)
	for _, c := range []struct{ lines, want string }{
		{`{"text": "to be"}`, "to be"},
		{"\xef\xbb\xbf" + `{"text": "to be"}` + "\r\n\r\n", "to be"},
		{`{"id": 3, "text": "to be", "messages": null}` + "\n" + `{"text": ""}` + "\n" + `{"text": "or not"}`, "to be|or not"},
		{`{"text": "é\n\u00e9"}`, "é\né"},
		{`{"messages": [{"role": "user", "content": "who"}, {"role": "assistant", "content": "I"}]}`, "<user> who\n<assistant> I\n"},
		{`{"conversations": [{"role": "user", "content": "who"}]}`, "<user> who\n"},
		{`{"conversations": [{"from": "human", "value": "who"}, {"from": "gpt", "value": "I"}]}`, "<user> who\n<assistant> I\n"},
		{`{"prompt": "to be", "completion": " or not"}`, "to be or not"},
		{`{"prompt": [{"role": "user", "content": "who"}], "completion": [{"role": "assistant", "content": "I"}]}`, "<user> who\n<assistant> I\n"},
		{`{"text": "first", "prompt": "x"}`, "first"},
	} {
		var want []int
		for i, s := range strings.Split(c.want, "|") {
			if i > 0 {
				want = append(want, 0)
			}
			want = append(want, e.Tokenizer.Encode(s, false)...)
		}
		var got []int
		err := e.Windows(t.Context(), file("a.jsonl", []byte(c.lines)), dataset.EveryToken, 1+len(want), func(w dataset.Window) error {
			got = w.IDs[1:]
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v %v, want %v", c.lines, got, err, want)
		}
	}
}

// TestErrors checks what is said about files that cannot be used.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"a.txt", "", "a.txt: the file is empty; want text"},
		{"a.jsonl", "", "a.jsonl: the file is empty; want text"},
		{"a.jsonl", "\n\n", "a.jsonl: no document has any text"},
		{"a.txt", "\xef\xbb\xbf", "a.txt: no document has any text"},
		{"a.txt", "to be or not to be", "a.txt: too short: it has 6 tokens, which fill 0 samples of 64 tokens, and 2 are wanted; give more text, or seq_len to 4"},
		{"a.txt", strings.Repeat("to be or not to be ", 14), "a.txt: too short: it has 85 tokens, which fill 1 samples of 64 tokens, and 2 are wanted; give more text, or lower samples to 1, or seq_len to 43"},
		{"a.txt", "caf\xe9 de", "a.txt: offset 3: byte 0xe9 is not UTF-8; convert the text, by iconv -f LATIN1 -t UTF-8 for example"},
		{"a.txt", strings.Repeat("é", 40_000) + "\xc3", "a.txt: offset 80000: byte 0xc3 is not UTF-8; convert the text, by iconv -f LATIN1 -t UTF-8 for example"},
		{"a.txt", "\xff\xfea\x00", "a.txt: offset 0: the text is UTF-16; want UTF-8: iconv -f UTF-16 -t UTF-8"},
		{"a.txt", "\x1f\x8b\x08", "a.txt: offset 0: the file is packed by gzip; unpack it, by gunzip for example"},
		{"a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"caf\xe9\"}", "a.jsonl: line 2, offset 27: byte 0xe9 is not UTF-8; convert the text, by iconv -f LATIN1 -t UTF-8 for example"},
		{"a.jsonl", "{\"text\": \"a\"}\n\n\"b\"", "a.jsonl: line 3, offset 15: not a JSON object but a string; want one object a line, with \"text\", \"messages\", \"conversations\", or \"prompt\" and \"completion\""},
		{"a.jsonl", "{\"text\": \"a\"", "a.jsonl: line 1, offset 12: the JSON ends too early; want one whole object a line"},
		{"a.json", "[{\"text\": \"a\"}]", "a.json: line 1, offset 0: a JSON list begins here; want one object a line: jq -c '.[]' makes them"},
		{"a.json", "{\n  \"text\": \"a\"\n}", "a.json: line 1, offset 0: an object begins here and does not end on its line; want one object a line: jq -c . makes them"},
		{"a.jsonl", `{"title": "a", "body": "b"}`, `a.jsonl: line 1, offset 0: the fields are "body", "title"; want "text", "messages", "conversations", or "prompt" and "completion"`},
		{"a.jsonl", `{"text": null}` + "\n" + `{"messages": []}`, `a.jsonl: no document has any text`},
		{"a.jsonl", `{}`, `a.jsonl: line 1, offset 0: there are no fields; want "text", "messages", "conversations", or "prompt" and "completion"`},
		{"a.jsonl", `{"text": ["a"]}`, `a.jsonl: line 1, offset 0: "text": want a string, have a list`},
		{"a.jsonl", `{"text": 12}`, `a.jsonl: line 1, offset 0: "text": want a string, have 12`},
		{"a.jsonl", `{"prompt": "a"}`, `a.jsonl: line 1, offset 0: "prompt": there is no "completion" beside it`},
		{"a.jsonl", `{"prompt": "a", "completion": []}`, `a.jsonl: line 1, offset 0: "prompt": "completion" beside it: want a string, have a list`},
		{"a.jsonl", `{"messages": "a"}`, `a.jsonl: line 1, offset 0: "messages": want a list of messages, have a string`},
		{"a.jsonl", `{"messages": [{"role": "user", "content": "a"}, 3]}`, `a.jsonl: line 1, offset 0: "messages": message 1: want an object with role and content, have 3`},
		{"a.jsonl", "{\"text\": \"a\"}\n  {\"text\" \"b\"}", `a.jsonl: line 2, offset 24: not JSON: invalid character '"' after object key`},
		{"a.jsonl", `{"messages": [{"role": 1, "content": "a"}]}`, `a.jsonl: line 1, offset 0: "messages": message 0: role: want a string, have 1`},
		{"a.jsonl", `{"messages": [{"role": "user"}]}`, `a.jsonl: line 1, offset 0: "messages": message 0: want role and content, or from and value`},
		{"a.jsonl", `{"conversations": [{"from": "bing", "value": "a"}]}`, `a.jsonl: line 1, offset 0: "conversations": message 0: from "bing" is not known; want assistant, gpt, human, system, user`},
		{"a.jsonl", `{"messages": [{"role": "assistant", "content": "a"}]}`, `a.jsonl: line 1, offset 0: "messages": the chat template refuses the messages: chat: line 1: the template refuses: roles must take turns`},
	} {
		_, err := chatty(t).Sample(t.Context(), file(c.name, []byte(c.data)), dataset.Options{Samples: 2, Tokens: 64})
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %.60q:\n got %v\nwant %s", c.name, c.data, err, c.want)
		}
	}
	_, err := bard(t).Sample(t.Context(), file("a.jsonl", []byte(`{"messages": [{"role": "user", "content": "a"}]}`)), dataset.Options{Samples: 2, Tokens: 64})
	if want := `a.jsonl: line 1, offset 0: "messages": the model has no chat template to lay messages out; give documents as "text"`; err == nil || err.Error() != want {
		t.Errorf("without template: %v, want %s", err, want)
	}
	for _, o := range []dataset.Options{{Samples: 0, Tokens: 64}, {Samples: 1, Tokens: 1}, {Samples: 1 << 20, Tokens: 1 << 10}} {
		if _, err := bard(t).Sample(t.Context(), file("a.txt", []byte("a")), o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// TestDocuments checks that many documents are put behind each other, and
// that what goes between them depends on the tokenizer.
func TestDocuments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var lines strings.Builder
	e := bard(t)
	var want []int
	for i := range 500 {
		words := strings.Repeat("thou art ", 1+r.IntN(9))
		fmt.Fprintf(&lines, "{\"text\": %q}\n", words)
		if i > 0 {
			want = append(want, 0)
		}
		want = append(want, e.Tokenizer.Encode(words, false)...)
	}
	got, err := all(t, e, file("a.jsonl", []byte(lines.String())))
	if err != nil || !slices.Equal(got, want[:len(want)/2*2]) {
		t.Errorf("%d ids, %v, want %d", len(got), err, len(want))
	}
	s, err := e.Sample(t.Context(), file("a.jsonl", []byte(lines.String())), dataset.Options{Samples: 3, Tokens: 100})
	if err != nil || s.Coverage.Documents != 500 || s.Coverage.Tokens != len(want)-499 || s.Coverage.TokensUsed != 297 {
		t.Errorf("%+v, %v", s, err)
	}

	phi := &dataset.Encoder{Tokenizer: load(t, "../../testdata/models/families/phi3/tokenizer.json"), EOS: 5}
	got, err = all(t, phi, file("a.jsonl", []byte("{\"text\": \"a\"}\n{\"text\": \"a\"}")))
	a := phi.Tokenizer.Encode("a", false)
	if want := slices.Concat(a, []int{5}, a); err != nil || !slices.Equal(got, want[:len(want)/2*2]) {
		t.Errorf("without a token that begins texts: %v, %v, want %v", got, err, want)
	}
}

// TestParquet reads files that pyarrow wrote, and the same as JSON lines.
func TestParquet(t *testing.T) {
	const folder = "../parquet/testdata/"
	b, err := os.ReadFile(folder + "expect.json")
	if err != nil {
		t.Fatal(err)
	}
	var expect struct {
		Files map[string]int `json:"files"`
		Rows  [][]any        `json:"rows"`
	}
	if err := json.Unmarshal(b, &expect); err != nil {
		t.Fatal(err)
	}
	e := chatty(t)
	e.Render = func(messages json.RawMessage) (string, error) { return string(messages), nil }
	for name, field := range map[string]string{"pages": "text", "large": "text", "chat_messages": "messages"} {
		b, err := os.ReadFile(folder + name + ".parquet")
		if err != nil {
			t.Fatal(err)
		}
		rows := expect.Rows[expect.Files[name]]
		var lines bytes.Buffer
		for _, r := range rows {
			line, err := json.Marshal(map[string]any{field: r})
			if err != nil {
				t.Fatal(err)
			}
			lines.Write(append(line, '\n'))
		}
		want, err := all(t, e, file("a.jsonl", lines.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := all(t, e, file(name, b)) // without an extension: by its magic
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %d ids, %v, want %d", name, len(got), err, len(want))
		}
	}
	for name, want := range map[string]string{
		"messages_v2": `row group 0, row 3: column "messages": message 0: want role and content, or from and value`,
		"numbers":     `column "text": it holds 64-bit integers, want strings or lists of objects`,
		"latin1":      `row group 0, row 1: column "text": byte 3 of the text: byte 0xe9 is not UTF-8; convert the text, by iconv -f LATIN1 -t UTF-8 for example`,
		"ids":         `the columns are "id"; want "text", "messages", "conversations", or "prompt" and "completion"`,
		"nulls":       `no document has any text`,
		"empty":       `no document has any text`,
	} {
		b, err := os.ReadFile(folder + name + ".parquet")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := all(t, e, file(name+".parquet", b)); err == nil || err.Error() != name+".parquet: "+want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
