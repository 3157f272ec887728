package tokenizer

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/dlclark/regexp2/v2"
)

// TestUnicodeClasses compares the classes on every code point with those of
// Hugging Face tokenizers, testdata/unicode_classes.txt.
func TestUnicodeClasses(t *testing.T) {
	text, err := os.ReadFile("testdata/unicode_classes.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[rune]bool{"L": {}, "N": {}, "M": {}}
	for line := range strings.Lines(string(text)) {
		var name string
		var first, last rune
		if _, err := fmt.Sscanf(line, "%s %X %X", &name, &first, &last); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for r := first; r <= last && want[name] != nil; r++ {
			want[name][r] = true
		}
	}
	for name, is := range map[string]func(rune) bool{"L": isLetter, "N": isNumber, "M": isMark} {
		re := regexp2.MustCompile("^" + modernise(`\p{`+name+`}`) + "$")
		inside := regexp2.MustCompile("^" + modernise(`[^a\p{`+name+`}]`) + "$")
		for r := rune(0); r <= unicode.MaxRune; r++ {
			if is(r) != want[name][r] {
				t.Errorf("%U in %s = %v, want %v", r, name, is(r), want[name][r])
			}
			if r >= 0x1000 && r%37 != 0 && unicode.IsOneOf([]*unicode.RangeTable{unicode.L, unicode.N, unicode.M}, r) || r >= 0xD800 && r < 0xE000 {
				continue
			}
			if r >= 0x3000 && !want[name][r] && r%37 != 0 {
				continue
			}
			if got, err := re.MatchString(string(r)); err != nil || got != want[name][r] {
				t.Errorf("%U in the expression %s = %v, %v", r, name, got, err)
			}
			if r == 'a' {
				continue
			}
			if got, err := inside.MatchString(string(r)); err != nil || got == want[name][r] {
				t.Errorf("%U in the brackets of %s = %v, %v", r, name, got, err)
			}
		}
	}
}

func TestModernise(t *testing.T) {
	for _, c := range []struct{ in, prefix, suffix string }{
		{`a\p{L}b`, `a[\p{L}`, `]b`},
		{`[^\s\p{N}]+`, `[^\s\p{N}`, `]+`},
		{`\\p{L}`, `\\p{L}`, ``},
		{`\[\p{M}`, `\[[\p{M}`, `]`},
		{`\P{L}\pL`, `\P{L}\pL`, ``},
		{`a\`, `a\`, ``},
	} {
		if got := modernise(c.in); !strings.HasPrefix(got, c.prefix) || !strings.HasSuffix(got, c.suffix) {
			t.Errorf("modernise(%q) = %q, want %q...%q", c.in, got, c.prefix, c.suffix)
		}
	}
}
