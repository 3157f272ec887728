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

// specialTokens are the variables that templates get from tokenizer_config.json.
var specialTokens = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// loadTemplate takes chat_template.jinja, else what chat_template.json or
// tokenizer_config.json hold.
func (m *Model) loadTemplate(devkit string) error {
	settings, inJSON := map[string]json.RawMessage{}, struct {
		Template json.RawMessage `json:"chat_template"`
	}{}
	configPath, jsonPath := filepath.Join(devkit, "tokenizer_config.json"), filepath.Join(devkit, "chat_template.json")
	if err := readJSON(configPath, true, &settings); err != nil {
		return err
	}
	if err := readJSON(jsonPath, true, &inJSON); err != nil {
		return err
	}
	variables := map[string]string{}
	for _, name := range specialTokens {
		if s, ok := tokenText(settings[name]); ok {
			variables[name] = s
		}
	}
	encoded, err := json.Marshal(variables)
	if err != nil {
		return err
	}
	m.chat.variables = encoded

	path := filepath.Join(devkit, "chat_template.jinja")
	src, err := readSmall(path)
	text := string(src)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		path, text = jsonPath, templateText(inJSON.Template)
		if text == "" {
			path, text = configPath, templateText(settings["chat_template"])
		}
	case err != nil:
		return err
	}
	if text == "" {
		return nil
	}
	if m.chat.template, err = chat.Parse(text); err != nil {
		m.chat.err = fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// tokenText reads a special token: a string, or an object with its content.
func tokenText(raw json.RawMessage) (string, bool) {
	var s string
	if json.Unmarshal(raw, &s) == nil && s != "" {
		return s, true
	}
	var token struct {
		Content string `json:"content"`
	}
	if json.Unmarshal(raw, &token) != nil {
		return "", false
	}
	return token.Content, token.Content != ""
}

// templateText reads a template, or the default one of a list with names.
func templateText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var named []struct{ Name, Template string }
	if json.Unmarshal(raw, &named) != nil {
		return ""
	}
	for _, t := range named {
		if t.Name == "default" {
			return t.Template
		}
	}
	return ""
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
