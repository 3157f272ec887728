package tokenizer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/llima-build/llima/formats/tokenizer"
)

// TestRealModel compares ids and texts of the model that testdata/real/smollm2
// brought to $LLIMA_REAL, 49,152 tokens, with the library's.
func TestRealModel(t *testing.T) {
	cache := os.Getenv("LLIMA_REAL")
	if cache == "" || os.Getenv("LLIMA_ORT_PYTHON") == "" {
		t.Skip("LLIMA_REAL names no folder with a model, or LLIMA_ORT_PYTHON no Python with the tokenizers package")
	}
	b, err := os.ReadFile(filepath.Join(cache, "SmolLM2-135M-Instruct", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Load(b)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range library(t, map[string][]byte{"smollm2": b}, generate(words(t), generatedTexts)) {
		compareAll(t, name, tok, want)
	}
}
