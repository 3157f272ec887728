package npy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/cursor"
)

// Read reads a file. Data aliases b. Big-endian and Fortran-ordered files,
// structured types and bytes after the data are errors.
func Read(b []byte) (Array, error) {
	c := cursor.New(b)
	if got := c.Bytes(uint64(len(magic))); c.Err() == nil && string(got) != magic {
		return Array{}, fmt.Errorf("npy: offset 0: the file does not begin with %q", magic)
	}
	header := c.Bytes(uint64(c.U16()))
	if c.Err() != nil {
		return Array{}, fmt.Errorf("npy: %w", c.Err())
	}
	p := &parser{text: string(header)}
	if err := p.dict(); err != nil {
		return Array{}, err
	}
	a := Array{DType: p.dtype, Shape: p.shape}
	size, err := tensor.Info{DType: a.DType, Shape: a.Shape}.SizeBytes()
	if err != nil {
		return Array{}, fmt.Errorf("npy: offset %d: %w", prefixBytes, err)
	}
	if size != int64(c.Len()) {
		return Array{}, fmt.Errorf("npy: offset %d: %d bytes, want %d for %v of %v", c.Offset(), c.Len(), size, a.Shape, a.DType)
	}
	a.Data = c.Bytes(uint64(size))
	return a, nil
}

// parser reads the header, the literal of a Python dictionary.
type parser struct {
	text  string
	pos   int
	dtype tensor.DType
	shape []int
}

func (p *parser) fail(format string, args ...any) error {
	return fmt.Errorf("npy: offset %d: %w", prefixBytes+p.pos, fmt.Errorf(format, args...))
}

func (p *parser) spaces() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// take passes over a token if it is next.
func (p *parser) take(token string) bool {
	p.spaces()
	if !strings.HasPrefix(p.text[p.pos:], token) {
		return false
	}
	p.pos += len(token)
	return true
}

func (p *parser) want(token string) error {
	if !p.take(token) {
		return p.fail("want %s in the header", token)
	}
	return nil
}

// dict reads the whole header: the three keys, once each, in any order.
func (p *parser) dict() error {
	if err := p.want("{"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for !p.take("}") {
		key, err := p.str()
		if err != nil {
			return err
		}
		if seen[key] {
			return p.fail("key %q twice", key)
		}
		seen[key] = true
		if err := p.want(":"); err != nil {
			return err
		}
		if err := p.value(key); err != nil {
			return err
		}
		if p.take(",") {
			continue
		}
		if err := p.want("}"); err != nil {
			return err
		}
		break
	}
	if p.spaces(); p.pos != len(p.text) {
		return p.fail("text after the header's dictionary")
	}
	if len(seen) != 3 {
		return p.fail("want descr, fortran_order and shape in the header")
	}
	return nil
}

func (p *parser) value(key string) error {
	switch key {
	case "descr":
		return p.descr()
	case "fortran_order":
		if p.take("True") {
			return p.fail("Fortran order is not supported")
		}
		return p.want("False")
	case "shape":
		return p.tuple()
	}
	return p.fail("unknown key %q, want descr, fortran_order and shape", key)
}

func (p *parser) descr() error {
	name, err := p.str()
	if err != nil {
		return err
	}
	for _, d := range descrs {
		if d.descr == name || d.dtype.Bytes() == 1 && "<"+d.descr[1:] == name {
			p.dtype = d.dtype
			return nil
		}
	}
	return p.fail("type %q is not supported", name)
}

// str reads a string in single or double quotes, without escapes.
func (p *parser) str() (string, error) {
	p.spaces()
	rest := p.text[p.pos:]
	if rest == "" || rest[0] != '\'' && rest[0] != '"' {
		return "", p.fail("want a string in the header")
	}
	end := strings.IndexByte(rest[1:], rest[0])
	if end < 0 {
		return "", p.fail("the string does not end")
	}
	s := rest[1 : 1+end]
	if strings.Contains(s, `\`) {
		return "", p.fail("the string has an escape")
	}
	p.pos += end + 2
	return s, nil
}

// tuple reads (), (3,) or (3, 4).
func (p *parser) tuple() error {
	if err := p.want("("); err != nil {
		return err
	}
	p.shape = []int{}
	comma := true
	for !p.take(")") {
		if !comma {
			return p.fail("want , or ) in the shape")
		}
		p.spaces()
		end := p.pos
		for end < len(p.text) && p.text[end] >= '0' && p.text[end] <= '9' {
			end++
		}
		d, err := strconv.Atoi(p.text[p.pos:end])
		if err != nil {
			return p.fail("want a dimension in the shape")
		}
		p.pos = end
		p.shape = append(p.shape, d)
		comma = p.take(",")
	}
	if len(p.shape) == 1 && !comma {
		return p.fail("the shape is a number, not a tuple")
	}
	return nil
}
