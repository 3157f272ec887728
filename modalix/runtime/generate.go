package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/llima-build/llima/internal/addr"
)

// topCount is how many ids a program without logits returns.
const topCount = 64

// Reasons for which a generation ends.
const (
	ReasonEOS       = "eos"        // an end-of-text token was sampled
	ReasonMaxTokens = "max_tokens" // as many tokens as were asked for
	ReasonLength    = "length"     // the context is full
)

// Options says how to generate.
type Options struct {
	MaxTokens   int     // tokens to generate at most
	Greedy      bool    // always the most likely token
	Temperature float64 // 0 is greedy
	TopK        int     // 0 is no limit
	TopP        float64 // 1 is no limit
	Seed        uint64
	IgnoreEOS   bool
	// Force holds ids that are fed in place of the first sampled ones.
	Force []int
	// Logits receives one row [VocabSize] for each prompt position and for
	// each token fed after it. The row is valid during the call.
	Logits func(row []float32) error
	// Trace receives every launch of a program, after it ran.
	Trace func(Launch) error
}

// Result is what was generated.
type Result struct {
	IDs    []int  // sampled ids; where Force was given, what would have been
	Text   string // of IDs, without special tokens
	Reason string
}

// Defaults returns the options that the checkpoint's generation_config.json
// states; greedy where it states none.
func (m *Model) Defaults() Options { return m.defaults }

// Generate feeds a prompt and samples tokens. emit receives each sampled id
// with the text that it completes, which is empty while a character is
// unfinished. Cancellation is honoured between programs.
func (m *Model) Generate(ctx context.Context, prompt []int, o Options, emit func(id int, text string) error) (Result, error) {
	var res Result
	if err := m.checkOptions(prompt, &o); err != nil {
		return res, err
	}
	m.trace = o.Trace
	defer func() { m.trace = nil }()
	m.reset()
	next, err := m.prefill(ctx, prompt, o.Logits)
	if err != nil {
		return res, err
	}
	s := newSampler(o)
	text := streamText{tok: m.tok}
	res.Reason = ReasonMaxTokens
	pos := len(prompt)
	for step := range o.MaxTokens {
		id := s.pick(next)
		res.IDs = append(res.IDs, id)
		if emit != nil {
			if err := emit(id, text.add(id)); err != nil {
				return res, err
			}
		}
		forced := step < len(o.Force)
		feed := id
		if forced {
			feed = o.Force[step]
		} else if !o.IgnoreEOS && m.isEOS(id) {
			res.Reason = ReasonEOS
			break
		}
		if step == o.MaxTokens-1 && !forced {
			break
		}
		if pos == m.cfg.MaxNumTokens {
			res.Reason = ReasonLength
			break
		}
		if next, err = m.decode(ctx, feed, pos, o.Logits); err != nil {
			return res, err
		}
		pos++
	}
	res.Text = m.tok.Decode(res.IDs, true)
	return res, nil
}

func (m *Model) isEOS(id int) bool {
	for _, e := range m.cfg.EOSTokenIDs {
		if e == id {
			return true
		}
	}
	return false
}

func (m *Model) checkOptions(prompt []int, o *Options) error {
	if len(prompt) == 0 {
		return errors.New("the prompt is empty, and the model needs at least one token to go on from")
	}
	if n := len(prompt) + len(o.Force); n > m.cfg.MaxNumTokens {
		return fmt.Errorf("the prompt has %d tokens, the model was built for %d\n  shorten it, or set context_length = %d or more in llima.hcl and build again",
			n, m.cfg.MaxNumTokens, (n+m.cfg.LanguageGroupSize-1)/m.cfg.LanguageGroupSize*m.cfg.LanguageGroupSize)
	}
	for _, ids := range [][]int{prompt, o.Force} {
		for i, id := range ids {
			if id < 0 || id >= m.cfg.VocabSize {
				return fmt.Errorf("token %d of the prompt has id %d, outside the vocabulary of %d", i, id, m.cfg.VocabSize)
			}
		}
	}
	if o.TopK < 0 || o.Temperature < 0 || o.TopP < 0 || o.TopP > 1 {
		return fmt.Errorf("temperature %g, top_k %d, top_p %g: want temperature and top_k of 0 or more, and top_p from 0 to 1", o.Temperature, o.TopK, o.TopP)
	}
	if m.cfg.ReturnLogits {
		return nil
	}
	const fix = "\n  set this in the model block of llima.hcl and build again:\n    return_logits = true"
	if o.Logits != nil {
		return errors.New("this model was built without logits" + fix)
	}
	if o.TopK > topCount && !o.Greedy {
		return fmt.Errorf("top_k %d: this model returns its %d best tokens only%s", o.TopK, topCount, fix)
	}
	return nil
}

// reset zeroes the caches once for each generation after the first.
func (m *Model) reset() {
	if m.dirty {
		for _, kv := range m.kv {
			clear(kv)
		}
	}
	m.dirty = true
}

// embedRow writes the embedding of a token, float32 [HiddenSize].
func (m *Model) embedRow(dst []float32, id int) {
	row := m.embed[2*id*m.cfg.HiddenSize:]
	for i := range dst {
		dst[i] = bf16(row[2*i], row[2*i+1])
	}
}

// ropeRow writes cos then sin of a position.
func (m *Model) ropeRow(dst []float32, pos int) {
	copy(dst, m.cos[pos*m.half:(pos+1)*m.half])
	copy(dst[m.half:], m.sin[pos*m.half:(pos+1)*m.half])
}

// prefill runs the prompt in groups and returns what follows its last token.
func (m *Model) prefill(ctx context.Context, prompt []int, logits func([]float32) error) (candidates, error) {
	group, hiddenSize := m.cfg.LanguageGroupSize, m.cfg.HiddenSize
	var next candidates
	hidden := make([]float32, group*hiddenSize)
	for start := 0; start < len(prompt); start += group {
		rows := min(group, len(prompt)-start)
		clear(hidden)
		for i := range rows {
			m.embedRow(hidden[i*hiddenSize:(i+1)*hiddenSize], prompt[start+i])
		}
		var err error
		next, err = m.forward(ctx, addr.Prefill, hidden, start, rows, start+group, logits)
		if err != nil {
			return next, err
		}
	}
	return next, nil
}

// decode runs one token at a position and returns what follows it.
func (m *Model) decode(ctx context.Context, id, pos int, logits func([]float32) error) (candidates, error) {
	hidden := make([]float32, m.cfg.HiddenSize)
	m.embedRow(hidden, id)
	mask := m.cfg.FutureTokenMask
	return m.forward(ctx, addr.Decode, hidden, pos, 1, (pos/mask+1)*mask, logits)
}

// forward runs every layer over the rows of one group, [rows of the phase,
// HiddenSize], the first of which is at position start. valid rows hold
// tokens; the others are padding, which nothing but itself attends to.
func (m *Model) forward(ctx context.Context, phase addr.Phase, hidden []float32, start, valid, window int, logits func([]float32) error) (candidates, error) {
	last := len(m.layers[phase]) - 1
	for layer := range m.layers[phase] {
		l := &m.layers[phase][layer]
		if err := ctx.Err(); err != nil {
			return candidates{}, err
		}
		pre := l.pre
		copy(pre.f32("in.hidden"), hidden)
		rope, positions := pre.f32("in.rope"), pre.i32("in.positions")
		for i := range m.rows(phase) {
			m.ropeRow(rope[i*2*m.half:], start+i)
			positions[i] = int32(start + i)
		}
		if err := m.launch(pre, layer); err != nil {
			return candidates{}, err
		}
		cache := l.cache[window]
		copy(cache.bytes("in.q"), pre.bytes("out.q"))
		spans := cache.i32("in.spans")
		for i := range m.rows(phase) {
			spans[2*i], spans[2*i+1] = 0, int32(start+i+1)
			if i >= valid {
				spans[2*i] = int32(start + i)
			}
		}
		if err := m.launch(cache, layer); err != nil {
			return candidates{}, err
		}
		post := l.post
		copy(post.bytes("in.attention"), cache.bytes("out.attention"))
		copy(post.f32("in.hidden"), hidden)
		if layer == last && !m.cfg.ReturnLogits && phase == addr.Prefill {
			post.i32("in.last_row")[0] = int32(valid - 1)
		}
		if err := m.launch(post, layer); err != nil {
			return candidates{}, err
		}
		if layer < last {
			copy(hidden, post.f32("out.hidden_out"))
			continue
		}
		return m.head(post, valid, logits)
	}
	return candidates{}, errors.New("llima: internal error: a model without layers")
}

// head reads what the last POST returned.
func (m *Model) head(post *program, valid int, logits func([]float32) error) (candidates, error) {
	if !m.cfg.ReturnLogits {
		return topCandidates(post.bytes("out.top")), nil
	}
	all, v := post.f32("out.logits"), m.cfg.VocabSize
	if logits != nil {
		for i := range valid {
			if err := logits(all[i*v : (i+1)*v]); err != nil {
				return candidates{}, err
			}
		}
	}
	return candidates{logits: all[(valid-1)*v : valid*v]}, nil
}
