package compressedtensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/llima-build/llima/formats/tensor"
)

// stored is the bytes of a weight's parts; nil where there is none.
type stored struct{ codes, scales, zeros, index, shape []byte }

// maxElements bounds a weight, so that no product of its sizes overflows.
const maxElements = 1 << 40

// check checks types and shapes of the parts against each other, and sets the
// weight's shape as far as they tell it: that of packed codes may be less by
// part of a word.
func (w *Weight) check() error {
	codes, a := w.Parts[0], w.args
	if len(codes.Shape) != 2 {
		return fmt.Errorf("shape %v, want a matrix", codes.Shape)
	}
	w.Shape = []int{codes.Shape[0], codes.Shape[1]}
	want := tensor.I8
	if a.format == packed {
		want = tensor.I32
		w.Shape[1] *= w.perWord()
	}
	if codes.DType != want {
		return fmt.Errorf("codes of %v, want %v", codes.DType, want)
	}
	if n := w.Shape[0]; n < 1 || w.Shape[1] < 1 || n > maxElements/w.Shape[1] {
		return fmt.Errorf("shape %v is out of range", codes.Shape)
	}
	scale, ok := w.part(scaleSuffix)
	switch {
	case !ok:
		return fmt.Errorf("%s is missing", scaleSuffix[1:])
	case scale.DType != tensor.F32 && scale.DType != tensor.F16 && scale.DType != tensor.BF16:
		return fmt.Errorf("%s of %v, want F32, F16 or BF16", scaleSuffix[1:], scale.DType)
	}
	if a.format == packed {
		if t, ok := w.part(shapeSuffix); !ok || t.DType != tensor.I64 && t.DType != tensor.I32 || len(t.Shape) != 1 || t.Shape[0] != 2 {
			return fmt.Errorf("%s is missing or not two integers", shapeSuffix[1:])
		}
	}
	zero, ok := w.part(zeroSuffix)
	switch {
	case !ok && !a.symmetric():
		return fmt.Errorf("%s is missing, and the scheme is asymmetric", zeroSuffix[1:])
	case ok && !a.symmetric() && zero.DType != tensor.I8 && (zero.DType != tensor.I32 || a.format != packed):
		return fmt.Errorf("%s of %v, want I8, or I32 where it is packed", zeroSuffix[1:], zero.DType)
	}
	if t, ok := w.part(indexSuffix); ok && (t.DType != tensor.I32 && t.DType != tensor.I64 || a.Strategy != perGroup) {
		return fmt.Errorf("%s of %v for strategy %s, want I32 and groups", indexSuffix[1:], t.DType, a.Strategy)
	}
	return nil
}

// perWord returns how many codes a packed word of 32 bits holds.
func (w *Weight) perWord() int { return 32 / w.args.Bits }

// carry does what [Model.Carry] says.
func (w *Weight) carry(s stored) (*tensor.Coded, error) {
	n, k, err := w.size(s.shape)
	if err != nil {
		return nil, err
	}
	groupSize := 0
	if w.args.Strategy == perGroup {
		groupSize = *w.args.GroupSize
	}
	groups := tensor.Coding{GroupSize: groupSize}.Groups(k)
	scales, err := w.readScales(s.scales, n, groups)
	if err != nil {
		return nil, err
	}
	zeros, err := w.readZeros(s.zeros, n, groups)
	if err != nil {
		return nil, err
	}
	codes, err := w.readCodes(s.codes, n, k)
	if err != nil {
		return nil, err
	}
	scale, _ := w.part(scaleSuffix)
	m := &tensor.Coded{
		Coding: tensor.Coding{Codes: tensor.Int8, GroupSize: groupSize, Scale: scale.DType},
		Rows:   n, Cols: k, Codes: codes, Scales: scales,
	}
	if w.args.Bits == 4 {
		m.Coding.Codes = tensor.Int4
	}
	if m.Columns, err = w.columns(s.index, k, groupSize); err != nil {
		return nil, err
	}
	if m.Columns != nil {
		reorder(codes, n, m.Columns)
	}
	if zeros != nil {
		if err := fold(m, zeros); err != nil {
			return nil, err
		}
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	return m, nil
}

// Coding returns how [Model.Carry] holds a compressed weight. Where every zero
// point is 0 it leaves the offsets out, which only the bytes tell.
func (w Weight) Coding() tensor.Coding {
	scale, _ := w.part(scaleSuffix)
	c := tensor.Coding{Codes: tensor.Int8, Scale: scale.DType}
	if w.args.Strategy == perGroup {
		c.GroupSize = *w.args.GroupSize
	}
	switch {
	case w.args.symmetric():
		if w.args.Bits == 4 {
			c.Codes = tensor.Int4
		}
	case w.args.Bits == 4 && scale.DType != tensor.F32:
		c.Codes, c.Offset = tensor.UInt4, tensor.F32
	case w.args.Bits == 8:
		c.Offset = tensor.F32
	}
	return c
}

// size reads weight_shape, or takes the codes' own.
func (w *Weight) size(shape []byte) (n, k int, err error) {
	n, k = w.Shape[0], w.Shape[1]
	if w.args.format != packed {
		return n, k, nil
	}
	t, _ := w.part(shapeSuffix)
	dims, err := integers(shape, t.DType, 2)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", shapeSuffix[1:], err)
	}
	if dims[0] != int64(n) || dims[1] > int64(k) || dims[1] <= int64(k-w.perWord()) {
		return 0, 0, fmt.Errorf("%s: %v, and the codes fill %v", shapeSuffix[1:], dims, w.Shape)
	}
	return n, int(dims[1]), nil
}

// integers reads count numbers.
func integers(b []byte, dt tensor.DType, count int) ([]int64, error) {
	if size := dt.Bytes(); size == 0 || len(b)/size != count || len(b)%size != 0 {
		return nil, fmt.Errorf("%d bytes of %v, want %d numbers", len(b), dt, count)
	}
	out := make([]int64, count)
	for i := range out {
		switch dt { //nolint:exhaustive // check let only these through
		case tensor.I8:
			out[i] = int64(int8(b[i]))
		case tensor.I32:
			out[i] = int64(int32(binary.LittleEndian.Uint32(b[4*i:])))
		default:
			out[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
		}
	}
	return out, nil
}

// readScales returns the scales [n, groups]; one for all is repeated.
func (w *Weight) readScales(b []byte, n, groups int) ([]float32, error) {
	t, _ := w.part(scaleSuffix)
	have, want := len(b)/t.DType.Bytes(), n*groups
	if w.args.Strategy == perTensor {
		want = 1
	}
	if have != want {
		return nil, fmt.Errorf("%s: %d scales, want %d", scaleSuffix[1:], have, want)
	}
	out := make([]float32, n*groups)
	if err := tensor.ToF32(out[:have], b, t.DType); err != nil {
		return nil, err
	}
	for i := have; i < len(out); i++ {
		out[i] = out[0]
	}
	for i, s := range out {
		if !(s >= 0 && s <= math.MaxFloat32) || math.Signbit(float64(s)) {
			return nil, fmt.Errorf("%s: row %d, group %d: scale %v, want a number that is not negative", scaleSuffix[1:], i/groups, i%groups, s)
		}
	}
	return out, nil
}

// readZeros returns the zero points [n, groups], nil where all are 0. They
// are stored like codes: plain, or packed along the rows.
func (w *Weight) readZeros(b []byte, n, groups int) ([]int, error) {
	t, ok := w.part(zeroSuffix)
	if !ok {
		return nil, nil
	}
	if w.args.symmetric() { // older releases wrote zeros
		for i, v := range b {
			if v != 0 {
				return nil, fmt.Errorf("%s: byte %d is %d, want 0 in a symmetric scheme", zeroSuffix[1:], i, v)
			}
		}
		return nil, nil
	}
	want := n * groups
	if w.args.Strategy == perTensor {
		want = 1
	}
	out := make([]int, n*groups)
	if t.DType == tensor.I8 {
		if len(b) != want {
			return nil, fmt.Errorf("%s: %d zero points, want %d", zeroSuffix[1:], len(b), want)
		}
		for i := range out {
			out[i] = int(int8(b[i%want]))
		}
	} else {
		per := w.perWord()
		words := (n + per - 1) / per
		if len(b) != 4*words*groups {
			return nil, fmt.Errorf("%s: %d bytes, want %d words for %d rows", zeroSuffix[1:], len(b), words*groups, n)
		}
		for i := range n {
			for g := range groups {
				word := binary.LittleEndian.Uint32(b[4*(i/per*groups+g):])
				out[i*groups+g] = w.unpack(word, i%per)
			}
		}
	}
	for i, z := range out {
		if half := 1 << (w.args.Bits - 1); z < -half || z >= half {
			return nil, fmt.Errorf("%s: row %d, group %d: zero point %d does not fit %d bits", zeroSuffix[1:], i/groups, i%groups, z, w.args.Bits)
		}
	}
	for _, z := range out {
		if z != 0 {
			return out, nil
		}
	}
	return nil, nil
}

// unpack returns the i-th number of a packed word.
func (w *Weight) unpack(word uint32, i int) int {
	bits := w.args.Bits
	return int(word>>(i*bits)&(1<<bits-1)) - 1<<(bits-1)
}

// readCodes returns the codes [n, k].
func (w *Weight) readCodes(b []byte, n, k int) ([]int8, error) {
	if w.args.format != packed {
		if len(b) != n*k {
			return nil, fmt.Errorf("%d codes, want %d", len(b), n*k)
		}
		out := make([]int8, n*k)
		half := int8(1 << (w.args.Bits - 2))
		for i, v := range b {
			if out[i] = int8(v); w.args.Bits == 4 && (out[i] < -2*half || out[i] >= 2*half) {
				return nil, fmt.Errorf("row %d, column %d: code %d does not fit 4 bits", i/k, i%k, out[i])
			}
		}
		return out, nil
	}
	per := w.perWord()
	words := (k + per - 1) / per
	if len(b) != 4*n*words {
		return nil, fmt.Errorf("%d bytes of codes, want %d", len(b), 4*n*words)
	}
	out := make([]int8, n*k)
	for i := range n {
		row := out[i*k : (i+1)*k]
		for j := range row {
			word := binary.LittleEndian.Uint32(b[4*(i*words+j/per):])
			row[j] = int8(w.unpack(word, j%per))
		}
	}
	return out, nil
}

// columns reads weight_g_idx, the group of each column, and returns the
// columns in the order of their groups; nil where they are in order.
func (w *Weight) columns(b []byte, k, groupSize int) ([]int, error) {
	t, ok := w.part(indexSuffix)
	if !ok {
		return nil, nil
	}
	index, err := integers(b, t.DType, k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", indexSuffix[1:], err)
	}
	groups := (k + groupSize - 1) / groupSize
	members := make([][]int, groups)
	unset, ordered := 0, true
	for j, g := range index {
		switch {
		case g == -1:
			unset++
			continue
		case g < 0 || g >= int64(groups):
			return nil, fmt.Errorf("%s: column %d is in group %d of %d", indexSuffix[1:], j, g, groups)
		}
		ordered = ordered && int(g) == j/groupSize
		members[g] = append(members[g], j)
	}
	switch {
	case unset == k || unset == 0 && ordered: // never set, or nothing to do
		return nil, nil
	case unset > 0:
		return nil, fmt.Errorf("%s: %d of %d columns are in no group", indexSuffix[1:], unset, k)
	}
	var out []int
	for g, m := range members {
		if want := min(groupSize, k-g*groupSize); len(m) != want {
			return nil, fmt.Errorf("%s: group %d has %d columns, want %d", indexSuffix[1:], g, len(m), want)
		}
		out = append(out, m...)
	}
	return out, nil
}

// reorder puts the columns of each row in the order given.
func reorder(codes []int8, n int, columns []int) {
	k := len(columns)
	row := make([]int8, k)
	for i := range n {
		own := codes[i*k : (i+1)*k]
		copy(row, own)
		for j, from := range columns {
			own[j] = row[from]
		}
	}
}

// errInexact says that zero points cannot be carried over.
var errInexact = errors.New("zero points with F32 scales cannot be carried over exactly; quantize the model with symmetric weights or BF16 scales")

// fold takes zero points into the codes or into offsets. A code of 4 bits
// less its zero point has 5 bits: as UINT4 with an offset it stays half as
// long, and since scales of 16 bits have 11 digits, scale·code, the offset and
// their sum are exact in float32. So they are for codes of 8 bits, which leave
// no room for the zero point; with scales of 32 bits this is tried.
func fold(m *tensor.Coded, zeros []int) error {
	short := m.Scale != tensor.F32
	switch {
	case m.Coding.Codes == tensor.Int4 && short:
		m.Coding.Codes, m.Offset = tensor.UInt4, tensor.F32
		for i := range m.Codes {
			m.Codes[i] += 8
		}
		for i := range zeros {
			zeros[i] += 8
		}
	case m.Coding.Codes == tensor.Int4:
		m.Coding.Codes = tensor.Int8
		eachCode(m, func(at, group int) bool {
			m.Codes[at] -= int8(zeros[group])
			return true
		})
		return nil
	default:
		m.Offset = tensor.F32
	}
	m.Offsets = make([]float32, len(zeros))
	for i, z := range zeros {
		m.Offsets[i] = -float32(m.Scales[i] * float32(z))
	}
	if !short && !eachCode(m, func(at, group int) bool {
		s, q := m.Scales[group], m.Codes[at]
		want := float32(s * float32(int(q)-zeros[group]))
		return float32(s*float32(q))+m.Offsets[group] == want
	}) {
		return errInexact
	}
	return nil
}

// eachCode calls visit with the place of each code and of its group, until
// that returns false.
func eachCode(m *tensor.Coded, visit func(at, group int) bool) bool {
	size, groups := m.GroupSize, m.Groups(m.Cols)
	if size == 0 {
		size = m.Cols
	}
	for i := range m.Rows {
		for j := range m.Cols {
			if !visit(i*m.Cols+j, i*groups+j/size) {
				return false
			}
		}
	}
	return true
}
