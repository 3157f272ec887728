package emu

import (
	"math"

	"github.com/llima-build/llima/modalix/emu/kern"
	"github.com/llima-build/llima/modalix/isa"
)

// checkSpans refuses a span of SOFTMAX or MASK that ends before it begins.
// There is one for every aux rows.
func checkSpans(q *quad, in *isa.Inst) error {
	count := (in.M + in.Aux - 1) / in.Aux
	spans := view[int32](q.s, int(in.Y), int(count)*2)
	for i := range int(count) {
		if lo, hi := spans[2*i], spans[2*i+1]; lo > hi {
			return trap(in, "span [%d,%d) at row %d is inverted", lo, hi, i)
		}
	}
	return nil
}

// spanOf returns the columns that row m sees.
func spanOf(q *quad, in *isa.Inst, m uint32) (lo, hi int64) {
	spans := view[int32](q.s, int(in.Y)+int(m/in.Aux)*8, 2)
	return int64(spans[0]), int64(spans[1])
}

func (u *vectorSpace) mask(q *quad, in *isa.Inst, from, to uint32) {
	n := int(in.N)
	for m := from; m < to; m++ {
		lo, hi := spanOf(q, in, m)
		x, d := u.rowX(q, in, m, n), u.rowD(q, in, m, n)
		for i, v := range x {
			if j := int64(in.Imm) + int64(i); j < lo || j >= hi {
				v = -inf
			}
			d[i] = v
		}
		u.store(q, in, m, d)
	}
}

func (u *vectorSpace) softmax(q *quad, in *isa.Inst, from, to uint32) {
	n := int(in.N)
	for m := from; m < to; m++ {
		lo, hi := spanOf(q, in, m)
		first := max(0, min(lo, int64(n)))
		x, d := u.rowX(q, in, m, n), u.rowD(q, in, m, n)
		u.softmaxRow(d, x, int(first), int(max(first, min(hi, int64(n)))), math.Float32frombits(in.Imm))
		u.store(q, in, m, d)
	}
}

// softmaxRow computes one row, of which [lo,hi) is seen. The lanes of the sum
// belong to columns of the whole row.
func (u *vectorSpace) softmaxRow(d, x []float32, lo, hi int, scale float32) {
	seen := d[lo:hi]
	u.applyOne(isa.MUL, seen, x[lo:hi], scale)
	top := u.maximum(seen)
	for i := u.set.Apply(kern.ExpSub, seen, seen, top); i < len(seen); i++ {
		seen[i] = exp(seen[i] - top)
	}
	clear(d[:lo])
	clear(d[hi:])
	u.applyOne(isa.DIV, seen, seen, u.sum(d))
}

// rope rotates the first imm dimensions of each of aux heads.
func (u *vectorSpace) rope(q *quad, in *isa.Inst, lo, hi uint32) {
	n, half := int(in.N), int(in.Imm)/2
	a, b := 1, half // element i of a pair is at i·a, the other b further
	if in.Mode == isa.RopePair {
		a, b = 2, 1
	}
	for m := lo; m < hi; m++ {
		x, d := u.rowX(q, in, m, n*int(in.Aux)), u.rowD(q, in, m, n*int(in.Aux))
		y := u.rowY(q, in, m, 2*half)
		for h := range int(in.Aux) {
			from, to := x[h*n:(h+1)*n], d[h*n:(h+1)*n]
			copy(to[2*half:], from[2*half:])
			i := 0
			if in.Mode == isa.RopeHalf {
				i = u.set.Rotate(to, from, half, y[:half], y[half:])
			}
			for ; i < half; i++ {
				c, s := y[i], y[half+i]
				v, w := from[i*a], from[i*a+b]
				to[i*a] = float32(v*c) - float32(w*s)
				to[i*a+b] = float32(w*c) + float32(v*s)
			}
		}
		u.store(q, in, m, d)
	}
}

// gather copies rows of X, of which there are aux.
func (u *vectorSpace) gather(q *quad, in *isa.Inst) error {
	n := int(in.N)
	for m, t := range view[int32](q.s, int(in.Y), int(in.M)) {
		if t < -1 || int64(t) >= int64(in.Aux) {
			return trap(in, "index %d at row %d is outside X (%d)", t, m, in.Aux)
		}
		d := u.rowD(q, in, uint32(m), n)
		if t < 0 {
			clear(d)
		} else {
			copy(d, u.rowX(q, in, uint32(t), n))
		}
		u.store(q, in, uint32(m), d)
	}
	return nil
}

// gatherCols copies columns of X, of which there are aux, in every row.
func (u *vectorSpace) gatherCols(q *quad, in *isa.Inst) error {
	index := view[int32](q.s, int(in.Y), int(in.N))
	for i, t := range index {
		if t < -1 || int64(t) >= int64(in.Aux) {
			return trap(in, "index %d at column %d is outside X (%d)", t, i, in.Aux)
		}
	}
	for m := range in.M {
		x, d := u.rowX(q, in, m, int(in.Aux)), u.rowD(q, in, m, len(index))
		for i, t := range index {
			if t < 0 {
				d[i] = 0
			} else {
				d[i] = x[t]
			}
		}
		u.store(q, in, m, d)
	}
	return nil
}

// topList keeps the best pairs of a row, best first.
type topList struct {
	n      int
	values [isa.MaxTopk]float32
	ids    [isa.MaxTopk]int32
}

// before is the order of TOPK: value falling, NaN last, then index rising.
func before(v float32, id int32, w float32, other int32) bool {
	switch {
	case v > w:
		return true
	case v < w:
		return false
	case v == v && w != w:
		return true
	case v != v && w == w:
		return false
	}
	return id < other
}

// insert adds a pair, dropping the worst when there are limit already.
func (t *topList) insert(v float32, id int32, limit int) {
	if t.n == limit {
		if !before(v, id, t.values[t.n-1], t.ids[t.n-1]) {
			return
		}
	} else {
		t.n++
	}
	i := t.n - 1
	for i > 0 && before(v, id, t.values[i-1], t.ids[i-1]) {
		t.values[i], t.ids[i] = t.values[i-1], t.ids[i-1]
		i--
	}
	t.values[i], t.ids[i] = v, id
}

// insertAll offers a row to a list, numbers that are less than its worst only
// to be passed over.
func (u *vectorSpace) insertAll(t *topList, x []float32, id uint32, limit int) {
	for i := 0; i < len(x); {
		if t.n == limit {
			i += u.set.NotLess(x[i:], t.values[limit-1])
		}
		for end := min(i+16, len(x)); i < end; i++ {
			t.insert(x[i], int32(id+uint32(i)), limit)
		}
	}
}

func (u *vectorSpace) topk(q *quad, in *isa.Inst, see func(row, first int, values []float32)) {
	limit := int(in.Aux)
	for m := range in.M {
		t := &u.top
		t.n = 0
		at := int(in.D) + int(m)*int(in.LdD)
		values, ids := view[float32](q.s, at, 2*limit), view[int32](q.s, at, 2*limit)
		if in.Mode == isa.TopkMerge {
			for i := range limit {
				t.insert(values[2*i], ids[2*i+1], limit)
			}
		}
		x := u.rowX(q, in, m, int(in.N))
		if see != nil {
			see(int(m), int(in.Imm), x)
		}
		u.insertAll(t, x, in.Imm, limit)
		for i := range limit {
			values[2*i], ids[2*i+1] = t.values[i], t.ids[i]
		}
	}
}
