package main

import (
	"fmt"

	"github.com/llima-build/llima/internal/kernelgen/vector"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	stepInputs = 16 // of one turn of the inner loop
	line       = 64 // bytes: a dword for each of 16 outputs
)

// dotLoop is a kernel under way: three nested loops over groups, blocks and
// steps of 16 inputs. Sums of a block are apart in even and odd, for any
// number of rows, so that a row's bits do not depend on how many rows there
// are.
type dotLoop struct {
	l         level
	c         decoder
	rows      int
	codes     reg.Register
	constants []reg.VecVirtual
	a         *rowsOfA
	even, odd []reg.VecVirtual
	check     *subnormals // of the codes, where the kernel looks for them
}

// dot writes a kernel for rows of A whose inputs have size bytes. operand
// adds the products with operand i of a line, the n-th of all in the step.
func dot(l level, c decoder, rows, size int, operand func(d *dotLoop, z reg.VecVirtual, i, n int)) {
	name := fmt.Sprintf("dot%s%s", c.name, l.Name)
	if c.wide {
		name += fmt.Sprintf("x%d", rows)
	}
	signature := "func(acc *float32, a *byte, lda int, codes *byte, scales *float32, pitch int, groups int, blocks int, steps int)"
	doc := []string{
		fmt.Sprintf("adds to acc [%d,16] the products of %d rows of a, lda bytes apart, with %d outputs of a panel.", rows, rows, l.Lanes),
		"A block has steps times 16 inputs; scales are pitch bytes apart.",
	}
	if c.checked {
		signature += " uint32"
		doc = append(doc, "It returns a number other than 0 where a code is a subnormal BF16, which it took for zero.")
	}
	vector.Kernel(name, signature, doc...)
	out := Load(Param("acc"), GP64())
	d := &dotLoop{l: l, c: c, rows: rows, a: address(rows), codes: Load(Param("codes"), GP64())}
	scales, pitch := Load(Param("scales"), GP64()), Load(Param("pitch"), GP64())
	groups := Load(Param("groups"), GP64())
	if c.setup != nil {
		d.constants = c.setup()
	}
	if c.checked {
		d.check = newSubnormals()
	}
	acc := l.vecs(rows)
	d.even, d.odd = l.vecs(rows), l.vecs(rows)
	for m := range rows {
		VMOVUPS(Mem{Base: out, Disp: line * m}, acc[m])
	}
	blocks, steps := GP64(), GP64()
	Label("group")
	Load(Param("blocks"), blocks)
	Label("block")
	for m := range rows {
		l.Zero(d.even[m])
		l.Zero(d.odd[m])
	}
	Load(Param("steps"), steps)
	Label("step")
	lines := stepInputs / c.inputs
	for i := range lines {
		d.line(i, operand)
	}
	ADDQ(U32(line*lines), d.codes)
	d.a.advance(uint32(size * stepInputs))
	DECQ(steps)
	JNZ(LabelRef("step"))
	for m := range rows {
		VADDPS(d.odd[m], d.even[m], d.even[m])
		VFMADD231PS(Mem{Base: scales}, d.even[m], acc[m])
	}
	DECQ(blocks)
	JNZ(LabelRef("block"))
	ADDQ(pitch, scales)
	DECQ(groups)
	JNZ(LabelRef("group"))
	for m := range rows {
		VMOVUPS(acc[m], Mem{Base: out, Disp: line * m})
	}
	if c.checked {
		d.check.store()
	}
	VZEROUPPER()
	RET()
}

// line multiplies with one line of the panel.
func (d *dotLoop) line(i int, operand func(d *dotLoop, z reg.VecVirtual, i, n int)) {
	if d.rows == 1 { // weights come from memory
		PREFETCHT0(Mem{Base: d.codes, Disp: line*i + 4096})
	}
	z := d.l.Vec()
	VMOVUPS(Mem{Base: d.codes, Disp: line * i}, z)
	if d.check != nil {
		d.check.look(z)
	}
	for o := range d.c.operands {
		operand(d, z, o, i*d.c.operands+o)
	}
}

// decoded returns operand i of line z.
func (d *dotLoop) decoded(z reg.VecVirtual, i int) reg.VecVirtual {
	if d.c.decode == nil {
		return z
	}
	w := d.l.Vec()
	d.c.decode(z, d.constants, w, i)
	return w
}

// sum returns where the n-th products of a step go.
func (d *dotLoop) sum(m, n int) reg.VecVirtual {
	if n%2 == 1 {
		return d.odd[m]
	}
	return d.even[m]
}

// dotF32 multiplies F32 rows.
func dotF32(l level, c decoder, rows int) {
	dot(l, c, rows, 4, func(d *dotLoop, z reg.VecVirtual, i, n int) {
		w := d.decoded(z, i)
		for m := range rows {
			if l.Lanes == 16 {
				VFMADD231PS_BCST(d.a.row(m, 4*n), w, d.sum(m, n))
				continue
			}
			x := l.Vec()
			VBROADCASTSS(d.a.row(m, 4*n), x)
			VFMADD231PS(x, w, d.sum(m, n))
		}
	})
}

// dotBF16 multiplies BF16 rows, two inputs at a time.
func dotBF16(c decoder, rows int) {
	dot(bf16, c, rows, 2, func(d *dotLoop, z reg.VecVirtual, i, n int) {
		w := d.decoded(z, i)
		for m := range rows {
			x := ZMM()
			VPBROADCASTD(d.a.row(m, 4*n), x)
			dpbf16(x, w, d.sum(m, n))
		}
	})
}

// rowsOfA holds what addresses up to eight rows: rows 0 and 4, and one and
// three strides.
type rowsOfA struct{ low, high, lda, lda3 reg.Register }

func address(rows int) *rowsOfA {
	a := &rowsOfA{low: Load(Param("a"), GP64())}
	if rows > 1 {
		a.lda = Load(Param("lda"), GP64())
	}
	if rows > 2 {
		a.lda3 = GP64()
		LEAQ(Mem{Base: a.lda, Index: a.lda, Scale: 2}, a.lda3)
	}
	if rows > 4 {
		a.high = GP64()
		LEAQ(Mem{Base: a.low, Index: a.lda, Scale: 4}, a.high)
	}
	return a
}

func (a *rowsOfA) row(m, disp int) Mem {
	at := Mem{Base: a.low, Disp: disp}
	if m >= 4 {
		at.Base = a.high
	}
	switch m % 4 {
	case 1:
		at.Index, at.Scale = a.lda, 1
	case 2:
		at.Index, at.Scale = a.lda, 2
	case 3:
		at.Index, at.Scale = a.lda3, 1
	}
	return at
}

func (a *rowsOfA) advance(n uint32) {
	ADDQ(U32(n), a.low)
	if a.high != nil {
		ADDQ(U32(n), a.high)
	}
}
