package tokenizer_test

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/llima-build/llima/formats/tokenizer"
)

// loadModel loads a tokenizer.model by way of a tokenizer.json.
func loadModel(tb testing.TB, model []byte) (*tokenizer.Tokenizer, []byte) {
	tb.Helper()
	v, err := tokenizer.ParseSentencePiece(model)
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
	return tok, b
}

// TestSentencePiece: a tokenizer.model gives the ids of the tokenizer.json
// that transformers made of it.
func TestSentencePiece(t *testing.T) {
	model, err := os.ReadFile("testdata/llama.model")
	if err != nil {
		t.Fatal(err)
	}
	tok, _ := loadModel(t, model)
	want := load(t, "llama")
	if tok.VocabSize() != want.VocabSize() {
		t.Errorf("VocabSize() = %d, want %d", tok.VocabSize(), want.VocabSize())
	}
	for _, v := range readVectors(t, "llama") {
		if got := tok.Encode(v.text, true); !slices.Equal(got, v.ids) {
			t.Errorf("Encode(%q) = %v, want %v", v.text, got, v.ids)
		}
		if got := tok.Decode(v.ids, true); got != v.skip {
			t.Errorf("Decode(%v) = %q, want %q", v.ids, got, v.skip)
		}
	}
}

// message encodes fields: numbers, strings and messages.
func message(fields ...any) []byte {
	var b []byte
	for i := 0; i < len(fields); i += 2 {
		n := protowire.Number(fields[i].(int))
		switch v := fields[i+1].(type) {
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
		case float32:
			b = protowire.AppendFixed32(protowire.AppendTag(b, n, protowire.Fixed32Type), math.Float32bits(v))
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
		case []byte:
			b = protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
		}
	}
	return b
}

func piece(text string, score float32, kind int) []byte { return message(1, text, 2, score, 3, kind) }

// smallModel is a BPE model; more are further fields of it.
func smallModel(more ...any) []byte {
	pieces := message(1, piece("<unk>", 0, 2), 1, piece("<s>", 0, 3), 1, piece("</s>", 0, 3), 1, piece("▁", -3, 1), 1, piece("a", -3, 1), 1, piece("b", -3, 1), 1, piece("▁a", -1, 1), 1, piece("ab", 0, 1), 1, piece("[X]", 0, 4))
	return append(pieces, message(append([]any{2, message(3, 2), 3, message(4, 0)}, more...)...)...)
}

func TestSentencePieceSettings(t *testing.T) {
	for _, c := range []struct {
		model      []byte
		text, want string
	}{
		{smallModel(), "ab a", "[1 3 7 6]"},
		{smallModel(), "  ab", "[1 3 3 3 7]"},
		{smallModel(), "a[X]b", "[1 6 8 3 5]"},
		{smallModel(3, message(3, 0)), "ab a", "[1 7 6]"},
		{smallModel(3, message(4, 1)), "  ab   a ", "[1 3 7 6]"},
		{smallModel(2, message(41, -1&0xffffffff)), "a", "[6]"},
		{smallModel(2, message(41, 2)), "a", "[2 6]"},
		{smallModel(), "é", "[1 3 0]"},
	} {
		tok, _ := loadModel(t, c.model)
		if got := fmt.Sprint(tok.Encode(c.text, true)); got != c.want {
			t.Errorf("Encode(%q) = %s, want %s", c.text, got, c.want)
		}
	}
}

func TestSentencePieceRefuses(t *testing.T) {
	for _, c := range []struct {
		model []byte
		want  string
	}{
		{nil, "model_type: 1 (Unigram) is not supported, only BPE; use the checkpoint's tokenizer.json"},
		{message(2, message(3, 2)), "pieces: none"},
		{smallModel(2, message(3, 1)), "model_type: 1 (Unigram)"},
		{smallModel(2, message(24, 1)), "treat_whitespace_as_suffix is not supported"},
		{smallModel(3, message(2, "x")), "precompiled_charsmap is not supported"},
		{smallModel(3, message(5, 0)), "escape_whitespaces = false"},
		{smallModel(1, 7), ": pieces: wire type 0, want 2"},
		{smallModel(2, "\xff"), "offset"},
		{smallModel(1, message(2, 7)), "score: wire type 0, want 5"},
		{smallModel(1, message(1, "q", 3, 9)), `piece "q": type 9 is unknown`},
		{[]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, "offset 0: field 1: unexpected EOF"},
		{[]byte{0xff}, "offset 0: "},
	} {
		v, err := tokenizer.ParseSentencePiece(c.model)
		if v != nil || err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "tokenizer: tokenizer.model: ") {
			t.Errorf("ParseSentencePiece(%q) = %v, want %q", c.model, err, c.want)
		}
	}
}

// TestVocabularyBounds: tokens that can be made in many ways are refused
// before they are.
func TestVocabularyBounds(t *testing.T) {
	for _, c := range []struct {
		tokens int
		bytes  func(i int) int
		want   string
	}{
		{1000, func(i int) int { return i + 1 }, "ways to merge each token on average"},
		{2, func(i int) int { return 1 + 600*i }, "token 1: 601 bytes exceed 512"},
	} {
		v := &tokenizer.Vocabulary{BOS: -1, EOS: -1, Unknown: -1}
		for i := range c.tokens {
			v.Tokens, v.Scores = append(v.Tokens, strings.Repeat("a", c.bytes(i))), append(v.Scores, 0)
		}
		if _, err := v.TokenizerJSON(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("TokenizerJSON() = %v, want %q", err, c.want)
		}
	}
}

// TestClaims: a length that a model claims and does not have costs nothing.
func TestClaims(t *testing.T) {
	model := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.BytesType), 4<<30)
	model = append(model, make([]byte, 1000)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := tokenizer.ParseSentencePiece(model)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 16<<10 {
		t.Errorf("ParseSentencePiece() = %v, %d bytes allocated, want an error for less than 16 KiB", err, got)
	}
}

func FuzzParseSentencePiece(f *testing.F) {
	f.Add(smallModel())
	f.Add(smallModel(3, message(3, 0, 4, 1)))
	if b, err := os.ReadFile("testdata/llama.model"); err == nil {
		f.Add(b[:2000])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := tokenizer.ParseSentencePiece(b)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "tokenizer: ") {
				t.Errorf("%v, want the package's name in front", err)
			}
			return
		}
		doc, err := v.TokenizerJSON()
		if err != nil {
			return
		}
		tok, err := tokenizer.Load(doc)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "tokenizer: ") {
				t.Errorf("%v, want the package's name in front", err)
			}
			return
		}
		ids := tok.Encode("ab a[X] é", true)
		for _, id := range ids {
			if id < 0 || id >= len(v.Tokens) {
				t.Errorf("id %d is outside the vocabulary of %d", id, len(v.Tokens))
			}
		}
		tok.Decode(ids, false)
	})
}
