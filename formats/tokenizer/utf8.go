package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// lossy returns bytes as text with one U+FFFD for each maximal subpart of an
// ill-formed sequence (Unicode 16, section 3.9, "U+FFFD Substitution of
// Maximal Subparts"), where Go's own conversion puts one for each byte.
func lossy(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r != utf8.RuneError || n > 1 {
			out.Write(b[i : i+n])
			i += n
			continue
		}
		out.WriteRune(utf8.RuneError)
		n, _ = subpart(b[i:])
		i += n
	}
	return out.String()
}

// incomplete returns how many bytes at the end of b begin a character that
// further bytes can complete: 0 to 3.
func incomplete(b []byte) int {
	for n := min(3, len(b)); n > 0; n-- {
		tail := b[len(b)-n:]
		if tail[0] < utf8.RuneSelf || tail[0]&0xC0 == 0x80 {
			continue
		}
		if have, want := subpart(tail); have == n && have < want {
			return n
		}
	}
	return 0
}

// subpart returns how many bytes of b form the longest beginning of a
// well-formed character, one at least, and how many that character has
// (Unicode 16, table 3-7).
func subpart(b []byte) (have, want int) {
	lo, hi := byte(0x80), byte(0xBF)
	want = 1
	switch c := b[0]; {
	case c >= 0xC2 && c <= 0xDF:
		want = 2
	case c == 0xE0:
		want, lo = 3, 0xA0
	case c == 0xED:
		want, hi = 3, 0x9F
	case c >= 0xE1 && c <= 0xEF:
		want = 3
	case c == 0xF0:
		want, lo = 4, 0x90
	case c == 0xF4:
		want, hi = 4, 0x8F
	case c >= 0xF1 && c <= 0xF3:
		want = 4
	}
	have = 1
	for have < want && have < len(b) && b[have] >= lo && b[have] <= hi {
		have++
		lo, hi = 0x80, 0xBF
	}
	return have, want
}
