package vendor

import (
	"cmp"
	"slices"
	"strings"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/hcl/format"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/diag"
)

// LayerBlocks writes the layer blocks that give parts these precisions, every
// part of the model but CACHE, which has none. The last block holds for the
// rest, so they decide on every part. They are as deep as a model's blocks.
func LayerBlocks(precisions map[addr.PartID]config.Precision) (string, diag.List) {
	var points []point
	for id, p := range precisions {
		points = append(points, point{
			part: id.Part.InRules(), group: config.Layer{PartID: id}.IsGroup(), index: id.Index, want: outcome{p, true, config.LoRADisabled},
		})
	}
	sortPoints(points)
	list := compact(points)
	list.rules = append(list.rules, decisionRule{then: list.otherwise})
	var w writer
	w.line("model \"m\" {")
	w.rules(list, config.LoRADisabled)
	w.line("}")
	text, ds := format.Source("layers", []byte(w.b.String()))
	if ds.HasErrors() {
		return "", internal(ds)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.TrimLeft(strings.Join(lines[1:len(lines)-1], "\n"), "\n") + "\n", nil
}

func sortPoints(points []point) {
	slices.SortFunc(points, func(a, b point) int {
		group := func(p point) int {
			if p.group {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.part, b.part), cmp.Compare(group(a), group(b)))
	})
}
