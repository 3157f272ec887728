package measure

import "math"

// scores are the figures of one token.
type scores struct {
	nll, refNLL float64 // -log p of the token that the text has
	kl          float64 // of the reference and the model
	same        bool    // whether both hold the same token most likely
}

// distribution is what softmax needs of a row of logits.
type distribution struct {
	top    int     // the lowest id of the largest
	max    float64 // its logit
	logSum float64 // log of the sum of exp
}

// of returns the distribution of a row. A row with a NaN or an infinity has
// no finite logSum.
func of(row []float32) distribution {
	top := 0
	for i, v := range row {
		if v > row[top] || row[top] != row[top] {
			top = i
		}
	}
	d := distribution{top: top, max: float64(row[top])}
	sum := 0.0
	for _, v := range row {
		sum += math.Exp(float64(v) - d.max)
	}
	d.logSum = d.max + math.Log(sum)
	return d
}

// score compares a row of logits with that of the reference, nil for none:
// KL(reference || model) of the softmax over the whole vocabulary, in nats.
// ok is false where a row is not of numbers.
func score(row, reference []float32, token int) (s scores, ok bool) {
	d := of(row)
	s.nll = d.logSum - float64(row[token])
	if reference == nil {
		return s, finite(s.nll)
	}
	r := of(reference)
	s.refNLL = r.logSum - float64(reference[token])
	s.same = d.top == r.top
	sum := 0.0
	for i, v := range reference {
		p := math.Exp(float64(v) - r.logSum)
		if p > 0 {
			sum += p * (float64(v) - float64(row[i]))
		}
	}
	s.kl = max(0, sum-(r.logSum-d.logSum))
	return s, finite(s.nll) && finite(s.refNLL) && finite(s.kl)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
