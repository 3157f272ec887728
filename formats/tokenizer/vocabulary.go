package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// TokenType says what a token of a vocabulary stands for, by the numbers of
// SentencePiece and GGUF.
type TokenType int

// The types of tokens.
const (
	Normal TokenType = iota + 1
	Unknown
	Control     // stands for no text
	UserDefined // never split, and never part of another
	Unused
	Byte
)

// Vocabulary is what SentencePiece models and GGUF files hold instead of a
// tokenizer.json.
type Vocabulary struct {
	// Pre names how text is split for byte-level BPE, as GGUF does: "llama-bpe",
	// "qwen2" or another; empty for SentencePiece.
	Pre    string
	Tokens []string
	Types  []TokenType // of each token; nil: all normal
	// Scores order the merges of SentencePiece BPE, the highest first.
	Scores []float32
	// Merges are those of byte-level BPE, "a b" each, the earliest first.
	Merges []string
	// BOS, EOS and Unknown are ids, -1 where there is none.
	BOS, EOS, Unknown int
	AddBOS, AddEOS    bool // whether a text gets them
	// SpacePrefix says that a text begins with a space, CollapseSpaces that
	// others are removed at its ends, and but for one within.
	SpacePrefix, CollapseSpaces bool
	// SpaceEaters are control tokens that swallow the white space behind them.
	SpaceEaters []int
}

// Bounds on vocabularies. A token of SentencePiece has some tens of bytes, and
// two ways or three to make it of others.
const (
	maxTokens      = 1 << 22
	maxScoredBytes = 512
	maxMergesEach  = 64 // on average
)

// TokenizerJSON writes the vocabulary as a tokenizer.json, which [Load] and
// Hugging Face's library read. What they cannot do alike is an error.
func (v *Vocabulary) TokenizerJSON() ([]byte, error) {
	doc, err := v.document()
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return b, nil
}

// object is a JSON object.
type object = map[string]any

func (v *Vocabulary) document() (object, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	doc := object{"version": "1.0", "truncation": nil, "padding": nil}
	doc["added_tokens"] = v.added()
	doc["post_processor"] = v.template()
	if v.Pre != "" {
		return doc, v.byteLevel(doc)
	}
	return doc, v.sentencePiece(doc)
}

func (v *Vocabulary) check() error {
	n := len(v.Tokens)
	switch {
	case n == 0 || n > maxTokens:
		return fmt.Errorf("tokens: %d, want 1 to %d", n, maxTokens)
	case v.Types != nil && len(v.Types) != n:
		return fmt.Errorf("token types: %d for %d tokens", len(v.Types), n)
	case v.Pre == "" && len(v.Scores) != n:
		return fmt.Errorf("scores: %d for %d tokens", len(v.Scores), n)
	case v.AddBOS && v.BOS < 0:
		return errors.New("texts begin with a token that is not named")
	case v.AddEOS && v.EOS < 0:
		return errors.New("texts end with a token that is not named")
	}
	for _, id := range []int{v.BOS, v.EOS, v.Unknown} {
		if id < -1 || id >= n {
			return fmt.Errorf("token %d is outside the vocabulary of %d", id, n)
		}
	}
	for i, t := range v.Types {
		if t < Normal || t > Byte {
			return fmt.Errorf("token %d: type %d is unknown", i, int(t))
		}
	}
	for i, s := range v.Scores {
		if s != s {
			return fmt.Errorf("token %d: score %v", i, s)
		}
	}
	return nil
}

// typeOf returns the type of a token.
func (v *Vocabulary) typeOf(id int) TokenType {
	if v.Types == nil {
		return Normal
	}
	return v.Types[id]
}

// padding is what converters fill gaps of a vocabulary with.
var padding = regexp.MustCompile(`^\[PAD[0-9]+\]$`)

// text returns a token as tokenizer.json spells it; ok is false for padding.
func (v *Vocabulary) text(id int) (s string, ok bool) {
	s, t := strings.ToValidUTF8(v.Tokens[id], string(utf8.RuneError)), v.typeOf(id)
	if t == Unused && padding.MatchString(s) {
		return "", false
	}
	if t == UserDefined && v.Pre == "" {
		s = strings.ReplaceAll(s, " ", visibleSpace)
	}
	return s, s != ""
}

// ids returns the ids of the tokens; where two are spelled alike the first
// one counts.
func (v *Vocabulary) ids() map[string]int {
	out := make(map[string]int, len(v.Tokens))
	for id := range v.Tokens {
		if s, ok := v.text(id); ok {
			if _, taken := out[s]; !taken {
				out[s] = id
			}
		}
	}
	return out
}

// added lists the tokens that are found in the text before it is split. Those
// made of spaces are looked for once spaces are visible.
func (v *Vocabulary) added() []addedToken {
	out := []addedToken{}
	ids := v.ids()
	for id := range v.Tokens {
		t := v.typeOf(id)
		s, ok := v.text(id)
		if !ok || ids[s] != id || t != Control && t != Unknown && t != UserDefined {
			continue
		}
		out = append(out, addedToken{
			ID: id, Content: s, Special: t != UserDefined, RStrip: slices.Contains(v.SpaceEaters, id),
			Normalized: t == UserDefined && !v.SpacePrefix && strings.Trim(s, visibleSpace) == "",
		})
	}
	return out
}

// template puts tokens around a text.
func (v *Vocabulary) template() any {
	single, tokens := []object{}, object{}
	add := func(id int) {
		s, _ := v.text(id)
		single = append(single, object{"SpecialToken": object{"id": s, "type_id": 0}})
		tokens[s] = object{"id": s, "ids": []int{id}, "tokens": []string{s}}
	}
	if v.AddBOS {
		add(v.BOS)
	}
	single = append(single, object{"Sequence": object{"id": "A", "type_id": 0}})
	if v.AddEOS {
		add(v.EOS)
	}
	if len(tokens) == 0 {
		return nil
	}
	pair := append(slices.Clone(single), object{"Sequence": object{"id": "B", "type_id": 1}})
	return object{"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}
}

// sentencePiece describes BPE by scores.
func (v *Vocabulary) sentencePiece(doc object) error {
	ids := v.ids()
	var normalizers []object
	replace := func(pattern, content string) object {
		return object{"type": "Replace", "pattern": object{"String": pattern}, "content": content}
	}
	if v.CollapseSpaces {
		for _, r := range [][2]string{{`\A +| +\z`, ""}, {" {2,}", " "}} {
			normalizers = append(normalizers, object{"type": "Replace", "pattern": object{"Regex": r[0]}, "content": r[1]})
		}
	}
	decoders := []object{replace(visibleSpace, " "), {"type": "ByteFallback"}, {"type": "Fuse"}}
	if v.SpacePrefix {
		normalizers = append(normalizers, object{"type": "Prepend", "prepend": visibleSpace})
		decoders = append(decoders, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	doc["normalizer"] = object{"type": "Sequence", "normalizers": append(normalizers, replace(" ", visibleSpace))}
	doc["pre_tokenizer"] = nil
	doc["decoder"] = object{"type": "Sequence", "decoders": decoders}
	_, hasBytes := ids["<0x00>"]
	merges, err := v.mergesByScore(ids)
	if err != nil {
		return err
	}
	model := object{
		"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
		"fuse_unk": true, "byte_fallback": hasBytes, "ignore_merges": false, "vocab": ids, "merges": merges,
	}
	if v.Unknown >= 0 {
		model["unk_token"], _ = v.text(v.Unknown)
	}
	doc["model"] = model
	return nil
}

// mergesByScore returns every way to make a normal token of two others, by
// falling score; among equal ones as Hugging Face's converter has them.
func (v *Vocabulary) mergesByScore(ids map[string]int) ([][2]string, error) {
	type scored struct {
		two         [2]string
		score       float32
		left, right int // characters
	}
	var all []scored
	for id := range v.Tokens {
		s, ok := v.text(id)
		if !ok || ids[s] != id || v.typeOf(id) != Normal {
			continue
		}
		if len(s) > maxScoredBytes {
			return nil, fmt.Errorf("token %d: %d bytes exceed %d", id, len(s), maxScoredBytes)
		}
		first := len(all)
		runes := 0
		for i := range s {
			if i == 0 {
				continue
			}
			runes++
			if v.mergeable(ids, s[:i]) && v.mergeable(ids, s[i:]) {
				all = append(all, scored{[2]string{s[:i], s[i:]}, v.Scores[id], runes, utf8.RuneCountInString(s) - runes})
			}
		}
		if len(all) > maxMergesEach*len(v.Tokens) {
			return nil, fmt.Errorf("token %d: more than %d ways to merge each token on average", id, maxMergesEach)
		}
		slices.SortStableFunc(all[first:], func(a, b scored) int {
			return cmp.Or(cmp.Compare(ids[a.two[0]], ids[b.two[0]]), cmp.Compare(ids[a.two[1]], ids[b.two[1]]))
		})
	}
	slices.SortStableFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.left, a.left), cmp.Compare(b.right, a.right))
	})
	out := make([][2]string, len(all))
	for i, m := range all {
		out[i] = m.two
	}
	return out, nil
}

// mergeable reports whether a piece of text can be a token on the way to a
// longer one.
func (v *Vocabulary) mergeable(ids map[string]int, s string) bool {
	id, ok := ids[s]
	if !ok {
		return false
	}
	t := v.typeOf(id)
	return t == Normal || t == Unused
}

// The patterns that GGUF's names stand for beside those of scan.go (llama.cpp,
// src/llama-vocab.cpp, "regex_exprs", in the spelling of Hugging Face).
const patternTekken = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|` +
	`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`

// preTokenizer is what a name of GGUF's stands for.
type preTokenizer struct {
	patterns     []string
	ignoreMerges bool
	nfc          bool
}

var (
	preLlama3 = preTokenizer{patterns: []string{patternCL100KHead + "{1,3}" + patternCL100KTail}, ignoreMerges: true}
	preQwen2  = preTokenizer{patterns: []string{patternCL100KHead + patternCL100KTail}, nfc: true}
	preGPT2   = preTokenizer{patterns: []string{patternGPT2}}
	preDigits = preTokenizer{patterns: []string{`\p{N}`, patternGPT2}}
)

// preTokenizers is the table of names.
var preTokenizers = map[string]preTokenizer{
	"llama-bpe": preLlama3, "llama3": preLlama3, "llama-v3": preLlama3, "lfm2": preLlama3, "falcon3": preLlama3,
	"qwen2": preQwen2, "deepseek-r1-qwen": preQwen2,
	"gpt-2": preGPT2, "gpt2": preGPT2, "phi-2": preGPT2, "mpt": preGPT2, "olmo": preGPT2,
	"smollm": preDigits, "starcoder": preDigits, "refact": preDigits, "command-r": preDigits, "codeshell": preDigits,
	"tekken": {patterns: []string{patternTekken}, ignoreMerges: true},
}

// byteLevel describes BPE by a list of merges.
func (v *Vocabulary) byteLevel(doc object) error {
	pre, ok := preTokenizers[v.Pre]
	if !ok {
		these := slices.Sorted(maps.Keys(preTokenizers))
		return fmt.Errorf("tokenizer.ggml.pre %q is not supported; these are: %s; convert the model with a current llama.cpp if it says \"default\"", v.Pre, strings.Join(these, ", "))
	}
	ids := v.ids()
	merges := make([][2]string, 0, len(v.Merges))
	for i, m := range v.Merges {
		m = strings.ToValidUTF8(m, string(utf8.RuneError))
		at := -1
		if m != "" {
			at = strings.Index(m[1:], " ") + 1
		}
		if at < 1 {
			return fmt.Errorf("merges[%d]: %q has no space", i, m)
		}
		merges = append(merges, [2]string{m[:at], m[at+1:]})
	}
	splits := []object{}
	for _, p := range pre.patterns {
		splits = append(splits, object{"type": "Split", "pattern": object{"Regex": p}, "behavior": "Isolated", "invert": false})
	}
	level := func(regex bool) object {
		return object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex}
	}
	doc["normalizer"] = nil
	if pre.nfc {
		doc["normalizer"] = object{"type": "NFC"}
	}
	doc["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": append(splits, level(false))}
	doc["decoder"] = level(true)
	doc["model"] = object{
		"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
		"fuse_unk": false, "byte_fallback": false, "ignore_merges": pre.ignoreMerges, "vocab": ids, "merges": merges,
	}
	return nil
}
