package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix/isa"
)

// layerPrograms are the programs of one layer in one phase.
type layerPrograms struct {
	pre, post *program         // post is CONV in a layer without attention
	cache     map[int]*program // by window, tokens
}

// indexEntry is one line of elf_files/index.json: where a part of a layer, or
// one cache window of it, has its program.
type indexEntry struct {
	Phase  string `json:"phase"`
	Part   string `json:"part"`
	Layer  int    `json:"layer"`
	Window int    `json:"window"`
	File   string `json:"file"`
}

// slot is what an entry is looked up by.
type slot struct {
	phase  addr.Phase
	part   addr.Part
	layer  int
	window int // tokens; 0 but for CACHE
}

// String returns "prefill.CACHE.3 (window 128)".
func (s slot) String() string {
	id := addr.PartID{Phase: s.phase, Part: s.part, Index: s.layer}.String()
	if s.window > 0 {
		id += fmt.Sprintf(" (window %d)", s.window)
	}
	return id
}

func (m *Model) loadPrograms(dir string) error {
	files, err := m.readIndex(filepath.Join(dir, "index.json"))
	if err != nil {
		return err
	}
	need := m.required()
	if err := checkComplete(dir, need, files); err != nil {
		return err
	}
	for phase := range m.layers {
		m.layers[phase] = make([]layerPrograms, m.cfg.NumHiddenLayers)
		for i := range m.layers[phase] {
			m.layers[phase][i].cache = map[int]*program{}
		}
	}
	m.kv, m.state = make([][]byte, m.cfg.NumHiddenLayers), make([][]byte, m.cfg.NumHiddenLayers)
	loaded := map[string]*program{}
	for _, s := range need {
		file := files[s]
		p, ok := loaded[file]
		if !ok {
			if p, err = m.loadProgram(dir, file); err != nil {
				return err
			}
			loaded[file] = p
			m.programs = append(m.programs, p)
		}
		if err := m.bind(s, p); err != nil {
			return err
		}
	}
	m.bindBuffers(loaded)
	return nil
}

// readIndex returns the files by what they are for.
func (m *Model) readIndex(path string) (map[slot]string, error) {
	var index struct {
		FormatVersion int          `json:"format_version"`
		Programs      []indexEntry `json:"programs"`
	}
	if err := readJSON(path, false, &index); err != nil {
		return nil, err
	}
	if index.FormatVersion != 1 {
		return nil, fmt.Errorf("%s: format_version %d, this llima reads 1%s", path, index.FormatVersion, again)
	}
	files := map[slot]string{}
	for i, e := range index.Programs {
		if e.File == "" || e.File == "." || e.File == ".." || e.File != filepath.Base(e.File) {
			return nil, fmt.Errorf("%s: programs[%d].file: %q is not a file name%s", path, i, e.File, again)
		}
		s := slot{layer: e.Layer, window: e.Window}
		var ok bool
		if s.part, ok = addr.ParsePart(e.Part); !ok {
			return nil, fmt.Errorf("%s: programs[%d].part: %q is unknown%s", path, i, e.Part, again)
		}
		at := slices.IndexFunc(addr.Phases, func(p addr.Phase) bool { return p.String() == e.Phase })
		if at < 0 {
			return nil, fmt.Errorf("%s: programs[%d].phase: %q is unknown%s", path, i, e.Phase, again)
		}
		s.phase = addr.Phases[at]
		if other, twice := files[s]; twice && other != e.File {
			return nil, fmt.Errorf("%s: programs[%d]: %v is both %s and %s%s", path, i, s, other, e.File, again)
		}
		files[s] = e.File
	}
	return files, nil
}

// required lists the programs that some position needs, in running order.
func (m *Model) required() []slot {
	var out []slot
	for _, phase := range addr.Phases {
		for layer := range m.cfg.NumHiddenLayers {
			if m.cfg.layerType(layer) == layerConv {
				out = append(out, slot{phase, addr.Conv, layer, 0})
				continue
			}
			out = append(out, slot{phase, addr.Pre, layer, 0})
			step := m.step(phase)
			for w := step; w <= m.cfg.MaxNumTokens; w += step {
				out = append(out, slot{phase, addr.Cache, layer, w})
			}
			out = append(out, slot{phase, addr.Post, layer, 0})
		}
	}
	return out
}

// step returns by how many tokens the cache windows of a phase grow.
func (m *Model) step(phase addr.Phase) int {
	if phase == addr.Prefill {
		return m.cfg.LanguageGroupSize
	}
	return m.cfg.FutureTokenMask
}

// rows returns how many tokens a program of the phase handles.
func (m *Model) rows(phase addr.Phase) int {
	if phase == addr.Prefill {
		return m.cfg.LanguageGroupSize
	}
	return 1
}

// window returns the smallest cache window of a phase that covers tokens.
func (m *Model) window(phase addr.Phase, tokens int) int {
	step := m.step(phase)
	return (tokens + step - 1) / step * step
}

// checkComplete reports every program that is not there: left out of the
// index, or listed without a file.
func checkComplete(dir string, need []slot, files map[slot]string) error {
	var unlisted []slot
	var absent []string
	known := map[string]bool{}
	for _, s := range need {
		file, ok := files[s]
		switch {
		case !ok:
			unlisted = append(unlisted, s)
		case !known[file]:
			known[file] = true
			if _, err := os.Stat(filepath.Join(dir, file)); errors.Is(err, fs.ErrNotExist) {
				absent = append(absent, file)
			}
		}
	}
	switch {
	case len(unlisted) > 0:
		return fmt.Errorf("%s lacks the %s of %s, without which no text can be generated: its index.json lists none\n"+
			"  where a rule leaves parts out with compile = false, let it match less; then build again:\n    llima build",
			dir, plural("program", len(unlisted)), describe(unlisted, need))
	case len(absent) > 0:
		return fmt.Errorf("%s lacks the %s %s, which its index.json lists, so this output is incomplete%s",
			dir, plural("file", len(absent)), strings.Join(absent, ", "), again)
	}
	return nil
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// describe names slots in words: windows of a part together, not at all where
// every one that is needed is missing, and layers that lack the same together.
func describe(missing, need []slot) string {
	type group struct {
		phase   addr.Phase
		part    addr.Part
		windows string
	}
	windows := map[slot][]int{} // by slot without window
	var parts []slot
	for _, s := range missing {
		key := slot{s.phase, s.part, s.layer, 0}
		if _, ok := windows[key]; !ok {
			parts = append(parts, key)
		}
		windows[key] = append(windows[key], s.window)
	}
	needed := map[slot]int{}
	for _, s := range need {
		needed[slot{s.phase, s.part, s.layer, 0}]++
	}
	layers := map[group][]int{}
	var groups []group
	for _, p := range parts {
		g := group{p.phase, p.part, ""}
		if p.part == addr.Cache && len(windows[p]) < needed[p] {
			g.windows = ranges(windows[p])
		}
		if _, ok := layers[g]; !ok {
			groups = append(groups, g)
		}
		layers[g] = append(layers[g], p.layer)
	}
	var out []string
	for _, g := range groups {
		s := fmt.Sprintf("%v.%v.%s", g.phase, g.part, ranges(layers[g]))
		switch {
		case strings.Contains(g.windows, ","):
			s += " (windows " + g.windows + ")"
		case g.windows != "":
			s += " (window " + g.windows + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// ranges writes rising numbers, runs as "0-3" or "128,256,..,1024".
func ranges(n []int) string {
	var out []string
	for i := 0; i < len(n); {
		j := i + 1
		for j+1 < len(n) && n[j+1]-n[j] == n[i+1]-n[i] {
			j++
		}
		switch {
		case j < len(n) && n[i+1]-n[i] == 1:
			out = append(out, fmt.Sprintf("%d-%d", n[i], n[j]))
			i = j + 1
		case j < len(n) && j-i >= 3:
			out = append(out, fmt.Sprintf("%d,%d,..,%d", n[i], n[i+1], n[j]))
			i = j + 1
		default:
			out = append(out, fmt.Sprint(n[i]))
			i++
		}
	}
	return strings.Join(out, ",")
}

// bind checks that a program is what its place in the index says, and enters
// it there.
func (m *Model) bind(s slot, p *program) error {
	l := &m.layers[s.phase][s.layer]
	rows := m.rows(s.phase)
	var want []buffer
	last := s.layer == m.cfg.NumHiddenLayers-1
	switch s.part {
	case addr.Pre:
		l.pre, want = p, m.preBuffers(rows)
	case addr.Cache:
		l.cache[s.window], want = p, m.cacheBuffers(rows)
	case addr.Post:
		l.post, want = p, m.postBuffers(rows, last)
	case addr.Conv:
		l.post, want = p, m.convBuffers(rows, last)
	case addr.Vision:
		return fmt.Errorf("llima: internal error: %v is bound", s)
	}
	if err := p.checkAll(want); err != nil {
		return err
	}
	switch s.part { //nolint:exhaustive // the others have a cache
	case addr.Post:
		return nil
	case addr.Conv:
		if m.state[s.layer] == nil {
			m.state[s.layer] = alignedBytes(m.stateBytes())
		}
		return nil
	}
	n := p.prog.SegmentSize(isa.KV)
	if n > m.kvBytes() {
		return fmt.Errorf("%s: a cache of %d bytes, want %d%s", p.path, n, m.kvBytes(), again)
	}
	if m.kv[s.layer] == nil {
		m.kv[s.layer] = alignedBytes(m.kvBytes())
	}
	return nil
}

// capacity returns how many tokens the cache of a layer has room for.
func (m *Model) capacity() int64 { return int64(m.cfg.MaxNumTokens+31) / 32 * 32 }

// kvBytes returns the size of the cache of a layer: K, then V, BF16 [kv head,
// capacity, head dim] in the order of docs/isa.md.
func (m *Model) kvBytes() int64 {
	return 2 * m.capacity() * int64(m.cfg.NumKeyValueHeads) * m.headBytes()
}

// headBytes returns the size of a head in q, attention and the cache: BF16,
// padded to a multiple of 32 dims.
func (m *Model) headBytes() int64 { return int64(m.cfg.HeadDim+31) / 32 * 32 * 2 }

// stateBytes returns the size of the state of a convolution, F32 rows.
func (m *Model) stateBytes() int64 {
	return rowsBytes(m.cfg.ConvTaps-1, int64(m.cfg.HiddenSize)*4)
}
