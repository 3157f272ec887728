package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Stream turns ids into text as they come. What Add and Flush return is, put
// together, what Decode returns for all ids at once: a piece of text is held
// back while later ids can still change it, as half a character or a run of
// byte tokens.
type Stream struct {
	tokenizer   *Tokenizer
	skipSpecial bool
	steps       []decodeStep
}

// Stream returns a decoder for one text.
func (t *Tokenizer) Stream(skipSpecial bool) *Stream {
	s := &Stream{tokenizer: t, skipSpecial: skipSpecial}
	for _, spec := range t.decoders {
		s.steps = append(s.steps, spec())
	}
	return s
}

// Add takes the next id and returns the text that is now complete.
func (s *Stream) Add(id int) string {
	t := s.tokenizer
	if id < 0 || id >= len(t.tokens) || !t.present[id] || s.skipSpecial && t.special[id] {
		return ""
	}
	return s.pass([]string{t.tokens[id]}, 0)
}

// Flush returns what was held back. The stream then starts anew.
func (s *Stream) Flush() string {
	var b strings.Builder
	for i := range s.steps {
		b.WriteString(s.pass(s.steps[i].end(), i+1))
	}
	for i, spec := range s.tokenizer.decoders {
		s.steps[i] = spec()
	}
	return b.String()
}

// pass sends pieces through the steps from one on.
func (s *Stream) pass(pieces []string, from int) string {
	for _, step := range s.steps[from:] {
		var next []string
		for _, p := range pieces {
			next = append(next, step.add(p)...)
		}
		pieces = next
	}
	return strings.Join(pieces, "")
}

// decodeStep is one decoder at work: pieces go in, and out as soon as nothing
// that follows can change them.
type decodeStep interface {
	add(piece string) []string
	end() []string
}

// decoderSpec starts a step for a new text.
type decoderSpec func() decodeStep

// buildDecoders returns the decoders of a file. After Fuse and ByteLevel the
// pieces are parts of one text, and what follows sees that text as a whole.
func buildDecoders(c *component) ([]decoderSpec, error) {
	if c == nil {
		return []decoderSpec{func() decodeStep { return &joinStep{} }}, nil
	}
	list, err := flatten("decoder", c, func(c *component) []component { return c.Decoders })
	if err != nil {
		return nil, err
	}
	var out []decoderSpec
	fused := false
	for _, c := range list {
		switch c.Type {
		case "Fuse":
			fused = true
			continue
		case "ByteLevel":
			out = append(out, func() decodeStep { return &byteLevelStep{} })
			fused = true
			continue
		}
		spec, err := newDecoder(c)
		if err != nil {
			return nil, fmt.Errorf("decoder: %s: %w", c.Type, err)
		}
		switch {
		case !fused:
		case c.Type == "Strip" && c.Stop == 0:
			spec = func() decodeStep { return &stripStart{content: c.Content, left: c.Start} }
		default:
			each := spec
			spec = func() decodeStep { return &wholeStep{each: each()} }
		}
		out = append(out, spec)
	}
	return out, nil
}

// newDecoder returns a step that sees one token at a time.
func newDecoder(c *component) (decoderSpec, error) {
	switch c.Type {
	case "Replace":
		if c.Pattern.String == nil || *c.Pattern.String == "" {
			return nil, errors.New("pattern: want a string")
		}
		if len(c.Content) > maxPatternBytes {
			return nil, fmt.Errorf("content: %d bytes exceed %d", len(c.Content), maxPatternBytes)
		}
		if len(c.Content) > 16*len(*c.Pattern.String) {
			return nil, fmt.Errorf("content: %d bytes for a pattern of %d", len(c.Content), len(*c.Pattern.String))
		}
		return func() decodeStep {
			return eachStep(func(s string) string { return strings.ReplaceAll(s, *c.Pattern.String, c.Content) })
		}, nil
	case "Strip":
		if utf8.RuneCountInString(c.Content) != 1 {
			return nil, fmt.Errorf("content: %q is not one character", c.Content)
		}
		return func() decodeStep {
			return eachStep(func(s string) string { return strip(s, c.Content, c.Start, c.Stop) })
		}, nil
	case "ByteFallback":
		return func() decodeStep { return &byteFallbackStep{} }, nil
	case "Metaspace":
		if utf8.RuneCountInString(c.Replacement) != 1 {
			return nil, fmt.Errorf("replacement: %q is not one character", c.Replacement)
		}
		return func() decodeStep { return &metaspaceStep{space: c.Replacement, keep: c.PrependScheme == "never"} }, nil
	}
	return nil, errors.New("is not supported")
}

// strip removes up to start copies of a character from the beginning and up to
// stop from the end.
func strip(s, char string, start, stop int) string {
	for ; start > 0 && strings.HasPrefix(s, char); start-- {
		s = s[len(char):]
	}
	for ; stop > 0 && strings.HasSuffix(s, char); stop-- {
		s = s[:len(s)-len(char)]
	}
	return s
}

// eachStep maps each token by itself.
type eachStep func(string) string

func (f eachStep) add(s string) []string { return []string{f(s)} }
func (eachStep) end() []string           { return nil }

// joinStep puts a space between tokens: what a file without decoder means.
type joinStep struct{ begun bool }

func (j *joinStep) add(s string) []string {
	if j.begun {
		s = " " + s
	}
	j.begun = true
	return []string{s}
}

func (*joinStep) end() []string { return nil }

// wholeStep applies a step to all of the text at its end.
type wholeStep struct {
	each decodeStep
	text strings.Builder
}

func (w *wholeStep) add(s string) []string {
	w.text.WriteString(s)
	return nil
}

func (w *wholeStep) end() []string { return slices.Concat(w.each.add(w.text.String()), w.each.end()) }

// stripStart removes characters from the beginning of the text.
type stripStart struct {
	content string
	left    int
	begun   bool
}

func (t *stripStart) add(s string) []string {
	if !t.begun {
		for t.left > 0 && strings.HasPrefix(s, t.content) {
			s = s[len(t.content):]
			t.left--
		}
		t.begun = s != ""
	}
	return []string{s}
}

func (*stripStart) end() []string { return nil }

// metaspaceStep turns the visible space back into one, and drops it in the
// first token, where it was put for encoding.
type metaspaceStep struct {
	space string
	keep  bool // first token included
}

func (m *metaspaceStep) add(s string) []string {
	with := " "
	if !m.keep {
		with = ""
	}
	m.keep = true
	return []string{strings.ReplaceAll(s, m.space, with)}
}

func (*metaspaceStep) end() []string { return nil }

// byteFallbackStep collects runs of byte tokens: characters where a whole run
// is UTF-8, else one U+FFFD for each byte of it.
type byteFallbackStep struct{ run []byte }

func (f *byteFallbackStep) add(s string) []string {
	if len(s) == 6 && strings.HasPrefix(s, "<0x") && s[5] == '>' {
		if v, err := strconv.ParseUint(s[3:5], 16, 8); err == nil {
			f.run = append(f.run, byte(v))
			return nil
		}
	}
	return append(f.end(), s)
}

func (f *byteFallbackStep) end() []string {
	if len(f.run) == 0 {
		return nil
	}
	var out []string
	if utf8.Valid(f.run) {
		out = []string{string(f.run)}
	} else {
		out = slices.Repeat([]string{string(utf8.RuneError)}, len(f.run))
	}
	f.run = f.run[:0]
	return out
}

// byteLevelStep turns the byte-level alphabet back into bytes, and these into
// text.
type byteLevelStep struct{ held []byte }

func (b *byteLevelStep) add(s string) []string {
	n := len(b.held)
	for _, r := range s {
		if int(r) >= len(runeBytes) || runeBytes[r] < 0 {
			// An added token with other characters stands for itself.
			b.held = append(b.held[:n], s...)
			break
		}
		b.held = append(b.held, byte(runeBytes[r]))
	}
	done := len(b.held) - incomplete(b.held)
	out := lossy(b.held[:done])
	b.held = append(b.held[:0], b.held[done:]...)
	return []string{out}
}

func (b *byteLevelStep) end() []string {
	out := lossy(b.held)
	b.held = b.held[:0]
	return []string{out}
}
