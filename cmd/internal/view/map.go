package view

import (
	"fmt"
	"strings"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
)

// cell is one part of one layer on the map.
type cell struct {
	letter byte
	stale  bool
}

// letters stand for what a part is compiled with.
var letters = []struct {
	letter byte
	text   string
}{{'B', "B BF16"}, {'8', "8 INT8"}, {'4', "4 INT4"}, {'c', "c no weights"}, {'-', "- not compiled"}}

// precisionMap draws a letter for each layer: what each part is compiled with.
// Rows that do not fit into the terminal go on below, in rows of equal length.
// Where only some parts are stale, those stand out.
func precisionMap(b *strings.Builder, p *planner.Plan, m *planner.Model, o PlanOptions) {
	layers := m.Arch.NumHiddenLayers
	const label, plain = 12, 80 // columns before the first layer; of what is no terminal
	columns := o.Columns
	if columns == 0 {
		columns = plain
	}
	width := max((columns-label)/10*10, 10)
	blocks := (layers + width - 1) / width
	width = ((layers+blocks-1)/blocks + 9) / 10 * 10
	rows, used := mapRows(p, m)
	for from := 0; from < layers; from += width {
		to := min(from+width, layers)
		if from > 0 {
			b.WriteString("\n")
		}
		var ruler strings.Builder
		for l := from; l < to; l += 10 {
			fmt.Fprintf(&ruler, "%-10d", l)
		}
		fmt.Fprintf(b, "  %-8s  %s\n", "layer", strings.TrimRight(ruler.String(), " "))
		for _, part := range addr.Parts {
			for _, phase := range addr.Phases {
				if r, ok := rows[rowOf{part, phase}]; ok {
					text := drawRow(r[from:to], o.Color)
					if strings.TrimSpace(text) != "" {
						fmt.Fprintf(b, "  %-6s %s  %s\n", part, phase.String()[:1], text)
					}
				}
			}
		}
	}
	legend := []string{"p prefill, d decode"}
	for _, l := range letters {
		if used[l.letter] {
			legend = append(legend, l.text)
		}
	}
	for _, line := range flow(legend, " · ", max(columns-2, 0)) {
		b.WriteString("  " + line + "\n")
	}
	b.WriteString("\n")
}

// rowOf is a row of the map.
type rowOf struct {
	part  addr.Part
	phase addr.Phase
}

// mapRows returns the rows of the map, a cell for each layer, and the letters
// that stand in them.
func mapRows(p *planner.Plan, m *planner.Model) (rows map[rowOf][]cell, used map[byte]bool) {
	stale, fresh := map[addr.PartID]bool{}, false
	for i := range p.Decisions {
		d := &p.Decisions[i]
		quantises := d.Target.Addr.Stage == addr.Quantize || d.Target.Addr.Stage == addr.ModelSDKDirect || d.Target.Addr.Stage == addr.SourceToQuant
		if d.Target.Model != m || !quantises {
			continue
		}
		if d.State == planner.Fresh {
			fresh = true
		} else {
			stale[d.Target.Part] = true
		}
	}
	precision := map[config.Precision]byte{config.BF16: 'B', config.INT8: '8', config.INT4: '4'}
	rows, used = map[rowOf][]cell{}, map[byte]bool{}
	for _, part := range m.Parts {
		letter := precision[part.Decision.Precision]
		switch {
		case !part.Decision.Compile:
			letter = '-'
		case part.ID.Part == addr.Cache:
			letter = 'c'
		}
		used[letter] = true
		key := rowOf{part.ID.Part, part.ID.Phase}
		if rows[key] == nil {
			rows[key] = make([]cell, max(m.Arch.NumHiddenLayers, part.ID.Index+1))
		}
		rows[key][part.ID.Index] = cell{letter, fresh && stale[part.ID]}
	}
	return rows, used
}

// drawRow draws the letters of a row; a layer without the part is a blank.
func drawRow(row []cell, color bool) string {
	var b strings.Builder
	for i := 0; i < len(row); {
		j := i
		for j < len(row) && row[j].stale == row[i].stale {
			j++
		}
		run := make([]byte, 0, j-i)
		for _, c := range row[i:j] {
			run = append(run, max(c.letter, ' '))
		}
		style := ""
		if row[i].stale {
			style = bold + magenta
		}
		b.WriteString(paint(color, style, string(run)))
		i = j
	}
	return strings.TrimRight(b.String(), " ")
}
