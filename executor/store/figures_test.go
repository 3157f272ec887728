package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/llima-build/llima/executor/store"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// figuresProject is a project whose models a and b are built.
type figuresProject struct {
	*testing.T
	dir string
}

func newFiguresProject(t *testing.T) *figuresProject {
	t.Helper()
	p := &figuresProject{t, t.TempDir()}
	p.publish("a", "key a", map[string]string{"one": "1", "two": "2"})
	p.publish("b", "key b", map[string]string{"one": "3"})
	return p
}

func (p *figuresProject) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// open opens the store as another process would.
func (p *figuresProject) open() *store.Store {
	p.Helper()
	st, err := store.Open(p.dir, time.Now)
	p.must(err)
	p.must(st.Create())
	p.Cleanup(func() { p.must(st.Close()) })
	return st
}

// publish records a build, by the contents of its files.
func (p *figuresProject) publish(model, key string, files map[string]string) {
	p.Helper()
	rec := planner.Record{Key: fingerprint.Sum([]byte(key)), Folder: filepath.Join(p.dir, "out", model)}
	for name, content := range files {
		rec.Published = append(rec.Published, planner.Published{Path: name, Digest: fingerprint.Sum([]byte(content))})
	}
	p.must(p.open().Put(addr.Target{Model: model, Stage: addr.Package}, rec))
}

func (p *figuresProject) figures(version int, cpu string, models ...string) *store.Figures {
	p.Helper()
	f, err := p.open().Figures(version, cpu, models)
	p.must(err)
	p.Cleanup(func() { p.must(f.Close()) })
	return f
}

// file returns the only file of figures.
func (p *figuresProject) file() string {
	p.Helper()
	found, err := filepath.Glob(filepath.Join(p.dir, store.Dir, "figures", "*"))
	if p.must(err); len(found) != 1 {
		p.Fatalf("files of figures: %v", found)
	}
	return found[0]
}

// TestFigures holds that a number comes back bit by bit, and for nothing that
// differs in anything that it depends on.
func TestFigures(t *testing.T) {
	p := newFiguresProject(t)
	values := map[string]float64{
		"x": 0.1, "y": 1e-300, "z": math.SmallestNonzeroFloat64, "none": 0, "minus": math.Copysign(0, -1), "third": 1.0 / 3, "": math.MaxFloat64,
	}
	f := p.figures(1, "cpu", "a", "b")
	for name, v := range values {
		f.Put(name, v)
	}
	p.must(f.Err())
	again := p.figures(1, "cpu", "a", "b")
	for name, want := range values {
		if got, ok := again.Get(name); !ok || math.Float64bits(got) != math.Float64bits(want) {
			t.Errorf("Get(%q) = %v, %v, want %v", name, got, ok, want)
		}
	}
	if v, ok := again.Get("xx"); ok {
		t.Errorf("what was not put is %v", v)
	}
	file, others := p.file(), map[string]*store.Figures{
		"version": p.figures(2, "cpu", "a", "b"),
		"cpu":     p.figures(1, "other", "a", "b"),
		"order":   p.figures(1, "cpu", "b", "a"),
		"fewer":   p.figures(1, "cpu", "a"),
	}
	p.publish("b", "key b", map[string]string{"one": "4"})
	others["content"] = p.figures(1, "cpu", "a", "b")
	p.publish("b", "key b", map[string]string{"two": "3"})
	others["path"] = p.figures(1, "cpu", "a", "b")
	for what, f := range others {
		if v, ok := f.Get("x"); ok {
			t.Errorf("with another %s the figure is %v", what, v)
		}
	}

	// A file of others' figures that was put in place of one's own says nothing.
	others["content"].Put("y", 7)
	found, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	if p.must(err); len(found) != 2 {
		t.Fatalf("files of figures: %v", found)
	}
	for _, other := range found {
		if other != file {
			p.must(os.Rename(file, other))
		}
	}
	p.publish("b", "key b", map[string]string{"one": "4"})
	if v, ok := p.figures(1, "cpu", "a", "b").Get("x"); ok {
		t.Errorf("of another file comes %v", v)
	}
	if _, err := p.open().Figures(1, "cpu", []string{"a", "c"}); err == nil {
		t.Error("figures of a model that was not built")
	}
	p.must(p.open().Put(addr.Target{Model: "b", Stage: addr.Package}, planner.Record{}))
	if _, err := p.open().Figures(1, "cpu", []string{"a", "b"}); err == nil {
		t.Error("figures of a model that was begun")
	}
}

// TestFiguresDamaged cuts a file everywhere and changes each byte: what is read
// is right, only the lines that were hit are lost, and adding goes on.
func TestFiguresDamaged(t *testing.T) {
	p := newFiguresProject(t)
	const n = 4
	name := func(i int) string { return fmt.Sprint("run ", i) }
	f := p.figures(1, "cpu", "a", "b")
	for i := range n {
		f.Put(name(i), float64(i)/7)
	}
	p.must(f.Close())
	file := p.file()
	whole, err := os.ReadFile(file)
	p.must(err)
	st := p.open()
	check := func(what string, content []byte, lost int) {
		t.Helper()
		p.must(os.WriteFile(file, content, 0o600))
		for range 2 { // the second time with what the first added
			f, err := st.Figures(1, "cpu", []string{"a", "b"})
			p.must(err)
			missing := 0
			for i := range n {
				v, ok := f.Get(name(i))
				if ok && v != float64(i)/7 {
					t.Errorf("%s: figure %d is %v", what, i, v)
				}
				if !ok {
					missing++
					f.Put(name(i), float64(i)/7)
				}
			}
			if missing > lost {
				t.Errorf("%s: %d figures are lost, want at most %d", what, missing, lost)
			}
			p.must(f.Err())
			p.must(f.Close())
			lost = 0
		}
	}
	for at := range whole {
		check(fmt.Sprint("cut at ", at), whole[:at], n-max(0, bytes.Count(whole[:at], []byte("\n"))-1))
		changed := bytes.Clone(whole)
		changed[at] ^= 1 << (at % 8)
		check(fmt.Sprint("changed at ", at), changed, 2) // a newline joins two lines
	}
	check("nothing", nil, n)
	check("noise", bytes.Repeat([]byte{0, '\t', '\n', 0xff, '"'}, 100), n)
}

// TestFiguresShared holds that what processes add at once is all there.
func TestFiguresShared(t *testing.T) {
	p := newFiguresProject(t)
	var group sync.WaitGroup
	const processes, runs = 4, 50
	for i := range processes {
		f := p.figures(1, "cpu", "a", "b")
		group.Go(func() {
			for j := range runs {
				f.Put(fmt.Sprint(i, j), float64(i*runs+j))
			}
		})
	}
	group.Wait()
	f := p.figures(1, "cpu", "a", "b")
	for i := range processes {
		for j := range runs {
			if v, ok := f.Get(fmt.Sprint(i, j)); !ok || v != float64(i*runs+j) {
				t.Errorf("figure %d of process %d is %v, %v", j, i, v, ok)
			}
		}
	}
}

// TestFiguresNotWritable holds that figures are right where they cannot be kept,
// and that it is said.
func TestFiguresNotWritable(t *testing.T) {
	p := newFiguresProject(t)
	p.must(os.WriteFile(filepath.Join(p.dir, store.Dir, "figures"), nil, 0o600))
	f := p.figures(1, "cpu", "a")
	f.Put("x", 1)
	f.Put("y", 2)
	if v, ok := f.Get("x"); !ok || v != 1 || f.Err() == nil {
		t.Errorf("Get = %v, %v; Err = %v", v, ok, f.Err())
	}
}

// TestSweepFigures holds that figures go unless the builds they are of are the
// last ones of models that stay.
func TestSweepFigures(t *testing.T) {
	p := newFiguresProject(t)
	f := p.figures(1, "cpu", "a", "b")
	f.Put("x", 1)
	file := p.file()
	sweep := func(prepare func(*store.Sweep) error) bool {
		t.Helper()
		w := p.open().NewSweep()
		p.must(prepare(w))
		p.must(w.Cache())
		p.must(w.Remove())
		_, err := os.Stat(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return err == nil
	}
	none := func(*store.Sweep) error { return nil }
	if !sweep(none) || !sweep(func(w *store.Sweep) error { return w.Orphans([]string{"a", "b"}) }) {
		t.Fatal("figures of builds that stay are gone")
	}
	content, err := os.ReadFile(file)
	p.must(err)
	p.publish("a", "another key", map[string]string{"one": "1"})
	if sweep(none) {
		t.Error("figures of a build that was replaced are there")
	}
	p.publish("a", "key a", map[string]string{"one": "1", "two": "2"})
	p.must(os.WriteFile(file, content, 0o600))
	if sweep(func(w *store.Sweep) error { return w.Orphans([]string{"a"}) }) {
		t.Error("figures of a model that goes are there")
	}
}
