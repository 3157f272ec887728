package ir

import (
	"fmt"
	"slices"
)

// axis is a factor of a value's row-major index: the importer follows
// reshapes and transposes by splitting and reordering axes, never by moving
// data. Axes of size one are left out.
type axis struct{ id, size int }

// view is an ONNX tensor as an arrangement of a node's elements.
type view struct {
	node  *Node
	order []axis   // the node's elements, row-major
	dims  [][]axis // the tensor's dimensions, each a product of axes
}

// shape returns the tensor's dimensions.
func (v view) shape() []int {
	out := make([]int, len(v.dims))
	for i, d := range v.dims {
		out[i] = product(d)
	}
	return out
}

func product(list []axis) int {
	p := 1
	for _, a := range list {
		p *= a.size
	}
	return p
}

// plain reports whether the tensor's elements lie as the node's do, and its
// last dimension is the node's columns.
func (v view) plain() bool {
	return slices.Equal(slices.Concat(v.dims...), v.order) && len(v.dims) > 0 && product(v.dims[len(v.dims)-1]) == v.node.Type.Cols
}

// axes numbers axes.
type axes struct{ next int }

func (x *axes) fresh(size int) []axis {
	if size == 1 {
		return nil
	}
	x.next++
	return []axis{{x.next, size}}
}

// newView arranges a node's elements, row-major, in the given shape.
func (x *axes) newView(n *Node, shape []int) view {
	v := view{node: n}
	for _, s := range shape {
		d := x.fresh(s)
		v.dims = append(v.dims, d)
		v.order = append(v.order, d...)
	}
	return v
}

// reshape splits and regroups axes; a shape that cuts across axes which do
// not divide is an error.
func (x *axes) reshape(v view, shape []int) (view, error) {
	rest := slices.Concat(v.dims...)
	out := view{node: v.node, order: slices.Clone(v.order)}
	for _, want := range shape {
		var dim []axis
		for want > 1 {
			if len(rest) == 0 {
				return out, fmt.Errorf("shape %v of %v", shape, v.shape())
			}
			a := rest[0]
			if want%a.size == 0 {
				dim, rest, want = append(dim, a), rest[1:], want/a.size
				continue
			}
			if a.size%want != 0 {
				return out, fmt.Errorf("shape %v cuts %v across dimensions", shape, v.shape())
			}
			outer, inner := x.fresh(want)[0], x.fresh(a.size / want)[0]
			i := slices.Index(out.order, a)
			out.order = slices.Replace(out.order, i, i+1, outer, inner)
			rest = append([]axis{inner}, rest[1:]...)
			dim, want = append(dim, outer), 1
		}
		out.dims = append(out.dims, dim)
	}
	if len(rest) > 0 {
		return out, fmt.Errorf("shape %v of %v", shape, v.shape())
	}
	return out, nil
}

// transpose reorders dimensions.
func (v view) transpose(perm []int64) (view, error) {
	out := view{node: v.node, order: v.order}
	seen := make(map[int64]bool)
	for _, p := range perm {
		if p < 0 || p >= int64(len(v.dims)) || seen[p] {
			return out, fmt.Errorf("permutation %v of %d dimensions", perm, len(v.dims))
		}
		seen[p] = true
		out.dims = append(out.dims, v.dims[p])
	}
	if len(perm) != len(v.dims) {
		return out, fmt.Errorf("permutation %v of %d dimensions", perm, len(v.dims))
	}
	return out, nil
}
