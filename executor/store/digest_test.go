package store_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

const bard = "../../testdata/models/bard-3m"

// TestDigestOfTensors compares the digest of every tensor, asked for by many
// at once, with that of its bytes, and a file's with that of all its bytes.
func TestDigestOfTensors(t *testing.T) {
	ck, err := source.Open(bard, source.Auto)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ck.Close(); err != nil {
			t.Error(err)
		}
	}()
	st, err := store.Open(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, name := range ck.Names() {
		c, _ := ck.Weight(name)
		wg.Go(func() {
			b, err := ck.Bytes(c)
			if err != nil {
				t.Error(err)
				return
			}
			got, err := st.Digest(planner.TensorSources(ck, c)[0])
			if want := fingerprint.Sum(b); err != nil || got != want {
				t.Errorf("Digest(%s) = %s, %v, want %s", c.Name, got, err, want)
			}
		})
	}
	wg.Wait()
	path := filepath.Join(bard, "tokenizer.json")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := st.Digest(planner.Source{Name: "file/tokenizer.json", Path: path})
	if want := fingerprint.Sum(whole); err != nil || got != want {
		t.Errorf("Digest(tokenizer.json) = %s, %v, want %s", got, err, want)
	}
}
