package gradient

import (
	"fmt"
	"slices"

	"github.com/llima-build/llima/internal/ordered"
)

// rules is the table of operators. Those that are missing have no gradient:
// comparisons, and choices by index.
var rules = map[string]func(*node) error{
	"Add":              add,
	"Cast":             same,
	"Concat":           concat,
	"Conv":             conv,
	"Div":              div,
	"Gather":           gather,
	"Gelu":             gelu,
	"Gemm":             gemm,
	"MatMul":           matMul,
	"Mul":              mul,
	"RMSNormalization": rmsNorm,
	"Relu":             elementwise(func(_, y float32) float32 { return step(y) }),
	"Reshape":          same,
	"RotaryEmbedding":  rotary,
	"Sigmoid":          elementwise(func(_, y float32) float32 { return float32(y * (1 - y)) }),
	"Softmax":          softmax,
	"Split":            split,
	"Tanh":             elementwise(func(_, y float32) float32 { return 1 - float32(y*y) }),
	"Transpose":        transpose,
	"Where":            where,
}

func step(y float32) float32 {
	if y > 0 {
		return 1
	}
	return 0
}

// same is for operators that leave the elements and their order as they are.
func same(n *node) error {
	n.add(0, n.start(0))
	return nil
}

// elementwise multiplies by a derivative, made of an element and its result.
func elementwise(slope func(x, y float32) float32) func(*node) error {
	return func(n *node) error {
		x, err := n.float(0)
		if err != nil {
			return err
		}
		d := n.start(0)
		for i, g := range d {
			d[i] = float32(g * slope(x.F[i], n.out[0].F[i]))
		}
		n.add(0, d)
		return nil
	}
}

const (
	nearZero   = 1.0 / 128 // where y/x has too few digits left
	invSqrt2Pi = 0.3989422804
	sqrt2ByPi  = 0.7978845608
	geluCubic  = 0.044715
)

// gelu is x·Φ(x), Φ the distribution of the normal, or 0.5·x·(1 + tanh u) as
// its approximation. Φ and tanh are found from the result.
func gelu(n *node) error {
	a, _ := n.attr("approximate")
	slope := func(x, y float32) float32 {
		phi := float32(0.5) + float32(x*invSqrt2Pi)
		if x > nearZero || x < -nearZero {
			phi = y / x
		}
		return phi + float32(x*float32(invSqrt2Pi*ordered.Exp(float32(float32(-0.5*x)*x))))
	}
	if a.Str == "tanh" {
		slope = func(x, y float32) float32 {
			t := float32(sqrt2ByPi * x)
			if x > nearZero || x < -nearZero {
				t = float32(2*y)/x - 1
			}
			du := float32(sqrt2ByPi * (1 + float32(3*geluCubic*float32(x*x))))
			return float32(0.5*(1+t)) + float32(float32(0.5*x)*float32((1-float32(t*t))*du))
		}
	}
	return elementwise(slope)(n)
}

// add, mul and div take operands of one shape, or one that is repeated.
func add(n *node) error {
	for i := range 2 {
		if n.wanted[i] {
			if err := n.reduce(i, n.start(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func mul(n *node) error {
	if err := n.floats(2); err != nil {
		return err
	}
	for i := range 2 {
		if !n.wanted[i] {
			continue
		}
		if _, err := n.repeats(1 - i); err != nil {
			return err
		}
		d := n.start(i)
		scale(d, n.in[1-i].F)
		if err := n.reduce(i, d); err != nil {
			return err
		}
	}
	return nil
}

// scale multiplies by an operand that is repeated.
func scale(d, by []float32) {
	if len(by) == 1 {
		for j, g := range d {
			d[j] = float32(g * by[0])
		}
		return
	}
	for ; len(d) > 0; d = d[len(by):] {
		for j, v := range by {
			d[j] = float32(d[j] * v)
		}
	}
}

func div(n *node) error {
	if err := n.floats(2); err != nil {
		return err
	}
	if n.wanted[1] {
		return fmt.Errorf("divisor wants a gradient, which is not supported")
	}
	by, err := n.spread(1)
	if err != nil {
		return err
	}
	for j, g := range n.dy[0] {
		by[j] = g / by[j]
	}
	return n.reduce(0, by)
}

// repeats says how an operand fills the result: it is one element, or as many
// as the last dimensions have, again and again.
func (n *node) repeats(i int) (int, error) {
	v, out := n.in[i], n.out[0]
	count, size := len(v.F), len(out.F)
	dims := v.Dims
	for len(dims) > 0 && dims[0] == 1 {
		dims = dims[1:]
	}
	if count < 1 || len(dims) > len(out.Dims) || !slices.Equal(dims, out.Dims[len(out.Dims)-len(dims):]) {
		return 0, fmt.Errorf("%v repeated to %v is not supported", v.Dims, out.Dims)
	}
	return size / count, nil
}

// spread returns an operand in the result's shape.
func (n *node) spread(i int) ([]float32, error) {
	times, err := n.repeats(i)
	return slices.Repeat(n.in[i].F, times), err
}

// reduce adds a gradient in the result's shape to an operand's.
func (n *node) reduce(i int, d []float32) error {
	times, err := n.repeats(i)
	if err != nil {
		return err
	}
	if times == 1 {
		n.add(i, d)
		return nil
	}
	sum := make([]float32, len(n.in[i].F))
	for j, g := range d {
		sum[j%len(sum)] += g
	}
	n.add(i, sum)
	return nil
}

// where passes on what was chosen.
func where(n *node) error {
	c := n.in[0]
	if c.I == nil {
		return fmt.Errorf("condition is missing")
	}
	if !slices.Equal(c.Dims, n.out[0].Dims[len(n.out[0].Dims)-len(c.Dims):]) {
		return fmt.Errorf("%v repeated to %v is not supported", c.Dims, n.out[0].Dims)
	}
	for i := 1; i <= 2; i++ {
		if !n.wanted[i] {
			continue
		}
		d := n.start(i)
		for rest := d; len(rest) > 0; rest = rest[len(c.I):] { // the mask's rows are the last dimensions
			for j, k := range c.I {
				if (k != 0) != (i == 1) {
					rest[j] = 0
				}
			}
		}
		if err := n.reduce(i, d); err != nil {
			return err
		}
	}
	return nil
}
