package quant

import (
	"encoding/binary"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant/kern"
)

// blockWeights is about how many weights of a matrix Write holds at a time.
const blockWeights = 16 << 20

// Write writes an encoded matrix [n, k] to w: what [Quantize] and [Encode]
// make of F32, F16 or BF16, little-endian, or what [BF16] makes where the
// format has 16 bits. It reads and writes a block of rows at a time, so that
// memory does not grow with the matrix, its scales apart; a matrix of 4 bits
// with an odd number of rows is one block. w must read as zeros where nothing
// was written, like a new file. src and w are used from several goroutines.
func Write(w io.WriterAt, src io.ReaderAt, dt tensor.DType, n, k int, f Format) error {
	return write(w, src, dt, n, k, f, blockWeights)
}

func write(w io.WriterAt, src io.ReaderAt, dt tensor.DType, n, k int, f Format, weights int) error {
	switch {
	case f.Bits == 16:
		if err := f.Check(); err != nil {
			return err
		}
		return eachBlock(src, dt, n, k, k, func(r *run) error {
			r.out = resize(r.out, 2*len(r.w))
			if _, err := r.bf16(r.out); err != nil {
				return err
			}
			_, err := w.WriteAt(r.out, 2*int64(r.first)*int64(k))
			return err
		})
	case f.Bits == 4 && n%2 != 0:
		return writeOdd(w, src, dt, n, k, f)
	}
	if err := checkCodes(dt, n, k, f); err != nil {
		return err
	}
	step := blockRows(n, k, weights)
	if step == n {
		return writeWhole(w, src, dt, n, k, f)
	}
	l := LayoutOf(f.Coding(), n, k)
	codes, scales := make([]byte, step*k*f.Bits/8), make([]byte, l.ScaleBytes)
	for first := 0; first < n; first += step {
		rows := min(step, n-first)
		pitch := rows * f.Bits / 8
		err := eachRun(src, dt, first, rows, k, f, func(r *run) {
			set.Pack(codes[(r.first-first)*f.Bits/8:], pitch, r.codes, r.pitch, r.count, k, f.Bits)
			r.putScales(scales, n)
		})
		if err == nil {
			err = writeColumns(w, codes[:pitch*k], pitch, int64(first)*int64(f.Bits)/8, int64(n)*int64(f.Bits)/8)
		}
		if err != nil {
			return err
		}
	}
	_, err := w.WriteAt(scales, l.Scales)
	return err
}

// writeWhole writes a matrix that is one block.
func writeWhole(w io.WriterAt, src io.ReaderAt, dt tensor.DType, n, k int, f Format) error {
	l := LayoutOf(f.Coding(), n, k)
	b := files.Get().(*[]byte)
	defer files.Put(b)
	*b = resize(*b, int(l.SizeBytes))
	out := *b
	clear(out[l.CodeBytes:l.Scales])
	err := eachRun(src, dt, 0, n, k, f, func(r *run) {
		set.Pack(out[r.first*f.Bits/8:], n*f.Bits/8, r.codes, r.pitch, r.count, k, f.Bits)
		r.putScales(out[l.Scales:], n)
	})
	if err == nil {
		_, err = w.WriteAt(out, 0)
	}
	return err
}

// files are encoded matrices of one block, to be used again.
var files = sync.Pool{New: func() any { return new([]byte) }}

// blockRows returns how many rows make a block of about so many weights: all,
// or a multiple of 64.
func blockRows(n, k, weights int) int {
	return min(n, max(weights/max(k, 1)/64*64, 64))
}

// writeOdd writes a matrix whose rows of codes begin within a byte.
func writeOdd(w io.WriterAt, src io.ReaderAt, dt tensor.DType, n, k int, f Format) error {
	if err := checkCodes(dt, n, k, f); err != nil {
		return err
	}
	codes, scales, err := quantize(src, dt, n, k, f)
	if err != nil {
		return err
	}
	_, err = w.WriteAt(Encode(codes, scales, n, k, f), 0)
	return err
}

// writeColumns writes rows of size bytes, each pitch after the one before.
func writeColumns(w io.WriterAt, rows []byte, size int, at, pitch int64) error {
	for ; len(rows) > 0; rows, at = rows[size:], at+pitch {
		if _, err := w.WriteAt(rows[:size], at); err != nil {
			return err
		}
	}
	return nil
}

// putScales transposes scales to those of a matrix of n rows, [groups, n].
func (r *run) putScales(dst []byte, n int) {
	for g := range r.groups {
		to := dst[2*(g*n+r.first):]
		for i := range r.count {
			binary.LittleEndian.PutUint16(to[2*i:], r.scales[i*r.groups+g])
		}
	}
}

// WriteEmbeddings8 writes a table of embeddings [n, k] of F32, F16 or BF16 in 8
// bits, for the host that looks rows up: codes [n, k], then a BF16 scale for
// each row; a weight becomes scale·code. The scale is the row's greatest
// magnitude over 127, rounded to BF16. It reads and writes as Write does.
func WriteEmbeddings8(w io.WriterAt, src io.ReaderAt, dt tensor.DType, n, k int) error {
	return eachBlock(src, dt, n, k, padded(k), func(r *run) error {
		r.embeddings8()
		_, err := w.WriteAt(kern.Bytes(r.codes), int64(r.first)*int64(k))
		if err == nil {
			_, err = w.WriteAt(r.out, int64(n)*int64(k)+2*int64(r.first))
		}
		return err
	})
}

// embeddings8 sets codes [count, k] and, in out, BF16 scales.
func (r *run) embeddings8() {
	const top = 127
	r.scale, r.peak = resize(r.scale, r.count), resize(r.peak, r.count)
	set.Nearest(r.scale, r.peak, r.w, r.pitch, top, false, &r.room)
	r.out = resize(r.out, 2*r.count)
	encode := set.Encode
	for i, s := range r.scale {
		u := tensor.ToBF16(s)
		binary.LittleEndian.PutUint16(r.out[2*i:], u)
		if r.scale[i] = tensor.FromBF16(u); r.scale[i] < kern.LeastScale {
			encode = kern.Plain.Encode
		}
	}
	r.codes = resize(r.codes, len(r.w))
	encode(r.codes, r.w, r.scale, r.pitch, -top, top)
	if r.pitch > r.k {
		for i := range r.count {
			copy(r.codes[i*r.k:(i+1)*r.k], r.codes[i*r.pitch:])
		}
	}
	r.codes = r.codes[:r.count*r.k]
}

// CheckFinite reports the first weight of a matrix [n, k] of F32, F16 or BF16
// that is NaN or infinite, by row and column: what carries weights over as
// they are must not carry those. It reads a block of rows at a time.
func CheckFinite(src io.ReaderAt, dt tensor.DType, n, k int) error {
	return eachBlock(src, dt, n, k, k, func(*run) error { return nil })
}

// bf16 writes the rows read last, and reports whether all kept their value.
func (r *run) bf16(dst []byte) (exact bool, err error) {
	if r.most < kern.BF16Limit {
		return set.NarrowBF16(dst, r.w), nil
	}
	i := slices.IndexFunc(r.w, func(w float32) bool { return math.Float32bits(max(w, -w)) >= kern.BF16Limit })
	return false, errorAt(r.first+i/r.k, i%r.k, r.w[i], "is past bfloat16's range")
}
