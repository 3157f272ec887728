package rewrite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/formats/tensor"
	"github.com/llima-build/llima/quant"
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
	use, err := r.use(n.Name, t)
	if err != nil {
		return err
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
	switch {
	case use.Carried != nil:
		x = r.gather(x, t, use.Carried.Columns, r.types[n.Inputs[0]].Dims)
		r.quantised(n, t, use, use.Carried.Coding, x, bias)
	case use.Format.Bits == 16:
		r.bf16(n, t, use, x, bias)
	default:
		r.quantised(n, t, use, use.Format.Coding(), x, bias)
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

// use says how the matrix of a node is stored.
func (r *rewriter) use(node string, t *onnx.Tensor) (WeightUse, error) {
	use := WeightUse{Tensor: t.Name, N: int(t.Dims[0]), K: int(t.Dims[1])}
	if r.o.Carried != nil {
		if c, ok := r.o.Carried(t.Name); ok {
			if c.GroupSize > 0 && c.Offset != 0 && use.K%c.GroupSize != 0 {
				return use, fmt.Errorf("matrix %q: %d inputs are not a multiple of the group of %d that has an offset", t.Name, use.K, c.GroupSize)
			}
			use.Carried = &c
			use.Location = "weights/" + t.Name + "." + extension(c.Coding)
			use.SizeBytes = quant.LayoutOf(c.Coding, use.N, use.K).SizeBytes
			return use, nil
		}
	}
	f, err := r.o.format(node)
	if err != nil {
		return use, err
	}
	use.Format, use.Location, use.SizeBytes = f, "weights/"+t.Name+"."+f.String(), f.SizeBytes(use.N, use.K)
	return use, nil
}

// extension returns "uint4g32f16f16" for example: codes, group, and the types
// of scales and offsets.
func extension(c tensor.Coding) string {
	s := strings.ToLower(c.Codes.String())
	if c.GroupSize > 0 {
		s += fmt.Sprintf("g%d", c.GroupSize)
	}
	s += strings.ToLower(c.Scale.String())
	if c.Offset != 0 {
		s += strings.ToLower(c.Offset.String())
	}
	return s
}

// gather puts the columns of a matrix's input in the order of its own.
func (r *rewriter) gather(x string, t *onnx.Tensor, columns []int, dims []int64) string {
	if columns == nil {
		return x
	}
	index := t.Name + ".columns"
	if !r.produced[index] {
		raw := make([]byte, 0, 8*len(columns))
		for _, c := range columns {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(c))
		}
		r.add(onnx.Tensor{Name: index, DType: onnx.Int64, Dims: []int64{int64(len(columns))}, Raw: raw})
	}
	return r.append("Gather", t.Name+".input", onnx.Float, dims, []onnx.Attr{intAttr("axis", int64(len(dims)-1))}, x, index)
}

// floatTypes are the types of scales and offsets.
var floatTypes = map[tensor.DType]onnx.DataType{tensor.F32: onnx.Float, tensor.F16: onnx.Float16, tensor.BF16: onnx.BFloat16}

// codeTypes are the types of codes.
var codeTypes = map[tensor.CodeType]onnx.DataType{tensor.Int8: onnx.Int8, tensor.Int4: onnx.Int4, tensor.UInt4: onnx.Uint4}

// quantised replaces Gemm by MatMul with dequantised codes [K, N].
func (r *rewriter) quantised(n *onnx.Node, t *onnx.Tensor, use WeightUse, c tensor.Coding, x, bias string) {
	wide := t.Name + ".float"
	if !r.produced[t.Name] {
		r.dequantise(t, use, c, wide)
	}
	out, dims := n.Outputs[0], r.types[n.Outputs[0]].Dims
	if bias == "" {
		r.append("MatMul", r.name(out), onnx.Float, dims, nil, x, wide)
		return
	}
	product := r.append("MatMul", out+".product", onnx.Float, dims, nil, x, wide)
	r.append("Add", r.name(out), onnx.Float, dims, nil, product, bias)
}

// dequantise computes a matrix of its codes. The scales are widened first: a
// product rounded to float16 would be another weight. Offsets are added to
// whole groups, as a second rounding.
func (r *rewriter) dequantise(t *onnx.Tensor, use WeightUse, c tensor.Coding, wide string) {
	rows, cols := int64(use.N), int64(use.K)
	l := quant.LayoutOf(c, use.N, use.K)
	r.add(onnx.Tensor{
		Name: t.Name, DType: codeTypes[c.Codes], Dims: []int64{cols, rows},
		External: &onnx.External{Location: use.Location, Length: l.CodeBytes},
	})
	groups := int64(c.Groups(use.K))
	dims, attrs := []int64{rows}, []onnx.Attr{intAttr("axis", 1)}
	if c.GroupSize != 0 {
		dims, attrs = []int64{groups, rows}, []onnx.Attr{intAttr("axis", 0), intAttr("block_size", int64(c.GroupSize))}
	}
	scale := r.wide(t.Name+".scales", c.Scale, dims, onnx.External{Location: use.Location, Offset: l.Scales, Length: l.ScaleBytes})
	if c.Offset == 0 {
		r.append("DequantizeLinear", wide, onnx.Float, []int64{cols, rows}, attrs, t.Name, scale)
		return
	}
	offset := onnx.External{Location: use.Location, Offset: l.Offsets, Length: l.OffsetBytes}
	product := r.append("DequantizeLinear", t.Name+".product", onnx.Float, []int64{cols, rows}, attrs, t.Name, scale)
	if c.GroupSize == 0 {
		r.append("Add", wide, onnx.Float, []int64{cols, rows}, nil, product, r.wide(t.Name+".offsets", c.Offset, []int64{1, rows}, offset))
		return
	}
	grouped := []int64{groups, int64(c.GroupSize), rows}
	product = r.append("Reshape", t.Name+".groups", onnx.Float, grouped, nil, product, r.shape(t.Name+".groups.shape", grouped))
	sum := r.append("Add", t.Name+".sum", onnx.Float, grouped, nil, product, r.wide(t.Name+".offsets", c.Offset, []int64{groups, 1, rows}, offset))
	r.append("Reshape", wide, onnx.Float, []int64{cols, rows}, nil, sum, r.shape(t.Name+".shape", []int64{cols, rows}))
}

// wide adds an initialiser and returns its FLOAT form.
func (r *rewriter) wide(name string, dt tensor.DType, dims []int64, at onnx.External) string {
	r.add(onnx.Tensor{Name: name, DType: floatTypes[dt], Dims: dims, External: &at})
	if dt == tensor.F32 {
		return name
	}
	return r.cast(name, name+".float", onnx.Float, dims)
}

func (r *rewriter) shape(name string, dims []int64) string {
	raw := make([]byte, 0, 8*len(dims))
	for _, d := range dims {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(d))
	}
	r.add(onnx.Tensor{Name: name, DType: onnx.Int64, Dims: []int64{int64(len(dims))}, Raw: raw})
	return name
}
