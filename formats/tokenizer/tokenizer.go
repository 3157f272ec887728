// Package tokenizer turns text into token ids and back, as a Hugging Face
// tokenizer.json says: byte-level BPE (GPT-2, Llama 3, Qwen) and SentencePiece
// BPE (Llama 2, Gemma, Phi-3). It gives the ids of the Rust library that the
// file was written for; a file that asks for what is not known here is an
// error at load, never a different result later.
//
// It knows nothing about models, chat templates or the files of a build.
package tokenizer

import (
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

//go:generate go run gen.go

// Tokenizer encodes and decodes text. It is safe for concurrent use; calls to
// Encode take turns.
type Tokenizer struct {
	tokens  []string // text of each id as the vocabulary spells it
	present []bool   // ids that have a token
	special []bool   // ids that Decode can leave out
	vocab   map[string]int32

	raw, normalized trie // added tokens, matched before and after normalising
	normalizers     []func(string) string
	splitters       []splitter
	prefix, suffix  []int // special tokens that a text gets
	decoders        []decoderSpec
	model           bpe

	mu    sync.Mutex
	cache map[string][]int32 // ids of short words
	words []piece            // scratch
}

// Bounds on the cache of words.
const (
	maxCachedWords     = 1 << 16
	maxCachedWordBytes = 64
)

// piece is a part of the text on its way to the model.
type piece struct {
	text  string
	first bool // it begins where the text begins
}

// VocabSize returns one more than the greatest id, added tokens included.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// TokenID returns the id of a token, spelled as the vocabulary or the added
// tokens spell it: "<|im_end|>" for example.
func (t *Tokenizer) TokenID(token string) (int, bool) {
	if id, ok := t.vocab[token]; ok && t.tokens[id] == token {
		return int(id), true
	}
	for id, s := range t.tokens {
		if t.present[id] && s == token {
			return id, true
		}
	}
	return 0, false
}

// IsSpecial reports whether an id is a token that stands for no text.
func (t *Tokenizer) IsSpecial(id int) bool {
	return id >= 0 && id < len(t.special) && t.special[id]
}

// Prefix returns the ids that Encode puts before a text with addSpecial, a
// token for its beginning as a rule; none where the file asks for none.
func (t *Tokenizer) Prefix() []int { return slices.Clone(t.prefix) }

// Encode returns the ids of text. With addSpecial they include what the file
// puts around a text, a token for its beginning as a rule. Tokens spelled out
// in text become their ids either way. Bytes that are not UTF-8 count as
// U+FFFD.
func (t *Tokenizer) Encode(text string, addSpecial bool) []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, string(utf8.RuneError))
	}
	var ids []int
	if addSpecial {
		ids = slices.Clone(t.prefix)
	}
	t.raw.split(piece{text, true}, func(p piece) {
		for _, normalize := range t.normalizers {
			p.text = normalize(p.text)
		}
		t.normalized.split(p, func(q piece) {
			ids = t.appendWords(ids, q)
		}, func(id int) { ids = append(ids, id) })
	}, func(id int) { ids = append(ids, id) })
	if addSpecial {
		ids = append(ids, t.suffix...)
	}
	return ids
}

// appendWords splits a stretch of text without added tokens into words, and
// appends their ids.
func (t *Tokenizer) appendWords(ids []int, p piece) []int {
	words := append(t.words[:0], p)
	for _, split := range t.splitters {
		words = split(words)
	}
	for _, w := range words {
		for rest := w.text; rest != ""; {
			end := len(rest)
			if t.model.cutsAtSpace {
				end = firstWord(rest)
			}
			ids = t.appendWord(ids, rest[:end])
			rest = rest[end:]
		}
	}
	clear(words)
	t.words = words[:0]
	return ids
}

// appendWord appends the ids of a word.
func (t *Tokenizer) appendWord(ids []int, word string) []int {
	wordIDs, ok := t.cache[word]
	if !ok {
		wordIDs = t.model.encode(word)
		if len(word) <= maxCachedWordBytes && len(t.cache) < maxCachedWords {
			t.cache[strings.Clone(word)] = wordIDs
		}
	}
	for _, id := range wordIDs {
		ids = append(ids, int(id))
	}
	return ids
}

// Decode returns the text of ids, without special tokens where skipSpecial is
// set. Ids outside the vocabulary have no text. Bytes that are not UTF-8
// become U+FFFD.
func (t *Tokenizer) Decode(ids []int, skipSpecial bool) string {
	var b strings.Builder
	s := t.Stream(skipSpecial)
	for _, id := range ids {
		b.WriteString(s.Add(id))
	}
	b.WriteString(s.Flush())
	return b.String()
}
