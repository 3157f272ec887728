package ir

import (
	"errors"
	"fmt"
	"slices"

	"github.com/llima-build/llima/formats/onnx"
)

// rearrange follows operators that move no element of the node.
func (im *importer) rearrange(n *onnx.Node) (value, error) {
	v, err := im.arg(n, 0)
	if err != nil || n.Op == "Identity" {
		return v, err
	}
	if v.kind == kindWeight {
		return im.regroup(n, v)
	}
	have, err := v.dims()
	if err != nil {
		return v, err
	}
	if n.Op == "Transpose" {
		a, ok := attr(n, "perm")
		if !ok || (v.kind != kindTensor && v.kind != kindMasked) {
			return v, errors.New("want a tensor and attribute perm")
		}
		v.view, err = v.view.transpose(a.Ints)
		return v, err
	}
	var list []int64
	if n.Op != "Squeeze" || len(n.Inputs) > 1 {
		s, err := im.arg(n, 1)
		if err != nil {
			return v, err
		}
		if list, err = integers(s); err != nil {
			return v, err
		}
	}
	var shape []int
	switch n.Op {
	case "Reshape":
		shape, err = reshaped(have, list)
	case "Unsqueeze":
		shape, err = unsqueezed(have, list)
	default:
		shape, err = squeezed(have, list)
	}
	if err != nil {
		return v, err
	}
	if v.kind == kindTensor || v.kind == kindMasked {
		v.view, err = im.axes.reshape(v.view, shape)
		return v, err
	}
	if !slices.Equal(withoutOnes(have), withoutOnes(shape)) {
		return v, fmt.Errorf("%v to %v is not supported here", have, shape)
	}
	v.shape = shape
	return v, nil
}

// dims returns the dimensions of a value that can be rearranged.
func (v value) dims() ([]int, error) {
	switch v.kind {
	case kindTensor, kindMasked:
		return v.view.shape(), nil
	case kindCos, kindSin, kindEdge, kindCompare, kindMask:
		return v.shape, nil
	case kindNone, kindConst, kindWeight, kindSpans, kindTopValues, kindTopIDs:
	}
	return nil, errors.New("is not supported here")
}

func withoutOnes(shape []int) []int {
	return slices.DeleteFunc(slices.Clone(shape), func(s int) bool { return s == 1 })
}

// reshaped resolves 0 (copy) and -1 (the rest) of a Reshape.
func reshaped(have []int, list []int64) ([]int, error) {
	total, known, rest := 1, 1, -1
	for _, d := range have {
		total *= d
	}
	out := make([]int, len(list))
	for i, d := range list {
		switch {
		case d == 0 && i < len(have):
			out[i] = have[i]
		case d == -1 && rest < 0:
			rest = i
			continue
		case d < 1 || d > int64(total):
			return nil, fmt.Errorf("shape %v of %v", list, have)
		default:
			out[i] = int(d)
		}
		if known *= out[i]; known > total {
			return nil, fmt.Errorf("shape %v of %v", list, have)
		}
	}
	if rest >= 0 {
		out[rest] = total / known
		known *= out[rest]
	}
	if known != total {
		return nil, fmt.Errorf("shape %v of %v", list, have)
	}
	return out, nil
}

func unsqueezed(have []int, list []int64) ([]int, error) {
	rank := len(have) + len(list)
	ones := make([]bool, rank)
	for _, a := range list {
		if a < 0 {
			a += int64(rank)
		}
		if a < 0 || a >= int64(rank) || ones[a] {
			return nil, fmt.Errorf("axes %v of %v", list, have)
		}
		ones[a] = true
	}
	var out []int
	for i, next := 0, 0; i < rank; i++ {
		if ones[i] {
			out = append(out, 1)
			continue
		}
		out = append(out, have[next])
		next++
	}
	return out, nil
}

func squeezed(have []int, list []int64) ([]int, error) {
	if list == nil {
		return withoutOnes(have), nil
	}
	drop := make([]bool, len(have))
	for _, a := range list {
		if a < 0 {
			a += int64(len(have))
		}
		if a < 0 || a >= int64(len(have)) || have[a] != 1 {
			return nil, fmt.Errorf("axes %v of %v", list, have)
		}
		drop[a] = true
	}
	var out []int
	for i, d := range have {
		if !drop[i] {
			out = append(out, d)
		}
	}
	return out, nil
}
