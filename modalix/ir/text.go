package ir

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
)

// String returns the textual form, one line a node. Values are numbered in
// program order whatever their IDs, so equal functions print equally.
func (f *Func) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "func %s", f.Name)
	if f.ContextTokens > 0 {
		fmt.Fprintf(&b, " context=%d", f.ContextTokens)
	}
	b.WriteString(" {\n")
	number := make(map[*Node]int, len(f.Nodes))
	for _, n := range f.Nodes {
		b.WriteString("  ")
		if n.Op.HasValue() {
			number[n] = len(number)
			fmt.Fprintf(&b, "%%%d = ", number[n])
		}
		b.WriteString(n.Op.String())
		if n.Op == Act || n.Op == GLU {
			b.WriteString("." + n.Fn.String())
		}
		if n.Name != "" {
			b.WriteString(" " + n.Name)
		}
		for i, a := range n.Args {
			if i > 0 {
				b.WriteByte(',')
			}
			if id, ok := number[a]; ok {
				fmt.Fprintf(&b, " %%%d", id)
			} else {
				b.WriteString(" %?")
			}
		}
		n.attributes(&b)
		if n.Op.HasValue() {
			b.WriteString(" : " + n.Type.String())
		}
		b.WriteByte('\n')
	}
	b.WriteString("}\n")
	return b.String()
}

func (n *Node) attributes(b *strings.Builder) {
	float := func(v float32) string { return strconv.FormatFloat(float64(v), 'g', -1, 32) }
	if n.Eps != 0 {
		b.WriteString(" eps=" + float(n.Eps))
	}
	if n.Scale != 0 {
		b.WriteString(" scale=" + float(n.Scale))
	}
	if n.Cap != 0 {
		b.WriteString(" cap=" + float(n.Cap))
	}
	if n.Op == Slice {
		fmt.Fprintf(b, " lo=%d", n.Lo)
	}
	if n.K != 0 {
		fmt.Fprintf(b, " k=%d", n.K)
	}
	if n.Heads != 0 {
		fmt.Fprintf(b, " heads=%d", n.Heads)
	}
	if n.KVHeads != 0 {
		fmt.Fprintf(b, " kv_heads=%d", n.KVHeads)
	}
	if n.HeadDim != 0 {
		fmt.Fprintf(b, " head_dim=%d", n.HeadDim)
	}
	if n.Live != 0 && n.Live != n.HeadDim {
		fmt.Fprintf(b, " live=%d", n.Live)
	}
	if n.Rotary != 0 && n.Rotary != n.HeadDim {
		fmt.Fprintf(b, " rotary=%d", n.Rotary)
	}
	if n.Op == Const {
		fmt.Fprintf(b, " sha256=%.6x", sha256.Sum256(n.Data))
	}
	if n.Interleave {
		b.WriteString(" interleave")
	}
	for _, w := range n.Weights {
		fmt.Fprintf(b, "\n      %s %s [%d,%d]", w.Name, w.Format(), w.N, w.K)
		if w.Stored != 0 {
			fmt.Fprintf(b, " from=%d of=%d", w.First, w.Stored)
		}
		if w.HeadDim != 0 {
			fmt.Fprintf(b, " heads_of=%d", w.HeadDim)
		}
	}
}
