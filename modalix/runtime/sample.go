package runtime

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/llima-build/llima/formats/tokenizer"
)

// candidates is what may follow: logits by id, or the best ids with theirs in
// falling order.
type candidates struct {
	logits []float32
	top    []candidate
}

type candidate struct {
	id    int
	logit float32
}

// topCandidates reads (float32, int32) pairs; an id of -1 ends them.
func topCandidates(b []byte) candidates {
	var c candidates
	for ; len(b) >= 8; b = b[8:] {
		id := int32(binary.LittleEndian.Uint32(b[4:]))
		if id < 0 {
			break
		}
		c.top = append(c.top, candidate{int(id), math.Float32frombits(binary.LittleEndian.Uint32(b))})
	}
	return c
}

// best returns the most likely id, the lowest of equals.
func (c candidates) best() int {
	if c.logits == nil {
		return c.top[0].id
	}
	best := 0
	for i, v := range c.logits {
		if v > c.logits[best] {
			best = i
		}
	}
	return best
}

// sorted returns the k most likely candidates, all of them for 0.
func (c candidates) sorted(k int) []candidate {
	list := slices.Clone(c.top)
	for id, v := range c.logits {
		list = append(list, candidate{id, v})
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.logit, a.logit), cmp.Compare(a.id, b.id))
	})
	if k > 0 && k < len(list) {
		list = list[:k]
	}
	return list
}

// sampler picks tokens: temperature, then top-k, then top-p, as transformers
// orders them.
type sampler struct {
	o   Options
	rng *rand.Rand
}

func newSampler(o Options) *sampler {
	return &sampler{o: o, rng: rand.New(rand.NewPCG(o.Seed, 0x6c6c696d61))}
}

func (s *sampler) pick(c candidates) int {
	if s.o.Greedy || s.o.Temperature == 0 {
		return c.best()
	}
	list := c.sorted(s.o.TopK)
	weights := make([]float64, len(list))
	var total float64
	for i, x := range list {
		weights[i] = math.Exp((float64(x.logit) - float64(list[0].logit)) / s.o.Temperature)
		total += weights[i]
	}
	if s.o.TopP < 1 {
		// The shortest prefix that holds the probability, one token at least.
		var sum float64
		for i, w := range weights {
			sum += w
			if sum >= s.o.TopP*total {
				weights, total = weights[:i+1], sum
				break
			}
		}
	}
	at := s.rng.Float64() * total
	for i, w := range weights {
		if at -= w; at < 0 {
			return list[i].id
		}
	}
	return list[len(weights)-1].id
}

// streamText turns ids into text as they come, holding back characters whose
// bytes are not complete.
type streamText struct {
	tok   *tokenizer.Tokenizer
	ids   []int
	start int // first id that Decode needs for context
	read  int // ids whose text was returned
}

// maxHeld is how many ids may stay back: a character has four bytes at most.
const maxHeld = 8

func (s *streamText) add(id int) string {
	s.ids = append(s.ids, id)
	before := s.tok.Decode(s.ids[s.start:s.read], true)
	after := s.tok.Decode(s.ids[s.start:], true)
	if strings.HasSuffix(after, "\uFFFD") && len(s.ids)-s.read < maxHeld || len(after) < len(before) {
		return ""
	}
	s.start, s.read = s.read, len(s.ids)
	return after[len(before):]
}

func bf16(lo, hi byte) float32 {
	return math.Float32frombits(uint32(lo)<<16 | uint32(hi)<<24)
}
