package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The fields that a document is taken from, the first that is there.
const (
	fieldText          = "text"
	fieldMessages      = "messages"
	fieldConversations = "conversations"
	fieldPrompt        = "prompt" // with completion
	fieldCompletion    = "completion"
)

const wantedFields = `want "text", "messages", "conversations", or "prompt" and "completion"`

// object returns the text of a document that is a JSON object; none where the
// field for it is null.
func (e *Encoder) object(raw []byte) (string, error) {
	if raw[0] != '{' {
		return "", fmt.Errorf("not a JSON object but %s; want one object a line, with %s", shown(raw), strings.TrimPrefix(wantedFields, "want "))
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return "", notJSON(raw, err)
	}
	names := slices.Sorted(maps.Keys(fields))
	for name, v := range fields {
		if string(v) == "null" {
			delete(fields, name)
		}
	}
	for _, name := range []string{fieldText, fieldMessages, fieldConversations, fieldPrompt} {
		v, ok := fields[name]
		if !ok {
			continue
		}
		text, err := e.field(name, v, fields)
		if err != nil {
			return "", fmt.Errorf("%q: %w", name, err)
		}
		return text, nil
	}
	if _, err := pickFields("fields", names); err != nil {
		return "", err
	}
	return "", nil
}

// notJSON says where a value that is not JSON goes wrong.
func notJSON(raw []byte, err error) error {
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	switch {
	case !ok:
		return err
	case strings.Contains(err.Error(), "unexpected end"):
		return &placedError{len(raw), errors.New("the JSON ends too early; want one whole object a line")}
	}
	return &placedError{max(int(syntax.Offset)-1, 0), fmt.Errorf("not JSON: %w", err)}
}

// pickFields returns the fields or columns that documents are taken from, of
// those that there are.
func pickFields(what string, names []string) ([]string, error) {
	for _, name := range []string{fieldText, fieldMessages, fieldConversations} {
		if slices.Contains(names, name) {
			return []string{name}, nil
		}
	}
	if slices.Contains(names, fieldPrompt) && slices.Contains(names, fieldCompletion) {
		return []string{fieldPrompt, fieldCompletion}, nil
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there are no %s; %s", what, wantedFields)
	}
	const most = 8
	more, few := "", names
	if len(names) > most {
		more, few = fmt.Sprintf(" and %d more", len(names)-most), names[:most]
	}
	var quoted []string
	for _, n := range few {
		quoted = append(quoted, fmt.Sprintf("%q", cut(n)))
	}
	return nil, fmt.Errorf("the %s are %s%s; %s", what, strings.Join(quoted, ", "), more, wantedFields)
}

func (e *Encoder) field(name string, v json.RawMessage, fields map[string]json.RawMessage) (string, error) {
	switch name {
	case fieldText:
		return stringOf(v)
	case fieldPrompt:
		c, ok := fields[fieldCompletion]
		if !ok {
			return "", fmt.Errorf("there is no %q beside it", fieldCompletion)
		}
		if v[0] == '[' && c[0] == '[' {
			return e.chat(v, c)
		}
		prompt, err := stringOf(v)
		if err != nil {
			return "", err
		}
		completion, err := stringOf(c)
		if err != nil {
			return "", fmt.Errorf("%q beside it: %w", fieldCompletion, err)
		}
		return prompt + completion, nil
	}
	return e.chat(v)
}

func stringOf(v json.RawMessage) (string, error) {
	if v[0] != '"' {
		return "", fmt.Errorf("want a string, have %s", shown(v))
	}
	var s string
	err := json.Unmarshal(v, &s)
	return s, err
}

// roles are the names that some datasets give to roles, with from and value.
var roles = map[string]string{"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}

// chat returns the messages of some lists as the model's template lays them
// out.
func (e *Encoder) chat(lists ...json.RawMessage) (string, error) {
	var messages []json.RawMessage
	for _, v := range lists {
		if v[0] != '[' {
			return "", fmt.Errorf("want a list of messages, have %s", shown(v))
		}
		var list []json.RawMessage
		if err := json.Unmarshal(v, &list); err != nil {
			return "", err
		}
		messages = append(messages, list...)
	}
	if len(messages) == 0 {
		return "", nil
	}
	for i, m := range messages {
		var err error
		if messages[i], err = message(m); err != nil {
			return "", fmt.Errorf("message %d: %w", i, err)
		}
	}
	if e.Render == nil {
		return "", errors.New(`the model has no chat template to lay messages out; give documents as "text"`)
	}
	all, err := json.Marshal(messages)
	if err != nil {
		return "", err
	}
	text, err := e.Render(all)
	if err != nil {
		return "", fmt.Errorf("the chat template refuses the messages: %w", err)
	}
	return text, nil
}

// message checks a message, and puts role and content for from and value.
func message(raw json.RawMessage) (json.RawMessage, error) {
	if raw[0] != '{' {
		return nil, fmt.Errorf("want an object with role and content, have %s", shown(raw))
	}
	m := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	if m["role"] != nil && m["content"] != nil {
		if _, err := stringOf(m["role"]); err != nil {
			return nil, fmt.Errorf("role: %w", err)
		}
		return raw, nil
	}
	if m["from"] == nil || m["value"] == nil {
		return nil, errors.New("want role and content, or from and value")
	}
	from, err := stringOf(m["from"])
	if err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	role, ok := roles[from]
	if !ok {
		return nil, fmt.Errorf("from %q is not known; want %s", cut(from), strings.Join(slices.Sorted(maps.Keys(roles)), ", "))
	}
	content, err := stringOf(m["value"])
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	return json.Marshal(map[string]string{"role": role, "content": content})
}

// shown describes a JSON value for an error.
func shown(raw []byte) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	}
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	return cut(string(line))
}

// cut shortens text for an error.
func cut(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return s[:atRune(s, most)] + "..."
}
