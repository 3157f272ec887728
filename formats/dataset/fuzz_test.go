package dataset_test

import (
	"testing"
	"unicode/utf8"

	"github.com/llima-build/llima/formats/dataset"
)

// fuzz reads a file of any bytes, which must not panic, and must give windows
// as long as was asked for where it gives any.
func fuzz(t *testing.T, e *dataset.Encoder, name string, b []byte) {
	t.Helper()
	s, err := e.Sample(t.Context(), file(name, b), dataset.Options{Samples: 1, Tokens: 3, Seed: int64(len(b))})
	if err != nil {
		if !utf8.ValidString(err.Error()) {
			t.Errorf("error is not text: %q", err)
		}
		return
	}
	if len(s.Windows) != 1 || len(s.Windows[0]) != 3 || s.Coverage.Documents < 1 {
		t.Errorf("%+v", s)
	}
}

func FuzzText(f *testing.F) {
	e := bard(f)
	for _, s := range []string{"", "to be or not to be", "caf\xe9", "\xef\xbb\xbfa", "PAR1aaaaPAR1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, e, "a.txt", b) })
}

func FuzzJSON(f *testing.F) {
	e := chatty(f)
	for _, s := range []string{
		`{"text": "to be or not"}`, `{"messages": [{"role": "user", "content": "who"}]}`,
		`{"conversations": [{"from": "human", "value": "who"}]}`, `{"prompt": [{}], "completion": []}`, "[\n", "{\"text\":\"\\ud800\"}\n\n{}", `{"prompt": [ ], "completion": [{"role": "user", "content": ""}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, e, "a.jsonl", b) })
}
