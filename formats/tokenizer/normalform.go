package tokenizer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// firstUnsorted is the first character of unsorted.
const firstUnsorted = 0x7FD

// normalForm returns a Unicode normal form that leaves unsorted characters
// where they are, as beginnings of what follows.
func normalForm(form norm.Form) func(string) string {
	return func(s string) string {
		var b strings.Builder
		last, marks := 0, 0
		for i, r := range s {
			switch {
			case r >= firstUnsorted && unicode.Is(unsorted, r):
				b.WriteString(normal(form, s[last:i], marks))
				last = i + utf8.RuneLen(r)
				b.WriteString(s[i:last])
				marks = 0
			case marks > maxMarks: // and stay so
			case r >= 0x300 && unicode.IsMark(r):
				marks++
			default:
				marks = 0
			}
		}
		if last == 0 {
			return normal(form, s, marks)
		}
		b.WriteString(normal(form, s[last:], marks))
		return b.String()
	}
}

// maxMarks is how many characters of the text may belong to one before them
// until golang.org/x/text puts another in between (UAX 15, section 13,
// "Stream-Safe Text Format"). It is 30 after decomposition, of which one
// character gives up to three.
const maxMarks = 9

// normal applies a normal form to a text without unsorted characters; marks
// exceeds maxMarks where so many come in a row.
func normal(form norm.Form, s string, marks int) string {
	if marks <= maxMarks {
		return form.String(s)
	}
	// UAX 15, section 1.3: take apart, sort, put together.
	decomposed := norm.NFD
	if form == norm.NFKC || form == norm.NFKD {
		decomposed = norm.NFKD
	}
	var out []rune
	for _, r := range s {
		out = append(out, []rune(decomposed.String(string(r)))...)
	}
	for i := 0; i < len(out); i++ {
		j := i
		for j < len(out) && combining(out[j]) != 0 {
			j++
		}
		slices.SortStableFunc(out[i:j], func(a, b rune) int { return int(combining(a)) - int(combining(b)) })
		i = j
	}
	if form == norm.NFD || form == norm.NFKD {
		return string(out)
	}
	return string(compose(out))
}

// combining returns the canonical combining class.
func combining(r rune) uint8 { return norm.NFD.PropertiesString(string(r)).CCC() }

// compose puts sorted characters together, each with the last one of class 0
// unless something of its class or a higher one stands between.
func compose(in []rune) []rune {
	out := in[:0]
	starter, last := -1, -1 // index into out; class of what stands between
	for _, r := range in {
		c := int(combining(r))
		if starter >= 0 && (last < c || last < 0) {
			if both := []rune(norm.NFC.String(string([]rune{out[starter], r}))); len(both) == 1 {
				out[starter] = both[0]
				continue
			}
		}
		if c == 0 {
			starter, last = len(out), -1
		} else {
			last = c
		}
		out = append(out, r)
	}
	return out
}
