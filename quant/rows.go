package quant

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant/kern"
)

const (
	// runRows is how many rows a worker takes at a time.
	runRows = 64
	// tileWeights is about how many weights are computed at a time, so that
	// they stay in the second cache.
	tileWeights = 1 << 15
)

// matrix reads rows of a matrix of weights, padded with zeros to pitch.
type matrix struct {
	dt       tensor.DType
	k, pitch int
	rows     int // how many at a time
	bytes    []byte
	buffer   []float32
	w        []float32 // those read last, [rows, pitch]
	room     kern.Room
}

// reset prepares for n rows of k weights.
func (m *matrix) reset(dt tensor.DType, n, k, pitch int) {
	m.dt, m.k, m.pitch = dt, k, pitch
	m.rows = min(max(tileWeights/pitch/kern.Step*kern.Step, kern.Step), runRows, n)
	m.bytes, m.buffer = resize(m.bytes, m.rows*k*dt.Bytes()), resize(m.buffer, m.rows*pitch)
	if pitch != k {
		clear(m.buffer)
	}
}

// resize returns n elements of undefined content.
func resize[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }

// padded returns n rounded up to what kernels take.
func padded(n int) int { return (n + kern.Step - 1) / kern.Step * kern.Step }

// read sets w to n rows from first on, and returns the bits of their greatest
// magnitude, infF32 or more where one is not finite.
func (m *matrix) read(src io.ReaderAt, first, n int) (most uint32, err error) {
	size := m.k * m.dt.Bytes()
	b := m.bytes[:n*size]
	if got, err := src.ReadAt(b, int64(first)*int64(size)); got < len(b) {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("quant: the weights of a matrix end in row %d: %w", first+got/size, io.ErrUnexpectedEOF)
		}
		return 0, err
	}
	m.w = m.buffer[:n*m.pitch]
	if m.pitch == m.k {
		return set.Widen(m.w, b, m.dt), nil
	}
	for i := range n {
		most = max(most, set.Widen(m.w[i*m.pitch:][:m.k], b[i*size:(i+1)*size], m.dt))
	}
	return most, nil
}

// finite reports the first weight of rows that is NaN or infinite; first is
// the number of the first row.
func finite(rows []float32, pitch, first int) error {
	for i, w := range rows {
		if math.IsNaN(float64(w)) || math.IsInf(float64(w), 0) {
			return errorAt(first+i/pitch, i%pitch, w, "is not finite")
		}
	}
	return nil
}

func errorAt(row, column int, w float32, what string) error {
	return fmt.Errorf("quant: row %d, column %d: %v %s", row, column, w, what)
}

// eachBlock calls do with rows of a matrix [n, k] in r.w, some at a time, from
// all cores; they are finite.
func eachBlock(src io.ReaderAt, dt tensor.DType, n, k, pitch int, do func(r *run) error) error {
	if err := checkWeights(dt, n, k); err != nil {
		return err
	}
	return parallel(n, runRows, func() (func(first, rows int) error, func()) {
		r := runs.Get().(*run)
		r.matrix.reset(dt, n, k, pitch)
		return func(first, rows int) error {
			for end := first + rows; first < end; first += r.rows {
				most, err := r.read(src, first, min(r.rows, end-first))
				if err == nil && most >= infF32 {
					err = finite(r.w, pitch, first)
				}
				if r.first, r.count, r.most = first, len(r.w)/pitch, most; err == nil {
					err = do(r)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}, func() { runs.Put(r) }
	})
}

// run is some rows of a matrix, and what becomes of them.
type run struct {
	tile
	first  int      // the number of the first row
	count  int      // rows
	most   uint32   // what read returned, of eachBlock
	codes  []int8   // [count, pitch]
	scales []uint16 // [count, groups]
	out    []byte   // of eachBlock's callers
}

var runs = sync.Pool{New: func() any { return new(run) }}

// eachRun quantises rows [first, first+n) of a matrix, and calls do with some
// at a time, from all cores.
func eachRun(src io.ReaderAt, dt tensor.DType, first, n, k int, f Format, do func(r *run)) error {
	return parallel(n, runRows, func() (func(at, rows int) error, func()) {
		r := runs.Get().(*run)
		r.reset(dt, n, k, f)
		most := min(n, runRows)
		r.codes, r.scales = resize(r.codes, most*r.pitch), resize(r.scales, most*r.groups)
		return func(at, rows int) error {
			if err := r.quantizeRun(src, first+at, rows); err != nil {
				return err
			}
			do(r)
			return nil
		}, func() { runs.Put(r) }
	})
}

func (r *run) quantizeRun(src io.ReaderAt, first, count int) error {
	r.first, r.count = first, count
	for i := 0; i < count; i += r.rows {
		n := min(r.rows, count-i)
		most, err := r.read(src, first+i, n)
		if err == nil {
			err = r.quantize(r.codes[i*r.pitch:(i+n)*r.pitch], r.scales[i*r.groups:(i+n)*r.groups], most, first+i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
