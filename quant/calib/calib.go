// Package calib chooses codes and scales of a matrix by what they do to its
// product with real inputs, not by the weights alone: GPTQ (Frantar et al.,
// arXiv 2210.17323) with fitted scales gives a start, coordinate descent on
// codes and scales goes on from there, and the squared error of an output may
// be weighted by the gradients that reach it (as in K-FAC, Martens and Grosse,
// arXiv 1503.05671). Inputs that were held out decide whether that is better
// than what needs no inputs. It sees matrices only and knows neither models
// nor files.
//
// Results are the same bits on every CPU: sums run in one order.
package calib

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant"
)

// Problem is a matrix [N, K] and what it is multiplied with.
type Problem struct {
	N    int
	W    []float32 // [N, K]
	Fit  Moments   // of the inputs that it is fitted to
	Held *Moments  // of inputs that only choose between results; nil: none
	// Grad is the mean of g·gᵀ, g the gradients of the outputs [N], in blocks
	// along its diagonal, one after the other: [b, b] of [GradientBlock](N)
	// outputs each, the last of what is left. nil: every output counts alike.
	Grad []float32
	// GradTokens is how many tokens Grad is a mean over; 0: so many that it has
	// no noise.
	GradTokens int

	first int // row of the matrix that this is a strip of
}

// Moments are means over tokens. x is an input in the model whose earlier
// layers are quantised, f the same in the float model; both are columns [K].
type Moments struct {
	*Inputs
	Lag []float32 // [N, K]: mean of (hf - hq)·xᵀ, what the residual stream lags behind; nil: 0
}

// Inputs are the moments that matrices of the same inputs share.
type Inputs struct {
	K      int
	Tokens int       // that the means run over; 0: so many that there is no noise
	H      []float32 // [K, K]: mean of x·xᵀ
	Cross  []float32 // [K, K]: mean of f·xᵀ; nil: H, the streams are the same

	solved sync.Map // what was computed of them, by what it is
}

// maxGradientBlock bounds how many outputs of a matrix are weighed together.
const maxGradientBlock = 1024

// GradientBlock returns the size of the blocks of gradients of n outputs.
func GradientBlock(n int) int {
	blocks := (n + maxGradientBlock - 1) / maxGradientBlock
	return (n + blocks - 1) / blocks
}

// GradientSize returns the number of elements of all blocks for n outputs.
func GradientSize(n int) int {
	size := 0
	for b := GradientBlock(n); n > 0; n -= b {
		size += min(b, n) * min(b, n)
	}
	return size
}

// Settings are the constants of the method. Dampings are parts of the mean of
// a diagonal, added to it.
type Settings struct {
	TargetDamping float64 // of H where W is moved to make up for earlier layers
	Damping       float64 // of H else, where it has no noise
	Noise         float64 // more of either, times columns by tokens
	GradDamping   float64 // of Grad, where it has no noise
	GradNoise     float64 // more of it, times outputs by tokens
	Sweeps        int     // of coordinate descent over all rows, at most
	// Strip is about how many weights are worked on at a time where rows do not
	// depend on each other; it bounds what is held beside weights and results.
	Strip int
}

// Defaults returns the settings that docs/quality.md measures.
func Defaults() Settings {
	return Settings{TargetDamping: 0.01, Damping: 0.003, Noise: 1.5, GradDamping: 0.02, GradNoise: 1, Sweeps: 6, Strip: 1 << 24}
}

// Method says how a matrix was quantised.
type Method string

// The methods.
const (
	DataFree   Method = "data-free"  // as [quant.Quantize] does
	Calibrated Method = "calibrated" // by inputs
)

// Result is a quantised matrix.
type Result struct {
	Codes  []int8   // [N, K]
	Scales []uint16 // float16 [N, groups]
	Report Report
}

// Report says how a result was chosen.
type Report struct {
	Method Method
	// Target is how far the target was moved from W towards what makes up for
	// earlier layers, 0 to 1.
	Target     float64
	Candidates []Candidate
}

// Candidate is what a method came to. Errors are means over tokens of
// eᵀ·Grad·e, e what an output lacks of the float model's, less what W itself
// would leave of it, as a part of that mean of the outputs: negative where a
// matrix makes up for earlier layers.
type Candidate struct {
	Method Method
	Fit    float64 // on the inputs that it was fitted to
	Held   float64 // on those that were held out, which decide; 0 where none were
}

// Solve quantises a matrix to each of some formats.
func Solve(p *Problem, formats []quant.Format, s Settings) ([]*Result, error) {
	if err := p.check(formats); err != nil {
		return nil, err
	}
	if p.Fit.zero() {
		return p.dataFree(formats)
	}
	list := make([]contest, len(formats))
	for _, part := range p.strips(s.Strip) {
		if err := part.solve(list, formats, s); err != nil {
			return nil, err
		}
	}
	out := make([]*Result, len(formats))
	for i := range list {
		out[i] = list[i].choose(p.N)
	}
	return out, nil
}

// strips divides a matrix into rows that do not depend on each other, some at
// a time; it is one strip where gradients bind them together.
func (p *Problem) strips(weights int) []*Problem {
	if p.Grad != nil {
		return []*Problem{p}
	}
	k := p.Fit.K
	var out []*Problem
	for rows := range slices.Chunk(p.W, max(1, weights/k)*k) {
		first := len(out) * max(1, weights/k)
		x := &Problem{N: len(rows) / k, W: rows, first: first}
		x.Fit = p.Fit.rows(first, x.N)
		if p.Held != nil {
			held := p.Held.rows(first, x.N)
			x.Held = &held
		}
		out = append(out, x)
	}
	return out
}

// rows are the moments as they bear on some rows of the matrix.
func (m *Moments) rows(first, n int) Moments {
	out := Moments{Inputs: m.Inputs}
	if m.Lag != nil {
		out.Lag = m.Lag[first*m.K : (first+n)*m.K]
	}
	return out
}

// solve quantises one strip, and adds it to the contest of each format.
func (p *Problem) solve(list []contest, formats []quant.Format, s Settings) error {
	noise := p.Fit.noise(s)
	target, moved, err := p.target(s.TargetDamping + noise)
	if err != nil {
		return err
	}
	h, err := p.Fit.damped(s.Damping + noise)
	if err != nil {
		return err
	}
	g := p.gradient(s)
	judges := []*judge{p.judge(&p.Fit, g)}
	if p.Held != nil {
		judges = append(judges, p.judge(p.Held, g))
	}
	for i, f := range formats {
		simple, err := p.simple(f)
		if err != nil && p.first > 0 {
			err = fmt.Errorf("rows from %d on: %w", p.first, err)
		}
		if err != nil {
			return err
		}
		m := newMatrix(p, f, target)
		m.gptq(h.u)
		m.descend(h.h, g, s.Sweeps)
		list[i].moved += float64(moved * float64(p.N))
		list[i].add(judges, []choice{{Calibrated, m}, {DataFree, simple}})
	}
	return nil
}

// dataFree quantises where all inputs are zeros: nothing is known of others.
func (p *Problem) dataFree(formats []quant.Format) ([]*Result, error) {
	var out []*Result
	for _, f := range formats {
		m, err := p.simple(f)
		if err != nil {
			return nil, err
		}
		out = append(out, &Result{Codes: m.codes, Scales: m.float16(), Report: Report{Method: DataFree}})
	}
	return out, nil
}

// simple quantises without inputs.
func (p *Problem) simple(f quant.Format) (*matrix, error) {
	raw := make([]byte, 0, 4*len(p.W))
	for _, w := range p.W {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(w))
	}
	codes, scales, err := quant.Quantize(raw, tensor.F32, p.N, p.Fit.K, f)
	if err != nil {
		return nil, err
	}
	m := newMatrix(p, f, p.W)
	m.codes = codes
	for i, s := range scales {
		m.scales[i] = tensor.FromF16(s)
	}
	return m, nil
}

func (p *Problem) check(formats []quant.Format) error {
	for _, f := range formats {
		if err := f.Check(); err != nil {
			return err
		}
		if f.Bits == 16 {
			return fmt.Errorf("calib: BF16 has no codes")
		}
	}
	k := 0
	if p.Fit.Inputs != nil {
		k = p.Fit.K
	}
	if p.N < 1 || k < 1 {
		return fmt.Errorf("calib: matrix [%d, %d] is empty", p.N, k)
	}
	if err := checkFloats("W", p.W, p.N, k, false); err != nil {
		return err
	}
	if err := checkFloats("Grad", p.Grad, 1, GradientSize(p.N), true); err != nil {
		return err
	}
	if err := p.Fit.check("", p.N, k); err != nil {
		return err
	}
	if p.Held == nil {
		return nil
	}
	return p.Held.check("held-out ", p.N, k)
}

func (m *Moments) check(name string, n, k int) error {
	if m.K != k {
		return fmt.Errorf("calib: %sinputs of %d columns, want %d", name, m.K, k)
	}
	if err := checkFloats(name+"H", m.H, k, k, false); err != nil {
		return err
	}
	if err := checkFloats(name+"Cross", m.Cross, k, k, true); err != nil {
		return err
	}
	return checkFloats(name+"Lag", m.Lag, n, k, true)
}

func checkFloats(name string, data []float32, n, k int, optional bool) error {
	if data == nil && optional {
		return nil
	}
	if len(data) != n*k {
		return fmt.Errorf("calib: %s has %d elements, want %d", name, len(data), n*k)
	}
	for i, v := range data {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("calib: %s: row %d, column %d: %v is not finite", name, i/k, i%k, v)
		}
	}
	return nil
}
