package tokenizer

import (
	"errors"
	"fmt"

	"github.com/llima-build/llima/internal/document"
)

// Bounds on what a file may ask for.
const (
	maxComponents    = 64   // normalisers, splitters or decoders in a row
	maxPatternBytes  = 4096 // of one regular expression or replacement
	maxGrowth        = 1024 // times that normalising may lengthen a text
	maxTemplateItems = 64
	maxNesting       = 16
	// Ids may have gaps, as where added tokens start at a round number.
	maxIDGap   = 1 << 16
	maxIDTimes = 8
)

// file is a tokenizer.json.
type file struct {
	AddedTokens   []addedToken `json:"added_tokens"`
	Normalizer    *component   `json:"normalizer"`
	PreTokenizer  *component   `json:"pre_tokenizer"`
	PostProcessor *component   `json:"post_processor"`
	Decoder       *component   `json:"decoder"`
	Model         *fileModel   `json:"model"`
}

type addedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

type fileModel struct {
	Type                    string     `json:"type"`
	Dropout                 *float64   `json:"dropout"`
	UnkToken                *string    `json:"unk_token"`
	ContinuingSubwordPrefix *string    `json:"continuing_subword_prefix"`
	EndOfWordSuffix         *string    `json:"end_of_word_suffix"`
	FuseUnk                 bool       `json:"fuse_unk"`
	ByteFallback            bool       `json:"byte_fallback"`
	IgnoreMerges            bool       `json:"ignore_merges"`
	Vocab                   vocabulary `json:"vocab"`
	Merges                  mergeList  `json:"merges"`
}

// component is a normaliser, pre-tokeniser, post-processor or decoder: the
// fields of all of their types.
type component struct {
	Type             string      `json:"type"`
	Normalizers      []component `json:"normalizers"`
	Pretokenizers    []component `json:"pretokenizers"`
	Processors       []component `json:"processors"`
	Decoders         []component `json:"decoders"`
	Prepend          string      `json:"prepend"`
	Pattern          pattern     `json:"pattern"`
	Content          string      `json:"content"`
	Behavior         string      `json:"behavior"`
	Invert           bool        `json:"invert"`
	AddPrefixSpace   bool        `json:"add_prefix_space"`
	UseRegex         *bool       `json:"use_regex"`
	IndividualDigits bool        `json:"individual_digits"`
	Replacement      string      `json:"replacement"`
	PrependScheme    string      `json:"prepend_scheme"`
	Split            *bool       `json:"split"`
	Start            int         `json:"start"`
	Stop             int         `json:"stop"`
	Single           []struct {
		SpecialToken *struct {
			ID string `json:"id"`
		} `json:"SpecialToken"`
		Sequence *struct {
			ID string `json:"id"`
		} `json:"Sequence"`
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int `json:"ids"`
	} `json:"special_tokens"`
}

// pattern is what Split and Replace look for: a string or a regular expression.
type pattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

// Load parses a tokenizer.json.
func Load(tokenizerJSON []byte) (*Tokenizer, error) {
	var f file
	if err := document.Decode(tokenizerJSON, &f); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t := &Tokenizer{cache: map[string][]int32{}}
	if err := t.load(&f); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return t, nil
}

func (t *Tokenizer) load(f *file) error {
	if f.Model == nil {
		return errors.New("model: missing")
	}
	if err := t.loadVocab(f); err != nil {
		return err
	}
	var err error
	if t.normalizers, err = buildNormalizers(f.Normalizer); err != nil {
		return err
	}
	splitters, byteLevel, err := buildSplitters(f.PreTokenizer)
	if err != nil {
		return err
	}
	t.splitters = splitters
	if err := t.loadTemplate(f.PostProcessor); err != nil {
		return err
	}
	if t.decoders, err = buildDecoders(f.Decoder); err != nil {
		return err
	}
	if t.model, err = newBPE(f.Model, t.vocab, byteLevel); err != nil {
		return err
	}
	t.addTokens(f.AddedTokens)
	return nil
}

// loadVocab fills the tables from id to token and back.
func (t *Tokenizer) loadVocab(f *file) error {
	limit := maxIDTimes*(len(f.Model.Vocab)+len(f.AddedTokens)) + maxIDGap
	size := 0
	for s, id := range f.Model.Vocab {
		if id < 0 || id >= limit {
			return fmt.Errorf("model.vocab: %q: id %d is outside [0,%d)", s, id, limit)
		}
		size = max(size, id+1)
	}
	for i, a := range f.AddedTokens {
		if a.ID < 0 || a.ID >= limit {
			return fmt.Errorf("added_tokens[%d]: %q: id %d is outside [0,%d)", i, a.Content, a.ID, limit)
		}
		size = max(size, a.ID+1)
	}
	t.tokens = make([]string, size)
	t.present = make([]bool, size)
	t.special = make([]bool, size)
	t.vocab = make(map[string]int32, len(f.Model.Vocab))
	for s, id := range f.Model.Vocab {
		if t.present[id] {
			return fmt.Errorf("model.vocab: %q and %q both have id %d", min(s, t.tokens[id]), max(s, t.tokens[id]), id)
		}
		t.tokens[id], t.present[id] = s, true
		t.vocab[s] = int32(id)
	}
	return nil
}

// addTokens enters the added tokens, which take precedence over the vocabulary.
func (t *Tokenizer) addTokens(tokens []addedToken) {
	for i := range tokens {
		a := &tokens[i]
		t.tokens[a.ID], t.present[a.ID] = a.Content, true
		t.special[a.ID] = t.special[a.ID] || a.Special
		if !a.Normalized {
			t.raw.insert(a.Content, a)
			continue
		}
		s := a.Content
		for _, normalize := range t.normalizers {
			s = normalize(s)
		}
		t.normalized.insert(s, a)
	}
}

// loadTemplate reads what a text gets around it. Processors that move offsets
// only have no effect on ids.
func (t *Tokenizer) loadTemplate(c *component) error {
	list, err := flatten("post_processor", c, func(c *component) []component { return c.Processors })
	if err != nil {
		return err
	}
	for _, c := range list {
		switch c.Type {
		case "ByteLevel":
		case "TemplateProcessing":
			if err := t.addTemplate(c); err != nil {
				return err
			}
		default:
			return fmt.Errorf("post_processor: type %q is not supported", c.Type)
		}
	}
	return nil
}

func (t *Tokenizer) addTemplate(c *component) error {
	if len(c.Single) > maxTemplateItems {
		return fmt.Errorf("post_processor: single: %d items exceed %d", len(c.Single), maxTemplateItems)
	}
	var before, after []int
	seen := false
	for i, item := range c.Single {
		switch {
		case item.Sequence != nil:
			if seen || item.Sequence.ID != "A" {
				return fmt.Errorf("post_processor: single[%d]: want the sequence A, once", i)
			}
			seen = true
		case item.SpecialToken != nil:
			tok, ok := c.SpecialTokens[item.SpecialToken.ID]
			if !ok {
				return fmt.Errorf("post_processor: single[%d]: special token %q is not defined", i, item.SpecialToken.ID)
			}
			for _, id := range tok.IDs {
				if id < 0 || id >= len(t.tokens) {
					return fmt.Errorf("post_processor: special token %q: id %d is outside the vocabulary of %d", item.SpecialToken.ID, id, len(t.tokens))
				}
			}
			if len(tok.IDs) > maxTemplateItems {
				return fmt.Errorf("post_processor: special token %q: %d ids exceed %d", item.SpecialToken.ID, len(tok.IDs), maxTemplateItems)
			}
			if seen {
				after = append(after, tok.IDs...)
			} else {
				before = append(before, tok.IDs...)
			}
		default:
			return fmt.Errorf("post_processor: single[%d]: neither SpecialToken nor Sequence", i)
		}
	}
	if !seen {
		return errors.New("post_processor: single: lacks the sequence A")
	}
	t.prefix = append(before, t.prefix...)
	t.suffix = append(t.suffix, after...)
	return nil
}

// flatten returns the components of nested sequences in running order.
func flatten(where string, c *component, kids func(*component) []component) ([]*component, error) {
	var out []*component
	var walk func(c *component, depth int) error
	walk = func(c *component, depth int) error {
		if c.Type != "Sequence" {
			if out = append(out, c); len(out) > maxComponents {
				return fmt.Errorf("%s: more than %d components", where, maxComponents)
			}
			return nil
		}
		if depth > maxNesting {
			return fmt.Errorf("%s: sequences nested more than %d deep", where, maxNesting)
		}
		list := kids(c)
		for i := range list {
			if err := walk(&list[i], depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if c == nil {
		return nil, nil
	}
	err := walk(c, 0)
	return out, err
}
