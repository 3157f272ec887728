package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/llima-build/llima/internal/atomicio"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/planner/fingerprint"
)

// A line of a journal is KIND TAB CRC TAB FIELDS NEWLINE: the fields are
// separated by tabs, CRC is the CRC-32C of what follows it in eight digits.
// A line that is cut or changed is passed over.
//
//	record  address  key  folder  wall millis  {path  digest  source}…
//	result  key  preimage as JSON  {name  digest  size  tensor}…
const (
	recordKind = "record"
	resultKind = "result"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendLine appends a line of fields. What holds a control character is
// quoted, and so is what looks quoted.
func appendLine(b []byte, kind string, fields ...string) []byte {
	b = append(b, kind...)
	b = append(b, '\t')
	sum := len(b)
	b = append(b, "00000000"...)
	start := len(b)
	for _, f := range fields {
		b = append(b, '\t')
		if strings.HasPrefix(f, `"`) || strings.ContainsFunc(f, func(c rune) bool { return c < ' ' }) {
			b = strconv.AppendQuote(b, f)
		} else {
			b = append(b, f...)
		}
	}
	copy(b[sum:], fmt.Sprintf("%08x", crc32.Checksum(b[start:], castagnoli)))
	return append(b, '\n')
}

// parseLine checks a line without its newline and returns its fields.
func parseLine(line string) (kind string, fields []string, ok bool) {
	kind, rest, ok := strings.Cut(line, "\t")
	if !ok || len(rest) < 8 {
		return "", nil, false
	}
	sum, err := strconv.ParseUint(rest[:8], 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum([]byte(rest[8:]), castagnoli) || !strings.HasPrefix(rest[8:], "\t") {
		return "", nil, false
	}
	fields = strings.Split(rest[9:], "\t")
	for i, f := range fields {
		if strings.HasPrefix(f, `"`) {
			if fields[i], err = strconv.Unquote(f); err != nil {
				return "", nil, false
			}
		}
	}
	return kind, fields, true
}

// result is what was made under a key.
type result struct {
	outputs []planner.Output
	text    string // preimage as JSON
	line    []byte
}

func newResult(key fingerprint.Digest, p *fingerprint.Preimage, outputs []planner.Output) *result {
	r := &result{outputs: outputs, text: string(p.AppendJSON(nil))}
	if r.outputs == nil {
		r.outputs = []planner.Output{}
	}
	fields := []string{string(key), r.text}
	for _, o := range outputs {
		fields = append(fields, o.Name, string(o.Digest), strconv.FormatInt(o.Size, 10), o.Tensor)
	}
	r.line = appendLine(nil, resultKind, fields...)
	return r
}

// preimage returns what the key was made of.
func (r *result) preimage() (p fingerprint.Preimage, ok bool) {
	return p, json.Unmarshal([]byte(r.text), &p) == nil
}

// parseResultLine reads a line that should be of a key; nil where it is not.
func parseResultLine(line []byte, key fingerprint.Digest) *result {
	kind, fields, ok := parseLine(strings.TrimSuffix(string(line), "\n"))
	if !ok || kind != resultKind || len(fields) < 2 || fields[0] != string(key) {
		return nil
	}
	r := parseResult(fields)
	if r != nil {
		r.line = line
	}
	return r
}

func parseResult(fields []string) *result {
	const width = 4
	rest := fields[2:]
	if len(rest)%width != 0 {
		return nil
	}
	r := &result{text: fields[1], outputs: make([]planner.Output, 0, len(rest)/width)}
	for f := range slices.Chunk(rest, width) {
		size, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return nil
		}
		r.outputs = append(r.outputs, planner.Output{Name: f[0], Digest: fingerprint.Digest(f[1]), Size: size, Tensor: f[3]})
	}
	return r
}

func appendRecord(b []byte, rec *planner.Record) []byte {
	fields := []string{rec.Addr, string(rec.Key), rec.Folder, strconv.FormatInt(rec.WallMillis, 10)}
	for _, p := range rec.Published {
		fields = append(fields, p.Path, string(p.Digest), string(p.Source))
	}
	return appendLine(b, recordKind, fields...)
}

func parseRecord(fields []string) (rec planner.Record, ok bool) {
	const fixed, width = 4, 3
	if len(fields) < fixed || (len(fields)-fixed)%width != 0 {
		return rec, false
	}
	wall, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil {
		return rec, false
	}
	rec = planner.Record{Addr: fields[0], Key: fingerprint.Digest(fields[1]), Folder: fields[2], WallMillis: wall}
	for f := range slices.Chunk(fields[fixed:], width) {
		rec.Published = append(rec.Published, planner.Published{Path: f[0], Digest: fingerprint.Digest(f[1]), Source: fingerprint.Digest(f[2])})
	}
	return rec, true
}

// journal is the records of one model and the results behind them. Lines are
// appended, the last one of a target holds; the file is rewritten when most
// of it is old. Appending is not synced: a line that is lost leaves its target
// stale, and what a line speaks of was synced before.
type journal struct {
	path    string
	file    *os.File
	records map[string]planner.Record
	results map[fingerprint.Digest]*result
	lines   int
	damaged string // why lines of it could not be read
}

func openJournal(path string) *journal {
	j := &journal{path: path, records: map[string]planner.Record{}, results: map[fingerprint.Digest]*result{}}
	b, err := os.ReadFile(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			j.damaged = err.Error()
		}
		return j
	}
	if n := len(b); n == 0 || b[n-1] != '\n' {
		j.damaged = "its record file ends in the middle of a line"
	}
	at := 0
	for line := range strings.Lines(string(b)) {
		j.lines++
		if !j.read(strings.TrimSuffix(line, "\n"), b[at:at+len(line)]) {
			j.damaged = fmt.Sprintf("line %d of its record file is damaged", j.lines)
		}
		at += len(line)
	}
	return j
}

func (j *journal) read(text string, line []byte) bool {
	kind, fields, ok := parseLine(text)
	if !ok || len(fields) < 2 {
		return false
	}
	switch kind {
	case recordKind:
		rec, ok := parseRecord(fields)
		if ok {
			j.records[rec.Addr] = rec
		}
		return ok
	case resultKind:
		r := parseResult(fields)
		if r != nil {
			r.line = line
			j.results[fingerprint.Digest(fields[0])] = r
		}
		return r != nil
	}
	return false
}

func (j *journal) result(key fingerprint.Digest) *result { return j.results[key] }

func (j *journal) get(name string) (planner.Record, bool, string) {
	rec, ok := j.records[name]
	if !ok {
		return rec, false, j.damaged
	}
	return rec, true, ""
}

// put appends a record, after the result of its key where that is new here.
func (j *journal) put(rec planner.Record, r *result) error {
	j.records[rec.Addr] = rec
	var b []byte
	if r != nil && j.results[rec.Key] == nil {
		j.results[rec.Key] = r
		b = append(b, r.line...)
		j.lines++
	}
	j.lines++
	if j.damaged != "" || j.lines > 4*(len(j.records)+len(j.results))+64 {
		return j.compact()
	}
	if j.file == nil {
		f, err := os.OpenFile(j.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		j.file = f
	}
	n, err := j.file.Write(appendRecord(b, &rec))
	if err != nil && n > 0 {
		j.damaged = "a line of its record file was cut"
	}
	return err
}

// compact rewrites the file with one line a target, and the results of their
// keys.
func (j *journal) compact() error {
	var b bytes.Buffer
	kept := map[fingerprint.Digest]*result{}
	var line []byte
	lines := 0
	for _, name := range slices.Sorted(maps.Keys(j.records)) {
		rec := j.records[name]
		if r := j.results[rec.Key]; r != nil && kept[rec.Key] == nil {
			kept[rec.Key] = r
			b.Write(r.line)
			lines++
		}
		line = appendRecord(line[:0], &rec)
		b.Write(line)
		lines++
	}
	if err := j.close(); err != nil {
		return err
	}
	if err := atomicio.WriteFile(j.path, b.Bytes(), 0o644); err != nil {
		return err
	}
	j.results, j.lines, j.damaged = kept, lines, ""
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
