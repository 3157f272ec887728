package store

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// Figures are numbers that were measured of builds, kept one by one as they
// are known. They are safe for concurrent use, and processes may add to the
// same ones: what one adds another finds when it opens them.
//
// A file of them has a line of the builds, and one a figure:
//
//	builds  {model  key}…
//	figure  digest  number
//
// The digest is of the figures' key and the figure's name, so a line says all
// that it depends on; one that is cut or damaged is passed over.
type Figures struct {
	path   string
	key    fingerprint.Digest
	header []byte

	mu    sync.Mutex
	known map[fingerprint.Digest]float64
	torn  bool // the file ends within a line
	file  *os.File
	err   error // why figures are not kept any more
}

const (
	figuresDir = "figures"
	buildsKind = "builds"
	figureKind = "figure"
)

// Figures returns what was measured of builds: those that the models, whose
// order counts, have published, by the digests of all their files. version is
// that of what measures, and cpu names what it computes with, where results
// depend on it. What cannot be read is not known.
func (s *Store) Figures(version int, cpu string, models []string) (*Figures, error) {
	p := fingerprint.Preimage{Stage: "measure", Version: version, Params: fingerprint.Params{}}
	p.Params.Set("cpu", cpu)
	var builds []string
	for i, m := range models {
		rec, ok := s.packageRecord(m)
		if !ok || len(rec.Published) == 0 {
			return nil, fmt.Errorf("llima: internal error: %s is measured and was not built", m)
		}
		for _, f := range rec.Published {
			p.Inputs = append(p.Inputs, fingerprint.Input{Name: fmt.Sprintf("%d/%s", i, f.Path), Digest: f.Digest})
		}
		builds = append(builds, m, string(rec.Key))
	}
	if err := p.Normalize(); err != nil {
		return nil, err
	}
	f := &Figures{key: p.Key(), header: appendLine(nil, buildsKind, builds...), known: map[fingerprint.Digest]float64{}}
	hex, _ := f.key.Hex()
	f.path = filepath.Join(s.root, figuresDir, hex)
	f.read()
	return f, nil
}

// packageRecord returns the record of the last build of a model, where that
// ended.
func (s *Store) packageRecord(model string) (planner.Record, bool) {
	rec, ok, _ := s.Record(addr.Target{Model: model, Stage: addr.Package})
	return rec, ok && rec.Key != ""
}

func (f *Figures) read() {
	b, err := os.ReadFile(f.path)
	if err != nil {
		return
	}
	f.torn = len(b) > 0 && b[len(b)-1] != '\n'
	for line := range strings.Lines(string(b)) {
		if d, v, ok := parseFigure(line); ok {
			f.known[d] = v
		}
	}
}

// parseFigure takes no number that this program would write in another way.
func parseFigure(line string) (d fingerprint.Digest, v float64, ok bool) {
	kind, fields, ok := parseLine(strings.TrimSuffix(line, "\n"))
	if !ok || kind != figureKind || len(fields) != 2 {
		return "", 0, false
	}
	v, err := strconv.ParseFloat(fields[1], 64)
	return fingerprint.Digest(fields[0]), v, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) && formatFigure(v) == fields[1]
}

// formatFigure writes a number so that reading it gives the same bits.
func formatFigure(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func (f *Figures) digest(name string) fingerprint.Digest {
	return fingerprint.Sum([]byte(string(f.key) + "\n" + name))
}

// Get returns a figure, bit by bit as it was put.
func (f *Figures) Get(name string) (v float64, ok bool) {
	d := f.digest(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok = f.known[d]
	return v, ok
}

// Put keeps a figure. Where that fails none is written any more, and Err says
// why: they can be measured again.
func (f *Figures) Put(name string, v float64) {
	d := f.digest(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[d] = v
	if f.err == nil {
		f.err = f.append(appendLine(nil, figureKind, string(d), formatFigure(v)))
	}
}

// append adds a line in one piece, so that those of several processes do not
// mix. It is not synced: a line that is lost is a figure that is not known.
func (f *Figures) append(line []byte) error {
	if f.file == nil {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return err
		}
		file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		f.file = file
		line = slices.Concat(f.header, line)
		if f.torn {
			line = slices.Concat([]byte("\n"), line)
		}
	}
	_, err := f.file.Write(line)
	return err
}

// Err returns why figures are not kept, nil where they are.
func (f *Figures) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Close ends adding figures.
func (f *Figures) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file, f.err = nil, errors.New("figures are closed")
	return err
}

// figures adds those that are not of builds whose records stay.
func (w *Sweep) figures() error {
	dir := filepath.Join(w.store.root, figuresDir)
	return w.all(dir, func(name string) bool {
		b, err := os.ReadFile(filepath.Join(dir, name))
		return err != nil || !slices.ContainsFunc(strings.Split(string(b), "\n"), w.stays)
	})
}

// stays reports whether a line is of builds all of which have records that
// stay.
func (w *Sweep) stays(line string) bool {
	kind, fields, ok := parseLine(line)
	if !ok || kind != buildsKind || len(fields)%2 != 0 {
		return false
	}
	for f := range slices.Chunk(fields, 2) {
		rec, ok := w.store.packageRecord(f[0])
		if !ok || string(rec.Key) != f[1] || slices.Contains(w.forget, f[0]) {
			return false
		}
	}
	return true
}
