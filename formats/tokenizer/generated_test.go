package tokenizer_test

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/llima-build/llima/formats/tokenizer"
)

// generatedTexts is how many texts each kind of tokenizer is compared on.
const generatedTexts = 10_500

// generate makes texts of everything that tokenizers tell apart: words of many
// languages, code, numbers, runs of spaces, special tokens, and characters
// from anywhere.
func generate(words []string, n int) []string {
	rng := rand.New(rand.NewPCG(11, 12))
	ranges := [][2]rune{{0x20, 0x7e}, {0xa0, 0x24f}, {0x370, 0x52f}, {0x590, 0x6ff}, {0x900, 0xdff}, {0xe00, 0xfff}, {0x2000, 0x27ff}, {0x3000, 0x30ff}, {0x4e00, 0x9fff}, {0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe00, 0xffef}, {0x10000, 0x16fff}, {0x1d400, 0x1d7ff}, {0x1f300, 0x1faff}, {0x20000, 0x20fff}}
	spaces := []string{" ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "\r\n", "", "\u00a0", "\u3000", "\u2003", "▁", "        "}
	special := []string{
		"<s>", "</s>", "<unk>", "<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>",
		"<|begin_of_text|>", "<|eot_id|>", "[INST]", "[/INST]", "<image>", "<think>", "</think>", "<0x41>", "<|im_", "Ġ", "Ċ",
	}
	short := []string{"'s", "'LL", "n't", "I'm", "1", "12", "2026", "3.14", "1,000", "0x1F", "½", "٣٤", "!", "...", "->", "();", "{}", "é", "e\u0301", "ﬁ", "\u0000", "\ufeff", "\u200d"}
	piece := func() string {
		switch rng.IntN(12) {
		case 0, 1, 2, 3, 4, 5:
			return words[rng.IntN(len(words))]
		case 6:
			w := []rune(words[rng.IntN(len(words))])
			return string(w[:rng.IntN(len(w)+1)])
		case 7:
			return strings.Map(func(r rune) rune {
				if rng.IntN(3) == 0 {
					return unicode.ToUpper(r)
				}
				return r
			}, words[rng.IntN(len(words))])
		case 8:
			return short[rng.IntN(len(short))]
		case 9:
			return special[rng.IntN(len(special))]
		}
		var b strings.Builder
		for range 1 + rng.IntN(6) {
			r := ranges[rng.IntN(len(ranges))]
			b.WriteRune(r[0] + rng.Int32N(r[1]-r[0]+1))
		}
		return b.String()
	}
	out := make([]string, n)
	for i := range out {
		var b strings.Builder
		for range rng.IntN(12) {
			b.WriteString(piece())
			b.WriteString(spaces[rng.IntN(len(spaces))])
		}
		out[i] = b.String()
	}
	return out
}

// runLibrary writes files and texts to a folder, runs a script of testdata on
// it, and returns the folder and what the script prints.
func runLibrary(t *testing.T, script string, files map[string][]byte, texts []string) (dir, printed string) {
	t.Helper()
	python := os.Getenv("LLIMA_ORT_PYTHON")
	if python == "" {
		t.Skip("LLIMA_ORT_PYTHON names no Python with the tokenizers package")
	}
	dir = t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name+".tokenizer.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "texts.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(python, filepath.Join("testdata", script), dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir, string(out)
}

// library encodes texts with Hugging Face's tokenizers, by name of the file.
func library(t *testing.T, files map[string][]byte, texts []string) map[string][]vector {
	t.Helper()
	dir, _ := runLibrary(t, "encode.py", files, texts)
	all := map[string][]vector{}
	for name := range files {
		all[name] = readIDs(t, filepath.Join(dir, name+".ids.json"), texts)
	}
	return all
}

func readIDs(t *testing.T, path string, texts []string) []vector {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	var out []vector
	lines := bufio.NewReader(f)
	for _, text := range texts {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		v := vector{text: text}
		if err := json.Unmarshal(line, &[]any{&v.ids, &v.plain, &v.decoded, &v.skip}); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

// words are those of the fixed vectors.
func words(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.py")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// compareAll compares a tokenizer with the library's results.
func compareAll(t *testing.T, name string, tok *tokenizer.Tokenizer, want []vector) {
	t.Helper()
	bad := 0
	for _, v := range want {
		ids, plain := tok.Encode(v.text, true), tok.Encode(v.text, false)
		decoded, skip := tok.Decode(v.ids, false), tok.Decode(v.ids, true)
		if slices.Equal(ids, v.ids) && slices.Equal(plain, v.plain) && decoded == v.decoded && skip == v.skip {
			continue
		}
		if bad++; bad <= 3 {
			t.Errorf("%s: %q gives %v, %v, %q, %q, want %v, %v, %q, %q", name, v.text, ids, plain, decoded, skip, v.ids, v.plain, v.decoded, v.skip)
		}
	}
	if bad > 0 {
		t.Errorf("%s: %d of %d texts differ", name, bad, len(want))
	}
}

// TestGenerated compares every kind of tokenizer.json with the library.
func TestGenerated(t *testing.T) {
	if os.Getenv("LLIMA_ORT_PYTHON") == "" {
		t.Skip("LLIMA_ORT_PYTHON names no Python with the tokenizers package")
	}
	files := map[string][]byte{}
	for _, name := range names {
		files[name] = readFile(t, name)
	}
	for name, want := range library(t, files, generate(words(t), generatedTexts)) {
		compareAll(t, name, load(t, name), want)
	}
}

// smallModels are SentencePiece models of each setting.
func smallModels() map[string][]byte {
	runs := message(1, piece("▁▁", 0, 4), 1, piece("▁▁▁▁", 0, 4), 1, piece("\n", 0, 4), 1, piece("▁b", -9, 1), 3, message(3, 0))
	return map[string][]byte{
		"runs": append(smallModel(), runs...), "small": smallModel(), "collapse": smallModel(3, message(4, 1)), "bare": smallModel(3, message(3, 0)),
	}
}

// TestSentencePieceLibrary compares with the library that the models are of,
// on texts of the few characters that they have. It knows no special tokens in
// texts.
func TestSentencePieceLibrary(t *testing.T) {
	python := os.Getenv("LLIMA_ORT_PYTHON")
	if python == "" || exec.Command(python, "-c", "import sentencepiece").Run() != nil {
		t.Skip("LLIMA_ORT_PYTHON names no Python with the sentencepiece package")
	}
	texts := generate(words(t), generatedTexts)
	for i := range texts {
		texts[i] = "a" + strings.Map(func(r rune) rune {
			switch {
			case strings.ContainsRune("ab \n", r):
				return r
			case r%4 < 2:
				return 'a' + r%4
			}
			return ' '
		}, texts[i])
	}
	dir := t.TempDir()
	b, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "texts.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, model := range smallModels() {
		if err := os.WriteFile(filepath.Join(dir, name+".model"), model, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(python, filepath.Join("testdata", "sentencepiece_ids.py"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, model := range smallModels() {
		var want [][]int
		b, err := os.ReadFile(filepath.Join(dir, name+".ids.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &want); err != nil || len(want) != len(texts) {
			t.Fatalf("%d texts, %v", len(want), err)
		}
		tok, _ := loadModel(t, model)
		for i, s := range texts {
			if got := tok.Encode(s, true); !slices.Equal(got, want[i]) {
				t.Fatalf("%s: Encode(%q) = %v, want %v", name, s, got, want[i])
			}
		}
	}
}

// TestGeneratedVocabularies compares vocabularies that became a tokenizer.json.
func TestGeneratedVocabularies(t *testing.T) {
	model, err := os.ReadFile("testdata/llama.model")
	if err != nil {
		t.Fatal(err)
	}
	tokenizers, files := map[string]*tokenizer.Tokenizer{}, map[string][]byte{}
	tokenizers["llama.model"], files["llama.model"] = loadModel(t, model)
	for name, small := range smallModels() {
		tokenizers[name], files[name] = loadModel(t, small)
	}
	for name, want := range library(t, files, generate(words(t), generatedTexts)) {
		compareAll(t, name, tokenizers[name], want)
	}
}
