package plot_test

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/llima-build/llima/internal/plot"
)

// rgb is a colour in linear light, 0 to 1.
type rgb [3]float64

func parseColour(t *testing.T, hex string) rgb {
	t.Helper()
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	var c rgb
	for i := range c {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		v := float64(n) / 255
		if v <= 0.04045 {
			c[i] = v / 12.92
		} else {
			c[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return c
}

func (c rgb) luminance() float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] }

// contrast is that of WCAG 2.2, section 1.4.11.
func contrast(a, b rgb) float64 {
	x, y := a.luminance(), b.luminance()
	return (math.Max(x, y) + 0.05) / (math.Min(x, y) + 0.05)
}

// sight is how eyes see, as matrices over linear light: Machado, Oliveira and
// Fernandes, A Physiologically-based Model for Simulation of Color Vision
// Deficiency (2009), severity 1.
var sight = map[string][9]float64{
	"usual":        {1, 0, 0, 0, 1, 0, 0, 0, 1},
	"protanopia":   {0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998},
	"deuteranopia": {0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881},
	"tritanopia":   {1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900},
}

func seen(m [9]float64, c rgb) rgb {
	var out rgb
	for i := range out {
		out[i] = math.Min(1, math.Max(0, m[3*i]*c[0]+m[3*i+1]*c[1]+m[3*i+2]*c[2]))
	}
	return out
}

// lab is CIE L*a*b* for D65.
func (c rgb) lab() [3]float64 {
	f := func(v float64) float64 {
		if v > 216.0/24389 {
			return math.Cbrt(v)
		}
		return (24389.0/27*v + 16) / 116
	}
	x := f((0.4124*c[0] + 0.3576*c[1] + 0.1805*c[2]) / 0.95047)
	y := f(c.luminance())
	z := f((0.0193*c[0] + 0.1192*c[1] + 0.9505*c[2]) / 1.08883)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}

func distance(a, b rgb) float64 {
	p, q := a.lab(), b.lab()
	return math.Hypot(math.Hypot(p[0]-q[0], p[1]-q[1]), p[2]-q[2])
}

// TestColours holds that eyes of every kind tell series from each other and
// from the background, on both backgrounds. A difference of 2.3 is just
// noticeable.
func TestColours(t *testing.T) {
	sheet := string(plot.Bars{}.SVG())
	lightSheet, darkSheet, _ := strings.Cut(sheet, "@media")
	for name, css := range map[string]string{"light": lightSheet, "dark": darkSheet} {
		colour := func(class string) rgb {
			m := regexp.MustCompile(regexp.QuoteMeta(class) + `\{[^}]*fill:#([0-9a-f]+)`).FindStringSubmatch(css)
			if m == nil {
				t.Fatalf("%s: no colour of %s", name, class)
			}
			return parseColour(t, m[1])
		}
		paper := colour(".paper")
		for _, text := range []string{" text", ".tick", ".note"} {
			if got := contrast(colour(text), paper); got < 4.5 {
				t.Errorf("%s: contrast of %s is %.1f, want 4.5", name, text, got)
			}
		}
		series := []rgb{colour(".s0"), colour(".s1"), colour(".s2"), colour(".s3")}
		for i, a := range series {
			if got := contrast(a, paper); got < 3 {
				t.Errorf("%s: contrast of series %d is %.1f, want 3", name, i, got)
			}
			for j, b := range series[:i] {
				for kind, m := range sight {
					if got := distance(seen(m, a), seen(m, b)); got < 12 {
						t.Errorf("%s, %s: series %d and %d are %.1f apart, want 12", name, kind, j, i, got)
					}
				}
			}
		}
	}
}
