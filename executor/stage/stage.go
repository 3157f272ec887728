// Package stage is the code behind each kind of target: a file a stage. A
// stage reads its inputs, writes its outputs, and knows nothing of when it
// runs or where its results are kept.
package stage

import (
	"io"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/internal/addr"
)

// Backend turns quantised graphs into programs, and programs into archives.
type Backend interface {
	// Compile writes the program of a graph. data returns the whole file of
	// weights at a location. sibling, nil where there is none, is a program
	// that will lie beside this one: weights that it has are referred to.
	Compile(m *onnx.Model, data func(location string) ([]byte, error), name string, sibling []byte, w io.Writer) error
	// Archive writes an archive of programs.
	Archive(name string, programs []Program, w io.Writer) error
}

// Program is a compiled program, by its file name.
type Program struct {
	Name string
	Data []byte                        // mapped: for looking into it
	Open func() (io.ReadCloser, error) // for copying it
}

// List returns every stage, over a backend.
func List(b Backend) map[addr.Stage]executor.Stage {
	return map[addr.Stage]executor.Stage{
		addr.Devkit:         devkit{},
		addr.ONNX:           onnxStage{},
		addr.Calibrate:      calibrate{},
		addr.Quantize:       quantize{},
		addr.ModelSDKDirect: carry{},
		addr.SourceToQuant:  carry{},
		addr.Compile:        compile{b},
		addr.MPK:            archive{b},
		addr.Package:        pack{},
	}
}
