package lower_test

import (
	"io"
	"testing"

	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/lower"
)

// BenchmarkWriteWeights packs a layer's MLP and output projection.
func BenchmarkWriteWeights(b *testing.B) {
	zero := make([]byte, 64<<20)
	for _, i := range []int{0, 1, 2} {
		s := shapes[i]
		f := s.post(1, false, false)
		if err := ir.Run(f); err != nil {
			b.Fatal(err)
		}
		p, err := lower.Lower(f, lower.MachineLimits())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(s.name, func(b *testing.B) {
			b.SetBytes(p.WeightsSize)
			for b.Loop() {
				if err := p.WriteWeights(io.Discard, func(string) ([]byte, error) { return zero, nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
