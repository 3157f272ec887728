package view

import (
	"fmt"
	"io"
	"strings"
)

// table lays out rows in columns two spaces apart; column alignment is 'l' or
// 'r' a column. Lines never end in spaces. Where columns is set, a last cell
// of text that would not fit into it goes on below itself, and first cells of
// a table that ends in numbers are cut.
type table struct {
	align   string
	rows    [][]string
	styles  map[int]string // escapes around the first cell, by row
	columns int
}

func (t *table) add(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	t.rows = append(t.rows, cells)
}

// addMarked adds a row whose first cell is in a style, which may be "".
func (t *table) addMarked(style string, cells ...string) {
	if t.styles == nil {
		t.styles = map[int]string{}
	}
	t.styles[len(t.rows)] = style
	t.add(cells...)
}

// write prints the rows, indented.
func (t *table) write(w io.Writer) {
	var width []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], cells(c))
		}
	}
	prose := t.align != "" && t.align[len(t.align)-1] == 'l'
	if t.columns > 0 && !prose {
		t.cut(width)
	}
	for n, row := range t.rows {
		var b strings.Builder
		at := 2
		for i, c := range row {
			if i > 0 {
				b.WriteString("  ")
				at += 2
			}
			pad := strings.Repeat(" ", width[i]-cells(c))
			switch style := t.styles[n]; {
			case i == 0 && style != "":
				c = style + c + reset
			case i > 0 && i == len(row)-1 && t.columns > 0 && prose:
				const least = 20 // narrower than this is no better to read
				c = strings.Join(flow(strings.Fields(c), " ", max(t.columns-at, least)), "\n"+strings.Repeat(" ", at))
			}
			if i < len(t.align) && t.align[i] == 'r' {
				b.WriteString(pad + c)
			} else {
				b.WriteString(c + pad)
			}
			at += width[i]
		}
		fmt.Fprintln(w, strings.TrimRight("  "+b.String(), " "))
	}
}

// cut shortens the first cells so that the rows fit, as far as that goes.
func (t *table) cut(width []int) {
	const least = 12
	total := 2 * len(width)
	for _, w := range width {
		total += w
	}
	room := max(width[0]-(total-t.columns), least)
	if room >= width[0] {
		return
	}
	width[0] = room
	for _, row := range t.rows {
		if cells(row[0]) <= room {
			continue
		}
		short := []rune(row[0])
		for cells(string(short)) > room-1 {
			short = short[:len(short)-1]
		}
		row[0] = string(short) + "…"
	}
}

// Bytes returns a size as people read it, in binary units.
func Bytes(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	}
}

// plural returns "1 file", "2 files".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// ranges returns sorted indices as "0-3, 7".
func ranges(idx []int) string {
	var parts []string
	for i := 0; i < len(idx); {
		j := i
		for j+1 < len(idx) && idx[j+1] == idx[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(idx[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", idx[i], idx[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}
