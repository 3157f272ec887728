package runtime

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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

// errNoNumber is what a model gives whose weights or programs are broken.
var errNoNumber = errors.New("the logits are not numbers")

// topCandidates reads (float32, int32) pairs; an id of -1 ends them.
func topCandidates(b []byte, vocabSize int) (candidates, error) {
	var c candidates
	for ; len(b) >= 8; b = b[8:] {
		id := int32(binary.LittleEndian.Uint32(b[4:]))
		if id == -1 {
			break
		}
		if id < 0 || int(id) >= vocabSize {
			return c, fmt.Errorf("it returned id %d, outside the vocabulary of %d", id, vocabSize)
		}
		c.top = append(c.top, candidate{int(id), math.Float32frombits(binary.LittleEndian.Uint32(b))})
	}
	return c, nil
}

// best returns the most likely candidate, the lowest id of equals.
func (c candidates) best() (candidate, bool) {
	list := c.sorted(1)
	if len(list) == 0 {
		return candidate{}, false
	}
	return list[0], true
}

// before orders candidates: falling logit, then rising id, NaN last.
func before(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.logit, a.logit), cmp.Compare(a.id, b.id))
}

// sorted returns the k most likely candidates in order, all of them for 0.
func (c candidates) sorted(k int) []candidate {
	if c.logits == nil {
		list := slices.SortedFunc(slices.Values(c.top), before)
		return list[:limit(k, len(list))]
	}
	k = limit(k, len(c.logits))
	// The best so far in order, until twice as many as are wanted came in.
	list := make([]candidate, 0, min(2*k+1, len(c.logits)))
	worst := candidate{id: -1}
	for id, v := range c.logits {
		x := candidate{id, v}
		if worst.id >= 0 && before(worst, x) < 0 {
			continue
		}
		if list = append(list, x); len(list) > 2*k {
			slices.SortFunc(list, before)
			list = list[:k]
			worst = list[k-1]
		}
	}
	slices.SortFunc(list, before)
	return list[:min(k, len(list))]
}

func limit(k, n int) int {
	if k > 0 && k < n {
		return k
	}
	return n
}

// sampler picks tokens: temperature, then top-k, then top-p, as transformers
// orders them.
type sampler struct {
	o   Options
	rng *rand.Rand
}

// stream is the second half of the generator's seed.
const stream = 0x6c6c696d61

func newSampler(o Options) *sampler {
	return &sampler{o: o, rng: rand.New(rand.NewPCG(o.Seed, stream))}
}

func (s *sampler) pick(c candidates) (int, error) {
	if s.o.Greedy || s.o.Temperature == 0 {
		x, ok := c.best()
		if !ok || isNaN(x.logit) {
			return 0, errNoNumber
		}
		return x.id, nil
	}
	list := c.sorted(s.o.TopK)
	if len(list) == 0 || isNaN(list[0].logit) || math.IsInf(float64(list[0].logit), 0) {
		return 0, errNoNumber
	}
	weights := make([]float64, len(list))
	var total float64
	for i, x := range list {
		if isNaN(x.logit) {
			break
		}
		weights[i] = math.Exp((float64(x.logit) - float64(list[0].logit)) / s.o.Temperature)
		total += weights[i]
	}
	if s.o.TopP > 0 && s.o.TopP < 1 {
		weights, total = nucleus(weights, s.o.TopP*total)
	}
	at := s.rng.Float64() * total
	for i, w := range weights {
		if at -= w; at < 0 {
			return list[i].id, nil
		}
	}
	return list[0].id, nil
}

// nucleus returns the shortest beginning of weights that adds up to want, one
// of them at least, and its sum.
func nucleus(weights []float64, want float64) (kept []float64, sum float64) {
	for i, w := range weights {
		if sum += w; sum >= want {
			return weights[:i+1], sum
		}
	}
	return weights, sum
}

func isNaN(f float32) bool { return math.IsNaN(float64(f)) }
