package lower

import (
	"slices"

	"github.com/llima-build/llima/modalix/isa"
)

// InsertTokens gives tests the token pass.
func InsertTokens(code []isa.Inst) error { return insertTokens(code) }

// Conflicts returns a function that reports whether instructions i and j of a
// program touch the same bytes, one of them writing.
func Conflicts(code []isa.Inst) func(i, j int) bool {
	var tileK [numTiles]int64
	all := make([][]access, len(code))
	for i := range code {
		if code[i].Op == isa.LDW {
			tileK[code[i].Tile] = int64(code[i].KB) * kUnit
		}
		all[i] = accesses(nil, &code[i], tileK[code[i].Tile])
	}
	return func(i, j int) bool {
		for _, x := range all[i] {
			if slices.ContainsFunc(all[j], x.conflicts) {
				return true
			}
		}
		return false
	}
}
