package view

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
)

// ProgressOptions says how a build is shown.
type ProgressOptions struct {
	Mode  string // "tty", "plain" or "quiet"
	Color bool
	Now   func() time.Time
	// Size returns the columns and rows of the terminal, as they are now.
	Size func() (columns, rows int)
	// Retry returns the command that builds a target again.
	Retry func(target string) string
	Jobs  int
}

// Progress shows a build as it goes: on a terminal the running targets, drawn
// over and over at the end of what is printed; whole lines elsewhere; nothing
// but failures when quiet. Failures are told in full when it is closed.
type Progress struct {
	opt ProgressOptions
	w   io.Writer

	mu       sync.Mutex
	live     live
	began    time.Time // of the build
	spoke    time.Time // when the last plain line was printed
	running  []running
	expected map[*planner.Target]time.Duration
	stages   map[string]average // by kind
	finished map[*planner.Target]bool
	failures []executor.Event
	reading  reading
	waiting  string
	done     int
	total    int
	stop     chan struct{}
	stopped  sync.WaitGroup
}

type running struct {
	target *planner.Target
	since  time.Time
	check  bool
	// done is how much of it is, 0 to 1; 0 where it does not say.
	done float64
}

// average is of the time that targets of one stage took.
type average struct {
	sum time.Duration
	n   int
}

// reading is how much of the files is hashed that have to be.
type reading struct {
	since       time.Time
	done, total int64
}

const (
	drawInterval = 100 * time.Millisecond
	// silence is how long nothing is printed in plain mode before a line says
	// what runs.
	silence = 10 * time.Second
	// patience is how long something takes before it is told of.
	patience = time.Second
)

// NewProgress starts showing; [Progress.Close] ends it.
func NewProgress(w io.Writer, opt ProgressOptions) *Progress {
	p := &Progress{
		opt: opt, w: w, began: opt.Now(), spoke: opt.Now(), stop: make(chan struct{}),
		stages: map[string]average{}, finished: map[*planner.Target]bool{},
	}
	p.live = live{w: w, size: opt.Size}
	if opt.Mode != "quiet" {
		p.stopped.Go(p.tick)
	}
	return p
}

// Close clears the live lines and tells of failures.
func (p *Progress) Close() {
	close(p.stop)
	p.stopped.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live.clear()
	slices.SortFunc(p.failures, func(a, b executor.Event) int {
		return strings.Compare(a.Target.Addr.String(), b.Target.Addr.String())
	})
	for i, e := range p.failures {
		if i > 0 || p.opt.Mode != "quiet" {
			fmt.Fprintln(p.w)
		}
		p.failure(e)
	}
	p.failures = nil
}

// tick redraws while nothing happens, so that elapsed time moves.
func (p *Progress) tick() {
	t := time.NewTicker(drawInterval)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.mu.Lock()
			p.show()
			p.mu.Unlock()
		}
	}
}

// show draws the live lines, or breaks a long silence.
func (p *Progress) show() {
	switch p.opt.Mode {
	case "tty":
		p.live.draw(p.lines())
	case "plain":
		if p.opt.Now().Sub(p.spoke) < silence || len(p.running) == 0 {
			return
		}
		r := p.running[0]
		more := ""
		if n := len(p.running) - 1; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		part := ""
		if r.done > 0 {
			part = fmt.Sprintf(", %.0f%%", 100*r.done)
		}
		p.say(fmt.Sprintf("[%d/%d] running %s for %s%s%s", p.done, p.total, r.target.Addr, seconds(p.opt.Now().Sub(r.since)), part, more))
	}
}

// say prints a whole line, above the live ones.
func (p *Progress) say(line string) {
	p.live.clear()
	fmt.Fprintln(p.w, line)
	p.spoke = p.opt.Now()
}

// lines are the live lines: the whole build, and what runs.
func (p *Progress) lines() []string {
	now := p.opt.Now()
	if p.waiting != "" && len(p.running) == 0 {
		return []string{"waiting " + seconds(now.Sub(p.began))}
	}
	if r := p.reading; r.done < r.total && now.Sub(r.since) > patience {
		return []string{readingText(r)}
	}
	if p.total == 0 {
		return nil
	}
	head := fmt.Sprintf("[%d/%d] %s", p.done, p.total, seconds(now.Sub(p.began)))
	if left, ok := p.left(now); ok {
		head += ", about " + seconds(left) + " left"
	}
	lines := []string{head}
	for _, r := range p.running {
		line := "  " + r.target.Addr.String()
		if r.check {
			line += " (check)"
		}
		line += "  " + seconds(now.Sub(r.since))
		if r.done > 0 {
			line += fmt.Sprintf("  %s %3.0f%%", bar(r.done, barCells), 100*r.done)
			if left := r.left(now); left >= patience {
				line += ", about " + seconds(left) + " left"
			}
		} else if e := p.expected[r.target]; e >= patience {
			line += " of about " + seconds(e)
		}
		lines = append(lines, line)
	}
	return lines
}

// left estimates what a target still takes that says how much of it is done.
func (r *running) left(now time.Time) time.Duration {
	return time.Duration(float64(now.Sub(r.since)) * (1 - r.done) / r.done)
}

// barCells is how long a full bar is.
const barCells = 20

// bar draws a part, 0 to 1: "[#####...............]".
func bar(part float64, cells int) string {
	full := int(part * float64(cells))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", cells-full) + "]"
}

// left estimates what the build still takes: what each target took last time
// or, where that is not known, others of its stage.
func (p *Progress) left(now time.Time) (time.Duration, bool) {
	runs := make(map[*planner.Target]running, len(p.running))
	for _, r := range p.running {
		runs[r.target] = r
	}
	var sum time.Duration
	inTurn := map[string]time.Duration{} // calibration of a model: layer after layer
	for t, e := range p.expected {
		if p.finished[t] {
			continue
		}
		r, runs := runs[t]
		switch {
		case runs && r.done > 0:
			e = r.left(now)
		case e == 0:
			a := p.stages[kind(t)]
			if a.n == 0 {
				return 0, false
			}
			e = a.sum / time.Duration(a.n)
			fallthrough
		default:
			if runs {
				e = max(e-now.Sub(r.since), 0)
			}
		}
		sum += e
		if t.Addr.Stage == addr.Calibrate {
			inTurn[t.Addr.Model] += e
		}
	}
	sum /= time.Duration(max(p.opt.Jobs, 1))
	for _, d := range inTurn {
		sum = max(sum, d)
	}
	return sum, sum >= patience
}

// kind names what takes about as long as a target: others of its stage.
func kind(t *planner.Target) string {
	if t.Addr.Unit == planner.CalibrateData {
		return t.Addr.Stage.String() + ":" + t.Addr.Unit
	}
	return t.Addr.Stage.String()
}

// Event shows one event of a build.
func (p *Progress) Event(e executor.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = e.Done, e.Total
	switch e.Kind {
	case executor.Waiting:
		p.waiting = e.Message
		if p.opt.Mode != "quiet" {
			p.say("waiting: " + e.Message)
		}
	case executor.Begun:
		p.waiting = ""
		p.begun(e)
	case executor.Started:
		p.running = append(p.running, running{target: e.Target, since: p.opt.Now(), check: e.Check})
	case executor.Advanced:
		for i := range p.running {
			if r := &p.running[i]; r.target == e.Target && e.Steps > 0 {
				r.done = float64(e.Step) / float64(e.Steps)
			}
		}
		return // the next tick draws it
	case executor.Finished:
		p.forget(e)
		if p.opt.Mode == "plain" && e.State == planner.Run {
			p.say(fmt.Sprintf("[%d/%d] %s  %s", e.Done, e.Total, e.Target.Addr, seconds(e.Wall)))
		}
	case executor.Failed:
		p.forget(e)
		p.failures = append(p.failures, e)
		if p.opt.Mode != "quiet" {
			p.say(fmt.Sprintf("%s %s", p.mark(), e.Target.Addr))
		}
	}
	if p.opt.Mode == "tty" {
		p.live.draw(p.lines())
	}
}

// begun says what a build may take.
func (p *Progress) begun(e executor.Event) {
	p.began = p.opt.Now()
	p.expected = e.Expected
	for t, d := range e.Expected {
		p.learn(t, d)
	}
	if p.opt.Mode == "quiet" {
		return
	}
	for _, r := range e.Rooms {
		if r.NeedBytes > 0 {
			p.say(roomText(r))
		}
	}
}

// learn remembers what targets of a stage take.
func (p *Progress) learn(t *planner.Target, d time.Duration) {
	if d <= 0 {
		return
	}
	a := p.stages[kind(t)]
	p.stages[kind(t)] = average{a.sum + d, a.n + 1}
}

// forget takes a target from those that run, once for each time that it
// started.
func (p *Progress) forget(e executor.Event) {
	p.finished[e.Target] = true
	if e.Kind == executor.Finished && e.State != planner.Fresh && p.expected[e.Target] == 0 {
		p.learn(e.Target, e.Wall)
	}
	rest := p.running[:0]
	for _, r := range p.running {
		if r.target != e.Target {
			rest = append(rest, r)
		}
	}
	p.running = rest
}

// Reading shows how much of the files is hashed that have to be, before a
// build. It may be called from any goroutine.
func (p *Progress) Reading(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.opt.Now()
	if p.reading.since.IsZero() || p.reading.done >= p.reading.total {
		p.reading.since = now
	}
	p.reading.done, p.reading.total = done, total
	if p.opt.Mode == "plain" && done < total && now.Sub(p.reading.since) > patience && now.Sub(p.spoke) > silence/2 {
		p.say(readingText(p.reading))
	}
}

func readingText(r reading) string {
	return fmt.Sprintf("reading files that changed: %s of %s", Bytes(r.done), Bytes(r.total))
}

func roomText(r executor.Room) string {
	return fmt.Sprintf("needs up to %s of disk, %s free", Bytes(r.NeedBytes), Bytes(r.FreeBytes))
}

func (p *Progress) mark() string {
	if p.opt.Color {
		return "\x1b[31mFAILED\x1b[0m"
	}
	return "FAILED"
}

// failure tells of a failed target: why, the end of its log, where that is,
// and how to try again.
func (p *Progress) failure(e executor.Event) {
	fmt.Fprintf(p.w, "%s %s: %v\n", p.mark(), e.Target.Addr, e.Err)
	if e.Message != "" {
		for line := range strings.Lines(e.Message) {
			fmt.Fprintf(p.w, "  | %s\n", strings.TrimRight(line, "\n"))
		}
	}
	if e.LogPath != "" {
		fmt.Fprintf(p.w, "  log:\n    %s\n", e.LogPath)
	}
	fmt.Fprintf(p.w, "  to try again:\n    %s\n", p.opt.Retry(e.Target.Addr.String()))
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
	for _, c := range []struct {
		n    int
		what string
	}{{s.Restored, "restored"}, {s.Fresh, "fresh"}, {s.Checked, "run twice, with equal results"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	fmt.Fprintf(w, "built %s in %s: %s\n", Models(len(p.Graph.Models)), seconds(wall), strings.Join(parts, ", "))
	if s.EvictedBytes > 0 {
		fmt.Fprintf(w, "  %s of results not used for longest left the store, which had reached its max_size\n", Bytes(s.EvictedBytes))
	}
	for _, m := range p.Graph.Models {
		fmt.Fprintf(w, "  %s → %s\n", m.Config.Name, m.Config.OutputText)
	}
}

// NoSpace says that a disk is full or too small: what is needed, what is free,
// and what can be done.
func NoSpace(e *executor.NoSpaceError) string {
	var b strings.Builder
	if e.Err == nil {
		b.WriteString("the disk is too small for this build; nothing was begun")
	} else {
		b.WriteString("the disk is full; what was finished is kept")
	}
	for _, r := range e.Rooms {
		more := ""
		if e.Err != nil {
			more = " more"
		}
		fmt.Fprintf(&b, "\n  needs up to %s%s, %s free: %s", Bytes(r.NeedBytes), more, Bytes(r.FreeBytes), strings.Join(r.Folders, ", "))
	}
	if e.Err == nil {
		b.WriteString("\n  make room, or begin with what there is and keep what gets finished:\n    llima build --no-space-check")
	} else {
		b.WriteString("\n  make room and run the same command again; what could go:\n    llima clean --cache --dry-run")
	}
	return b.String()
}
