// Package chat renders chat templates: the Jinja templates with which Hugging
// Face checkpoints turn messages into the text of a prompt. It follows Jinja
// 3.1 (https://jinja.palletsprojects.com/en/stable/templates/) as transformers
// sets it up: trim_blocks, lstrip_blocks, loop controls, the sandbox that
// changes no value in place, and a tojson that keeps characters as they are.
//
// A template comes with a checkpoint and is not trusted: it reaches nothing
// but its variables, and every render is bounded in steps, memory, output and
// nesting. The package knows neither tokenizers nor models.
package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Bounds of one render.
const (
	maxSourceBytes = 1 << 20
	maxOutputBytes = 16 << 20
	maxSteps       = 2_000_000
	maxWork        = 2 << 30 // bytes touched; a byte allocated counts as 8
	maxCalls       = 100     // macro calls inside each other
	maxNesting     = 100     // of expressions, blocks and values
	maxRange       = 100_000
	maxListItems   = 1 << 20
)

// Template is a parsed chat template. It is safe for concurrent use.
type Template struct {
	body  []statement
	names *names
}

// Options are what a render gets besides messages.
type Options struct {
	// AddGenerationPrompt ends the text where the assistant's answer begins.
	AddGenerationPrompt bool
	// Variables is a JSON object with further variables, bos_token and tools
	// for example; empty for none. The order of its members is kept.
	Variables json.RawMessage
	// Now is what strftime_now formats. Where it is zero the template finds
	// strftime_now undefined.
	Now time.Time
}

// failure carries an error from where it is found to Parse or Render, which
// are the only places that recover it.
type failure struct {
	line int // 0 where only the render knows
	text string
}

func fail(format string, a ...any) { panic(failure{0, fmt.Sprintf(format, a...)}) }

func failAt(line int, format string, a ...any) { panic(failure{line, fmt.Sprintf(format, a...)}) }

// Parse reads a template.
func Parse(src string) (t *Template, err error) {
	if len(src) > maxSourceBytes {
		return nil, fmt.Errorf("chat: template has %d bytes, more than %d", len(src), maxSourceBytes)
	}
	defer func() { err = caught(recover(), err, nil) }()
	p := &parser{tokens: lex(src), names: newNames()}
	body, _ := p.block()
	return &Template{body: body, names: p.names}, nil
}

// Render returns the text of messages, a JSON array of objects with role and
// content. What the template itself refuses, as roles out of order, is an
// error with the template's words.
func (t *Template) Render(messages json.RawMessage, o Options) (text string, err error) {
	list, err := decodeJSON(messages)
	if err != nil {
		return "", fmt.Errorf("chat: messages: %w", err)
	}
	vars := newDict()
	if len(o.Variables) > 0 {
		v, err := decodeJSON(o.Variables)
		if err != nil {
			return "", fmt.Errorf("chat: variables: %w", err)
		}
		given, ok := v.(*dict)
		if !ok {
			return "", errors.New("chat: variables: want a JSON object")
		}
		vars = given
	}
	vars.set("messages", list)
	vars.set("add_generation_prompt", o.AddGenerationPrompt)

	r := &render{}
	defer func() { err = caught(recover(), err, r) }()
	global := &scope{vars: globals(o.Now), out: &output{}, render: r, names: t.names}
	for _, k := range vars.keys {
		global.vars[k.(string)] = vars.values[k]
	}
	run(global.child(), t.body)
	return global.out.String(), nil
}

// caught turns what was recovered into an error; r tells at which line the
// render was.
func caught(recovered any, err error, r *render) error {
	f, ok := recovered.(failure)
	switch {
	case recovered == nil:
		return err
	case !ok:
		panic(recovered)
	case f.line == 0 && r != nil:
		f.line = r.line
	}
	return fmt.Errorf("chat: line %d: %s", max(f.line, 1), f.text)
}

// decodeJSON reads one JSON value with objects in their order.
func decodeJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("offset %d: text after the value", d.InputOffset())
	}
	return v, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("offset %d: nested more than %d deep", d.InputOffset(), maxNesting)
	}
	t, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("offset %d: %w", d.InputOffset(), err)
	}
	switch x := t.(type) {
	case json.Delim:
		return decodeContainer(d, x, depth)
	case json.Number:
		if i, err := x.Int64(); err == nil {
			return int(i), nil
		}
		f, err := x.Float64()
		if err != nil {
			return nil, fmt.Errorf("offset %d: %w", d.InputOffset(), err)
		}
		return f, nil
	}
	return t, nil
}

func decodeContainer(d *json.Decoder, open json.Delim, depth int) (any, error) {
	l, m := &list{}, newDict()
	for d.More() {
		if open == '{' {
			k, err := d.Token()
			if err != nil {
				return nil, fmt.Errorf("offset %d: %w", d.InputOffset(), err)
			}
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			m.set(k, v)
			continue
		}
		v, err := decodeValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		l.items = append(l.items, v)
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("offset %d: %w", d.InputOffset(), err)
	}
	if open == '{' {
		return m, nil
	}
	return l, nil
}
