package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// settle is how old a file must be before its digest is remembered: within
// the resolution of a clock it may change again without its times changing.
const settle = 2 * time.Second

// statCache remembers digests of files by what their stat says.
type statCache struct {
	path string
	now  func() time.Time

	mu    sync.Mutex
	files map[string]*fileDigests
	dirty bool
	busy  map[string]*sync.Mutex // files being hashed
}

// fileDigests is what is known of one file.
type fileDigests struct {
	Stat string                        `json:"stat"`
	Of   map[string]fingerprint.Digest `json:"of"` // by piece: "", "offset+length" or "shard"
}

func newStatCache(path string, now func() time.Time) *statCache {
	c := &statCache{path: path, now: now, files: map[string]*fileDigests{}, busy: map[string]*sync.Mutex{}}
	b, err := os.ReadFile(path)
	if err == nil && json.Unmarshal(b, &c.files) != nil {
		c.files = map[string]*fileDigests{} // damaged: everything is hashed again
	}
	return c
}

func (c *statCache) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dirty {
		return nil
	}
	kept := maps.Clone(c.files)
	maps.DeleteFunc(kept, func(k string, _ *fileDigests) bool { return strings.HasSuffix(k, youngSuffix) })
	b, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	c.dirty = false
	if err := replaceFile(c.path, b); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func piece(src planner.Source) string {
	switch src.Kind {
	case planner.FileTensor:
		return fmt.Sprintf("%d+%d", src.Offset, src.Length)
	case planner.Shard:
		return "shard"
	case planner.WholeFile:
		return ""
	}
	return ""
}

// digest returns a source's digest, reading the file only if its stat is new.
func (c *statCache) digest(src planner.Source) (fingerprint.Digest, error) {
	st, err := os.Stat(src.Path)
	if err != nil {
		return "", err
	}
	id := statID(st)
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
	digests, err := hashSource(src)
	if err != nil {
		return "", err
	}
	d, ok := digests[piece(src)]
	if !ok {
		return "", fmt.Errorf("%s: no longer holds %s", src.Path, src.Name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(changeTime(st)) >= settle {
		f, ok := c.files[src.Path]
		if !ok || f.Stat != id {
			f = &fileDigests{Stat: id, Of: map[string]fingerprint.Digest{}}
			c.files[src.Path] = f
		}
		maps.Copy(f.Of, digests)
		c.dirty = true
	} else {
		c.recent(src.Path, id, digests)
	}
	return d, nil
}

// recent remembers the digests of a file that is too young to be trusted
// later: under an identity that only this process knows.
func (c *statCache) recent(path, id string, digests map[string]fingerprint.Digest) {
	// Hashing every tensor of a young checkpoint once for each of its targets
	// would take minutes, so the digests of one pass serve until its stat
	// changes; [statCache.again] does not use them.
	key := path + youngSuffix
	f, ok := c.files[key]
	if !ok || f.Stat != id {
		f = &fileDigests{Stat: id, Of: map[string]fingerprint.Digest{}}
		c.files[key] = f
	}
	maps.Copy(f.Of, digests)
}

// youngSuffix marks entries that are not written to disk.
const youngSuffix = "\x00young"

func (c *statCache) lookup(path, id, piece string) (fingerprint.Digest, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range []string{path, path + youngSuffix} {
		if f, ok := c.files[key]; ok && f.Stat == id {
			if d, ok := f.Of[piece]; ok {
				return d, true
			}
		}
	}
	return "", false
}

// Again returns a source's digest for the check after a target has run: what
// is remembered of a file too young to be trusted is not used.
func (s *Store) Again(src planner.Source) (fingerprint.Digest, error) {
	s.stats.mu.Lock()
	delete(s.stats.files, src.Path+youngSuffix)
	s.stats.mu.Unlock()
	return s.stats.digest(src)
}

// hashSource reads what a source's file is made of: all tensors of a
// checkpoint file in one pass.
func hashSource(src planner.Source) (map[string]fingerprint.Digest, error) {
	if src.Kind == planner.WholeFile {
		d, _, err := hashFile(src.Path)
		return map[string]fingerprint.Digest{"": d}, err
	}
	return hashShard(src.Path)
}

// hashShard returns the digest of every tensor of a safetensors file, and of
// the file as its header and those digests.
func hashShard(path string) (out map[string]fingerprint.Digest, err error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	entries := f.Tensors()
	digests := make([]fingerprint.Digest, len(entries))
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				digests[i] = fingerprint.Sum(f.Bytes(entries[i]))
			}
		})
	}
	for i := range entries {
		next <- i
	}
	close(next)
	wg.Wait()
	out = map[string]fingerprint.Digest{}
	h := sha256.New()
	for i, e := range entries {
		out[fmt.Sprintf("%d+%d", e.Offset, e.Length)] = digests[i]
		fmt.Fprintf(h, "%s %v %v %d %s\n", e.Name, e.DType, e.Shape, e.Offset, digests[i])
	}
	meta := f.Metadata()
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		fmt.Fprintf(h, "%q %q\n", k, meta[k])
	}
	out["shard"] = fingerprint.FromHash(h.Sum(nil))
	return out, nil
}

// hashFile returns the digest and size of a whole file.
func hashFile(path string) (d fingerprint.Digest, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return fingerprint.FromHash(h.Sum(nil)), size, err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// statText joins the numbers that identify a file's content without reading it.
func statText(fields ...uint64) string {
	var b []byte
	for _, f := range fields {
		b = binary.BigEndian.AppendUint64(b, f)
	}
	return strings.ToLower(fmt.Sprintf("%x", b))
}
