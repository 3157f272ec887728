// Package ordered computes with vectors and matrices in one stated order, so
// that results are the same bits on every CPU: what reaches an artifact may
// depend on them. Every product is rounded before it is added, and sums run in
// the order that the comments give. Vector instructions work on many sums at
// once, never on one. ordered_amd64.s is written by internal/kernelgen (make
// kernels).
package ordered

// Level says which instructions are used.
type Level uint8

// The levels, each including those before it.
const (
	Plain Level = iota
	AVX2
	AVX512
)

// level is what this CPU has; tests lower it.
var level = best()

// Block is how many products of an element are summed before their sum is
// added to the element.
const Block = 32

// panel is how many columns a kernel takes at least.
const panel = 16

// Axpy adds a·x to y: y[i] = fl(y[i] + fl(a·x[i])). x is at least as long as y.
func Axpy(y, x []float32, a float32) {
	x = x[:len(y)]
	n := axpy32(y, x, a)
	y, x = y[n:], x[n:]
	for i, v := range x {
		y[i] += float32(a * v)
	}
}

// Axpy64 is [Axpy] for float64.
func Axpy64(y, x []float64, a float64) {
	x = x[:len(y)]
	n := axpy64(y, x, a)
	y, x = y[n:], x[n:]
	for i, v := range x {
		y[i] += float64(a * v)
	}
}

// Matrix is a row-major view: element (i, j) is Data[i·Stride+j].
type Matrix struct {
	Data       []float32
	Rows, Cols int
	Stride     int
}

// Dense returns a matrix without gaps over data.
func Dense(data []float32, rows, cols int) Matrix {
	return Matrix{Data: data, Rows: rows, Cols: cols, Stride: cols}
}

// check panics where a view exceeds its data.
func (m Matrix) check() {
	if m.Rows < 1 || m.Cols < 1 || m.Stride < m.Cols || len(m.Data) < (m.Rows-1)*m.Stride+m.Cols {
		panic("llima: internal error: ordered: a matrix exceeds its data")
	}
}

// Multiply adds a·b to c, [Rows, Cols] each. Every element of c adds the sums
// of blocks of [Block] products, k rising, in a block and from block to block.
func Multiply(c, a, b Matrix) {
	c.check()
	a.check()
	b.check()
	if a.Rows != c.Rows || b.Cols != c.Cols || a.Cols != b.Rows {
		panic("llima: internal error: ordered: shapes do not fit")
	}
	if level == Plain {
		multiplyPlain(c, a, b)
		return
	}
	whole := c.Cols / panel * panel
	for j := 0; j < whole; {
		n := kernelColumns(whole - j)
		multiplyPanel(n, c.Data[j:], c.Stride, a, b.Data[j:], b.Stride)
		j += n
	}
	rest := c.Cols - whole
	if rest == 0 {
		return
	}
	// The last columns go through a panel filled up with zeros.
	wide, sums := make([]float32, b.Rows*panel), make([]float32, c.Rows*panel)
	for k := range b.Rows {
		copy(wide[k*panel:], b.Data[k*b.Stride+whole:][:rest])
	}
	for i := range c.Rows {
		copy(sums[i*panel:], c.Data[i*c.Stride+whole:][:rest])
	}
	multiplyPanel(panel, sums, panel, a, wide, panel)
	for i := range c.Rows {
		copy(c.Data[i*c.Stride+whole:][:rest], sums[i*panel:])
	}
}

// multiplyPanel adds to columns of c that a kernel takes at once.
func multiplyPanel(columns int, c []float32, ldc int, a Matrix, b []float32, ldb int) {
	blocks, rest := a.Cols/Block, a.Cols%Block
	for i := 0; i < a.Rows; {
		n := kernelRows(a.Rows - i)
		x, y := a.Data[i*a.Stride:], c[i*ldc:]
		if blocks > 0 {
			multiplyKernel(n, columns, y, ldc, x, a.Stride, b, ldb, blocks, Block)
		}
		if rest > 0 {
			multiplyKernel(n, columns, y, ldc, x[blocks*Block:], a.Stride, b[blocks*Block*ldb:], ldb, 1, rest)
		}
		i += n
	}
}

// multiplyPlain is what the kernels compute, without them.
func multiplyPlain(c, a, b Matrix) {
	sum := make([]float32, c.Cols)
	for i := range c.Rows {
		x, row := a.Data[i*a.Stride:][:a.Cols], c.Data[i*c.Stride:][:c.Cols]
		for k0 := 0; k0 < a.Cols; k0 += Block {
			clear(sum)
			for k := k0; k < min(k0+Block, a.Cols); k++ {
				f := x[k]
				for j, w := range b.Data[k*b.Stride:][:b.Cols] {
					sum[j] += float32(f * w)
				}
			}
			for j, s := range sum {
				row[j] += s
			}
		}
	}
}

// Transpose returns the transpose of m, without gaps.
func Transpose(m Matrix) Matrix {
	m.check()
	t := Dense(make([]float32, m.Rows*m.Cols), m.Cols, m.Rows)
	rows, cols := turn(t, m)
	turnPlain(t, m, 0, cols, rows)
	turnPlain(t, m, rows, 0, m.Rows)
	return t
}

// turnPlain transposes rows [i, end) from column j on.
func turnPlain(t, m Matrix, i, j, end int) {
	const side = 32 // a square at a time, so that both sides stay in cache
	for i0 := i; i0 < end; i0 += side {
		for j0 := j; j0 < m.Cols; j0 += side {
			for i := i0; i < min(i0+side, end); i++ {
				for j, v := range m.Data[i*m.Stride+j0 : i*m.Stride+min(j0+side, m.Cols)] {
					t.Data[(j0+j)*t.Stride+i] = v
				}
			}
		}
	}
}
