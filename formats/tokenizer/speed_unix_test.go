//go:build unix

package tokenizer_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// cpuSeconds returns the time that the process has computed, collecting
// garbage included: other programs on the machine do not count.
func cpuSeconds(t *testing.T) float64 {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// TestSpeed: on one thread, no kind of tokenizer is slower than the library,
// on documents by line, by paragraph and as a whole.
func TestSpeed(t *testing.T) {
	if os.Getenv("LLIMA_LONG") == "" {
		t.Skip("LLIMA_LONG is not set")
	}
	var document strings.Builder
	paths, err := filepath.Glob("../../*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, more...) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		document.Write(b)
	}
	text := document.String()
	files := map[string][]byte{}
	for _, name := range names {
		files[name] = readFile(t, name)
	}
	for kind, texts := range map[string][]string{"lines": strings.Split(text, "\n"), "paragraphs": strings.Split(text, "\n\n"), "whole": {text}} {
		_, printed := runLibrary(t, "speed.py", files, texts)
		for line := range strings.Lines(printed) {
			var name string
			var seconds float64
			if _, err := fmt.Sscan(line, &name, &seconds); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			own, tok := math.Inf(1), load(t, name)
			for range 5 {
				start := cpuSeconds(t)
				for _, s := range texts {
					tok.Encode(s, false)
				}
				own = min(own, cpuSeconds(t)-start)
			}
			rate := float64(len(text)) / 1e6
			t.Logf("%s, %s: %.1f MB/s, the library %.1f", name, kind, rate/own, rate/seconds)
			if own > seconds {
				t.Errorf("%s, %s: %.3fs, the library takes %.3fs", name, kind, own, seconds)
			}
		}
	}
}
