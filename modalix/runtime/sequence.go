package runtime

import (
	"context"
	"fmt"
	"io"

	"github.com/llima-build/llima/internal/addr"
)

// Sequence is a run of tokens from position 0 that a model reads in one phase,
// which gives the logits of every one of them, also where the model was built
// to return the best only. The caches of a model hold one sequence: the next
// one, or a generation, ends it.
type Sequence struct {
	// Inputs, which may be nil, sees the rows [T, HiddenSize] that a layer gets
	// before it runs, for each layer and group of tokens; valid during the call.
	Inputs func(layer int, hidden []float32)

	m      *Model
	phase  addr.Phase
	from   int       // layer
	ids    []int     // of the tokens; nil where hidden is given
	hidden []float32 // [T, HiddenSize] that layer from gets
	tokens int       // T
	next   int       // token
	buffer []float32 // rows of the phase
	logits [][]float32
	own    [][]float32 // memory of logits that no buffer of a program holds
}

// Sequence begins a sequence of tokens. In phase Prefill groups of them go
// through the programs that read prompts, in phase Decode one after the other
// through those that write text, whose K and V are then the cache.
func (m *Model) Sequence(phase addr.Phase, ids []int) (*Sequence, error) {
	if err := m.checkOptions(ids, &Options{}); err != nil {
		return nil, err
	}
	m.begin(len(ids))
	return &Sequence{m: m, phase: phase, ids: ids, tokens: len(ids)}, nil
}

// Resume begins a sequence at a layer, which gets hidden [T, HiddenSize], what
// [Sequence.Inputs] saw there. Layers before it do not run.
func (m *Model) Resume(phase addr.Phase, layer int, hidden []float32) (*Sequence, error) {
	tokens := len(hidden) / m.cfg.HiddenSize
	switch {
	case layer < 0 || layer >= m.cfg.NumHiddenLayers:
		return nil, fmt.Errorf("layer %d: the model has %d", layer, m.cfg.NumHiddenLayers)
	case tokens == 0 || tokens > m.cfg.MaxNumTokens || tokens*m.cfg.HiddenSize != len(hidden):
		return nil, fmt.Errorf("%d numbers for layer %d: want rows of %d, 1 to %d of them", len(hidden), layer, m.cfg.HiddenSize, m.cfg.MaxNumTokens)
	}
	m.begin(tokens)
	return &Sequence{m: m, phase: phase, from: layer, hidden: hidden, tokens: tokens}, nil
}

// begin empties the caches for a sequence of so many tokens.
func (m *Model) begin(tokens int) {
	m.reset()
	m.long = m.isLong(tokens)
}

// Next runs the next tokens, a group or one, and returns a row of logits
// [VocabSize] for each, valid until the model runs again. The end is [io.EOF].
func (s *Sequence) Next(ctx context.Context) ([][]float32, error) {
	m, width := s.m, s.m.cfg.HiddenSize
	rows := m.rows(s.phase)
	valid := min(rows, s.tokens-s.next)
	if valid == 0 {
		return nil, io.EOF
	}
	if s.buffer == nil {
		s.buffer = make([]float32, rows*width)
	}
	clear(s.buffer)
	if s.ids == nil {
		copy(s.buffer, s.hidden[s.next*width:(s.next+valid)*width])
	} else {
		for i, id := range s.ids[s.next : s.next+valid] {
			m.embedRow(s.buffer[i*width:(i+1)*width], id)
		}
	}
	s.logits = s.logits[:0]
	err := m.layersFrom(ctx, pass{phase: s.phase, from: s.from, start: s.next, valid: valid, inputs: s.Inputs, rows: s.add}, s.buffer)
	s.next += valid
	return s.logits, err
}

// add keeps a row of logits. One that is not in the output of a program is
// copied.
func (s *Sequence) add(row int, logits []float32, held bool) {
	if !held {
		if row == len(s.own) {
			s.own = append(s.own, make([]float32, len(logits)))
		}
		copy(s.own[row], logits)
		logits = s.own[row]
	}
	s.logits = append(s.logits, logits)
}

// Explain says why a model gave logits that are not numbers.
func (m *Model) Explain() error { return m.explain(errNoNumber) }

// runPost runs POST or CONV of a layer. Of the last one, where all rows are
// wanted and the program returns the best of one row only, it runs once for
// each row: what it has chosen among are the logits.
func (m *Model) runPost(ctx context.Context, p pass, layer int) error {
	post := m.layers[p.phase][layer].post
	last := layer == m.cfg.NumHiddenLayers-1
	if m.beside != nil {
		id := addr.PartID{Phase: p.phase, Part: m.postPart(layer), Index: layer}
		if err := m.runBeside(ctx, id, post, p); err != nil || !last {
			return err
		}
	}
	if !last {
		return m.launch(ctx, post, layer)
	}
	return m.runLast(ctx, post, layer, p) // again after runBeside, for the rows
}

// runLast runs the last POST or CONV for the rows of a pass.
func (m *Model) runLast(ctx context.Context, post *program, layer int, p pass) error {
	rows := m.rows(p.phase)
	if post.has("out.logits") {
		if err := m.launch(ctx, post, layer); err != nil {
			return err
		}
		for i := range p.valid {
			if p.rows != nil {
				p.rows(i, m.logitsRow(post, rows, i), true)
			}
		}
		return nil
	}
	first := p.valid - 1
	if p.rows != nil {
		first = 0
	}
	for i := first; i < p.valid; i++ {
		if post.has("in.last_row") {
			post.i32("in.last_row")[0] = int32(i)
		}
		if p.rows == nil {
			return m.launch(ctx, post, layer)
		}
		row, err := m.launchTapped(ctx, post, layer)
		if err != nil {
			return err
		}
		p.rows(i, row, false)
	}
	return nil
}

// launchTapped runs a program that returns the best ids of a row and returns
// the logits [VocabSize] that it chose among.
func (m *Model) launchTapped(ctx context.Context, post *program, layer int) ([]float32, error) {
	if m.tapped == nil {
		m.tapped = make([]float32, m.cfg.VocabSize)
	}
	seen, outside := 0, false
	m.machine.Top = func(row, first int, values []float32) {
		if row != 0 || first != seen || first+len(values) > len(m.tapped) {
			outside = true
			return
		}
		seen += copy(m.tapped[first:], values)
	}
	defer func() { m.machine.Top = nil }()
	if err := m.launch(ctx, post, layer); err != nil {
		return nil, err
	}
	if outside || seen != len(m.tapped) {
		return nil, fmt.Errorf("%s: it chose its best ids among %d logits, the vocabulary has %d, so it is damaged%s", post.path, seen, len(m.tapped), again)
	}
	return m.tapped, nil
}

// logitsRow returns row i of what the last POST or CONV returned.
func (m *Model) logitsRow(post *program, rows, i int) []float32 {
	all := post.f32("out.logits")
	return all[i*(len(all)/rows):][:m.cfg.VocabSize]
}

// postPart returns what ends a layer.
func (m *Model) postPart(layer int) addr.Part {
	if m.cfg.layerType(layer) == layerConv {
		return addr.Conv
	}
	return addr.Post
}
