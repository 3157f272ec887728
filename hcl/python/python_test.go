package python_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/llima-build/llima/hcl/python"
	"github.com/llima-build/llima/internal/diag"
)

var update = flag.Bool("update", false, "rewrite golden files")

const entry = "get_layer_configuration"

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// plain writes a result as testdata/oracle.py does.
func plain(v any) any {
	switch v := v.(type) {
	case python.Dict:
		return ordered(v)
	case python.Other:
		return ordered(python.Dict{{Key: "", Value: v.Text}})
	}
	return v
}

// ordered is a dict that keeps its order in JSON.
type ordered python.Dict

func (o ordered) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, item := range o {
		if i > 0 {
			b.WriteString(", ")
		}
		key, err := json.Marshal(item.Key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(plain(item.Value))
		if err != nil {
			return nil, err
		}
		b.WriteString(string(key) + ": " + string(value))
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

var exceptionName = regexp.MustCompile(`^([A-Za-z]+(?:Error|Exception|Iteration))\b`)

// run asks a script about every layer, and writes what oracle.py writes.
func run(t *testing.T, file string) string {
	t.Helper()
	const layers = 28
	var printed strings.Builder
	s, diags := python.Load(t.Context(), filepath.Base(file), read(t, file), entry, func(text string) { printed.WriteString(text) })
	if diags.HasErrors() {
		t.Fatalf("%s: %v", file, diags)
	}
	var b strings.Builder
	ask := func(part string, group bool, index int) string {
		v, _, problem := s.Call(python.Dict{{Key: "num_hidden_layers", Value: layers}},
			python.Dict{{Key: "part", Value: part}, {Key: "is_group", Value: group}, {Key: "index", Value: index}})
		if problem != nil {
			return exceptionName.FindString(problem.Detail)
		}
		var text strings.Builder
		enc := json.NewEncoder(&text)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(plain(v)); err != nil {
			t.Fatal(err)
		}
		return strings.NewReplacer(`":`, `": `, `,"`, `, "`).Replace(strings.TrimSpace(text.String()))
	}
	for _, p := range []struct {
		part   string
		groups []bool
		count  int
	}{{"PRE", []bool{true, false}, layers}, {"CACHE", []bool{true, false}, layers}, {"POST", []bool{true, false}, layers}, {"VISION", []bool{false}, 1}} {
		for _, group := range p.groups {
			low, last := 0, ""
			for i := range p.count + 1 {
				now := ""
				if i < p.count {
					now = ask(p.part, group, i)
				}
				if i > 0 && now != last {
					fmt.Fprintf(&b, "%s %s %d-%d %s\n", p.part, map[bool]string{true: "True", false: "False"}[group], low, i-1, last)
					low = i
				}
				last = now
			}
		}
	}
	return b.String() + "--\n" + printed.String()
}

// TestConfigurations compares scripts as people write them with what CPython
// made of them: results, exceptions, and what they print.
func TestConfigurations(t *testing.T) {
	files, err := filepath.Glob("testdata/configs/*.py")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d scripts: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".py"), func(t *testing.T) {
			want := read(t, strings.TrimSuffix(file, ".py")+".golden")
			if got := run(t, file); got != want {
				t.Errorf("got\n%s\nCPython gave\n%s", firstDifference(got, want), firstDifference(want, got))
			}
		})
	}
}

// firstDifference returns a few lines of a from where it differs from b.
func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range x {
		if i >= len(y) || x[i] != y[i] {
			return strings.Join(x[i:min(i+4, len(x))], "\n")
		}
	}
	return "…"
}

// report writes diagnostics with their places, as a person would quote them.
func report(list diag.List, src string) string {
	var b strings.Builder
	for _, d := range list {
		piece := ""
		if r := d.Subject; r != nil {
			piece, _, _ = strings.Cut(src[r.Start.Byte:min(r.End.Byte, len(src))], "\n")
			fmt.Fprintf(&b, "%s:%d:%d: ", r.File, r.Start.Line, r.Start.Column)
		}
		fmt.Fprintf(&b, "%s\n  > %s\n  %s\n", d.Summary, piece, strings.ReplaceAll(d.Detail, "\n", "\n  "))
	}
	return b.String()
}

// TestRefused holds what is said of scripts that cannot be used.
func TestRefused(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/refused.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range archive.Files {
		s, diags := python.Load(t.Context(), f.Name, string(f.Data), entry, nil)
		if !diags.HasErrors() {
			_, _, problem := s.Call(python.Dict{{Key: "num_hidden_layers", Value: 28}},
				python.Dict{{Key: "part", Value: "PRE"}, {Key: "is_group", Value: true}, {Key: "index", Value: 5}})
			if problem != nil {
				diags = diag.List{*problem}
			}
		}
		if !diags.HasErrors() {
			t.Errorf("%s: accepted, want it refused", f.Name)
		}
		all.WriteString(report(diags, string(f.Data)))
	}
	const golden = "testdata/refused.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, golden); all.String() != want {
		t.Errorf("got\n%s\nwant\n%s", firstDifference(all.String(), want), firstDifference(want, all.String()))
	}
}

// FuzzLoad looks for scripts that panic or never end.
func FuzzLoad(f *testing.F) {
	python.LimitSteps(10_000)
	f.Cleanup(func() { python.LimitSteps(1_000_000) })
	files, err := filepath.Glob("testdata/configs/*.py")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	archive, err := txtar.ParseFile("testdata/refused.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		f.Add(string(file.Data))
	}
	f.Fuzz(func(t *testing.T, src string) {
		s, diags := python.Load(t.Context(), "config.py", src, entry, nil)
		for _, d := range diags {
			if d.Detail == "" || strings.Contains(d.Detail, "$") && !strings.Contains(src, "$") {
				t.Errorf("%q: %s", src, d.Detail)
			}
		}
		if diags.HasErrors() {
			return
		}
		_, _, _ = s.Call(python.Dict{{Key: "num_hidden_layers", Value: 28}},
			python.Dict{{Key: "part", Value: "PRE"}, {Key: "is_group", Value: true}, {Key: "index", Value: 5}})
	})
}

// TestAgainstPython asks CPython again, where LLIMA_ORT_PYTHON names one.
func TestAgainstPython(t *testing.T) {
	interpreter := os.Getenv("LLIMA_ORT_PYTHON")
	if interpreter == "" {
		t.Skip("LLIMA_ORT_PYTHON names no Python")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/configs")); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.py"))
	if err != nil {
		t.Fatal(err)
	}
	oracle, err := filepath.Abs("testdata/oracle.py")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(interpreter, append([]string{oracle}, files...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, file := range files {
		golden := strings.TrimSuffix(file, ".py") + ".golden"
		if got, want := read(t, golden), read(t, filepath.Join("testdata/configs", filepath.Base(golden))); got != want {
			t.Errorf("%s: CPython gives\n%s\nstored is\n%s", filepath.Base(file), firstDifference(got, want), firstDifference(want, got))
		}
	}
}

// TestInterrupted ends a script from outside.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, diags := python.Load(ctx, "config.py", "x = 0\nwhile True:\n    x += 1\n", entry, nil)
	if !diags.HasErrors() || !strings.Contains(diags[0].Detail, "interrupted") {
		t.Errorf("Load with an ended context = %v, want it interrupted", diags)
	}
}
