// Package fingerprint makes keys: the digest of everything that a target
// reads. It holds the preimage beside the key, so that what made two keys
// differ can be told. It knows no files and no stages.
package fingerprint

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Digest is the SHA-256 of bytes, "sha256:<64 hex digits>".
type Digest string

const digestPrefix = "sha256:"

// Sum returns the digest of bytes.
func Sum(b []byte) Digest {
	h := sha256.Sum256(b)
	return FromHash(h[:])
}

// FromHash names a finished SHA-256.
func FromHash(sum []byte) Digest { return Digest(digestPrefix + hex.EncodeToString(sum)) }

// Hex returns the digits without the prefix, and whether there are 64 of them.
func (d Digest) Hex() (string, bool) {
	if len(d) != len(digestPrefix)+2*sha256.Size || d[:len(digestPrefix)] != digestPrefix {
		return "", false
	}
	s := string(d[len(digestPrefix):])
	_, err := hex.DecodeString(s)
	return s, err == nil
}

// Short returns the first twelve digits, for people.
func (d Digest) Short() string {
	if s, ok := d.Hex(); ok {
		return s[:12]
	}
	return string(d)
}

// Input is something that a target reads, under the name by which it does.
type Input struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest"`
}

// Params are the evaluated values that a stage reads, as canonical JSON: on
// one line, keys of objects sorted.
type Params map[string]json.RawMessage

// Set stores a value under a name.
func (p Params) Set(name string, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("llima: internal error: parameter %s: %v", name, err))
	}
	p[name] = b
}

// Preimage is what a key hashes.
type Preimage struct {
	Stage   string  `json:"stage"`
	Version int     `json:"version"` // raised by hand when a stage's output changes
	Params  Params  `json:"params"`
	Inputs  []Input `json:"inputs"` // sorted by name, each once
}

// Normalize sorts the inputs and removes repetitions. One name with two
// digests is our own mistake, and an error.
func (p *Preimage) Normalize() error {
	slices.SortFunc(p.Inputs, func(a, b Input) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest))
	})
	p.Inputs = slices.Compact(p.Inputs)
	for i := 1; i < len(p.Inputs); i++ {
		if p.Inputs[i].Name == p.Inputs[i-1].Name {
			return fmt.Errorf("llima: internal error: input %s has two digests", p.Inputs[i].Name)
		}
	}
	return nil
}

// Key returns the digest of the preimage, which must be normalized.
func (p *Preimage) Key() Digest { return Sum(p.AppendJSON([]byte("llima-fp/1\n"))) }

// AppendJSON appends what the key hashes: the preimage as encoding/json would
// write it, which it is not used for because keys are made by the hundred.
func (p *Preimage) AppendJSON(b []byte) []byte {
	b = slices.Grow(b, 256+128*len(p.Inputs))
	b = appendString(append(b, `{"stage":`...), p.Stage)
	b = strconv.AppendInt(append(b, `,"version":`...), int64(p.Version), 10)
	b = append(b, `,"params":{`...)
	for i, name := range slices.Sorted(maps.Keys(p.Params)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		b = append(b, p.Params[name]...)
	}
	b = append(b, `},"inputs":[`...)
	for i, in := range p.Inputs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"name":`...), in.Name)
		b = appendString(append(b, `,"digest":`...), string(in.Digest))
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// appendString appends a JSON string, escaped as encoding/json does.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(fmt.Sprintf("llima: internal error: name %q: %v", s, err))
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// Code says why a target is stale.
type Code string

// The reasons.
const (
	NeverBuilt      Code = "never_built"
	ParamChanged    Code = "param_changed"
	InputChanged    Code = "input_changed"
	InputAdded      Code = "input_added"
	InputRemoved    Code = "input_removed"
	UpstreamChanged Code = "upstream_changed"
	ToolChanged     Code = "tool_changed"
	OutputMissing   Code = "output_missing"
	OutputModified  Code = "output_modified"
	Interrupted     Code = "interrupted"
	Forced          Code = "forced"
)

// Reason is one cause of staleness. Old and New are values of a parameter, or
// digests; Where is the place in a configuration file that set the new value.
type Reason struct {
	Code  Code   `json:"code"`
	Name  string `json:"name,omitempty"`
	Old   string `json:"old,omitempty"`
	New   string `json:"new,omitempty"`
	Where string `json:"where,omitempty"`
}

// Diff lists what makes two preimages differ. upstream tells the inputs that
// other targets made from those that come from outside.
func Diff(old, now *Preimage, upstream func(name string) bool) []Reason {
	var out []Reason
	if old.Stage != now.Stage || old.Version != now.Version {
		out = append(out, Reason{Code: ToolChanged, Name: now.Stage, Old: fmt.Sprint(old.Version), New: fmt.Sprint(now.Version)})
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(now.Params)), maps.Keys(old.Params))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if a, b := old.Params[name], now.Params[name]; !bytes.Equal(a, b) {
			out = append(out, Reason{Code: ParamChanged, Name: name, Old: plain(a), New: plain(b)})
		}
	}
	return append(out, diffInputs(old.Inputs, now.Inputs, upstream)...)
}

func diffInputs(old, now []Input, upstream func(string) bool) []Reason {
	var out []Reason
	was := map[string]Digest{}
	for _, in := range old {
		was[in.Name] = in.Digest
	}
	for _, in := range now {
		d, ok := was[in.Name]
		delete(was, in.Name)
		switch {
		case !ok:
			out = append(out, Reason{Code: InputAdded, Name: in.Name, New: in.Digest.Short()})
		case d != in.Digest && upstream(in.Name):
			out = append(out, Reason{Code: UpstreamChanged, Name: in.Name, Old: d.Short(), New: in.Digest.Short()})
		case d != in.Digest:
			out = append(out, Reason{Code: InputChanged, Name: in.Name, Old: d.Short(), New: in.Digest.Short()})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		out = append(out, Reason{Code: InputRemoved, Name: name, Old: was[name].Short()})
	}
	return out
}

// plain shortens a JSON value for people.
func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	if len(raw) > 60 {
		return string(raw[:57]) + "..."
	}
	return string(raw)
}
