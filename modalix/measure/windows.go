package measure

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/llima-build/llima/formats/chat"
	"github.com/llima-build/llima/formats/dataset"
)

// MinWindow is the least number of tokens of a window.
const MinWindow = 4

// Windows cuts a text into windows of so many tokens, as the model's tokenizer
// reads it; what does not fill one is left out. Documents of messages are laid
// out by its chat template. Errors say what to do about them.
func (m *Model) Windows(ctx context.Context, f *dataset.File, layout dataset.Layout, tokens int) ([]dataset.Window, error) {
	if tokens < MinWindow {
		return nil, fmt.Errorf("windows of %d tokens are too short; want at least %d", tokens, MinWindow)
	}
	c := m.Config()
	if most := c.MaxNumTokens; tokens > most {
		return nil, fmt.Errorf("a window of %d tokens does not fit %s, which was built for %d\n  take a shorter one:\n    --window %d", tokens, m.Name, most, most)
	}
	e := &dataset.Encoder{Tokenizer: m.Tokenizer(), EOS: -1}
	if len(c.EOSTokenIDs) > 0 {
		e.EOS = c.EOSTokenIDs[0]
	}
	if m.HasChatTemplate() {
		e.Render = func(messages json.RawMessage) (string, error) { return m.RenderChat(messages, chat.Options{}) }
	}
	var out []dataset.Window
	err := e.Windows(ctx, f, layout, tokens, func(w dataset.Window) error {
		out = append(out, w)
		return nil
	})
	return out, err
}

// scored returns how many tokens of a window count.
func scored(w dataset.Window) int { return len(w.IDs) - w.First - 1 }

// CheckSameTokens reports that two models do not read a text as the same
// tokens, so that their logits say nothing of each other.
func CheckSameTokens(a, b *Model, of, other []dataset.Window) error {
	if x, y := a.Config().VocabSize, b.Config().VocabSize; x != y {
		return fmt.Errorf("%s has a vocabulary of %d tokens and %s one of %d: they are builds of different models", a.Name, x, b.Name, y)
	}
	if !slices.EqualFunc(of, other, func(x, y dataset.Window) bool { return x.First == y.First && slices.Equal(x.IDs, y.IDs) }) {
		return fmt.Errorf("%s and %s make different tokens of the text: they are builds of models with different tokenizers", a.Name, b.Name)
	}
	return nil
}
