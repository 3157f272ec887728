package stage

import (
	"context"
	"fmt"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
)

// onnxStage writes the float graphs of a part. Their weights stay in the
// checkpoint's files, which the graphs name.
type onnxStage struct{}

// Run implements [executor.Stage].
func (onnxStage) Run(ctx context.Context, a *executor.Action) error {
	m := a.Target.Model
	look := func(name string) (tensor.DType, []int, onnx.External, error) {
		w, ok := m.Checkpoint.Weight(name)
		if !ok {
			return 0, nil, onnx.External{}, fmt.Errorf("the checkpoint lacks tensor %q", name)
		}
		p := w.Parts[0]
		return w.DType, w.Shape, onnx.External{Location: p.File, Offset: p.Offset, Length: p.Length}, nil
	}
	graphs, err := m.Arch.Build(a.Target.Part, m.Params, look)
	if err != nil {
		return err
	}
	for _, g := range graphs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.WriteFile(g.Name+".onnx", g.Model.Encode()); err != nil {
			return err
		}
	}
	return nil
}
