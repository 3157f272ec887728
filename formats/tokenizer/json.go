package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A tokenizer.json is mostly vocabulary and merges, 33 MB of them for Gemma.
// These two are read by hand; encoding/json has checked the syntax before.

// vocabulary is the ids of tokens.
type vocabulary map[string]int

// mergeList is pairs of tokens that merge, the earliest first, each written
// as "a b" or as ["a", "b"].
type mergeList [][2]string

// scanner of valid JSON.
type values struct {
	b  []byte
	at int
}

// next skips white space and commas, and returns the byte there without
// taking it; 0 at the end.
func (v *values) next() byte {
	for ; v.at < len(v.b); v.at++ {
		switch c := v.b[v.at]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
		default:
			return c
		}
	}
	return 0
}

var errWantString = errors.New("want a string")

// text reads a string.
func (v *values) text() (string, error) {
	if v.next() != '"' {
		return "", errWantString
	}
	start := v.at
	for v.at++; v.at < len(v.b); v.at++ {
		switch v.b[v.at] {
		case '\\':
			v.at++
		case '"':
			v.at++
			raw := v.b[start:v.at]
			if bytes.IndexByte(raw, '\\') < 0 {
				return strings.ToValidUTF8(string(raw[1:len(raw)-1]), "\ufffd"), nil
			}
			var s string
			err := json.Unmarshal(raw, &s)
			return s, err
		}
	}
	return "", errWantString
}

// UnmarshalJSON implements [json.Unmarshaler].
func (m *vocabulary) UnmarshalJSON(b []byte) error {
	v := &values{b: b}
	if string(b) == "null" {
		return nil
	}
	if v.next() != '{' {
		return errors.New("model.vocab: want an object")
	}
	v.at++
	*m = make(vocabulary, len(b)/16)
	for v.next() != '}' {
		key, err := v.text()
		if err != nil {
			return fmt.Errorf("model.vocab: byte %d of it: %w", v.at, err)
		}
		v.next()
		start := v.at
		for v.at < len(b) && (b[v.at] == '-' || b[v.at] >= '0' && b[v.at] <= '9') {
			v.at++
		}
		id, err := strconv.Atoi(string(b[start:v.at]))
		if c := v.next(); err != nil || c != '"' && c != '}' {
			return fmt.Errorf("model.vocab: byte %d of it: %q: want an id", v.at, key)
		}
		(*m)[key] = id
	}
	return nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (m *mergeList) UnmarshalJSON(b []byte) error {
	v := &values{b: b}
	if string(b) == "null" {
		return nil
	}
	if v.next() != '[' {
		return errors.New("model.merges: want a list")
	}
	v.at++
	for v.next() != ']' {
		two, err := v.merge()
		if err != nil {
			return fmt.Errorf("model.merges[%d]: byte %d of them: %w", len(*m), v.at, err)
		}
		*m = append(*m, two)
	}
	return nil
}

// merge reads the two halves of a merge.
func (v *values) merge() (two [2]string, err error) {
	if v.next() != '[' {
		s, err := v.text()
		if err != nil {
			return two, err
		}
		a, b, ok := strings.Cut(s, " ")
		if !ok {
			return two, fmt.Errorf("%q has no space", s)
		}
		return [2]string{a, b}, nil
	}
	v.at++
	n := 0
	for ; v.next() != ']'; n++ {
		s, err := v.text()
		if err != nil {
			return two, err
		}
		if n < 2 {
			two[n] = s
		}
	}
	v.at++
	if n != 2 {
		return two, fmt.Errorf("%d strings, want 2", n)
	}
	return two, nil
}
