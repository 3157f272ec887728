package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// unicodeGrowth bounds how much a Unicode normal form or a change of case can
// lengthen a text (UAX 15, section 12; NFKC of U+FDFA).
const unicodeGrowth = 12

// buildNormalizers returns what a text goes through before it is split.
func buildNormalizers(c *component) ([]func(string) string, error) {
	list, err := flatten("normalizer", c, func(c *component) []component { return c.Normalizers })
	if err != nil {
		return nil, err
	}
	var out []func(string) string
	growth := 1
	for _, c := range list {
		n, times, err := newNormalizer(c)
		if err != nil {
			return nil, fmt.Errorf("normalizer: %s: %w", c.Type, err)
		}
		if growth *= times; growth > maxGrowth {
			return nil, fmt.Errorf("normalizer: could make a text more than %d times as long", maxGrowth)
		}
		out = append(out, n)
	}
	return out, nil
}

// newNormalizer returns one step, and how many times longer it can make a text.
func newNormalizer(c *component) (step func(string) string, times int, err error) {
	switch c.Type {
	case "NFC":
		return normalForm(norm.NFC), unicodeGrowth, nil
	case "NFKC":
		return normalForm(norm.NFKC), unicodeGrowth, nil
	case "NFD":
		return normalForm(norm.NFD), unicodeGrowth, nil
	case "NFKD":
		return normalForm(norm.NFKD), unicodeGrowth, nil
	case "Lowercase":
		return lower, 2, nil
	case "Prepend":
		if len(c.Prepend) > maxPatternBytes {
			return nil, 0, fmt.Errorf("prepend: %d bytes exceed %d", len(c.Prepend), maxPatternBytes)
		}
		return func(s string) string {
			if s == "" {
				return s
			}
			return c.Prepend + s
		}, 1, nil
	case "Replace":
		return newReplace(c)
	}
	return nil, 0, errors.New("is not supported")
}

// newReplace replaces what a pattern matches by a fixed text.
func newReplace(c *component) (step func(string) string, times int, err error) {
	find, err := newFinder(c.Pattern)
	if err != nil {
		return nil, 0, err
	}
	if len(c.Content) > maxPatternBytes {
		return nil, 0, fmt.Errorf("content: %d bytes exceed %d", len(c.Content), maxPatternBytes)
	}
	if p := c.Pattern.String; p != nil {
		r := strings.NewReplacer(*p, c.Content)
		return r.Replace, max(1, (len(c.Content)+len(*p)-1)/len(*p)), nil
	}
	return func(s string) string {
		var b strings.Builder
		last := 0
		for _, m := range find(s) {
			b.WriteString(s[last:m.start])
			b.WriteString(c.Content)
			last = m.end
		}
		if last == 0 && b.Len() == 0 {
			return s
		}
		b.WriteString(s[last:])
		return b.String()
	}, 1 + len(c.Content), nil
}

// lower maps each character by itself; U+0130 is the one that becomes two.
func lower(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		if r == 0x130 {
			b.WriteString("i\u0307")
			continue
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
