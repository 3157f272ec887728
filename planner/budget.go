package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// CheckBudget compares what a model is estimated to take with its budget and
// with the memory of the board. What exceeds them is an error or, where the
// budget says so or only the board is too small, a warning.
func (m *Model) CheckBudget(board config.Board) diag.List {
	f := m.Footprint(board)
	limits := config.Limits{OnExceed: "warning"}
	if m.Config.Budget != nil {
		var diags diag.List
		if limits, diags = m.Config.Budget.Limits(f); diags.HasErrors() {
			return diags
		}
	}
	severity := diag.Error
	if limits.OnExceed == "warning" {
		severity = diag.Warning
	}
	var out diag.List
	if most := limits.MaxSizeBytes; most > 0 && f.SizeBytes > most {
		r := limits.MaxSizeRange
		out = append(out, diag.Diagnostic{
			Severity: severity, Summary: "Budget exceeded: max_size", Subject: &r,
			Detail: m.exceeds("", f.SizeBytes, most, func(f config.Footprint) int64 { return f.SizeBytes }),
		})
	}
	switch most := limits.MaxDRAMBytes; {
	case most > 0 && f.DRAMBytes > most:
		r := limits.MaxDRAMRange
		out = append(out, diag.Diagnostic{
			Severity: severity, Summary: "Budget exceeded: max_dram", Subject: &r,
			Detail: m.exceeds(" of memory", f.DRAMBytes, most, func(f config.Footprint) int64 { return f.DRAMBytes }),
		})
	case f.BoardDRAMBytes > 0 && f.DRAMBytes > f.BoardDRAMBytes:
		r := m.Config.Decl
		out = append(out, diag.Diagnostic{
			Severity: severity, Summary: "Larger than the board's memory", Subject: &r,
			Detail: m.exceeds(" of memory on "+board.Name, f.DRAMBytes, f.BoardDRAMBytes, func(f config.Footprint) int64 { return f.DRAMBytes }),
		})
	}
	return out
}

// exceeds says by how much a model is too large, and what would make it fit:
// the largest context that does, and the layers to lower.
func (m *Model) exceeds(what string, have, limit int64, measure func(config.Footprint) int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Model %q takes an estimated %s%s, %s more than the %s allowed.", m.Config.Name, gib(have), what, gib(have-limit), gib(limit))
	fits := m.largestContext(limit, measure)
	if fits > 0 {
		fmt.Fprintf(&b, " The largest context that fits:\n\n    context_length = %d\n", fits)
	}
	change, size, ok := m.lower(limit, measure)
	switch {
	case ok && fits > 0:
		fmt.Fprintf(&b, "\nOr, with the context as it is, lower precision: %s, which takes %s.", change, gib(size))
	case ok:
		fmt.Fprintf(&b, " No context is short enough. Lower precision instead: %s, which takes %s.", change, gib(size))
	case fits > 0:
		fmt.Fprintf(&b, "\nLower precision alone is not enough: with all weights in %s it takes %s.", config.INT4, gib(size))
	default:
		fmt.Fprintf(&b, " Neither a shorter context nor lower precision is enough: with all weights in %s it takes %s.", config.INT4, gib(size))
	}
	return b.String()
}

// gib is a size in the units in which limits are written.
func gib(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
}

// largestContext returns the longest legal context shorter than the model's
// that fits, in tokens; 0 where none does.
func (m *Model) largestContext(limit int64, measure func(config.Footprint) int64) int {
	step := m.Params.GroupTokens
	for step%m.Params.MaskTokens != 0 {
		step += m.Params.GroupTokens
	}
	fits := func(steps int) bool {
		f := m.footprint(steps*step, func(p Part) config.Precision { return p.Decision.Precision }, m.carried())
		return measure(f) <= limit
	}
	low, high := 0, (m.Params.ContextTokens-1)/step // low fits, or is 0; nothing above high is shorter
	for low < high {
		if middle := (low + high + 1) / 2; fits(middle) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low * step
}

// lower finds the fewest layers whose precision has to be lowered, a step at a
// time: BF16 to INT8 first, then INT8 to INT4, those in the middle of the
// model first, as the first and the last layers bear it worst. size is what
// the model takes then or, where that is too much still, with all in INT4.
func (m *Model) lower(limit int64, measure func(config.Footprint) int64) (change string, size int64, ok bool) {
	lowered := map[addr.PartID]config.Precision{}
	take := func() int64 {
		return measure(m.footprint(m.Params.ContextTokens, func(p Part) config.Precision {
			return cmp.Or(lowered[p.ID], p.Decision.Precision)
		}, m.carried()))
	}
	if m.carried() != nil {
		return "", take(), false // its matrices are what they are
	}
	var said []string
	for _, s := range []struct{ from, to config.Precision }{{config.BF16, config.INT8}, {config.INT8, config.INT4}} {
		var layers []int
		for _, l := range m.fromMiddle() {
			changed := false
			for _, p := range m.Parts {
				if now := cmp.Or(lowered[p.ID], p.Decision.Precision); p.ID.Index == l && now == s.from && p.ID.Part != addr.Cache {
					lowered[p.ID], changed = s.to, true
				}
			}
			if !changed {
				continue
			}
			layers = append(layers, l)
			if size = take(); size <= limit {
				return strings.Join(append(said, lowering(layers, s.from, s.to)), " and "), size, true
			}
		}
		if len(layers) > 0 {
			said = append(said, lowering(layers, s.from, s.to))
		}
	}
	return "", take(), false
}

// fromMiddle lists the layers, those in the middle first.
func (m *Model) fromMiddle() []int {
	n := m.Arch.NumHiddenLayers
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(max(2*a-n+1, n-1-2*a), max(2*b-n+1, n-1-2*b)) })
	return out
}

func lowering(layers []int, from, to config.Precision) string {
	slices.Sort(layers)
	if len(layers) == 1 {
		return fmt.Sprintf("layer %d from %s to %s", layers[0], from, to)
	}
	return fmt.Sprintf("layers %d-%d from %s to %s", layers[0], layers[len(layers)-1], from, to)
}
