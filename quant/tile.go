package quant

import (
	"fmt"
	"math"

	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant/kern"
)

// set is the kernels in use; tests exchange it.
var set = kern.Best()

// tile quantises rows of a matrix, some at a time. Its groups are padded with
// zeros to whole vectors.
type tile struct {
	matrix
	f             Format
	group, groups int // padded; a row
	scale         []float32
	peak          []float32
	search        *kern.Codes // nil for nearest
}

// reset prepares a tile for n rows of k weights.
func (t *tile) reset(dt tensor.DType, n, k int, f Format) {
	t.f, t.groups, t.group, t.search = f, f.Groups(k), f.GroupSize, nil
	if t.group == 0 || t.group > k {
		t.group = padded(k)
	}
	t.matrix.reset(dt, n, k, t.groups*t.group)
	t.scale, t.peak = resize(t.scale, t.rows*t.groups), resize(t.peak, t.rows*t.groups)
	if f.Method == Search {
		t.search = multipliers(f.Bits, t.group)
	}
}

// codeRange returns the least and the greatest code, and the one that the
// nearest method gives the greatest magnitude.
func (f Format) codeRange() (low, high int32, peak float32) {
	if f.Bits == 4 {
		return -8, 7, 8
	}
	return -127, 127, 127
}

// quantize sets the codes [n, pitch] and scales [n, groups] of the rows read
// last. first is the number of the first of them.
func (t *tile) quantize(codes []int8, scales []uint16, most uint32, first int) error {
	low, high, code := t.f.codeRange()
	if most >= infF32 || math.Float32frombits(most)/code >= pastF16 {
		return t.explain(first)
	}
	scale, peak := t.scale[:len(scales)], t.peak[:len(scales)]
	set.Nearest(scale, peak, t.w, t.group, code, t.f.Bits == 4, &t.room)
	if t.search != nil {
		set.Search(scale, peak, t.w, t.group, t.search, &t.room)
	}
	set.Round(scales, scale, peak)
	set.Encode(codes, t.w, scale, t.group, low, high)
	return nil
}

// explain returns the error of the first row that has one.
func (t *tile) explain(first int) error {
	_, _, code := t.f.codeRange()
	for i := range len(t.w) / t.pitch {
		row := t.w[i*t.pitch:][:t.k]
		if err := finite(row, t.k, first+i); err != nil {
			return err
		}
		for at := 0; at < t.k; at += t.group {
			end := min(at+t.group, t.k)
			m := float32(0)
			for _, x := range row[at:end] {
				m = max(m, x, -x)
			}
			if m/code >= pastF16 {
				return fmt.Errorf("quant: row %d, columns [%d,%d): weights up to %g need a scale past float16's range", first+i, at, end, m)
			}
		}
	}
	panic("llima: internal error: quant: an error without a place")
}

const (
	infF32  = 0x7f800000 // bits
	pastF16 = 65520      // rounds to infinity
)
