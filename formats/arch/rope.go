package arch

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Rope is how the heads of a layer turn with the position.
type Rope struct {
	Name string // "", "local" for sliding layers of their own, "long" for sequences beyond From
	Type string // rope_type
	// Inv are the inverse frequencies, [RotaryDim/2].
	Inv []float32
	// Factor multiplies cosines and sines.
	Factor float32
	// From is the number of positions up to which the rope before this one in
	// the list holds; 0 where it is not about the length.
	From int

	limit int // positions for which it holds; 0: any
}

// Table is the cosines and sines of a rope, [context, Half] each.
type Table struct {
	Name     string // "rope", "rope_local" or "rope_long"
	Cos, Sin []float32
	Half     int
}

// rawRope is how config.json spells ropes.
type rawRope struct {
	RopeTheta           *float64        `json:"rope_theta"`
	RopeLocalBaseFreq   *float64        `json:"rope_local_base_freq"`
	PartialRotaryFactor *float64        `json:"partial_rotary_factor"`
	OriginalPositions   *float64        `json:"original_max_position_embeddings"`
	RopeScaling         *ropeParameters `json:"rope_scaling"` // older
	RopeParameters      *ropeParameters `json:"rope_parameters"`
}

// ropeParameters is rope_parameters, or the older rope_scaling.
type ropeParameters struct {
	RopeTheta           *float64  `json:"rope_theta"`
	RopeType            string    `json:"rope_type"`
	Type                string    `json:"type"` // older spelling of rope_type
	PartialRotaryFactor *float64  `json:"partial_rotary_factor"`
	Factor              *float64  `json:"factor"`
	OriginalPositions   *float64  `json:"original_max_position_embeddings"`
	AttentionFactor     *float64  `json:"attention_factor"`
	LowFreqFactor       *float64  `json:"low_freq_factor"`
	HighFreqFactor      *float64  `json:"high_freq_factor"`
	BetaFast            *float64  `json:"beta_fast"`
	BetaSlow            *float64  `json:"beta_slow"`
	MScale              *float64  `json:"mscale"`
	MScaleAllDim        *float64  `json:"mscale_all_dim"`
	Truncate            *bool     `json:"truncate"`
	ShortFactor         []float64 `json:"short_factor"`
	LongFactor          []float64 `json:"long_factor"`

	Full    *ropeParameters `json:"full_attention"`
	Sliding *ropeParameters `json:"sliding_attention"`
}

// ropes reads how heads turn: by one rope, by one for each type of layer, or
// by one for each range of lengths.
func (c *Config) ropes(raw *rawConfig) error {
	main, local := raw.RopeParameters, (*ropeParameters)(nil)
	switch {
	case main != nil && (main.Full != nil || main.Sliding != nil):
		if !c.family.localRope {
			return fmt.Errorf("rope_parameters for each layer type are not supported for %s", c.Architecture)
		}
		main, local = main.Full, main.Sliding
	case c.family.localRope && main != nil && main.RopeType != "":
		return fmt.Errorf("rope_parameters without full_attention and sliding_attention are not supported for %s", c.Architecture)
	case raw.RopeScaling != nil:
		if main = raw.RopeScaling; c.family.localRope && main.Type != "" && main.RopeType == "" {
			return fmt.Errorf("rope_scaling with type instead of rope_type is not supported for %s", c.Architecture)
		}
	}
	theta := or(raw.RopeTheta, 10000)
	if err := c.rope(raw, "", main, theta); err != nil {
		return err
	}
	if !c.family.localRope {
		return nil
	}
	if c.Ropes[len(c.Ropes)-1].Name != "" {
		return errors.New("rope_type \"longrope\" is not supported beside a rope for sliding layers")
	}
	for i := range c.Layers {
		if c.Layers[i].Window > 0 {
			c.Layers[i].Rope = 1
		}
	}
	if err := c.rope(raw, "local", local, or(raw.RopeLocalBaseFreq, 10000)); err != nil {
		return err
	}
	if len(c.Ropes) != 2 {
		return errors.New("rope_type \"longrope\" is not supported for sliding layers")
	}
	return nil
}

// rope appends the ropes of one set of parameters.
func (c *Config) rope(raw *rawConfig, name string, p *ropeParameters, theta float64) error {
	if p == nil {
		p = &ropeParameters{}
	}
	theta = or(p.RopeTheta, theta)
	if !(theta >= 1 && theta <= 1e12) {
		return fmt.Errorf("rope_theta = %g, want 1 to 1e12", theta)
	}
	if err := c.rotaryDim(or(p.PartialRotaryFactor, or(raw.PartialRotaryFactor, 1))); err != nil {
		return err
	}
	kind, key := p.RopeType, "rope_type"
	if kind == "" {
		kind, key = p.Type, "rope type"
	}
	if alias, ok := c.family.ropeAliases[kind]; ok {
		kind = alias
	}
	if kind == "" {
		kind = ropeDefault
	}
	if kind != ropeDefault && !slices.Contains(c.family.ropeTypes, kind) {
		return fmt.Errorf("%s %q is not supported for %s; these are: default, %s", key, kind, c.Architecture, strings.Join(c.family.ropeTypes, ", "))
	}
	s := scaling{
		theta: theta, dim: c.RotaryDim, params: p,
		positions: float64(c.MaxPositionEmbeddings),
		original:  or(raw.OriginalPositions, or(p.OriginalPositions, float64(c.MaxPositionEmbeddings))),
	}
	ropes, err := s.ropes(kind)
	if err != nil {
		return fmt.Errorf("rope_type %q: %w", kind, err)
	}
	for _, r := range ropes {
		if r.Type = kind; r.Name == "" {
			r.Name = name
		}
		for _, f := range r.Inv {
			if !(f >= 0 && f <= 16) { // beyond, angles leave the range of sinCos
				return fmt.Errorf("rope_type %q: inverse frequency %v", kind, f)
			}
		}
		if !(r.Factor > 0 && r.Factor < 1e6) {
			return fmt.Errorf("rope_type %q: attention factor %v", kind, r.Factor)
		}
		c.Ropes = append(c.Ropes, r)
	}
	return nil
}

// rotaryDim sets how many dims of a head turn.
func (c *Config) rotaryDim(partial float64) error {
	if partial != 1 && !c.family.partialRotary {
		return fmt.Errorf("partial_rotary_factor = %g is not supported for %s; only 1 is", partial, c.Architecture)
	}
	dim := int(float64(c.HeadDim) * min(max(partial, 0), 2))
	if dim < 2 || dim > c.HeadDim || dim%2 != 0 {
		return fmt.Errorf("partial_rotary_factor = %g turns %d of head_dim = %d, want an even number of 2 or more", partial, dim, c.HeadDim)
	}
	c.RotaryDim = dim
	return nil
}

// LongFrom returns the number of positions beyond which a sequence turns by
// the rope "long" as a whole; 0 where none does.
func (c *Config) LongFrom() int { return c.Ropes[len(c.Ropes)-1].From }

// CheckContext reports a context that a rope is not made for.
func (c *Config) CheckContext(tokens int) error {
	for _, r := range c.Ropes {
		if r.limit > 0 && tokens > r.limit {
			return fmt.Errorf("context of %d tokens: beyond max_position_embeddings = %d rope_type %q turns otherwise with every token, which is not supported", tokens, r.limit, r.Type)
		}
	}
	return nil
}

// RopeTables returns cosines and sines of every position, a table a rope. The
// products of inverse frequency and position are rounded to float32 as
// transformers rounds them; the functions are computed here, so that the
// tables are the same bytes on every CPU.
func (c *Config) RopeTables(contextTokens int) ([]Table, error) {
	if err := c.CheckContext(contextTokens); err != nil {
		return nil, err
	}
	var out []Table
	for _, r := range c.Ropes {
		half := len(r.Inv)
		t := Table{Name: "rope", Cos: make([]float32, contextTokens*half), Sin: make([]float32, contextTokens*half), Half: half}
		if r.Name != "" {
			t.Name += "_" + r.Name
		}
		for p := range contextTokens {
			for i, f := range r.Inv {
				angle := float32(float32(p) * f)
				s, k := sinCos(float64(angle))
				t.Cos[p*half+i], t.Sin[p*half+i] = float32(float32(k)*r.Factor), float32(float32(s)*r.Factor)
			}
		}
		out = append(out, t)
	}
	return out, nil
}

// scaling computes the inverse frequencies of one rope, each step rounded as
// transformers' _compute_*_parameters round it (modeling_rope_utils, 5.23).
type scaling struct {
	theta     float64
	dim       int
	params    *ropeParameters
	positions float64 // max_position_embeddings
	original  float64 // those before scaling
}

const ropeDefault = "default"

func (s *scaling) ropes(kind string) ([]Rope, error) {
	switch kind {
	case "linear":
		return s.linear()
	case "dynamic":
		_, err := s.factor()
		return []Rope{{Inv: s.plain(), Factor: 1, limit: int(s.positions)}}, err
	case "llama3":
		return s.llama3()
	case "yarn":
		return s.yarn()
	case "longrope":
		return s.long()
	}
	return []Rope{{Inv: s.plain(), Factor: 1}}, nil
}

// powers returns theta^(2i/dim).
func (s *scaling) powers() []float32 {
	out := make([]float32, s.dim/2)
	lnTheta := ln(float64(float32(s.theta)))
	for i := range out {
		e := float32(float32(2*i) / float32(s.dim))
		out[i] = float32(exp(float64(float64(e) * lnTheta)))
	}
	return out
}

func (s *scaling) plain() []float32 {
	inv := s.powers()
	for i := range inv {
		inv[i] = 1 / inv[i]
	}
	return inv
}

// number returns a parameter that must be there and positive.
func number(key string, v *float64) (float64, error) {
	switch {
	case v == nil:
		return 0, fmt.Errorf("%s is missing", key)
	case !(*v > 0 && *v < 1e9):
		return 0, fmt.Errorf("%s = %g, want more than 0", key, *v)
	}
	return *v, nil
}

func (s *scaling) factor() (float64, error) { return number("factor", s.params.Factor) }

func (s *scaling) linear() ([]Rope, error) {
	f, err := s.factor()
	inv := s.plain()
	for i := range inv {
		inv[i] /= float32(f)
	}
	return []Rope{{Inv: inv, Factor: 1}}, err
}

// llama3 divides low frequencies and leaves high ones, with a ramp between.
func (s *scaling) llama3() ([]Rope, error) {
	f, err := s.factor()
	low, err2 := number("low_freq_factor", s.params.LowFreqFactor)
	high, err3 := number("high_freq_factor", s.params.HighFreqFactor)
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, err
	}
	if high <= low {
		return nil, fmt.Errorf("high_freq_factor = %g, want more than low_freq_factor = %g", high, low)
	}
	inv := s.plain()
	for i, v := range inv {
		wave := float32(float32(2*math.Pi) / v)
		switch {
		case wave > float32(s.original/low):
			inv[i] = v / float32(f)
		case wave < float32(s.original/high):
		default:
			smooth := float32(float32(float32(s.original)/wave)-float32(low)) / float32(high-low)
			inv[i] = float32(float32(float32(1-smooth)*v)/float32(f)) + float32(smooth*v)
		}
	}
	return []Rope{{Inv: inv, Factor: 1}}, nil
}

// yarn blends scaled and plain frequencies by how often they turn within the
// original context (arXiv 2309.00071).
func (s *scaling) yarn() ([]Rope, error) {
	f, err := s.factor()
	if err != nil {
		return nil, err
	}
	mscale := func(m float64) float64 {
		if f <= 1 {
			return 1
		}
		return float64(0.1*m)*ln(f) + 1
	}
	attention := mscale(1)
	if a, b := or(s.params.MScale, 0), or(s.params.MScaleAllDim, 0); a != 0 && b != 0 {
		attention = mscale(a) / mscale(b)
	}
	attention = or(s.params.AttentionFactor, attention)
	turns := func(v *float64, def float64) float64 {
		if or(v, 0) == 0 {
			return def
		}
		return *v
	}
	dimOf := func(rotations float64) float64 {
		return float64(float64(s.dim)*ln(s.original/float64(rotations*2*math.Pi))) / float64(2*ln(s.theta))
	}
	fast, slow := turns(s.params.BetaFast, 32), turns(s.params.BetaSlow, 1)
	if !(fast > 0 && slow > 0 && s.theta > 1 && s.original > 0) {
		return nil, fmt.Errorf("beta_fast = %g, beta_slow = %g, want more than 0", fast, slow)
	}
	low, high := dimOf(fast), dimOf(slow)
	if or(s.params.Truncate, true) {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(s.dim-1))
	if low == high {
		high += 0.001
	}
	inv := s.powers()
	for i, v := range inv {
		ramp := min(max(float32(float32(i)-float32(low))/float32(high-low), 0), 1)
		plain := float32(1 - ramp)
		inv[i] = float32(float32(1/float32(float32(f)*v))*float32(1-plain)) + float32(float32(1/v)*plain)
	}
	return []Rope{{Inv: inv, Factor: float32(attention)}}, nil
}

// long has a factor for each frequency, one list for sequences up to the
// original number of positions and one for longer ones (arXiv 2402.13753).
func (s *scaling) long() ([]Rope, error) {
	factor := s.positions / s.original
	if s.params.Factor != nil {
		factor = *s.params.Factor
	}
	attention := 1.0
	if factor > 1 {
		attention = math.Sqrt(1 + ln(factor)/ln(s.original))
	}
	attention = or(s.params.AttentionFactor, attention)
	if !(s.original >= 2 && s.original <= maxTokens) {
		return nil, fmt.Errorf("original_max_position_embeddings = %g, want 2 to %d", s.original, maxTokens)
	}
	out := []Rope{{Factor: float32(attention)}, {Name: "long", Factor: float32(attention), From: int(s.original)}}
	for i, x := range []struct {
		key    string
		values []float64
	}{{"short_factor", s.params.ShortFactor}, {"long_factor", s.params.LongFactor}} {
		inv := s.powers()
		if len(x.values) != len(inv) {
			return nil, fmt.Errorf("%s has %d entries, want one for each of %d frequencies", x.key, len(x.values), len(inv))
		}
		for j, f := range x.values {
			if !(f > 0 && f < 1e9) {
				return nil, fmt.Errorf("%s[%d] = %g, want more than 0", x.key, j, f)
			}
			inv[j] = 1 / float32(float32(f)*inv[j])
		}
		out[i].Inv = inv
	}
	return out, nil
}
