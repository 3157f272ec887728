package gguf

import (
	"encoding/json"
	"slices"

	"github.com/llima-build/llima/formats/tokenizer"
)

// Vocabulary returns the vocabulary that tokenizer.ggml.* describes; its
// TokenizerJSON is the tokenizer.json of the model.
func (m *Model) Vocabulary() (*tokenizer.Vocabulary, error) {
	v, err := m.vocabulary()
	if err != nil {
		return nil, m.located(m.path, err)
	}
	return v, nil
}

func (m *Model) vocabulary() (*tokenizer.Vocabulary, error) {
	const prefix = "tokenizer.ggml."
	kind, ok, err := m.metadata.Text(prefix + "model")
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, m.metadata.problem(prefix+"model", "missing; convert the model with its tokenizer")
	case kind != "gpt2" && kind != "llama":
		return nil, m.metadata.problem(prefix+"model", "%q is not supported, only \"gpt2\" (byte-level BPE) and \"llama\" (SentencePiece)", kind)
	}
	r := &reader{m: m.metadata, prefix: prefix}
	v := &tokenizer.Vocabulary{Tokens: r.texts("tokens"), BOS: -1, EOS: -1, Unknown: -1}
	for _, t := range r.integers("token_type") {
		v.Types = append(v.Types, tokenizer.TokenType(t))
	}
	v.BOS, v.EOS, v.Unknown = r.id("bos_token_id"), r.id("eos_token_id"), r.id("unknown_token_id")
	if kind == "llama" {
		v.Scores = r.floats("scores")
		v.SpacePrefix = r.truth("add_space_prefix", true)
		v.CollapseSpaces = r.truth("remove_extra_whitespaces", false)
		if v.Unknown < 0 && len(v.Tokens) > 0 {
			v.Unknown = 0
		}
		v.AddBOS = r.truth("add_bos_token", v.BOS >= 0)
	} else {
		v.Merges = r.texts("merges")
		v.Pre, _, err = m.metadata.Text(prefix + "pre")
		r.note(err)
		if v.Pre == "" {
			v.Pre = "default"
		}
		v.AddBOS = r.truth("add_bos_token", v.BOS >= 0 && (v.Pre == "llama-bpe" || v.Pre == "lfm2"))
	}
	v.AddEOS = r.truth("add_eos_token", false)
	if arch, _, _ := m.metadata.Text("general.architecture"); arch == "phi3" && kind == "llama" {
		v.SpaceEaters = spaceEaters(v)
	}
	return v, r.err
}

// spaceEaters lists the control tokens of Phi-3 that swallow white space: all
// but these three, as llama.cpp has it, for the metadata do not say.
func spaceEaters(v *tokenizer.Vocabulary) (ids []int) {
	for i, t := range v.Types {
		if t == tokenizer.Control && i < len(v.Tokens) && !slices.Contains([]string{"<unk>", "<s>", "<|endoftext|>"}, v.Tokens[i]) {
			ids = append(ids, i)
		}
	}
	return ids
}

// TokenizerConfig returns a tokenizer_config.json: the special tokens' text
// and the chat template.
func (m *Model) TokenizerConfig() ([]byte, error) {
	v, err := m.Vocabulary()
	if err != nil {
		return nil, err
	}
	r := &reader{m: m.metadata, prefix: "tokenizer.ggml."}
	config := map[string]any{"add_bos_token": v.AddBOS, "add_eos_token": v.AddEOS, "tokenizer_class": "PreTrainedTokenizerFast"}
	for key, id := range map[string]int{"bos_token": v.BOS, "eos_token": v.EOS, "unk_token": v.Unknown, "pad_token": r.id("padding_token_id")} {
		if id >= 0 && id < len(v.Tokens) {
			config[key] = v.Tokens[id]
		}
	}
	template, ok, err := m.metadata.Text("tokenizer.chat_template")
	r.note(err)
	if ok {
		config["chat_template"] = template
	}
	if r.err != nil {
		return nil, m.located(m.path, r.err)
	}
	return json.Marshal(config)
}

// reader reads keys with a common prefix. The first error stays.
type reader struct {
	m      *Metadata
	prefix string
	err    error
}

func (r *reader) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) texts(key string) []string {
	list, _, err := r.m.Texts(r.prefix + key)
	r.note(err)
	return list
}

func (r *reader) integers(key string) []int {
	list, _, err := r.m.Ints(r.prefix + key)
	r.note(err)
	return list
}

func (r *reader) floats(key string) []float32 {
	list, _, err := r.m.Floats(r.prefix + key)
	r.note(err)
	return list
}

func (r *reader) truth(key string, fallback bool) bool {
	b, ok, err := r.m.Bool(r.prefix + key)
	r.note(err)
	if !ok {
		return fallback
	}
	return b
}

// id returns a token's id, -1 where there is none.
func (r *reader) id(key string) int {
	n, ok, err := r.m.Int(r.prefix + key)
	r.note(err)
	if !ok {
		return -1
	}
	if n < 0 && err == nil {
		r.note(r.m.problem(r.prefix+key, "%d is no token", n))
	}
	return n
}
