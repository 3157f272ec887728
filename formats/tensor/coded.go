package tensor

import (
	"fmt"
	"math"
)

// CodeType is the type of the integers that weights are held as.
type CodeType uint8

// The code types of docs/isa.md §4.
const (
	Int8  CodeType = iota + 1 // -128 to 127
	Int4                      // -8 to 7
	UInt4                     // 0 to 15
)

var codeTypes = [...]struct {
	name   string
	bits   int
	lo, hi int8
}{Int8: {"INT8", 8, -128, 127}, Int4: {"INT4", 4, -8, 7}, UInt4: {"UINT4", 4, 0, 15}}

// String returns the name of the type, "INT4" for example.
func (c CodeType) String() string {
	if c > 0 && int(c) < len(codeTypes) {
		return codeTypes[c].name
	}
	return fmt.Sprintf("CodeType(%d)", uint8(c))
}

// Bits returns how many bits a code takes.
func (c CodeType) Bits() int { return codeTypes[c].bits }

// Range returns the least and the greatest code.
func (c CodeType) Range() (lo, hi int8) { return codeTypes[c].lo, codeTypes[c].hi }

// Coding says how a source holds weights as integers: in each group of a row
// a weight is fl(fl(scale·code) + offset), rounded to float32 twice, and the
// product is exact unless the scale is F32 and comes from outside.
type Coding struct {
	Codes     CodeType
	GroupSize int   // weights of a row that share scale and offset; 0: the whole row
	Scale     DType // F16, BF16 or F32: the narrowest of the source's that holds every scale
	Offset    DType // likewise, 0 where there are no offsets
}

// String returns "INT4 g32 F16" or "UINT4 g32 F32+F32", for people.
func (c Coding) String() string {
	group := "channel"
	if c.GroupSize > 0 {
		group = fmt.Sprintf("g%d", c.GroupSize)
	}
	s := fmt.Sprintf("%v %s %v", c.Codes, group, c.Scale)
	if c.Offset != 0 {
		s += "+" + c.Offset.String()
	}
	return s
}

// Groups returns how many groups a row of k weights has.
func (c Coding) Groups(k int) int {
	if c.GroupSize == 0 {
		return 1
	}
	return (k + c.GroupSize - 1) / c.GroupSize
}

// Coded is a matrix [Rows, Cols] of integer codes: the exact weights of a
// quantised source. Scales and Offsets are widened to float32, exactly; each
// can be narrowed to its type without loss.
type Coded struct {
	Coding
	Rows, Cols int
	Codes      []int8    // [Rows, Cols]
	Scales     []float32 // [Rows, Groups(Cols)]
	Offsets    []float32 // likewise, nil where Offset is 0
	// Columns is nil, or says which column of the source's weight each column
	// is: the product is with the input's elements in that order.
	Columns []int
}

// NewCoded returns a matrix of zero codes with room for all of it.
func NewCoded(c Coding, rows, cols int) *Coded {
	m := &Coded{Coding: c, Rows: rows, Cols: cols, Codes: make([]int8, rows*cols), Scales: make([]float32, rows*c.Groups(cols))}
	if c.Offset != 0 {
		m.Offsets = make([]float32, len(m.Scales))
	}
	return m
}

// Row returns the codes, scales and offsets of row i, which alias the matrix.
func (m *Coded) Row(i int) (codes []int8, scales, offsets []float32) {
	g := m.Groups(m.Cols)
	codes, scales = m.Codes[i*m.Cols:(i+1)*m.Cols], m.Scales[i*g:(i+1)*g]
	if m.Offsets != nil {
		offsets = m.Offsets[i*g : (i+1)*g]
	}
	return codes, scales, offsets
}

// Weights puts row i in the source's column order into dst, [Cols].
func (m *Coded) Weights(dst []float32, i int) {
	codes, scales, offsets := m.Row(i)
	if m.Columns == nil {
		m.Coding.Weights(dst, codes, scales, offsets)
		return
	}
	group := m.GroupSize
	if group == 0 {
		group = m.Cols
	}
	for j, col := range m.Columns {
		w := float32(scales[j/group] * float32(codes[j]))
		if offsets != nil {
			w += offsets[j/group]
		}
		dst[col] = w
	}
}

// Weights computes the weights [k] that the codes [k] of one row stand for.
func (c Coding) Weights(dst []float32, codes []int8, scales, offsets []float32) {
	group := c.GroupSize
	if group == 0 {
		group = len(codes)
	}
	for g, s := range scales {
		lo, hi := g*group, min((g+1)*group, len(codes))
		d, q := dst[lo:hi], codes[lo:hi]
		if offsets == nil {
			for i, x := range q {
				d[i] = s * float32(x)
			}
			continue
		}
		o := offsets[g]
		for i, x := range q {
			d[i] = float32(s*float32(x)) + o
		}
	}
}

// Regroup returns the same weights in smaller groups, of a size that divides
// GroupSize: each scale and offset is there for every part of its old group.
// The codes are shared. For a row that is one group any size will do.
func (m *Coded) Regroup(size int) (*Coded, error) {
	old := m.GroupSize
	if old == 0 {
		old = m.Cols
	} else if size < 1 || old%size != 0 {
		return nil, fmt.Errorf("tensor: groups of %d do not divide groups of %d", size, old)
	}
	if size < 1 {
		return nil, fmt.Errorf("tensor: groups of %d", size)
	}
	out := *m
	out.GroupSize = size
	from, to := m.Groups(m.Cols), out.Groups(m.Cols)
	spread := func(in []float32) []float32 {
		if in == nil {
			return nil
		}
		all := make([]float32, 0, m.Rows*to)
		for i := range m.Rows {
			for g := range to {
				all = append(all, in[i*from+g*size/old])
			}
		}
		return all
	}
	out.Scales, out.Offsets = spread(m.Scales), spread(m.Offsets)
	return &out, nil
}

// Check reports the first group that does not hold what the coding says: a
// code outside its type, a scale or an offset that its type cannot hold, or a
// weight that is not finite.
func (m *Coded) Check() error {
	lo, hi := m.Coding.Codes.Range()
	for i, q := range m.Codes {
		if q < lo || q > hi {
			return fmt.Errorf("row %d, column %d: code %d is outside %v", i/m.Cols, i%m.Cols, q, m.Coding.Codes)
		}
	}
	groups := m.Groups(m.Cols)
	most := max(-float64(lo), float64(hi))
	for i, s := range m.Scales {
		o := float32(0)
		if m.Offsets != nil {
			o = m.Offsets[i]
		}
		switch {
		case !(math.Abs(float64(s))*most+math.Abs(float64(o)) <= math.MaxFloat32):
			return fmt.Errorf("row %d, group %d: scale %v and offset %v give weights that are not finite", i/groups, i%groups, s, o)
		case !Fits(s, m.Scale):
			return fmt.Errorf("row %d, group %d: scale %v is no %v", i/groups, i%groups, s, m.Scale)
		case m.Offset != 0 && !Fits(o, m.Offset):
			return fmt.Errorf("row %d, group %d: offset %v is no %v", i/groups, i%groups, o, m.Offset)
		}
	}
	return nil
}

// Fits reports whether a float type holds f exactly.
func Fits(f float32, dt DType) bool {
	switch dt { //nolint:exhaustive // the others are no types of scales
	case F32:
		return true
	case F16:
		return FromF16(ToF16(f)) == f
	case BF16:
		return FromBF16(ToBF16(f)) == f
	}
	return false
}
