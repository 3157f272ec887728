package parquet

import (
	"errors"
	"fmt"
)

// Repetition types, physical types and annotations of parquet.thrift.
const (
	required = 0
	optional = 1
	repeated = 2

	byteArray = 6

	convertedNone = -1
	convertedUTF8 = 0
	convertedEnum = 4
	convertedJSON = 19
)

var physicalTypes = []string{"booleans", "32-bit integers", "64-bit integers", "96-bit integers", "floats", "doubles", "byte arrays", "fixed byte arrays"}

// element is a SchemaElement.
type element struct {
	name       string
	typ        int64 // -1: a group
	repetition int64
	children   int64
	converted  int64
	logical    int64 // field of the union LogicalType, 0: none
}

func (t *thrift) element() element {
	e := element{typ: -1, converted: convertedNone}
	t.fields(func(id int64, typ byte) bool {
		switch id {
		case 1:
			e.typ = t.i32(typ)
		case 3:
			e.repetition = t.i32(typ)
		case 4:
			e.name = t.text(typ)
		case 5:
			e.children = t.i32(typ)
		case 6:
			e.converted = t.i32(typ)
		case 10:
			t.structure(typ, func(id int64, _ byte) bool { e.logical = id; return false })
		default:
			return false
		}
		return true
	})
	return e
}

// node is an element with those below it. Levels count the optional and
// repeated nodes down to it, it included.
type node struct {
	element
	kids     []*node
	path     string // by dots, from below the root
	def, rep int
}

// builder makes a tree of elements, which come parents first.
type builder struct {
	rest  []element
	depth int
	err   error
}

func (b *builder) node(parent *node) *node {
	if len(b.rest) == 0 {
		b.err = errors.New("schema: elements are missing")
		return nil
	}
	n := &node{element: b.rest[0]}
	b.rest = b.rest[1:]
	if parent != nil {
		n.def, n.rep = parent.def, parent.rep
		if n.path = n.name; parent.path != "" {
			n.path = parent.path + "." + n.name
		}
		switch n.repetition {
		case required:
		case optional:
			n.def++
		case repeated:
			n.def++
			n.rep++
		default:
			b.err = fmt.Errorf("schema: %q: repetition type %d is not known", n.path, n.repetition)
		}
	}
	if b.depth++; b.depth > maxNesting {
		b.err = fmt.Errorf("schema: nested more than %d deep", maxNesting)
	}
	if n.children < 0 || n.children > int64(len(b.rest)) {
		b.err = fmt.Errorf("schema: %q: %d children, of %d elements that are left", n.path, n.children, len(b.rest))
	}
	for i := int64(0); i < n.children && b.err == nil; i++ {
		n.kids = append(n.kids, b.node(n))
	}
	b.depth--
	return n
}

// isText reports whether a node holds strings.
func (n *node) isText() bool {
	const (
		logicalString = 1
		logicalEnum   = 4
		logicalJSON   = 12
	)
	if len(n.kids) > 0 || n.typ != byteArray {
		return false
	}
	switch n.logical {
	case logicalString, logicalEnum, logicalJSON:
		return true
	case 0:
		return n.converted == convertedNone || n.converted == convertedUTF8 || n.converted == convertedEnum || n.converted == convertedJSON
	}
	return false
}

// holds says in words what a node has.
func (n *node) holds() string {
	switch {
	case len(n.kids) > 0 || n.typ < 0:
		return "groups"
	case n.typ >= int64(len(physicalTypes)):
		return fmt.Sprintf("values of type %d", n.typ)
	}
	return physicalTypes[n.typ]
}

// newColumn finds out how a node at the top holds text.
func newColumn(top *node) (*column, error) {
	if top.isText() && top.rep == 0 {
		return &column{top: top, leaves: []*leaf{{node: top}}}, nil
	}
	// A list is a group of one repeated group, whose only child, where it has
	// no more, is the item; older writers have the item for the repeated group.
	item := top
	if item.rep == 0 && len(item.kids) == 1 {
		item = item.kids[0]
	}
	if item.rep != 1 || len(item.kids) == 0 {
		return nil, fmt.Errorf("it holds %s, want strings or lists of objects", top.holds())
	}
	c := &column{top: top, item: item}
	if len(item.kids) == 1 && item.name != "array" && item.name != top.name+"_tuple" {
		if item = item.kids[0]; item.rep > 1 || len(item.kids) == 0 {
			return nil, fmt.Errorf("it holds lists of %s, want strings or lists of objects", item.holds())
		}
	}
	for _, n := range item.kids {
		if n.isText() && n.rep == 1 {
			c.leaves = append(c.leaves, &leaf{node: n})
		} else {
			c.lost = append(c.lost, n.name)
		}
	}
	if len(c.leaves) == 0 {
		return nil, errors.New("it holds lists of objects without a string")
	}
	return c, nil
}
