package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llima-build/llima/cmd/internal/cli"
	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/modalix/runtime"
)

// hostileJSON are values that a key of a JSON document may be given by whoever
// wants to break its reader.
var hostileJSON = []string{`null`, `-1`, `0`, `1e9`, `4611686018427387904`, `1.5`, `"x"`, `""`, `[]`, `{}`, `[[[]]]`, `true`, `"../../../etc/passwd"`, `99999999999999999999`}

// TestDamagedOutput damages every file that a run reads, at places and in ways
// of a fixed seed, and runs: nothing panics or hangs, nothing allocates much
// more than the sound output does, and each error names a file of the output: the
// damaged one, or one that does not fit it. What cannot be seen, a flipped
// weight, only has to be survived.
func TestDamagedOutput(t *testing.T) {
	sima := filepath.Join(buildSmall(t, "A_BF16_W_INT4"), "sima_files")
	var err error
	base := measured(t, func() { err = tryRun(t, sima) })
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, pattern := range []string{"devkit/*", "elf_files/*"} {
		found, err := filepath.Glob(filepath.Join(sima, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 20 {
		t.Fatalf("the output has %d files", len(files))
	}
	r := rand.New(rand.NewPCG(2026, 4))
	cases, refused := 0, 0
	for _, path := range files {
		sound, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range damages(r, path, sound) {
			cases++
			replace(t, path, d.data)
			var err error
			allocated := measured(t, func() { err = tryRun(t, sima) })
			if err != nil {
				refused++
			}
			what := fmt.Sprintf("%s: %s", filepath.Base(path), d.what)
			switch {
			case err != nil && !strings.Contains(err.Error(), sima):
				t.Errorf("%s: error names no file: %v", what, err)
			case err != nil && strings.Contains(err.Error(), "Go "):
				t.Errorf("%s: %v", what, err)
			case allocated > base+(64<<20):
				t.Errorf("%s: %d MiB allocated, %d without damage", what, allocated>>20, base>>20)
			}
		}
		replace(t, path, sound)
	}
	t.Logf("%d cases, %d refused", cases, refused)
	if err := tryRun(t, sima); err != nil {
		t.Errorf("the output that was put back: %v", err)
	}
}

// buildSmall builds the checked-in model with a context of 128 tokens.
func buildSmall(t *testing.T, precision string) string {
	t.Helper()
	source, err := filepath.Abs("../../testdata/models/bard-3m")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := fmt.Sprintf("model \"m\" {\n  source = %q\n  output = \"out\"\n  context_length = 128\n  language_group_size = 64\n  precision = %q\n}\n", filepath.ToSlash(source), precision)
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	env := cli.System()
	var stderr strings.Builder
	env.Stderr, env.Stdout = &stderr, io.Discard
	if code := cli.Main(env, []string{"build", "-C", dir, "--progress=quiet"}); code != 0 {
		t.Fatalf("build: exit code %d\n%s", code, stderr.String())
	}
	return filepath.Join(dir, "out")
}

// replace writes a file anew: it may be a link to a blob, and mapped.
func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.Remove(path), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// tryRun opens an output and generates from a text; it fails the test where
// that takes longer than any of it may.
func tryRun(t *testing.T, sima string) (err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := runtime.Open(sima)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	ids, err := m.EncodeChat("What's in a name?\n")
	if err != nil {
		return err
	}
	opt := m.Defaults()
	opt.MaxTokens = 2
	_, err = m.Generate(ctx, ids, opt, nil)
	if ctx.Err() != nil {
		t.Errorf("not done within the time: %v", err)
	}
	return err
}

// measured returns how many bytes do allocated in all.
func measured(t *testing.T, do func()) int64 {
	t.Helper()
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	do()
	goruntime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

type damage struct {
	what string
	data []byte
}

// effort scales the number of cases.
func effort() int {
	if os.Getenv("LLIMA_LONG") != "" {
		return 20
	}
	return 1
}

// damages lists what to do to a file: cut it, flip bits in it, write numbers
// over it; and where it is JSON, give its keys other values.
func damages(r *rand.Rand, path string, sound []byte) []damage {
	var out []damage
	add := func(data []byte, format string, args ...any) {
		out = append(out, damage{fmt.Sprintf(format, args...), data})
	}
	n := len(sound)
	for _, cut := range []int{0, 1, n / 3, n - 1} {
		add(sound[:max(cut, 0)], "cut to %d of %d bytes", cut, n)
	}
	flips, front := 3*effort(), min(n, 4096)
	if filepath.Ext(path) == ".elf" {
		flips *= 2
	}
	for i := range flips {
		at := r.IntN(n)
		if i%2 == 0 { // headers stand in front, and at the end
			at = r.IntN(front)
			if i%4 == 0 {
				at = n - 1 - at
			}
		}
		b := slices.Clone(sound)
		if i%3 == 0 {
			copy(b[at:], []byte{0xff, 0xff, 0xff, 0x7f}[:min(4, n-at)])
		} else {
			b[at] ^= 1 << r.IntN(8)
		}
		add(b, "byte %d is %#02x, was %#02x", at, b[at], sound[at])
	}
	if filepath.Ext(path) == ".json" {
		out = append(out, damagedJSON(r, sound)...)
	}
	return out
}

// damagedJSON gives keys of a document hostile values, and takes them away.
func damagedJSON(r *rand.Rand, sound []byte) []damage {
	var out []damage
	for i, at := range jsonValues(sound) {
		if i >= 10*effort() && r.IntN(40) != 0 { // an index, a vocabulary
			continue
		}
		v := hostileJSON[r.IntN(len(hostileJSON))]
		b := slices.Concat(sound[:at.start], []byte(v), sound[at.end:])
		out = append(out, damage{fmt.Sprintf("offset %d: %.40s is %s", at.start, sound[at.start:at.end], v), b})
		b = slices.Clone(sound)
		b[at.key-2] = '~' // the last letter of the key, before the quote
		out = append(out, damage{fmt.Sprintf("offset %d: the key is gone", at.key), b})
	}
	return out
}

// jsonValue is where a key of a document ends and where its value lies.
type jsonValue struct{ key, start, end int }

// jsonValues finds the values behind the keys of a JSON document.
func jsonValues(doc []byte) []jsonValue {
	var out []jsonValue
	dec := json.NewDecoder(strings.NewReader(string(doc)))
	var walk func()
	walk = func() {
		t, err := dec.Token()
		if err != nil {
			return
		}
		switch t {
		case json.Delim('{'):
			for dec.More() {
				if _, err := dec.Token(); err != nil {
					return
				}
				key := int(dec.InputOffset())
				start := key
				for start < len(doc) && strings.IndexByte(": \n", doc[start]) >= 0 {
					start++
				}
				walk()
				out = append(out, jsonValue{key, start, int(dec.InputOffset())})
			}
			_, _ = dec.Token()
		case json.Delim('['):
			for dec.More() {
				walk()
			}
			_, _ = dec.Token()
		}
	}
	walk()
	return out
}

// TestDamagedCheckpoint does the same to every file of a checkpoint, with a
// single file of weights and with shards, and plans and builds DEVKIT, which
// reads the small files.
func TestDamagedCheckpoint(t *testing.T) {
	dir := t.TempDir()
	model := filepath.Join(dir, "model")
	copyTree(t, "../../testdata/models/bard-3m", model)
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte("model \"m\" {\n  source = \"model\"\n  output = \"out\"\n  context_length = 128\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(2026, 5))
	cases, refused := 0, 0
	try := func(names ...string) {
		t.Helper()
		base := measured(t, func() { mustPlan(t, dir) })
		for _, name := range names {
			path := filepath.Join(model, name)
			sound, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range damages(r, path, sound) {
				cases++
				replace(t, path, d.data)
				var code int
				var stderr string
				allocated := measured(t, func() {
					for _, args := range [][]string{{"plan"}, {"build", "--progress=quiet", "m:devkit"}} {
						if code, stderr = attempt(t, append(args, "-C", dir)...); code != 0 {
							refused++
							break
						}
					}
				})
				switch what := name + ": " + d.what; {
				case code != 0 && code != 1 && code != 4, strings.Contains(stderr, "internal error"), strings.Contains(stderr, " Go "):
					t.Errorf("%s: exit code %d\n%s", what, code, stderr)
				case code != 0 && !strings.Contains(stderr, name) && !strings.Contains(stderr, "config.json") && !strings.Contains(stderr, "tensor \""):
					t.Errorf("%s: error names neither file nor tensor\n%s", what, stderr)
				case allocated > 4*base+(64<<20):
					t.Errorf("%s: %d MiB allocated, %d to plan without damage", what, allocated>>20, base>>20)
				}
			}
			replace(t, path, sound)
		}
	}
	try("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
	shards(t, model)
	try("model.safetensors.index.json", "model-2.safetensors")
	t.Logf("%d cases, %d refused", cases, refused)
}

// attempt runs a command within this process.
func attempt(t *testing.T, args ...string) (code int, stderr string) {
	t.Helper()
	env := cli.System()
	var b strings.Builder
	env.Stdout, env.Stderr = io.Discard, &b
	code = cli.Main(env, args)
	return code, b.String()
}

func mustPlan(t *testing.T, dir string) {
	t.Helper()
	if code, stderr := attempt(t, "plan", "-C", dir); code != 0 {
		t.Fatalf("plan: exit code %d\n%s", code, stderr)
	}
}

// shards splits model.safetensors in two, with an index.
func shards(t *testing.T, model string) {
	t.Helper()
	f, err := safetensors.Open(filepath.Join(model, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string][]safetensors.Tensor{}
	where := map[string]string{}
	for i, e := range f.Tensors() {
		name := fmt.Sprintf("model-%d.safetensors", 1+i%2)
		where[e.Name] = name
		parts[name] = append(parts[name], safetensors.Tensor{Info: e.Info, Data: f.Bytes(e)})
	}
	for name, tensors := range parts {
		var b bytes.Buffer
		if err := errors.Join(safetensors.Write(&b, tensors, nil), os.WriteFile(filepath.Join(model, name), b.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	index, err := json.Marshal(map[string]any{"metadata": map[string]int{"total_size": 1}, "weight_map": where})
	if err := errors.Join(err, f.Close(), os.Remove(filepath.Join(model, "model.safetensors")),
		os.WriteFile(filepath.Join(model, "model.safetensors.index.json"), index, 0o644)); err != nil {
		t.Fatal(err)
	}
}
