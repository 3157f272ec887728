package runtime

import "github.com/llima-build/llima/modalix/isa"

// Memory is what a loaded model holds beside its files, in bytes.
type Memory struct {
	KVCacheBytes int64
	BufferBytes  int64 // inputs, outputs and temporaries of programs
}

// Memory returns what the model holds now; temporaries grow while it runs.
func (m *Model) Memory() Memory {
	mem := Memory{BufferBytes: int64(len(m.in) + len(m.out) + len(m.tmp))}
	for _, kv := range m.kv {
		mem.KVCacheBytes += int64(len(kv))
	}
	return mem
}

// bindBuffers gives all programs the same inputs and outputs. One program runs
// at a time, and what it gives is copied before the next one runs.
func (m *Model) bindBuffers(programs map[string]*program) {
	var in, out int64
	for _, p := range programs {
		in, out = max(in, p.prog.SegmentSize(isa.In)), max(out, p.prog.SegmentSize(isa.Out))
	}
	m.in, m.out = alignedBytes(in), alignedBytes(out)
	for _, p := range programs {
		p.in, p.out = m.in[:p.prog.SegmentSize(isa.In)], m.out[:p.prog.SegmentSize(isa.Out)]
	}
}
