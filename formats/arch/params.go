package arch

import (
	"fmt"

	"github.com/llima-build/llima/internal/addr"
)

// Params are the sizes that a build chooses, in tokens.
type Params struct {
	ContextTokens, GroupTokens, MaskTokens int
	ReturnLogits                           bool
}

// maxTokens bounds the sizes of a build.
const maxTokens = 1 << 24

// check reports sizes that no graph can have.
func (p Params) check() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"context", p.ContextTokens}, {"group", p.GroupTokens}, {"mask", p.MaskTokens}} {
		if f.value < 1 || f.value > maxTokens {
			return fmt.Errorf("%s of %d tokens, want 1 to %d", f.name, f.value, maxTokens)
		}
		if p.ContextTokens%f.value != 0 {
			return fmt.Errorf("%s of %d tokens does not divide the context of %d", f.name, f.value, p.ContextTokens)
		}
	}
	return nil
}

// Windows lists the cache windows of a phase, rising, in tokens.
func (c *Config) Windows(phase addr.Phase, p Params) []int {
	step := p.GroupTokens
	if phase == addr.Decode {
		step = p.MaskTokens
	}
	var out []int
	for w := step; step > 0 && w <= p.ContextTokens; w += step {
		out = append(out, w)
	}
	return out
}

// Rows returns how many tokens a program of the phase handles.
func (p Params) Rows(phase addr.Phase) int {
	if phase == addr.Prefill {
		return p.GroupTokens
	}
	return 1
}
