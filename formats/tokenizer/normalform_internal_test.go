package tokenizer

import (
	"encoding/json"
	"os"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// TestNormalForms compares with the library, testdata/normalforms.py.
func TestNormalForms(t *testing.T) {
	b, err := os.ReadFile("testdata/normalforms.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows [][5]string
	if err := json.Unmarshal(b, &rows); err != nil || len(rows) != 120 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, r := range rows {
		for i, form := range []norm.Form{norm.NFC, norm.NFD, norm.NFKC, norm.NFKD} {
			if got := normalForm(form)(r[0]); got != r[i+1] {
				t.Errorf("form %d of %+q = %+q, want %+q", i, r[0], got, r[i+1])
			}
		}
	}
}
