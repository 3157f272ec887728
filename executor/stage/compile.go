package stage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/internal/addr"
)

// compile turns the quantised graphs of a part into programs. With filter
// sharing it also reads the program of the other phase, whose weights it
// shares where they are the same.
type compile struct{ backend Backend }

// Run implements [executor.Stage].
func (c compile) Run(ctx context.Context, a *executor.Action) error {
	var sibling []byte
	for _, in := range a.Inputs() {
		if in.From.Addr.Stage == addr.Compile {
			b, err := a.Bytes(in)
			if err != nil {
				return err
			}
			sibling = b
		}
	}
	data := func(location string) ([]byte, error) {
		in, err := a.Find(location)
		if err != nil {
			return nil, err
		}
		return a.Bytes(in)
	}
	for _, in := range a.Inputs() {
		name, ok := strings.CutSuffix(in.Name, ".onnx")
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := a.Bytes(in)
		if err != nil {
			return err
		}
		m, err := onnx.Decode(b)
		if err != nil {
			return fmt.Errorf("%s: %w", in.Name, err)
		}
		f, err := a.Create(name + ".elf")
		if err != nil {
			return err
		}
		w := bufio.NewWriterSize(f, 1<<20)
		err = c.backend.Compile(m, data, name, sibling, w)
		if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
			return fmt.Errorf("%s: %w", in.Name, err)
		}
	}
	return nil
}

// archive collects the programs of a layer, or the shared ones of CACHE.
type archive struct{ backend Backend }

// Run implements [executor.Stage].
func (c archive) Run(_ context.Context, a *executor.Action) error {
	var programs []Program
	for _, in := range a.Inputs() {
		b, err := a.Bytes(in)
		if err != nil {
			return err
		}
		programs = append(programs, Program{Name: in.Name, Data: b, Open: func() (io.ReadCloser, error) { return a.Open(in) }})
	}
	f, err := a.Create(a.Target.Addr.Unit + ".tar.gz")
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = c.backend.Archive(a.Target.Addr.Unit, programs, w)
	return errors.Join(err, w.Flush(), f.Close())
}
