package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// splitter cuts pieces into smaller ones.
type splitter func([]piece) []piece

// span is a half-open range of bytes. cut says that the pattern matched it.
type span struct {
	start, end int
	cut        bool
}

// finder returns the matches of a pattern in s, from left to right.
type finder func(s string) []span

// matchTimeout ends a search that backtracks without end: what is left of the
// text is then one piece.
const matchTimeout = 10 * time.Second

// buildSplitters returns the pre-tokenisers, and whether words are spelled in
// the byte-level alphabet.
func buildSplitters(c *component) (out []splitter, byteLevel bool, err error) {
	list, err := flatten("pre_tokenizer", c, func(c *component) []component { return c.Pretokenizers })
	if err != nil {
		return nil, false, err
	}
	for _, c := range list {
		if byteLevel {
			return nil, false, fmt.Errorf("pre_tokenizer: %s after ByteLevel is not supported", c.Type)
		}
		byteLevel = c.Type == "ByteLevel"
		s, err := newSplitter(c)
		if err != nil {
			return nil, false, fmt.Errorf("pre_tokenizer: %s: %w", c.Type, err)
		}
		if s != nil {
			out = append(out, s)
		}
	}
	return out, byteLevel, nil
}

func newSplitter(c *component) (splitter, error) {
	switch c.Type {
	case "ByteLevel":
		return newByteLevel(c), nil
	case "Split":
		return newSplit(c)
	case "Digits":
		return newDigits(c.IndividualDigits), nil
	case "Metaspace":
		return newMetaspace(c)
	}
	return nil, errors.New("is not supported")
}

// newByteLevel returns nil where ByteLevel leaves the pieces as they are.
func newByteLevel(c *component) splitter {
	regex := c.UseRegex == nil || *c.UseRegex
	if !regex && !c.AddPrefixSpace {
		return nil
	}
	return func(in []piece) []piece {
		out := make([]piece, 0, len(in))
		for _, p := range in {
			if c.AddPrefixSpace && !strings.HasPrefix(p.text, " ") {
				p.text = " " + p.text
			}
			if regex {
				out = scanAll(out, p, scanGPT2)
			} else {
				out = append(out, p)
			}
		}
		return out
	}
}

func newSplit(c *component) (splitter, error) {
	fold, ok := behaviours[c.Behavior]
	if !ok {
		return nil, fmt.Errorf("behavior %q is not supported", c.Behavior)
	}
	if p := c.Pattern.Regex; p != nil && c.Behavior == "Isolated" && !c.Invert {
		if scan := scannerFor(*p); scan != nil {
			return func(in []piece) []piece {
				var out []piece
				for _, p := range in {
					out = scanAll(out, p, scan)
				}
				return out
			}, nil
		}
	}
	find, err := newFinder(c.Pattern)
	if err != nil {
		return nil, err
	}
	return func(in []piece) []piece {
		var out []piece
		for _, p := range in {
			spans := cover(find(p.text), len(p.text))
			if c.Invert {
				for i := range spans {
					spans[i].cut = !spans[i].cut
				}
			}
			for _, s := range fold(spans) {
				if s.start < s.end {
					out = append(out, piece{p.text[s.start:s.end], p.first && s.start == 0})
				}
			}
		}
		return out
	}, nil
}

// scanAll appends the words of a piece as a scanner finds them.
func scanAll(out []piece, p piece, scan scanner) []piece {
	for i := 0; i < len(p.text); {
		j := scan(p.text, i)
		out = append(out, piece{p.text[i:j], p.first && i == 0})
		i = j
	}
	return out
}

// newFinder compiles a pattern.
func newFinder(p pattern) (finder, error) {
	switch {
	case p.String != nil && *p.String == "" || p.Regex != nil && *p.Regex == "":
		return nil, errors.New("pattern: is empty")
	case p.String != nil:
		return func(s string) []span { return findString(s, *p.String) }, nil
	case p.Regex == nil:
		return nil, errors.New("pattern: missing")
	case len(*p.Regex) > maxPatternBytes:
		return nil, fmt.Errorf("pattern: %d bytes exceed %d", len(*p.Regex), maxPatternBytes)
	}
	re, err := regexp2.Compile(modernise(*p.Regex))
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	re.MatchTimeout = matchTimeout
	return func(s string) []span {
		found, err := re.FindAllStringIndex(s, -1)
		if err != nil { // the search took too long
			return []span{{0, len(s), true}}
		}
		out := make([]span, len(found))
		for i, f := range found {
			out[i] = span{f[0], f[1], true}
		}
		return out
	}, nil
}

func findString(s, sub string) []span {
	var out []span
	for at := 0; ; {
		i := strings.Index(s[at:], sub)
		if i < 0 {
			return out
		}
		out = append(out, span{at + i, at + i + len(sub), true})
		at += i + len(sub)
	}
}

// cover adds the spans between matches, so that all of [0, n) is covered.
func cover(matches []span, n int) []span {
	out := make([]span, 0, 2*len(matches)+1)
	last := 0
	for _, m := range matches {
		if m.start > last {
			out = append(out, span{last, m.start, false})
		}
		out = append(out, m)
		last = m.end
	}
	if last < n {
		out = append(out, span{last, n, false})
	}
	return out
}

// behaviours say what becomes of the spans that a pattern matched.
var behaviours = map[string]func([]span) []span{
	"Removed": func(in []span) (out []span) {
		for _, s := range in {
			if !s.cut {
				out = append(out, s)
			}
		}
		return out
	},
	"Isolated": func(in []span) []span { return in },
	"MergedWithPrevious": func(in []span) (out []span) {
		previous := false
		for _, s := range in {
			if n := len(out); s.cut && !previous && n > 0 {
				out[n-1].end = s.end
			} else {
				out = append(out, s)
			}
			previous = s.cut
		}
		return out
	},
	"MergedWithNext": func(in []span) (out []span) {
		for i := 0; i < len(in); i++ {
			s := in[i]
			if s.cut && i+1 < len(in) && !in[i+1].cut {
				i++
				s.end = in[i].end
			}
			out = append(out, s)
		}
		return out
	},
	"Contiguous": func(in []span) (out []span) {
		for _, s := range in {
			if n := len(out); n > 0 && out[n-1].cut == s.cut {
				out[n-1].end = s.end
			} else {
				out = append(out, s)
			}
		}
		return out
	},
}

// newDigits separates numbers from the rest, and from each other on demand.
func newDigits(individual bool) splitter {
	return func(in []piece) []piece {
		var out []piece
		for _, p := range in {
			start, previous := 0, false
			for i, r := range p.text {
				is := isNumber(r)
				if i > 0 && (is != previous || is && individual) {
					out = append(out, piece{p.text[start:i], p.first && start == 0})
					start = i
				}
				previous = is
			}
			if start < len(p.text) {
				out = append(out, piece{p.text[start:], p.first && start == 0})
			}
		}
		return out
	}
}

// newMetaspace writes spaces as a visible character, and begins a text with one.
func newMetaspace(c *component) (splitter, error) {
	space := c.Replacement
	if utf8.RuneCountInString(space) != 1 {
		return nil, fmt.Errorf("replacement: %q is not one character", space)
	}
	scheme := c.PrependScheme
	switch scheme {
	case "":
		scheme = "always"
	case "always", "first", "never":
	default:
		return nil, fmt.Errorf("prepend_scheme: %q is not supported", scheme)
	}
	return func(in []piece) []piece {
		var out []piece
		for _, p := range in {
			text := strings.ReplaceAll(p.text, " ", space)
			if !strings.HasPrefix(text, space) && (scheme == "always" || scheme == "first" && p.first) {
				text = space + text
			}
			spans := []span{{0, len(text), false}}
			if c.Split == nil || *c.Split {
				spans = behaviours["MergedWithNext"](cover(findString(text, space), len(text)))
			}
			for _, s := range spans {
				out = append(out, piece{text[s.start:s.end], p.first && s.start == 0})
			}
		}
		return out
	}, nil
}
