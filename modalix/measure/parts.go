package measure

import (
	"context"
	"errors"
	"io"
	"math"

	"github.com/llima-build/llima/internal/addr"
)

// PartError is how far the output of a part is from that of the reference's,
// on the same input: ‖y_model − y‖ / ‖y‖ over all tokens. y is the queries,
// keys and values of PRE, the logits of the last part, and of others the
// hidden states, which hold what the part was given too.
type PartError struct {
	ID    addr.PartID
	Error float64
}

// PartErrors runs the reference over windows, and every part of the model on
// what the reference's gets. Both must be builds of one shape. progress, which
// may be nil, is as that of [Options].
func PartErrors(ctx context.Context, o Options) ([]PartError, error) {
	type sums struct{ difference, own float64 }
	all := map[addr.PartID]*sums{}
	var out []PartError
	for _, id := range o.Reference.Parts(o.Phase) {
		all[id] = &sums{}
		out = append(out, PartError{ID: id})
	}
	err := o.Reference.Beside(o.Model.Model, func(id addr.PartID, own, other []float32) error {
		s := all[id]
		for i, v := range own {
			d := float64(other[i]) - float64(v)
			s.difference += d * d
			s.own += float64(v) * float64(v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer o.Reference.Beside(nil, nil) //nolint:errcheck // ending it cannot fail
	done, total := 0, 0
	for _, w := range o.Windows {
		total += len(w.IDs)
	}
	for _, w := range o.Windows {
		sequence, err := o.Reference.Sequence(o.Phase, w.IDs)
		if err != nil {
			return nil, err
		}
		for {
			rows, err := sequence.Next(ctx)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			done += len(rows)
			if o.Progress != nil {
				o.Progress(done, total)
			}
		}
	}
	for i := range out {
		if s := all[out[i].ID]; s.own > 0 {
			out[i].Error = math.Sqrt(s.difference / s.own)
		}
	}
	return out, nil
}
