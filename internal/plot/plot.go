// Package plot draws histograms, bars and scatters as SVG: one file without
// script, text as text, for light and dark backgrounds. It knows nothing of
// what it draws. The same data give the same bytes.
package plot

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Labels say what a plot is about.
type Labels struct {
	Title string
	// Description is read out to those who cannot see the plot; what was not
	// drawn is added to it.
	Description string
	X, Y        string // with units
}

// Size of a plot and the room around its marks, in pixels.
const (
	width, height = 720.0, 420.0
	left, right   = 84.0, width - 24
	top, bottom   = 74.0, height - 62
)

// What is drawn: sums, differences and small parts of it are numbers. Less than
// minDrawn is 0.
const (
	maxDrawn = 1e300
	minDrawn = 1e-290
)

// drawable reports whether a value has a place on an axis.
func drawable(v float64) bool { return math.Abs(v) <= maxDrawn }

// begin writes what comes before the marks.
func begin(l Labels, notDrawn int) *canvas {
	c := &canvas{}
	fmt.Fprintf(&c.b, `<svg xmlns="http://www.w3.org/2000/svg" class="llima-plot" role="img" width="%s" height="%s" viewBox="0 0 %[1]s %[2]s">`+"\n",
		px(width), px(height))
	note := notDrawnNote(notDrawn)
	c.element("title", l.Title)
	c.element("desc", strings.TrimSpace(strings.TrimSpace(l.Description)+" "+note))
	c.b.WriteString("<style>" + style + "</style>\n")
	c.rect("paper", 0, 0, width, height, "")
	c.text("title", start, left, 28, cut(l.Title, titleCharacters))
	c.text("label", middle, (left+right)/2, height-22, l.X)
	c.turned("label", 18, (top+bottom)/2, l.Y)
	c.text("note", end, right, height-6, note)
	return c
}

// notDrawnNote says what has no place on an axis.
func notDrawnNote(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 value is not a number and is not drawn."
	}
	return grouped(strconv.Itoa(n)) + " values are not numbers and are not drawn."
}

// empty says that there is nothing to see.
func (c *canvas) empty(what string) []byte {
	c.line("axis", left, bottom, right, bottom)
	c.text("label", middle, (left+right)/2, (top+bottom)/2, what)
	return c.end()
}

// xAxis and yAxis draw an axis with its ticks; grid lines lie behind marks, so
// both come first.
func (c *canvas) xAxis(a axis, grid bool) {
	for _, t := range a.ticks() {
		length := 6.0
		if t.label == "" {
			length = 3
		} else if grid {
			c.line("grid", t.at, top, t.at, bottom)
		}
		c.line("axis", t.at, bottom, t.at, bottom+length)
		c.text("tick", middle, t.at, bottom+20, t.label)
	}
	from := left
	if a.low != "" { // the axis is broken beside its lane
		c.line("axis", left, bottom, left+laneWidth-laneGap, bottom)
		from = left + laneWidth
	}
	c.line("axis", from, bottom, right, bottom)
}

func (c *canvas) yAxis(a axis) {
	if a.low != "" {
		c.line("axis", left, bottom, left, bottom-laneWidth+laneGap)
		c.line("axis", left, bottom-laneWidth, left, top)
	}
	for _, t := range a.ticks() {
		if t.label == "" {
			c.line("axis", left-3, t.at, left, t.at)
			continue
		}
		c.line("grid", left, t.at, right, t.at)
		c.text("tick", end, left-8, t.at+4, t.label)
	}
}

// shapes of marks and of what a legend shows.
type shape int

const (
	circle shape = iota
	square
	diamond
	triangle
	swatch // of bars
	stroke // of lines
	speck  // of points on a line
)

// legend names series in one line above the marks.
func (c *canvas) legend(names []string, classes []string, shapes []shape) {
	x, room := left, (right-left)/float64(len(names))-40
	for i, name := range names {
		if name == "" {
			continue
		}
		name = cut(name, max(2, int(room/labelWidth)))
		c.mark(classes[i], shapes[i], x+6, 52, 5, "")
		c.text("label", start, x+18, 56, name)
		x += 18 + textWidth(name) + 22
	}
}

// seriesClass is the colour of a series.
func seriesClass(i int) string { return fmt.Sprintf("s%d", i%colours) }

// style holds the colours of both backgrounds. They come from the palette of
// Okabe and Ito (Color Universal Design, 2008), lightened on dark.
const style = `
.llima-plot{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.llima-plot .paper{fill:#fff}
.llima-plot text{fill:#1f2328}
.llima-plot .title{font-size:16px;font-weight:600}
.llima-plot .tick{font-size:12px;fill:#57606a}
.llima-plot .note{font-size:11px;fill:#57606a}
.llima-plot .halo{stroke:#fff;stroke-width:4px;stroke-linejoin:round;paint-order:stroke}
.llima-plot .grid{stroke:#d8dee4}
.llima-plot .axis{stroke:#57606a}
.llima-plot .rule{stroke:#1f2328;stroke-dasharray:5 3}
.llima-plot .line{fill:none;stroke-width:2px}
.llima-plot .s0{fill:#0072b2;stroke:#0072b2}
.llima-plot .s1{fill:#d55e00;stroke:#d55e00}
.llima-plot .s2{fill:#009e73;stroke:#009e73}
.llima-plot .s3{fill:#b35a8d;stroke:#b35a8d}
.llima-plot .line{fill:none}
.llima-plot .bar{stroke:none}
.llima-plot .dot{stroke:#fff}
@media (prefers-color-scheme:dark){
.llima-plot .paper{fill:#0d1117}
.llima-plot text{fill:#e6edf3}
.llima-plot .tick{fill:#9da7b3}
.llima-plot .note{fill:#9da7b3}
.llima-plot .halo{stroke:#0d1117}
.llima-plot .grid{stroke:#2a313a}
.llima-plot .axis{stroke:#9da7b3}
.llima-plot .rule{stroke:#e6edf3}
.llima-plot .s0{fill:#56b4e9;stroke:#56b4e9}
.llima-plot .s1{fill:#f0a30a;stroke:#f0a30a}
.llima-plot .s2{fill:#10a070;stroke:#10a070}
.llima-plot .s3{fill:#d98ab8;stroke:#d98ab8}
.llima-plot .line{fill:none}
.llima-plot .dot{stroke:#0d1117}
}
`

// colours is how many series have a colour of their own.
const colours = 4
