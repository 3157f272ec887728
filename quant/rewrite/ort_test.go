package rewrite_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/npy"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/onnx/eval"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/quant/rewrite"
)

// TestONNXRuntime runs every part of bard-3m, float and in each precision,
// through ONNX Runtime and compares it with the evaluator. It needs a Python
// with onnxruntime, onnx and numpy, named by LLIMA_ORT_PYTHON.
//
// Float graphs differ by the order of float32 sums and by exp only. In a
// quantised graph such a difference may push an activation across the middle
// between two BF16 numbers: then it moves by one step, 2^-8 of itself at most,
// and every sum that it meets by that times a weight. That changes a whole row
// of the output by about 0.001 of the average, but few activations lie that
// close: at most two rows' worth are let through. Were roundings left out,
// every row would change by 0.0006 or more (TestRoundingsShow).
func TestONNXRuntime(t *testing.T) {
	python := os.Getenv("LLIMA_ORT_PYTHON")
	if python == "" {
		t.Skip("LLIMA_ORT_PYTHON is not set")
	}
	for _, c := range []struct {
		name           string
		relative, flip string
	}{
		{"float", "1e-5", "0"},
		{"bf16", "0.004", "0.002"},
		{"int8", "0.004", "0.002"},
		{"int4", "0.004", "0.002"},
	} {
		t.Run("bard/"+c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeParts(t, dir, precision[c.name])
			checkParts(t, python, dir, c.relative, c.flip)
		})
	}
	for _, dir := range families(t) {
		for name, o := range precision {
			if strings.Contains(filepath.Base(dir), "-") && (name == "bf16" || name == "int8") {
				continue // of the families' odd checkpoints two forms will do
			}
			t.Run(filepath.Base(dir)+"/"+name, func(t *testing.T) {
				out := t.TempDir()
				writeFamilyParts(t, dir, out, o)
				relative, flip := "0.008", "0.008"
				if o == nil {
					relative, flip = "1e-5", "0"
				}
				checkParts(t, python, out, relative, flip)
			})
		}
	}
	for name, o := range oddOptions() {
		t.Run("odd/"+name, func(t *testing.T) {
			dir := t.TempDir()
			writeOddParts(t, dir, o)
			relative, flip := "0.008", "0.008"
			if o == nil {
				relative, flip = "1e-5", "0"
			}
			checkParts(t, python, dir, relative, flip)
		})
	}
}

func checkParts(t *testing.T, python, dir, relative, flip string) {
	t.Helper()
	script, err := filepath.Abs("../../testdata/onnx/check_parts.py")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{script, dir, "--relative", relative, "--mean", "1e-6", "--flip", flip}
	if testing.Verbose() {
		args = append(args, "--verbose")
	}
	out, err := exec.CommandContext(t.Context(), python, args...).CombinedOutput()
	t.Logf("%s", strings.TrimSpace(string(out)))
	if err != nil {
		t.Errorf("check_parts.py: %v", err)
	}
}

// writeParts writes every graph of bard-3m with inputs and outputs from a run
// over four groups of tokens and two single ones; the last part in both forms.
func writeParts(t *testing.T, dir string, o *rewrite.Options) {
	t.Helper()
	m := openBard(t)
	g := readGolden(t, "medium", m.cfg.NumHiddenLayers)
	ids := slices.Concat(g.ids, g.ids)
	embedded := m.embed(t, ids)
	w := newWriter(t, dir)
	h, group := m.cfg.HiddenSize, 16
	for _, logits := range []bool{true, false} {
		r := newRunner(t, m, arch.Params{ContextTokens: len(ids), GroupTokens: group, MaskTokens: 32, ReturnLogits: logits}, o)
		r.record = w.part
		if !logits {
			w.prefix = "top_"
		}
		for at := 0; at < len(ids); at += group {
			n := group
			if at+n == len(ids) {
				n -= 3 // the last group has pad rows
			}
			r.forward(t, addr.Prefill, at, embedded[at*h:(at+n)*h])
		}
		for _, at := range []int{20, 61} {
			r.forward(t, addr.Decode, at, embedded[at*h:(at+1)*h])
		}
	}
	w.finish(m, 2*(2*2*m.cfg.NumHiddenLayers+4+2))
}

// writeFamilyParts writes every graph that a prompt and two tokens after it
// need, the last part in both forms.
func writeFamilyParts(t *testing.T, dir, out string, o *rewrite.Options) {
	t.Helper()
	m := openModel(t, dir)
	ids := goldenOf(t, dir, "long", m.cfg.NumHiddenLayers).ids
	w := newWriter(t, out)
	embedded, h := m.embed(t, ids), m.cfg.HiddenSize
	for _, logits := range []bool{true, false} {
		p := familySizes
		p.ReturnLogits = logits
		r := newRunner(t, m, p, o)
		r.record = w.part
		if !logits {
			w.prefix = "top_"
		}
		for at := 0; at < 40; at += p.GroupTokens {
			n := min(p.GroupTokens, 40-at)
			r.forward(t, addr.Prefill, at, embedded[at*h:(at+n)*h])
		}
		for _, at := range []int{40, 47} {
			r.forward(t, addr.Decode, at, embedded[at*h:(at+1)*h])
		}
	}
	w.finish(m, len(w.written))
	if len(w.written) < 2*m.cfg.NumHiddenLayers {
		t.Errorf("%d graphs were run of %d layers", len(w.written), m.cfg.NumHiddenLayers)
	}
}

// writer writes graphs with the values of their inputs and outputs, each
// graph once.
type writer struct {
	t       *testing.T
	dir     string
	prefix  string
	written map[string]bool
}

func newWriter(t *testing.T, dir string) *writer {
	t.Helper()
	return &writer{t: t, dir: dir, written: map[string]bool{}}
}

func (w *writer) part(name string, model *onnx.Model, in, out map[string]eval.Value) {
	w.t.Helper()
	name = w.prefix + name
	if w.written[name] {
		return
	}
	w.written[name] = true
	write(w.t, filepath.Join(w.dir, name+".onnx"), model.Encode())
	for side, values := range map[string]map[string]eval.Value{"in": in, "out": out} {
		for v, value := range values {
			write(w.t, filepath.Join(w.dir, name+"."+side+"."+v+".npy"), encode(w.t, value))
		}
	}
}

// finish writes the external files and checks that nothing was left out.
func (w *writer) finish(m *model, graphs int) {
	w.t.Helper()
	if len(w.written) != graphs {
		w.t.Fatalf("%d graphs were run, want %d", len(w.written), graphs)
	}
	for location, b := range m.files {
		write(w.t, filepath.Join(w.dir, filepath.FromSlash(location)), b)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// encode writes a value as npy: floats as float32, integers as int32.
func encode(t *testing.T, v eval.Value) []byte {
	t.Helper()
	shape := make([]int, len(v.Dims))
	for i, d := range v.Dims {
		shape[i] = int(d)
	}
	if v.F != nil {
		b, err := npy.EncodeF32(v.F, shape...)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var raw []byte
	for _, i := range v.I {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(int32(i)))
	}
	var out bytes.Buffer
	if err := npy.Write(&out, tensor.I32, shape, raw); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
