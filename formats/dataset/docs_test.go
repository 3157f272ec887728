package dataset_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocs reads the examples of docs/calibration.md, each as one document a
// line.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/calibration.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```(text|jsonl)\n(.*?)```").FindAllStringSubmatch(string(b), -1)
	if len(examples) != 2 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, x := range examples {
		kind, body := x[1], x[2]
		ids, err := all(t, chatty(t), file("a."+kind, []byte(body)))
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		between := 0
		for _, id := range ids {
			if id == 0 {
				between++
			}
		}
		if want := strings.Count(body, "\n") - 1; kind == "jsonl" && between != want {
			t.Errorf("%s: %d documents, want %d", kind, between+1, want+1)
		}
	}
}
