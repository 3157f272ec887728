package stage

import (
	"context"
	"fmt"
	"os"

	"github.com/llima-build/llima/executor"
	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/source"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/planner/fingerprint"
	"github.com/llima-build/llima/quant"
	"github.com/llima-build/llima/quant/rewrite"
)

// carry is MODEL_SDK_DIRECT and SOURCE_TO_QUANT: it writes the quantised
// graphs of a part whose weights the source holds as codes, and takes these
// over without changing a value.
type carry struct{}

// Run implements [executor.Stage].
func (carry) Run(ctx context.Context, a *executor.Action) error {
	m := a.Target.Model
	c := &carrier{a: a, coded: map[string]*tensor.Coded{}}
	graphs, err := m.Arch.Build(a.Target.Part, m.Params, c.look)
	if err != nil {
		return err
	}
	for _, g := range graphs {
		if err := ctx.Err(); err != nil {
			return err
		}
		quantised, uses, err := rewrite.Rewrite(g.Model, rewrite.Options{Matrix: bf16Format, Head: bf16Format, Carried: c.carried}, c.data)
		if err == nil {
			err = c.err
		}
		if err != nil {
			return fmt.Errorf("%s: %w", g.Name, err)
		}
		if err := a.WriteFile(g.Name+".onnx", quantised.Encode()); err != nil {
			return err
		}
		for _, use := range uses {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := c.weights(use); err != nil {
				return fmt.Errorf("tensor %q: %w", use.Tensor, err)
			}
		}
	}
	return nil
}

// bf16Format stores matrices that are not quantised.
var bf16Format = quant.Format{Bits: 16}

// carrier reads the weights of one part.
type carrier struct {
	a     *executor.Action
	coded map[string]*tensor.Coded
	err   error
}

// look says what the graph may think of a weight: a matrix of codes passes for
// one of BF16 until its codes replace it.
func (c *carrier) look(name string) (tensor.DType, []int, onnx.External, error) {
	w, err := c.a.Weight(name)
	if err != nil {
		return 0, nil, onnx.External{}, err
	}
	dt := w.PlainType()
	if w.Coded() {
		dt = tensor.BF16
	}
	n := int64(dt.Bytes())
	for _, d := range w.Shape {
		n *= int64(d)
	}
	return dt, w.Shape, onnx.External{Location: name, Length: n}, nil
}

// data returns the bytes of a weight that is no matrix of codes.
func (c *carrier) data(name string) ([]byte, error) {
	w, err := c.a.Weight(name)
	if err != nil {
		return nil, err
	}
	return c.a.Target.Model.Checkpoint.Plain(w)
}

// carried says how a matrix is held as codes.
func (c *carrier) carried(name string) (rewrite.Carried, bool) {
	w, err := c.a.Weight(name)
	if err != nil || !w.Coded() {
		return rewrite.Carried{}, false
	}
	m, ok := c.coded[name]
	if !ok {
		if m, err = c.a.Target.Model.Checkpoint.Carry(w); err != nil {
			c.err = err
			return rewrite.Carried{}, false
		}
		c.coded[name] = m
	}
	return rewrite.Carried{Coding: m.Coding, Columns: m.Columns}, true
}

// carryVersion is raised when the same codes give another file.
const carryVersion = 1

// weights declares the file of one matrix.
func (c *carrier) weights(use rewrite.WeightUse) error {
	w, err := c.a.Weight(use.Tensor)
	if err != nil {
		return err
	}
	if use.Carried == nil {
		return c.plain(use, w)
	}
	inputs, err := c.a.TensorDigests(use.Tensor)
	if err != nil {
		return err
	}
	p := fingerprint.Preimage{Stage: "carry_tensor", Version: carryVersion, Params: fingerprint.Params{}, Inputs: inputs}
	p.Params.Set("form", w.Form)
	p.Params.Set("shape", w.Shape)
	return c.a.Memo(use.Location, p, func(file string) error {
		if err := c.used(use.Tensor); err != nil {
			return err
		}
		return os.WriteFile(file, quant.EncodeCoded(c.coded[use.Tensor]), 0o644)
	})
}

// used notes within a memo what it reads.
func (c *carrier) used(name string) error {
	_, err := c.a.Weight(name)
	return err
}

// plain declares a matrix of plain numbers, in BF16. One that does not fit is
// rounded where the model says so; a Hugging Face checkpoint's always is.
func (c *carrier) plain(use rewrite.WeightUse, w *source.Weight) error {
	if w.Raw && w.DType == tensor.BF16 {
		src, err := c.a.TensorReader(use.Tensor)
		if err != nil {
			return err
		}
		if err := quant.CheckFinite(src, w.DType, use.N, use.K); err != nil {
			return err
		}
		return c.a.Refer(use.Location, use.Tensor)
	}
	inputs, err := c.a.TensorDigests(use.Tensor)
	if err != nil {
		return err
	}
	m := c.a.Target.Model
	convert := m.Format != source.GGUF || m.Config.Convert == "bf16"
	p := fingerprint.Preimage{Stage: "plain_tensor", Version: carryVersion, Params: fingerprint.Params{}, Inputs: inputs}
	p.Params.Set("form", w.Form)
	p.Params.Set("dtype", w.DType.String())
	p.Params.Set("shape", w.Shape)
	p.Params.Set("convert", convert)
	return c.a.Memo(use.Location, p, func(file string) error {
		if err := c.used(use.Tensor); err != nil {
			return err
		}
		out, err := bf16(m.Checkpoint, w, convert)
		if err != nil {
			return err
		}
		return os.WriteFile(file, out, 0o644)
	})
}

// bf16 returns a matrix of plain numbers in BF16.
func bf16(ck *source.Model, w *source.Weight, convert bool) ([]byte, error) {
	raw, err := ck.Plain(w)
	if err != nil {
		return nil, err
	}
	out, exact, err := quant.BF16(raw, w.PlainType(), w.Shape[0], w.Shape[1])
	if err == nil && !exact && !convert {
		err = fmt.Errorf("%v values that BF16 cannot hold\n  set convert = \"bf16\" in the model to round them, or start from a file with BF16 or quantised weights", w.DType)
	}
	return out, err
}
