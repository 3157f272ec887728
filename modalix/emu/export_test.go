package emu

import "github.com/llima-build/llima/modalix/emu/kern"

// Force lets a machine use one set of kernels, or none where it is nil.
func (m *Machine) Force(set *kern.Set) {
	m.sets = nil
	if set != nil {
		m.sets = []*kern.Set{set}
	}
}

// Backwards computes the panels of MMs that are computed together last first,
// and on one core.
func (m *Machine) Backwards() {
	compute := m.matrix.panels
	m.matrix.panels = func(worker, lo, hi int) {
		for p := hi - 1; p >= lo; p-- {
			compute(worker, p, p+1)
		}
	}
}
