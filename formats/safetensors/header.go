package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/llima-build/llima/formats/tensor"
)

const metadataKey = "__metadata__"

// header is the parsed header; the entries' offsets are from the end of it.
type header struct {
	entries  []Entry
	metadata map[string]string
}

// parser walks over the tokens of a header that is known to be valid JSON.
type parser struct {
	dec    *json.Decoder
	tensor string // that is being read, for errors
}

func parseHeader(b []byte) (*header, error) {
	trimmed := bytes.TrimRight(b, " ")
	switch {
	case len(b) == 0 || b[0] != '{':
		return nil, &Error{Offset: lengthBytes, Problem: "the header does not begin with {"}
	case trimmed[len(trimmed)-1] != '}':
		return nil, &Error{Offset: lengthBytes + int64(len(trimmed)), Problem: "the header ends neither with } nor with } and spaces"}
	case !utf8.Valid(b):
		return nil, &Error{Offset: lengthBytes + int64(invalidUTF8(b)), Problem: "the header is not UTF-8"}
	}
	if err := validJSON(trimmed); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(trimmed))
	dec.UseNumber()
	p := &parser{dec: dec}
	h := &header{}
	err := p.object("the header", func(key string) error {
		if key == metadataKey {
			h.metadata = map[string]string{}
			return p.stringMap(h.metadata)
		}
		p.tensor = key
		e, err := p.entry(key)
		h.entries = append(h.entries, e)
		p.tensor = ""
		return err
	})
	return h, err
}

func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(b)
}

func validJSON(b []byte) error {
	if json.Valid(b) {
		return nil
	}
	problem := &Error{Offset: lengthBytes, Problem: "the header is not JSON"}
	var raw json.RawMessage
	err := json.Unmarshal(b, &raw)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		problem.Offset += syntax.Offset
		problem.Problem += ": " + syntax.Error()
	}
	return problem
}

func (p *parser) fail(format string, args ...any) error {
	return &Error{Tensor: p.tensor, Offset: lengthBytes + p.dec.InputOffset(), Problem: fmt.Sprintf(format, args...)}
}

func (p *parser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if err != nil {
		return nil, p.fail("the header is not JSON: %v", err)
	}
	return t, nil
}

// object reads an object and calls value with each key, which may not repeat.
func (p *parser) object(what string, value func(key string) error) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return p.fail("%s is not an object", what)
	}
	seen := map[string]bool{}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return p.fail("%s has a key that is not a string", what)
		}
		if seen[key] {
			return p.fail("%s has key %q twice", what, key)
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	_, err = p.token()
	return err
}

func (p *parser) stringMap(into map[string]string) error {
	return p.object(metadataKey, func(key string) (err error) {
		into[key], err = p.text(key)
		return err
	})
}

func (p *parser) text(what string) (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", p.fail("%s is not a string", what)
	}
	return s, nil
}

func (p *parser) entry(name string) (Entry, error) {
	e := Entry{Info: tensor.Info{Name: name}}
	var offsets []uint64
	keys := 0
	err := p.object("the tensor", func(key string) (err error) {
		keys++
		switch key {
		case "dtype":
			e.DType, err = p.dtype()
		case "shape":
			e.Shape, err = p.shape()
		case "data_offsets":
			offsets, err = p.integers(key)
			if err == nil && len(offsets) != 2 {
				err = p.fail("data_offsets has %d numbers, want 2", len(offsets))
			}
		default:
			err = p.fail("unknown key %q, want dtype, shape and data_offsets", key)
		}
		return err
	})
	if err != nil {
		return e, err
	}
	if keys != 3 {
		return e, p.fail("want dtype, shape and data_offsets")
	}
	e.Offset, e.Length, err = span(e.Info, offsets[0], offsets[1])
	if err != nil {
		return e, p.fail("%v", err)
	}
	return e, nil
}

func (p *parser) dtype() (tensor.DType, error) {
	s, err := p.text("dtype")
	if err != nil {
		return 0, err
	}
	d, ok := tensor.ParseDType(s)
	if !ok {
		var names []string
		for _, d := range tensor.DTypes() {
			names = append(names, d.String())
		}
		return 0, p.fail("dtype %q is not one of %s", s, strings.Join(names, ", "))
	}
	return d, nil
}

func (p *parser) shape() ([]int, error) {
	dims, err := p.integers("shape")
	if err != nil {
		return nil, err
	}
	shape := make([]int, len(dims))
	for i, d := range dims {
		if d > math.MaxInt {
			return nil, p.fail("shape: dimension %d is too large", d)
		}
		shape[i] = int(d)
	}
	return shape, nil
}

// integers reads an array of unsigned integers, written as digits.
func (p *parser) integers(what string) ([]uint64, error) {
	t, err := p.token()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('[') {
		return nil, p.fail("%s is not an array", what)
	}
	var list []uint64
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		n, ok := t.(json.Number)
		if !ok {
			return nil, p.fail("%s has an element that is not a number", what)
		}
		v, err := strconv.ParseUint(n.String(), 10, 64)
		if err != nil {
			return nil, p.fail("%s: %s is not an unsigned 64-bit integer", what, n)
		}
		list = append(list, v)
	}
	_, err = p.token()
	return list, err
}

// appendHeader writes the header, padded with spaces to a multiple of 8 bytes.
func appendHeader(b []byte, tensors []Tensor, metadata map[string]string) ([]byte, error) {
	var fields []string
	if metadata != nil {
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(metadata)) {
			pairs = append(pairs, quote(k)+":"+quote(metadata[k]))
		}
		fields = append(fields, quote(metadataKey)+":{"+strings.Join(pairs, ",")+"}")
	}
	seen := map[string]bool{metadataKey: true}
	offset := int64(0)
	for _, t := range tensors {
		size, err := t.SizeBytes()
		switch {
		case err != nil:
			return nil, fmt.Errorf("safetensors: tensor %q: %w", t.Name, err)
		case seen[t.Name]:
			return nil, fmt.Errorf("safetensors: tensor %q: the name is taken", t.Name)
		case !utf8.ValidString(t.Name):
			return nil, fmt.Errorf("safetensors: tensor %q: the name is not UTF-8", t.Name)
		case size != int64(len(t.Data)):
			return nil, fmt.Errorf("safetensors: tensor %q: %d bytes, want %d for %v of %v", t.Name, len(t.Data), size, t.Shape, t.DType)
		}
		seen[t.Name] = true
		dims := make([]string, len(t.Shape))
		for i, d := range t.Shape {
			dims[i] = strconv.Itoa(d)
		}
		fields = append(fields, fmt.Sprintf(`%s:{"dtype":%q,"shape":[%s],"data_offsets":[%d,%d]}`,
			quote(t.Name), t.DType, strings.Join(dims, ","), offset, offset+size))
		offset += size
	}
	b = append(b, "{"+strings.Join(fields, ",")+"}"...)
	for (lengthBytes+len(b))%8 != 0 {
		b = append(b, ' ')
	}
	return b, nil
}

// quote writes a JSON string without the escapes that HTML asks for.
func quote(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("llima: internal error: " + err.Error())
	}
	return strings.TrimSuffix(b.String(), "\n")
}
