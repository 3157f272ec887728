package view

import (
	"fmt"
	"strings"

	"github.com/llima-build/llima/planner"
)

// sizes shows what a model takes in memory, beside what it would take with
// all weights in BF16.
func sizes(b *strings.Builder, m *planner.Model, o PlanOptions) {
	f := m.Footprint(o.Board)
	bf16 := m.BF16Footprint()
	unit := unitOf(max(f.DRAMBytes, bf16.DRAMBytes))
	t := table{align: "lrrrrrl"}
	t.add("memory, "+unit.name, "weights", "embeddings", "KV cache", "buffers", "total")
	fits := ""
	if f.BoardDRAMBytes > 0 {
		verdict := "fits"
		if f.DRAMBytes > f.BoardDRAMBytes {
			verdict = "does not fit"
		}
		fits = fmt.Sprintf("of %s: %s", unit.of(f.BoardDRAMBytes), verdict)
	}
	t.add("as planned", unit.of(f.WeightBytes), unit.of(f.EmbeddingBytes), unit.of(f.KVCacheBytes), unit.of(f.BufferBytes), unit.of(f.DRAMBytes), fits)
	if bf16.WeightBytes != f.WeightBytes {
		t.add("in BF16", unit.of(bf16.WeightBytes), unit.of(bf16.EmbeddingBytes), unit.of(bf16.KVCacheBytes), unit.of(bf16.BufferBytes), unit.of(bf16.DRAMBytes))
	}
	t.write(b)
}

// unit is a unit of bytes for a whole table.
type unit struct {
	name   string
	bytes  int64
	digits int
}

func unitOf(n int64) unit {
	switch {
	case n < 1<<20:
		return unit{"KiB", 1 << 10, 1}
	case n < 1<<30:
		return unit{"MiB", 1 << 20, 1}
	default:
		return unit{"GiB", 1 << 30, 2}
	}
}

func (u unit) of(n int64) string { return fmt.Sprintf("%.*f", u.digits, float64(n)/float64(u.bytes)) }
