package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// isLetter reports whether \p{L} of Unicode 16 holds r.
func isLetter(r rune) bool {
	if r < utf8.RuneSelf {
		return r|0x20 >= 'a' && r|0x20 <= 'z'
	}
	return unicode.IsLetter(r) || unicode.Is(newLetters, r)
}

// isNumber reports whether \p{N} of Unicode 16 holds r.
func isNumber(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= '0' && r <= '9'
	}
	return unicode.IsNumber(r) || unicode.Is(newNumbers, r)
}

// isMark reports whether \p{M} of Unicode 16 holds r.
func isMark(r rune) bool {
	return unicode.IsMark(r) || unicode.Is(newMarks, r)
}

func isSpace(r rune) bool {
	if r < utf8.RuneSelf {
		return r == ' ' || r >= '\t' && r <= '\r'
	}
	return unicode.IsSpace(r)
}

// isWord reports whether \w of Unicode Technical Standard 18, annex C, holds r.
func isWord(r rune) bool {
	return isLetter(r) || isMark(r) || unicode.In(r, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic) ||
		r == 0x200C || r == 0x200D
}

// class is what the patterns of GPT-2 and its heirs tell apart.
type class uint8

const (
	other class = iota
	letter
	number
	space
)

func classOf(r rune) class {
	switch {
	case isLetter(r):
		return letter
	case isNumber(r):
		return number
	case isSpace(r):
		return space
	}
	return other
}

// byteRunes is the alphabet of byte-level BPE: printable bytes stand for
// themselves, the others for U+0100 onwards.
var byteRunes = func() (table [256]rune) {
	next := rune(256)
	for b := range table {
		if b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
			table[b] = rune(b)
		} else {
			table[b] = next
			next++
		}
	}
	return table
}()

// runeBytes is the inverse of byteRunes, -1 where there is none.
var runeBytes = func() (table [324]int16) {
	for i := range table {
		table[i] = -1
	}
	for b, r := range byteRunes {
		table[r] = int16(b)
	}
	return table
}()

// modernise returns a regular expression in which \p{L}, \p{N} and \p{M} hold
// what Unicode 16 added to them.
func modernise(expr string) string {
	var b strings.Builder
	inClass := false
	for i := 0; i < len(expr); i++ {
		switch expr[i] {
		case '\\':
			if add := additions(expr[i:]); add != "" {
				p := expr[i : i+len(`\p{L}`)]
				if inClass {
					b.WriteString(p + add)
				} else {
					b.WriteString("[" + p + add + "]")
				}
				i += len(p) - 1
				continue
			}
			if i+1 < len(expr) {
				b.WriteByte(expr[i])
				i++
			}
		case '[':
			inClass = true
		case ']':
			inClass = false
		}
		b.WriteByte(expr[i])
	}
	return b.String()
}

// additions returns the ranges that the class which s begins with lacks, as
// they stand inside brackets.
func additions(s string) string {
	var table *unicode.RangeTable
	switch {
	case strings.HasPrefix(s, `\p{L}`):
		table = newLetters
	case strings.HasPrefix(s, `\p{N}`):
		table = newNumbers
	case strings.HasPrefix(s, `\p{M}`):
		table = newMarks
	default:
		return ""
	}
	var b strings.Builder
	add := func(lo, hi rune) {
		b.WriteRune(lo)
		b.WriteByte('-')
		b.WriteRune(hi)
	}
	for _, r := range table.R16 {
		add(rune(r.Lo), rune(r.Hi))
	}
	for _, r := range table.R32 {
		add(rune(r.Lo), rune(r.Hi))
	}
	return b.String()
}
