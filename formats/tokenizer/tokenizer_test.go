package tokenizer_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/llima-build/llima/formats/tokenizer"
)

const bardFile = "../../testdata/models/bard-3m/tokenizer.json"

// vector is a line of testdata/vectors, which testdata/vectors.py writes.
type vector struct {
	text          string
	ids, plain    []int
	decoded, skip string
}

func readVectors(tb testing.TB, name string) []vector {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "vectors", name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	var rows [][5]json.RawMessage
	if err := json.Unmarshal(b, &rows); err != nil {
		tb.Fatal(err)
	}
	var out []vector
	for _, r := range rows {
		var v vector
		for i, dst := range []any{&v.text, &v.ids, &v.plain, &v.decoded, &v.skip} {
			if err := json.Unmarshal(r[i], dst); err != nil {
				tb.Fatal(err)
			}
		}
		null := []byte("null")
		if bytes.Equal(r[3], null) {
			v.decoded = v.text
		}
		if bytes.Equal(r[4], null) {
			v.skip = v.text
		}
		out = append(out, v)
	}
	return out
}

// readFile returns a tokenizer.json: bard's, one of testdata/files, or bard's
// with the settings of a variant.
func readFile(tb testing.TB, name string) []byte {
	tb.Helper()
	path := filepath.Join("testdata", "files", name+".json")
	if name == "bard-3m" {
		path = bardFile
	}
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if !strings.HasPrefix(name, "variant-") {
		return b
	}
	doc := map[string]json.RawMessage{}
	for _, text := range [][]byte{readFile(tb, "bard-3m"), b} {
		if err := json.Unmarshal(text, &doc); err != nil {
			tb.Fatal(err)
		}
	}
	b, err = json.Marshal(doc)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func load(tb testing.TB, name string) *tokenizer.Tokenizer {
	tb.Helper()
	t, err := tokenizer.Load(readFile(tb, name))
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

var names = []string{
	"bard-3m", "gemma", "gemma3", "lfm2", "llama", "llama3", "llava", "mistral", "paligemma", "phi3", "qwen2",
	"variant-gpt2", "variant-digits", "variant-regex", "variant-metaspace",
}

func TestVectors(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			tok := load(t, name)
			vectors := readVectors(t, name)
			if len(vectors) < 100 {
				t.Fatalf("%d vectors, want 100 or more", len(vectors))
			}
			for _, v := range vectors {
				got := tok.Encode(v.text, true)
				if !slices.Equal(got, v.ids) {
					t.Errorf("Encode(%q, true) = %v, want %v", v.text, got, v.ids)
				}
				plain := tok.Encode(v.text, false)
				if v.plain != nil && !slices.Equal(plain, v.plain) || v.plain == nil && !contains(v.ids, plain) {
					t.Errorf("Encode(%q, false) = %v, want %v", v.text, plain, v.plain)
				}
				if got := tok.Decode(v.ids, false); got != v.decoded {
					t.Errorf("Decode(%v, false) = %q, want %q", v.ids, got, v.decoded)
				}
				if got := tok.Decode(v.ids, true); got != v.skip {
					t.Errorf("Decode(%v, true) = %q, want %q", v.ids, got, v.skip)
				}
			}
		})
	}
}

func contains(ids, part []int) bool {
	for i := range len(ids) - len(part) + 1 {
		if slices.Equal(ids[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// TestGeneralPatterns gives the patterns that are scanned by hand to the
// general engine too, behind an empty group.
func TestGeneralPatterns(t *testing.T) {
	const head = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}`
	const tail = `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	texts := append(readVectors(t, "bard-3m"), vector{text: randomText()})
	for _, expr := range []string{
		head + tail,
		head + "{1,3}" + tail,
		`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
	} {
		byHand, general := withPattern(t, expr), withPattern(t, "(?:)"+expr)
		for _, v := range texts {
			if got, want := general.Encode(v.text, false), byHand.Encode(v.text, false); !slices.Equal(got, want) {
				t.Errorf("%s: Encode(%q) = %v by the general engine, %v by hand", expr, v.text, got, want)
			}
		}
	}
}

// withPattern returns bard's tokenizer with another splitting pattern.
func withPattern(tb testing.TB, expr string) *tokenizer.Tokenizer {
	tb.Helper()
	doc := map[string]any{}
	if err := json.Unmarshal(readFile(tb, "bard-3m"), &doc); err != nil {
		tb.Fatal(err)
	}
	doc["pre_tokenizer"] = map[string]any{"type": "Sequence", "pretokenizers": []any{
		map[string]any{"type": "Split", "pattern": map[string]any{"Regex": expr}, "behavior": "Isolated"},
		map[string]any{"type": "ByteLevel", "use_regex": false},
	}}
	b, err := json.Marshal(doc)
	if err != nil {
		tb.Fatal(err)
	}
	tok, err := tokenizer.Load(b)
	if err != nil {
		tb.Fatal(err)
	}
	return tok
}

// randomText mixes the characters that the patterns tell apart.
func randomText() string {
	alphabet := []rune("aZé漢1²٣ \t\n\r\u00a0\u3000'sStTrReEvVlLdDmMſ!.-😀\u0301\U00013cd7\U00010d40\u0897")
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]rune, 30000)
	for i := range out {
		out[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return string(out)
}

func TestStream(t *testing.T) {
	for _, name := range names {
		tok := load(t, name)
		stream := tok.Stream(false)
		for _, v := range readVectors(t, name) {
			// Prefixes end inside characters.
			for n := range len(v.ids) + 1 {
				if n < len(v.ids) && n > 12 {
					continue
				}
				var b strings.Builder
				for _, id := range v.ids[:n] {
					b.WriteString(stream.Add(id))
				}
				b.WriteString(stream.Flush())
				if got, want := b.String(), tok.Decode(v.ids[:n], false); got != want {
					t.Fatalf("%s: stream of %v = %q, want %q", name, v.ids[:n], got, want)
				}
			}
		}
	}
}

func TestStreamHoldsBack(t *testing.T) {
	tok := load(t, "bard-3m")
	ids := tok.Encode("é😀", false)
	if len(ids) < 5 {
		t.Fatalf("Encode = %v, want byte tokens", ids)
	}
	s := tok.Stream(true)
	var got []string
	for _, id := range ids {
		got = append(got, s.Add(id))
	}
	if joined := strings.Join(got, ""); joined != "é😀" || strings.ContainsRune(joined, '\uFFFD') || got[0] != "" {
		t.Errorf("stream = %q", got)
	}
	half := s.Add(ids[len(ids)-2])
	if got := half + s.Flush(); got != "\uFFFD" {
		t.Errorf("half a character = %q, want U+FFFD", got)
	}
}

func TestTokenID(t *testing.T) {
	tok := load(t, "bard-3m")
	for _, c := range []struct {
		token string
		id    int
		ok    bool
	}{{"<|im_end|>", 3, true}, {"<|begin_of_text|>", 0, true}, {"no such token", 0, false}} {
		if id, ok := tok.TokenID(c.token); id != c.id || ok != c.ok {
			t.Errorf("TokenID(%q) = %d, %v, want %d, %v", c.token, id, ok, c.id, c.ok)
		}
	}
	if got := tok.VocabSize(); got != 2048 {
		t.Errorf("VocabSize() = %d, want 2048", got)
	}
	if !tok.IsSpecial(0) || tok.IsSpecial(100) || tok.IsSpecial(-1) || tok.IsSpecial(1<<20) {
		t.Error("IsSpecial is wrong")
	}
	if got := tok.Decode([]int{-1, 1 << 30, 5000}, false); got != "" {
		t.Errorf("Decode of ids outside the vocabulary = %q", got)
	}
}

func TestInvalidUTF8(t *testing.T) {
	tok := load(t, "bard-3m")
	if got, want := tok.Encode("a\xff\xfeb", false), tok.Encode("a\uFFFDb", false); !slices.Equal(got, want) {
		t.Errorf("Encode = %v, want %v", got, want)
	}
}

func TestConcurrent(t *testing.T) {
	tok := load(t, "qwen2")
	vectors := readVectors(t, "qwen2")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, v := range vectors {
				if got := tok.Encode(v.text, true); !slices.Equal(got, v.ids) {
					t.Errorf("Encode(%q) = %v, want %v", v.text, got, v.ids)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkEncode(b *testing.B) {
	text, err := os.ReadFile("testdata/vectors.py") // code and prose in many languages
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"bard-3m", "llama", "qwen2"} {
		b.Run(name, func(b *testing.B) {
			tok := load(b, name)
			lines := strings.Split(string(text), "\n")
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				for _, l := range lines {
					tok.Encode(l, false)
				}
			}
		})
	}
}
