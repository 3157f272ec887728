package plot

import (
	"fmt"
	"math"
	"sort"
)

// Scatter shows points of several series over a linear horizontal and a
// logarithmic vertical axis. Values of 0 and below lie in a lane of their own
// at the bottom.
type Scatter struct {
	Labels
	Sets []PointSet
}

// headroom keeps the highest point, and its label, below the legend.
const headroom = 1.25

// PointSet is a series of points.
type PointSet struct {
	Name   string
	Points []Point
	// Line joins the points in their order, with small marks: a frontier.
	Line bool
}

// Point is a place in a scatter.
type Point struct {
	X, Y  float64
	Label string // written beside the point where there is room; "": none
	Hint  string // shown where one points at the mark
}

// drawable reports whether a point has a place.
func (p Point) drawable() bool { return drawable(p.X) && drawable(p.Y) }

// SVG draws the scatter.
func (s Scatter) SVG() []byte {
	var xs, ys []float64
	bad := 0
	for _, set := range s.Sets {
		for _, p := range set.Points {
			if !p.drawable() {
				bad++
				continue
			}
			xs, ys = append(xs, p.X), append(ys, p.Y)
		}
	}
	c := begin(s.Labels, bad)
	if len(xs) == 0 {
		return c.empty("no points")
	}
	sort.Float64s(xs)
	sort.Float64s(ys)
	lo, hi := logRange(ys)
	low := ""
	if ys[0] < lo {
		low = "0"
	}
	y := logarithmic(lo, hi*headroom, bottom, top, low)
	x := linear(xs[0], xs[len(xs)-1], left, right, 8, false)
	c.yAxis(y)
	c.xAxis(x, true)
	c.sets(x, y, s.Sets)
	return c.end()
}

// sets draws lines first, then marks, then labels: what matters most on top.
func (c *canvas) sets(x, y axis, sets []PointSet) {
	var names, classes []string
	var shapes []shape
	var boxes []box
	for i, set := range sets {
		form := shape(i % 4)
		if set.Line {
			form = stroke
			boxes = append(boxes, c.joined(seriesClass(i), x, y, set.Points)...)
		}
		names, classes, shapes = append(names, set.Name), append(classes, seriesClass(i)), append(shapes, form)
	}
	for i, set := range sets {
		for _, p := range set.Points {
			if !p.drawable() {
				continue
			}
			form, r := shape(i%4), 5.0
			if set.Line {
				form, r = speck, 2.5
			} else {
				boxes = append(boxes, box{x.at(p.X) - r, y.at(p.Y) - r, x.at(p.X) + r, y.at(p.Y) + r})
			}
			hint := p.Hint
			if hint == "" {
				hint = fmt.Sprintf("%s: %.4g, %.3g", set.Name, p.X, p.Y)
			}
			c.mark(seriesClass(i), form, x.at(p.X), y.at(p.Y), r, hint)
		}
	}
	for _, set := range sets {
		for _, p := range set.Points {
			if p.drawable() {
				boxes = c.beside(x.at(p.X), y.at(p.Y), p.Label, boxes)
			}
		}
	}
	c.legend(names, classes, shapes)
}

// joined draws the line of a frontier, and returns the places that it takes.
// It ends where a point has no place.
func (c *canvas) joined(class string, x, y axis, points []Point) []box {
	var line [][2]float64
	var taken []box
	flush := func() {
		if len(line) > 1 {
			c.polyline(class, line)
			taken = append(taken, along(line)...)
		}
		line = nil
	}
	for _, p := range points {
		if !p.drawable() {
			flush()
			continue
		}
		line = append(line, [2]float64{x.at(p.X), y.at(p.Y)})
	}
	flush()
	return taken
}

// along covers a line with small boxes.
func along(line [][2]float64) []box {
	const step, r = 6.0, 3.0
	var out []box
	for i, to := range line[1:] {
		from := line[i]
		n := math.Ceil(math.Hypot(to[0]-from[0], to[1]-from[1])/step) + 1
		for k := range int(n) {
			at := float64(k) / n
			x, y := from[0]+(to[0]-from[0])*at, from[1]+(to[1]-from[1])*at
			out = append(out, box{x - r, y - r, x + r, y + r})
		}
	}
	return out
}

// box is a taken place, in pixels.
type box struct{ x0, y0, x1, y1 float64 }

func (b box) meets(o box) bool { return b.x0 < o.x1 && o.x0 < b.x1 && b.y0 < o.y1 && o.y0 < b.y1 }

// beside writes a label next to a point where it meets nothing that is taken,
// and returns what is taken then. Where there is no such place the label is
// left out: the mark has its hint.
func (c *canvas) beside(x, y float64, label string, taken []box) []box {
	if label == "" {
		return taken
	}
	w := textWidth(label)
	for _, at := range []struct {
		anchor string
		x, y   float64
		box    box
	}{
		{start, x + 9, y + 4, box{x + 9, y - 8, x + 9 + w, y + 8}},
		{end, x - 9, y + 4, box{x - 9 - w, y - 8, x - 9, y + 8}},
		{middle, x, y - 11, box{x - w/2, y - 24, x + w/2, y - 8}},
		{middle, x, y + 20, box{x - w/2, y + 8, x + w/2, y + 24}},
		{start, x + 7, y - 9, box{x + 7, y - 21, x + 7 + w, y - 6}},
		{end, x - 7, y - 9, box{x - 7 - w, y - 21, x - 7, y - 6}},
		{start, x + 7, y + 17, box{x + 7, y + 6, x + 7 + w, y + 21}},
		{end, x - 7, y + 17, box{x - 7 - w, y + 6, x - 7, y + 21}},
	} {
		free := at.box.x0 >= left && at.box.x1 <= right && at.box.y0 >= top-8 && at.box.y1 <= bottom
		for _, b := range taken {
			free = free && !b.meets(at.box)
		}
		if free {
			c.text("tick halo", at.anchor, at.x, at.y, label)
			return append(taken, at.box)
		}
	}
	return taken
}
