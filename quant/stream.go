package quant

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/llima-build/llima/formats/tensor"
)

// blockWeights is about how many weights of a matrix Write holds at a time, and
// checkWeights CheckFinite.
const (
	blockWeights = 16 << 20
	checkWeights = 1 << 20
)

// Write writes an encoded matrix [n, k] to w: what [Quantize] and [Encode]
// make of F32, F16 or BF16, little-endian, or what [BF16] makes where the
// format has 16 bits. It reads and writes a block of rows at a time, so that
// memory does not grow with the matrix, its scales apart; a matrix of 4 bits
// with an odd number of rows is one block. w must read as zeros where nothing
// was written, like a new file.
func Write(w io.WriterAt, src io.ReaderAt, dt tensor.DType, n, k int, f Format) error {
	return write(w, src, dt, n, k, f, blockWeights)
}

// WriteEmbeddings8 writes a table of embeddings [n, k] of F32, F16 or BF16 in 8
// bits, for the host that looks rows up: codes [n, k], then a BF16 scale for
// each row; a weight becomes scale·code. The scale is the row's greatest
// magnitude over 127, rounded to BF16. It reads and writes as Write does.
func WriteEmbeddings8(w io.WriterAt, src io.ReaderAt, dt tensor.DType, n, k int) error {
	return eachBlock(src, dt, n, k, blockRows(n, k, blockWeights), func(first int, b []byte) error {
		codes, scales, err := embeddings8(b, dt, first, len(b)/(k*dt.Bytes()), k)
		if err == nil {
			_, err = w.WriteAt(codes, int64(first)*int64(k))
		}
		if err == nil {
			_, err = w.WriteAt(scales, int64(n)*int64(k)+2*int64(first))
		}
		return err
	})
}

// embeddings8 quantises rows [first, first+n) of a table of embeddings.
func embeddings8(src []byte, dt tensor.DType, first, n, k int) (codes, scales []byte, err error) {
	r, err := newRows(src, dt, first, n, k)
	if err != nil {
		return nil, nil, err
	}
	const top = 127
	codes, scales = make([]byte, n*k), make([]byte, 0, 2*n)
	for i := range n {
		row, err := r.read(i)
		if err != nil {
			return nil, nil, err
		}
		scale := tensor.ToBF16(float32(float64(absMax(row)) / top))
		scales = append(scales, byte(scale), byte(scale>>8))
		s := float64(tensor.FromBF16(scale))
		if s == 0 {
			continue // zeros, or too small for a scale
		}
		for j, w := range row {
			codes[i*k+j] = byte(int8(min(max(math.RoundToEven(float64(w)/s), -top), top)))
		}
	}
	return codes, scales, nil
}

// CheckFinite reports the first weight of a matrix [n, k] of F32, F16 or BF16
// that is NaN or infinite, by row and column: what carries weights over as
// they are must not carry those. It reads a block of rows at a time.
func CheckFinite(src io.ReaderAt, dt tensor.DType, n, k int) error {
	return eachBlock(src, dt, n, k, blockRows(n, k, checkWeights), func(first int, b []byte) error {
		if dt == tensor.BF16 && finiteBF16(b) {
			return nil
		}
		n := len(b) / (k * dt.Bytes())
		r, err := newRows(b, dt, first, n, k)
		for i := 0; i < n && err == nil; i++ {
			_, err = r.read(i)
		}
		return err
	})
}

// finiteBF16 reports whether no value of a row of BF16 has an exponent of all
// ones, four at a time: adding one to such an exponent carries into its sign.
func finiteBF16(b []byte) bool {
	const exponents, ones, signs = 0x7f807f807f807f80, 0x0080008000800080, 0x8000800080008000
	carried := uint64(0)
	for ; len(b) >= 8; b = b[8:] {
		carried |= binary.LittleEndian.Uint64(b)&exponents + ones
	}
	for ; len(b) >= 2; b = b[2:] {
		carried |= uint64(binary.LittleEndian.Uint16(b))&(exponents&0xffff) + ones&0xffff
	}
	return carried&signs == 0
}

func write(w io.WriterAt, src io.ReaderAt, dt tensor.DType, n, k int, f Format, weights int) error {
	if err := f.Check(); err != nil {
		return err
	}
	step := blockRows(n, k, weights)
	if f.Bits == 4 && n%2 != 0 {
		step = n // rows of the result do not begin at whole bytes
	}
	var scales []uint16
	err := eachBlock(src, dt, n, k, step, func(first int, b []byte) error {
		rows := len(b) / (k * dt.Bytes())
		if f.Bits == 16 {
			out, _, err := bf16(b, dt, first, rows, k)
			if err == nil {
				_, err = w.WriteAt(out, int64(first)*int64(k)*2)
			}
			return err
		}
		c, s, err := quantize(b, dt, first, rows, k, f)
		if err != nil {
			return err
		}
		scales = append(scales, s...)
		return writeCodes(w, encodeCodes(c, rows, k, f.Bits), first, rows, n, f.Bits)
	})
	if err != nil || f.Bits == 16 {
		return err
	}
	_, err = w.WriteAt(encodeScales(scales, n), f.ScalesOffset(n, k))
	return err
}

// blockRows returns how many rows make a block of about so many weights: all,
// or a multiple of 64.
func blockRows(n, k, weights int) int {
	return min(n, max(weights/max(k, 1)/64*64, 64))
}

// eachBlock calls do with step rows of a matrix [n, k] at a time; first is the
// number of the first of them, b is valid until do returns.
func eachBlock(src io.ReaderAt, dt tensor.DType, n, k, step int, do func(first int, b []byte) error) error {
	if err := checkMatrix(n, k); err != nil {
		return err
	}
	row := k * dt.Bytes()
	buf := make([]byte, step*row)
	for first := 0; first < n; first += step {
		b := buf[:min(step, n-first)*row]
		if got, err := src.ReadAt(b, int64(first)*int64(row)); got < len(b) {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("quant: the weights of a matrix [%d, %d] end in row %d", n, k, first+got/row)
			}
			return err
		}
		if err := do(first, b); err != nil {
			return err
		}
	}
	return nil
}

// writeCodes writes encoded codes [k, rows] into columns [first, first+rows)
// of the codes [k, n] in w.
func writeCodes(w io.WriterAt, codes []byte, first, rows, n, bits int) error {
	if rows == n {
		_, err := w.WriteAt(codes, 0)
		return err
	}
	size, at, pitch := rows*bits/8, int64(first)*int64(bits)/8, int64(n)*int64(bits)/8
	for ; len(codes) > 0; codes, at = codes[size:], at+pitch {
		if _, err := w.WriteAt(codes[:size], at); err != nil {
			return err
		}
	}
	return nil
}
