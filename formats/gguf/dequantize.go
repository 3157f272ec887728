package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/llima-build/llima/formats/tensor"
)

// Dequantize computes the float32 values of whole blocks: src holds len(dst)
// elements. The values are those of llama.cpp's reference, bit by bit. The
// integer types I8 to I64 are refused, since they are no weights.
func Dequantize(t Type, dst []float32, src []byte) error {
	l, err := t.checkBlocks(len(dst), len(src))
	if err != nil {
		return err
	}
	switch {
	case l.float != 0:
		return tensor.ToF32(dst, src, l.float)
	case t == F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
		return nil
	case l.unpack == nil:
		return fmt.Errorf("gguf: %v is a type of plain integers, not of weights", t)
	}
	var codes [super]int8
	var scales, offsets [super / 16]float32
	groups := l.coding.Groups(l.elements)
	var o []float32
	if l.coding.Offset != 0 {
		o = offsets[:groups]
	}
	for i := 0; i*l.elements < len(dst); i++ {
		l.unpack(src[i*l.blockBytes:(i+1)*l.blockBytes], codes[:l.elements], scales[:groups], o)
		l.coding.Weights(dst[i*l.elements:(i+1)*l.elements], codes[:l.elements], scales[:groups], o)
	}
	return nil
}

// checkBlocks checks that src holds elements of the type.
func (t Type) checkBlocks(elements, sizeBytes int) (layout, error) {
	l, ok := layouts[t]
	if !ok {
		return l, fmt.Errorf("gguf: %s", t.problem())
	}
	if elements%l.elements != 0 || sizeBytes%l.blockBytes != 0 || elements/l.elements != sizeBytes/l.blockBytes {
		return l, fmt.Errorf("gguf: %d elements of %v in blocks of %d do not fill %d bytes", elements, t, l.elements, sizeBytes)
	}
	return l, nil
}

// Carry takes the codes of a matrix [rows, cols] over, with scales and
// offsets, so that every weight keeps the value that [Dequantize] gives. order
// lists the rows of the source in the order of the result; nil keeps it. A
// type without codes is an error, and so is a weight that is not finite.
func Carry(t Type, src []byte, rows, cols int, order []int) (*tensor.Coded, error) {
	l, err := t.checkBlocks(rows*cols, len(src))
	switch {
	case err != nil:
		return nil, err
	case l.unpack == nil:
		return nil, fmt.Errorf("gguf: %v holds no codes", t)
	case cols%l.elements != 0:
		return nil, fmt.Errorf("gguf: a row of %d elements is no multiple of the block of %v, %d", cols, t, l.elements)
	case order != nil && len(order) != rows:
		return nil, fmt.Errorf("gguf: an order of %d rows for a matrix of %d", len(order), rows)
	}
	m := tensor.NewCoded(l.coding, rows, cols)
	groups, rowBytes := l.coding.Groups(l.elements), cols/l.elements*l.blockBytes
	for i := range rows {
		from := i
		if order != nil {
			from = order[i]
		}
		if from < 0 || from >= rows {
			return nil, fmt.Errorf("gguf: row %d of a matrix of %d", from, rows)
		}
		row := src[from*rowBytes : (from+1)*rowBytes]
		codes, scales, offsets := m.Row(i)
		for b := range cols / l.elements {
			var o []float32
			if offsets != nil {
				o = offsets[b*groups : (b+1)*groups]
			}
			l.unpack(row[b*l.blockBytes:(b+1)*l.blockBytes], codes[b*l.elements:(b+1)*l.elements], scales[b*groups:(b+1)*groups], o)
		}
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("gguf: %v: %w; the file is damaged: bring it again", t, err)
	}
	return m, nil
}
