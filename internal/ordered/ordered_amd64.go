package ordered

import "golang.org/x/sys/cpu"

func best() Level {
	switch {
	case cpu.X86.HasAVX512F:
		return AVX512
	case cpu.X86.HasAVX2:
		return AVX2
	}
	return Plain
}

// axpy32 does whole vectors and returns how many elements those were.
func axpy32(y, x []float32, a float32) int {
	const wide, narrow = 16, 8
	switch n := len(y); {
	case level == AVX512 && n >= wide:
		axpyAVX51232(&y[0], &x[0], a, n/wide)
		return n / wide * wide
	case level == AVX2 && n >= narrow:
		axpyAVX232(&y[0], &x[0], a, n/narrow)
		return n / narrow * narrow
	}
	return 0
}

func axpy64(y, x []float64, a float64) int {
	const wide, narrow = 8, 4
	switch n := len(y); {
	case level == AVX512 && n >= wide:
		axpyAVX51264(&y[0], &x[0], a, n/wide)
		return n / wide * wide
	case level == AVX2 && n >= narrow:
		axpyAVX264(&y[0], &x[0], a, n/narrow)
		return n / narrow * narrow
	}
	return 0
}

// kernelRows returns how many of n rows the next kernel takes.
func kernelRows(n int) int {
	rows := 8
	if level == AVX2 {
		rows = 4
	}
	if n < rows {
		return 1
	}
	return rows
}

// kernelColumns returns how many of n columns the next kernel takes.
func kernelColumns(n int) int {
	if level == AVX512 && n >= 2*panel {
		return 2 * panel
	}
	return panel
}

// multiplyKernel adds to rows × columns elements of c; strides are elements.
func multiplyKernel(rows, columns int, c []float32, ldc int, a []float32, lda int, b []float32, ldb, blocks, size int) {
	// The last elements that the kernel touches.
	_, _, _ = c[(rows-1)*ldc+columns-1], a[(rows-1)*lda+blocks*size-1], b[(blocks*size-1)*ldb+columns-1]
	const bytes = 4
	switch {
	case level == AVX2 && rows == 4:
		multiplyAVX24x16(&c[0], ldc*bytes, &a[0], lda*bytes, &b[0], ldb*bytes, blocks, size)
	case level == AVX2:
		multiplyAVX21x16(&c[0], ldc*bytes, &a[0], lda*bytes, &b[0], ldb*bytes, blocks, size)
	case rows == 8 && columns == 2*panel:
		multiplyAVX5128x32(&c[0], ldc*bytes, &a[0], lda*bytes, &b[0], ldb*bytes, blocks, size)
	case rows == 8:
		multiplyAVX5128x16(&c[0], ldc*bytes, &a[0], lda*bytes, &b[0], ldb*bytes, blocks, size)
	case columns == 2*panel:
		multiplyAVX5121x32(&c[0], ldc*bytes, &a[0], lda*bytes, &b[0], ldb*bytes, blocks, size)
	default:
		multiplyAVX5121x16(&c[0], ldc*bytes, &a[0], lda*bytes, &b[0], ldb*bytes, blocks, size)
	}
}

// function is one of an element and a number that all elements share.
type function struct {
	avx2, avx512 func(dst, x *float32, imm float32, n int)
}

var (
	expSub  = function{expSubAVX2, expSubAVX512}
	divImm  = function{divImmAVX2, divImmAVX512}
	sigmoid = function{sigmoidAVX2, sigmoidAVX512}
)

// elementwise does whole vectors and returns how many elements those were.
func elementwise(f function, y, x []float32, imm float32) int {
	n := len(y) / lanes
	switch {
	case n == 0 || level == Plain:
		return 0
	case level == AVX512:
		f.avx512(&y[0], &x[0], imm, n)
	default:
		f.avx2(&y[0], &x[0], imm, n)
	}
	return n * lanes
}

// greatest sets lane to the greatest elements of whole vectors, and returns
// how many elements those were.
func greatest(lane *[lanes]float32, x []float32) int {
	n := len(x) / lanes
	switch {
	case n == 0 || level == Plain:
		return 0
	case level == AVX512:
		maximumAVX512(&lane[0], &x[0], n)
	default:
		maximumAVX2(&lane[0], &x[0], n)
	}
	return n * lanes
}

// sum is greatest for sums.
func sum(lane *[lanes]float32, x []float32) int {
	n := len(x) / lanes
	switch {
	case n == 0 || level == Plain:
		return 0
	case level == AVX512:
		sumAVX512(&lane[0], &x[0], n)
	default:
		sumAVX2(&lane[0], &x[0], n)
	}
	return n * lanes
}

// turn transposes whole squares of 8 × 8 elements.
func turn(t, m Matrix) (rows, cols int) {
	const side, bytes = 8, 4
	if level == Plain {
		return 0, 0
	}
	rows, cols = m.Rows/side*side, m.Cols/side*side
	for i := 0; i < rows && cols > 0; i += side {
		turnAVX2(&t.Data[i], t.Stride*bytes, &m.Data[i*m.Stride], m.Stride*bytes, cols/side)
	}
	return rows, cols
}
