package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/llima-build/llima/formats/tensor"
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
	// MaxTokens is how many tokens to generate at most; Force makes it at
	// least its own length.
	MaxTokens   int
	Greedy      bool    // always the most likely token, the lowest id of equals
	Temperature float64 // 0 is greedy
	// TopK limits sampling to the most likely tokens; 0 is no limit, which is
	// 64 of them for a model without logits.
	TopK      int
	TopP      float64 // limits sampling to this share of probability; 1, or 0, is no limit
	Seed      uint64
	IgnoreEOS bool
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
	Reason string // one of the Reasons
}

// Defaults returns the options that the checkpoint's generation_config.json
// states; greedy where it states none.
func (m *Model) Defaults() Options { return m.defaults }

// Generate feeds a prompt and samples tokens. emit, which may be nil, receives
// each sampled id with the text that it completes, which is empty while a
// character is unfinished; all the texts together are the text of the result.
// Cancellation is honoured between programs. The same options give the same
// ids.
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
	s, text := newSampler(o), m.tok.Stream(true)
	steps := max(o.MaxTokens, len(o.Force))
	res.Reason = ReasonMaxTokens
	for step := range steps {
		id, err := s.pick(next)
		if errors.Is(err, errNoNumber) {
			err = m.explain(err)
		}
		if err != nil {
			return res, err
		}
		pos, forced := len(prompt)+step, step < len(o.Force)
		last := step == steps-1
		switch {
		case forced:
		case !o.IgnoreEOS && slices.Contains(m.cfg.EOSTokenIDs, id):
			res.Reason, last = ReasonEOS, true
		case !last && pos == m.cfg.MaxNumTokens:
			res.Reason, last = ReasonLength, true
		}
		piece := text.Add(id)
		if last {
			piece += text.Flush()
		}
		res.IDs = append(res.IDs, id)
		res.Text += piece
		if emit != nil {
			if err := emit(id, piece); err != nil {
				return res, err
			}
		}
		feed := id
		if forced {
			feed = o.Force[step]
		} else if last {
			break
		}
		if next, err = m.decode(ctx, feed, pos, o.Logits); err != nil {
			return res, err
		}
	}
	return res, nil
}

func (m *Model) checkOptions(prompt []int, o *Options) error {
	if len(prompt) == 0 {
		return errors.New("the prompt is empty, and the model needs at least one token to go on from")
	}
	if len(prompt) > m.cfg.MaxNumTokens {
		// The next length that both steps divide.
		step := m.cfg.LanguageGroupSize
		for step%m.cfg.FutureTokenMask != 0 {
			step += m.cfg.LanguageGroupSize
		}
		return fmt.Errorf("the prompt has %d tokens, but the model was built for %d\n"+
			"  shorten it, or set this in the model block of llima.hcl and build again:\n    context_length = %d",
			len(prompt), m.cfg.MaxNumTokens, (len(prompt)+step-1)/step*step)
	}
	if n := len(prompt) + len(o.Force); n > m.cfg.MaxNumTokens {
		return fmt.Errorf("the prompt and the forced tokens are %d + %d = %d tokens, but the model was built for %d",
			len(prompt), len(o.Force), n, m.cfg.MaxNumTokens)
	}
	for _, part := range []struct {
		what string
		ids  []int
	}{{"prompt", prompt}, {"forced tokens", o.Force}} {
		for i, id := range part.ids {
			if id < 0 || id >= m.cfg.VocabSize {
				return fmt.Errorf("token %d of the %s has id %d, outside the vocabulary of %d", i, part.what, id, m.cfg.VocabSize)
			}
		}
	}
	switch {
	case o.MaxTokens < 0:
		return fmt.Errorf("max_tokens %d: want 0 or more", o.MaxTokens)
	case !(o.Temperature >= 0):
		return fmt.Errorf("temperature %g: want 0 or more", o.Temperature)
	case o.TopK < 0:
		return fmt.Errorf("top_k %d: want 0 or more", o.TopK)
	case !(o.TopP >= 0 && o.TopP <= 1):
		return fmt.Errorf("top_p %g: want 0 to 1", o.TopP)
	case m.cfg.ReturnLogits:
		return nil
	}
	const fix = "\n  set this in the model block of llima.hcl and build again:\n    return_logits = true"
	if o.Logits != nil {
		return errors.New("the model was built without logits" + fix)
	}
	if o.TopK > topCount && !o.Greedy && o.Temperature != 0 {
		return fmt.Errorf("top_k %d: the model was built without logits and returns its %d best tokens only%s", o.TopK, topCount, fix)
	}
	return nil
}

// reset zeroes the caches before every generation but the first: what a
// program has not written must not be a NaN, and a convolution begins with
// zeros.
func (m *Model) reset() {
	if m.dirty {
		for _, list := range [][][]byte{m.kv, m.state} {
			for _, b := range list {
				clear(b)
			}
		}
	}
	m.dirty, m.long, m.history = true, false, m.history[:0]
}

// embedRow writes the embedding of a token, scaled, float32 [HiddenSize].
func (m *Model) embedRow(dst []float32, id int) {
	if m.coded != nil {
		m.coded.Row(dst, id)
		for i := range dst {
			dst[i] *= m.cfg.EmbeddingScale
		}
		return
	}
	row := m.embed[2*id*m.cfg.HiddenSize:]
	for i := range dst {
		dst[i] = tensor.FromBF16(uint16(row[2*i])|uint16(row[2*i+1])<<8) * m.cfg.EmbeddingScale
	}
}

// rope is a table of cosines and one of sines, [MaxNumTokens or more, half].
type rope struct{ cos, sin []float32 }

// The names of the tables.
const (
	mainRope  = "rope"
	localRope = "rope_local"
	longRope  = "rope_long"
)

// ropeOf returns the tables by which a layer turns.
func (m *Model) ropeOf(layer int) rope {
	switch {
	case m.cfg.LocalRope && m.cfg.layerType(layer) == layerSliding:
		return m.ropes[localRope]
	case m.long:
		return m.ropes[longRope]
	}
	return m.ropes[mainRope]
}

// row writes the cosines, then the sines of a position.
func (r rope) row(dst []float32, half, pos int) {
	copy(dst, r.cos[pos*half:(pos+1)*half])
	copy(dst[half:], r.sin[pos*half:(pos+1)*half])
}

// isLong reports whether a sequence is one that turns by the tables for long
// ones.
func (m *Model) isLong(tokens int) bool {
	return m.cfg.LongRopeFrom > 0 && tokens > m.cfg.LongRopeFrom
}

// prefill runs the prompt in groups and returns what follows its last token.
func (m *Model) prefill(ctx context.Context, prompt []int, logits func([]float32) error) (candidates, error) {
	width := m.cfg.HiddenSize
	hidden := make([]float32, m.cfg.LanguageGroupSize*width)
	var next candidates
	start := 0
	m.long = m.isLong(len(prompt))
	m.history = append(m.history, prompt...)
	for ids := range slices.Chunk(prompt, m.cfg.LanguageGroupSize) {
		clear(hidden)
		for i, id := range ids {
			m.embedRow(hidden[i*width:(i+1)*width], id)
		}
		var err error
		if next, err = m.forward(ctx, addr.Prefill, hidden, start, len(ids), logits); err != nil {
			return next, err
		}
		start += len(ids)
	}
	return next, nil
}

// decode runs one token at a position and returns what follows it. A token
// that makes the sequence a long one turns all that came before anew.
func (m *Model) decode(ctx context.Context, id, pos int, logits func([]float32) error) (candidates, error) {
	if m.isLong(pos+1) && !m.long {
		ids := append(slices.Clone(m.history), id)
		m.reset()
		row := 0
		return m.prefill(ctx, ids, func(values []float32) error {
			if row++; row < len(ids) || logits == nil {
				return nil
			}
			return logits(values)
		})
	}
	m.history = append(m.history, id)
	hidden := make([]float32, m.cfg.HiddenSize)
	m.embedRow(hidden, id)
	return m.forward(ctx, addr.Decode, hidden, pos, 1, logits)
}

// forward runs every layer over hidden, [rows of the phase, HiddenSize], whose
// first row is at position start. valid rows hold tokens. The others are
// padding: each attends to itself alone, and what they leave in the cache is
// written over before a token can see it.
func (m *Model) forward(ctx context.Context, phase addr.Phase, hidden []float32, start, valid int, logits func([]float32) error) (candidates, error) {
	if err := m.layersFrom(ctx, pass{phase: phase, start: start, valid: valid}, hidden); err != nil {
		return candidates{}, err
	}
	return m.head(m.layers[phase][len(m.layers[phase])-1].post, m.rows(phase), valid, logits)
}

// pass is one way through the layers: which rows, and what is wanted of them.
type pass struct {
	phase        addr.Phase
	from         int                                        // layer that gets hidden
	start, valid int                                        // position of the first row, and how many hold tokens
	inputs       func(layer int, hidden []float32)          // sees what each layer gets; may be nil
	rows         func(row int, logits []float32, held bool) // gets the logits of every valid row, which outputs hold till the next launch; may be nil
}

// layersFrom runs a pass. What the last layer returned is in its buffers then.
func (m *Model) layersFrom(ctx context.Context, p pass, hidden []float32) error {
	rows, last := m.rows(p.phase), len(m.layers[p.phase])-1
	for layer := p.from; layer <= last; layer++ {
		l := &m.layers[p.phase][layer]
		if p.inputs != nil {
			p.inputs(layer, hidden[:p.valid*m.cfg.HiddenSize])
		}
		conv := m.cfg.layerType(layer) == layerConv
		if !conv {
			if err := m.attend(ctx, p, layer, hidden); err != nil {
				return err
			}
		}
		copyRows(l.post.f32("in.hidden"), hidden, rows)
		if err := m.runPost(ctx, p, layer); err != nil {
			return err
		}
		if conv {
			m.keepState(layer, l.post.f32("out.gated"), rows, p.valid)
		}
		if layer < last {
			copyRows(hidden, l.post.f32("out.hidden_out"), rows)
		}
	}
	return nil
}

// attend runs PRE and CACHE of a layer, and leaves attention in the input of
// POST.
func (m *Model) attend(ctx context.Context, p pass, layer int, hidden []float32) error {
	l, rows, start := &m.layers[p.phase][layer], m.rows(p.phase), p.start
	copyRows(l.pre.f32("in.hidden"), hidden, rows)
	table, positions, turn := l.pre.f32("in.rope"), l.pre.i32("in.positions"), m.ropeOf(layer)
	for i := range rows {
		turn.row(table[i*(len(table)/rows):], m.half, start+i)
		positions[i] = int32(start + i)
	}
	if err := m.runPre(ctx, p, layer); err != nil {
		return err
	}
	cache := l.cache[m.window(p.phase, start+rows)]
	copy(cache.bytes("in.q"), l.pre.bytes("out.q"))
	sees := start + rows
	if m.cfg.layerType(layer) == layerSliding {
		sees = m.cfg.SlidingWindow
	}
	fillSpans(cache.i32("in.spans"), start, p.valid, sees)
	if err := m.launch(ctx, cache, layer); err != nil {
		return err
	}
	m.packHeads(l.post.bytes("in.attention"), cache.bytes("out.attention"), rows)
	return nil
}

// packHeads copies attention without the padding of its heads.
func (m *Model) packHeads(dst, src []byte, rows int) {
	to, from := len(dst)/rows, len(src)/rows
	live, padded := m.cfg.HeadDim*2, int(m.headBytes())
	if live == padded {
		copyRows(dst, src, rows)
		return
	}
	for i := range rows {
		row := dst[i*to : (i+1)*to]
		for h := range m.cfg.NumAttentionHeads {
			copy(row[h*live:][:live], src[i*from+h*padded:])
		}
		clear(row[m.cfg.NumAttentionHeads*live:])
	}
}

// keepState makes the rows in front of the next token the state of a
// convolution: of those that it saw, the last ones that hold tokens.
func (m *Model) keepState(layer int, gated []float32, rows, valid int) {
	keep := m.cfg.ConvTaps - 1
	state := view[float32](m.state[layer])
	pitch := len(state) / keep
	shift := min(valid, keep)
	copy(state, state[shift*pitch:])
	from := len(gated) / rows
	copyRows(state[(keep-shift)*pitch:], gated[(valid-shift)*from:valid*from], shift)
}

// fillSpans writes which positions each row sees, [rows, 2]: so many up to its
// own, padding its own only.
func fillSpans(spans []int32, start, valid, sees int) {
	for i := range len(spans) / 2 {
		spans[2*i], spans[2*i+1] = int32(max(0, start+i+1-sees)), int32(start+i+1)
		if i >= valid {
			spans[2*i] = int32(start + i)
		}
	}
}

// head reads what the last POST returned.
func (m *Model) head(post *program, rows, valid int, logits func([]float32) error) (candidates, error) {
	if !post.has("out.logits") {
		top, err := topCandidates(post.bytes("out.top"), m.cfg.VocabSize)
		if err != nil {
			err = fmt.Errorf("%s: %w, so it is damaged%s", post.path, err, again)
		}
		return top, err
	}
	row := func(i int) []float32 { return m.logitsRow(post, rows, i) }
	if logits != nil {
		for i := range valid {
			if err := logits(row(i)); err != nil {
				return candidates{}, err
			}
		}
	}
	return candidates{logits: row(valid - 1)}, nil
}
