package main_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/cmd/internal/cli"
)

// TestTerminal holds when a build draws over its lines and when it colours
// them: on a terminal that a person looks at.
func TestTerminal(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := fmt.Sprintf("model \"m\" {\n source = %q\n output = \"out\"\n}\n", relative(t, dir, filepath.Join(root, "testdata/models/bard-3m")))
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		terminal bool
		vars     map[string]string
		args     []string
		live     bool
	}{
		{name: "pipe"},
		{name: "terminal", terminal: true, live: true},
		{name: "dumb", terminal: true, vars: map[string]string{"TERM": "dumb"}},
		{name: "CI", terminal: true, vars: map[string]string{"CI": "true"}},
		{name: "without colours", terminal: true, vars: map[string]string{"NO_COLOR": "1"}, live: true},
		{name: "plain", terminal: true, args: []string{"--progress=plain"}},
		{name: "tty", args: []string{"--progress=tty"}, live: true},
	} {
		env := cli.System()
		var stderr bytes.Buffer
		env.Stderr, env.Stdout, env.StderrTerminal = &stderr, io.Discard, c.terminal
		env.Getenv = func(name string) string { return c.vars[name] }
		args := append([]string{"build", "-C", dir, "--force", "m:devkit"}, c.args...)
		if code := cli.Main(env, args); code != 0 {
			t.Fatalf("%s: exit code %d\n%s", c.name, code, stderr.String())
		}
		out := stderr.String()
		if got := strings.Contains(out, "\x1b["); got != c.live {
			t.Errorf("%s: escapes %v, want %v:\n%q", c.name, got, c.live, out)
		}
		if got := strings.Contains(out, "[1/1] m:devkit  "); got == c.live {
			t.Errorf("%s: a whole line %v, want %v:\n%q", c.name, got, !c.live, out)
		}
	}
}
