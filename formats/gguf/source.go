package gguf

import (
	"fmt"

	"github.com/llima-build/llima/formats/tensor"
)

// matrix returns a source as rows of its last dimension; a vector is one row.
func (m *Model) matrix(s Source) (src []byte, rows, cols int, err error) {
	src, err = m.Bytes(s.Tensor)
	rows, cols = s.Rows()
	return src, rows, cols, err
}

// of puts the tensor's name into an error.
func (m *Model) of(s Source, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w (tensor %q of %s)", err, s.Name, m.path)
}

// Coded takes a matrix over as [Carry] does, with the rows in the order of
// Hugging Face's layout.
func (m *Model) Coded(s Source) (*tensor.Coded, error) {
	src, rows, cols, err := m.matrix(s)
	if err != nil {
		return nil, err
	}
	c, err := Carry(s.Type, src, rows, cols, s.rowOrder())
	return c, m.of(s, err)
}

// BF16 takes a matrix or vector of plain numbers over as [CarryFloat] does,
// with the rows in the order of Hugging Face's layout. A norm of Gemma keeps
// the 1 that was added.
func (m *Model) BF16(s Source, convert bool) ([]byte, error) {
	src, rows, cols, err := m.matrix(s)
	if err != nil {
		return nil, err
	}
	if len(s.Tensor.Shape) == 1 {
		rows, cols = cols, 1 // so that a bias follows its rows
	}
	b, err := CarryFloat(s.Type, src, rows, cols, s.Order(), convert)
	return b, m.of(s, err)
}

// Row computes row i of Hugging Face's layout, [cols] as [Tensor.Rows] says,
// in float32. A vector is one row, in the file's order.
func (m *Model) Row(s Source, dst []float32, i int) error {
	src, rows, cols, err := m.matrix(s)
	if err != nil {
		return err
	}
	if i < 0 || i >= rows || len(dst) != cols {
		return m.of(s, fmt.Errorf("gguf: row %d with room for %d numbers of a matrix [%d, %d]", i, len(dst), rows, cols))
	}
	if order := s.rowOrder(); order != nil {
		i = order[i]
	}
	size := s.RowBytes()
	return m.of(s, Dequantize(s.Type, dst, src[i*size:(i+1)*size]))
}

// rowOrder is the order of a matrix's rows; that of a vector is no order of rows.
func (s Source) rowOrder() []int {
	if len(s.Tensor.Shape) == 1 {
		return nil
	}
	return s.Order()
}
