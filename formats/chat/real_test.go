package chat_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/llima-build/llima/formats/chat"
)

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// conversations are random ones, with and without a system message.
func conversations(n int) [][2]any {
	rng := rand.New(rand.NewPCG(7, 8))
	pieces := []string{"What is the capital of France?", "", " ", "\n", "{{ x }}", "{% if %}", "<|im_end|>", "é 😀\u0000", "\"quoted\\\"", "<b>&amp;", "one\r\ntwo", "it's"}
	roles := []string{"system", "user", "assistant", "tool", ""}
	var out [][2]any
	for i := range n {
		messages := []message{}
		for range rng.IntN(6) {
			m := message{Role: roles[rng.IntN(len(roles))]}
			for range rng.IntN(4) {
				m.Content += pieces[rng.IntN(len(pieces))]
			}
			messages = append(messages, m)
		}
		out = append(out, [2]any{messages, i%2 == 0})
	}
	return out
}

// TestRealModel compares the template of the model that testdata/real/smollm2
// brought to $LLIMA_REAL with what Jinja makes of it, on 3,000 conversations.
func TestRealModel(t *testing.T) {
	cache, python := os.Getenv("LLIMA_REAL"), os.Getenv("LLIMA_ORT_PYTHON")
	if cache == "" || python == "" {
		t.Skip("LLIMA_REAL names no folder with a model, or LLIMA_ORT_PYTHON no Python with jinja2")
	}
	var config struct {
		Template string `json:"chat_template"`
		BOS      string `json:"bos_token"`
		EOS      string `json:"eos_token"`
	}
	readJSON(t, filepath.Join(cache, "SmolLM2-135M-Instruct", "tokenizer_config.json"), &config)
	variables, err := json.Marshal(map[string]string{"bos_token": config.BOS, "eos_token": config.EOS})
	if err != nil {
		t.Fatal(err)
	}
	cases := conversations(3000)
	doc, err := json.Marshal(map[string]any{"template": config.Template, "variables": json.RawMessage(variables), "cases": cases})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/render.py")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(doc), os.Stderr
	answer, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []*string
	if err := json.Unmarshal(answer, &want); err != nil || len(want) != len(cases) {
		t.Fatalf("render.py gave %d texts, want %d: %v", len(want), len(cases), err)
	}
	tmpl, err := chat.Parse(config.Template)
	if err != nil {
		t.Fatal(err)
	}
	rendered := 0
	for i, c := range cases {
		messages, err := json.Marshal(c[0])
		if err != nil {
			t.Fatal(err)
		}
		got, err := tmpl.Render(messages, chat.Options{AddGenerationPrompt: c[1].(bool), Variables: variables})
		switch what := string(messages); {
		case want[i] == nil && err == nil:
			t.Errorf("%s = %q, want an error", what, got)
		case want[i] != nil && (err != nil || got != *want[i]):
			t.Errorf("%s = %q, %v, want %q", what, got, err, *want[i])
		case want[i] != nil:
			rendered++
		}
	}
	if rendered < len(cases)/2 {
		t.Errorf("%d of %d conversations were rendered", rendered, len(cases))
	}
}
