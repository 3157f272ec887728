package rewrite

import (
	"errors"
	"fmt"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
)

// isMatrix reports whether a tensor is one that the precision governs.
func isMatrix(t *onnx.Tensor) bool { return t.External != nil && len(t.Dims) == 2 }

// initializer makes a tensor of the float graph stand in the new one, inline.
func (r *rewriter) initializer(name string) error {
	t, ok := r.tensors[name]
	if !ok || r.produced[name] {
		return nil
	}
	if isMatrix(t) {
		return fmt.Errorf("matrix %q is read by something else than Gemm", name)
	}
	c := *t
	if t.External != nil {
		raw, err := r.read(t)
		if err != nil {
			return err
		}
		c.Raw, c.External = raw, nil
	}
	r.add(c)
	return nil
}

func (r *rewriter) add(t onnx.Tensor) {
	r.produced[t.Name] = true
	r.out.Graph.Initializers = append(r.out.Graph.Initializers, t)
}

// read copies an external tensor's bytes.
func (r *rewriter) read(t *onnx.Tensor) ([]byte, error) {
	want, err := t.SizeBytes()
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	file, err := r.data(t.External.Location)
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	at, n := t.External.Offset, t.External.Length
	if n != want || at < 0 || at > int64(len(file)) || n > int64(len(file))-at {
		return nil, fmt.Errorf("tensor %q: bytes [%d,%d) of %s, which has %d; the shape needs %d", t.Name, at, at+n, t.External.Location, len(file), want)
	}
	return append([]byte(nil), file[at:at+n]...), nil
}

// widen handles a Cast of an initialiser: that of a matrix waits for the
// product which reads it.
func (r *rewriter) widen(n *onnx.Node, t *onnx.Tensor) error {
	if isMatrix(t) {
		r.tensors[n.Outputs[0]] = t
		return nil
	}
	return r.copyRounded(n, 0)
}

// gemm replaces a product with a matrix of the checkpoint.
func (r *rewriter) gemm(n *onnx.Node) error {
	if len(n.Inputs) < 2 {
		return errors.New("has no matrix")
	}
	t := r.tensors[n.Inputs[1]]
	if t == nil || !isMatrix(t) {
		return fmt.Errorf("operand %q is no matrix of the checkpoint", n.Inputs[1])
	}
	f, err := r.o.format(n.Name)
	if err != nil {
		return err
	}
	rows, cols := int(t.Dims[0]), int(t.Dims[1])
	use := WeightUse{
		Tensor: t.Name, Location: "weights/" + t.Name + "." + f.String(), Format: f, N: rows, K: cols, SizeBytes: f.SizeBytes(rows, cols),
	}
	bias := ""
	if len(n.Inputs) > 2 {
		bias = n.Inputs[2]
		if err := r.initializer(bias); err != nil {
			return err
		}
		bias = r.name(bias)
	}
	x := r.round(r.name(n.Inputs[0]), n.Inputs[0])
	if !r.produced[t.Name] {
		r.uses = append(r.uses, use)
	}
	if f.Bits == 16 {
		r.bf16(n, t, use, x, bias)
	} else {
		r.quantised(n, t, use, x, bias)
	}
	if out := n.Outputs[0]; !slices.Contains(headNodes, n.Name) {
		r.rename[out] = r.round(r.name(out), out)
	}
	return nil
}

// bf16 keeps Gemm on a BF16 matrix, widened.
func (r *rewriter) bf16(n *onnx.Node, t *onnx.Tensor, use WeightUse, x, bias string) {
	wide := t.Name + ".float"
	if !r.produced[t.Name] {
		r.add(onnx.Tensor{Name: t.Name, DType: onnx.BFloat16, Dims: t.Dims, External: &onnx.External{Location: use.Location, Length: use.SizeBytes}})
		r.cast(t.Name, wide, onnx.Float, t.Dims)
	}
	in := []string{x, wide}
	if bias != "" {
		in = append(in, bias)
	}
	out := n.Outputs[0]
	r.append("Gemm", r.name(out), onnx.Float, r.types[out].Dims, n.Attrs, in...)
}

// quantised replaces Gemm by MatMul with dequantised codes [K, N]. The scales
// are widened first: a product rounded to float16 would be another weight.
func (r *rewriter) quantised(n *onnx.Node, t *onnx.Tensor, use WeightUse, x, bias string) {
	rows, cols, f := int64(use.N), int64(use.K), use.Format
	wide := t.Name + ".float"
	if !r.produced[t.Name] {
		codes, scales := onnx.Int8, []int64{rows}
		attrs := []onnx.Attr{intAttr("axis", 1)}
		if f.Bits == 4 {
			codes = onnx.Int4
		}
		if f.GroupSize != 0 {
			scales = []int64{int64(f.Groups(use.K)), rows}
			attrs = []onnx.Attr{intAttr("axis", 0), intAttr("block_size", int64(f.GroupSize))}
		}
		at := f.ScalesOffset(use.N, use.K)
		r.add(onnx.Tensor{
			Name: t.Name, DType: codes, Dims: []int64{cols, rows},
			External: &onnx.External{Location: use.Location, Length: f.CodeBytes(use.N, use.K)},
		})
		r.add(onnx.Tensor{
			Name: t.Name + ".scales", DType: onnx.Float16, Dims: scales,
			External: &onnx.External{Location: use.Location, Offset: at, Length: use.SizeBytes - at},
		})
		scale := r.cast(t.Name+".scales", t.Name+".scales.float", onnx.Float, scales)
		r.append("DequantizeLinear", wide, onnx.Float, []int64{cols, rows}, attrs, t.Name, scale)
	}
	out, dims := n.Outputs[0], r.types[n.Outputs[0]].Dims
	if bias == "" {
		r.append("MatMul", r.name(out), onnx.Float, dims, nil, x, wide)
		return
	}
	product := r.append("MatMul", out+".product", onnx.Float, dims, nil, x, wide)
	r.append("Add", r.name(out), onnx.Float, dims, nil, product, bias)
}
