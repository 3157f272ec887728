package eval

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
	"github.com/llima-build/llima/internal/ordered"
)

// kernel computes an operator; inputs and outputs say how many it must have.
type kernel struct {
	inputs, outputs int
	run             func(attrs, []*Value) ([]*Value, error)
}

// kernels is the table of operators.
var kernels = map[string]kernel{
	"Add":              {2, 1, arithmetic(add)},
	"And":              {2, 1, and},
	"Cast":             {1, 1, cast},
	"Concat":           {1, 1, concat},
	"Conv":             {2, 1, conv},
	"DequantizeLinear": {2, 1, dequantize},
	"Div":              {2, 1, arithmetic(div)},
	"Gather":           {2, 1, gather},
	"Gelu":             {1, 1, geluOf},
	"Gemm":             {2, 1, gemm},
	"GreaterOrEqual":   {2, 1, compare(func(x, y int64) bool { return x >= y })},
	"Less":             {2, 1, compare(func(x, y int64) bool { return x < y })},
	"MatMul":           {2, 1, matMul},
	"Mul":              {2, 1, arithmetic(mul)},
	"RMSNormalization": {2, 1, rmsNorm},
	"Relu":             {1, 1, unary(each(relu))},
	"Reshape":          {2, 1, reshape},
	"RotaryEmbedding":  {3, 1, rotary},
	"Sigmoid":          {1, 1, unary(ordered.SigmoidOf)},
	"Softmax":          {1, 1, softmax},
	"Split":            {2, 1, splitColumns},
	"Tanh":             {1, 1, unary(each(tanh))},
	"TopK":             {2, 2, topK},
	"Transpose":        {1, 1, transpose},
	"Where":            {3, 1, where},
}

func unary(f func(y, x []float32)) func(attrs, []*Value) ([]*Value, error) {
	return func(_ attrs, args []*Value) ([]*Value, error) {
		x := args[0]
		if x.DType != onnx.Float {
			return nil, fmt.Errorf("%v is not supported", x.DType)
		}
		out := &Value{DType: onnx.Float, Dims: x.Dims, F: make([]float32, len(x.F))}
		f(out.F, x.F)
		return []*Value{out}, nil
	}
}

func each(f func(float32) float32) func(y, x []float32) {
	return func(y, x []float32) {
		for i, v := range x {
			y[i] = f(v)
		}
	}
}

// arithmetic combines tensors by a function of rows of one length.
func arithmetic(f func(z, x, y []float32)) func(attrs, []*Value) ([]*Value, error) {
	return func(_ attrs, args []*Value) ([]*Value, error) {
		x, y := args[0], args[1]
		if x.DType != onnx.Float || y.DType != onnx.Float {
			return nil, fmt.Errorf("%v and %v are not supported", x.DType, y.DType)
		}
		dims, n, err := broadcast(x, y)
		if err != nil || n == 0 {
			return []*Value{{DType: onnx.Float, Dims: dims}}, err
		}
		out := &Value{DType: onnx.Float, Dims: dims, F: make([]float32, n)}
		a, b := rows[float32]{all: x.F}, rows[float32]{all: y.F}
		eachRow(dims, args[:2], func(i, length int, at, step []int) {
			f(out.F[i:i+length], a.row(at[0], step[0], length), b.row(at[1], step[1], length))
		})
		return []*Value{out}, nil
	}
}

func add(z, x, y []float32) {
	x, y = x[:len(z)], y[:len(z)]
	for i := range z {
		z[i] = x[i] + y[i]
	}
}

func div(z, x, y []float32) {
	x, y = x[:len(z)], y[:len(z)]
	for i := range z {
		z[i] = x[i] / y[i]
	}
}

func mul(z, x, y []float32) {
	x, y = x[:len(z)], y[:len(z)]
	for i := range z {
		z[i] = float32(x[i] * y[i])
	}
}

// rows are those of an operand in the shape of a result.
type rows[T any] struct {
	all   []T
	equal []T // a row of one element again and again, the one at an index
	at    int
}

// row returns the row that begins at an index.
func (r *rows[T]) row(at, step, length int) []T {
	if step == 1 {
		return r.all[at : at+length]
	}
	if r.at != at || len(r.equal) != length {
		r.equal, r.at = slices.Repeat(r.all[at:at+1], length), at
	}
	return r.equal
}

func compare(f func(x, y int64) bool) func(attrs, []*Value) ([]*Value, error) {
	return func(_ attrs, args []*Value) ([]*Value, error) {
		return integers(args, onnx.Int32, f)
	}
}

func and(_ attrs, args []*Value) ([]*Value, error) {
	return integers(args, onnx.Bool, func(x, y int64) bool { return x != 0 && y != 0 })
}

// integers combines two tensors of one integer type, or of Bool, to Bool.
func integers(args []*Value, t onnx.DataType, f func(x, y int64) bool) ([]*Value, error) {
	x, y := args[0], args[1]
	if x.DType != t || y.DType != t {
		return nil, fmt.Errorf("%v and %v, want %v", x.DType, y.DType, t)
	}
	dims, n, err := broadcast(x, y)
	if err != nil || n == 0 {
		return []*Value{{DType: onnx.Bool, Dims: dims}}, err
	}
	out := &Value{DType: onnx.Bool, Dims: dims, I: make([]int64, n)}
	eachRow(dims, args[:2], func(i, length int, at, step []int) {
		a, b := at[0], at[1]
		for j := range out.I[i : i+length] {
			if f(x.I[a], y.I[b]) {
				out.I[i+j] = 1
			}
			a, b = a+step[0], b+step[1]
		}
	})
	return []*Value{out}, nil
}

func where(_ attrs, args []*Value) ([]*Value, error) {
	c, x, y := args[0], args[1], args[2]
	if c.DType != onnx.Bool || x.DType != onnx.Float || y.DType != onnx.Float {
		return nil, fmt.Errorf("%v ? %v : %v is not supported", c.DType, x.DType, y.DType)
	}
	dims, n, err := broadcast(c, x, y)
	if err != nil || n == 0 {
		return []*Value{{DType: onnx.Float, Dims: dims}}, err
	}
	out := &Value{DType: onnx.Float, Dims: dims, F: make([]float32, n)}
	mask, yes, no := rows[int64]{all: c.I}, rows[float32]{all: x.F}, rows[float32]{all: y.F}
	eachRow(dims, args[:3], func(i, length int, at, step []int) {
		z, k := out.F[i:i+length], mask.row(at[0], step[0], length)[:length]
		a, b := yes.row(at[1], step[1], length)[:length], no.row(at[2], step[2], length)[:length]
		for j := range z {
			z[j] = b[j]
			if k[j] != 0 {
				z[j] = a[j]
			}
		}
	})
	return []*Value{out}, nil
}

// broadcast returns the common shape of tensors, aligned at the last
// dimension, and how many elements it has.
func broadcast(args ...*Value) (dims []int64, n int, err error) {
	for _, v := range args {
		for len(dims) < len(v.Dims) {
			dims = slices.Insert(dims, 0, 1)
		}
	}
	for _, v := range args {
		skip := len(dims) - len(v.Dims)
		for i, d := range v.Dims {
			switch {
			case dims[skip+i] == 1:
				dims[skip+i] = d
			case d != 1 && d != dims[skip+i]:
				return nil, 0, fmt.Errorf("%v does not broadcast to %v", v.Dims, dims)
			}
		}
	}
	n, err = bounded(dims, maxResult)
	return dims, n, err
}

// eachRow calls f for every row of dims, its first element's index and its
// length, with the index that each operand has there and by how much that
// grows along the row: 0 where the operand is repeated.
func eachRow(dims []int64, args []*Value, f func(i, length int, at, step []int)) {
	if len(dims) == 0 {
		f(0, 1, make([]int, len(args)), make([]int, len(args)))
		return
	}
	last := len(dims) - 1
	strides, step, at := make([][]int, len(args)), make([]int, len(args)), make([]int, len(args))
	for i, v := range args {
		strides[i] = stridesOf(v.Dims, len(dims))
		step[i] = strides[i][last]
	}
	counter := make([]int64, last)
	for i, length := 0, int(dims[last]); ; i += length {
		f(i, length, at, step)
		d := last - 1
		for ; d >= 0; d-- {
			counter[d]++
			for j := range at {
				at[j] += strides[j][d]
			}
			if counter[d] < dims[d] {
				break
			}
			for j := range at {
				at[j] -= int(dims[d]) * strides[j][d]
			}
			counter[d] = 0
		}
		if d < 0 {
			return
		}
	}
}

// stridesOf returns the row-major strides of a shape within rank dimensions, 0
// for those that it repeats.
func stridesOf(have []int64, rank int) []int {
	strides := make([]int, rank)
	step, skip := 1, rank-len(have)
	for i, d := range slices.Backward(have) {
		if d != 1 {
			strides[skip+i] = step
		}
		step *= int(d)
	}
	return strides
}

// walk writes, for every element of dims in row-major order, its index under
// the strides.
func walk(dims []int64, strides, out []int) {
	counter := make([]int64, len(dims))
	index := 0
	for i := range out {
		out[i] = index
		for d := len(dims) - 1; d >= 0; d-- {
			counter[d]++
			index += strides[d]
			if counter[d] < dims[d] {
				break
			}
			index -= int(dims[d]) * strides[d]
			counter[d] = 0
		}
	}
}

// reshape takes explicit dimensions only.
func reshape(_ attrs, args []*Value) ([]*Value, error) {
	x, shape := args[0], args[1]
	if shape.DType != onnx.Int64 {
		return nil, fmt.Errorf("shape is %v, want INT64", shape.DType)
	}
	out := *x
	out.Dims = shape.I
	if err := out.check(); err != nil {
		return nil, err
	}
	return []*Value{&out}, nil
}

func transpose(a attrs, args []*Value) ([]*Value, error) {
	x := args[0]
	perm, _ := a.find("perm")
	if len(perm.Ints) != len(x.Dims) {
		return nil, fmt.Errorf("perm %v of %d dimensions", perm.Ints, len(x.Dims))
	}
	have := make([]int, len(x.Dims))
	step := 1
	for i := len(x.Dims) - 1; i >= 0; i-- {
		have[i] = step
		step *= int(x.Dims[i])
	}
	dims, strides, seen := make([]int64, len(have)), make([]int, len(have)), make([]bool, len(have))
	for i, p := range perm.Ints {
		if p < 0 || p >= int64(len(have)) || seen[p] {
			return nil, fmt.Errorf("perm %v of %d dimensions", perm.Ints, len(x.Dims))
		}
		seen[p] = true
		dims[i], strides[i] = x.Dims[p], have[p]
	}
	if last := len(dims) - 1; last > 0 && int(perm.Ints[last]) == last && dims[last] > 1 && isFloat(x.DType) {
		run := int(dims[last]) // elements that stay together
		out := &Value{DType: x.DType, Dims: dims, F: make([]float32, 0, step)}
		at := make([]int, step/run)
		walk(dims[:last], strides[:last], at)
		for _, from := range at {
			out.F = append(out.F, x.F[from:from+run]...)
		}
		return []*Value{out}, nil
	}
	at := make([]int, step)
	walk(dims, strides, at)
	return pick(x, dims, at), nil
}

// pick returns the elements of x at the given indices.
func pick(x *Value, dims []int64, at []int) []*Value {
	out := &Value{DType: x.DType, Dims: dims}
	if isFloat(x.DType) {
		out.F = make([]float32, len(at))
		for i, j := range at {
			out.F[i] = x.F[j]
		}
	} else {
		out.I = make([]int64, len(at))
		for i, j := range at {
			out.I[i] = x.I[j]
		}
	}
	return []*Value{out}
}

// gather takes indices along an axis.
func gather(a attrs, args []*Value) ([]*Value, error) {
	x, index := args[0], args[1]
	axis, err := a.axis(0, len(x.Dims))
	if err != nil {
		return nil, err
	}
	if index.DType != onnx.Int32 && index.DType != onnx.Int64 {
		return nil, fmt.Errorf("indices are %v", index.DType)
	}
	outer, size, inner := split(x.Dims, axis)
	dims := slices.Concat(x.Dims[:axis], index.Dims, x.Dims[axis+1:])
	n, err := bounded(dims, maxResult)
	if err != nil {
		return nil, err
	}
	at := make([]int, 0, n)
	for o := range outer {
		for _, j := range index.I {
			if j < 0 || j >= int64(size) {
				return nil, fmt.Errorf("index %d of %d", j, size)
			}
			for i := range inner {
				at = append(at, (o*size+int(j))*inner+i)
			}
		}
	}
	return pick(x, dims, at), nil
}

// topK returns the k greatest of each row and where they stand: value
// falling, then index rising, NaN last.
func topK(a attrs, args []*Value) ([]*Value, error) {
	x, count := args[0], args[1]
	axis, err := a.axis(-1, len(x.Dims))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(a.only("largest", 1), a.only("sorted", 1)); err != nil {
		return nil, err
	}
	if axis != len(x.Dims)-1 || x.DType != onnx.Float || count.DType != onnx.Int64 || len(count.I) != 1 || count.I[0] < 1 || count.I[0] > x.Dims[axis] {
		return nil, fmt.Errorf("k = %v of %v%v along dimension %d", count.I, x.DType, x.Dims, axis)
	}
	n, k := int(x.Dims[axis]), int(count.I[0])
	dims := slices.Clone(x.Dims)
	dims[axis] = int64(k)
	values, ids := &Value{DType: onnx.Float, Dims: dims}, &Value{DType: onnx.Int64, Dims: dims}
	order := make([]int, n)
	for at := 0; at < len(x.F); at += n {
		row := x.F[at : at+n]
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(i, j int) int {
			if c := cmp.Compare(row[j], row[i]); c != 0 { // NaN is less than any number
				return c
			}
			return cmp.Compare(i, j)
		})
		for _, i := range order[:k] {
			values.F = append(values.F, row[i])
			ids.I = append(ids.I, int64(i))
		}
	}
	return []*Value{values, ids}, nil
}
