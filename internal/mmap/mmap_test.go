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

// TestMapWritable holds that what is written is in the file after Close.
func TestMapWritable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(strings.Repeat("a", 10000)), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, err := mmap.MapWritable(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	copy(w.Bytes()[9000:], "written")
	for range 2 {
		if err := w.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || len(got) != 10000 || string(got[8999:9008]) != "awrittena" {
		t.Errorf("file holds %d bytes, %q at 8999, %v", len(got), got[8999:9008], err)
	}
	empty, err := os.Create(filepath.Join(t.TempDir(), "empty"))
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close() //nolint:errcheck // nothing was written
	if _, err := mmap.MapWritable(empty); err == nil {
		t.Error("MapWritable of an empty file succeeds")
	}
}
