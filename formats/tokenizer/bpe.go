package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// bpe is the model: it merges neighbouring tokens of a word, the earliest
// merge of the file first.
type bpe struct {
	vocab        map[string]int32
	merges       map[pair]merge
	bytes        [256]int32 // id of <0x00> to <0xFF>, -1 where there is none
	unk          int32      // -1 where there is none
	fuseUnk      bool
	byteFallback bool
	ignoreMerges bool // a word that is a token needs no merges
	byteLevel    bool // words are spelled in the alphabet of byteRunes
	cutsAtSpace  bool // see cutWord

	symbols []symbol // scratch
	queue   queue
}

type pair struct{ left, right int32 }

// merge is what a pair becomes. A lower rank goes first.
type merge struct{ rank, id int32 }

// symbol is a token of the word in work, in a list linked by index.
type symbol struct{ id, prev, next int32 }

func newBPE(f *fileModel, vocab map[string]int32, byteLevel bool) (bpe, error) {
	m := bpe{
		vocab: vocab, unk: -1, fuseUnk: f.FuseUnk, byteFallback: f.ByteFallback, ignoreMerges: f.IgnoreMerges,
		byteLevel: byteLevel, merges: make(map[pair]merge, len(f.Merges)),
	}
	switch {
	case f.Type != "BPE" && f.Type != "":
		return m, fmt.Errorf("model.type: %q is not supported, only BPE", f.Type)
	case f.Dropout != nil && *f.Dropout != 0:
		return m, fmt.Errorf("model.dropout: %g would make ids random", *f.Dropout)
	case f.ContinuingSubwordPrefix != nil && *f.ContinuingSubwordPrefix != "":
		return m, fmt.Errorf("model.continuing_subword_prefix: %q is not supported", *f.ContinuingSubwordPrefix)
	case f.EndOfWordSuffix != nil && *f.EndOfWordSuffix != "":
		return m, fmt.Errorf("model.end_of_word_suffix: %q is not supported", *f.EndOfWordSuffix)
	}
	for rank, two := range f.Merges {
		a, okA := vocab[two[0]]
		b, okB := vocab[two[1]]
		ab, okAB := vocab[two[0]+two[1]]
		switch {
		case !okA:
			return m, fmt.Errorf("model.merges[%d]: %q is not in the vocabulary", rank, two[0])
		case !okB:
			return m, fmt.Errorf("model.merges[%d]: %q is not in the vocabulary", rank, two[1])
		case !okAB:
			return m, fmt.Errorf("model.merges[%d]: %q is not in the vocabulary", rank, two[0]+two[1])
		}
		m.merges[pair{a, b}] = merge{int32(rank), ab}
	}
	if f.UnkToken != nil {
		if id, ok := vocab[*f.UnkToken]; ok {
			m.unk = id
		}
	}
	m.cutsAtSpace = m.canCut(f.Merges)
	for i := range m.bytes {
		m.bytes[i] = -1
		if id, ok := vocab[fmt.Sprintf("<0x%02X>", i)]; ok {
			m.bytes[i] = id
		}
	}
	return m, nil
}

// visibleSpace is what SentencePiece writes for a space, U+2581.
const visibleSpace = "▁"

// canCut reports whether no merge reaches from one character over a visible
// space that follows it. Then what lies before the space and what begins with
// it are encoded apart with the same result, in less time for long words.
func (m *bpe) canCut(merges mergeList) bool {
	if _, ok := m.vocab[visibleSpace]; !ok || m.ignoreMerges || m.byteLevel {
		return false
	}
	for _, two := range merges {
		if s := two[0] + two[1]; firstWord(s) < len(s) {
			return false
		}
	}
	return true
}

// firstWord returns where the first visible space begins that another
// character goes before, or the length of s.
func firstWord(s string) int {
	at := 0
	for strings.HasPrefix(s[at:], visibleSpace) {
		at += len(visibleSpace)
	}
	if i := strings.Index(s[at:], visibleSpace); i >= 0 {
		return at + i
	}
	return len(s)
}

// encode returns the ids of one word. The result is the caller's.
func (m *bpe) encode(word string) []int32 {
	if m.byteLevel {
		spelled := make([]rune, len(word))
		for i := range len(word) {
			spelled[i] = byteRunes[word[i]]
		}
		word = string(spelled)
	}
	if m.ignoreMerges {
		if id, ok := m.vocab[word]; ok {
			return []int32{id}
		}
	}
	m.start(word)
	m.mergeAll()
	var out []int32
	for i := 0; i < len(m.symbols) && i >= 0; i = int(m.symbols[i].next) {
		out = append(out, m.symbols[i].id)
	}
	return out
}

// start fills symbols with the characters of a word, or their bytes.
func (m *bpe) start(word string) {
	m.symbols = m.symbols[:0]
	lastUnk := false
	for len(word) > 0 {
		_, n := utf8.DecodeRuneInString(word)
		char := word[:n]
		word = word[n:]
		if id, ok := m.vocab[char]; ok {
			m.add(id)
			lastUnk = false
			continue
		}
		if m.byteFallback && m.hasBytes(char) {
			for k := range len(char) {
				m.add(m.bytes[char[k]])
			}
			lastUnk = false
			continue
		}
		if m.unk >= 0 && (!m.fuseUnk || !lastUnk) {
			m.add(m.unk)
			lastUnk = true
		}
	}
	if n := len(m.symbols); n > 0 {
		m.symbols[n-1].next = -1
	}
}

func (m *bpe) add(id int32) {
	n := int32(len(m.symbols))
	m.symbols = append(m.symbols, symbol{id: id, prev: n - 1, next: n + 1})
}

func (m *bpe) hasBytes(s string) bool {
	for i := range len(s) {
		if m.bytes[s[i]] < 0 {
			return false
		}
	}
	return true
}

// mergeAll applies merges until none is left.
func (m *bpe) mergeAll() {
	m.queue = m.queue[:0]
	for i := range m.symbols {
		m.offer(int32(i))
	}
	for len(m.queue) > 0 {
		c := m.queue.pop()
		s := &m.symbols[c.at]
		// An entry is stale once either side has merged with another.
		if s.id != c.left || s.next < 0 || m.symbols[s.next].id != c.right {
			continue
		}
		right := s.next
		s.id, s.next = c.id, m.symbols[right].next
		m.symbols[right].id = -1
		if s.next >= 0 {
			m.symbols[s.next].prev = c.at
		}
		if s.prev >= 0 {
			m.offer(s.prev)
		}
		m.offer(c.at)
	}
}

// offer queues the merge of a symbol with its right neighbour, if there is one.
func (m *bpe) offer(at int32) {
	s := &m.symbols[at]
	if s.next < 0 {
		return
	}
	right := m.symbols[s.next].id
	if to, ok := m.merges[pair{s.id, right}]; ok {
		m.queue.push(candidate{rank: to.rank, at: at, id: to.id, left: s.id, right: right})
	}
}

// candidate is a merge that can happen at a symbol.
type candidate struct {
	rank, at, id int32
	left, right  int32 // ids when it was queued
}

// queue is a binary heap: lowest rank first, leftmost among equals.
type queue []candidate

func (q queue) less(i, j int) bool {
	if q[i].rank != q[j].rank {
		return q[i].rank < q[j].rank
	}
	return q[i].at < q[j].at
}

func (q *queue) push(c candidate) {
	*q = append(*q, c)
	h := *q
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h.less(i, parent) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (q *queue) pop() candidate {
	h := *q
	top := h[0]
	h[0] = h[len(h)-1]
	h = h[:len(h)-1]
	for i := 0; ; {
		kid := 2*i + 1
		if kid >= len(h) {
			break
		}
		if kid+1 < len(h) && h.less(kid+1, kid) {
			kid++
		}
		if !h.less(kid, i) {
			break
		}
		h[i], h[kid] = h[kid], h[i]
		i = kid
	}
	*q = h
	return top
}
