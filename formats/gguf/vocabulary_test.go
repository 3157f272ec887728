package gguf_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/llima-build/llima/formats/chat"
	"github.com/llima-build/llima/formats/gguf"
	"github.com/llima-build/llima/formats/tokenizer"
)

func loadTokenizer(tb testing.TB, m *gguf.Model) *tokenizer.Tokenizer {
	tb.Helper()
	v, err := m.Vocabulary()
	if err != nil {
		tb.Fatal(err)
	}
	b, err := v.TokenizerJSON()
	if err != nil {
		tb.Fatal(err)
	}
	tok, err := tokenizer.Load(b)
	if err != nil {
		tb.Fatal(err)
	}
	return tok
}

// TestVocabulary compares with what Hugging Face's library gives for the
// tokenizer.json that a file's vocabulary was made from. Some texts are left
// out, since the file lacks what they depend on.
func TestVocabulary(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(models, "tokens.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Texts []string
		IDs   map[string][][]int
	}
	if err := json.Unmarshal(b, &want); err != nil || len(want.IDs) != 11 {
		t.Fatalf("%d models, %v", len(want.IDs), err)
	}
	for name, ids := range want.IDs {
		file := name
		if name == "bard-3m" {
			file = "bard-3m-Q4_K_M"
		}
		tok := loadTokenizer(t, open(t, filepath.Join(models, file+".gguf")))
		compared := 0
		for i, text := range want.Texts {
			if lost(name, text) {
				continue
			}
			compared++
			if got := tok.Encode(text, true); !slices.Equal(got, ids[i]) {
				t.Errorf("%s: Encode(%q) = %v, want %v", name, text, got, ids[i])
			}
			if plain := !strings.ContainsAny(text, "<[é▁") && utf8.ValidString(text); plain && name != "qwen2" && name != "qwen3" { // which compose characters
				if got := tok.Decode(ids[i], true); got != text {
					t.Errorf("%s: Decode(%v) = %q, want %q", name, ids[i], got, text)
				}
			}
		}
		if compared < 60 {
			t.Errorf("%s: %d texts compared, want 60 or more", name, compared)
		}
	}
}

// lost reports a text whose ids depend on what the model's file does not say.
func lost(model, text string) bool {
	switch {
	case strings.HasPrefix(model, "gemma"): // that no merge makes runs of spaces, which are tokens of their own
		return strings.Contains(strings.ReplaceAll(text, "▁", " "), "  ")
	case model == "phi3": // that these two swallow white space or not
		return strings.Contains(text, "<|endoftext|>") || strings.Contains(text, "</s>")
	case model == "mistral": // that no space is put behind special tokens, nor before a text with one
		return strings.ContainsAny(text, "<[▁") || strings.HasPrefix(text, " ")
	}
	return false
}

// TestTokenizerConfig renders the chat template of a file.
func TestTokenizerConfig(t *testing.T) {
	b, err := open(t, filepath.Join(models, "llama.gguf")).TokenizerConfig()
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		BOS      string `json:"bos_token"`
		EOS      string `json:"eos_token"`
		Template string `json:"chat_template"`
		AddBOS   bool   `json:"add_bos_token"`
	}
	if err := json.Unmarshal(b, &c); err != nil || c.BOS != "<s>" || c.EOS != "</s>" || !c.AddBOS {
		t.Errorf("TokenizerConfig() = %s, %v", b, err)
	}
	tmpl, err := chat.Parse(c.Template)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tmpl.Render([]byte(`[{"role":"user","content":"Hi"}]`), chat.Options{Variables: b})
	if err != nil || !strings.Contains(got, "[INST] Hi [/INST]") {
		t.Errorf("Render = %q, %v", got, err)
	}
}

func little(change ...pair) *gguf.Model {
	m, err := gguf.Decode(littleFile(change...).bytes())
	if err != nil {
		panic(err)
	}
	return m
}

// littleFile is the keys of a small vocabulary; each change replaces one.
func littleFile(change ...pair) file {
	return tinyFile("llama", append([]pair{
		text("tokenizer.ggml.model", "llama"), texts("tokenizer.ggml.tokens", "<unk>", "<s>", "▁", "a", "▁a", "aa"),
		array("tokenizer.ggml.scores", 6, 6, slices.Concat(u32(0), u32(0), u32(0), u32(0), u32(0xbf800000), u32(0xc0000000))),
		array("tokenizer.ggml.token_type", 5, 6, slices.Concat(u32(2), u32(3), u32(1), u32(1), u32(1), u32(1))),
		number("tokenizer.ggml.bos_token_id", 1),
	}, change...)...)
}

func TestVocabularySettings(t *testing.T) {
	for _, c := range []struct {
		m    *gguf.Model
		text string
		want string
	}{
		{little(), "aaa aa", "[1 4 5 4 3]"},
		{little(truth("tokenizer.ggml.add_bos_token", false)), "aaa", "[4 5]"},
		{little(truth("tokenizer.ggml.add_space_prefix", false)), "aaa<s>a", "[1 5 3 1 3]"},
		{little(truth("tokenizer.ggml.remove_extra_whitespaces", true)), "  a   aa ", "[1 4 4 3]"},
		{little(number("tokenizer.ggml.eos_token_id", 1), truth("tokenizer.ggml.add_eos_token", true)), "a", "[1 4 1]"},
		{little(), "é", "[1 2 0]"},
	} {
		if got := fmt.Sprint(loadTokenizer(t, c.m).Encode(c.text, true)); got != c.want {
			t.Errorf("Encode(%q) = %s, want %s", c.text, got, c.want)
		}
	}
}

func TestVocabularyRefuses(t *testing.T) {
	bpe := text("tokenizer.ggml.model", "gpt2")
	for _, c := range []struct {
		m    *gguf.Model
		want string
	}{
		{little(pair{key: "tokenizer.ggml.model"}), `key "tokenizer.ggml.model": offset 0: missing; convert the model with its tokenizer`},
		{little(text("tokenizer.ggml.model", "t5")), `"t5" is not supported, only "gpt2" (byte-level BPE) and "llama"`},
		{little(pair{key: "tokenizer.ggml.tokens"}), "tokenizer: tokens: 0, want 1 to"},
		{little(pair{key: "tokenizer.ggml.scores"}), "tokenizer: scores: 0 for 6 tokens"},
		{little(number("tokenizer.ggml.scores", 1)), "want an array of FLOAT32"},
		{little(array("tokenizer.ggml.token_type", 5, 1, u32(1))), "token types: 1 for 6 tokens"},
		{little(array("tokenizer.ggml.token_type", 5, 6, slices.Repeat(u32(9), 6))), "token 0: type 9 is unknown"},
		{little(number("tokenizer.ggml.bos_token_id", 6)), "token 6 is outside the vocabulary of 6"},
		{little(pair{"tokenizer.ggml.bos_token_id", 5, u32(0xffffffff)}), "-1 is no token"},
		{little(truth("tokenizer.ggml.add_eos_token", true)), "texts end with a token that is not named"},
		{little(bpe), `tokenizer.ggml.pre "default" is not supported; these are: codeshell, command-r`},
		{little(bpe, text("tokenizer.ggml.pre", "llama-bpe"), texts("tokenizer.ggml.merges", "ab")), `merges[0]: "ab" has no space`},
		{little(bpe, text("tokenizer.ggml.pre", "llama-bpe"), texts("tokenizer.ggml.merges", "a b")), `model.merges[0]: "b" is not in the vocabulary`},
	} {
		v, err := c.m.Vocabulary()
		var b []byte
		if err == nil {
			b, err = v.TokenizerJSON()
		}
		if err == nil {
			_, err = tokenizer.Load(b)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Vocabulary() = %v, want %q", err, c.want)
		}
	}
}
