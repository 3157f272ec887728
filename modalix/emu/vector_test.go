package emu_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/emu/kern"
	"github.com/llima-build/llima/modalix/isa"
)

// vectorCase is one instruction over operands in rows.
type vectorCase struct {
	inst   isa.Inst // without addresses and strides
	x, y   [][]fl   // operand rows as the unit sees them, rounded to their types
	yBytes []byte   // or Y as it is
	want   [][]fl   // before the rounding into D
}

const (
	xAt, yAt, dAt = 0x20000, 0x40000, 0x60000
	extra         = 64 // bytes that rows lie apart
)

func encodeRow(v []fl, t isa.Type) []byte {
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	switch t {
	case isa.BF16:
		return bf16Bytes(f)
	case isa.F32:
		return f32Bytes(f)
	case isa.I32:
		var b []byte
		for _, x := range v {
			b = append(b, i32Bytes(int32(x))...)
		}
		return b
	case isa.I8:
	}
	var b []byte
	for _, x := range v {
		b = append(b, byte(int8(x)))
	}
	return b
}

func stride(row int) uint32 { return uint32((row+31)&^31) + extra }

// place lays rows out at an address of an image of S.
func place(s []byte, at int, rows [][]fl, t isa.Type) (ld uint32) {
	for i, r := range rows {
		b := encodeRow(r, t)
		ld = stride(len(b))
		copy(s[at+i*int(ld):], b)
	}
	return ld
}

// check runs the case and compares every bit of D.
func (c *vectorCase) check(t *testing.T) {
	t.Helper()
	in := c.inst
	s := make([]byte, dAt)
	in.D, in.X = dAt, xAt
	in.LdX = place(s, xAt, c.x, in.TX)
	switch {
	case c.yBytes != nil:
		in.Y = yAt
		copy(s[yAt:], c.yBytes)
	case c.y != nil:
		in.Y = yAt
		if ld := place(s, yAt, c.y, in.TY); in.YShape == isa.Full {
			in.LdY = ld
		}
	}
	width := len(c.want[0])
	in.LdD = stride(width * int(in.TD.Size()))
	if in.Op == isa.RED {
		in.LdD = 0
	}
	for _, set := range append(kern.Sets(), nil) {
		out, err := runWith(t, &object{set: set}, emu.Buffers{In: s}, []isa.Inst{in}, dAt, max(len(c.want)*int(in.LdD), len(c.want)*4))
		if err != nil {
			t.Fatal(err)
		}
		c.compare(t, in, out)
	}
}

func (c *vectorCase) compare(t *testing.T, in isa.Inst, out []byte) {
	t.Helper()
	for m, row := range c.want {
		at := m * int(in.LdD)
		if in.Op == isa.RED {
			at = m * 4
		}
		size := int(in.TD.Size())
		want := encodeRow(row, in.TD)
		got := out[at : at+len(want)]
		for i := range row {
			a, b := got[i*size:(i+1)*size], want[i*size:(i+1)*size]
			if !slices.Equal(a, b) && !bothNaN(a, b, in.TD) {
				t.Fatalf("D[%d,%d] = %x, want %x (%v)", m, i, a, b, row[i])
			}
		}
	}
}

func bothNaN(a, b []byte, t isa.Type) bool {
	switch t {
	case isa.BF16:
		return math.IsNaN(float64(fromBF16(a)[0])) && math.IsNaN(float64(fromBF16(b)[0]))
	case isa.F32:
		return math.IsNaN(float64(toF32(a)[0])) && math.IsNaN(float64(toF32(b)[0]))
	case isa.I32, isa.I8:
	}
	return false
}

// values returns rows of numbers of a type, with corner cases in front.
func values(r *rand.Rand, rows, cols int, t isa.Type, corners bool) [][]fl {
	special := []fl{0, math.Copysign(0, -1), 1, -1, math.Inf(1), math.Inf(-1), math.NaN(), 3e38, -3e38, 1e-40, 88.5, -86.6, 0.624, 0.626}
	out := make([][]fl, rows)
	for m := range out {
		for i := range cols {
			v := fl(float32(r.NormFloat64() * 3))
			if corners && i < len(special) {
				v = special[(i+m)%len(special)]
			}
			if t == isa.BF16 {
				v = fl(fromBF16(bf16Bytes([]float32{float32(v)}))[0])
			}
			out[m] = append(out[m], fl(float32(v)))
		}
	}
	return out
}

func mapRows(x [][]fl, f func(m, i int, v fl) fl) [][]fl {
	out := make([][]fl, len(x))
	for m, row := range x {
		for i, v := range row {
			out[m] = append(out[m], f(m, i, v))
		}
	}
	return out
}

var floatTypes = []isa.Type{isa.F32, isa.BF16}

func TestBinary(t *testing.T) {
	ops := map[isa.Op]func(a, b fl) fl{
		isa.ADD: refAdd,
		isa.SUB: func(a, b fl) fl { return round(a - b) },
		isa.MUL: func(a, b fl) fl { return round(a * b) },
		isa.DIV: func(a, b fl) fl { return round(a / b) },
		isa.MAX: refMax,
	}
	const m, n = 3, 37
	for op, f := range ops {
		for _, tx := range floatTypes {
			for _, td := range floatTypes {
				for _, shape := range []isa.Shape{isa.Full, isa.Row, isa.Col, isa.Imm} {
					t.Run(fmt.Sprintf("%v_%v_%v_%d", op, td, tx, shape), func(t *testing.T) {
						r := rand.New(rand.NewPCG(uint64(op), uint64(shape)))
						ty := tx
						c := vectorCase{x: values(r, m, n, tx, true)}
						y := values(r, m, n, ty, true)
						switch shape {
						case isa.Full:
							c.y = y
						case isa.Row:
							c.y = y[:1]
							y = [][]fl{y[0], y[0], y[0]}
						case isa.Col:
							ty = isa.F32
							c.y = values(r, 1, m, ty, false)
							y = mapRows(y, func(m, _ int, _ fl) fl { return c.y[0][m] })
						case isa.Imm:
							ty = isa.BF16
							y = mapRows(y, func(int, int, fl) fl { return 1.5 })
						}
						c.inst = isa.Inst{Op: op, M: m, N: n, TD: td, TX: tx, TY: ty, YShape: shape}
						if shape == isa.Imm {
							c.inst.Imm = math.Float32bits(1.5)
						}
						c.want = mapRows(c.x, func(m, i int, v fl) fl { return f(v, y[m][i]) })
						c.check(t)
					})
				}
			}
		}
	}
}

func TestConvert(t *testing.T) {
	saturate := func(v, lo, hi fl) fl {
		if math.IsNaN(v) {
			return 0
		}
		return min(max(math.RoundToEven(v), lo), hi) + 0 // no -0
	}
	r := rand.New(rand.NewPCG(1, 1))
	for _, tx := range []isa.Type{isa.BF16, isa.F32, isa.I32, isa.I8} {
		for _, td := range []isa.Type{isa.BF16, isa.F32, isa.I32, isa.I8} {
			x := values(r, 2, 40, tx, tx <= isa.F32)
			x[0][20], x[0][21], x[0][22], x[0][23] = 2.5, 3.5, -2.5, 1000
			x = mapRows(x, func(_, _ int, v fl) fl {
				switch tx {
				case isa.I32:
					return saturate(v*1e6, -1<<24, 1<<24)
				case isa.I8:
					return saturate(v*40, -128, 127)
				case isa.BF16, isa.F32:
				}
				return v
			})
			want := mapRows(x, func(_, _ int, v fl) fl {
				switch td {
				case isa.I32:
					return saturate(v, math.MinInt32, math.MaxInt32)
				case isa.I8:
					return saturate(v, -128, 127)
				case isa.BF16, isa.F32:
				}
				return v
			})
			c := vectorCase{inst: isa.Inst{Op: isa.CVT, M: 2, N: 40, TD: td, TX: tx}, x: x, want: want}
			t.Run(fmt.Sprintf("%v_%v", td, tx), c.check)
		}
	}
}

func TestConvertAllBF16(t *testing.T) {
	// Around every BF16 boundary: the neighbours of each value and of each tie.
	var x []fl
	for h := range 1 << 16 {
		if h%97 != 0 && h&0x7f80 != 0x7f80 && h&0x7f80 != 0 {
			continue
		}
		for _, d := range []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff} {
			x = append(x, fl(math.Float32frombits(uint32(h)<<16|d)))
		}
	}
	for len(x) > 0 {
		n := min(len(x), 4096)
		row := [][]fl{x[:n]}
		c := vectorCase{inst: isa.Inst{Op: isa.CVT, M: 1, N: uint32(n), TD: isa.BF16, TX: isa.F32}, x: row, want: row}
		c.check(t)
		x = x[n:]
	}
}

func TestFunctions(t *testing.T) {
	for mode := isa.FnExp; mode <= isa.FnRelu; mode++ {
		for _, tx := range floatTypes {
			for _, td := range floatTypes {
				r := rand.New(rand.NewPCG(uint64(mode), 8))
				imm := uint32(0)
				if mode == isa.FnSoftcap {
					imm = math.Float32bits(30)
				}
				name := fmt.Sprintf("%d_%v_%v", mode, td, tx)
				act := vectorCase{inst: isa.Inst{Op: isa.ACT, Mode: mode, M: 2, N: 1000, TD: td, TX: tx, Imm: imm}, x: values(r, 2, 1000, tx, true)}
				act.want = mapRows(act.x, func(_, _ int, v fl) fl { return refFunction(mode, v, 30) })
				t.Run("act_"+name, act.check)
				glu := vectorCase{inst: isa.Inst{Op: isa.GLU, Mode: mode, M: 2, N: 48, TD: td, TX: tx, Imm: imm}, x: values(r, 2, 96, tx, true)}
				for _, x := range glu.x {
					var row []fl
					for p := 0; p < len(x); p += 32 {
						for j := range 16 {
							row = append(row, round(refFunction(mode, x[p+j], 30)*x[p+16+j]))
						}
					}
					glu.want = append(glu.want, row)
				}
				t.Run("glu_"+name, glu.check)
			}
		}
	}
}

// TestFunctionsAccuracy compares with package math.
func TestFunctionsAccuracy(t *testing.T) {
	for _, c := range []struct {
		mode   uint32
		lo, hi fl
		exact  func(fl) fl
		abs    fl // bound on the absolute error, or
		rel    fl // on the relative one
	}{
		{isa.FnExp, -86, 88, math.Exp, 0, 1.5e-7},
		{isa.FnTanh, -9, 9, math.Tanh, 0, 2.5e-7},
		{isa.FnSigmoid, -30, 30, func(x fl) fl { return 1 / (1 + math.Exp(-x)) }, 0, 3e-7},
		{isa.FnSilu, -30, 30, func(x fl) fl { return x / (1 + math.Exp(-x)) }, 0, 3e-7},
		{isa.FnGeluErf, -6, 6, func(x fl) fl { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }, 1.5e-6, 0},
		{isa.FnGeluTanh, -6, 6, func(x fl) fl { return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))) }, 1e-6, 0},
	} {
		const n = 4000
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(c.lo + (c.hi-c.lo)*fl(i)/n)
		}
		work := []isa.Inst{{Op: isa.ACT, Mode: c.mode, D: 0x8000, X: 0, M: 1, N: n, LdD: n * 4, LdX: n * 4, TD: isa.F32, TX: isa.F32}}
		out, err := run(t, f32Bytes(x), work, 0x8000, n*4)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range toF32(out) {
			want := c.exact(fl(x[i]))
			if e := math.Abs(fl(v) - want); e > c.abs+c.rel*math.Abs(want) {
				t.Errorf("function %d of %v = %v, want %v", c.mode, x[i], v, want)
				break
			}
		}
	}
}

func TestReduce(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for mode, f := range []func([]fl) fl{refSum, refSumSq, refMaximum} {
		for _, n := range []int{1, 7, 16, 33, 256} {
			for _, tx := range floatTypes {
				c := vectorCase{inst: isa.Inst{Op: isa.RED, Mode: uint32(mode), M: 5, N: uint32(n), TD: isa.F32, TX: tx}, x: values(r, 5, n, tx, mode == 2)}
				for _, row := range c.x {
					c.want = append(c.want, []fl{f(row)})
				}
				t.Run(fmt.Sprintf("%d_%d_%v", mode, n, tx), c.check)
			}
		}
	}
}

func TestNorm(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 3))
	const m, n = 3, 100
	eps := fl(float32(1e-5))
	for _, tx := range floatTypes {
		for _, td := range floatTypes {
			x, y := values(r, m, n, tx, false), values(r, 1, 2*n, tx, false)
			inst := isa.Inst{Op: isa.NORM, M: m, N: n, TD: td, TX: tx, TY: tx, YShape: isa.Row, Imm: math.Float32bits(1e-5)}
			rms := vectorCase{inst: inst, x: x, y: [][]fl{y[0][:n]}}
			for _, row := range x {
				scale := round(1 / round(math.Sqrt(round(round(refSumSq(row)/n)+eps))))
				var out []fl
				for i, v := range row {
					out = append(out, round(round(v*scale)*y[0][i]))
				}
				rms.want = append(rms.want, out)
			}
			t.Run(fmt.Sprintf("rms_%v_%v", td, tx), rms.check)
			layer := vectorCase{inst: inst, x: x, y: y}
			layer.inst.Mode = isa.NormLayer
			for _, row := range x {
				mean := round(refSum(row) / n)
				var centred, out []fl
				for _, v := range row {
					centred = append(centred, round(v-mean))
				}
				scale := round(1 / round(math.Sqrt(round(round(refSumSq(centred)/n)+eps))))
				for i, v := range centred {
					out = append(out, round(round(round(v*scale)*y[0][i])+y[0][n+i]))
				}
				layer.want = append(layer.want, out)
			}
			t.Run(fmt.Sprintf("layer_%v_%v", td, tx), layer.check)
		}
	}
}

func TestSoftmaxMask(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 3))
	const m, n, aux = 7, 100, 2
	spans := []int32{0, 100, 5, 6, 40, 300, 20, 20}
	for _, tx := range floatTypes {
		for _, td := range floatTypes {
			x := values(r, m, n, tx, false)
			inst := isa.Inst{Op: isa.SOFTMAX, M: m, N: n, TD: td, TX: tx, TY: isa.I32, Aux: aux, Imm: math.Float32bits(0.125)}
			seen := func(row, j int) bool { return j >= int(spans[row/aux*2]) && j < int(spans[row/aux*2+1]) }
			soft := vectorCase{inst: inst, x: x, yBytes: i32Bytes(spans...)}
			for row := range x {
				e, top := make([]fl, n), math.Inf(-1)
				for j, v := range x[row] {
					if seen(row, j) {
						top = max(top, round(v*0.125))
					}
				}
				for j, v := range x[row] {
					if seen(row, j) {
						e[j] = refExp(round(round(v*0.125) - top))
					}
				}
				total := refSum(e)
				for j := range e {
					if seen(row, j) {
						e[j] = round(e[j] / total)
					}
				}
				soft.want = append(soft.want, e)
			}
			t.Run(fmt.Sprintf("softmax_%v_%v", td, tx), soft.check)
			mask := vectorCase{inst: inst, x: x, yBytes: i32Bytes(spans...)}
			mask.inst.Op, mask.inst.Imm = isa.MASK, 3
			mask.want = mapRows(x, func(m, i int, v fl) fl {
				if seen(m, i+3) {
					return v
				}
				return math.Inf(-1)
			})
			t.Run(fmt.Sprintf("mask_%v_%v", td, tx), mask.check)
		}
	}
}

func TestExps(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 3))
	const m, n = 3, 50
	x, y, column := values(r, m, n, isa.F32, false), values(r, m, n, isa.BF16, false), values(r, 1, m, isa.F32, false)
	x[0][3], column[0][0] = math.Inf(-1), 2
	f := func(x, y fl) fl {
		if math.IsInf(x, -1) {
			return 0
		}
		return refExp(round(x - y))
	}
	full := vectorCase{inst: isa.Inst{Op: isa.EXPS, M: m, N: n, TD: isa.F32, TX: isa.F32, TY: isa.BF16}, x: x, y: y}
	full.want = mapRows(x, func(m, i int, v fl) fl { return f(v, y[m][i]) })
	full.check(t)
	col := vectorCase{inst: isa.Inst{Op: isa.EXPS, M: m, N: n, TD: isa.BF16, TX: isa.F32, TY: isa.F32, YShape: isa.Col}, x: x, y: column}
	col.want = mapRows(x, func(m, _ int, v fl) fl { return f(v, column[0][m]) })
	col.check(t)
}

func TestRope(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 3))
	const m, n, heads, rotated = 3, 20, 2, 16
	for _, mode := range []uint32{isa.RopeHalf, isa.RopePair} {
		for _, td := range floatTypes {
			x, y := values(r, m, n*heads, isa.F32, false), values(r, m, rotated, isa.F32, false)
			c := vectorCase{inst: isa.Inst{Op: isa.ROPE, Mode: mode, M: m, N: n, Aux: heads, Imm: rotated, TD: td, TX: isa.F32, TY: isa.F32}, x: x, y: y}
			c.want = mapRows(x, func(_, _ int, v fl) fl { return v })
			for row := range x {
				for h := range heads {
					for i := range rotated / 2 {
						p, q := h*n+i, h*n+i+rotated/2
						if mode == isa.RopePair {
							p, q = h*n+2*i, h*n+2*i+1
						}
						cos, sin := y[row][i], y[row][rotated/2+i]
						a, b := x[row][p], x[row][q]
						c.want[row][p] = round(round(a*cos) - round(b*sin))
						c.want[row][q] = round(round(b*cos) + round(a*sin))
					}
				}
			}
			t.Run(fmt.Sprintf("%d_%v", mode, td), c.check)
		}
	}
}

func TestConv(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 4))
	const m, n, taps = 4, 33, 3
	for _, td := range floatTypes {
		x, y := values(r, m+taps-1, n, isa.BF16, false), values(r, taps, n, isa.F32, false)
		c := vectorCase{inst: isa.Inst{Op: isa.CONV, M: m, N: n, Aux: taps, TD: td, TX: isa.BF16, TY: isa.F32}, x: x, y: y}
		c.want = mapRows(x[:m], func(row, i int, _ fl) fl {
			acc := fl(0)
			for j := range taps {
				acc = round(acc + round(y[j][i]*x[row+j][i]))
			}
			return acc
		})
		t.Run(td.String(), c.check)
	}
}

func TestGather(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 5))
	x := values(r, 4, 19, isa.BF16, true)
	c := vectorCase{inst: isa.Inst{Op: isa.GATH, M: 5, N: 19, Aux: 4, TD: isa.F32, TX: isa.BF16, TY: isa.I32}, x: x, yBytes: i32Bytes(3, 0, -1, 3, 2)}
	c.want = [][]fl{x[3], x[0], make([]fl, 19), x[3], x[2]}
	c.check(t)
}

func TestGatherColumns(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 7))
	x := values(r, 3, 20, isa.F32, true)
	index := []int32{19, 0, -1, 7, 7, 3}
	for _, td := range floatTypes {
		c := vectorCase{inst: isa.Inst{Op: isa.GATH, Mode: isa.GatherCols, M: 3, N: 6, Aux: 20, TD: td, TX: isa.F32, TY: isa.I32}, x: x, yBytes: i32Bytes(index...)}
		c.want = nil
		for _, row := range x {
			var out []fl
			for _, i := range index {
				if i < 0 {
					out = append(out, 0)
				} else {
					out = append(out, row[i])
				}
			}
			c.want = append(c.want, out)
		}
		t.Run(td.String(), c.check)
	}
}

func TestTopk(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 6))
	const m, n, k = 3, 304, 20
	x := make([]float32, 2*m*n)
	for i := range x {
		x[i] = float32(r.IntN(60)) // ties
	}
	x[5], x[7], x[n+9] = float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))
	top := isa.Inst{Op: isa.TOPK, D: 0x40000, X: 0, M: m, N: n, LdX: n * 4, LdD: 256, Aux: k, Imm: 100, TD: isa.F32, TX: isa.F32}
	more := top
	more.X, more.Mode, more.Imm = m*n*4, isa.TopkMerge, 100+n
	for i := range 2 {
		work := []isa.Inst{top, more}[:i+1]
		out, err := run(t, f32Bytes(x), work, 0x40000, m*256)
		if err != nil {
			t.Fatal(err)
		}
		for row := range m {
			type pair struct {
				v  fl
				id int32
			}
			var want []pair
			for part := range i + 1 {
				for j := range n {
					want = append(want, pair{fl(x[(part*m+row)*n+j]), int32(100 + part*n + j)})
				}
			}
			slices.SortFunc(want, func(a, b pair) int {
				switch an, bn := math.IsNaN(a.v), math.IsNaN(b.v); {
				case an != bn && an:
					return 1
				case an != bn:
					return -1
				case a.v > b.v:
					return -1
				case a.v < b.v:
					return 1
				}
				return int(a.id - b.id)
			})
			for j := range k {
				v, id := toF32(out[row*256+j*8:][:4])[0], toI32(out[row*256+j*8+4:][:4])[0]
				if fl(v) != want[j].v || id != want[j].id {
					t.Fatalf("row %d pair %d = %v %d, want %v", row, j, v, id, want[j])
				}
			}
		}
	}
}

// TestInPlace runs elementwise instructions with D = X.
func TestInPlace(t *testing.T) {
	x := values(rand.New(rand.NewPCG(8, 7)), 1, 64, isa.F32, false)
	table := values(rand.New(rand.NewPCG(8, 8)), 1, 64, isa.F32, false)
	s := append(encodeRow(x[0], isa.F32), encodeRow(table[0], isa.F32)...)
	for _, in := range []isa.Inst{
		{Op: isa.ADD, Y: 256, TY: isa.F32},
		{Op: isa.ACT, Mode: isa.FnSilu},
		{Op: isa.NORM, Y: 256, TY: isa.F32, YShape: isa.Row},
		{Op: isa.ROPE, Y: 256, TY: isa.F32, Aux: 1, Imm: 64},
		{Op: isa.EXPS, Y: 256, TY: isa.F32},
	} {
		in.M, in.N, in.TD, in.TX, in.LdD, in.LdX = 1, 64, isa.F32, isa.F32, 256, 256
		in.D = 0
		inPlace, err := run(t, slices.Clone(s), []isa.Inst{in}, 0, 256)
		if err != nil {
			t.Fatal(err)
		}
		in.D = 0x400
		apart, err := run(t, slices.Clone(s), []isa.Inst{in}, 0x400, 256)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(inPlace, apart) {
			t.Errorf("%v in place = %v, want %v", in, toF32(inPlace), toF32(apart))
		}
	}
}

func BenchmarkVector(b *testing.B) {
	const m, n = 128, 1024
	for _, in := range []isa.Inst{
		{Op: isa.ADD, Y: 0x100000, TY: isa.F32, LdY: n * 4},
		{Op: isa.NORM, Y: 0x100000, TY: isa.F32, YShape: isa.Row},
		{Op: isa.ACT, Mode: isa.FnSilu},
		{Op: isa.CVT, TD: isa.BF16},
	} {
		in.M, in.N, in.TX, in.X, in.D, in.LdX, in.LdD = m, n, isa.F32, 0, 0x200000, n*4, n*4
		if in.Op != isa.CVT {
			in.TD = isa.F32
		}
		b.Run(in.Op.String(), func(b *testing.B) {
			p := (&object{raw: [][]byte{encodeAll(b, []isa.Inst{in, {Op: isa.END}})}}).load(b)
			machine := emu.NewMachine()
			b.SetBytes(m * n * 4)
			b.ReportAllocs()
			for b.Loop() {
				if err := machine.Run(p, emu.Buffers{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
