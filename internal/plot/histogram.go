package plot

import (
	"fmt"
	"math"
	"sort"
	"strconv"
)

// Histogram counts values on a logarithmic axis. Values of 0 and below, and
// those so small that the others could not be told apart beside them, are
// counted together at its left end.
type Histogram struct {
	Labels
	Values []float64
	Rules  []Rule
	// Unit is what is counted, "tokens".
	Unit string
}

// Rule is a named value: a line across the plot.
type Rule struct {
	Name  string
	Value float64
}

// maxDecades bounds how far apart values of a logarithmic axis may be.
const maxDecades = 12

// SVG draws the histogram.
func (h Histogram) SVG() []byte {
	values := make([]float64, 0, len(h.Values))
	for _, v := range h.Values {
		if drawable(v) {
			values = append(values, v)
		}
	}
	sort.Float64s(values)
	c := begin(h.Labels, len(h.Values)-len(values))
	if len(values) == 0 {
		return c.empty("no values")
	}
	lo, hi := logRange(values)
	low := ""
	if values[0] < lo {
		low = "≤ 0"
		if at := sort.SearchFloat64s(values, lo); values[at-1] > 0 {
			low = "< " + power(1, int(math.Floor(math.Log10(lo))), false)
		}
	}
	bins := newBins(lo, hi, values)
	x := axis{log: true, lo: bins.exponent(0), hi: bins.exponent(len(bins.counts)), low: low, from: left, to: right}
	y := linear(0, float64(bins.most()), bottom, top, 6, true)
	c.yAxis(y)
	for i, n := range bins.counts {
		c.bin(x, y, bins.edge(i), bins.edge(i+1), n, h.unit())
	}
	if bins.below > 0 {
		from, wide := y.at(float64(bins.below)), laneWidth-laneGap-12
		c.rect("s0 bar", x.at(0)-wide/2, from, wide, bottom-from, fmt.Sprintf("%s: %s %s", low, grouped(strconv.Itoa(bins.below)), h.unit()))
	}
	c.xAxis(x, false)
	c.rules(x, h.Rules)
	return c.end()
}

func (h Histogram) unit() string {
	if h.Unit == "" {
		return "values"
	}
	return h.Unit
}

// logRange returns the ends of what a logarithmic axis shows of sorted values:
// 1 to 10 where none is above 0.
func logRange(sorted []float64) (lo, hi float64) {
	hi = sorted[len(sorted)-1]
	if hi < minDrawn {
		return 1, 10
	}
	at := sort.SearchFloat64s(sorted, math.Max(hi*math.Pow10(-maxDecades), minDrawn))
	return sorted[at], hi
}

// bins are counts between edges that are equally far apart on a logarithmic
// axis, a whole number of them in a decade.
type bins struct {
	first     int // edges are 10^((first+i)/perDecade)
	perDecade int
	counts    []int
	below     int // values below the first edge
}

// newBins counts sorted values from lo to hi, both above 0.
func newBins(lo, hi float64, sorted []float64) bins {
	b := bins{perDecade: 10}
	if math.Log10(hi)-math.Log10(lo) > 6 {
		b.perDecade = 5
	}
	b.first = int(math.Floor(math.Log10(lo) * float64(b.perDecade)))
	if lo < b.edge(0) { // the logarithm was rounded
		b.first--
	}
	b.below = sort.SearchFloat64s(sorted, b.edge(0))
	b.counts = make([]int, max(1, int(math.Log10(hi)*float64(b.perDecade))-b.first))
	bin := 0
	for _, v := range sorted[b.below:] {
		for v >= b.edge(bin+1) {
			bin++
		}
		for bin >= len(b.counts) {
			b.counts = append(b.counts, 0)
		}
		b.counts[bin]++
	}
	return b
}

// edge returns where bin i begins, exponent its decimal logarithm.
func (b bins) edge(i int) float64     { return pow10(b.exponent(i)) }
func (b bins) exponent(i int) float64 { return float64(b.first+i) / float64(b.perDecade) }

func (b bins) most() int {
	most := b.below
	for _, n := range b.counts {
		most = max(most, n)
	}
	return most
}

// bin draws one bar of a histogram.
func (c *canvas) bin(x, y axis, from, to float64, n int, unit string) {
	if n == 0 {
		return
	}
	x0, x1 := x.at(from), x.at(to)
	c.rect("s0 bar", x0+0.5, y.at(float64(n)), x1-x0-1, bottom-y.at(float64(n)), fmt.Sprintf("%.3g to %.3g: %s %s", from, to, grouped(strconv.Itoa(n)), unit))
}

// rules draws named values, the names below each other so that they do not
// meet.
func (c *canvas) rules(x axis, rules []Rule) {
	row := 0
	for _, r := range rules {
		if !drawable(r.Value) || r.Value > pow10(x.hi)*(1+1e-9) || r.Value < pow10(x.lo) && x.low == "" {
			continue
		}
		at, name := x.at(r.Value), fmt.Sprintf("%s %.3g", r.Name, r.Value)
		baseline := top + 14 + 17*float64(row)
		row++
		c.line("rule", at, top, at, bottom)
		if at+6+textWidth(name) > right {
			c.text("label halo", end, at-6, baseline, name)
		} else {
			c.text("label halo", start, at+6, baseline, name)
		}
	}
}
