package tensor

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseCoding is the inverse of [Coding.String].
func ParseCoding(s string) (Coding, error) {
	var c Coding
	bad := fmt.Errorf("%q is no coding; it reads as %q does", s, Coding{Codes: UInt4, GroupSize: 32, Scale: F16, Offset: F16})
	f := strings.Fields(s)
	if len(f) != 3 {
		return c, bad
	}
	for t := Int8; int(t) < len(codeTypes); t++ {
		if codeTypes[t].name == f[0] {
			c.Codes = t
		}
	}
	if f[1] != "channel" {
		n, err := strconv.Atoi(strings.TrimPrefix(f[1], "g"))
		if err != nil || n < 1 || n > 1<<16 || f[1] != fmt.Sprintf("g%d", n) {
			return c, bad
		}
		c.GroupSize = n
	}
	scale, offset, both := strings.Cut(f[2], "+")
	for _, t := range []DType{F16, BF16, F32} {
		if t.String() == scale {
			c.Scale = t
		}
		if both && t.String() == offset {
			c.Offset = t
		}
	}
	if c.Codes == 0 || c.Scale == 0 || both && c.Offset == 0 {
		return c, bad
	}
	return c, nil
}

// Table is a matrix of codes that is read row by row, as a table of
// embeddings: codes [Rows, Cols], those of 4 bits two a byte, the first in the
// low half; then scales [Rows, groups], then offsets where there are some.
type Table struct {
	Coding
	Rows, Cols int
	Data       []byte
}

// sizes returns the bytes of the codes, scales and offsets of a row.
func (t *Table) sizes() (codes, scales, offsets int) {
	g := t.Groups(t.Cols)
	return (t.Cols*t.Codes.Bits() + 7) / 8, g * t.Scale.Bytes(), g * t.Offset.Bytes()
}

// SizeBytes returns how long Data is.
func (t *Table) SizeBytes() int64 {
	a, b, c := t.sizes()
	return int64(t.Rows) * int64(a+b+c)
}

// NewTable lays a matrix out that has been checked.
func NewTable(m *Coded) *Table {
	t := &Table{Coding: m.Coding, Rows: m.Rows, Cols: m.Cols}
	codes, scales, offsets := t.sizes()
	t.Data = make([]byte, t.SizeBytes())
	for i := range m.Rows {
		q, s, o := m.Row(i)
		out := t.Data[i*codes : (i+1)*codes]
		for j, c := range q {
			if t.Codes.Bits() == 8 {
				out[j] = byte(c)
			} else {
				out[j/2] |= byte(c) & 15 << (j % 2 * 4)
			}
		}
		at := m.Rows * codes
		narrow(t.Data[at+i*scales:][:scales], s, t.Scale)
		if o != nil {
			narrow(t.Data[at+m.Rows*scales+i*offsets:][:offsets], o, t.Offset)
		}
	}
	return t
}

func narrow(dst []byte, src []float32, dt DType) {
	if err := FromF32(dst, src, dt); err != nil {
		panic("llima: internal error: " + err.Error())
	}
}

// Row computes row i, [Cols]. Data is as long as SizeBytes.
func (t *Table) Row(dst []float32, i int) {
	codes, scales, offsets := t.sizes()
	q := make([]int8, t.Cols)
	for j := range q {
		switch b := t.Data[i*codes+j*t.Codes.Bits()/8]; {
		case t.Codes.Bits() == 8:
			q[j] = int8(b)
		case t.Codes == UInt4:
			q[j] = int8(b >> (j % 2 * 4) & 15)
		default:
			q[j] = int8(b<<(4-j%2*4)) >> 4
		}
	}
	groups := t.Groups(t.Cols)
	s, at := make([]float32, groups), t.Rows*codes
	widen(s, t.Data[at+i*scales:][:scales], t.Scale)
	var o []float32
	if t.Offset != 0 {
		o = make([]float32, groups)
		widen(o, t.Data[at+t.Rows*scales+i*offsets:][:offsets], t.Offset)
	}
	t.Weights(dst, q, s, o)
}

func widen(dst []float32, src []byte, dt DType) {
	if err := ToF32(dst, src, dt); err != nil {
		panic("llima: internal error: " + err.Error())
	}
}
