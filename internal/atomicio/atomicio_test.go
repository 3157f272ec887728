package atomicio_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/llima-build/llima/internal/atomicio"
)

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantFiles(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != want {
		t.Errorf("%v in the folder, want %d files", entries, want)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, want := range []string{"first", "", "second"} {
		if err := atomicio.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, path); got != want {
			t.Errorf("the file holds %q, want %q", got, want)
		}
	}
	wantFiles(t, dir, 1)
	if runtime.GOOS == "windows" {
		return
	}
	if err := atomicio.WriteFile(path, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o400 {
		t.Errorf("mode %v, want 0400", got)
	}
}

func TestCommitAndAbort(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := atomicio.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, commit := range []bool{false, true} {
		f, err := atomicio.Create(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("new")); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, path); got != "old" {
			t.Errorf("the file holds %q before Commit, want %q", got, "old")
		}
		end, want := f.Abort, "old"
		if commit {
			end, want = f.Commit, "new"
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := f.Abort(); err != nil {
			t.Errorf("Abort() = %v, want nil the second time", err)
		}
		if err := f.Commit(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Commit() = %v after the end, want ErrClosed", err)
		}
		if _, err := f.Write(nil); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Write() = %v after the end, want ErrClosed", err)
		}
		if got := contents(t, path); got != want {
			t.Errorf("the file holds %q, want %q", got, want)
		}
		wantFiles(t, dir, 1)
	}
}

func TestErrorsLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	if err := atomicio.WriteFile(filepath.Join(dir, "absent", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteFile(absent/file) = %v, want a not-exist error", err)
	}
	folder := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(folder, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicio.WriteFile(folder, nil, 0o600); err == nil {
		t.Error("WriteFile(folder) = nil, want an error")
	}
	wantFiles(t, dir, 1)
}

func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := atomicio.WriteFile(path, []byte("whole"), 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := contents(t, path); got != "whole" {
		t.Errorf("the file holds %q, want %q", got, "whole")
	}
	wantFiles(t, dir, 1)
}
