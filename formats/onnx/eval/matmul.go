package eval

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/internal/ordered"
)

// gemm is x [M, K] times w, [N, K] with transB, else [K, N], plus a bias [N].
func gemm(a attrs, args []*Value) ([]*Value, error) {
	x, w := args[0], args[1]
	if err := a.only("transA", 0); err != nil {
		return nil, err
	}
	for _, name := range []string{"alpha", "beta"} {
		if v, ok := a.find(name); ok && v.Float != 1 {
			return nil, fmt.Errorf("%s = %v, only 1 is supported", name, v.Float)
		}
	}
	if len(x.Dims) != 2 || len(w.Dims) != 2 || x.DType != onnx.Float || w.DType != onnx.Float {
		return nil, fmt.Errorf("%v%v times %v%v", x.DType, x.Dims, w.DType, w.Dims)
	}
	m, k, n := int(x.Dims[0]), int(x.Dims[1]), int(w.Dims[1])
	transposed := a.integer("transB", 0) != 0
	if transposed {
		n = int(w.Dims[0])
	}
	if n < 1 || k < 1 || (!transposed && int(w.Dims[0]) != k) || (transposed && int(w.Dims[1]) != k) {
		return nil, fmt.Errorf("%v times %v", x.Dims, w.Dims)
	}
	dims := []int64{int64(m), int64(n)}
	size, err := bounded(dims, maxResult)
	if err != nil {
		return nil, err
	}
	out := &Value{DType: onnx.Float, Dims: dims, F: make([]float32, size)}
	product := multiply
	if transposed {
		product = multiplyRows
	}
	inParallel(n, m*k, func(lo, hi int) { product(out.F, x.F, w.F, k, n, lo, hi) })
	if len(args) > 2 && args[2] != nil {
		bias := args[2]
		if bias.DType != onnx.Float || len(bias.F) != n {
			return nil, fmt.Errorf("bias is %v%v, want %d elements", bias.DType, bias.Dims, n)
		}
		for i := range out.F {
			out.F[i] += bias.F[i%n]
		}
	}
	return []*Value{out}, nil
}

// matMul is a product of matrices, or of as many as both operands hold.
func matMul(_ attrs, args []*Value) ([]*Value, error) {
	x, y := args[0], args[1]
	rank := len(x.Dims)
	if rank < 2 || len(y.Dims) != rank || x.DType != onnx.Float || y.DType != onnx.Float {
		return nil, fmt.Errorf("%v%v times %v%v", x.DType, x.Dims, y.DType, y.Dims)
	}
	batch := 1
	for i := range rank - 2 {
		if x.Dims[i] != y.Dims[i] {
			return nil, fmt.Errorf("%v times %v", x.Dims, y.Dims)
		}
		batch *= int(x.Dims[i])
	}
	m, k, n := int(x.Dims[rank-2]), int(x.Dims[rank-1]), int(y.Dims[rank-1])
	if int(y.Dims[rank-2]) != k || n < 1 || k < 1 {
		return nil, fmt.Errorf("%v times %v", x.Dims, y.Dims)
	}
	dims := append(slices.Clone(x.Dims[:rank-1]), int64(n))
	size, err := bounded(dims, maxResult)
	if err != nil {
		return nil, err
	}
	out := &Value{DType: onnx.Float, Dims: dims, F: make([]float32, size)}
	for b := range batch {
		c, l, r := out.F[b*m*n:(b+1)*m*n], x.F[b*m*k:(b+1)*m*k], y.F[b*k*n:(b+1)*k*n]
		inParallel(n, m*k, func(lo, hi int) { multiply(c, l, r, k, n, lo, hi) })
	}
	return []*Value{out}, nil
}

// inParallel divides n columns among the processors where the work, that of a
// column times n, is worth it. No column's sums depend on the division.
func inParallel(n, work int, f func(lo, hi int)) {
	const least = 1 << 16 // products that a goroutine should have
	parts := min(runtime.GOMAXPROCS(0), n*work/least)
	if parts < 2 {
		f(0, n)
		return
	}
	var wg sync.WaitGroup
	for p := range parts {
		wg.Go(func() { f(n*p/parts, n*(p+1)/parts) })
	}
	wg.Wait()
}

// multiply is columns [lo, hi) of c [m, n] = a [m, k] · b [k, n]; every
// element adds products in blocks, k rising.
func multiply(c, a, b []float32, k, n, lo, hi int) {
	m := len(a) / k
	if m == 0 || lo == hi {
		return
	}
	ordered.Multiply(view(c[lo:], m, hi-lo, n), view(a, m, k, k), view(b[lo:], k, hi-lo, n))
}

func view(data []float32, rows, cols, stride int) ordered.Matrix {
	return ordered.Matrix{Data: data, Rows: rows, Cols: cols, Stride: stride}
}

// multiplyRows is columns [lo, hi) of c [m, n] = a [m, k] · b^T, b [n, k],
// with the sums of multiply.
func multiplyRows(c, a, b []float32, k, n, lo, hi int) {
	m := len(a) / k
	const few = 4 // rows, for which turning b around costs more than it saves
	if m < few {
		for i := range m {
			dots(c[i*n+lo:i*n+hi], a[i*k:(i+1)*k], b[lo*k:hi*k])
		}
		return
	}
	const columns = 64 // turned around at once
	for l := lo; l < hi; l += columns {
		w := min(columns, hi-l)
		ordered.Multiply(view(c[l:], m, w, n), view(a, m, k, k), ordered.Transpose(view(b[l*k:], w, k, k)))
	}
}

// dots multiplies x [k] with each row of b. Four rows at a time keep the
// processor busy.
func dots(c, x, b []float32) {
	const step = ordered.Block
	k := len(x)
	for ; len(c) >= 4; c, b = c[4:], b[4*k:] {
		b0, b1, b2, b3 := b[:k], b[k:2*k], b[2*k:3*k], b[3*k:4*k]
		var t0, t1, t2, t3 float32
		for k0 := 0; k0 < k; k0 += step {
			var s0, s1, s2, s3 float32
			for j := k0; j < min(k0+step, k); j++ {
				s0 += float32(x[j] * b0[j])
				s1 += float32(x[j] * b1[j])
				s2 += float32(x[j] * b2[j])
				s3 += float32(x[j] * b3[j])
			}
			t0, t1, t2, t3 = t0+s0, t1+s1, t2+s2, t3+s3
		}
		c[0], c[1], c[2], c[3] = t0, t1, t2, t3
	}
	for l := range c {
		var total float32
		for k0 := 0; k0 < k; k0 += step {
			var s float32
			for j := k0; j < min(k0+step, k); j++ {
				s += float32(x[j] * b[l*k+j])
			}
			total += s
		}
		c[l] = total
	}
}

// rmsNorm is x / sqrt(mean(x²) + epsilon) · gamma, over the last dimension.
func rmsNorm(a attrs, args []*Value) ([]*Value, error) {
	x, gamma := args[0], args[1]
	axis, err := a.axis(-1, len(x.Dims))
	if err != nil {
		return nil, err
	}
	if axis != len(x.Dims)-1 || x.DType != onnx.Float || gamma.DType != onnx.Float {
		return nil, errors.New("want FLOAT tensors, normalised over the last dimension")
	}
	n := int(x.Dims[axis])
	if len(gamma.F) != n || n == 0 {
		return nil, fmt.Errorf("scale has %d elements, want %d", len(gamma.F), n)
	}
	eps := float32(1e-5)
	if e, ok := a.find("epsilon"); ok {
		eps = e.Float
	}
	out := &Value{DType: onnx.Float, Dims: x.Dims, F: make([]float32, len(x.F))}
	for at := 0; at < len(x.F); at += n {
		row, dst := x.F[at:at+n], out.F[at:at+n]
		for i, v := range row {
			dst[i] = float32(v * v)
		}
		r := 1 / sqrt(ordered.Sum(dst)/float32(n)+eps)
		for i, v := range row {
			dst[i] = float32(float32(v*r) * gamma.F[i])
		}
	}
	return []*Value{out}, nil
}

// softmax is over the last dimension; -Inf weighs nothing.
func softmax(a attrs, args []*Value) ([]*Value, error) {
	x := args[0]
	axis, err := a.axis(-1, len(x.Dims))
	if err != nil {
		return nil, err
	}
	if axis != len(x.Dims)-1 || x.DType != onnx.Float || x.Dims[axis] == 0 {
		return nil, errors.New("want a FLOAT tensor, over the last dimension")
	}
	n := int(x.Dims[axis])
	out := &Value{DType: onnx.Float, Dims: x.Dims, F: make([]float32, len(x.F))}
	for at := 0; at < len(x.F); at += n {
		ordered.Softmax(out.F[at:at+n], x.F[at:at+n])
	}
	return []*Value{out}, nil
}

// rotary turns pairs (i, i+R/2) of the first R dims of every head of
// x [batch, M, heads·D] by row m of cos and sin [batch, M, R/2].
func rotary(a attrs, args []*Value) ([]*Value, error) {
	x, cos, sin := args[0], args[1], args[2]
	if err := a.only("interleaved", 0); err != nil {
		return nil, err
	}
	if len(args) > 3 && args[3] != nil {
		return nil, errors.New("position ids are not supported")
	}
	heads := int(a.integer("num_heads", 0))
	if len(x.Dims) != 3 || heads < 1 || int(x.Dims[2])%(2*heads) != 0 || x.DType != onnx.Float || cos.DType != onnx.Float || sin.DType != onnx.Float {
		return nil, fmt.Errorf("%d heads of %v%v", heads, x.DType, x.Dims)
	}
	rows, width := int(x.Dims[0]*x.Dims[1]), int(x.Dims[2])
	dim := width / heads
	half := dim / 2
	if r := a.integer("rotary_embedding_dim", 0); r != 0 {
		if r < 2 || r > int64(dim) || r%2 != 0 {
			return nil, fmt.Errorf("rotary_embedding_dim = %d of heads of %d", r, dim)
		}
		half = int(r / 2)
	}
	for _, t := range []*Value{cos, sin} {
		if len(t.Dims) != 3 || t.Dims[0] != x.Dims[0] || t.Dims[1] != x.Dims[1] || int(t.Dims[2]) != half {
			return nil, fmt.Errorf("a table is %v for x %v of %d heads", t.Dims, x.Dims, heads)
		}
	}
	out := &Value{DType: onnx.Float, Dims: x.Dims, F: slices.Clone(x.F)}
	for m := range rows {
		for h := range heads {
			at := m*width + h*dim
			for i := range half {
				p, q := x.F[at+i], x.F[at+half+i]
				c, s := cos.F[m*half+i], sin.F[m*half+i]
				out.F[at+i] = float32(p*c) - float32(q*s)
				out.F[at+half+i] = float32(q*c) + float32(p*s)
			}
		}
	}
	return []*Value{out}, nil
}
