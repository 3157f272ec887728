package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// trie finds added tokens in text, the longest at the leftmost place.
type trie struct {
	root  trieNode
	first [256]bool // bytes that a token can begin with
}

type trieNode struct {
	kids  map[byte]*trieNode
	token *addedToken
}

func (t *trie) insert(s string, token *addedToken) {
	if s == "" {
		return
	}
	t.first[s[0]] = true
	n := &t.root
	for i := range len(s) {
		if n.kids == nil {
			n.kids = map[byte]*trieNode{}
		}
		kid := n.kids[s[i]]
		if kid == nil {
			kid = &trieNode{}
			n.kids[s[i]] = kid
		}
		n = kid
	}
	n.token = token
}

// match returns the longest token that s begins with, and its length in bytes.
func (t *trie) match(s string) (token *addedToken, length int) {
	if !t.first[s[0]] {
		return nil, 0
	}
	n := &t.root
	for i := range len(s) {
		if n = n.kids[s[i]]; n == nil {
			break
		}
		if n.token != nil {
			token, length = n.token, i+1
		}
	}
	return token, length
}

// split calls found for the added tokens of a piece and text for what lies
// between them, in order.
func (t *trie) split(p piece, text func(piece), found func(id int)) {
	s, start := p.text, 0
	for i := 0; i < len(s) && t.root.kids != nil; {
		a, n := t.match(s[i:])
		if a == nil {
			i++
			continue
		}
		begin, end := i, i+n
		if a.SingleWord && touchesWord(s, begin, end) {
			i = end
			continue
		}
		if a.LStrip {
			begin = start + len(strings.TrimRightFunc(s[start:begin], unicode.IsSpace))
		}
		if a.RStrip {
			end = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
		}
		if begin > start {
			text(piece{s[start:begin], p.first && start == 0})
		}
		found(a.ID)
		start, i = end, end
	}
	if start < len(s) {
		text(piece{s[start:], p.first && start == 0})
	}
}

// touchesWord reports whether a word goes on before or after s[begin:end].
func touchesWord(s string, begin, end int) bool {
	left, _ := utf8.DecodeLastRuneInString(s[:begin])
	right, _ := utf8.DecodeRuneInString(s[end:])
	return begin > 0 && isWord(left) || end < len(s) && isWord(right)
}
