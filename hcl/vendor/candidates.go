package vendor

import (
	"slices"

	"github.com/llima-build/llima/internal/addr"
)

// maxBreaks is how many changes from one layer to the next are tried as
// bounds of ranges in every pair; beyond them only neighbouring ones.
const maxBreaks = 20

// stream is the parts of one kind, layer by layer.
type stream struct {
	part  addr.Part
	group bool
}

// candidates returns the conditions that rules are made of: kinds of parts,
// combined with ranges of layers that begin and end where something changes,
// every n-th layer, and, for what follows no pattern, lists of layers.
func candidates(points []point) []condition {
	kinds := kindsOf(points)
	indices := indicesOf(points)
	var out []condition
	for _, kind := range kinds {
		for _, at := range indices {
			c := kind
			c.low, c.high, c.modulus, c.residue = at.low, at.high, at.modulus, at.residue
			out = append(out, c)
		}
	}
	return append(out, setsOf(points, kinds)...)
}

// kindsOf returns the conditions on part and phase.
func kindsOf(points []point) []condition {
	var parts []addr.Part
	for _, p := range points {
		if !slices.Contains(parts, p.part) {
			parts = append(parts, p.part)
		}
	}
	out := []condition{{}, {byGroup: 1}, {byGroup: -1}}
	for _, part := range parts {
		for _, sign := range []int{1, -1} {
			if sign < 0 && len(parts) < 3 {
				continue
			}
			for _, group := range []int{0, 1, -1} {
				out = append(out, condition{part: part, byPart: sign, byGroup: group})
			}
		}
	}
	return out
}

// indicesOf returns the conditions on the layer.
func indicesOf(points []point) []condition {
	breaks := breaksOf(points)
	last := 0
	for i := range points {
		last = max(last, points[i].index)
	}
	out := []condition{{}}
	for i, low := range breaks {
		for j := i; j < len(breaks); j++ {
			if len(breaks) > maxBreaks && i > 0 && j < len(breaks)-1 && j > i {
				continue
			}
			high := 0
			switch {
			case j+1 < len(breaks):
				high = breaks[j+1]
			case low == last:
				high = last + 1
			}
			if low > 0 || high > 0 {
				out = append(out, condition{low: low, high: high})
			}
		}
	}
	if len(breaks) > 3 {
		for n := 2; n <= 8; n++ {
			for r := range n {
				out = append(out, condition{modulus: n, residue: r})
			}
		}
	}
	return out
}

// breaksOf returns 0 and every layer at which a kind of part wants something
// else than in the layer before.
func breaksOf(points []point) []int {
	before := map[stream]point{}
	seen := []int{0}
	sorted := slices.Clone(points)
	slices.SortStableFunc(sorted, func(a, b point) int { return a.index - b.index })
	for _, p := range sorted {
		s := stream{p.part, p.group}
		if was, ok := before[s]; ok && was.want != p.want && !slices.Contains(seen, p.index) {
			seen = append(seen, p.index)
		}
		before[s] = p
	}
	slices.Sort(seen)
	return seen
}

// setsOf returns, for each kind and outcome, the layers in which all parts of
// the kind want it.
func setsOf(points []point, kinds []condition) []condition {
	var out []condition
	for _, kind := range kinds {
		wants := map[int][]outcome{}
		for i := range points {
			if p := &points[i]; kind.holds(p) && !slices.Contains(wants[p.index], p.want) {
				wants[p.index] = append(wants[p.index], p.want)
			}
		}
		sets := map[outcome][]int{}
		for index, want := range wants {
			if len(want) == 1 {
				sets[want[0]] = append(sets[want[0]], index)
			}
		}
		for _, set := range sets {
			slices.Sort(set)
			c := kind
			c.set = set
			if len(set) > 1 {
				out = append(out, c)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b condition) int { return slices.Compare(a.set, b.set) })
	return out
}
