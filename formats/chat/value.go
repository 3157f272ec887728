package chat

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Values are nil, bool, int, float64, string, markup, *list, *dict,
// *namespace, *loop, function and undefined. They never change once another
// value can hold them, but for the attributes of a namespace.
type (
	undefined struct{ what string }
	// markup is a string that escape leaves alone.
	markup   string
	function func(c *scope, a args) any
	list     struct {
		items []any
		tuple bool
	}
	// dict keeps its members in the order in which they came.
	dict struct {
		keys   []any
		values map[any]any
	}
	namespace struct{ attrs *dict }
)

// args are the arguments of a call.
type args struct {
	list  []any
	named *dict
}

// get returns an argument by place or name, or a default.
func (a args) get(i int, name string, otherwise any) any {
	if i < len(a.list) {
		return a.list[i]
	}
	if v, ok := a.named.values[name]; ok {
		return v
	}
	return otherwise
}

// need returns an argument that must be there.
func (a args) need(i int, what string) any {
	if i >= len(a.list) {
		fail("missing argument: %s", what)
	}
	return a.list[i]
}

// rest returns the arguments from one on.
func (a args) rest(from int) args { return args{a.list[min(from, len(a.list)):], a.named} }

func newDict() *dict { return &dict{values: map[any]any{}} }

func (d *dict) set(k, v any) {
	k = hashable(k)
	if _, ok := d.values[k]; !ok {
		d.keys = append(d.keys, k)
	}
	d.values[k] = v
}

func (d *dict) get(k any) (any, bool) {
	v, ok := d.values[hashable(k)]
	return v, ok
}

// hashable returns the key that stands for a value in a dict.
func hashable(k any) any {
	switch x := k.(type) {
	case nil, bool, int, float64, string, undefined:
		return k
	case markup:
		return string(x)
	}
	fail("unhashable type: %s", typeName(k))
	return nil
}

func truth(v any) bool {
	switch x := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return x
	case int:
		return x != 0
	case float64:
		return x != 0
	case string:
		return x != ""
	case markup:
		return x != ""
	case *list:
		return len(x.items) > 0
	case *dict:
		return len(x.keys) > 0
	}
	return true
}

// text returns the characters of a string or markup.
func text(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case markup:
		return string(x), true
	}
	return "", false
}

// sizeOf estimates the bytes that reading a value touches, its members' own
// size aside.
func sizeOf(v any) int {
	switch x := v.(type) {
	case string:
		return len(x)
	case markup:
		return len(x)
	case *list:
		return 16 * len(x.items)
	case *dict:
		return 64 * len(x.keys)
	}
	return 16
}

// iterate returns what a for loop sees. The result must not be changed.
func iterate(c *scope, v any) []any {
	switch x := v.(type) {
	case undefined:
		return nil
	case *list:
		return x.items
	case *dict:
		return x.keys
	case string, markup:
		s, _ := text(v)
		c.allocate(32 * utf8.RuneCountInString(s))
		var out []any
		for _, r := range s {
			out = append(out, string(r))
		}
		return out
	}
	fail("%s object is not iterable", typeName(v))
	return nil
}

func typeName(v any) string {
	switch x := v.(type) {
	case nil:
		return "'NoneType'"
	case bool:
		return "'bool'"
	case int:
		return "'int'"
	case float64:
		return "'float'"
	case string, markup:
		return "'str'"
	case *list:
		if x.tuple {
			return "'tuple'"
		}
		return "'list'"
	case *dict:
		return "'dict'"
	case *namespace:
		return "'Namespace'"
	case *loop:
		return "'LoopContext'"
	case undefined:
		return "'Undefined'"
	}
	return "'function'"
}

// number returns a value that counts as one; booleans do.
func number(v any) (float64, bool) {
	switch x := v.(type) {
	case int:
		return float64(x), true
	case float64:
		return x, true
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

func integer(v any) (int, bool) {
	switch x := v.(type) {
	case int:
		return x, true
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// item returns o[k]; what is not there is undefined.
func item(c *scope, o, k any) any {
	switch x := o.(type) {
	case undefined:
		fail("%q is undefined", x.what)
	case *dict:
		switch k.(type) {
		case *list, *dict:
			return undefined{"key"}
		}
		if v, ok := x.get(k); ok {
			return v
		}
	case *list:
		if i, ok := integer(k); ok {
			if i < 0 {
				i += len(x.items)
			}
			if i >= 0 && i < len(x.items) {
				return x.items[i]
			}
		}
	case string, markup:
		if i, ok := integer(k); ok {
			s, _ := text(o)
			return charAt(c, s, i)
		}
	case *namespace:
		if v, ok := x.attrs.get(k); ok {
			return v
		}
	case *loop:
		if name, ok := k.(string); ok {
			if v, ok := x.attribute(name); ok {
				return v
			}
		}
	}
	if name, ok := k.(string); ok {
		if m := method(o, name); m != nil {
			return m
		}
	}
	return undefined{fmt.Sprintf("%s object has no attribute %.64s", typeName(o), str(c, k))}
}

func charAt(c *scope, s string, i int) any {
	c.touch(len(s))
	n := utf8.RuneCountInString(s)
	if i < 0 {
		i += n
	}
	if i < 0 || i >= n {
		return undefined{"character"}
	}
	for _, r := range s {
		if i == 0 {
			return string(r)
		}
		i--
	}
	return nil
}

// attribute returns o.name: a dict's methods go before its members.
func attribute(c *scope, o any, name string) any {
	if _, ok := o.(*dict); ok {
		if m := method(o, name); m != nil {
			return m
		}
	}
	return item(c, o, name)
}

// path returns the attribute that a filter is given: "a.b.0", or an index.
func path(c *scope, v, p any) any {
	if i, ok := p.(int); ok {
		return item(c, v, i)
	}
	for s := range strings.SplitSeq(str(c, p), ".") {
		if _, ok := v.(undefined); ok {
			return v
		}
		c.tick()
		if i, ok := digits(s); ok {
			v = item(c, v, i)
		} else {
			v = item(c, v, s)
		}
	}
	return v
}

// digits reads a short decimal number.
func digits(s string) (int, bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	n := 0
	for _, r := range s {
		if r < '0' || r > '9' {
			return 0, false
		}
		n = 10*n + int(r-'0')
	}
	return n, true
}

// slicing returns o[start:stop:step].
func slicing(c *scope, o any, part [3]any) any {
	var runes []rune
	l, isList := o.(*list)
	n := 0
	if isList {
		n = len(l.items)
	} else if s, ok := text(o); ok {
		c.allocate(4 * len(s))
		runes = []rune(s)
		n = len(runes)
	} else if u, ok := o.(undefined); ok {
		fail("%q is undefined", u.what)
	} else {
		fail("%s object is not subscriptable", typeName(o))
	}
	lo, hi, step := sliceBounds(n, part)
	var b strings.Builder
	var items []any
	for i := lo; step > 0 && i < hi || step < 0 && i > hi; i += step {
		if isList {
			items = append(items, l.items[i])
		} else {
			b.WriteRune(runes[i])
		}
	}
	if isList {
		out := newList(c, items)
		out.tuple = l.tuple
		return out
	}
	return made(c, b.String())
}

// sliceBounds returns Python's indices for n items.
func sliceBounds(n int, part [3]any) (lo, hi, step int) {
	step = 1
	if v, ok := integer(part[2]); ok {
		step = max(min(v, n+1), -n-1)
	}
	if step == 0 {
		fail("slice step cannot be zero")
	}
	fix := func(v any, otherwise int) int {
		i, ok := integer(v)
		if !ok {
			return otherwise
		}
		if i < 0 {
			i += n
		}
		if step > 0 {
			return min(max(i, 0), n)
		}
		return min(max(i, -1), n-1)
	}
	if step < 0 {
		return fix(part[0], n-1), fix(part[1], -1), step
	}
	return fix(part[0], 0), fix(part[1], n), step
}
