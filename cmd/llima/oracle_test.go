package main_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/cmd/internal/cli"
	"github.com/llima-build/llima/formats/npy"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/runtime"
)

// TestEmulatorAgainstONNXRuntime builds the example, runs every program of
// its three outputs on the emulator with activations of a real text, and
// compares what each gives with what ONNX Runtime makes of the part's
// quantised graph and of its float graph. It needs a Python with onnxruntime,
// onnx and numpy, named by LLIMA_ORT_PYTHON.
//
// A quantised graph and its program compute the same function: they differ in
// the order of float32 sums, and where such a difference pushes an activation
// over the middle between two BF16 numbers, by one step of it. The bounds are
// those of the evaluator's own comparison (quant/rewrite). A float graph
// rounds no activation: BF16 rounds each by 2^-9 of itself at most, a handful
// of times along a part, which independent signs keep below 2^-8 of an output
// on average. INT8 adds weights that are off by a quarter of a step of 1/127
// of their channel's largest, INT4 by a quarter of a step of about 1/8 of
// their group's largest, spread over K products of random sign.
func TestEmulatorAgainstONNXRuntime(t *testing.T) {
	python := os.Getenv("LLIMA_ORT_PYTHON")
	if python == "" {
		t.Skip("LLIMA_ORT_PYTHON is not set")
	}
	out := buildExample(t)
	launches := traceAll(t, filepath.Join(out, "bard-bf16"))
	// Bounds on a single element and on the mean, of an output's largest and
	// mean magnitude.
	floatBounds := map[string][2]string{
		"BF16": {"0.01", "0.0039"}, "A_BF16_W_INT8": {"0.02", "0.01"}, "A_BF16_W_INT4": {"0.15", "0.1"},
	}
	for _, variant := range []string{"bard-bf16", "bard-mixed", "bard-rules"} {
		dir := filepath.Join(out, variant)
		precisions := readPrecisions(t, dir)
		folders := map[string]int{}
		for _, p := range readIndex(t, dir) {
			name := strings.TrimSuffix(p.File, ".elf")
			precision := precisions[name]
			if precision == "" {
				precision = "BF16" // attention has no weights
			}
			values := execute(t, filepath.Join(dir, "sima_files/elf_files", p.File), launches[p.File])
			for _, kind := range []string{"float", "quantised"} {
				src := filepath.Join(dir, "onnx_files")
				if kind == "quantised" {
					src = filepath.Join(dir, "sima_files/model_sdk")
				}
				folder := filepath.Join(t.TempDir(), "..", variant+"-"+kind+"-"+precision)
				if folders[folder] == 0 {
					copyTree(t, src, folder)
				}
				folders[folder]++
				values.write(t, filepath.Join(src, name+".onnx"), filepath.Join(folder, name))
			}
		}
		for folder, n := range folders {
			kind, precision, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), variant+"-"), "-")
			relative, mean, flip := "0.004", "1e-6", "0.002"
			if kind == "float" {
				relative, mean, flip = floatBounds[precision][0], floatBounds[precision][1], "0"
			}
			cmd := exec.CommandContext(t.Context(), python, "../../testdata/onnx/check_parts.py", folder, "--relative", relative, "--mean", mean, "--flip", flip)
			b, err := cmd.CombinedOutput()
			t.Logf("%s, %s graphs, %s: %s", variant, kind, precision, strings.TrimSpace(string(b)))
			if err != nil {
				t.Errorf("%s: %v", folder, err)
			}
			if !bytes.Contains(b, []byte(" graphs: ")) || n == 0 {
				t.Errorf("%s: nothing was compared", folder)
			}
		}
	}
}

func buildExample(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "examples/bard/llima.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b = bytes.ReplaceAll(b, []byte("../../testdata"), []byte(filepath.ToSlash(filepath.Join(root, "testdata"))))
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	env := cli.System()
	env.Stderr, env.Stdout = io.Discard, io.Discard
	if code := cli.Main(env, []string{"build", "-C", dir, "--progress=quiet"}); code != 0 {
		t.Fatalf("build: exit code %d", code)
	}
	return filepath.Join(dir, "out")
}

// launch is the state that a program was run in: its host buffers by name,
// and the cache.
type launch struct {
	in map[string][]byte
	kv []byte
}

// traceAll generates from texts of growing length, so that every program of
// every window runs, and keeps the first launch of each.
func traceAll(t *testing.T, out string) map[string]launch {
	t.Helper()
	m, err := runtime.Open(filepath.Join(out, "sima_files"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	text, err := os.ReadFile("../../testdata/models/bard-3m/golden/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	ids := m.Encode(strings.Repeat(string(text), 2))
	launches := map[string]launch{}
	for n := 100; n < m.Config().MaxNumTokens; n += m.Config().FutureTokenMask {
		_, err := m.Generate(t.Context(), ids[:n], runtime.Options{
			MaxTokens: 2, Greedy: true, IgnoreEOS: true,
			Trace: func(l runtime.Launch) error {
				if _, ok := launches[l.File]; ok {
					return nil
				}
				in := map[string][]byte{}
				for _, s := range l.Program.Symbols() {
					if strings.HasPrefix(s.Name, "in.") {
						in[s.Name] = slices.Clone(l.Buffers.In[s.Offset : s.Offset+s.Size])
					}
				}
				launches[l.File] = launch{in, slices.Clone(l.Buffers.KV)}
				return nil
			},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	return launches
}

type indexLine struct{ File string }

func readIndex(t *testing.T, out string) []indexLine {
	t.Helper()
	var doc struct{ Programs []indexLine }
	readJSONFile(t, filepath.Join(out, "sima_files/elf_files/index.json"), &doc)
	slices.SortFunc(doc.Programs, func(a, b indexLine) int { return strings.Compare(a.File, b.File) })
	return slices.Compact(doc.Programs)
}

func readPrecisions(t *testing.T, out string) map[string]string {
	t.Helper()
	var lines []struct {
		Part      string
		Idx       json.Number
		Precision string
	}
	readJSONFile(t, filepath.Join(out, "sima_files/devkit/precision.json"), &lines)
	all := map[string]string{}
	for _, l := range lines {
		all[l.Part+"_"+l.Idx.String()] = l.Precision
	}
	return all
}

func readJSONFile(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func copyTree(t *testing.T, src, dst string) {
	t.Helper()
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		t.Fatal(err)
	}
	graphs, err := filepath.Glob(filepath.Join(dst, "*.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range graphs { // those with values come back one by one
		if err := os.Remove(g); err != nil {
			t.Fatal(err)
		}
	}
}

// partValues is what a program took and gave, under the names of its graph:
// flat float32 or int32 values.
type partValues map[string]any

const headDim, kvHeads, capacity = 64, 2, 1024 // of bard-3m and the example

// execute runs a program on the emulator.
func execute(t *testing.T, path string, l launch) partValues {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := emu.Load(b)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := p.Verify(); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var inSize, outSize int64
	for _, s := range p.Symbols() {
		switch {
		case strings.HasPrefix(s.Name, "in."):
			inSize = max(inSize, s.Offset+s.Size)
		case strings.HasPrefix(s.Name, "out."):
			outSize = max(outSize, s.Offset+s.Size)
		}
	}
	buffers := emu.Buffers{In: make([]byte, inSize+64), Out: make([]byte, outSize+64), KV: slices.Clone(l.kv), Tmp: make([]byte, 1<<22)}
	v := partValues{}
	for _, s := range p.Symbols() {
		if name, ok := strings.CutPrefix(s.Name, "in."); ok {
			data := l.in[s.Name]
			if name == "last_row" && data == nil { // the traced build returns logits
				data = binary.LittleEndian.AppendUint32(nil, 77)
			}
			if int64(len(data)) != s.Size {
				t.Fatalf("%s: %s has %d bytes, the trace %d", path, s.Name, s.Size, len(data))
			}
			copy(buffers.In[s.Offset:], data)
			v.input(name, data)
		}
	}
	m := emu.NewMachine()
	if err := m.Run(p, buffers); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, s := range p.Symbols() {
		if name, ok := strings.CutPrefix(s.Name, "out."); ok {
			v.output(name, buffers.Out[s.Offset:s.Offset+s.Size])
		}
	}
	if positions, ok := v["positions"].([]int32); ok { // PRE appends k and v
		v["k"], v["v"] = cached(buffers.KV, positions)
	} else if _, ok := v["spans"]; ok {
		window := windowOf(t, filepath.Base(path))
		rows := make([]int32, window)
		for i := range rows {
			rows[i] = int32(i)
		}
		v["K"], v["V"] = cached(buffers.KV, rows)
	}
	return v
}

func windowOf(t *testing.T, file string) int {
	t.Helper()
	name := strings.TrimSuffix(file, ".elf")
	at := strings.LastIndexByte(name, '_')
	n := 0
	for _, c := range name[at+1:] {
		n = 10*n + int(c-'0')
	}
	if strings.HasPrefix(name, "group_") {
		return n + 128
	}
	return n + 1
}

func f32s(b []byte) []float32 {
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

func i32s(b []byte) []int32 {
	out := make([]int32, len(b)/4)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

func bf16s(b []byte) []float32 {
	out := make([]float32, len(b)/2)
	for i := range out {
		out[i] = tensor.FromBF16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return out
}

func (v partValues) input(name string, b []byte) {
	switch name {
	case "hidden":
		v[name] = f32s(b)
	case "rope":
		all := f32s(b)
		var cos, sin []float32
		for row := range slices.Chunk(all, headDim) {
			cos, sin = append(cos, row[:headDim/2]...), append(sin, row[headDim/2:]...)
		}
		v["cos"], v["sin"] = cos, sin
	case "q", "attention":
		v[name] = bf16s(b)
	default: // positions, spans, last_row
		v[name] = i32s(b)
	}
}

func (v partValues) output(name string, b []byte) {
	switch name {
	case "q", "attention":
		v[name] = bf16s(b)
	case "top":
		var values []float32
		var ids []int32
		for pair := range slices.Chunk(b, 8) {
			values, ids = append(values, f32s(pair[:4])...), append(ids, i32s(pair[4:])...)
		}
		v["top_values"], v["top_ids"] = values, ids
	default:
		v[name] = f32s(b)
	}
}

// cached reads rows [position, kvHead, headDim] out of the layout of
// docs/isa.md, "STK".
func cached(kv []byte, positions []int32) (k, v []float32) {
	at := func(off int) float32 { return tensor.FromBF16(binary.LittleEndian.Uint16(kv[off:])) }
	const keyHead, panel = capacity * headDim * 2, capacity * 32
	const valueHead, values = headDim / 16 * panel, kvHeads * keyHead
	for _, p := range positions {
		t := int(p)
		for h := range kvHeads {
			for e := range headDim {
				k = append(k, at(h*keyHead+t/16*32*headDim+e/2*64+t%16*4+e%2*2))
				v = append(v, at(values+h*valueHead+e/16*panel+t/2*64+e%16*4+t%2*2))
			}
		}
	}
	return k, v
}

// write puts a graph and its values where the script looks for them.
func (v partValues) write(t *testing.T, graph, prefix string) {
	t.Helper()
	b, err := os.ReadFile(graph)
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Decode(b)
	if err != nil {
		t.Fatalf("%s: %v", graph, err)
	}
	if err := os.WriteFile(prefix+".onnx", b, 0o644); err != nil {
		t.Fatal(err)
	}
	save := func(side string, list []onnx.ValueInfo) {
		for _, info := range list {
			shape := make([]int, len(info.Dims))
			count := 1
			for i, d := range info.Dims {
				shape[i] = int(d)
				count *= int(d)
			}
			var file bytes.Buffer
			var err error
			n := 0
			switch values := v[info.Name].(type) {
			case []float32:
				n = len(values)
				data := make([]byte, 4*n)
				if err = tensor.FromF32(data, values, tensor.F32); err == nil {
					err = npy.Write(&file, tensor.F32, shape, data)
				}
			case []int32:
				n = len(values)
				data := make([]byte, 0, 4*n)
				for _, x := range values {
					data = binary.LittleEndian.AppendUint32(data, uint32(x))
				}
				err = npy.Write(&file, tensor.I32, shape, data)
			}
			if err != nil || n != count {
				t.Fatalf("%s: %s has %d values, shape %v, %v", graph, info.Name, n, shape, err)
			}
			if err := os.WriteFile(prefix+"."+side+"."+info.Name+".npy", file.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	save("in", m.Graph.Inputs)
	save("out", m.Graph.Outputs)
}
