// Package addr names things: the parts of a model, the stages of a build and
// the targets that a build consists of. It is the one place where part names,
// phase names and the stage list stand; it knows nothing about what they do.
package addr

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Part is a piece of a model that becomes one program per phase.
type Part uint8

// The parts, in the order in which a layer runs them.
const (
	Pre    Part = iota // input norm, Q/K/V projections, RoPE
	Cache              // attention over a window of the KV cache, no weights
	Post               // output projection, norms, MLP, and the head in the last layer
	Conv               // a whole layer without attention
	Vision             // vision tower and projector
)

// Parts lists every part in canonical order.
var Parts = []Part{Pre, Cache, Post, Conv, Vision}

var partNames = [...]string{"PRE", "CACHE", "POST", "CONV", "VISION"}

// String returns the name that rules and addresses use, "PRE" for example.
func (p Part) String() string {
	if int(p) < len(partNames) {
		return partNames[p]
	}
	return fmt.Sprintf("Part(%d)", uint8(p))
}

// InRules returns the part as rules see it: a whole layer without attention is
// its PRE to them.
func (p Part) InRules() Part {
	if p == Conv {
		return Pre
	}
	return p
}

// ParsePart is the inverse of [Part.String].
func ParsePart(s string) (Part, bool) {
	for i, n := range partNames {
		if n == s {
			return Part(i), true
		}
	}
	return 0, false
}

// Phase says whether a program handles a group of tokens or a single one.
type Phase uint8

// The phases. A vision tower has phase Prefill.
const (
	Prefill Phase = iota // language_group_size tokens at once
	Decode               // one token
)

// Phases lists both phases in canonical order.
var Phases = []Phase{Prefill, Decode}

// String returns "prefill" or "decode", as rules and addresses spell it.
func (p Phase) String() string {
	if p == Prefill {
		return "prefill"
	}
	return "decode"
}

// FilePrefix returns "group" or "single", as files on disk spell it.
func (p Phase) FilePrefix() string {
	if p == Prefill {
		return "group"
	}
	return "single"
}

// PartID is one part of one layer in one phase: what a rule decides on.
type PartID struct {
	Phase Phase
	Part  Part
	Index int // layer, 0 for VISION
}

// String returns "prefill.PRE.0", or "VISION.0" for the vision tower.
func (id PartID) String() string {
	if id.Part == Vision {
		return fmt.Sprintf("%s.%d", id.Part, id.Index)
	}
	return fmt.Sprintf("%s.%s.%d", id.Phase, id.Part, id.Index)
}

// FileName returns the vendor's name on disk without extension,
// "group_pre_0" for example.
func (id PartID) FileName() string {
	if id.Part == Vision {
		return "vision"
	}
	return id.Phase.FilePrefix() + "_" + strings.ToLower(id.Part.String()) + "_" + strconv.Itoa(id.Index)
}

// ParsePartID is the inverse of [PartID.String].
func ParsePartID(s string) (PartID, error) {
	fields := strings.Split(s, ".")
	id := PartID{}
	switch len(fields) {
	case 2:
		if fields[0] != Vision.String() {
			return id, fmt.Errorf("%q: want PHASE.PART.INDEX", s)
		}
		id.Part = Vision
	case 3:
		switch fields[0] {
		case Prefill.String():
		case Decode.String():
			id.Phase = Decode
		default:
			return id, fmt.Errorf("%q: unknown phase %q, want prefill or decode", s, fields[0])
		}
		p, ok := ParsePart(fields[1])
		if !ok || p == Vision {
			return id, fmt.Errorf("%q: unknown part %q", s, fields[1])
		}
		id.Part = p
	default:
		return id, fmt.Errorf("%q: want PHASE.PART.INDEX", s)
	}
	n, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil || n < 0 || strconv.Itoa(n) != fields[len(fields)-1] {
		return id, fmt.Errorf("%q: %q is not a layer index", s, fields[len(fields)-1])
	}
	id.Index = n
	return id, nil
}

// Stage is a kind of target.
type Stage uint8

// The stages, in pipeline order.
const (
	Devkit Stage = iota
	ONNX
	Calibrate
	Quantize
	ModelSDKDirect
	SourceToQuant
	Compile
	MPK
	Adapter
	Package
)

// Stages lists every stage in pipeline order.
var Stages = []Stage{Devkit, ONNX, Calibrate, Quantize, ModelSDKDirect, SourceToQuant, Compile, MPK, Adapter, Package}

var stageNames = [...]string{"devkit", "onnx", "calibrate", "quantize", "model_sdk_direct", "source_to_quant", "compile", "mpk", "adapter", "package"}

// String returns the name that addresses use, "quantize" for example.
func (s Stage) String() string {
	if int(s) < len(stageNames) {
		return stageNames[s]
	}
	return fmt.Sprintf("Stage(%d)", uint8(s))
}

// ParseStage is the inverse of [Stage.String].
func ParseStage(s string) (Stage, bool) {
	for i, n := range stageNames {
		if n == s {
			return Stage(i), true
		}
	}
	return 0, false
}

// Target addresses one node of the build graph,
// "tuned-long:quantize:decode.POST.3" for example.
type Target struct {
	Model string // model label, with "-key" appended where it was expanded
	Stage Stage
	Unit  string // part, "layer_3", adapter name; empty where a model has one such target
}

// ForPart returns the target that runs stage on one part of a model.
func ForPart(model string, stage Stage, id PartID) Target {
	return Target{Model: model, Stage: stage, Unit: id.String()}
}

// String returns the address.
func (t Target) String() string {
	s := t.Model + ":" + t.Stage.String()
	if t.Unit != "" {
		s += ":" + t.Unit
	}
	return s
}

// Parse is the inverse of [Target.String].
func Parse(s string) (Target, error) {
	f := strings.Split(s, ":")
	if len(f) < 2 || len(f) > 3 || f[0] == "" {
		return Target{}, fmt.Errorf("address %q: want MODEL:STAGE or MODEL:STAGE:UNIT", s)
	}
	stage, ok := ParseStage(f[1])
	if !ok {
		return Target{}, fmt.Errorf("address %q: unknown stage %q, want one of %s", s, f[1], strings.Join(stageNames[:], ", "))
	}
	t := Target{Model: f[0], Stage: stage}
	if len(f) == 3 {
		t.Unit = f[2]
	}
	return t, nil
}

// Match reports whether a target is selected by pattern: a model name, or an
// address, each of whose colon-separated fields may hold * and ?. Missing
// fields select everything below.
func Match(pattern string, t Target) (bool, error) {
	have := []string{t.Model, t.Stage.String(), t.Unit}
	fields := strings.Split(pattern, ":")
	if len(fields) > len(have) {
		return false, fmt.Errorf("address %q: more than three fields", pattern)
	}
	for i, f := range fields {
		ok, err := path.Match(f, have[i])
		if err != nil {
			return false, fmt.Errorf("address %q: %w", pattern, err)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}
