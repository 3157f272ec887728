// Package runtime is the host side of a compiled model: it loads sima_files,
// embeds tokens, chains PRE, CACHE and POST of every layer on the emulator,
// owns the KV cache, and samples. It reads nothing but sima_files and knows
// neither the compiler nor the build.
package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llima-build/llima/formats/npy"
	"github.com/llima-build/llima/formats/tokenizer"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/mmap"
	"github.com/llima-build/llima/modalix/emu"
)

// Bounds on what a configuration may claim.
const (
	maxJSONBytes = 64 << 20
	maxLayers    = 1 << 12
	maxTokens    = 1 << 20
	maxWidth     = 1 << 20
)

// Language is the "language" object of devkit/vlm_config.json.
type Language struct {
	Architecture      string `json:"architecture"`
	MaxNumTokens      int    `json:"max_num_tokens"`
	LanguageGroupSize int    `json:"language_group_size"`
	FutureTokenMask   int    `json:"future_token_mask_size"`
	ReturnLogits      bool   `json:"return_logits"`
	NumHiddenLayers   int    `json:"num_hidden_layers"`
	HiddenSize        int    `json:"hidden_size"`
	NumAttentionHeads int    `json:"num_attention_heads"`
	NumKeyValueHeads  int    `json:"num_key_value_heads"`
	HeadDim           int    `json:"head_dim"`
	VocabSize         int    `json:"vocab_size"`
	BOSTokenID        int    `json:"bos_token_id"`
	EOSTokenIDs       []int  `json:"eos_token_ids"`
}

// Model is a loaded output. It is not safe for concurrent use.
type Model struct {
	cfg      Language
	tok      *tokenizer.Tokenizer
	template *chatTemplate
	defaults Options
	embed    []byte // BF16 [VocabSize, HiddenSize]
	cos, sin []float32
	half     int // columns of cos and sin

	machine *emu.Machine
	layers  [2][]layerPrograms // by phase, then layer
	kv      [][]byte           // by layer
	dirty   bool               // the cache holds an earlier generation
	maps    []*mmap.File
	trace   func(Launch) error
}

// layerPrograms are the programs of one layer in one phase.
type layerPrograms struct {
	pre, post *program
	cache     map[int]*program // by window, tokens
}

// Open loads a sima_files folder. What it lacks, or what does not fit
// together, is an error that names the file and what to do.
func Open(simaFiles string) (*Model, error) {
	m := &Model{machine: emu.NewMachine()}
	if err := m.open(simaFiles); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Close unmaps the model's files.
func (m *Model) Close() error {
	var errs []error
	for _, f := range m.maps {
		errs = append(errs, f.Close())
	}
	m.maps = nil
	return errors.Join(errs...)
}

// Config returns the model's configuration.
func (m *Model) Config() Language { return m.cfg }

// Encode returns the token ids of a text, with the special tokens that the
// tokenizer puts around one.
func (m *Model) Encode(text string) []int { return m.tok.Encode(text, true) }

func (m *Model) open(dir string) error {
	devkit := filepath.Join(dir, "devkit")
	if err := m.loadConfig(devkit); err != nil {
		return err
	}
	if err := m.loadTokenizer(devkit); err != nil {
		return err
	}
	if err := m.loadEmbeddings(devkit); err != nil {
		return err
	}
	for _, t := range []struct {
		name string
		dst  *[]float32
	}{{"rope_cos.npy", &m.cos}, {"rope_sin.npy", &m.sin}} {
		if err := m.loadTable(filepath.Join(devkit, t.name), t.dst); err != nil {
			return err
		}
	}
	return m.loadPrograms(filepath.Join(dir, "elf_files"))
}

// readJSON reads a bounded JSON file; a missing one is an error unless optional.
func readJSON(path string, optional bool, v any) error {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if optional {
			return nil
		}
		return fmt.Errorf("%s: missing\n  this output is incomplete, build it again:\n    llima build", path)
	}
	if err != nil {
		return err
	}
	if st.Size() > maxJSONBytes {
		return fmt.Errorf("%s: %d bytes, more than the %d that such a file may have", path, st.Size(), maxJSONBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w\n  the file is damaged, build it again:\n    llima build", path, err)
	}
	return nil
}

func (m *Model) loadConfig(devkit string) error {
	path := filepath.Join(devkit, "vlm_config.json")
	var doc struct {
		FormatVersion int      `json:"format_version"`
		Language      Language `json:"language"`
	}
	if err := readJSON(path, false, &doc); err != nil {
		return err
	}
	if doc.FormatVersion != 1 {
		return fmt.Errorf("%s: format_version %d, this llima reads 1", path, doc.FormatVersion)
	}
	c := doc.Language
	for _, f := range []struct {
		name       string
		value, top int
	}{
		{"max_num_tokens", c.MaxNumTokens, maxTokens},
		{"language_group_size", c.LanguageGroupSize, c.MaxNumTokens},
		{"future_token_mask_size", c.FutureTokenMask, c.MaxNumTokens},
		{"num_hidden_layers", c.NumHiddenLayers, maxLayers},
		{"hidden_size", c.HiddenSize, maxWidth},
		{"num_attention_heads", c.NumAttentionHeads, maxWidth},
		{"num_key_value_heads", c.NumKeyValueHeads, c.NumAttentionHeads},
		{"head_dim", c.HeadDim, maxWidth},
		{"vocab_size", c.VocabSize, 1 << 24},
	} {
		if f.value < 1 || f.value > f.top {
			return fmt.Errorf("%s: language.%s = %d, want 1 to %d", path, f.name, f.value, f.top)
		}
	}
	if c.MaxNumTokens%c.LanguageGroupSize != 0 || c.MaxNumTokens%c.FutureTokenMask != 0 {
		return fmt.Errorf("%s: language.max_num_tokens = %d is not a multiple of language_group_size = %d and future_token_mask_size = %d",
			path, c.MaxNumTokens, c.LanguageGroupSize, c.FutureTokenMask)
	}
	m.cfg = c
	return m.loadDefaults(filepath.Join(devkit, "generation_config.json"))
}

// loadDefaults reads how the checkpoint's authors sample.
func (m *Model) loadDefaults(path string) error {
	var g struct {
		DoSample    bool     `json:"do_sample"`
		Temperature *float64 `json:"temperature"`
		TopK        *int     `json:"top_k"`
		TopP        *float64 `json:"top_p"`
	}
	if err := readJSON(path, true, &g); err != nil {
		return err
	}
	d := Options{Greedy: !g.DoSample, Temperature: 1, TopP: 1}
	if g.Temperature != nil {
		d.Temperature = *g.Temperature
	}
	if g.TopK != nil {
		d.TopK = *g.TopK
	}
	if g.TopP != nil {
		d.TopP = *g.TopP
	}
	m.defaults = d
	return nil
}

func (m *Model) loadTokenizer(devkit string) error {
	path := filepath.Join(devkit, "tokenizer.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w\n  this output is incomplete, build it again:\n    llima build", err)
	}
	m.tok, err = tokenizer.Load(b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return m.loadTemplate(devkit)
}

func (m *Model) mapFile(path string) ([]byte, error) {
	f, err := mmap.Open(path)
	if err != nil {
		return nil, err
	}
	m.maps = append(m.maps, f)
	return f.Bytes(), nil
}

func (m *Model) loadEmbeddings(devkit string) error {
	path := filepath.Join(devkit, "embeddings.bin")
	b, err := m.mapFile(path)
	if err != nil {
		return fmt.Errorf("%w\n  this output is incomplete, build it again:\n    llima build", err)
	}
	want := 2 * int64(m.cfg.VocabSize) * int64(m.cfg.HiddenSize)
	if int64(len(b)) != want {
		return fmt.Errorf("%s: %d bytes, want %d (BF16 [%d, %d])\n  the file is damaged, build it again:\n    llima build",
			path, len(b), want, m.cfg.VocabSize, m.cfg.HiddenSize)
	}
	m.embed = b
	return nil
}

func (m *Model) loadTable(path string, dst *[]float32) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w\n  this output is incomplete, build it again:\n    llima build", err)
	}
	a, err := npy.Read(b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	values := a.F32()
	if len(a.Shape) != 2 || a.Shape[0] < m.cfg.MaxNumTokens || a.Shape[1] < 1 || a.Shape[1]*2 > m.cfg.HeadDim ||
		m.half != 0 && a.Shape[1] != m.half || len(values) != a.Shape[0]*a.Shape[1] {
		return fmt.Errorf("%s: float32 %v, want [%d, %d]", path, a.Shape, m.cfg.MaxNumTokens, m.cfg.HeadDim/2)
	}
	m.half = a.Shape[1]
	*dst = values
	return nil
}

// indexEntry is one line of elf_files/index.json.
type indexEntry struct {
	Phase  string `json:"phase"`
	Part   string `json:"part"`
	Layer  int    `json:"layer"`
	Window int    `json:"window"`
	File   string `json:"file"`
}

func (m *Model) loadPrograms(dir string) error {
	path := filepath.Join(dir, "index.json")
	var index struct {
		FormatVersion int          `json:"format_version"`
		Programs      []indexEntry `json:"programs"`
	}
	if err := readJSON(path, false, &index); err != nil {
		return err
	}
	if index.FormatVersion != 1 {
		return fmt.Errorf("%s: format_version %d, this llima reads 1", path, index.FormatVersion)
	}
	for phase := range m.layers {
		m.layers[phase] = make([]layerPrograms, m.cfg.NumHiddenLayers)
		for i := range m.layers[phase] {
			m.layers[phase][i].cache = map[int]*program{}
		}
	}
	entries := map[indexEntry]string{}
	for i, e := range index.Programs {
		if e.File == "" || e.File != filepath.Base(e.File) {
			return fmt.Errorf("%s: programs[%d].file: %q is not a file name", path, i, e.File)
		}
		file := e.File
		e.File = ""
		entries[e] = file
	}
	if err := m.checkComplete(dir, entries); err != nil {
		return err
	}
	loaded := map[string]*program{}
	for e, file := range entries {
		if _, ok := loaded[file]; !ok && m.wanted(e) {
			p, err := m.loadProgram(dir, file)
			if err != nil {
				return err
			}
			loaded[file] = p
		}
	}
	return m.bindPrograms(entries, loaded)
}

// wanted reports whether the configuration asks for a program.
func (m *Model) wanted(e indexEntry) bool { return slices.Contains(m.required(), e) }

// required lists the programs that some position needs, in running order.
func (m *Model) required() []indexEntry {
	var out []indexEntry
	for _, phase := range addr.Phases {
		step := m.cfg.LanguageGroupSize
		if phase == addr.Decode {
			step = m.cfg.FutureTokenMask
		}
		for layer := range m.cfg.NumHiddenLayers {
			add := func(p addr.Part, window int) {
				out = append(out, indexEntry{Phase: phase.String(), Part: p.String(), Layer: layer, Window: window})
			}
			add(addr.Pre, 0)
			for w := step; w <= m.cfg.MaxNumTokens; w += step {
				add(addr.Cache, w)
			}
			add(addr.Post, 0)
		}
	}
	return out
}

// checkComplete reports every part that the index lacks, a part once however
// many of its windows are absent.
func (m *Model) checkComplete(dir string, have map[indexEntry]string) error {
	var missing []string
	for _, e := range m.required() {
		if _, ok := have[e]; ok {
			continue
		}
		name := fmt.Sprintf("%s.%s.%d", e.Phase, e.Part, e.Layer)
		if !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	more := ""
	if n := len(missing); n > 6 {
		more = fmt.Sprintf(" and %d more", n-6)
		missing = missing[:6]
	}
	return fmt.Errorf("%s lacks the programs of %s%s, so no text can be generated\n  a rule with compile = false leaves parts out; let it match less, then:\n    llima build",
		dir, strings.Join(missing, ", "), more)
}

func (m *Model) bindPrograms(entries map[indexEntry]string, loaded map[string]*program) error {
	m.kv = make([][]byte, m.cfg.NumHiddenLayers)
	for _, e := range m.required() {
		p := loaded[entries[e]]
		phase := addr.Prefill
		if e.Phase == addr.Decode.String() {
			phase = addr.Decode
		}
		l := &m.layers[phase][e.Layer]
		rows := m.rows(phase)
		var err error
		switch e.Part {
		case addr.Pre.String():
			l.pre, err = p, p.checkPre(m, rows)
		case addr.Cache.String():
			l.cache[e.Window], err = p, p.checkCache(m, rows)
		default:
			l.post, err = p, p.checkPost(m, rows, e.Layer == m.cfg.NumHiddenLayers-1)
		}
		if err != nil {
			return err
		}
		if n := p.kvBytes(); n > int64(len(m.kv[e.Layer])) {
			m.kv[e.Layer] = alignedBytes(n)
		}
	}
	return nil
}

// rows returns how many tokens a program of the phase handles.
func (m *Model) rows(phase addr.Phase) int {
	if phase == addr.Prefill {
		return m.cfg.LanguageGroupSize
	}
	return 1
}
