package planner

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner/fingerprint"
)

// SavedPlan is a plan on disk: what was asked for, and what was decided. It is
// lines of JSON: the request, a line for each target, and the digest of all
// lines before it. docs/records.md describes them.
type SavedPlan struct {
	Request   Request
	Decisions []SavedDecision // by address
}

// Request is what a plan was made for, so that the build asks for the same.
type Request struct {
	Version   int             `json:"llima_plan"`
	File      string          `json:"file"` // the configuration, relative to the saved plan's folder, slashes
	Targets   []string        `json:"targets"`
	Vars      []string        `json:"vars,omitempty"`      // of --var, as given
	VarFiles  []string        `json:"var_files,omitempty"` // of --var-file, relative as File is
	Variables []SavedVariable `json:"variables"`           // every one, by name
}

// SavedVariable is a variable with its value when the plan was made.
type SavedVariable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"`
}

// SavedDecision is what was decided on a target.
type SavedDecision struct {
	Address string             `json:"address"`
	State   string             `json:"state"`
	Key     fingerprint.Digest `json:"key,omitempty"` // absent while inputs were not known
	// Preimage is what was known of what the key is made of; absent where the
	// store had it.
	Preimage *fingerprint.Preimage `json:"preimage,omitempty"`
}

const (
	savedVersion = 1
	savedStart   = `{"llima_plan":`
	// maxSavedLine bounds a line: the longest are those of PACKAGE.
	maxSavedLine = 64 << 20
)

// savedEnd is the last line.
type savedEnd struct {
	Digest fingerprint.Digest `json:"digest"`
}

// IsSavedPlan reports whether a file begins as saved plans do.
func IsSavedPlan(start []byte) bool { return bytes.HasPrefix(start, []byte(savedStart)) }

// Save writes a plan.
func Save(w io.Writer, r Request, p *Plan) error {
	r.Version = savedVersion
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return err
	}
	for _, d := range p.byAddress() {
		s := SavedDecision{Address: d.Target.Addr.String(), State: d.State.String(), Key: d.Key}
		if d.State == Run || d.State == MayRun || d.Key == "" {
			s.Preimage = &d.Preimage
		}
		if err := enc.Encode(s); err != nil {
			return err
		}
	}
	if err := enc.Encode(savedEnd{fingerprint.Sum(b.Bytes())}); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (p *Plan) byAddress() []*Decision {
	out := make([]*Decision, len(p.Decisions))
	for i := range p.Decisions {
		out[i] = &p.Decisions[i]
	}
	slices.SortFunc(out, func(a, b *Decision) int { return compareAddr(a.Target.Addr, b.Target.Addr) })
	return out
}

func compareAddr(a, b addr.Target) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) }

// ReadSaved reads a saved plan. One that was cut or changed is refused.
func ReadSaved(r io.Reader) (*SavedPlan, error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxSavedLine)
	var s SavedPlan
	var sum bytes.Buffer
	whole := false
	for n := 1; in.Scan(); n++ {
		line := in.Bytes()
		if whole {
			return nil, fmt.Errorf("line %d: stands behind the end of the plan", n)
		}
		var err error
		switch {
		case n == 1:
			err = strict(line, &s.Request)
			if err == nil && s.Request.Version != savedVersion {
				return nil, fmt.Errorf("it was saved in version %d of the format, this llima reads %d", s.Request.Version, savedVersion)
			}
		case bytes.HasPrefix(line, []byte(`{"digest":`)):
			var end savedEnd
			if err = strict(line, &end); err == nil && end.Digest != fingerprint.Sum(sum.Bytes()) {
				err = errors.New("the plan was changed since it was saved")
			}
			whole = true
		default:
			var d SavedDecision
			err = strict(line, &d)
			s.Decisions = append(s.Decisions, d)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		sum.Write(line)
		sum.WriteByte('\n')
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if !whole {
		return nil, errors.New("it ends before its last line")
	}
	return &s, nil
}

func strict(line []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// Drift is a target on which a plan that is made now decides otherwise than a
// saved one.
type Drift struct {
	Address string
	Was, Is string // states, "" for a target that is not there
	Reasons []fingerprint.Reason
}

// Drift compares a saved plan with one that was made now.
func (s *SavedPlan) Drift(now *Plan, facts Facts) []Drift {
	was := make(map[string]*SavedDecision, len(s.Decisions))
	for i := range s.Decisions {
		was[s.Decisions[i].Address] = &s.Decisions[i]
	}
	var out []Drift
	for _, d := range now.byAddress() {
		address := d.Target.Addr.String()
		old := was[address]
		delete(was, address)
		switch {
		case old == nil:
			out = append(out, Drift{Address: address, Is: d.State.String()})
		case old.State != d.State.String() || old.Key != d.Key || old.preimageChanged(d):
			out = append(out, Drift{address, old.State, d.State.String(), old.explain(d, facts)})
		}
	}
	for _, d := range s.Decisions {
		if was[d.Address] != nil {
			out = append(out, Drift{Address: d.Address, Was: d.State})
		}
	}
	return out
}

// preimageChanged compares what was known while the key was not.
func (s *SavedDecision) preimageChanged(d *Decision) bool {
	return s.Key == "" && s.Preimage != nil && s.Preimage.Key() != d.Preimage.Key()
}

// explain says what makes a decision differ from the saved one: what the
// target reads, or else what became of what it made.
func (s *SavedDecision) explain(d *Decision, facts Facts) []fingerprint.Reason {
	old := s.Preimage
	if old == nil {
		if p, ok := facts.Preimage(s.Key); ok {
			old = &p
		}
	}
	if old != nil {
		if reasons := d.Target.place(fingerprint.Diff(old, &d.Preimage, isUpstream)); len(reasons) > 0 {
			return reasons
		}
	}
	return d.Reasons
}
