package chat

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// equal is ==. Numbers compare by value, containers member by member.
func equal(c *scope, a, b any) bool { return equalAt(c, a, b, 0) }

func equalAt(c *scope, a, b any, depth int) bool {
	c.tick()
	if depth > maxNesting {
		fail("a value is nested more than %d deep", maxNesting)
	}
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	if s, ok := text(a); ok {
		t, ok := text(b)
		c.touch(min(len(s), len(t)))
		return ok && s == t
	}
	switch x := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case *list:
		y, ok := b.(*list)
		if !ok || len(x.items) != len(y.items) || x.tuple != y.tuple {
			return false
		}
		for i := range x.items {
			if !equalAt(c, x.items[i], y.items[i], depth+1) {
				return false
			}
		}
		return true
	case *dict:
		y, ok := b.(*dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for _, k := range x.keys {
			w, ok := y.values[k]
			if !ok || !equalAt(c, x.values[k], w, depth+1) {
				return false
			}
		}
		return true
	case *namespace:
		y, ok := b.(*namespace)
		return ok && x == y
	case *loop:
		y, ok := b.(*loop)
		return ok && x == y
	}
	return false
}

// less is <, for numbers, strings and lists of them.
func less(c *scope, a, b any) bool { return lessAt(c, a, b, 0) }

func lessAt(c *scope, a, b any, depth int) bool {
	c.tick()
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			return x < y
		}
	}
	if s, ok := text(a); ok {
		if t, ok := text(b); ok {
			c.touch(min(len(s), len(t)))
			return s < t
		}
	}
	if x, ok := a.(*list); ok && depth < maxNesting {
		if y, ok := b.(*list); ok {
			for i := range min(len(x.items), len(y.items)) {
				if !equal(c, x.items[i], y.items[i]) {
					return lessAt(c, x.items[i], y.items[i], depth+1)
				}
			}
			return len(x.items) < len(y.items)
		}
	}
	fail("'<' not supported between instances of %s and %s", typeName(a), typeName(b))
	return false
}

// contains is "a in b".
func contains(c *scope, a, in any) bool {
	if s, ok := text(in); ok {
		part, ok := text(a)
		if _, gone := a.(undefined); !ok && !gone {
			fail("'in <string>' requires string as left operand, not %s", typeName(a))
		}
		c.touch(len(s))
		return strings.Contains(s, part)
	}
	if d, ok := in.(*dict); ok {
		_, ok := d.get(a)
		return ok
	}
	for _, e := range iterate(c, in) {
		if equal(c, e, a) {
			return true
		}
	}
	return false
}

func compare(c *scope, op string, a, b any) bool {
	switch op {
	case "==":
		return equal(c, a, b)
	case "!=":
		return !equal(c, a, b)
	case "<":
		return less(c, a, b)
	case ">":
		return less(c, b, a)
	case "<=":
		return !less(c, b, a)
	case ">=":
		return !less(c, a, b)
	case "in":
		return contains(c, a, b)
	}
	return !contains(c, a, b)
}

// arithmetic applies a binary operator.
func arithmetic(c *scope, op string, a, b any) any {
	if op == "~" {
		s, t := str(c, a), str(c, b)
		c.allocate(len(s) + len(t))
		return made(c, s+t)
	}
	for _, v := range []any{a, b} {
		if u, ok := v.(undefined); ok {
			fail("%q is undefined", u.what)
		}
	}
	if v, ok := sequences(c, op, a, b); ok {
		return v
	}
	x, ok1 := integer(a)
	y, ok2 := integer(b)
	if ok1 && ok2 && op != "/" && (op != "**" || y >= 0) {
		return integers(op, x, y)
	}
	f, ok1 := number(a)
	g, ok2 := number(b)
	if ok1 && ok2 {
		return floats(op, f, g)
	}
	fail("unsupported operand types for %s: %s and %s", op, typeName(a), typeName(b))
	return nil
}

// sequences applies the operators that strings and lists have.
func sequences(c *scope, op string, a, b any) (any, bool) {
	switch op {
	case "+":
		return concatenate(c, a, b)
	case "*":
		if _, ok := integer(a); ok {
			a, b = b, a
		}
		if n, ok := integer(b); ok {
			return repeat(c, a, max(n, 0))
		}
	case "%":
		if s, ok := a.(string); ok {
			given := []any{b}
			if l, ok := b.(*list); ok && l.tuple {
				given = l.items
			}
			return percent(c, s, given), true
		}
	}
	return nil, false
}

func concatenate(c *scope, a, b any) (any, bool) {
	if x, ok := a.(*list); ok {
		y, ok := b.(*list)
		if !ok || x.tuple != y.tuple {
			return nil, false
		}
		n := len(x.items) + len(y.items)
		if n > maxListItems {
			fail("a list has more than %d items", maxListItems)
		}
		c.allocate(16 * n)
		return &list{items: append(append(make([]any, 0, n), x.items...), y.items...), tuple: x.tuple}, true
	}
	s, ok1 := text(a)
	t, ok2 := text(b)
	if !ok1 || !ok2 {
		return nil, false
	}
	c.allocate(len(s) + len(t))
	_, safe1 := a.(markup)
	_, safe2 := b.(markup)
	if safe1 || safe2 {
		return escaped(c, a) + escaped(c, b), true
	}
	return made(c, s+t), true
}

func repeat(c *scope, v any, n int) (any, bool) {
	if s, ok := text(v); ok {
		if n > 0 && len(s) > maxOutputBytes/n {
			fail("a string is longer than %d bytes", maxOutputBytes)
		}
		c.allocate(len(s) * n)
		return strings.Repeat(s, n), true
	}
	l, ok := v.(*list)
	if !ok {
		return nil, false
	}
	if n > 0 && len(l.items) > maxListItems/n {
		fail("a list has more than %d items", maxListItems)
	}
	c.allocate(16 * len(l.items) * n)
	out := &list{tuple: l.tuple}
	if len(l.items) > 0 {
		for range n {
			out.items = append(out.items, l.items...)
		}
	}
	return out, true
}

// integers computes without overflow: what does not fit is an error, where
// Python has numbers of any size.
func integers(op string, x, y int) int {
	switch op {
	case "+":
		if r := x + y; (r > x) == (y > 0) {
			return r
		}
	case "-":
		if r := x - y; (r < x) == (y > 0) {
			return r
		}
	case "*":
		if r, ok := multiply(x, y); ok {
			return r
		}
	case "//", "%":
		if y == 0 {
			fail("division by zero")
		}
		q, r := x/y, x%y
		if r != 0 && (r < 0) != (y < 0) {
			q--
			r += y
		}
		if op == "%" {
			return r
		}
		return q
	case "**":
		if r, ok := power(x, y); ok {
			return r
		}
	}
	fail("%d %s %d does not fit 64 bits", x, op, y)
	return 0
}

func multiply(x, y int) (int, bool) {
	hi, lo := bits.Mul64(uint64(max(x, -x)), uint64(max(y, -y)))
	if hi != 0 || lo > math.MaxInt64 || x == math.MinInt64 || y == math.MinInt64 {
		return 0, x == 0 || y == 0
	}
	if (x < 0) != (y < 0) {
		return -int(lo), true
	}
	return int(lo), true
}

// power computes x**y for y >= 0 by squaring.
func power(x, y int) (int, bool) {
	r := 1
	var ok bool
	for y > 0 {
		if y&1 == 1 {
			if r, ok = multiply(r, x); !ok {
				return 0, false
			}
		}
		if y >>= 1; y > 0 {
			if x, ok = multiply(x, x); !ok {
				return 0, false
			}
		}
	}
	return r, true
}

func floats(op string, f, g float64) any {
	switch op {
	case "+":
		return f + g
	case "-":
		return f - g
	case "*":
		return f * g
	case "**":
		return math.Pow(f, g)
	}
	if g == 0 {
		fail("division by zero")
	}
	switch op {
	case "//":
		return math.Floor(f / g)
	case "%":
		return f - float64(g*math.Floor(f/g))
	}
	return f / g
}

// percent is Python's formatting with %.
func percent(c *scope, format string, given []any) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		end := i + 1
		for end < len(format) && strings.IndexByte("-+ #0123456789.", format[end]) >= 0 {
			end++
		}
		switch {
		case end >= len(format):
			fail("incomplete format")
		case end-i > 8:
			fail("format %s is too wide", format[i:end])
		case format[end] == '%':
			b.WriteByte('%')
			i = end
			continue
		case len(given) == 0:
			fail("not enough arguments for format string")
		}
		c.tick()
		s := made(c, formatOne(c, format[i:end], format[end], given[0]))
		if b.Len()+len(s) > maxOutputBytes {
			fail("a string is longer than %d bytes", maxOutputBytes)
		}
		b.WriteString(s)
		given = given[1:]
		i = end
	}
	return made(c, b.String())
}

func formatOne(c *scope, flags string, verb byte, v any) string {
	switch verb {
	case 's':
		return fmt.Sprintf(flags+"s", str(c, v))
	case 'r':
		return fmt.Sprintf(flags+"s", repr(c, v))
	case 'd', 'i', 'f', 'F', 'e', 'g', 'x', 'X', 'o':
		f, ok := number(v)
		n, isInt := integer(v)
		switch {
		case !ok:
			fail("%%%c format: a number is required, not %s", verb, typeName(v))
		case strings.IndexByte("fFeg", verb) >= 0:
			return fmt.Sprintf(flags+strings.ToLower(string(verb)), f)
		case verb == 'd' || verb == 'i':
			if !isInt {
				n = int(f)
			}
			return fmt.Sprintf(flags+"d", n)
		case isInt:
			return fmt.Sprintf(flags+string(verb), n)
		}
		fail("%%%c format: an integer is required, not %s", verb, typeName(v))
	}
	fail("unsupported format character %q", verb)
	return ""
}
