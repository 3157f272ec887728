package measure

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Cut is a way to cut a text into windows.
type Cut string

const (
	// CutBOS begins each window with the model's BOS token, where it has one,
	// goes on with the next tokens of the text, and scores all of these.
	CutBOS Cut = "bos"
	// CutLlama is what llama-perplexity does: the tokens of the text, BOS first
	// where the tokenizer puts one there, are cut into windows; BOS, if so,
	// replaces the first of each, and the second half of it is scored.
	CutLlama Cut = "llama"
)

// Window is tokens that a model sees at once.
type Window struct {
	IDs []int
	// First is the first token that is scored; all after it are.
	First int
}

// Scored returns how many tokens are scored.
func (w Window) Scored() int { return len(w.IDs) - w.First }

// MinWindow is the least number of tokens of a window.
const MinWindow = 4

// Windows cuts a text into windows of so many tokens, BOS included; what does
// not fill one is left out. Errors say what to do about it; they begin with
// what the text lacks.
func (m *Model) Windows(text string, cut Cut, tokens int) ([]Window, error) {
	if at := invalidUTF8(text); at >= 0 {
		return nil, fmt.Errorf("byte %d (line %d) is not UTF-8; convert the text first:\n    iconv -f latin1 -t utf-8", at, 1+strings.Count(text[:at], "\n"))
	}
	if strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("the text is empty, and at least one window of %d tokens is needed", tokens)
	}
	if err := m.checkWindow(tokens); err != nil {
		return nil, err
	}
	if cut == CutLlama {
		return m.llamaWindows(text, tokens)
	}
	ids := m.EncodeRendered(text)
	bos := m.bos()
	step := tokens - len(bos)
	if len(ids) < step {
		return nil, tooShort(len(ids)+len(bos), tokens, len(ids)+len(bos))
	}
	var out []Window
	for chunk := range slices.Chunk(ids, step) {
		if len(chunk) == step {
			out = append(out, Window{IDs: slices.Concat(bos, chunk), First: 1})
		}
	}
	return out, nil
}

// bos is what every window begins with.
func (m *Model) bos() []int {
	if id := m.Config().BOSTokenID; id >= 0 {
		return []int{id}
	}
	return nil
}

func (m *Model) llamaWindows(text string, tokens int) ([]Window, error) {
	ids := m.Encode(text)
	if len(ids) < 2*tokens {
		return nil, tooShort(len(ids), 2*tokens, len(ids)/2)
	}
	begin := m.Encode("")
	bos := len(begin) > 0 && begin[0] == m.Config().BOSTokenID
	var out []Window
	for chunk := range slices.Chunk(ids, tokens) {
		if len(chunk) < tokens {
			break
		}
		chunk = slices.Clone(chunk)
		if bos {
			chunk[0] = begin[0]
		}
		out = append(out, Window{IDs: chunk, First: tokens/2 + 1})
	}
	return out, nil
}

func (m *Model) checkWindow(tokens int) error {
	if tokens < MinWindow {
		return fmt.Errorf("a window of %d tokens: want %d or more", tokens, MinWindow)
	}
	if most := m.Config().MaxNumTokens; tokens > most {
		return fmt.Errorf("a window of %d tokens does not fit %s, which was built for %d\n  take a shorter one:\n    --window %d", tokens, m.Name, most, most)
	}
	return nil
}

// tooShort says that a text of have tokens does not make the want that are
// needed, and which window fits it.
func tooShort(have, want, fits int) error {
	if fits < MinWindow {
		return fmt.Errorf("the text has %d tokens only, and %d are needed; take a longer text", have, want)
	}
	return fmt.Errorf("the text has %d tokens, and %d are needed; take a longer text, or a shorter window:\n    --window %d", have, want, fits)
}

// invalidUTF8 returns where text stops being UTF-8, -1 if nowhere.
func invalidUTF8(text string) int {
	for i, r := range text {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return i
			}
		}
	}
	return -1
}

// CheckSameTokens reports that two models do not read a text as the same
// tokens, so that their logits say nothing of each other.
func CheckSameTokens(a, b *Model, of, other []Window) error {
	if x, y := a.Config().VocabSize, b.Config().VocabSize; x != y {
		return fmt.Errorf("%s has a vocabulary of %d tokens and %s one of %d: they are builds of different models", a.Name, x, b.Name, y)
	}
	if !slices.EqualFunc(of, other, func(x, y Window) bool { return x.First == y.First && slices.Equal(x.IDs, y.IDs) }) {
		return fmt.Errorf("%s and %s make different tokens of the text: they are builds of models with different tokenizers", a.Name, b.Name)
	}
	return nil
}
