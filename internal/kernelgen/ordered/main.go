// Command ordered writes the assembly of package ordered; make kernels runs it.
package main

import (
	"fmt"
	"math"

	"github.com/llima-build/llima/internal/kernelgen/vector"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64")
	for _, rows := range []int{1, 8} {
		multiply(vector.AVX512, rows, 1)
		multiply(vector.AVX512, rows, 2)
	}
	for _, rows := range []int{1, 4} {
		multiply(vector.AVX2, rows, 2)
	}
	for _, bits := range []int{32, 64} {
		axpy(vector.AVX512, bits)
		axpy(vector.AVX2, bits)
	}
	for _, l := range []vector.Level{vector.AVX2, vector.AVX512} {
		functions(l)
	}
	vector.Turn("float32")
	Generate()
}

// functions writes the kernels of exponentials.
func functions(l vector.Level) {
	vector.Reduce(l, "maximum", float32(math.Inf(-1)), func(lane, x reg.VecVirtual) reg.VecVirtual { return l.Max(x, lane) })
	vector.Reduce(l, "sum", 0, func(lane, x reg.VecVirtual) reg.VecVirtual { return l.Add(lane, x) })
	one := func(name string, f func(x, imm reg.VecVirtual) reg.VecVirtual) {
		vector.Elementwise(l, name, false, func(x, _, imm reg.VecVirtual) reg.VecVirtual { return f(x, imm) })
	}
	one("expSub", func(x, imm reg.VecVirtual) reg.VecVirtual { return l.Exp(l.Sub(x, imm)) })
	one("divImm", func(x, imm reg.VecVirtual) reg.VecVirtual { return l.Div(x, imm) })
	one("sigmoid", func(x, _ reg.VecVirtual) reg.VecVirtual { return l.Sigmoid(x) })
}

// multiply adds blocks of products to rows of vectors of c. Products are
// rounded before they are added: there is no fused multiply-add here.
func multiply(l vector.Level, rows, vectors int) {
	bytes, columns := l.Bytes(), vectors*l.Lanes
	vector.Kernel(fmt.Sprintf("multiply%s%dx%d", l.Name, rows, columns),
		"func(c *float32, ldc int, a *float32, lda int, b *float32, ldb int, blocks int, size int)",
		fmt.Sprintf("adds to c [%d,%d] the products of a [%[1]d,blocks·size] and b [blocks·size,%[2]d], a block at a time. Strides are bytes.", rows, columns))
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	a := Load(Param("a"), GP64())
	lda := Load(Param("lda"), GP64())
	b := Load(Param("b"), GP64())
	ldb := Load(Param("ldb"), GP64())
	blocks := Load(Param("blocks"), GP64())
	size := Load(Param("size"), GP64())
	at := []reg.Register{a}
	lda3 := GP64()
	if rows > 1 {
		LEAQ(Mem{Base: lda, Index: lda, Scale: 2}, lda3)
	}
	if rows > 4 {
		high := GP64()
		LEAQ(Mem{Base: a, Index: lda, Scale: 4}, high)
		at = append(at, high)
	}
	row := func(m int) Mem {
		x := Mem{Base: at[m/4]}
		switch m % 4 {
		case 1:
			x.Index, x.Scale = lda, 1
		case 2:
			x.Index, x.Scale = lda, 2
		case 3:
			x.Index, x.Scale = lda3, 1
		}
		return x
	}
	sum := make([][]reg.VecVirtual, rows)
	for m := range sum {
		for range vectors {
			sum[m] = append(sum[m], l.Vec())
		}
	}
	left := GP64()
	Label("block")
	for m := range sum {
		for v := range sum[m] {
			l.Zero(sum[m][v])
		}
	}
	MOVQ(size, left)
	Label("product")
	var w []reg.VecVirtual
	for v := range vectors {
		w = append(w, l.Vec())
		VMOVUPS(Mem{Base: b, Disp: bytes * v}, w[v])
	}
	for m := range rows {
		x := l.Vec()
		if vectors > 1 {
			VBROADCASTSS(row(m), x)
		}
		for v := range vectors {
			p := l.Vec()
			if vectors == 1 {
				VMULPS_BCST(row(m), w[v], p)
			} else {
				VMULPS(x, w[v], p)
			}
			VADDPS(p, sum[m][v], sum[m][v])
		}
	}
	for _, r := range at {
		ADDQ(U8(4), r)
	}
	ADDQ(ldb, b)
	DECQ(left)
	JNZ(LabelRef("product"))
	to := GP64()
	MOVQ(c, to)
	for m := range rows {
		for v := range vectors {
			VADDPS(Mem{Base: to, Disp: bytes * v}, sum[m][v], sum[m][v])
			VMOVUPS(sum[m][v], Mem{Base: to, Disp: bytes * v})
		}
		if m < rows-1 {
			ADDQ(ldc, to)
		}
	}
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// axpy adds a·x to y, whole vectors of it.
func axpy(l vector.Level, bits int) {
	bytes := l.Bytes()
	vector.Kernel(fmt.Sprintf("axpy%s%d", l.Name, bits), fmt.Sprintf("func(y, x *float%d, a float%[1]d, n int)", bits),
		fmt.Sprintf("adds a·x to y, n times %d bytes.", bytes))
	y := Load(Param("y"), GP64())
	x := Load(Param("x"), GP64())
	f := l.Vec()
	s := Load(Param("a"), XMM())
	n := Load(Param("n"), GP64())
	if bits == 32 {
		VBROADCASTSS(s, f)
	} else {
		VBROADCASTSD(s, f)
	}
	Label("loop")
	p := l.Vec()
	if bits == 32 {
		VMULPS(Mem{Base: x}, f, p)
		VADDPS(Mem{Base: y}, p, p)
		VMOVUPS(p, Mem{Base: y})
	} else {
		VMULPD(Mem{Base: x}, f, p)
		VADDPD(Mem{Base: y}, p, p)
		VMOVUPD(p, Mem{Base: y})
	}
	ADDQ(U8(bytes), x)
	ADDQ(U8(bytes), y)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
