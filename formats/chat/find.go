package chat

import (
	"encoding/json"
	"fmt"

	"github.com/llima-build/llima/internal/document"
)

// Found is a checkpoint's chat template.
type Found struct {
	File string // that holds it
	Text string // "" where the checkpoint has none
	// Variables is a JSON object of the special tokens by their names, as
	// templates use them.
	Variables json.RawMessage
}

// specialTokens are the variables that templates get from tokenizer_config.json.
var specialTokens = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// Find looks for the template of a checkpoint: chat_template.jinja, else what
// chat_template.json or tokenizer_config.json hold. read returns a file of the
// checkpoint, ok false where it has none.
func Find(read func(name string) (data []byte, ok bool, err error)) (Found, error) {
	const config, inJSON, plain = "tokenizer_config.json", "chat_template.json", "chat_template.jinja"
	settings, other := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for _, f := range []struct {
		name string
		to   *map[string]json.RawMessage
	}{{config, &settings}, {inJSON, &other}} {
		data, ok, err := read(f.name)
		if err != nil {
			return Found{}, err
		}
		if !ok {
			continue
		}
		if err := document.Decode(data, f.to); err != nil {
			return Found{}, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	variables := map[string]string{}
	for _, name := range specialTokens {
		if s, ok := tokenText(settings[name]); ok {
			variables[name] = s
		}
	}
	encoded, err := json.Marshal(variables)
	if err != nil {
		return Found{}, err
	}
	text, ok, err := read(plain)
	if err != nil {
		return Found{}, err
	}
	if ok {
		return Found{plain, string(text), encoded}, nil
	}
	if s := templateText(other["chat_template"]); s != "" {
		return Found{inJSON, s, encoded}, nil
	}
	return Found{config, templateText(settings["chat_template"]), encoded}, nil
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
