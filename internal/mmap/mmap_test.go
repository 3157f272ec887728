package mmap_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/internal/mmap"
)

func TestOpen(t *testing.T) {
	for _, want := range []string{"", "x", strings.Repeat("0123456789", 2000)} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := mmap.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(f.Bytes()); got != want {
			t.Errorf("Bytes() has %d bytes, want %d", len(got), len(want))
		}
		for _, part := range [][]byte{f.Bytes(), f.Bytes()[len(want)/3:], f.Bytes()[len(want)/3 : len(want)/2]} {
			f.Drop(part)
			if got := string(f.Bytes()); got != want {
				t.Errorf("Bytes() differ after %d of %d bytes were dropped", len(part), len(want))
			}
		}
		for range 2 {
			if err := f.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
		}
		if f.Bytes() != nil {
			t.Error("Bytes() is not nil after Close")
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := mmap.Open(filepath.Join(dir, "absent")); !os.IsNotExist(err) {
		t.Errorf("Open(absent) = %v, want a not-exist error", err)
	}
	if _, err := mmap.OpenRegular(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("OpenRegular(folder) = %v, want an error", err)
	}
	if _, err := mmap.Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Open(folder) = %v, want an error", err)
	}
}
