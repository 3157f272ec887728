package view

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Meter shows how far something is that knows how much it has to do: a bar on
// a terminal, a line from time to time elsewhere, nothing when quiet.
type Meter struct {
	opt  ProgressOptions
	w    io.Writer
	what string // "tokens"

	mu          sync.Mutex
	live        live
	began       time.Time
	spoke       time.Time
	drawn       time.Time
	done, total int
}

// NewMeter begins to show; [Meter.Close] ends it. what is counted is told in
// the plural.
func NewMeter(w io.Writer, what string, opt ProgressOptions) *Meter {
	now := opt.Now()
	return &Meter{opt: opt, w: w, what: what, live: live{w: w, size: opt.Size}, began: now, spoke: now}
}

// Close clears the bar.
func (m *Meter) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live.clear()
}

// Set says how much is done, and shows it where the last time is a while ago.
func (m *Meter) Set(done, total int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done, m.total = done, total
	now := m.opt.Now()
	switch m.opt.Mode {
	case "tty":
		if now.Sub(m.drawn) < drawInterval && done < total {
			return
		}
		m.drawn = now
		columns, _ := m.opt.Size()
		m.live.draw([]string{m.line(now, min(columns-56, 30))})
	case "plain":
		if now.Sub(m.spoke) < silence {
			return
		}
		m.spoke = now
		fmt.Fprintln(m.w, m.line(now, 0))
	}
}

// line tells how far it is, with a bar of so many cells where there is room.
func (m *Meter) line(now time.Time, cells int) string {
	var b strings.Builder
	if cells >= 10 {
		b.WriteString(bar(float64(m.done)/float64(max(m.total, 1)), cells) + " ")
	}
	spent := now.Sub(m.began)
	fmt.Fprintf(&b, "%d of %d %s, %s", m.done, m.total, m.what, seconds(spent))
	if m.done > 0 && spent > patience {
		if left := time.Duration(float64(spent) * float64(m.total-m.done) / float64(m.done)); left >= patience {
			b.WriteString(", about " + seconds(left) + " left")
		}
	}
	return b.String()
}
