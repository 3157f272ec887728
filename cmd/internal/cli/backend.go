package cli

import (
	"fmt"
	"io"

	"github.com/llima-build/llima/executor/stage"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/modalix"
	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/isa"
	"github.com/llima-build/llima/modalix/mpk"
)

// modalixBackend gives the stages the Modalix compiler: the two share no
// types, so they meet here.
type modalixBackend struct{}

// Compile implements [stage.Backend].
func (modalixBackend) Compile(m *onnx.Model, data func(location string) ([]byte, error), name string, sibling []byte, w io.Writer) error {
	opt := modalix.Options{Name: name}
	if sibling != nil {
		object, err := emu.Load(sibling)
		if err != nil {
			return fmt.Errorf("the other phase's program: %w", err)
		}
		if sum, ok := object.Digest(isa.Weights); ok {
			opt.Elsewhere = sum[:]
		}
	}
	return modalix.CompilePart(m, data, opt, w)
}

// Archive implements [stage.Backend].
func (modalixBackend) Archive(name string, programs []stage.Program, w io.Writer) error {
	var files []mpk.File
	var described []mpk.Program
	for _, p := range programs {
		object, err := emu.Load(p.Data)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		d := mpk.Program{File: p.Name, Quads: object.Quads()}
		if sum, ok := object.External(isa.Weights); ok {
			d.Weights = append(d.Weights, mpk.External{Segment: "WEIGHTS", Digest: fmt.Sprintf("sha256:%x", sum), Archive: name + ".tar.gz"})
		}
		for _, s := range object.Symbols() {
			d.Symbols = append(d.Symbols, mpk.Buffer{Name: s.Name, Size: s.Size})
		}
		described = append(described, d)
		files = append(files, mpk.File{Name: p.Name, Size: int64(len(p.Data)), Open: p.Open})
	}
	version := fmt.Sprintf("llima-isa-%d.%d", isa.Major, isa.Minor)
	return mpk.Write(w, files, mpk.NewManifest(name, version, described))
}
