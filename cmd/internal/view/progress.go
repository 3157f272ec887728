package view

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/planner"
)

// Progress shows a build as it goes: one line that is rewritten on a
// terminal, whole lines elsewhere, nothing but failures when quiet.
type Progress struct {
	w       io.Writer
	mode    string // "tty", "plain" or "quiet"
	columns int
	color   bool
	now     func() time.Time

	mu      sync.Mutex
	began   time.Time
	running []*planner.Target
	done    int
	total   int
	drawn   bool
	stop    chan struct{}
	stopped sync.WaitGroup
}

// NewProgress starts showing; [Progress.Close] ends it.
func NewProgress(w io.Writer, mode string, columns int, color bool, now func() time.Time) *Progress {
	p := &Progress{w: w, mode: mode, columns: columns, color: color, now: now, began: now(), stop: make(chan struct{})}
	if mode == "tty" {
		p.stopped.Go(p.tick)
	}
	return p
}

// Close clears the live line.
func (p *Progress) Close() {
	close(p.stop)
	p.stopped.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

// tick redraws while nothing happens, so that elapsed time moves.
func (p *Progress) tick() {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

func (p *Progress) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

func (p *Progress) draw() {
	if p.total == 0 {
		return
	}
	elapsed := p.now().Sub(p.began)
	left := ""
	if p.done > 0 && p.done < p.total && elapsed > time.Second {
		left = fmt.Sprintf(", about %s left", seconds(elapsed*time.Duration(p.total-p.done)/time.Duration(p.done)))
	}
	line := fmt.Sprintf("[%d/%d] %s%s", p.done, p.total, seconds(elapsed), left)
	for _, t := range p.running {
		line += "  " + t.Addr.String()
	}
	if utf8.RuneCountInString(line) >= p.columns {
		line = string([]rune(line)[:max(p.columns-2, 0)]) + "…"
	}
	fmt.Fprint(p.w, "\r\x1b[K"+line)
	p.drawn = true
}

// Event shows one event of a build.
func (p *Progress) Event(e executor.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = e.Done, e.Total
	switch e.Kind {
	case executor.Waiting:
		if p.mode != "quiet" {
			p.clear()
			fmt.Fprintf(p.w, "waiting: %s\n", e.Message)
		}
	case executor.Started:
		p.running = append(p.running, e.Target)
	case executor.Finished:
		p.forget(e.Target)
		if p.mode == "plain" && e.State == planner.Run {
			fmt.Fprintf(p.w, "[%d/%d] %s  %s\n", e.Done, e.Total, e.Target.Addr, seconds(e.Wall))
		}
	case executor.Failed:
		p.forget(e.Target)
		p.clear()
		p.failed(e)
	}
	if p.mode == "tty" {
		p.draw()
	}
}

func (p *Progress) forget(t *planner.Target) {
	for i, r := range p.running {
		if r == t {
			p.running = append(p.running[:i], p.running[i+1:]...)
			return
		}
	}
}

func (p *Progress) failed(e executor.Event) {
	mark := "FAILED"
	if p.color {
		mark = "\x1b[31m" + mark + "\x1b[0m"
	}
	fmt.Fprintf(p.w, "%s %s: %v\n", mark, e.Target.Addr, e.Err)
	if e.Message != "" {
		for line := range strings.Lines(e.Message) {
			fmt.Fprintf(p.w, "  | %s\n", strings.TrimRight(line, "\n"))
		}
	}
	fmt.Fprintf(p.w, "  to try again:\n    llima build %s\n", e.Target.Addr)
}

func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	default:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
}

// NothingToDo says that everything is fresh.
func NothingToDo(w io.Writer, p *planner.Plan) {
	fmt.Fprintf(w, "nothing to do: %s of %s fresh\n", plural(len(p.Decisions), "target"), Models(len(p.Graph.Models)))
}

// Models returns "1 model", "2 models".
func Models(n int) string { return plural(n, "model") }

// Built sums a build up.
func Built(w io.Writer, p *planner.Plan, s executor.Summary, wall time.Duration) {
	parts := []string{fmt.Sprintf("%d ran", s.Ran)}
	if s.Restored > 0 {
		parts = append(parts, fmt.Sprintf("%d restored", s.Restored))
	}
	if s.Fresh > 0 {
		parts = append(parts, fmt.Sprintf("%d fresh", s.Fresh))
	}
	fmt.Fprintf(w, "built %s in %s: %s\n", Models(len(p.Graph.Models)), seconds(wall), strings.Join(parts, ", "))
	for _, m := range p.Graph.Models {
		fmt.Fprintf(w, "  %s → %s\n", m.Config.Name, m.Config.OutputText)
	}
}
