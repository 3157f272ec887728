// Package modalix compiles one part of a model for the Modalix machine of
// docs/isa.md: quantised ONNX, intermediate form, program, ELF object. It
// ties packages ir, lower and encode together and knows none of their
// insides.
package modalix

import (
	"fmt"
	"io"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/modalix/encode"
	"github.com/llima-build/llima/modalix/ir"
	"github.com/llima-build/llima/modalix/lower"
)

// Options are what a compilation takes beside the graph.
type Options struct {
	Name   string       // of the program, for messages
	Limits lower.Limits // on its memories; zero: the machine's
	// Elsewhere is the SHA-256 of the weights of an object that will lie beside
	// this one, nil for none: the same weights are then not written again.
	Elsewhere []byte
}

// CompilePart compiles a quantised graph and writes an ELF object. data gives
// the bytes of an external file by its location, mapped or read; they are
// streamed into w in panel order. Equal inputs give equal bytes.
func CompilePart(m *onnx.Model, data func(location string) ([]byte, error), opt Options, w io.Writer) error {
	f, err := prepare(m, opt)
	if err != nil {
		return err
	}
	limits := opt.Limits
	if limits == (lower.Limits{}) {
		limits = lower.MachineLimits()
	}
	p, err := lower.Lower(f, limits)
	if err != nil {
		return fmt.Errorf("modalix: %w", err)
	}
	if err := encode.Write(w, p, data, opt.Elsewhere); err != nil {
		return fmt.Errorf("modalix: %w", err)
	}
	return nil
}

// DumpIR returns the textual intermediate form of a graph after all passes.
func DumpIR(m *onnx.Model, opt Options) (string, error) {
	f, err := prepare(m, opt)
	if err != nil {
		return "", err
	}
	return f.String(), nil
}

func prepare(m *onnx.Model, opt Options) (*ir.Func, error) {
	f, err := ir.Import(m, opt.Name)
	if err != nil {
		return nil, fmt.Errorf("modalix: %w", err)
	}
	if err := ir.Run(f); err != nil {
		return nil, fmt.Errorf("modalix: %w", err)
	}
	return f, nil
}
