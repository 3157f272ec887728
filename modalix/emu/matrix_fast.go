package emu

import (
	"unsafe"

	"github.com/llima-build/llima/modalix/emu/kern"
	"github.com/llima-build/llima/modalix/isa"
)

// kernelCodes are the codes as kernels know them.
var kernelCodes = [...]kern.Code{
	isa.CodeBF16: kern.BF16, isa.CodeINT8: kern.INT8, isa.CodeINT4: kern.INT4, isa.CodeUINT4: kern.UINT4,
}

// prepareFast makes A ready for kernels. Neighbours often have the same A, and
// no batch writes what it reads.
func (u *matrixUnit) prepareFast(q *quad, j *product) {
	in, t, group := j.in, &j.tile, 0
	if t.offsets != nil {
		group = t.group
	}
	if n := len(u.batch); n > 0 {
		p := &u.batch[n-1]
		if same(&p.reads, &j.reads) && p.tile.inputs == t.inputs && group == 0 && p.tile.offsets == nil {
			j.input = p.input
			return
		}
	}
	j.input = len(u.inputs)
	if j.input < cap(u.inputs) {
		u.inputs = u.inputs[:j.input+1] // with the room of an earlier one
	} else {
		u.inputs = append(u.inputs, kern.Input{})
	}
	u.set.Prepare(&u.inputs[j.input], q.s[in.A:], int(in.LdA), int(in.M), t.inputs, group)
}

// fastPanel computes 16 columns of C within the bounds of docs/isa.md §1.
func (j *product) fastPanel(w *workspace, input *kern.Input, p int) {
	in, t := j.in, &j.tile
	acc, at := j.start(w, p), int(in.P0)+p
	panel := kern.Panel{Code: kernelCodes[t.format.Code()], Inputs: t.inputs, Group: t.group, Codes: t.codes[at*t.cPitch:]}
	if t.scales != nil {
		panel.Scales = grow(&w.scales, j.groups*panelRows)
		j.widenScales(panel.Scales, t.scales[at*t.sPitch:], t.format.Scale())
	}
	if t.offsets != nil {
		panel.Offsets = grow(&w.offsets, kern.OffsetRows(j.groups)*panelRows)
		clear(panel.Offsets[j.groups*panelRows:])
		j.widenScales(panel.Offsets[:j.groups*panelRows], t.offsets[at*t.oPitch:], t.format.Offset())
	}
	j.set.Dot(acc, input, &panel, &w.room)
	if in.OutBF16 {
		j.set.NarrowRows(j.s[int(in.C)+p*panelRows*2:], int(in.LdC), acc)
		return
	}
	j.store(acc, p)
}

// widenScales reads the scales or offsets of all groups of a panel.
func (j *product) widenScales(dst []float32, src []byte, kind isa.Scale) {
	switch kind {
	case isa.ScaleF16:
		j.set.WidenF16(dst, src)
	case isa.ScaleBF16:
		j.set.WidenBF16(dst, src)
	case isa.ScaleF32:
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 4*len(dst)), src) // the host is little-endian
	case isa.ScaleNone:
	}
}
