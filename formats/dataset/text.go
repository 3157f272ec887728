package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sizes of what is read and encoded at once, in bytes.
const (
	blockBytes   = 1 << 16
	stretchBytes = 1 << 20 // texts up to this long are encoded as a whole
	contextBytes = 256     // on either side of a cut
	maxCuts      = 64      // places to try
)

const byteOrderMark = "\xef\xbb\xbf"

// text reads a plain text, which is one document.
func (r *reader) text() error {
	in := io.NewSectionReader(r.file.Reader, 0, r.file.SizeBytes)
	var d *stretcher
	block := make([]byte, blockBytes)
	held := 0 // bytes of a character that the last block did not end
	offset := int64(0)
	for {
		n, err := io.ReadFull(in, block[held:])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return fmt.Errorf("offset %d: %w", offset+int64(held+n), err)
		}
		b := block[:held+n]
		if offset == 0 && bytes.HasPrefix(b, []byte(byteOrderMark)) {
			offset, b = int64(len(byteOrderMark)), b[len(byteOrderMark):]
		}
		good, broken := wellFormed(b)
		if broken || last && good < len(b) {
			return fmt.Errorf("offset %d: %w", offset+int64(good), notUTF8(b[good]))
		}
		if good > 0 && d == nil {
			d = r.document()
		}
		if d != nil {
			d.write(string(b[:good]))
		}
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if last {
			break
		}
		offset += int64(good)
		held = copy(block, b[good:])
	}
	if d != nil {
		d.close()
	}
	return nil
}

func notUTF8(b byte) error {
	return fmt.Errorf("byte 0x%02x is not UTF-8; convert the text, by iconv -f LATIN1 -t UTF-8 for example", b)
}

// wellFormed returns how many bytes at the beginning of b are whole
// characters, and whether no further bytes can make one of those that follow.
func wellFormed(b []byte) (good int, broken bool) {
	if utf8.Valid(b) {
		return len(b), false
	}
	for good < len(b) {
		c, n := utf8.DecodeRune(b[good:])
		if c == utf8.RuneError && n == 1 {
			return good, utf8.FullRune(b[good:])
		}
		good += n
	}
	return good, false
}

// stretcher encodes a document that comes in pieces. One longer than
// stretchBytes is encoded in stretches, cut where a line or a word ends, so
// that ids are those of the whole: a stretch is encoded with some of the text
// before it, whose ids are then left out.
type stretcher struct {
	encode  func(string) []int
	add     func([]int)
	pending strings.Builder
	before  string // the end of what was encoded
}

func (s *stretcher) write(text string) {
	for text != "" {
		n := min(len(text), blockBytes)
		s.pending.WriteString(text[:n])
		text = text[n:]
		if s.pending.Len() < stretchBytes+blockBytes {
			continue
		}
		all := s.pending.String()
		cut := s.cut(all)
		s.stretch(all[:cut])
		s.pending.Reset()
		s.pending.WriteString(all[cut:])
	}
}

func (s *stretcher) close() { s.stretch(s.pending.String()) }

// stretch encodes what is next.
func (s *stretcher) stretch(text string) {
	if text == "" {
		return
	}
	ids := s.encode(s.before + text)
	if s.before != "" {
		ids = ids[min(len(s.encode(s.before)), len(ids)):]
	}
	s.add(ids)
	s.before = tail(text)
}

// cut returns where to end a stretch of text that goes on: the last place near
// stretchBytes between two lines, or two words, at which the ids before do not
// depend on what follows.
func (s *stretcher) cut(text string) int {
	start := atRune(text, stretchBytes)
	tried := 0
	for _, ends := range []func(string, int) bool{betweenLines, betweenWords} {
		for at := start; at > start-stretchBytes/2 && tried < maxCuts; at-- {
			if !ends(text, at) {
				continue
			}
			if tried++; s.clean(text, at) {
				return at
			}
		}
	}
	return start
}

// clean reports whether the ids before a place are the same without what
// follows.
func (s *stretcher) clean(text string, at int) bool {
	before, after := tail(text[:at]), text[at:atRune(text, at+contextBytes)]
	left, both := s.encode(before), s.encode(before+after)
	return len(both) > len(left) && slices.Equal(left, both[:len(left)])
}

// tail returns the last bytes of a text, from where a character begins.
func tail(text string) string { return text[atRune(text, len(text)-contextBytes):] }

// atRune returns the place where the character begins that a place is in.
func atRune(text string, at int) int {
	if at >= len(text) {
		return len(text)
	}
	for at = max(at, 0); at > 0 && !utf8.RuneStart(text[at]); at-- {
	}
	return at
}

func betweenLines(text string, at int) bool {
	return at >= 2 && at < len(text) && text[at-1] == '\n' && !spaceAt(text, at-2) && !spaceAt(text, at)
}

func betweenWords(text string, at int) bool {
	return at >= 1 && at < len(text)-1 && text[at] == ' ' && !spaceAt(text, at-1) && !spaceAt(text, at+1)
}

// spaceAt reports whether a byte is white space; those of characters beyond
// ASCII count as none.
func spaceAt(text string, at int) bool {
	return text[at] < utf8.RuneSelf && unicode.IsSpace(rune(text[at]))
}
