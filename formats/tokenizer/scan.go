package tokenizer

import (
	"unicode/utf8"
)

// The two patterns that nearly every byte-level tokenizer uses, and that are
// scanned by hand: the second one with \p{N} or \p{N}{1,3} in the middle.
const (
	patternGPT2       = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternCL100KHead = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}`
	patternCL100KTail = `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// scanner returns the end of the word that begins at s[i].
type scanner func(s string, i int) int

// scannerFor returns nil for a pattern that only the general engine knows.
func scannerFor(expr string) scanner {
	switch expr {
	case patternGPT2:
		return scanGPT2
	case patternCL100KHead + patternCL100KTail:
		return func(s string, i int) int { return scanCL100K(s, i, 1) }
	case patternCL100KHead + "{1,3}" + patternCL100KTail:
		return func(s string, i int) int { return scanCL100K(s, i, 3) }
	}
	return nil
}

// runeAt decodes the character at s[i]; its size is 0 at the end.
func runeAt(s string, i int) (r rune, size int) {
	if i >= len(s) {
		return -1, 0
	}
	if s[i] < utf8.RuneSelf {
		return rune(s[i]), 1
	}
	return utf8.DecodeRuneInString(s[i:])
}

func scanGPT2(s string, i int) int {
	r, n := runeAt(s, i)
	if r == '\'' {
		if end := contraction(s, i, false); end > 0 {
			return end
		}
	}
	j := i
	if r == ' ' {
		if next, size := runeAt(s, i+1); size > 0 && !isSpace(next) {
			r, n, j = next, size, i+1
		}
	}
	if isSpace(r) {
		return spaces(s, i)
	}
	for c := classOf(r); n > 0 && classOf(r) == c; r, n = runeAt(s, j) {
		j += n
	}
	return j
}

// scanCL100K takes numbers of up to maxDigits characters.
func scanCL100K(s string, i, maxDigits int) int {
	first, n := runeAt(s, i)
	if first == '\'' {
		if end := contraction(s, i, true); end > 0 {
			return end
		}
	}
	// [^\r\n\p{L}\p{N}]?\p{L}+
	j := i
	if !isLetter(first) && !isNumber(first) && first != '\r' && first != '\n' {
		j += n
	}
	if end := run(s, j, isLetter); end > j {
		return end
	}
	if isNumber(first) {
		j = i
		for range maxDigits {
			r, n := runeAt(s, j)
			if n == 0 || !isNumber(r) {
				break
			}
			j += n
		}
		return j
	}
	// ` ?[^\s\p{L}\p{N}]+[\r\n]*`
	j = i
	if first == ' ' {
		j++
	}
	if end := run(s, j, func(r rune) bool { return classOf(r) == other }); end > j {
		return run(s, end, func(r rune) bool { return r == '\r' || r == '\n' })
	}
	// \s*[\r\n]+ is the whole run of spaces, up to its last line break.
	end := run(s, i, isSpace)
	for k := end; k > i; k-- {
		if s[k-1] == '\n' || s[k-1] == '\r' {
			return k
		}
	}
	return spaces(s, i)
}

// run returns the end of the characters from s[i] on that all satisfy is.
func run(s string, i int, is func(rune) bool) int {
	for {
		r, n := runeAt(s, i)
		if n == 0 || !is(r) {
			return i
		}
		i += n
	}
}

// spaces matches \s+(?!\S)|\s+ at s[i]: a run of spaces leaves its last one to
// the word that follows, unless it is the only one.
func spaces(s string, i int) int {
	last, j := i, i
	for {
		r, n := runeAt(s, j)
		if n == 0 {
			return j
		}
		if !isSpace(r) {
			break
		}
		last = j
		j += n
	}
	if last > i {
		return last
	}
	return j
}

// contraction returns the end of 's, 't, 're, 've, 'm, 'll or 'd at s[i], or 0.
// Without regard to case, U+017F counts as an s.
func contraction(s string, i int, ignoreCase bool) int {
	at := func(k int) (rune, int) {
		r, n := runeAt(s, k)
		if ignoreCase && r == 0x17F {
			r = 's'
		} else if ignoreCase && r >= 'A' && r <= 'Z' {
			r |= 0x20
		}
		return r, n
	}
	r, n := at(i + 1)
	var second rune
	switch r {
	case 's', 't', 'm', 'd':
		return i + 1 + n
	case 'r', 'v':
		second = 'e'
	case 'l':
		second = 'l'
	default:
		return 0
	}
	if r, m := at(i + 1 + n); r == second {
		return i + 1 + n + m
	}
	return 0
}
