package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/llima-build/llima/cmd/internal/cli"
)

// cmdFigure compares a number of a JSON document: figure FILE PATH WANT SHARE,
// where SHARE is how far it may be off. PATH is of keys and indices, with dots.
func cmdFigure(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: figure FILE PATH WANT SHARE")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	got, ok := figure(v, args[1])
	want, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	share, err := strconv.ParseFloat(args[3], 64)
	ts.Check(err)
	bound := share * math.Abs(want)
	if want == 0 {
		bound = share
	}
	if !ok || !(math.Abs(got-want) <= bound) {
		ts.Fatalf("%s: %s = %v, want %v ± %v", args[0], args[1], got, want, bound)
	}
}

// figure finds a number of a decoded document.
func figure(v any, path string) (float64, bool) {
	for key := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(x) {
				return 0, false
			}
			v = x[i]
		}
	}
	f, ok := v.(float64)
	return f, ok
}

// cmdSameFigures compares two documents of llima eval in all but clocks and
// names: samefigures A B.
func cmdSameFigures(ts *testscript.TestScript, _ bool, args []string) {
	var docs [2]map[string]any
	for i, name := range args {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(name)), &docs[i]))
		delete(docs[i], "time")
		delete(docs[i], "output")
	}
	if !reflect.DeepEqual(docs[0], docs[1]) || len(docs[0]) < 8 {
		ts.Fatalf("%s and %s differ:\n%v\n%v", args[0], args[1], docs[0], docs[1])
	}
}

// runLlima runs a command line in this process and returns what it prints.
func runLlima(t *testing.T, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	env := cli.System()
	env.Stdout, env.Stderr = &out, &errs
	if code := cli.Main(env, args); code != 0 {
		t.Fatalf("llima %s: exit code %d\n%s", strings.Join(args, " "), code, errs.Bytes())
	}
	return out.Bytes()
}

const evalText = "../../testdata/text/eval-tempest.txt"

// TestEvalGolden compares the figures of a whole play with those of others:
// the perplexity of BF16 with transformers', which computes in float32; the KL
// divergence of INT4 with what the quantiser's own evaluation gives
// (TestQuantizer of quant/walk: 0.0093 with the head in BF16 and float32
// activations; here both are rounded); and all figures of a model that
// llm-compressor quantised with those that transformers gave for it.
func TestEvalGolden(t *testing.T) {
	if os.Getenv("LLIMA_LONG") == "" {
		t.Skip("LLIMA_LONG is not set")
	}
	var golden struct {
		Perplexity struct {
			Tokens     int     `json:"scored_tokens"`
			Perplexity float64 `json:"perplexity"`
		} `json:"perplexity"`
	}
	readJSONFile(t, "../../testdata/models/bard-3m/golden/golden.json", &golden)
	out := buildExample(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := fmt.Sprintf("model \"awq\" {\n  source = %q\n}\n", filepath.ToSlash(filepath.Join(root, "testdata/models/compressed-tensors/awq-w4a16-asym-g128")))
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	runLlima(t, "build", "-C", dir, "--progress=quiet")
	type bound struct {
		path        string
		want, bound float64
	}
	want := golden.Perplexity
	for model, bounds := range map[string][]bound{
		filepath.Join(out, "bard-mixed"): {
			{"tokens", float64(want.Tokens), 0},
			{"reference.perplexity", want.Perplexity, 0.01},
			{"perplexity", want.Perplexity, 0.4},
			{"kl.mean", 0.0093, 0.0003},
			{"same_top1", 92.1, 0.3},
		},
		filepath.Join(dir, "awq"): {
			{"perplexity", 58.109, 0.01},
			{"kl.mean", 0.01368, 0.0002},
			{"same_top1", 90.6, 0.15},
		},
	} {
		var got any
		if err := json.Unmarshal(runLlima(t, "eval", model, "--text", evalText, "--against", filepath.Join(out, "bard-bf16"), "--json"), &got); err != nil {
			t.Fatal(err)
		}
		for _, f := range bounds {
			v, ok := figure(got, f.path)
			t.Logf("%s: %s = %.5f, want %.5f", filepath.Base(model), f.path, v, f.want)
			if !ok || math.Abs(v-f.want) > f.bound {
				t.Errorf("%s: %s = %v, want %v ± %v", filepath.Base(model), f.path, v, f.want, f.bound)
			}
		}
	}
}

// TestEvalAgainstNumpy compares every figure with numpy's, from windows that
// the tokenizers library cut and logits that llima run wrote.
func TestEvalAgainstNumpy(t *testing.T) {
	python := os.Getenv("LLIMA_ORT_PYTHON")
	if python == "" {
		t.Skip("LLIMA_ORT_PYTHON is not set")
	}
	script := func(args ...string) []byte {
		t.Helper()
		b, err := exec.CommandContext(t.Context(), python, append([]string{"../../testdata/eval/figures.py"}, args...)...).Output()
		if err != nil {
			exit, _ := errors.AsType[*exec.ExitError](err)
			t.Fatalf("figures.py %s: %v\n%s", args[0], err, exit.Stderr)
		}
		return b
	}
	out, dir := buildExample(t), t.TempDir()
	whole, err := os.ReadFile(evalText)
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "play.txt")
	if err := os.WriteFile(text, whole[5000:9000], 0o644); err != nil {
		t.Fatal(err)
	}
	const tokens = "200" // the last group is a part of one
	for _, layout := range []string{"all", "llama"} {
		windows := script("windows", "../../testdata/models/bard-3m/tokenizer.json", text, tokens, layout)
		var ids [][]int
		if err := json.Unmarshal(windows, &ids); err != nil || len(ids) < 4 {
			t.Fatalf("%d windows: %v", len(ids), err)
		}
		list := filepath.Join(dir, "windows.json")
		if err := os.WriteFile(list, windows, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, model := range []string{"bard-mixed", "bard-bf16"} {
			if err := os.MkdirAll(filepath.Join(dir, model), 0o755); err != nil {
				t.Fatal(err)
			}
			for i, w := range ids {
				runLlima(t, "run", filepath.Join(out, model), "--ids", strings.Trim(strings.ReplaceAll(fmt.Sprint(w), " ", ","), "[]"),
					"--max-tokens", "0", "--json", "--logits", filepath.Join(dir, model, strconv.Itoa(i)+".npy"))
			}
		}
		var got, want any
		err := errors.Join(
			json.Unmarshal(script("figures", list, filepath.Join(dir, "bard-mixed"), filepath.Join(dir, "bard-bf16"), layout), &want),
			json.Unmarshal(runLlima(t, "eval", filepath.Join(out, "bard-mixed"), "--text", text, "--against", filepath.Join(out, "bard-bf16"),
				"--phase", "prefill", "--windows", layout, "--window", tokens, "--json"), &got))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{
			"tokens", "perplexity", "perplexity_ci95.0", "perplexity_ci95.1", "reference.perplexity", "perplexity_delta_ci95.0",
			"perplexity_delta_ci95.1", "kl.mean", "kl.mean_ci95.0", "kl.mean_ci95.1", "kl.p99", "kl.max", "same_top1",
		} {
			a, ok := figure(got, path)
			b, ok2 := figure(want, path)
			if !ok || !ok2 || math.Abs(a-b) > 1e-3*math.Abs(b) { // Student's t is within 0.2 %, of an interval
				t.Errorf("%s: %s = %.9g, numpy has %.9g", layout, path, a, b)
			}
			t.Logf("%s: %s = %.9g, numpy has %.9g", layout, path, a, b)
		}
	}
}
