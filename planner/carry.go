package planner

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/internal/addr"
)

// carried returns the source where it holds matrices as codes of its own, else
// nil: precisions then decide.
func (m *Model) carried() *source.Model {
	if m.Format == source.HF {
		return nil
	}
	return m.Checkpoint
}

// carry makes of a part's precision what its source holds: the widest of its
// matrices.
func (m *Model) carry() {
	ck := m.carried()
	if ck == nil {
		return
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		bits := 0
		for _, t := range m.Tensors(p.ID) {
			if coding, ok := codingOf(ck, t.Name); ok {
				bits = max(bits, coding.Codes.Bits())
			} else if len(t.Shape) == 2 {
				bits = 16
			}
		}
		switch bits {
		case 4:
			p.Decision.Precision = config.INT4
		case 8:
			p.Decision.Precision = config.INT8
		}
		p.WeightBytes = m.weightBytes(p.ID, p.Decision.Precision, ck)
	}
}

// codingOf returns how a source holds a matrix as codes.
func codingOf(ck *source.Model, name string) (tensor.Coding, bool) {
	if ck == nil {
		return tensor.Coding{}, false
	}
	w, ok := ck.Weight(name)
	if !ok || !w.Coded() {
		return tensor.Coding{}, false
	}
	return w.Coding, true
}

// TensorName is the name of a tensor as a source.
func TensorName(name string) string { return "tensor/" + name }

// TensorSources names what a weight is made of as sources.
func TensorSources(ck *source.Model, w *source.Weight) []Source {
	var out []Source
	for _, p := range w.Parts {
		name := TensorName(w.Name)
		if len(w.Parts) > 1 {
			name += "/" + p.Name[strings.LastIndexByte(p.Name, '.')+1:]
		}
		out = append(out, Source{
			Name: name, Path: filepath.Join(ck.Dir(), p.File), Kind: FileTensor, Offset: p.Offset, Length: p.Length,
		})
	}
	return out
}

// addTensors makes a target read weights of the model.
func (t *Target) addTensors(names ...string) error {
	for _, name := range names {
		w, ok := t.Model.Checkpoint.Weight(name)
		if !ok {
			return fmt.Errorf("the checkpoint lacks tensor %q, which %s needs", name, t.Addr)
		}
		t.Sources = append(t.Sources, TensorSources(t.Model.Checkpoint, w)...)
	}
	return nil
}

// describe says what a target's key needs to know of weights beside their bytes.
func (m *Model) describe(names []string, places bool) ([]string, error) {
	var out []string
	for _, name := range names {
		w, ok := m.Checkpoint.Weight(name)
		if !ok {
			return nil, fmt.Errorf("the checkpoint lacks tensor %q", name)
		}
		switch {
		case places:
			out = append(out, fmt.Sprintf("%s %v %v %s@%d", name, w.DType, w.Shape, w.Parts[0].File, w.Parts[0].Offset))
		case w.Coded():
			out = append(out, fmt.Sprintf("%s %v %s", name, w.Shape, w.Form))
		default:
			out = append(out, fmt.Sprintf("%s %v %v %s", name, w.DType, w.Shape, w.Form))
		}
	}
	return out, nil
}

// addCarried adds the target that makes quantised graphs of a part straight
// from a source whose weights are quantised already.
func (m *Model) addCarried(p Part) (*Target, error) {
	stage := addr.ModelSDKDirect
	if m.Format == source.CompressedTensors {
		stage = addr.SourceToQuant
	}
	t := m.target(stage, p.ID.String())
	t.Part = p.ID
	m.shapeParams(t, p.ID)
	tensors := m.tensorNames(p.ID)
	forms, err := m.describe(tensors, false)
	if err != nil {
		return nil, err
	}
	t.Params.Set("tensors", forms)
	if p.ID.Part != addr.Cache {
		t.Params.Set("convert", m.Config.Convert)
	}
	return t, t.addTensors(tensors...)
}

// Carried reports whether the model's weights are those of its source as they
// are, so that precisions do not apply.
func (m *Model) Carried() bool { return m.carried() != nil }
