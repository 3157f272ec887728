package store

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// settle is how old a file must be before its digest is remembered: within
// the resolution of a clock it may change again without its times changing.
const settle = 2 * time.Second

// fileID identifies a file's content without reading it. Times are in
// nanoseconds; what a system does not tell is 0.
type fileID struct {
	dev, ino            uint64
	size, mtime, change int64
}

func (id fileID) String() string {
	return fmt.Sprintf("%d.%d.%d.%d.%d", id.dev, id.ino, id.size, id.mtime, id.change)
}

func parseID(s string) (id fileID, ok bool) {
	f := strings.Split(s, ".")
	if len(f) != 5 {
		return id, false
	}
	var n [5]int64
	for i := range f {
		u, err := strconv.ParseUint(strings.TrimPrefix(f[i], "-"), 10, 64)
		if err != nil {
			return id, false
		}
		if n[i] = int64(u); f[i][0] == '-' {
			n[i] = -n[i]
		}
	}
	return fileID{uint64(n[0]), uint64(n[1]), n[2], n[3], n[4]}, true
}

// statCache remembers digests of files by what their stat says. Its file is a
// journal's lines: file, path, stat, {piece, digest}….
type statCache struct {
	path  string
	now   func() time.Time
	meter meter

	mu    sync.Mutex
	files map[string]*fileDigests // by path
	busy  map[string]*sync.Mutex  // files being hashed
	seen  map[string]fileID       // of sources that this process has looked at
	dirty bool
}

// fileDigests is what is known of one file.
type fileDigests struct {
	id    fileID
	whole fingerprint.Digest            // "" where it is not known
	of    map[string]fingerprint.Digest // by piece: "offset+length" or "shard"
	young bool                          // not to be remembered after this process
	fresh bool                          // learned by this process
}

const (
	fileKind    = "file"
	shardPiece  = "shard"
	headerPiece = "header"
)

func newStatCache(path string, now func() time.Time) *statCache {
	return &statCache{path: path, now: now, files: readDigests(path), busy: map[string]*sync.Mutex{}, seen: map[string]fileID{}}
}

// readDigests reads a cache file. Damaged lines are passed over: their files
// are hashed again.
func readDigests(path string) map[string]*fileDigests {
	files := map[string]*fileDigests{}
	b, err := os.ReadFile(path)
	if err != nil {
		return files
	}
	for line := range strings.Lines(string(b)) {
		kind, fields, ok := parseLine(strings.TrimSuffix(line, "\n"))
		if !ok || kind != fileKind || len(fields) < 2 || len(fields)%2 != 0 {
			continue
		}
		f := &fileDigests{}
		if f.id, ok = parseID(fields[1]); !ok {
			continue
		}
		for pair := range slices.Chunk(fields[2:], 2) {
			f.set(pair[0], fingerprint.Digest(pair[1]))
		}
		files[fields[0]] = f
	}
	return files
}

func (f *fileDigests) set(piece string, d fingerprint.Digest) {
	if piece == "" {
		f.whole = d
		return
	}
	if f.of == nil {
		f.of = map[string]fingerprint.Digest{}
	}
	f.of[piece] = d
}

func (f *fileDigests) get(piece string) fingerprint.Digest {
	if piece == "" {
		return f.whole
	}
	return f.of[piece]
}

// flush writes what this process learned, beside what others wrote meanwhile.
// A project that was never built has no folder for it: that is no error.
func (c *statCache) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dirty {
		return nil
	}
	c.dirty = false
	all := readDigests(c.path)
	for path, f := range c.files {
		if f.young {
			delete(all, path)
		} else if f.fresh {
			all[path] = f
		}
	}
	var b []byte
	for _, path := range slices.Sorted(maps.Keys(all)) {
		f := all[path]
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		fields := []string{path, f.id.String()}
		if f.whole != "" {
			fields = append(fields, "", string(f.whole))
		}
		for _, piece := range slices.Sorted(maps.Keys(f.of)) {
			fields = append(fields, piece, string(f.of[piece]))
		}
		b = appendLine(b, fileKind, fields...)
	}
	if err := replaceFile(c.path, b); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func piece(src planner.Source) string {
	switch src.Kind {
	case planner.FileTensor:
		return strconv.FormatInt(src.Offset, 10) + "+" + strconv.FormatInt(src.Length, 10)
	case planner.Shard:
		return shardPiece
	case planner.Header:
		return headerPiece
	case planner.WholeFile:
		return ""
	}
	return ""
}

func (c *statCache) lookup(path string, id fileID, piece string) (fingerprint.Digest, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.files[path]; ok && f.id == id {
		if d := f.get(piece); d != "" {
			return d, true
		}
	}
	return "", false
}

// learn remembers digests of a file whose stat was id at the time when.
func (c *statCache) learn(path string, id fileID, when time.Time, digests map[string]fingerprint.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.files[path]
	if !ok || f.id != id {
		f = &fileDigests{id: id}
		c.files[path] = f
	}
	f.young = when.Sub(time.Unix(0, max(id.change, id.mtime))) < settle
	f.fresh, c.dirty = true, true
	for piece, d := range digests {
		f.set(piece, d)
	}
}

// prime remembers the digest of a file that this process has just written, so
// that its age does not matter.
func (c *statCache) prime(path string, d fingerprint.Digest) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files[path] = &fileDigests{id: statID(st), whole: d, fresh: true}
	c.dirty = true
	return nil
}

// lookAgain makes a file's stat be taken again, and a file that is too young
// to be trusted be read again.
func (c *statCache) lookAgain(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, path)
	if f, ok := c.files[path]; ok && f.young {
		delete(c.files, path)
	}
}

// whole returns the digest of a file of which the stat is known.
func (c *statCache) whole(path string, st os.FileInfo) (fingerprint.Digest, error) {
	return c.digestOf(planner.Source{Path: path}, statID(st))
}

// digest returns a source's digest, reading the file only if its stat is new.
// A file's stat is taken once, as hundreds of targets read one checkpoint:
// what changes afterwards is found by lookAgain after a target has run.
func (c *statCache) digest(src planner.Source) (fingerprint.Digest, error) {
	c.mu.Lock()
	id, ok := c.seen[src.Path]
	c.mu.Unlock()
	if !ok {
		st, err := os.Stat(src.Path)
		if err != nil {
			return "", err
		}
		id = statID(st)
		c.mu.Lock()
		c.seen[src.Path] = id
		c.mu.Unlock()
	}
	return c.digestOf(src, id)
}

// refresh forgets which files were looked at.
func (c *statCache) refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.seen)
}

func (c *statCache) digestOf(src planner.Source, id fileID) (fingerprint.Digest, error) {
	if d, ok := c.lookup(src.Path, id, piece(src)); ok {
		return d, nil
	}
	c.mu.Lock()
	busy, ok := c.busy[src.Path]
	if !ok {
		busy = &sync.Mutex{}
		c.busy[src.Path] = busy
	}
	c.mu.Unlock()
	busy.Lock()
	defer busy.Unlock()
	if d, ok := c.lookup(src.Path, id, piece(src)); ok {
		return d, nil
	}
	when := c.now() // before reading: a change while it is read has a later time
	digests, err := c.hashSource(src)
	if err != nil {
		return "", err
	}
	d, ok := digests[piece(src)]
	if !ok {
		return "", fmt.Errorf("%s: no longer holds %s", src.Path, src.Name)
	}
	c.learn(src.Path, id, when, digests)
	return d, nil
}

// hashSource reads what a source's file is made of: all tensors of a
// checkpoint file in one pass.
func (c *statCache) hashSource(src planner.Source) (map[string]fingerprint.Digest, error) {
	st, err := os.Stat(src.Path)
	if err != nil {
		return nil, err
	}
	c.meter.add(0, st.Size(), 1)
	defer c.meter.add(0, 0, -1)
	if src.Kind == planner.WholeFile {
		d, _, err := hashFile(src.Path, &c.meter)
		return map[string]fingerprint.Digest{"": d}, err
	}
	return hashShard(src.Path, &c.meter)
}

// meter tells how much is hashed of the files that have to be.
type meter struct {
	mu          sync.Mutex
	watch       func(done, total int64) // bytes; nil where nobody watches
	done, total int64
	files       int // being hashed
}

// add reports progress, or that files are begun or ended. When no file is left all of them count as read,
// whatever their sizes were meanwhile.
func (m *meter) add(done, total int64, files int) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done, m.total, m.files = m.done+done, m.total+total, m.files+files
	if m.files == 0 {
		m.done, m.total = 0, 0
	}
	if m.watch != nil {
		m.watch(min(m.done, m.total), m.total)
	}
}

// hashShard returns the digest of every tensor of a file of weights, and of
// the file as the bytes before its data and those digests: tensors fill the
// data without gaps.
func hashShard(path string, m *meter) (map[string]fingerprint.Digest, error) {
	entries, err := source.Ranges(path)
	if err != nil {
		return nil, err
	}
	// The longest first, so that no core is left with one at the end.
	slices.SortFunc(entries, func(a, b source.Part) int {
		return cmp.Or(cmp.Compare(b.Length, a.Length), cmp.Compare(a.Offset, b.Offset))
	})
	ranges := make([]fileRange, len(entries))
	for i, e := range entries {
		ranges[i] = fileRange{e.Offset, e.Length}
	}
	digests, err := hashRanges(path, ranges, m)
	if err != nil {
		return nil, err
	}
	out := make(map[string]fingerprint.Digest, len(entries)+1)
	start := int64(-1)
	for i, e := range entries {
		out[piece(planner.Source{Kind: planner.FileTensor, Offset: e.Offset, Length: e.Length})] = digests[i]
		if start < 0 || e.Offset < start {
			start = e.Offset
		}
	}
	header, err := hashStart(path, start)
	if err != nil {
		return nil, err
	}
	out[headerPiece] = header
	h := sha256.New()
	_, _ = io.WriteString(h, "llima-shard/1\n"+string(header)+"\n")
	for _, k := range slices.Sorted(maps.Keys(out)) {
		if k != headerPiece {
			_, _ = io.WriteString(h, k+" "+string(out[k])+"\n")
		}
	}
	out[shardPiece] = fingerprint.FromHash(h.Sum(nil))
	return out, nil
}

// fileRange is a piece of a file, in bytes.
type fileRange struct{ offset, length int64 }

// readBytes is how much of a file is read at a time: it bounds the memory that
// hashing takes, whatever the size of a model.
const readBytes = 1 << 20

// cores lets as many pieces be hashed at once as there are processors, of all
// files together.
var cores = make(chan struct{}, runtime.GOMAXPROCS(0))

// hashRanges returns the digests of pieces of a file, each hashed on one core,
// in the order given. It reads, and maps nothing: pages of a mapped model
// would count as this process's memory.
func hashRanges(path string, ranges []fileRange, m *meter) ([]fingerprint.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	digests := make([]fingerprint.Digest, len(ranges))
	errs := make([]error, len(ranges))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(cap(cores), len(ranges)) {
		wg.Go(func() {
			buf := make([]byte, readBytes)
			for i := range next {
				cores <- struct{}{}
				digests[i], errs[i] = hashRange(f, ranges[i], buf, m)
				<-cores
			}
		})
	}
	for i := range ranges {
		next <- i
	}
	close(next)
	wg.Wait()
	return digests, errors.Join(errs...)
}

func hashRange(f *os.File, r fileRange, buf []byte, m *meter) (fingerprint.Digest, error) {
	h := sha256.New()
	for at, end := r.offset, r.offset+r.length; at < end; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
		_, _ = h.Write(buf[:n])
		at += int64(n)
		m.add(int64(n), 0, 0)
		if err != nil && at < end {
			return "", fmt.Errorf("%s: offset %d: %w", f.Name(), at, err)
		}
	}
	return fingerprint.FromHash(h.Sum(nil)), nil
}

// hashStart returns the digest of the first n bytes of a file, of all of it
// where n is negative.
func hashStart(path string, n int64) (fingerprint.Digest, error) {
	if n < 0 {
		d, _, err := hashFile(path, nil)
		return d, err
	}
	d, err := hashRanges(path, []fileRange{{0, n}}, nil)
	if err != nil {
		return "", err
	}
	return d[0], nil
}

// hashFile returns the digest and size of a whole file.
func hashFile(path string, m *meter) (fingerprint.Digest, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	cores <- struct{}{}
	defer func() { <-cores }()
	h := sha256.New()
	n, err := io.CopyBuffer(onlyWriter{h}, metered{f, m}, make([]byte, readBytes))
	return fingerprint.FromHash(h.Sum(nil)), n, err
}

// onlyWriter keeps io.CopyBuffer from going around its buffer.
type onlyWriter struct{ io.Writer }

// metered reports what is read.
type metered struct {
	r io.Reader
	m *meter
}

// Read implements [io.Reader].
func (r metered) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.m.add(int64(n), 0, 0)
	return n, err
}
