package lockfile_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/lockfile"
)

func TestRoundTrip(t *testing.T) {
	want := map[string]string{"model/b": "sha256:2", "model/a \"x\" ${y}": "sha256:1", "../m/c\n": "sha256:3"}
	text := lockfile.Encode(want)
	got, diags := lockfile.Decode("llima.lock.hcl", text)
	if len(diags) > 0 || !maps.Equal(got, want) {
		t.Errorf("Decode(%s) = %v, %v, want %v", text, got, diags, want)
	}
	if again := lockfile.Encode(got); string(again) != string(text) {
		t.Errorf("Encode gave %s, then %s", text, again)
	}
	if lines := strings.Count(string(text), "\nfile "); lines != 3 {
		t.Errorf("%d lines of files, want one for each of 3:\n%s", lines, text)
	}
}

// TestDamaged has one file for each rule that it breaks.
func TestDamaged(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"file \"a\" {", "Unclosed block"},
		{"x = 1\n", "holds file blocks only"},
		{"tree \"a\" { digest = \"d\" }\n", "not file"},
		{"file { digest = \"d\" }\n", "not file"},
		{"file \"a\" { }\n", "one digest"},
		{"file \"a\" { digest = 1 }\n", "not a string"},
		{"file \"a\" { digest = null }\n", "not a string"},
		{"file \"a\" { digest = x }\n", "not a string"},
		{"file \"a\" { digest = \"d\" }\nfile \"a\" { digest = \"d\" }\n", "twice"},
	} {
		_, diags := lockfile.Decode("llima.lock.hcl", []byte(c.src))
		if !diags.HasErrors() || !strings.Contains(diags.Error(), c.want) {
			t.Errorf("Decode(%q): %v, want an error with %q", c.src, diags, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("file \"a\" { digest = \"d\" }\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		got, diags := lockfile.Decode("x", src)
		if diags.HasErrors() {
			return
		}
		again, diags := lockfile.Decode("x", lockfile.Encode(got))
		if len(diags) > 0 || !maps.Equal(again, got) {
			t.Errorf("%q: %v, then %v, %v", src, got, again, diags)
		}
	})
}
