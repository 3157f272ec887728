package plot

import (
	"fmt"
	"math"
	"strconv"
)

// Bars compares series over categories that are numbered from 0, layers for
// example. Bars begin at 0.
type Bars struct {
	Labels
	Category string // what is numbered: "layer"
	Series   []Series
}

// Series are values by category. NaN is a category without one; a series may
// end before others do.
type Series struct {
	Name   string
	Values []float64
}

// SVG draws the bars.
func (b Bars) SVG() []byte {
	n, bad := 0, 0
	lo, hi, any := 0.0, 0.0, false
	for _, s := range b.Series {
		n = max(n, len(s.Values))
		for _, v := range s.Values {
			switch {
			case math.IsNaN(v):
			case !drawable(v):
				bad++
			default:
				lo, hi, any = math.Min(lo, v), math.Max(hi, v), true
			}
		}
	}
	c := begin(b.Labels, bad)
	if !any {
		return c.empty("no values")
	}
	if lo == hi { // all are 0
		hi = 1
	}
	y := linear(lo, hi, bottom, top, 6, false)
	c.yAxis(y)
	slot := (right - left) / float64(n)
	gap := math.Min(slot*0.2, 12)
	wide := math.Min((slot-gap)/float64(len(b.Series)), 48)
	for si, s := range b.Series {
		for i, v := range s.Values {
			if !drawable(v) {
				continue
			}
			x := left + slot*(float64(i)+0.5) + wide*(float64(si)-float64(len(b.Series))/2)
			edge := math.Min(1, wide*0.1)
			from, to := y.at(math.Max(v, 0)), y.at(math.Min(v, 0))
			c.rect(seriesClass(si)+" bar", x, from, wide-edge, to-from, fmt.Sprintf("%s %d, %s: %.3g", b.Category, i, s.Name, v))
		}
	}
	c.categories(n, slot)
	c.line("axis", left, y.at(0), right, y.at(0))
	c.barLegend(b.Series)
	return c.end()
}

// categories numbers categories below the axis, as many as there is room for.
func (c *canvas) categories(n int, slot float64) {
	every := 1
	if room := 32.0; slot < room {
		every = int(niceStep(room / slot))
	}
	for i := 0; i < n; i += every {
		at := left + slot*(float64(i)+0.5)
		c.line("axis", at, bottom, at, bottom+6)
		c.text("tick", middle, at, bottom+20, strconv.Itoa(i))
	}
}

// barLegend names series, where there is more than one.
func (c *canvas) barLegend(series []Series) {
	if len(series) < 2 {
		return
	}
	var names, classes []string
	var shapes []shape
	for i, s := range series {
		names, classes, shapes = append(names, s.Name), append(classes, seriesClass(i)), append(shapes, swatch)
	}
	c.legend(names, classes, shapes)
}
