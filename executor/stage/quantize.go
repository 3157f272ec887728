package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/planner/fingerprint"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/rewrite"
)

// quantize writes the quantised graphs of a part and the weights they need. A
// matrix is quantised once for each format, whichever phase asks first.
type quantize struct{}

// tensorVersion is raised when the same matrix gives other codes.
const tensorVersion = 2

// Run implements [executor.Stage].
func (quantize) Run(ctx context.Context, a *executor.Action) error {
	options := rewrite.Options{Matrix: bf16Format, Head: bf16Format}
	if a.Target.Part.Part != addr.Cache {
		for _, p := range a.Target.Model.Parts {
			if p.ID == a.Target.Part {
				options.Matrix, options.Head = p.FormatOf(a.Target.Model, false), p.FormatOf(a.Target.Model, true)
			}
		}
	}
	for _, in := range a.Inputs() {
		if in.From.Addr.Stage != addr.ONNX {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := a.Bytes(in)
		if err != nil {
			return err
		}
		float, err := onnx.Decode(b)
		if err != nil {
			return fmt.Errorf("%s: %w", in.Name, err)
		}
		m, uses, err := rewrite.Rewrite(float, options, a.Shard)
		if err != nil {
			return fmt.Errorf("%s: %w", in.Name, err)
		}
		if err := a.WriteFile(path.Base(in.Name), m.Encode()); err != nil {
			return err
		}
		for _, use := range uses {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := weights(a, use); err != nil {
				return fmt.Errorf("tensor %q: %w", use.Tensor, err)
			}
		}
	}
	return nil
}

// weights declares the file of one matrix: the one that CALIBRATE made, where
// it did.
func weights(a *executor.Action, use rewrite.WeightUse) error {
	for _, in := range a.Inputs() {
		if in.From.Addr.Stage == addr.Calibrate && in.Name == use.Location {
			a.Pass(use.Location, in)
			return nil
		}
	}
	t, ok := a.Target.Model.Checkpoint.Weight(use.Tensor)
	if !ok {
		return fmt.Errorf("the checkpoint lacks it")
	}
	if use.Format.Bits == 16 && t.DType == tensor.BF16 {
		src, err := a.TensorReader(use.Tensor)
		if err != nil {
			return err
		}
		if err := quant.CheckFinite(src, t.DType, use.N, use.K); err != nil {
			return err
		}
		return a.Refer(use.Location, use.Tensor)
	}
	inputs, err := a.TensorDigests(use.Tensor)
	if err != nil {
		return err
	}
	p := fingerprint.Preimage{Stage: "quantize_tensor", Version: tensorVersion, Params: fingerprint.Params{}, Inputs: inputs}
	p.Params.Set("format", use.Format.String())
	p.Params.Set("method", use.Format.Method.String())
	p.Params.Set("dtype", t.DType.String())
	p.Params.Set("shape", []int{use.N, use.K})
	return a.Memo(use.Location, p, func(file string) error {
		src, err := a.TensorReader(use.Tensor)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(quant.Write(f, src, t.DType, use.N, use.K, use.Format), f.Close())
	})
}
