package lang_test

import (
	"testing"

	"github.com/llima-build/llima/hcl/lang"
)

// TestSuggest holds what typos are taken for.
func TestSuggest(t *testing.T) {
	precisions := []string{"BF16", "A_BF16_W_INT8", "A_BF16_W_INT4"}
	layer := []string{"from_end", "index", "is_group", "part", "phase"}
	for _, c := range []struct {
		given      string
		candidates []string
		want       string
	}{
		{"VISON", []string{"PRE", "CACHE", "POST", "VISION"}, "VISION"},
		{"vision", []string{"PRE", "CACHE", "POST", "VISION"}, "VISION"},
		{"POTS", []string{"PRE", "CACHE", "POST", "VISION"}, "POST"},
		{"INT8", precisions, "A_BF16_W_INT8"},
		{"A_BF16_W_INT3", precisions, "A_BF16_W_INT8"},
		{"bf16", precisions, "BF16"},
		{"FP32", precisions, ""},
		{"idx", layer, "index"},
		{"fromend", layer, "from_end"},
		{"colour", layer, ""},
		{"", layer, ""},
		{"d", []string{"a", "b"}, ""},
		{"x", nil, ""},
	} {
		if got := lang.Suggest(c.given, c.candidates); got != c.want {
			t.Errorf("Suggest(%q, %v) = %q, want %q", c.given, c.candidates, got, c.want)
		}
	}
}
