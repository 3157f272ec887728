// Package runtime is the host side of a compiled model: it loads sima_files,
// embeds tokens, chains PRE, CACHE and POST of every layer on the emulator,
// owns the KV cache, and samples. It reads nothing but sima_files and knows
// neither the compiler nor the build.
package runtime

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/llima-build/llima/formats/npy"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/formats/tokenizer"
	"github.com/llima-build/llima/internal/document"
	"github.com/llima-build/llima/internal/mmap"
	"github.com/llima-build/llima/modalix/emu"
)

// Bounds on what a configuration may claim.
const (
	maxJSONBytes = 256 << 20
	maxLayers    = 1 << 10
	maxTokens    = 1 << 20
	maxWindows   = 1 << 12 // of one phase
	maxWidth     = 1 << 20
	maxVocab     = 1 << 24
	maxTaps      = 64
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
	EmbeddingType     string `json:"embedding_type"` // "BF16", or a coding of [tensor.Table]

	EmbeddingScale float32  `json:"embedding_scale"` // of embeddings; 0: 1
	LayerTypes     []string `json:"layer_types"`     // by layer; empty: all full_attention
	SlidingWindow  int      `json:"sliding_window"`  // positions that a token of a sliding layer sees
	LocalRope      bool     `json:"local_rope"`      // sliding layers turn by tables of their own
	LongRopeFrom   int      `json:"long_rope_from"`  // longer sequences turn by other tables; 0: none does
	ConvTaps       int      `json:"conv_taps"`       // rows that a convolution sees
}

// The layer types.
const (
	layerFull    = "full_attention"
	layerSliding = "sliding_attention"
	layerConv    = "conv"
)

// layerType returns the type of a layer.
func (c *Language) layerType(layer int) string {
	if len(c.LayerTypes) == 0 {
		return layerFull
	}
	return c.LayerTypes[layer]
}

// Model is a loaded output. It is not safe for concurrent use.
type Model struct {
	cfg       Language
	tok       *tokenizer.Tokenizer
	chat      chatTemplate
	defaults  Options
	embed     []byte        // BF16 [VocabSize, HiddenSize], or as coded has it
	coded     *tensor.Table // nil where embed is BF16
	embedPath string
	ropes     map[string]rope // by name: "rope", "rope_local", "rope_long"
	half      int             // columns of a table

	machine  *emu.Machine
	weights  map[[sha256.Size]byte][]byte // segments of programs, by digest, for those that share them
	layers   [2][]layerPrograms           // by phase, then layer
	programs []*program                   // each file once
	kv       [][]byte                     // by layer
	state    [][]byte                     // by layer, of those with a convolution
	long     bool                         // the sequence turns by rope_long
	history  []int                        // ids that the caches hold
	in, out  []byte                       // of all programs, one of which runs at a time
	tmp      []byte                       // of the program that runs
	own      [2][]layerPrograms           // as loaded; nil where no other model stands in
	tapped   []float32                    // logits that a program without them chose among
	beside   *beside                      // runs with every part; nil where none does
	dirty    bool                         // the caches hold an earlier generation
	maps     []*mmap.File
	trace    func(Launch) error
}

// Open loads a sima_files folder. What it lacks, or what does not fit
// together, is an error that names the file and what to do.
func Open(simaFiles string) (*Model, error) {
	m := &Model{machine: emu.NewMachine(), weights: map[[sha256.Size]byte][]byte{}}
	if err := m.open(simaFiles); err != nil {
		return nil, errors.Join(err, m.Close())
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

// again is what every error about a damaged output says to do.
const again = "\n  build it again:\n    llima build"

// Config returns the model's configuration.
func (m *Model) Config() Language { return m.cfg }

// Tokenizer returns the model's tokenizer.
func (m *Model) Tokenizer() *tokenizer.Tokenizer { return m.tok }

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
	if err := m.loadRopes(devkit); err != nil {
		return err
	}
	return m.loadPrograms(filepath.Join(dir, "elf_files"))
}

// loadRopes reads the tables that the configuration implies.
func (m *Model) loadRopes(devkit string) error {
	names := []string{mainRope}
	if m.cfg.LocalRope {
		names = append(names, localRope)
	}
	if m.cfg.LongRopeFrom > 0 {
		names = append(names, longRope)
	}
	m.ropes = map[string]rope{}
	for _, name := range names {
		cos, err := m.loadTable(filepath.Join(devkit, name+"_cos.npy"))
		if err != nil {
			return err
		}
		sin, err := m.loadTable(filepath.Join(devkit, name+"_sin.npy"))
		if err != nil {
			return err
		}
		m.ropes[name] = rope{cos, sin}
	}
	return nil
}

// readSmall reads a regular file of a bounded size.
func readSmall(path string) ([]byte, error) {
	f, err := mmap.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(f, maxJSONBytes+1))
	if err == nil && n > maxJSONBytes {
		err = fmt.Errorf("%s: more than the %d bytes that such a file may have", path, maxJSONBytes)
	}
	return b.Bytes(), err
}

// readJSON reads a bounded JSON file; v stays as it is where an optional one is
// missing.
func readJSON(path string, optional bool, v any) error {
	b, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		if optional {
			return nil
		}
		return missingError{path}
	}
	if err != nil {
		return err
	}
	if err := document.Decode(b, v); err != nil {
		return fmt.Errorf("%s: %w, so the file is damaged%s", path, err, again)
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
		return fmt.Errorf("%s: format_version %d, this llima reads 1%s", path, doc.FormatVersion, again)
	}
	if err := doc.Language.check(); err != nil {
		return fmt.Errorf("%s: language.%w%s", path, err, again)
	}
	m.cfg = doc.Language
	return m.loadDefaults(filepath.Join(devkit, "generation_config.json"))
}

// check reports the first value that no model has.
func (c *Language) check() error {
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
		{"vocab_size", c.VocabSize, maxVocab},
	} {
		if f.value < 1 || f.value > f.top {
			return fmt.Errorf("%s = %d, want 1 to %d", f.name, f.value, f.top)
		}
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"language_group_size", c.LanguageGroupSize}, {"future_token_mask_size", c.FutureTokenMask}} {
		if c.MaxNumTokens%f.value != 0 {
			return fmt.Errorf("%s = %d does not divide max_num_tokens = %d", f.name, f.value, c.MaxNumTokens)
		}
		if c.MaxNumTokens/f.value > maxWindows {
			return fmt.Errorf("%s = %d makes %d windows, more than %d", f.name, f.value, c.MaxNumTokens/f.value, maxWindows)
		}
	}
	if _, err := tensor.ParseCoding(c.EmbeddingType); err != nil && c.EmbeddingType != tensor.BF16.String() {
		return fmt.Errorf("embedding_type: %w; or it is \"BF16\"", err)
	}
	if err := c.checkLayers(); err != nil {
		return err
	}
	for _, id := range c.EOSTokenIDs {
		if id < 0 || id >= c.VocabSize {
			return fmt.Errorf("eos_token_ids: %d is outside the vocabulary of %d", id, c.VocabSize)
		}
	}
	return nil
}

// checkLayers reports layer types that do not fit.
func (c *Language) checkLayers() error {
	if n := len(c.LayerTypes); n != 0 && n != c.NumHiddenLayers {
		return fmt.Errorf("layer_types has %d entries for num_hidden_layers = %d", n, c.NumHiddenLayers)
	}
	for i, kind := range c.LayerTypes {
		switch {
		case kind == layerFull:
		case kind == layerSliding && c.SlidingWindow >= 1:
		case kind == layerConv && c.ConvTaps >= 2 && c.ConvTaps <= maxTaps:
		default:
			return fmt.Errorf("layer_types[%d] = %q with sliding_window = %d and conv_taps = %d", i, kind, c.SlidingWindow, c.ConvTaps)
		}
	}
	if !(c.EmbeddingScale >= 0 && c.EmbeddingScale < maxWidth) || c.LongRopeFrom < 0 {
		return fmt.Errorf("embedding_scale = %v and long_rope_from = %d, want no less than 0", c.EmbeddingScale, c.LongRopeFrom)
	}
	if c.EmbeddingScale == 0 {
		c.EmbeddingScale = 1
	}
	return nil
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
	b, err := m.mapFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: missing; where the checkpoint has none either, put its tokenizer.json beside its config.json%s", path, again)
	}
	if err != nil {
		return err
	}
	if m.tok, err = tokenizer.Load(b); err != nil {
		return fmt.Errorf("%s: %w%s", path, err, again)
	}
	return m.loadTemplate(devkit)
}

// missingError says that a file is not there which every output has.
type missingError struct{ path string }

// Error implements error.
func (e missingError) Error() string {
	return e.path + ": missing, so this output is incomplete" + again
}

// Unwrap makes it a [fs.ErrNotExist].
func (missingError) Unwrap() error { return fs.ErrNotExist }

// mapFile maps a file that the output must have; Close unmaps it.
func (m *Model) mapFile(path string) ([]byte, error) {
	f, err := mmap.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, missingError{path}
	case err != nil:
		return nil, err
	}
	m.maps = append(m.maps, f)
	return f.Bytes(), nil
}

func (m *Model) loadEmbeddings(devkit string) error {
	path := filepath.Join(devkit, "embeddings.bin")
	b, err := m.mapFile(path)
	if err != nil {
		return err
	}
	want := 2 * int64(m.cfg.VocabSize) * int64(m.cfg.HiddenSize)
	if c, err := tensor.ParseCoding(m.cfg.EmbeddingType); err == nil {
		m.coded = &tensor.Table{Coding: c, Rows: m.cfg.VocabSize, Cols: m.cfg.HiddenSize, Data: b}
		want = m.coded.SizeBytes()
	}
	if int64(len(b)) != want {
		return fmt.Errorf("%s: %d bytes, but vlm_config.json says vocab_size %d and hidden_size %d, %d bytes of %s%s",
			path, len(b), m.cfg.VocabSize, m.cfg.HiddenSize, want, m.cfg.EmbeddingType, again)
	}
	m.embed, m.embedPath = b, path
	return nil
}

// loadTable reads a table of cosines or sines, [MaxNumTokens or more, half].
func (m *Model) loadTable(path string) ([]float32, error) {
	b, err := m.mapFile(path)
	if err != nil {
		return nil, err
	}
	a, err := npy.Read(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w%s", path, err, again)
	}
	if a.DType != tensor.F32 || len(a.Shape) != 2 || a.Shape[0] < m.cfg.MaxNumTokens || a.Shape[1] < 1 || 2*a.Shape[1] > m.cfg.HeadDim {
		return nil, fmt.Errorf("%s: %v %v, but vlm_config.json says max_num_tokens %d and head_dim %d, F32 [%d %d]%s",
			path, a.DType, a.Shape, m.cfg.MaxNumTokens, m.cfg.HeadDim, m.cfg.MaxNumTokens, m.cfg.HeadDim/2, again)
	}
	if m.half != 0 && a.Shape[1] != m.half {
		return nil, fmt.Errorf("%s: %d columns, rope_cos.npy has %d%s", path, a.Shape[1], m.half, again)
	}
	m.half = a.Shape[1]
	table := a.F32()
	for i, v := range table {
		if !finite(v) {
			return nil, fmt.Errorf("%s: element [%d, %d] is %v, so the file is damaged%s", path, i/m.half, i%m.half, v, again)
		}
	}
	return table, nil
}
