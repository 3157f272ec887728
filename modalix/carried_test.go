package modalix_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix/lower"
	"github.com/llima-build/llima/quant/rewrite"
)

// randomCodes are codes over their whole range with scales that make small
// weights; offsets bring their mean to about zero.
func randomCodes(c tensor.Coding, n, k int) *tensor.Coded {
	r := rand.New(rand.NewPCG(uint64(n), uint64(k)))
	m := tensor.NewCoded(c, n, k)
	lo, hi := c.Codes.Range()
	for i := range m.Codes {
		m.Codes[i] = lo + int8(r.IntN(int(hi)-int(lo)+1))
	}
	narrow := func(f float32, dt tensor.DType) float32 {
		switch dt {
		case tensor.F16:
			return tensor.FromF16(tensor.ToF16(f))
		case tensor.BF16:
			return tensor.FromBF16(tensor.ToBF16(f))
		}
		return f
	}
	for i := range m.Scales {
		s := float32(0.1+r.Float64()) * 0.05 / float32(hi)
		m.Scales[i] = narrow(s, c.Scale)
		if c.Offset != 0 {
			m.Offsets[i] = narrow(-s*(float32(lo)+float32(hi))/2+0.01*float32(r.NormFloat64()), c.Offset)
		}
	}
	return m
}

// codings are those that sources have: blocks of GGUF, and packed tensors.
var codings = []tensor.Coding{
	{Codes: tensor.Int4, GroupSize: 32, Scale: tensor.F16},
	{Codes: tensor.UInt4, GroupSize: 32, Scale: tensor.F16, Offset: tensor.F16},
	{Codes: tensor.UInt4, GroupSize: 32, Scale: tensor.F32, Offset: tensor.F32},
	{Codes: tensor.UInt4, GroupSize: 16, Scale: tensor.F32, Offset: tensor.F32},
	{Codes: tensor.Int8, GroupSize: 16, Scale: tensor.F32},
	{Codes: tensor.Int8, GroupSize: 32, Scale: tensor.F16, Offset: tensor.F16},
	{Codes: tensor.Int8, GroupSize: 32, Scale: tensor.F32, Offset: tensor.F32},
	{Codes: tensor.Int8, GroupSize: 256, Scale: tensor.F32},
	{Codes: tensor.Int4, GroupSize: 128, Scale: tensor.BF16},
	{Codes: tensor.UInt4, GroupSize: 128, Scale: tensor.BF16, Offset: tensor.F32},
	{Codes: tensor.Int8, Scale: tensor.F32},
	{Codes: tensor.Int8, Scale: tensor.BF16, Offset: tensor.F32},
	{Codes: tensor.UInt4, Scale: tensor.F16, Offset: tensor.F16},
}

// TestCarriedMatchesEvaluator compiles matrices that a source holds as codes
// of its own, also with so small a tile that K is split, and compares with
// the evaluator on the same graph.
func TestCarriedMatchesEvaluator(t *testing.T) {
	bard, odd := openModel(t), oddModel(t)
	for _, c := range codings {
		for _, m := range []struct {
			name   string
			model  *model
			group  int
			limits lower.Limits
		}{
			{"bard", bard, 128, lower.Limits{}},
			{"bard small", bard, 128, lower.Limits{S: 288 << 10, Tile: 16 << 10}},
			{"odd", odd, 48, lower.Limits{}},
		} {
			if m.model == odd && c.GroupSize > 32 {
				continue // its inputs are no multiple of that
			}
			for _, v := range variants(m.model.cfg, m.group) {
				if v.id.Part == addr.Cache {
					continue
				}
				options := inFormat(16, 0)
				options.Carried = func(name string) (rewrite.Carried, bool) {
					carried := rewrite.Carried{Coding: c}
					if c.Scale == tensor.BF16 { // some matrices want their inputs in another order
						shape := m.model.tensors[name].shape
						carried.Columns = rand.New(rand.NewPCG(uint64(len(name)), 3)).Perm(shape[1])
					}
					return carried, true
				}
				t.Run(strings.ReplaceAll(c.String(), " ", ".")+"/"+m.name+"/"+v.name, func(t *testing.T) {
					compare(t, m.model, v, options, m.limits)
				})
			}
		}
	}
}
