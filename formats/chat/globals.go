package chat

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"
)

// globals returns the functions that every template can call.
func globals(now time.Time) map[string]any {
	g := map[string]any{
		"raise_exception": function(func(c *scope, a args) any {
			fail("the template refuses: %s", str(c, a.need(0, "the message")))
			return nil
		}),
		"namespace": function(func(c *scope, a args) any { return &namespace{dictOf(c, a)} }),
		"dict":      function(func(c *scope, a args) any { return dictOf(c, a) }),
		"range":     function(rangeOf),
		"cycler":    function(cycler),
		"joiner":    function(joiner),
	}
	if !now.IsZero() {
		g["strftime_now"] = function(func(c *scope, a args) any {
			return made(c, strftime(now, str(c, a.need(0, "the format"))))
		})
	}
	return g
}

// dictOf returns Python's dict(...).
func dictOf(c *scope, a args) *dict {
	d := newDict()
	for _, x := range a.list {
		if y, ok := x.(*dict); ok {
			c.allocate(sizeOf(y))
			for _, k := range y.keys {
				d.set(k, y.values[k])
			}
			continue
		}
		for _, e := range iterate(c, x) {
			c.allocate(64)
			kv := iterate(c, e)
			if len(kv) != 2 {
				fail("dict: an element has length %d, want 2", len(kv))
			}
			d.set(kv[0], kv[1])
		}
	}
	for _, k := range a.named.keys {
		d.set(k, a.named.values[k])
	}
	return d
}

func rangeOf(c *scope, a args) any {
	var v [3]int
	if len(a.list) < 1 || len(a.list) > len(v) {
		fail("range expected 1 to 3 arguments, got %d", len(a.list))
	}
	for i, x := range a.list {
		n, ok := integer(x)
		if !ok {
			fail("range: %s object cannot be interpreted as an integer", typeName(x))
		}
		v[i] = n
	}
	lo, hi, step := v[0], v[1], v[2]
	switch len(a.list) {
	case 1:
		lo, hi, step = 0, v[0], 1
	case 2:
		step = 1
	}
	if step == 0 {
		fail("range() arg 3 must not be zero")
	}
	n := math.Ceil((float64(hi) - float64(lo)) / float64(step))
	if n > maxRange {
		fail("range too big: a template may have %d numbers", maxRange)
	}
	var items []any
	for i := range int(max(n, 0)) {
		items = append(items, lo+i*step)
	}
	return newList(c, items)
}

func cycler(_ *scope, a args) any {
	a.need(0, "an item")
	i := -1
	d := newDict()
	d.set("next", function(func(*scope, args) any {
		i++
		return a.list[i%len(a.list)]
	}))
	return d
}

func joiner(_ *scope, a args) any {
	used := false
	return function(func(*scope, args) any {
		if !used {
			used = true
			return ""
		}
		return a.get(0, "sep", ", ")
	})
}

// strftime is Python's, for the directives that name a date or a time.
func strftime(t time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		if format[i] == '-' && i+1 < len(format) {
			i++
			s := directive(t, format[i])
			b.WriteString(cmp.Or(strings.TrimLeft(s, "0"), s[len(s)-1:]))
			continue
		}
		b.WriteString(directive(t, format[i]))
	}
	return b.String()
}

var layouts = map[byte]string{
	'd': "02", 'm': "01", 'y': "06", 'Y': "2006", 'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'F': "2006-01-02", 'T': "15:04:05", 'Z': "MST", 'z': "-0700",
}

func directive(t time.Time, d byte) string {
	if layout, ok := layouts[d]; ok {
		return t.Format(layout)
	}
	switch d {
	case 'j':
		return fmt.Sprintf("%03d", t.YearDay())
	case '%':
		return "%"
	}
	return "%" + string(d)
}
