package python

import "go.starlark.net/starlark"

// lazy is what zip and enumerate return: rows of the elements of some values,
// taken as they are needed, once. While a loop takes them the values cannot
// change, which Python allows and few expect.
type lazy struct {
	name    string
	sources []starlark.Iterable
	row     func(i int, elements starlark.Tuple) starlark.Value
	used    bool
}

func (l *lazy) String() string        { return "<" + l.name + " object>" }
func (l *lazy) Type() string          { return l.name }
func (*lazy) Freeze()                 {}
func (*lazy) Truth() starlark.Bool    { return true }
func (l *lazy) Hash() (uint32, error) { return 0, raise("TypeError", "%s cannot be a key", l.name) }

// newLazy takes the values of zip or enumerate.
func newLazy(name string, values starlark.Tuple, row func(i int, elements starlark.Tuple) starlark.Value) (starlark.Value, error) {
	l := &lazy{name: name, row: row}
	for _, v := range values {
		it, err := iterable(v)
		if err != nil {
			return nil, err
		}
		if seq, ok := it.(starlark.Iterable); ok {
			l.sources = append(l.sources, seq)
		}
	}
	return l, nil
}

// Iterate implements [starlark.Iterable].
func (l *lazy) Iterate() starlark.Iterator {
	it := &lazyIterator{of: l}
	for _, s := range l.sources {
		it.sources = append(it.sources, s.Iterate())
	}
	return it
}

// lazyIterator goes through a lazy value.
type lazyIterator struct {
	of      *lazy
	sources []starlark.Iterator
	i       int
}

// Next implements [starlark.Iterator].
func (it *lazyIterator) Next(p *starlark.Value) bool {
	if len(it.sources) == 0 {
		return false
	}
	elements := make(starlark.Tuple, len(it.sources))
	for i, s := range it.sources {
		if !s.Next(&elements[i]) {
			return false
		}
	}
	*p = it.of.row(it.i, elements)
	it.i++
	return true
}

// Done implements [starlark.Iterator].
func (it *lazyIterator) Done() {
	for _, s := range it.sources {
		s.Done()
	}
}
