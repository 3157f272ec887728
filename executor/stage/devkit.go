package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/npy"
	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/formats/tokenizer"
	"github.com/llima-build/llima/internal/document"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/quant"
)

// devkit writes what the run time reads beside programs: tokenizer,
// configuration, embeddings and RoPE tables.
type devkit struct{}

// Run implements [executor.Stage].
func (devkit) Run(_ context.Context, a *executor.Action) error {
	m := a.Target.Model
	var generation []byte
	for _, name := range smallFiles(a.Target) {
		data, ok, err := m.Checkpoint.Aux(name)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%s: gone", filepath.Join(m.Checkpoint.Dir(), name))
		}
		switch name {
		case "generation_config.json":
			generation = data
		case "tokenizer.json": // a run would find out too late
			if _, err := tokenizer.Load(data); err != nil {
				return fmt.Errorf("%s: %w", filepath.Join(m.Checkpoint.Dir(), name), err)
			}
		}
		if err := a.WriteFile(name, data); err != nil {
			return err
		}
	}
	config, err := vlmConfigJSON(m, generation)
	if err != nil {
		return err
	}
	if err := a.WriteFile("vlm_config.json", config); err != nil {
		return err
	}
	if err := embeddings(a); err != nil {
		return err
	}
	return ropeTables(a)
}

// ropeTables writes cosines and sines, F32 [context, half], of every rope.
func ropeTables(a *executor.Action) error {
	m := a.Target.Model
	tables, err := m.Arch.RopeTables(m.Params.ContextTokens)
	if err != nil {
		return err
	}
	for _, t := range tables {
		for _, f := range []struct {
			suffix string
			values []float32
		}{{"_cos.npy", t.Cos}, {"_sin.npy", t.Sin}} {
			b, err := npy.EncodeF32(f.values, m.Params.ContextTokens, t.Half)
			if err != nil {
				return err
			}
			if err := a.WriteFile(t.Name+f.suffix, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// smallFiles lists the files that the target's key knows of: what appeared
// since is none of this build's. A GGUF file's header holds all of its own.
func smallFiles(t *planner.Target) []string {
	if t.Model.Format == source.GGUF {
		return t.Model.Checkpoint.AuxNames()
	}
	var out []string
	for _, src := range t.Sources {
		if name, ok := strings.CutPrefix(src.Name, "file/"); ok {
			out = append(out, name)
		}
	}
	return out
}

// embeddings declares embeddings.bin: the checkpoint's own bytes where they are
// BF16 and stay so, the source's codes where it holds codes.
func embeddings(a *executor.Action) error {
	m := a.Target.Model
	name := m.Arch.EmbeddingName()
	w, err := a.Weight(name)
	if err != nil {
		return err
	}
	if len(w.Shape) != 2 || w.Shape[0] != m.Arch.VocabSize || w.Shape[1] != m.Arch.HiddenSize {
		return fmt.Errorf("tensor %q has shape %v, config.json implies [%d %d]", name, w.Shape, m.Arch.VocabSize, m.Arch.HiddenSize)
	}
	if err := writeEmbeddings(a, w); err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	return nil
}

func writeEmbeddings(a *executor.Action, w *source.Weight) error {
	const file = "embeddings.bin"
	m := a.Target.Model
	rows, cols := w.Shape[0], w.Shape[1]
	if w.Coded() {
		codes, err := m.Checkpoint.Carry(w)
		if err != nil {
			return err
		}
		return a.WriteFile(file, tensor.NewTable(codes).Data)
	}
	if m.Format == source.GGUF && w.DType != tensor.BF16 && !m.Config.QuantizeEmbeddings {
		out, err := bf16(m.Checkpoint, w, m.Config.Convert == "bf16")
		if err != nil {
			return err
		}
		return a.WriteFile(file, out)
	}
	src, err := a.TensorReader(w.Name)
	if err != nil {
		return err
	}
	if w.DType == tensor.BF16 && !m.Config.QuantizeEmbeddings {
		if err := quant.CheckFinite(src, w.DType, rows, cols); err != nil {
			return err
		}
		return a.Refer(file, w.Name)
	}
	f, err := a.Create(file)
	if err != nil {
		return err
	}
	if m.Config.QuantizeEmbeddings {
		err = quant.WriteEmbeddings8(f, src, w.DType, rows, cols)
	} else {
		err = quant.Write(f, src, w.DType, rows, cols, quant.Format{Bits: 16})
	}
	return errors.Join(err, f.Close())
}

// vlmConfig is devkit/vlm_config.json. The vision keys are the vendor's; the
// language keys are what the run time needs to bind buffers and windows.
type vlmConfig struct {
	FormatVersion   int            `json:"format_version"`
	VisionModelName string         `json:"vision_model_name"`
	VMCfg           map[string]any `json:"vm_cfg"`
	Language        languageConfig `json:"language"`
}

type languageConfig struct {
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
	EmbeddingType     string `json:"embedding_type"` // "BF16", or a coding as tensor.Table has it

	// What is left out where every layer attends to everything, and no more.
	EmbeddingScale float32  `json:"embedding_scale,omitempty"`
	LayerTypes     []string `json:"layer_types,omitempty"`
	SlidingWindow  int      `json:"sliding_window,omitempty"`
	LocalRope      bool     `json:"local_rope,omitempty"`
	LongRopeFrom   int      `json:"long_rope_from,omitempty"`
	ConvTaps       int      `json:"conv_taps,omitempty"`
}

// layers writes what is peculiar to a model's layers.
func (l *languageConfig) layers(cfg *arch.Config) {
	if cfg.EmbeddingScale != 1 {
		l.EmbeddingScale = cfg.EmbeddingScale
	}
	l.LongRopeFrom, l.ConvTaps = cfg.LongFrom(), cfg.ConvTaps
	var types []string
	plain := true
	for _, layer := range cfg.Layers {
		types = append(types, layer.LayerType())
		plain = plain && layer == arch.Layer{}
		l.SlidingWindow = max(l.SlidingWindow, layer.Window)
		l.LocalRope = l.LocalRope || layer.Rope > 0
	}
	if !plain {
		l.LayerTypes = types
	}
}

// generationConfig is the part of generation_config.json that overrides
// config.json: which tokens begin and end a text.
type generationConfig struct {
	BOS json.RawMessage `json:"bos_token_id"`
	EOS json.RawMessage `json:"eos_token_id"`
}

// vlmConfigJSON writes vlm_config.json. generation is the checkpoint's
// generation_config.json, nil where it has none.
func vlmConfigJSON(m *planner.Model, generation []byte) ([]byte, error) {
	cfg, p := m.Arch, m.Params
	lang := languageConfig{
		Architecture: cfg.Architecture,
		MaxNumTokens: p.ContextTokens, LanguageGroupSize: p.GroupTokens, FutureTokenMask: p.MaskTokens,
		ReturnLogits: p.ReturnLogits, NumHiddenLayers: cfg.NumHiddenLayers, HiddenSize: cfg.HiddenSize,
		NumAttentionHeads: cfg.NumAttentionHeads, NumKeyValueHeads: cfg.NumKeyValueHeads,
		HeadDim: cfg.HeadDim, VocabSize: cfg.VocabSize, BOSTokenID: cfg.BOS, EOSTokenIDs: cfg.EOS,
		EmbeddingType: tensor.BF16.String(),
	}
	if coding, ok := m.EmbeddingCoding(); ok {
		lang.EmbeddingType = coding.String()
	}
	lang.layers(cfg)
	if generation != nil {
		var g generationConfig
		if err := document.Decode(generation, &g); err != nil {
			return nil, fmt.Errorf("generation_config.json: %w", err)
		}
		if ids, err := tokenIDs("eos_token_id", g.EOS); err != nil {
			return nil, err
		} else if len(ids) > 0 {
			lang.EOSTokenIDs = ids
		}
		if ids, err := tokenIDs("bos_token_id", g.BOS); err != nil {
			return nil, err
		} else if len(ids) > 0 {
			lang.BOSTokenID = ids[0]
		}
	}
	if lang.EOSTokenIDs == nil {
		lang.EOSTokenIDs = []int{}
	}
	return marshal(vlmConfig{FormatVersion: 1, VMCfg: map[string]any{}, Language: lang})
}

// tokenIDs reads a token id, a list of them, or null.
func tokenIDs(key string, raw json.RawMessage) ([]int, error) {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, nil
	}
	var one int
	if json.Unmarshal(raw, &one) == nil {
		return []int{one}, nil
	}
	var many []int
	if err := json.Unmarshal(raw, &many); err != nil {
		return nil, fmt.Errorf("generation_config.json: %s: want a token id or a list of them", key)
	}
	return many, nil
}

// marshal writes indented JSON with a final newline.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
