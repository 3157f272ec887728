package gradient

import (
	"fmt"
	"math"

	"github.com/llima-build/llima/internal/ordered"
)

// gemm is x [M, K] · wᵀ [K, N], plus a bias; x alone gets a gradient.
func gemm(n *node) error {
	w, err := n.float(1)
	if err != nil {
		return err
	}
	if n.integer("transB", 0) != 1 || len(w.Dims) != 2 || n.wanted[1] {
		return fmt.Errorf("want transB = 1 and no gradient of the matrix")
	}
	rows, k := int(w.Dims[0]), int(w.Dims[1])
	m := len(n.dy[0]) / rows
	d := make([]float32, m*k)
	ordered.Multiply(ordered.Dense(d, m, k), ordered.Dense(n.dy[0], m, rows), ordered.Dense(w.F, rows, k))
	n.add(0, d)
	return nil
}

// matMul is x [B, M, K] · y [B, K, N].
func matMul(n *node) error {
	if err := n.floats(2); err != nil {
		return err
	}
	x, y := n.in[0], n.in[1]
	rank := len(x.Dims)
	m, k, width := int(x.Dims[rank-2]), int(x.Dims[rank-1]), int(y.Dims[rank-1])
	batch := len(x.F) / (m * k)
	dx, dy := make([]float32, len(x.F)), make([]float32, len(y.F))
	for b := range batch {
		l, r := ordered.Dense(x.F[b*m*k:(b+1)*m*k], m, k), ordered.Dense(y.F[b*k*width:(b+1)*k*width], k, width)
		g := ordered.Dense(n.dy[0][b*m*width:(b+1)*m*width], m, width)
		if n.wanted[0] {
			ordered.Multiply(ordered.Dense(dx[b*m*k:(b+1)*m*k], m, k), g, ordered.Transpose(r))
		}
		if n.wanted[1] {
			ordered.Multiply(ordered.Dense(dy[b*k*width:(b+1)*k*width], k, width), ordered.Transpose(l), g)
		}
	}
	if n.wanted[0] {
		n.add(0, dx)
	}
	if n.wanted[1] {
		n.add(1, dy)
	}
	return nil
}

// rmsNorm is x·r·gamma, r = 1/sqrt(mean(x²) + epsilon), over the last dimension.
func rmsNorm(n *node) error {
	if err := n.floats(2); err != nil {
		return err
	}
	if n.wanted[1] {
		return fmt.Errorf("no gradient of the scale is supported")
	}
	x, gamma := n.in[0].F, n.in[1].F
	eps := float32(1e-5)
	if e, ok := n.attr("epsilon"); ok {
		eps = e.Float
	}
	d := n.start(0)
	width := len(gamma)
	for at := 0; at < len(x); at += width {
		var squares, dot float64
		for i, w := range gamma {
			v := float64(x[at+i])
			squares += float64(v * v)
			dot += float64(float64(float64(d[at+i])*float64(w)) * v)
		}
		r := 1 / math.Sqrt(squares/float64(width)+float64(eps))
		along := float64(dot/float64(width)) * float64(r*r)
		for i, w := range gamma {
			g := float64(float64(d[at+i]) * float64(w))
			d[at+i] = float32(float64(r * (g - float64(along*float64(x[at+i])))))
		}
	}
	n.add(0, d)
	return nil
}

// softmax is over the last dimension.
func softmax(n *node) error {
	y := n.out[0]
	width := int(y.Dims[len(y.Dims)-1])
	d := n.start(0)
	for at := 0; at < len(d); at += width {
		p, g := y.F[at:at+width], d[at:at+width]
		dot := 0.0
		for i, v := range p {
			dot += float64(float64(v) * float64(g[i]))
		}
		for i, v := range p {
			g[i] = float32(v * float32(float64(g[i])-dot))
		}
	}
	n.add(0, d)
	return nil
}

// rotary turns pairs back.
func rotary(n *node) error {
	if err := n.floats(3); err != nil {
		return err
	}
	x, cos, sin := n.in[0], n.in[1].F, n.in[2].F
	if n.wanted[1] || n.wanted[2] {
		return fmt.Errorf("no gradient of the tables is supported")
	}
	heads, width := int(n.integer("num_heads", 1)), int(x.Dims[2])
	rows, dim := len(x.F)/width, width/heads
	half := len(cos) / rows
	d := n.start(0)
	for m := range rows {
		for h := range heads {
			at := m*width + h*dim
			for i := range half {
				p, q := d[at+i], d[at+half+i]
				c, s := cos[m*half+i], sin[m*half+i]
				d[at+i] = float32(p*c) + float32(q*s)
				d[at+half+i] = float32(q*c) - float32(p*s)
			}
		}
	}
	n.add(0, d)
	return nil
}

// conv is a convolution of every channel with taps of its own:
// x [1, C, T], w [C, 1, taps].
func conv(n *node) error {
	if err := n.floats(2); err != nil {
		return err
	}
	if n.wanted[1] {
		return fmt.Errorf("no gradient of the taps is supported")
	}
	x, w := n.in[0], n.in[1]
	channels, have, taps := int(x.Dims[1]), int(x.Dims[2]), int(w.Dims[2])
	rows := have - taps + 1
	d := make([]float32, len(x.F))
	for c := range channels {
		to, g, by := d[c*have:(c+1)*have], n.dy[0][c*rows:(c+1)*rows], w.F[c*taps:(c+1)*taps]
		for m, v := range g {
			for j, t := range by {
				to[m+j] += float32(t * v)
			}
		}
	}
	n.add(0, d)
	return nil
}
