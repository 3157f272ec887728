package parquet

import (
	"fmt"
	"slices"
)

// column puts the values of some leaves together, row by row.
type column struct {
	top    *node
	item   *node // the repeated node of a list, nil for strings
	leaves []*leaf
	lost   []string
}

func (c *column) open(f *File, g *rowGroup) error {
	for _, l := range c.leaves {
		i := slices.IndexFunc(g.chunks, func(ch chunk) bool { return ch.path == l.node.path })
		if i < 0 {
			return fmt.Errorf("the row group has no %q", l.node.path)
		}
		if err := l.open(f, &g.chunks[i]); err != nil {
			return err
		}
	}
	return nil
}

// left returns how many values were not read.
func (c *column) left() int64 {
	n := int64(0)
	for _, l := range c.leaves {
		n = max(n, l.left)
		if l.peeked {
			n = max(n, l.left+1)
		}
	}
	return n
}

// next returns the value of the next row.
func (c *column) next() (Value, error) {
	if c.item == nil {
		l := c.leaves[0]
		if err := l.peek(); err != nil {
			return Value{}, err
		}
		l.peeked = false
		return Value{Null: l.def < l.node.def, Text: l.value}, nil
	}
	v := Value{Lost: c.lost}
	size := 0
	for i, l := range c.leaves {
		n, present, err := c.items(l, i == 0, &v, &size)
		if err != nil {
			return v, err
		}
		if i == 0 {
			v.Null = !present
		} else if n != len(v.List) {
			return v, fmt.Errorf("%q has %d items and %q has %d", l.node.path, n, c.leaves[0].node.path, len(v.List))
		}
	}
	return v, nil
}

// items reads the items of a list from a leaf: their number, and whether
// there is a list at all.
func (c *column) items(l *leaf, first bool, v *Value, size *int) (n int, present bool, err error) {
	for {
		if n > 0 && l.left == 0 && !l.peeked {
			return n, true, nil
		}
		if err := l.peek(); err != nil {
			return n, false, err
		}
		switch {
		case (l.rep == 0) != (n == 0):
			if n == 0 {
				return n, false, fmt.Errorf("page at offset %d: a row begins within a list", l.page)
			}
			return n, true, nil
		case l.def < c.item.def: // an empty list, or none
			if n > 0 {
				return n, false, fmt.Errorf("page at offset %d: no item where one is", l.page)
			}
			l.peeked = false
			return 0, l.def == c.item.def-1, nil
		case n == maxRowItems:
			return n, false, fmt.Errorf("a list of more than %d items", maxRowItems)
		}
		l.peeked = false
		if first {
			v.List = append(v.List, nil)
		}
		if n++; n > len(v.List) {
			continue // next says that lists differ in length
		}
		if l.def == l.node.def {
			if *size += len(l.value); *size > maxRowBytes {
				return n, false, fmt.Errorf("more than %d bytes", maxRowBytes)
			}
			v.List[n-1] = append(v.List[n-1], Field{l.node.name, slices.Clone(l.value)})
		}
	}
}
