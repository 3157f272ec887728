package view

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// live is lines at the end of a terminal's text that are drawn again and
// again. Each frame is one write. No line reaches the last column, so none is
// wrapped when it is drawn; after the terminal got narrower the lines of the
// last frame are, which is reckoned with.
type live struct {
	w     io.Writer
	size  func() (columns, rows int)
	drawn []int // columns of each line of the last frame
}

// defaultRows is the height of a terminal that does not tell.
const defaultRows = 24

// draw replaces the last frame.
func (l *live) draw(lines []string) {
	columns, rows := l.size()
	if rows <= 0 {
		rows = defaultRows
	}
	if limit := max(rows-1, 1); len(lines) > limit { // else the first line leaves the screen
		more := len(lines) - limit + 1
		lines = append(lines[:limit-1:limit-1], fmt.Sprintf("  and %d more", more))
	}
	var b strings.Builder
	l.erase(&b, columns)
	for i, line := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		line = fit(line, columns-1)
		b.WriteString(line)
		l.drawn = append(l.drawn, utf8.RuneCountInString(line))
	}
	if b.Len() > 0 {
		_, _ = io.WriteString(l.w, b.String()) // a terminal whose loss ends the process
	}
}

// clear removes the last frame.
func (l *live) clear() {
	if len(l.drawn) > 0 {
		l.draw(nil)
	}
}

// erase goes back to the first row of the last frame and clears from there.
func (l *live) erase(b *strings.Builder, columns int) {
	if len(l.drawn) == 0 {
		return
	}
	up := -1
	for _, width := range l.drawn {
		up += max(1, (width+columns-1)/max(columns, 1))
	}
	b.WriteByte('\r')
	if up > 0 {
		fmt.Fprintf(b, "\x1b[%dA", up)
	}
	b.WriteString("\x1b[J")
	l.drawn = l.drawn[:0]
}

// fit shortens a line to a number of columns.
func fit(line string, columns int) string {
	if utf8.RuneCountInString(line) <= columns {
		return line
	}
	return string([]rune(line)[:max(columns-1, 0)]) + "…"
}
