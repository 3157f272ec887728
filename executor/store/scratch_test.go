package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/planner/fingerprint"
)

// TestScratch holds that what is kept is found by its digest and is copied
// before it is changed, that what is damaged is gone, and that Trim and what
// died leave nothing.
func TestScratch(t *testing.T) {
	dir := t.TempDir()
	st, err := store.Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(st.Create())
	must(st.Begin())
	c := st.Scratch("m")
	keep := func(fill byte) fingerprint.Digest {
		t.Helper()
		f, err := c.Create(nil, 5000)
		must(err)
		if want := make([]byte, 5000); !bytes.Equal(f.Bytes(), want) {
			t.Error("a new file is not zeros")
		}
		for i := range f.Bytes() {
			f.Bytes()[i] = fill
		}
		d, err := f.Keep()
		must(err)
		if want := fingerprint.Sum(bytes.Repeat([]byte{fill}, 5000)); d != want {
			t.Errorf("Keep() = %s, want %s", d, want)
		}
		return d
	}
	one, two := keep(1), keep(2)

	f, ok, err := c.Copy(one)
	must(err)
	if !ok || f.Bytes()[4999] != 1 {
		t.Fatalf("Copy of what was kept: ok %v", ok)
	}
	f.Bytes()[0] = 7
	must(f.Close())
	must(f.Close()) // is harmless
	if f, ok, err = c.Copy(one); !ok || err != nil || f.Bytes()[0] != 1 {
		t.Errorf("Copy after a copy was changed: ok %v, %v, want what was kept", ok, err)
	}
	must(f.Close())

	hex, _ := two.Hex()
	found, err := filepath.Glob(filepath.Join(dir, store.Dir, "scratch", "*", hex))
	if must(err); len(found) != 1 {
		t.Fatalf("files of %s are %v", two, found)
	}
	must(os.WriteFile(found[0], bytes.Repeat([]byte{3}, 5000), 0o600))
	if _, ok, err := c.Copy(two); ok || err != nil || c.Has(two) {
		t.Errorf("Copy of a damaged file: ok %v, %v; it is there: %v", ok, err, c.Has(two))
	}

	three := keep(4)
	must(c.Trim(three, ""))
	if c.Has(one) || !c.Has(three) {
		t.Errorf("after Trim there are the first: %v, the last: %v", c.Has(one), c.Has(three))
	}
	other, err := c.Create(bytes.NewReader(make([]byte, 100)), 100)
	must(err)
	if other.Bytes()[99] != 0 {
		t.Error("a file from a reader is not what was read")
	}
	if freed, err := st.Evict(6000); freed != 0 || err != nil || !c.Has(three) {
		t.Errorf("Evict within the bound frees %d, %v", freed, err)
	}
	if freed, err := st.Evict(4000); freed != 5000 || err != nil || c.Has(three) {
		t.Errorf("Evict frees %d bytes, %v, want what can be made again", freed, err)
	}
	must(st.End()) // with a file that nobody closed
	if left, err := os.ReadDir(filepath.Join(dir, store.Dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("after End tmp has %v, %v", left, err)
	}
}
