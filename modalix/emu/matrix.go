package emu

import (
	"github.com/llima-build/llima/modalix/emu/kern"
	"github.com/llima-build/llima/modalix/isa"
)

const (
	panelRows = isa.PanelRows
	maxBlock  = 32 // inputs of a block; 16 in groups of 16
	// Products of numbers from which MMs are worth sharing: two microseconds of
	// one core, in the reference order and by kernels. A panel counts for
	// panelWork more.
	parallelWork     = 1 << 13
	parallelFastWork = 1 << 16
	panelWork        = 1 << 12
)

// matrixUnit multiplies in the reference order of docs/isa.md §2, or by
// kernels within the bounds of §1. Panels are independent of each other, so
// the number of workers changes no bit.
//
// By kernels, an MM is only noted: those that follow each other, with nothing
// but LDW between them, are computed together, if none reads or writes what
// another writes. Workers then meet once for all of them.
type matrixUnit struct {
	pool   *pool
	set    *kern.Set // nil: the reference order only
	spaces [maxWorkers]workspace
	a      []float32 // A as F32 [M,K]
	sums   []float32 // U of each row and group [M, groups], with offsets
	batch  []product // under way
	inputs []kern.Input
	work   int                      // products of numbers in batch
	panels func(worker, lo, hi int) // of batch
}

// product is an MM under way.
type product struct {
	in     *isa.Inst
	s      []byte // S of its quad
	tile   tile
	a      []float32
	sums   []float32
	groups int
	set    *kern.Set // nil: in the reference order
	input  int       // index of A in matrixUnit.inputs
	first  int       // panel of the batch
	reads  access    // A
	writes access    // C
}

// workspace is what one worker needs for a panel.
type workspace struct {
	weights [maxBlock][panelRows]float32 // one block, by input
	block   [panelRows]float32           // t of one row
	acc     [][panelRows]float32         // [M]
	group   [][panelRows]float32         // T [M]
	scales  []float32                    // of a panel [groups, 16], for kernels
	offsets []float32
	room    kern.Room
}

// multiply is MM.
func (u *matrixUnit) multiply(q *quad, in *isa.Inst) {
	t := q.tiles[in.Tile]
	j := product{in: in, s: q.s, tile: t, groups: t.inputs / t.group, set: u.set}
	if u.set == nil {
		u.prepare(q, &j)
		u.add(j)
		u.flush()
		return
	}
	size := int64(4)
	if in.OutBF16 {
		size = 2
	}
	j.reads = access{base: int64(in.A), rows: int64(in.M), stride: int64(in.LdA), length: int64(t.inputs) * 2}
	j.writes = access{base: int64(in.C), rows: int64(in.M), stride: int64(in.LdC), length: int64(in.NP) * panelRows * size}
	for i := range u.batch {
		p := &u.batch[i]
		if overlaps(&p.writes, &j.writes) || overlaps(&p.writes, &j.reads) || overlaps(&p.reads, &j.writes) {
			u.flush()
			break
		}
	}
	u.prepareFast(q, &j)
	u.add(j)
}

func (u *matrixUnit) add(j product) {
	if n := len(u.batch); n > 0 {
		j.first = u.batch[n-1].first + int(u.batch[n-1].in.NP)
	}
	u.work += int(j.in.NP) * (int(j.in.M)*j.tile.inputs*panelRows + panelWork)
	u.batch = append(u.batch, j)
}

// flush computes what multiply has noted.
func (u *matrixUnit) flush() {
	n := len(u.batch)
	if n == 0 {
		return
	}
	least, total := parallelWork, u.batch[n-1].first+int(u.batch[n-1].in.NP)
	if u.set != nil {
		least = parallelFastWork
	}
	if u.work < least {
		u.panels(0, 0, total)
	} else {
		u.pool.run(total, u.panels)
	}
	u.batch, u.inputs, u.work = u.batch[:0], u.inputs[:0], 0
}

// compute computes panels [lo,hi) of the batch.
func (u *matrixUnit) compute(worker, lo, hi int) {
	i := 0
	for p := lo; p < hi; p++ {
		for p >= u.batch[i].first+int(u.batch[i].in.NP) {
			i++
		}
		j := &u.batch[i]
		if j.set != nil {
			j.fastPanel(&u.spaces[worker], &u.inputs[j.input], p-j.first)
		} else {
			j.panel(&u.spaces[worker], p-j.first)
		}
	}
}

// prepare makes A ready for the reference order.
func (u *matrixUnit) prepare(q *quad, j *product) {
	in, t := j.in, &j.tile
	rows, inputs := int(in.M), t.inputs
	j.a = grow(&u.a, rows*inputs)
	for m := range rows {
		row := j.a[m*inputs : (m+1)*inputs]
		for k, v := range view[uint16](q.s, int(in.A)+m*int(in.LdA), inputs) {
			row[k] = fromBF16(v)
		}
	}
	if t.offsets != nil {
		j.sums = u.groupSums(rows, inputs, t.group)
	}
}

// blockSize returns the inputs of a block.
func blockSize(group int) int {
	if group == 16 {
		return 16
	}
	return maxBlock
}

// groupSums computes U of every row and group: the same for all outputs.
func (u *matrixUnit) groupSums(rows, inputs, group int) []float32 {
	groups, size := inputs/group, blockSize(group)
	sums := grow(&u.sums, rows*groups)
	for i := range sums {
		x := u.a[i*group : (i+1)*group]
		total := float32(0)
		for b := 0; b < group; b += size {
			part := float32(0)
			for _, v := range x[b : b+size] {
				part += v
			}
			total += part
		}
		sums[i] = total
	}
	return sums
}

// start returns accumulators that hold what 16 columns of C begin with.
func (j *product) start(w *workspace, p int) [][panelRows]float32 {
	in, rows := j.in, int(j.in.M)
	if cap(w.acc) < rows {
		w.acc, w.group = make([][panelRows]float32, rows), make([][panelRows]float32, rows)
	}
	acc := w.acc[:rows]
	if !in.Acc {
		clear(acc)
		return acc
	}
	for m := range acc {
		copy(acc[m][:], view[float32](j.s, int(in.C)+m*int(in.LdC)+p*panelRows*4, panelRows))
	}
	return acc
}

// panel computes 16 columns of C in the reference order.
func (j *product) panel(w *workspace, p int) {
	in, t := j.in, &j.tile
	acc := j.start(w, p)
	group := w.group[:len(acc)]
	at := int(in.P0) + p
	codes := t.codes[at*t.cPitch:]
	size := blockSize(t.group)
	step := size * panelRows * int(t.format.Code().Bits()) / 8 // bytes of a block
	var scales, offsets [panelRows]float32
	for g := range j.groups {
		clear(group)
		for b := 0; b < t.group; b += size {
			j.block(w, codes, g*t.group+b, size)
			codes = codes[step:]
		}
		if t.scales != nil {
			readScales(&scales, t.scales[at*t.sPitch+g*t.scaleEntry:], t.format.Scale())
		}
		if t.offsets != nil {
			readScales(&offsets, t.offsets[at*t.oPitch+g*t.offsetsEntry:], t.format.Offset())
		}
		for m := range acc {
			c, s := &acc[m], &group[m]
			if t.scales == nil {
				for r := range c {
					c[r] += s[r]
				}
				continue
			}
			for r := range c {
				c[r] += float32(scales[r] * s[r])
			}
			if t.offsets != nil {
				u := j.sums[m*j.groups+g]
				for r := range c {
					c[r] += float32(offsets[r] * u)
				}
			}
		}
	}
	j.store(acc, p)
}

// block adds one block, from input k on, to the group sums of all rows.
func (j *product) block(w *workspace, codes []byte, k, size int) {
	group := w.group[:j.in.M]
	decodeBlock(&w.weights, codes, j.tile.format.Code(), size)
	for m := range group {
		a := j.a[m*j.tile.inputs+k:]
		if size == maxBlock {
			dot32(&w.block, (*[32]float32)(a), &w.weights)
		} else {
			dot16(&w.block, (*[16]float32)(a), &w.weights)
		}
		c := &group[m]
		for r, v := range &w.block {
			c[r] += v
		}
	}
}

// dot32 computes t of one block of 32 inputs for 16 outputs, eight at a time
// so that the sums stay in registers.
func dot32(t *[panelRows]float32, a *[32]float32, w *[maxBlock][panelRows]float32) {
	for half := 0; half < panelRows; half += 8 {
		var t0, t1, t2, t3, t4, t5, t6, t7 float32
		for k := range a {
			x, q := a[k], (*[8]float32)(w[k][half:])
			t0 += float32(x * q[0])
			t1 += float32(x * q[1])
			t2 += float32(x * q[2])
			t3 += float32(x * q[3])
			t4 += float32(x * q[4])
			t5 += float32(x * q[5])
			t6 += float32(x * q[6])
			t7 += float32(x * q[7])
		}
		*(*[8]float32)(t[half:]) = [8]float32{t0, t1, t2, t3, t4, t5, t6, t7}
	}
}

// dot16 is dot32 for groups of 16.
func dot16(t *[panelRows]float32, a *[16]float32, w *[maxBlock][panelRows]float32) {
	*t = [panelRows]float32{}
	for k := range a {
		x, q := a[k], &w[k]
		for r := range t {
			t[r] += float32(x * q[r])
		}
	}
}

// store rounds the accumulators into C.
func (j *product) store(acc [][panelRows]float32, p int) {
	in := j.in
	for m := range acc {
		at := int(in.C) + m*int(in.LdC)
		if in.OutBF16 {
			out := view[uint16](j.s, at+p*panelRows*2, panelRows)
			for r, v := range &acc[m] {
				out[r] = toBF16(v)
			}
			continue
		}
		copy(view[float32](j.s, at+p*panelRows*4, panelRows), acc[m][:])
	}
}
