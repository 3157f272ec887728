package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// canvas writes elements of SVG.
type canvas struct{ b bytes.Buffer }

// Anchors of text.
const (
	start  = "start"
	middle = "middle"
	end    = "end"
)

// end closes the document.
func (c *canvas) end() []byte {
	c.b.WriteString("</svg>\n")
	return c.b.Bytes()
}

// px writes a coordinate: hundredths of a pixel, without trailing zeros.
func px(v float64) string {
	v = math.Round(v*100) / 100
	if v == 0 {
		v = 0 // not -0
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// escape makes text safe in elements and attributes. What XML cannot hold
// becomes U+FFFD.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}

func (c *canvas) element(name, text string) {
	fmt.Fprintf(&c.b, "<%s>%s</%[1]s>\n", name, escape(text))
}

// close ends a mark, which says what it is where one points at it.
func (c *canvas) close(name, hint string) {
	if hint == "" {
		c.b.WriteString("/>\n")
		return
	}
	fmt.Fprintf(&c.b, "><title>%s</title></%s>\n", escape(hint), name)
}

func (c *canvas) rect(class string, x, y, w, h float64, hint string) {
	fmt.Fprintf(&c.b, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"`, class, px(x), px(y), px(w), px(h))
	c.close("rect", hint)
}

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&c.b, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`+"\n", class, px(x1), px(y1), px(x2), px(y2))
}

func (c *canvas) polyline(class string, xy [][2]float64) {
	points := make([]string, len(xy))
	for i, p := range xy {
		points[i] = px(p[0]) + "," + px(p[1])
	}
	fmt.Fprintf(&c.b, `<polyline class="%s line" points="%s"/>`+"\n", class, strings.Join(points, " "))
}

// mark draws a shape around a point.
func (c *canvas) mark(class string, s shape, x, y, r float64, hint string) {
	switch s {
	case circle:
		fmt.Fprintf(&c.b, `<circle class="%s dot" cx="%s" cy="%s" r="%s"`, class, px(x), px(y), px(r))
		c.close("circle", hint)
	case speck: // without an edge, which would cut the line where specks are close
		fmt.Fprintf(&c.b, `<circle class="%s bar" cx="%s" cy="%s" r="%s"`, class, px(x), px(y), px(r))
		c.close("circle", hint)
	case square:
		c.rect(class+" dot", x-r*0.9, y-r*0.9, 1.8*r, 1.8*r, hint)
	case swatch:
		c.rect(class+" bar", x-6, y-5, 12, 10, hint)
	case diamond:
		c.path(class, hint, [][2]float64{{x, y - 1.25*r}, {x + 1.25*r, y}, {x, y + 1.25*r}, {x - 1.25*r, y}})
	case triangle:
		c.path(class, hint, [][2]float64{{x, y - 1.2*r}, {x + 1.15*r, y + 0.8*r}, {x - 1.15*r, y + 0.8*r}})
	case stroke:
		c.polyline(class, [][2]float64{{x - 8, y}, {x + 8, y}})
	}
}

func (c *canvas) path(class, hint string, corners [][2]float64) {
	points := make([]string, len(corners))
	for i, p := range corners {
		points[i] = px(p[0]) + " " + px(p[1])
	}
	fmt.Fprintf(&c.b, `<path class="%s dot" d="M%sZ"`, class, strings.Join(points, "L"))
	c.close("path", hint)
}

func (c *canvas) text(class, anchor string, x, y float64, s string) {
	if s == "" {
		return
	}
	fmt.Fprintf(&c.b, `<text class="%s" x="%s" y="%s" text-anchor="%s">%s</text>`+"\n", class, px(x), px(y), anchor, escape(s))
}

// turned writes text from the bottom to the top.
func (c *canvas) turned(class string, x, y float64, s string) {
	if s == "" {
		return
	}
	fmt.Fprintf(&c.b, `<text class="%s" transform="translate(%s %s) rotate(-90)" text-anchor="middle">%s</text>`+"\n", class, px(x), px(y), escape(s))
}

// How wide a character of a label is, in pixels, and how many have room in a
// title. Fonts differ: these are estimates.
const (
	labelWidth      = 7.0
	titleCharacters = 66
)

// textWidth estimates the width of a label.
func textWidth(s string) float64 { return labelWidth * float64(utf8.RuneCountInString(s)) }

// cut shortens text to so many characters.
func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// grouped writes the digits of a count with commas.
func grouped(digits string) string {
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
