package kern

// The vector kernels are exact: they give the bits of the formulas of
// docs/isa.md §3, NaN payloads apart. They handle blocks of 16 numbers, and
// tell how many numbers that was; their callers have plain Go for the rest. A
// nil Set handles none.

// Func is a function of one number and an immediate.
type Func uint8

// The functions of ACT, then those of a number x and the immediate y.
const (
	Exp Func = iota
	Rsqrt
	Tanh
	Sigmoid
	Silu
	GeluTanh
	GeluErf
	Recip
	Softcap // y is the cap
	Relu
	ExpSub // exp(x-y)
	AddImm
	SubImm
	MulImm
	DivImm
	MaxImm // x > y ? x : y
	numFuncs
)

// Func2 is a function of two numbers and an immediate.
type Func2 uint8

// The functions of numbers x and y.
const (
	Add Func2 = iota
	Sub
	Mul
	Div
	Max   // x > y ? x : y
	Scale // (x·imm)·y
	numFuncs2
)

// Fold is a reduction.
type Fold uint8

// The reductions, and what their lanes begin with.
const (
	Sum     Fold = iota // +0
	SumSq               // +0
	Maximum             // -Inf
	numFolds
)

type vectorKernels struct {
	funcs   [numFuncs]func(dst, x *float32, imm float32, n int)
	funcs2  [numFuncs2]func(dst, x, y *float32, imm float32, n int)
	folds   [numFolds]func(lanes, x *float32, n int)
	rotate  func(dst, x *float32, half int, cos, sin *float32, n int)
	notLess func(x *float32, limit float32, n int) int
}

// Apply writes f of x and imm, len(dst) numbers. dst may be x.
func (s *Set) Apply(f Func, dst, x []float32, imm float32) int {
	n := len(dst) / 16
	if s == nil || n == 0 {
		return 0
	}
	x = x[:len(dst)]
	s.vector.funcs[f](&dst[0], &x[0], imm, n)
	return 16 * n
}

// Apply2 writes f of x, y and imm, len(dst) numbers. dst may be x.
func (s *Set) Apply2(f Func2, dst, x, y []float32, imm float32) int {
	n := len(dst) / 16
	if s == nil || n == 0 {
		return 0
	}
	x, y = x[:len(dst)], y[:len(dst)]
	s.vector.funcs2[f](&dst[0], &x[0], &y[0], imm, n)
	return 16 * n
}

// Fold sets lane l to what f makes of numbers l, l+16, .. of x. It leaves
// lanes alone where it handles none.
func (s *Set) Fold(f Fold, lanes *[16]float32, x []float32) int {
	n := len(x) / 16
	if s == nil || n == 0 {
		return 0
	}
	s.vector.folds[f](&lanes[0], &x[0], n)
	return 16 * n
}

// Rotate is ROPE of len(cos) pairs (x[i], x[half+i]).
func (s *Set) Rotate(dst, x []float32, half int, cos, sin []float32) int {
	n := len(cos) / 16
	if s == nil || n == 0 {
		return 0
	}
	dst, x, sin = dst[:half+len(cos)], x[:half+len(cos)], sin[:len(cos)]
	s.vector.rotate(&dst[0], &x[0], 4*half, &cos[0], &sin[0], n)
	return 16 * n
}

// NotLess returns how many numbers, a multiple of 16, come before 16 that are
// not all less than limit.
func (s *Set) NotLess(x []float32, limit float32) int {
	n := len(x) / 16
	if s == nil || n == 0 {
		return 0
	}
	return 16 * s.vector.notLess(&x[0], limit, n)
}

// WidenF16 converts binary16 numbers to F32, exactly.
func (s *Set) WidenF16(dst []float32, src []byte) int {
	if s == nil {
		return 0
	}
	return widenAll(s.widenF16, dst, src)
}

// WidenBF16 converts BF16 numbers to F32, exactly.
func (s *Set) WidenBF16(dst []float32, src []byte) int {
	if s == nil {
		return 0
	}
	return widenAll(s.widenBF16, dst, src)
}

func widenAll(f widen, dst []float32, src []byte) int {
	n := len(dst) / 16
	if n > 0 {
		f(&dst[0], &src[:2*len(dst)][0], n)
	}
	return 16 * n
}

// NarrowBF16 rounds numbers to BF16, to nearest even. A NaN stays one.
func (s *Set) NarrowBF16(dst []byte, src []float32) int {
	n := len(src) / 16
	if s == nil || n == 0 {
		return 0
	}
	s.narrow(&dst[:2*len(src)][0], 2*16, &src[0], n)
	return 16 * n
}
