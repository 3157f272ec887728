package dataset

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
)

// Options say which windows to sample.
type Options struct {
	Samples int // how many
	Tokens  int // of each
	Seed    int64
}

// maxSampledTokens bounds Samples·Tokens.
const maxSampledTokens = 1 << 26

// Samples are windows of a dataset, and what they cover.
type Samples struct {
	// Windows are the token ids, Tokens each, in an order that the seed gives:
	// any number of the first, or the last, are spread over the file too.
	Windows  [][]int
	Coverage Coverage
}

// Coverage says what of a dataset was looked at. Tokens that begin a window
// count for none of it.
type Coverage struct {
	Format       Format `json:"format"`
	Documents    int    `json:"documents"`
	Tokens       int    `json:"tokens"` // of the file
	Samples      int    `json:"samples"`
	SampleTokens int    `json:"sample_tokens"`
	TokensUsed   int    `json:"tokens_used"`
	Vocabulary   int    `json:"vocabulary"`       // size
	SeenInFile   int    `json:"tokens_seen"`      // different ones in the file
	SeenInUse    int    `json:"tokens_seen_used"` // in the windows
	Seed         int64  `json:"seed"`
	// OffsetsSHA256 is the digest of the windows' places in the file, counted in
	// tokens, eight bytes each with the lowest first, in the windows' order.
	OffsetsSHA256 string `json:"offsets_sha256"`
}

// Sample picks windows of a file by seed. Documents are put behind each other,
// with what the tokenizer begins a text with between them, and cut into slots;
// a window is a slot behind the beginning of a text. The key of slot i is
// SplitMix64 of seed and i; the file is divided into even blocks of slots, a
// power of two each, and from evenly spread blocks the slot with the least key
// is taken. Windows come by rising keys.
func (e *Encoder) Sample(ctx context.Context, f *File, o Options) (*Samples, error) {
	begin := e.Tokenizer.Prefix()
	switch {
	case o.Samples < 1 || o.Tokens < 1:
		return nil, fmt.Errorf("%d samples of %d tokens; want at least one of each", o.Samples, o.Tokens)
	case o.Samples > maxSampledTokens/o.Tokens:
		return nil, fmt.Errorf("%d samples of %d tokens are more than %d tokens; 128 samples of 512 are many already", o.Samples, o.Tokens, maxSampledTokens)
	case o.Tokens <= len(begin):
		return nil, fmt.Errorf("samples of %d tokens have no room behind the %d that begin a text; want at least %d", o.Tokens, len(begin), len(begin)+1)
	}
	s := &sampler{
		wanted: o.Samples, seed: uint64(o.Seed), blockSlots: 1, //nolint:gosec // bits
		slots: slots{size: o.Tokens - len(begin), between: e.between()}, seen: make([]bool, e.Tokenizer.VocabSize()),
	}
	s.full = s.slot
	if err := e.read(ctx, f, s); err != nil {
		return nil, err
	}
	if s.count < o.Samples {
		return nil, f.failf("%w", s.tooShort(o, len(begin)))
	}
	format, err := f.Format()
	if err != nil {
		return nil, err
	}
	out := &Samples{Coverage: Coverage{
		Format: format, Documents: s.documents, Tokens: s.tokens, Samples: o.Samples, SampleTokens: o.Tokens,
		TokensUsed: o.Samples * s.size, Vocabulary: len(s.seen), SeenInFile: count(s.seen), Seed: o.Seed,
	}}
	used := make([]bool, len(s.seen))
	digest := sha256.New()
	for _, b := range s.pick() {
		window := slices.Clone(begin)
		for _, id := range b.ids {
			window = append(window, int(id))
			used[id] = true
		}
		out.Windows = append(out.Windows, window)
		digest.Write(binary.LittleEndian.AppendUint64(nil, uint64(b.index*s.size))) //nolint:gosec // not negative
	}
	out.Coverage.SeenInUse = count(used)
	out.Coverage.OffsetsSHA256 = hex.EncodeToString(digest.Sum(nil))
	return out, nil
}

func count(set []bool) int {
	n := 0
	for _, in := range set {
		if in {
			n++
		}
	}
	return n
}

// slots puts documents behind each other and cuts them.
type slots struct {
	size      int // tokens
	between   []int
	full      func(index int, ids []int32)
	ids       []int32 // of the slot in work
	count     int
	documents int
	tokens    int // without those between documents
}

func (s *slots) begin() {
	if s.documents++; s.documents > 1 {
		s.put(s.between)
	}
}

func (s *slots) add(ids []int) {
	s.tokens += len(ids)
	s.put(ids)
}

func (s *slots) put(ids []int) {
	for _, id := range ids {
		s.ids = append(s.ids, int32(id)) //nolint:gosec // below the size of a vocabulary
		if len(s.ids) == s.size {
			s.full(s.count, s.ids)
			s.count++
			s.ids = s.ids[:0]
		}
	}
}

// block is some slots in a row, of which the one with the least key is kept.
type block struct {
	key   uint64
	index int
	ids   []int32
}

// sampler keeps a slot of every block, and doubles the blocks when there are
// twice as many as wanted.
type sampler struct {
	slots
	wanted     int
	seed       uint64
	blockSlots int
	blocks     []block
	seen       []bool
}

func (s *sampler) add(ids []int) {
	for _, id := range ids {
		s.seen[id] = true
	}
	s.slots.add(ids)
}

func (s *sampler) slot(index int, ids []int32) {
	key := splitMix64(s.seed + uint64(index)*golden) //nolint:gosec // not negative
	if index%s.blockSlots != 0 {
		if b := &s.blocks[len(s.blocks)-1]; key < b.key {
			b.key, b.index = key, index
			copy(b.ids, ids)
		}
		return
	}
	if len(s.blocks) == 2*s.wanted {
		for i := range s.wanted {
			s.blocks[i] = least(s.blocks[2*i], s.blocks[2*i+1])
		}
		clear(s.blocks[s.wanted:])
		s.blocks = s.blocks[:s.wanted]
		s.blockSlots *= 2
	}
	s.blocks = append(s.blocks, block{key, index, slices.Clone(ids)})
}

func least(a, b block) block {
	if b.key < a.key {
		return b
	}
	return a
}

// pick takes blocks at even distances, from a place that the seed gives.
func (s *sampler) pick() []block {
	n := len(s.blocks)
	start := int(splitMix64(^s.seed) % uint64(n)) //nolint:gosec // below n
	out := make([]block, s.wanted)
	for i := range out {
		out[i] = s.blocks[(i*n+start)/s.wanted]
	}
	slices.SortFunc(out, func(a, b block) int { return cmp.Compare(a.key, b.key) })
	return out
}

func (s *sampler) tooShort(o Options, begin int) error {
	have := fmt.Sprintf("%d tokens in %d documents", s.tokens, s.documents)
	if s.documents == 1 {
		have = fmt.Sprintf("%d tokens", s.tokens)
	}
	fix := "give more text"
	if s.count > 0 {
		fix += fmt.Sprintf(", or lower samples to %d", s.count)
	}
	all := s.count*s.size + len(s.ids)
	if n := all / o.Samples; n > 0 {
		fix += fmt.Sprintf(", or seq_len to %d", n+begin)
	}
	return fmt.Errorf("too short: it has %s, which fill %d samples of %d tokens, and %d are wanted; %s", have, s.count, o.Tokens, o.Samples, fix)
}

// golden is 2^64 divided by the golden ratio: what SplitMix64 counts by.
const golden = 0x9e3779b97f4a7c15

// splitMix64 is the output function of SplitMix64 (Steele, Lea and Flood:
// Fast splittable pseudorandom number generators, 2014), with the counter
// already one step on.
func splitMix64(x uint64) uint64 {
	x += golden
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
