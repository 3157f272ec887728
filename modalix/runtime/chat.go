package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/llima-build/llima/formats/chat"
)

// chatTemplate is how the model's authors lay out a conversation. Where it
// does not parse the model still runs; err tells why when it is asked for.
type chatTemplate struct {
	template  *chat.Template
	variables json.RawMessage // special tokens by their names
	err       error
}

// loadTemplate finds the chat template.
func (m *Model) loadTemplate(devkit string) error {
	var unread error
	found, err := chat.Find(func(name string) ([]byte, bool, error) {
		b, err := readSmall(filepath.Join(devkit, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, false, nil
		}
		unread = err
		return b, err == nil, err
	})
	if unread != nil {
		return unread
	}
	if err != nil {
		return fmt.Errorf("%s: %w, so the file is damaged%s", devkit, err, again)
	}
	m.chat.variables = found.Variables
	if found.Text == "" {
		return nil
	}
	if m.chat.template, err = chat.Parse(found.Text); err != nil {
		m.chat.err = fmt.Errorf("%s: %w", filepath.Join(devkit, found.File), err)
	}
	return nil
}

// HasChatTemplate reports whether the model has a chat template.
func (m *Model) HasChatTemplate() bool { return m.chat.template != nil || m.chat.err != nil }

// RenderChat returns the text of messages, a JSON array, in the model's chat
// template. The model's special tokens are added to the variables of o.
func (m *Model) RenderChat(messages json.RawMessage, o chat.Options) (string, error) {
	switch {
	case m.chat.err != nil:
		return "", m.chat.err
	case m.chat.template == nil:
		return "", errors.New("this model has no chat template")
	}
	merged := map[string]json.RawMessage{}
	for _, raw := range []json.RawMessage{m.chat.variables, o.Variables} {
		if len(raw) == 0 {
			continue
		}
		if err := json.Unmarshal(raw, &merged); err != nil {
			return "", fmt.Errorf("variables of the chat template: %w", err)
		}
	}
	encoded, err := json.Marshal(merged)
	if err != nil {
		return "", err
	}
	o.Variables = encoded
	return m.chat.template.Render(messages, o)
}

// EncodeChat returns the token ids of a user message in the model's chat
// template, up to where the answer begins; of the text itself where the model
// has no template.
func (m *Model) EncodeChat(text string) ([]int, error) {
	if !m.HasChatTemplate() {
		return m.Encode(text), nil
	}
	messages, err := json.Marshal([]struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}{{"user", text}})
	if err != nil {
		return nil, err
	}
	rendered, err := m.RenderChat(messages, chat.Options{AddGenerationPrompt: true})
	if err != nil {
		return nil, err
	}
	return m.EncodeRendered(rendered), nil
}

// EncodeRendered returns the token ids of text that spells its special tokens
// out, as a chat template renders it.
func (m *Model) EncodeRendered(text string) []int { return m.tok.Encode(text, false) }
