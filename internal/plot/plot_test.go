package plot_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/llima-build/llima/internal/plot"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// element is an element of a drawing.
type element struct {
	name   string
	attr   map[string]string
	text   string // of the element and what is in it
	inside string // name of the element around it
}

func (e element) has(class string) bool {
	for c := range strings.FieldsSeq(e.attr["class"]) {
		if c == class {
			return true
		}
	}
	return false
}

func (e element) number(t *testing.T, name string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(e.attr[name], 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		t.Fatalf("%s %v: %s = %q, want a number", e.name, e.attr, name, e.attr[name])
	}
	return v
}

// parse reads a drawing back, and fails where it is not well-formed or holds
// what no drawing of ours may.
func parse(t *testing.T, svg []byte) []element {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(svg))
	d.Strict = true
	var all []element
	var open []int
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%.2000s", err, svg)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			e := element{name: tok.Name.Local, attr: map[string]string{}}
			if tok.Name.Local == "script" || tok.Name.Local == "foreignObject" || tok.Name.Local == "image" {
				t.Errorf("a drawing holds <%s>", tok.Name.Local)
			}
			if len(open) > 0 {
				e.inside = all[open[len(open)-1]].name
			}
			for _, a := range tok.Attr {
				if _, twice := e.attr[a.Name.Local]; twice {
					t.Errorf("<%s> has %s twice", e.name, a.Name.Local)
				}
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href" {
					t.Errorf("<%s> has %s", e.name, a.Name.Local)
				}
				e.attr[a.Name.Local] = a.Value
			}
			open = append(open, len(all))
			all = append(all, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			for _, i := range open {
				all[i].text += string(tok)
			}
		}
	}
	inside(t, all)
	return all
}

// inside holds that every mark and every text lies on the paper.
func inside(t *testing.T, all []element) {
	t.Helper()
	for _, e := range all {
		switch e.name {
		case "rect":
			if x, y, w, h := e.number(t, "x"), e.number(t, "y"), e.number(t, "width"), e.number(t, "height"); x < 0 || y < 0 || w < 0 || h < 0 || x+w > 720 || y+h > 420 {
				t.Errorf("rect %v leaves the paper", e.attr)
			}
		case "circle":
			if x, y := e.number(t, "cx"), e.number(t, "cy"); x < 0 || y < 0 || x > 720 || y > 420 {
				t.Errorf("circle %v leaves the paper", e.attr)
			}
		case "text":
			if e.attr["transform"] != "" {
				continue
			}
			if x, y := e.number(t, "x"), e.number(t, "y"); x < 0 || y < 0 || x > 720 || y > 420 {
				t.Errorf("text %v leaves the paper", e.attr)
			}
		}
	}
}

func find(all []element, name, class string) []element {
	var out []element
	for _, e := range all {
		if e.name == name && e.has(class) {
			out = append(out, e)
		}
	}
	return out
}

// ticks returns places of labelled ticks of the horizontal or the vertical
// axis by their text.
func ticks(t *testing.T, all []element, horizontal bool) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, e := range find(all, "text", "tick") {
		switch {
		case horizontal && e.attr["text-anchor"] == "middle":
			out[e.text] = e.number(t, "x")
		case !horizontal && e.attr["text-anchor"] == "end" && e.number(t, "x") < 100:
			out[e.text] = e.number(t, "y") - 4 // text hangs lower than its tick
		}
	}
	return out
}

func near(a, b float64) bool { return math.Abs(a-b) <= 0.011 }

func golden(t *testing.T, name string, svg []byte) {
	t.Helper()
	parse(t, svg)
	path := filepath.Join("testdata", name+".svg")
	if *update {
		if err := os.WriteFile(path, svg, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(svg, want) {
		t.Errorf("%s: differs from the golden; go test ./internal/plot -update rewrites it", path)
	}
}

// tokens are values spread as KL of tokens is: over many decades, some 0.
func tokens(n int) []float64 {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]float64, n)
	for i := range out {
		out[i] = math.Exp(r.NormFloat64()*1.6 - 5.8)
		if i%97 == 0 {
			out[i] = 0
		}
	}
	return out
}

func histogram() plot.Histogram {
	return plot.Histogram{
		Labels: plot.Labels{
			Title: "bard-int4 against bard-bf16", Description: "KL divergence of 12,000 tokens; mean 0.0095, 99 % below 0.12.",
			X: "KL divergence of a token, nats", Y: "tokens",
		},
		Values: tokens(12000), Unit: "tokens",
		Rules: []plot.Rule{{"mean", 0.0104}, {"99 %", 0.12}, {"max", 2.2}},
	}
}

func bars(layers int) plot.Bars {
	r := rand.New(rand.NewPCG(3, 4))
	b := plot.Bars{
		Labels: plot.Labels{
			Title: "Relative output error by layer", Description: "Each part alone against its BF16 form.",
			X: "layer", Y: "relative output error",
		},
		Category: "layer", Series: []plot.Series{{Name: "PRE"}, {Name: "CACHE"}, {Name: "POST"}},
	}
	for i := range layers {
		b.Series[0].Values = append(b.Series[0].Values, 0.03+0.02*r.Float64())
		b.Series[1].Values = append(b.Series[1].Values, 0.01+0.01*r.Float64())
		b.Series[2].Values = append(b.Series[2].Values, 0.02+0.05*float64(i)/float64(layers)+0.01*r.Float64())
	}
	return b
}

func scatter() plot.Scatter {
	s := plot.Scatter{
		Labels: plot.Labels{
			Title: "Size against KL, bard-3m", Description: "The frontier of mixed precisions falls from 1.6 MiB to 5.4 MiB.",
			X: "weights of all programs, MiB", Y: "KL divergence to BF16, nats",
		},
		Sets: []plot.PointSet{{Name: "frontier, predicted", Line: true}, {Name: "measured together"}, {Name: "one precision for all"}},
	}
	kl := 0.0095
	for i := range 40 {
		x := 1.6 + 3.8*float64(i)/39
		s.Sets[0].Points = append(s.Sets[0].Points, plot.Point{X: x, Y: kl})
		if i%10 == 5 {
			s.Sets[1].Points = append(s.Sets[1].Points, plot.Point{X: x, Y: kl * 1.03})
		}
		kl *= 0.88
	}
	s.Sets[2].Points = []plot.Point{{X: 1.6, Y: 0.0096, Label: "INT4"}, {X: 2.8, Y: 0.00007, Label: "INT8"}, {X: 5.4, Y: 0, Label: "BF16"}}
	return s
}

func TestGoldens(t *testing.T) {
	golden(t, "histogram", histogram().SVG())
	golden(t, "bars", bars(4).SVG())
	golden(t, "bars_many", bars(80).SVG())
	golden(t, "scatter", scatter().SVG())
	_ = fmt.Sprint
}
