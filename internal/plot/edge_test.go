package plot_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/internal/plot"
)

// TestHistogramMarks holds that each bar covers its decade part and is as
// high as its count, against the ticks of the same drawing.
func TestHistogramMarks(t *testing.T) {
	values := []float64{0, 0, 0, 1e-7, 0.01, 0.0101, 0.0102, 0.011, 0.5, 0.99}
	all := parse(t, plot.Histogram{Values: values, Unit: "tokens", Rules: []plot.Rule{{Name: "mean", Value: 0.01}}}.SVG())
	x, y := ticks(t, all, true), ticks(t, all, false)
	bars := find(all, "rect", "bar")
	type bar struct {
		from, to float64
		count    int
	}
	var got []bar
	for _, b := range bars {
		left := b.number(t, "x")
		if left < x["10⁻⁷"]-1 { // of the lane for 0
			if b.text != "≤ 0: 3 tokens" || !near(left+b.number(t, "width")/2, x["≤ 0"]) || !near(b.number(t, "y"), y["3"]) {
				t.Errorf("bar of zeros %v %q, ticks %v %v", b.attr, b.text, x, y)
			}
			continue
		}
		decade := (x["10⁻¹"] - x["10⁻⁶"]) / 5
		exponent := func(px float64) float64 { return -6 + (px-x["10⁻⁶"])/decade }
		perCount := (y["0"] - y["4"]) / 4
		got = append(got, bar{
			math.Round(100 * exponent(left-0.5)), math.Round(100 * exponent(left+b.number(t, "width")+0.5)),
			int(math.Round(b.number(t, "height") / perCount)),
		})
		if !near(b.number(t, "y")+b.number(t, "height"), y["0"]) {
			t.Errorf("bar %v does not stand on the axis at %v", b.attr, y["0"])
		}
	}
	// Hundredths of decades: five bars a decade, since values cover seven.
	want := []bar{{-700, -680, 1}, {-200, -180, 4}, {-40, -20, 1}, {-20, 0, 1}}
	if !slices.Equal(got, want) {
		t.Errorf("bars %v, want %v; ticks %v", got, want, x)
	}
	rules := find(all, "line", "rule")
	if len(rules) != 1 || !near(rules[0].number(t, "x1"), x["10⁻²"]) {
		t.Errorf("rules %v, want one at %v", rules, x["10⁻²"])
	}
}

func TestBarsMarks(t *testing.T) {
	b := plot.Bars{Category: "layer", Series: []plot.Series{{Name: "PRE", Values: []float64{0.2, math.NaN(), 0.4}}, {Name: "POST", Values: []float64{0.1}}}}
	all := parse(t, b.SVG())
	x, y := ticks(t, all, true), ticks(t, all, false)
	unit := (y["0.0"] - y["0.4"]) / 0.4
	type bar struct {
		hint, class string
		side        int // of its category's middle
		height      float64
	}
	var got []bar
	for _, e := range find(all, "rect", "bar") {
		if e.text == "" {
			continue // of the legend
		}
		mid := e.number(t, "x") + e.number(t, "width")/2
		layer := strings.Fields(strings.TrimSuffix(e.text, ","))[1]
		side := 1
		if mid < x[strings.TrimSuffix(layer, ",")] {
			side = -1
		}
		got = append(got, bar{e.text, e.attr["class"], side, math.Round(1000*e.number(t, "height")/unit) / 1000})
	}
	want := []bar{
		{"layer 0, PRE: 0.2", "s0 bar", -1, 0.2}, {"layer 2, PRE: 0.4", "s0 bar", -1, 0.4}, {"layer 0, POST: 0.1", "s1 bar", 1, 0.1},
	}
	if !slices.Equal(got, want) {
		t.Errorf("bars %v, want %v", got, want)
	}
	if names := find(all, "text", "label"); len(names) != 2 || names[0].text != "PRE" || names[1].text != "POST" {
		t.Errorf("legend %v", names)
	}
}

func TestScatterMarks(t *testing.T) {
	s := plot.Scatter{Sets: []plot.PointSet{
		{Name: "frontier", Line: true, Points: []plot.Point{{X: 1, Y: 0.1}, {X: 2, Y: 0.01}, {X: 3, Y: 0}}},
		{Name: "measured", Points: []plot.Point{{X: 2, Y: 0.001, Label: "here"}}},
	}}
	all := parse(t, s.SVG())
	x, y := ticks(t, all, true), ticks(t, all, false)
	dots := find(all, "circle", "s0")
	want := [][2]float64{{x["1.0"], y["0.100"]}, {x["2.0"], y["0.010"]}, {x["3.0"], y["0"]}}
	if y["0.100"] == 0 {
		want = [][2]float64{{x["1.0"], y["0.1"]}, {x["2.0"], y["0.01"]}, {x["3.0"], y["0"]}}
	}
	if len(dots) != len(want) {
		t.Fatalf("%d dots, want %d", len(dots), len(want))
	}
	var line []string
	for i, d := range dots {
		if cx, cy := d.number(t, "cx"), d.number(t, "cy"); !near(cx, want[i][0]) || !near(cy, want[i][1]) {
			t.Errorf("dot %d at %v %v, want %v; ticks %v %v", i, cx, cy, want[i], x, y)
		}
		line = append(line, d.attr["cx"]+","+d.attr["cy"])
	}
	if joined := find(all, "polyline", "line"); joined[0].attr["points"] != strings.Join(line, " ") {
		t.Errorf("line %q does not join the dots %q", joined[0].attr["points"], line)
	}
	square := find(all, "rect", "dot")
	if mid := square[0].number(t, "y") + square[0].number(t, "height")/2; !near(mid, y["0.001"]) {
		t.Errorf("square at %v, want %v", mid, y["0.001"])
	}
	if labels := find(all, "text", "halo"); len(labels) != 1 || labels[0].text != "here" || math.Abs(labels[0].number(t, "y")-4-y["0.001"]) > 1 {
		t.Errorf("labels %v", labels)
	}
}

// TestLabels holds that all labels of a frontier's ends find a place off its
// line and its marks.
func TestLabels(t *testing.T) {
	all := parse(t, scatter().SVG())
	got := map[string]bool{}
	for _, e := range find(all, "text", "halo") {
		got[e.text] = true
		x, y := e.number(t, "x"), e.number(t, "y")-4
		for _, dot := range find(all, "circle", "s0") {
			dx := dot.number(t, "cx") - x
			if e.attr["text-anchor"] == "end" {
				dx = -dx
			}
			if dx > 0 && dx < 28 && math.Abs(dot.number(t, "cy")-y) < 6 {
				t.Errorf("label %q at %v,%v lies on the line's point %v", e.text, x, y, dot.attr)
			}
		}
	}
	if len(got) != 3 {
		t.Errorf("labels %v, want INT4, INT8 and BF16", got)
	}
}

// TestOdd holds that whatever the data, a drawing is well-formed, lies on its
// paper and says what it does not show.
func TestOdd(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	many := make([]float64, 200000)
	for i := range many {
		many[i] = float64(i)
	}
	for _, test := range []struct {
		name   string
		values []float64
		want   string // text of it
	}{
		{"none", nil, "no "},
		{"one", []float64{0.25}, ""},
		{"zero", []float64{0}, ""},
		{"zeros", []float64{0, 0, 0}, ""},
		{"equal", []float64{3, 3, 3}, ""},
		{"negative", []float64{-1, -2e-9}, ""},
		{"mixed", []float64{-1, 0, 1e-30, 5}, ""},
		{"nan", []float64{nan}, "no "},
		{"some nan", []float64{nan, 1, nan}, "2 values are not numbers"},
		{"infinite", []float64{inf, -inf, 1}, "2 values are not numbers"},
		{"huge", []float64{1e300, -1e300, 1}, ""},
		{"too huge", []float64{math.MaxFloat64, 2}, "1 value is not a number"},
		{"tiny", []float64{math.SmallestNonzeroFloat64, 1e-320}, ""},
		{"close", []float64{1, math.Nextafter(1, 2)}, ""},
		{"wide", []float64{1e-200, 1e200}, ""},
		{"many", many, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var points []plot.Point
			for i, v := range test.values {
				points = append(points, plot.Point{X: v, Y: v, Label: fmt.Sprint(i)})
			}
			few := test.values[:min(1000, len(test.values))]
			for kind, svg := range map[string][]byte{
				"histogram": plot.Histogram{Values: test.values, Rules: []plot.Rule{{"a", 1}, {"b", nan}, {"c", inf}, {"d", 0}}}.SVG(),
				"bars":      plot.Bars{Category: "layer", Series: []plot.Series{{Name: "a", Values: few}, {Name: "b"}}}.SVG(),
				"scatter":   plot.Scatter{Sets: []plot.PointSet{{Name: "a", Points: points[:len(few)], Line: true}, {Name: "b", Points: points[:len(few)]}}}.SVG(),
			} {
				all := parse(t, svg)
				text := all[0].text
				if test.want != "" && kind != "scatter" && kind != "bars" && !strings.Contains(text, test.want) {
					t.Errorf("%s says %q, want %q in it", kind, text, test.want)
				}
				if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
					t.Errorf("%s holds a coordinate that is not a number:\n%.3000s", kind, svg)
				}
			}
		})
	}
}

// TestCounts holds that no value is lost between bars.
func TestCounts(t *testing.T) {
	for _, values := range [][]float64{tokens(5000), {1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10}, {0.2, 0.5, 2, 5}, {1e-30, 1}, {1e-300, 1e-299}} {
		all := parse(t, plot.Histogram{Values: values}.SVG())
		sum := 0
		for _, b := range find(all, "rect", "bar") {
			var n int
			_, text, _ := strings.Cut(b.text, ": ")
			if _, err := fmt.Sscan(strings.ReplaceAll(text, ",", ""), &n); err != nil {
				t.Fatalf("bar says %q", b.text)
			}
			sum += n
		}
		if sum != len(values) {
			t.Errorf("bars of %d values count %d", len(values), sum)
		}
	}
}

// TestText holds that names from outside are text in the drawing, whatever
// they are, and that it can be read out.
func TestText(t *testing.T) {
	odd := "<script>alert(1)</script> & \"x\" \x00\xff 日本 " + strings.Repeat("long ", 40)
	svg := plot.Bars{Labels: plot.Labels{Title: odd, Description: odd, X: odd, Y: odd}, Category: odd, Series: []plot.Series{{Name: odd, Values: []float64{1}}, {Name: odd}}}.SVG()
	all := parse(t, svg)
	if all[0].name != "svg" || all[0].attr["role"] != "img" || all[1].name != "title" || all[2].name != "desc" {
		t.Errorf("the drawing begins with %v", all[:3])
	}
	if !strings.HasPrefix(all[1].text, "<script>alert(1)</script> & \"x\" \uFFFD\uFFFD 日本 long") {
		t.Errorf("title %q", all[1].text)
	}
}

// TestSameBytes holds that drawing twice gives the same.
func TestSameBytes(t *testing.T) {
	if !bytes.Equal(histogram().SVG(), histogram().SVG()) || !bytes.Equal(bars(9).SVG(), bars(9).SVG()) || !bytes.Equal(scatter().SVG(), scatter().SVG()) {
		t.Error("the same data give different bytes")
	}
}
