package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/llima-build/llima/formats/tensor"
)

// CarryFloat takes a matrix [rows, cols] of F32, F16, BF16 or F64 over as
// bfloat16, little-endian, with the rows in the order given as [Carry] has it.
// A value that is no bfloat16 is an error that names its row and column,
// unless convert is set: then it is rounded to nearest, ties to even. One that
// is not finite, or would not be, is an error either way.
func CarryFloat(t Type, src []byte, rows, cols int, order []int, convert bool) ([]byte, error) {
	l, err := t.checkBlocks(rows*cols, len(src))
	switch {
	case err != nil:
		return nil, err
	case l.float == 0 && t != F64:
		return nil, fmt.Errorf("gguf: %v is no type of plain numbers", t)
	case order != nil && len(order) != rows:
		return nil, fmt.Errorf("gguf: an order of %d rows for a matrix of %d", len(order), rows)
	}
	out, row := make([]byte, 0, 2*rows*cols), make([]float32, cols)
	for i := range rows {
		from := i
		if order != nil {
			from = order[i]
		}
		if from < 0 || from >= rows {
			return nil, fmt.Errorf("gguf: row %d of a matrix of %d", from, rows)
		}
		b := src[from*cols*l.blockBytes : (from+1)*cols*l.blockBytes]
		if err := Dequantize(t, row, b); err != nil {
			return nil, err
		}
		for j, w := range row {
			u := tensor.ToBF16(w)
			exact := tensor.FromBF16(u) == w && (t != F64 || float64(w) == math.Float64frombits(binary.LittleEndian.Uint64(b[8*j:])))
			switch f := float64(tensor.FromBF16(u)); {
			case math.IsNaN(f) || math.IsInf(f, 0):
				return nil, fmt.Errorf("gguf: row %d, column %d: %v is no finite bfloat16", from, j, w)
			case !exact && !convert:
				return nil, fmt.Errorf("gguf: row %d, column %d: %v of %v is no bfloat16; set convert = \"bf16\" to round such weights", from, j, w, t)
			}
			out = append(out, byte(u), byte(u>>8))
		}
	}
	return out, nil
}
