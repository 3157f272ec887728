package runtime_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/npy"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix"
	"github.com/llima-build/llima/modalix/runtime"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/rewrite"
)

const bard = "../../testdata/models/bard-3m"

// indexLine is an entry of elf_files/index.json.
type indexLine struct {
	Phase  string `json:"phase"`
	Part   string `json:"part"`
	Layer  int    `json:"layer"`
	Window int    `json:"window,omitempty"`
	File   string `json:"file"`
}

// How weights are stored.
var (
	inBF16 = rewrite.Options{Matrix: quant.Format{Bits: 16}, Head: quant.Format{Bits: 16}}
	inINT8 = rewrite.Options{Matrix: quant.Format{Bits: 8}, Head: quant.Format{Bits: 8}}
	inINT4 = rewrite.Options{Matrix: quant.Format{Bits: 4, GroupSize: 32}, Head: quant.Format{Bits: 8}}
)

// builder writes sima_files of a model.
type builder struct {
	tb       testing.TB
	src, dir string
	ck       *checkpoint.Checkpoint
	cfg      *arch.Config
	params   arch.Params
	options  rewrite.Options
	weights  map[string][]byte // by location
	index    []indexLine
}

// buildBard compiles the bard model and returns its sima_files.
func buildBard(tb testing.TB, o rewrite.Options, p arch.Params) string {
	tb.Helper()
	return build(tb, bard, o, p, nil)
}

// build compiles the checkpoint in src. change, which may be nil, edits its
// config.json.
func build(tb testing.TB, src string, o rewrite.Options, p arch.Params, change func(map[string]any)) string {
	tb.Helper()
	ck, err := checkpoint.Open(src)
	must(tb, err)
	tb.Cleanup(func() { must(tb, ck.Close()) })
	config := ck.Config()
	if change != nil {
		doc := map[string]any{}
		must(tb, json.Unmarshal(config, &doc))
		change(doc)
		config, err = json.Marshal(doc)
		must(tb, err)
	}
	cfg, err := arch.Parse(config)
	must(tb, err)
	b := &builder{tb: tb, src: src, dir: tb.TempDir(), ck: ck, cfg: cfg, params: p, options: o, weights: map[string][]byte{}}
	b.devkit()
	must(tb, os.Mkdir(filepath.Join(b.dir, "elf_files"), 0o755))
	for _, id := range cfg.Parts() {
		b.part(id)
	}
	b.json("elf_files/index.json", map[string]any{"format_version": 1, "programs": b.index})
	return b.dir
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func (b *builder) write(name string, data []byte) {
	b.tb.Helper()
	must(b.tb, os.WriteFile(filepath.Join(b.dir, name), data, 0o644))
}

func (b *builder) json(name string, v any) {
	b.tb.Helper()
	data, err := json.Marshal(v)
	must(b.tb, err)
	b.write(name, data)
}

func (b *builder) devkit() {
	b.tb.Helper()
	must(b.tb, os.Mkdir(filepath.Join(b.dir, "devkit"), 0o755))
	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"} {
		data, err := os.ReadFile(filepath.Join(b.src, name))
		if errors.Is(err, fs.ErrNotExist) && name == "tokenizer.json" { // no test of such a model needs its own
			data, err = os.ReadFile(filepath.Join(familiesDir, "llama", name))
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must(b.tb, err)
		b.write("devkit/"+name, data)
	}
	c := b.cfg
	var types []string
	window, local := 0, false
	for _, l := range c.Layers {
		types = append(types, l.LayerType())
		window, local = max(window, l.Window), local || l.Rope > 0
	}
	b.json("devkit/vlm_config.json", map[string]any{"format_version": 1, "vision_model_name": "", "vm_cfg": map[string]any{}, "language": runtime.Language{
		Architecture: c.Architecture, MaxNumTokens: b.params.ContextTokens, LanguageGroupSize: b.params.GroupTokens,
		FutureTokenMask: b.params.MaskTokens, ReturnLogits: b.params.ReturnLogits, NumHiddenLayers: c.NumHiddenLayers,
		HiddenSize: c.HiddenSize, NumAttentionHeads: c.NumAttentionHeads, NumKeyValueHeads: c.NumKeyValueHeads,
		HeadDim: c.HeadDim, VocabSize: c.VocabSize, BOSTokenID: c.BOS, EOSTokenIDs: c.EOS, EmbeddingType: "BF16",
		EmbeddingScale: c.EmbeddingScale, LayerTypes: types, SlidingWindow: window, LocalRope: local,
		LongRopeFrom: c.LongFrom(), ConvTaps: c.ConvTaps,
	}})
	t, _ := b.ck.Tensor(c.EmbeddingName())
	data, err := b.ck.Bytes(t)
	must(b.tb, err)
	if t.DType != tensor.BF16 {
		data, _, err = quant.BF16(data, t.DType, t.Shape[0], t.Shape[1])
		must(b.tb, err)
	}
	b.write("devkit/embeddings.bin", data)
	tables, err := c.RopeTables(b.params.ContextTokens)
	must(b.tb, err)
	for _, t := range tables {
		for suffix, values := range map[string][]float32{"_cos.npy": t.Cos, "_sin.npy": t.Sin} {
			data, err := npy.EncodeF32(values, b.params.ContextTokens, t.Half)
			must(b.tb, err)
			b.write("devkit/"+t.Name+suffix, data)
		}
	}
}

func (b *builder) look(name string) (tensor.DType, []int, onnx.External, error) {
	t, ok := b.ck.Tensor(name)
	if !ok {
		return 0, nil, onnx.External{}, fmt.Errorf("no tensor %q", name)
	}
	return t.DType, t.Shape, onnx.External{Location: t.File, Offset: t.Offset, Length: t.Length}, nil
}

// part compiles every graph of a part, unless another layer had the same.
func (b *builder) part(id addr.PartID) {
	b.tb.Helper()
	graphs, err := b.cfg.Build(id, b.params, b.look)
	must(b.tb, err)
	for _, g := range graphs {
		file := g.Name + ".elf"
		b.index = append(b.index, indexLine{id.Phase.String(), id.Part.String(), id.Index, g.Window, file})
		if _, err := os.Stat(filepath.Join(b.dir, "elf_files", file)); err == nil {
			continue
		}
		quantised, uses, err := rewrite.Rewrite(g.Model, b.options, func(location string) ([]byte, error) {
			return os.ReadFile(filepath.Join(b.src, location))
		})
		must(b.tb, err)
		for _, u := range uses {
			b.weight(u)
		}
		var out bytes.Buffer
		must(b.tb, modalix.CompilePart(quantised, func(location string) ([]byte, error) {
			data, ok := b.weights[location]
			if !ok {
				return nil, fmt.Errorf("no weights at %s", location)
			}
			return data, nil
		}, modalix.Options{Name: g.Name}, &out))
		b.write("elf_files/"+file, out.Bytes())
	}
}

func (b *builder) weight(u rewrite.WeightUse) {
	b.tb.Helper()
	if _, ok := b.weights[u.Location]; ok {
		return
	}
	t, ok := b.ck.Tensor(u.Tensor)
	if !ok {
		b.tb.Fatalf("no tensor %q", u.Tensor)
	}
	src, err := b.ck.Bytes(t)
	must(b.tb, err)
	if u.Format.Bits == 16 {
		if t.DType != tensor.BF16 {
			src, _, err = quant.BF16(src, t.DType, u.N, u.K)
			must(b.tb, err)
		}
		b.weights[u.Location] = src
		return
	}
	codes, scales, err := quant.Quantize(src, t.DType, u.N, u.K, u.Format)
	must(b.tb, err)
	b.weights[u.Location] = quant.Encode(codes, scales, u.N, u.K, u.Format)
}

// golden is what transformers gave for a prompt, in float32.
type golden struct {
	input, greedy []int
	hidden        [][]float32 // by layer, [T, H]: its input, and the last one's output
	logits        []float32   // [T, V], or of the last T positions
	greedyLogits  []float32   // [16, V], where the case has them
	text          string
}

func readGolden(tb testing.TB, name string) golden {
	tb.Helper()
	g := goldenOf(tb, bard, name)
	docs := map[string]struct {
		Text string `json:"greedy_text"`
	}{}
	doc, err := os.ReadFile(filepath.Join(bard, "golden", "golden.json"))
	must(tb, err)
	must(tb, json.Unmarshal(doc, &docs))
	g.text = docs[name].Text
	return g
}

func goldenOf(tb testing.TB, dir, name string) golden {
	tb.Helper()
	var g golden
	data, err := os.ReadFile(filepath.Join(dir, "golden", name+".safetensors"))
	must(tb, err)
	n := binary.LittleEndian.Uint64(data)
	header := map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}{}
	must(tb, json.Unmarshal(data[8:8+n], &header))
	part := func(key string) []byte {
		h, ok := header[key]
		if !ok {
			return nil
		}
		return data[int(8+n)+h.Offsets[0] : int(8+n)+h.Offsets[1]]
	}
	ids := func(b []byte) (out []int) {
		for ; len(b) > 0; b = b[8:] {
			out = append(out, int(binary.LittleEndian.Uint64(b)))
		}
		return out
	}
	g.input, g.greedy = ids(part("input_ids")), ids(part("greedy_ids"))
	raw := part("logits")
	if len(raw) == 0 {
		raw = part("logits_last64")
	}
	floats := func(raw []byte) []float32 {
		out := make([]float32, len(raw)/4)
		must(tb, binary.Read(bytes.NewReader(raw), binary.LittleEndian, out))
		return out
	}
	g.logits, g.greedyLogits = floats(raw), floats(part("greedy_logits"))
	for l := 0; ; l++ {
		raw := part(fmt.Sprintf("hidden.%d", l))
		if raw == nil {
			return g
		}
		g.hidden = append(g.hidden, floats(raw))
	}
}

// copyTree copies a folder so that a test can damage it.
func copyTree(tb testing.TB, from string) string {
	tb.Helper()
	to := tb.TempDir()
	must(tb, os.CopyFS(to, os.DirFS(from)))
	return to
}

func hasAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
