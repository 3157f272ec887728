package emu

import (
	"github.com/llima-build/llima/modalix/emu/kern"
	"github.com/llima-build/llima/modalix/isa"
)

// fastCode returns the kernel for a tile, if there is one: those of the
// formats that quantisation writes.
func fastCode(t *tile) (code kern.Code, ok bool) {
	if !kern.Available() || t.offsets != nil || blockSize(t.group) != maxBlock {
		return 0, false
	}
	switch t.format.Code() {
	case isa.CodeBF16:
		return kern.BF16, t.scales == nil
	case isa.CodeINT8:
		return kern.INT8, t.scales != nil
	case isa.CodeINT4:
		return kern.INT4, t.scales != nil
	case isa.CodeUINT4:
	}
	return 0, false
}

// fastPanel computes 16 columns of C within the bounds of docs/isa.md §1. acc
// holds what C begins with.
func (j *product) fastPanel(w *workspace, acc [][panelRows]float32, at int) {
	t := &j.tile
	var scales []float32
	if t.scales != nil {
		scales = grow(&w.scales, j.groups*panelRows)
		if from := t.scales[at*t.sPitch:]; t.format.Scale() == isa.ScaleF16 {
			kern.WidenF16(scales, from)
		} else {
			for g := range j.groups {
				readScales((*[panelRows]float32)(scales[g*panelRows:]), from[g*t.scaleEntry:], t.format.Scale())
			}
		}
	}
	kern.Dot(j.code, acc, j.a, t.inputs, t.codes[at*t.cPitch:], scales, t.group)
}
