// Package measure says how far a compiled model is from another one, on the
// emulator: perplexity, KL divergence, how often both prefer the same token,
// and the error of each part. It knows what the programs return and nothing of
// how they were built; it reads outputs, no configuration.
//
// [Compare] runs two outputs in step over [Windows] of a text and keeps one
// number a token. A [Model] is a [runtime.Model] too, which is what
// experiments are made of: Use makes it run another output's program for one
// part, Beside runs another output's programs on its inputs, Sequence and
// Resume give the logits of every token, from any layer on. So what a model
// loses by one part in INT4 is
//
//	bf16.Use(id, int4)
//	result, err := measure.Compare(ctx, measure.Options{Model: bf16, Reference: reference, …})
//	bf16.Use(id, bf16)
//
// where reference is the same output as bf16, opened again: a model holds one
// sequence at a time.
package measure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/internal/document"
	"github.com/llima-build/llima/modalix/runtime"
)

// Model is an output that can be measured.
type Model struct {
	*runtime.Model
	Name string // what errors call it

	precisions map[addr.PartID]string // of the parts that precision.json lists
}

// Open loads a sima_files folder. name is what errors call it.
func Open(simaFiles, name string) (*Model, error) {
	m, err := runtime.Open(simaFiles)
	if err != nil {
		return nil, err
	}
	p, err := readPrecisions(filepath.Join(simaFiles, "devkit", "precision.json"))
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return &Model{m, name, p}, nil
}

// maxPrecisions bounds precision.json, in bytes: it has a line a part.
const maxPrecisions = 16 << 20

func readPrecisions(path string) (map[addr.PartID]string, error) {
	const again = "\n  build it again:\n    llima build"
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w, so this output is incomplete%s", err, again)
	}
	if !st.Mode().IsRegular() || st.Size() > maxPrecisions {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes%s", path, maxPrecisions, again)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lines []struct {
		Part      string `json:"part"`
		Index     int    `json:"idx"`
		Precision string `json:"precision"`
	}
	if err := document.Decode(b, &lines); err != nil {
		return nil, fmt.Errorf("%s: %w, so the file is damaged%s", path, err, again)
	}
	out := map[addr.PartID]string{}
	for _, l := range lines {
		for _, phase := range addr.Phases {
			for _, part := range addr.Parts {
				id := addr.PartID{Phase: phase, Part: part, Index: l.Index}
				if part != addr.Vision && id.FileName() == fmt.Sprintf("%s_%d", l.Part, l.Index) {
					out[id] = l.Precision
				}
			}
		}
	}
	return out, nil
}

// Precision returns how the weights of a part are stored, "A_BF16_W_INT4" for
// example, or "" where the output does not say.
func (m *Model) Precision(id addr.PartID) string { return m.precisions[id] }

// PhasesDiffer reports whether prefill and decode have other precisions.
func (m *Model) PhasesDiffer() bool {
	return slices.ContainsFunc(m.Parts(addr.Prefill), func(id addr.PartID) bool {
		other := id
		other.Phase = addr.Decode
		return m.precisions[id] != m.precisions[other]
	})
}
