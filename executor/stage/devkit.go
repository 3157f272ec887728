package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/formats/arch"
	"github.com/llima-build/llima/formats/npy"
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
	for _, src := range a.Target.Sources {
		name, ok := strings.CutPrefix(src.Name, "file/")
		if !ok {
			continue
		}
		data, ok, err := m.Checkpoint.Aux(name)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%s: gone", src.Path)
		}
		switch name {
		case "generation_config.json":
			generation = data
		case "tokenizer.json": // a run would find out too late
			if _, err := tokenizer.Load(data); err != nil {
				return fmt.Errorf("%s: %w", src.Path, err)
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

// embeddings declares embeddings.bin: the checkpoint's own bytes where they are
// BF16 and stay so.
func embeddings(a *executor.Action) error {
	m := a.Target.Model
	name := m.Arch.EmbeddingName()
	t, ok := m.Checkpoint.Tensor(name)
	if !ok || len(t.Shape) != 2 || t.Shape[0] != m.Arch.VocabSize || t.Shape[1] != m.Arch.HiddenSize {
		return fmt.Errorf("tensor %q has shape %v, config.json implies [%d %d]", name, t.Shape, m.Arch.VocabSize, m.Arch.HiddenSize)
	}
	src, err := a.TensorReader(name)
	if err != nil {
		return err
	}
	if t.DType == tensor.BF16 && !m.Config.QuantizeEmbeddings {
		if err := quant.CheckFinite(src, t.DType, t.Shape[0], t.Shape[1]); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		return a.Refer("embeddings.bin", name)
	}
	f, err := a.Create("embeddings.bin")
	if err != nil {
		return err
	}
	if m.Config.QuantizeEmbeddings {
		err = quant.WriteEmbeddings8(f, src, t.DType, t.Shape[0], t.Shape[1])
	} else {
		err = quant.Write(f, src, t.DType, t.Shape[0], t.Shape[1], quant.Format{Bits: 16})
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	return nil
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
	EmbeddingType     string `json:"embedding_type"`

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

// How embeddings.bin holds the table of embeddings.
const (
	embeddingsBF16 = "BF16" // [vocabSize, hiddenSize]
	embeddingsINT8 = "INT8" // [vocabSize, hiddenSize], then BF16 scales [vocabSize]
)

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
		EmbeddingType: embeddingsBF16,
	}
	if m.Config.QuantizeEmbeddings {
		lang.EmbeddingType = embeddingsINT8
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
