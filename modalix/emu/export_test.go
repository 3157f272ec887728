package emu

import "github.com/llima-build/llima/modalix/emu/kern"

// Force lets a machine use one set of kernels, or none where it is nil.
func (m *Machine) Force(set *kern.Set) {
	m.sets = nil
	if set != nil {
		m.sets = []*kern.Set{set}
	}
}
