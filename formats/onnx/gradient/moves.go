package gradient

import (
	"fmt"
	"slices"
)

// concat joins tensors along the first dimension.
func concat(n *node) error {
	at := 0
	for i := range n.in {
		x, err := n.float(i)
		if err != nil {
			return err
		}
		if n.wanted[i] {
			n.add(i, slices.Clone(n.dy[0][at:at+len(x.F)]))
		}
		at += len(x.F)
	}
	return nil
}

// split cuts a tensor apart along an axis.
func split(n *node) error {
	x, err := n.float(0)
	if err != nil {
		return err
	}
	axis := int(n.integer("axis", 0))
	if axis < 0 || axis >= len(x.Dims) {
		return fmt.Errorf("axis = %d of %d dimensions", axis, len(x.Dims))
	}
	inner := 1
	for _, d := range x.Dims[axis+1:] {
		inner *= int(d)
	}
	row := int(x.Dims[axis]) * inner
	d := make([]float32, len(x.F))
	at := 0
	for i, out := range n.out {
		part := int(out.Dims[axis]) * inner
		for o := 0; n.dy[i] != nil && o < len(d)/row; o++ {
			copy(d[o*row+at:o*row+at+part], n.dy[i][o*part:(o+1)*part])
		}
		at += part
	}
	n.add(0, d)
	return nil
}

// transpose moves elements back.
func transpose(n *node) error {
	x, err := n.float(0)
	if err != nil {
		return err
	}
	perm, _ := n.attr("perm")
	rank := len(x.Dims)
	if len(perm.Ints) != rank {
		return fmt.Errorf("perm %v of %d dimensions", perm.Ints, rank)
	}
	strides := make([]int, rank) // of x
	size := 1
	for i := rank - 1; i >= 0; i-- {
		strides[i] = size
		size *= int(x.Dims[i])
	}
	d := make([]float32, size)
	counter := make([]int, rank)
	at := 0 // in x
	for _, g := range n.dy[0] {
		d[at] = g
		for i := rank - 1; i >= 0; i-- {
			p := perm.Ints[i]
			counter[i]++
			at += strides[p]
			if counter[i] < int(x.Dims[p]) {
				break
			}
			at -= counter[i] * strides[p]
			counter[i] = 0
		}
	}
	n.add(0, d)
	return nil
}

// gather takes indices along an axis.
func gather(n *node) error {
	x, err := n.float(0)
	if err != nil {
		return err
	}
	axis, index := int(n.integer("axis", 0)), n.in[1].I
	if axis < 0 || axis >= len(x.Dims) || index == nil {
		return fmt.Errorf("axis = %d of %d dimensions, %d indices", axis, len(x.Dims), len(index))
	}
	inner := 1
	for _, d := range x.Dims[axis+1:] {
		inner *= int(d)
	}
	size := int(x.Dims[axis])
	d := make([]float32, len(x.F))
	for o := range len(x.F) / (size * inner) {
		for i, at := range index {
			from := n.dy[0][(o*len(index)+i)*inner:][:inner]
			for j, g := range from {
				d[(o*size+int(at))*inner+j] += g
			}
		}
	}
	n.add(0, d)
	return nil
}
