package chat

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// str is what a value looks like in the text: Python's str.
func str(c *scope, v any) string {
	switch x := v.(type) {
	case undefined:
		return ""
	case string:
		return x
	case markup:
		return string(x)
	}
	return repr(c, v)
}

// repr is Python's repr.
func repr(c *scope, v any) string {
	w := &writer{scope: c}
	w.repr(v, 0)
	return w.String()
}

// writer builds the text of nested values within the bounds of a render.
type writer struct {
	strings.Builder
	scope *scope
}

func (w *writer) put(s string) {
	if w.Len()+len(s) > maxOutputBytes {
		fail("a string is longer than %d bytes", maxOutputBytes)
	}
	w.scope.allocate(len(s))
	w.WriteString(s)
}

// enter counts a value and bounds nesting.
func (w *writer) enter(depth int) {
	w.scope.tick()
	if depth > maxNesting {
		fail("a value is nested more than %d deep", maxNesting)
	}
}

func (w *writer) repr(v any, depth int) {
	w.enter(depth)
	switch x := v.(type) {
	case nil:
		w.put("None")
	case undefined:
		w.put("Undefined")
	case bool:
		if x {
			w.put("True")
		} else {
			w.put("False")
		}
	case int:
		w.put(strconv.Itoa(x))
	case float64:
		w.put(floatText(x))
	case string:
		w.put(quote(x))
	case markup:
		w.put("Markup(" + quote(string(x)) + ")")
	case *list:
		w.reprList(x, depth)
	case *dict:
		w.put("{")
		for i, k := range x.keys {
			if i > 0 {
				w.put(", ")
			}
			w.repr(k, depth+1)
			w.put(": ")
			w.repr(x.values[k], depth+1)
		}
		w.put("}")
	case *namespace:
		w.put("<Namespace ")
		w.repr(x.attrs, depth+1)
		w.put(">")
	default:
		w.put("<" + strings.Trim(typeName(v), "'") + ">")
	}
}

func (w *writer) reprList(l *list, depth int) {
	open, end := "[", "]"
	if l.tuple {
		open, end = "(", ")"
		if len(l.items) == 1 {
			end = ",)"
		}
	}
	w.put(open)
	for i, e := range l.items {
		if i > 0 {
			w.put(", ")
		}
		w.repr(e, depth+1)
	}
	w.put(end)
}

// floatText is Python's repr of a float.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strings.ToLower(fmt.Sprint(f)), "+")
	}
	if e := math.Abs(f); e != 0 && (e < 1e-4 || e >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quote is Python's repr of a string.
func quote(s string) string {
	q := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	var b strings.Builder
	b.WriteRune(q)
	for _, r := range s {
		switch {
		case r == '\\' || r == q:
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x20 || r == 0x7F:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteRune(q)
	return b.String()
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

// escaped is a value as HTML text.
func escaped(c *scope, v any) markup {
	if m, ok := v.(markup); ok {
		return m
	}
	return markup(made(c, escaper.Replace(str(c, v))))
}

// jsonWriter is Python's json.dumps.
type jsonWriter struct {
	writer
	ascii, sorted bool
	lines         bool   // one member a line
	indent        string // of each level, where lines is set
	comma, colon  string
}

func (j *jsonWriter) newLine(depth int) {
	if j.lines {
		j.put("\n" + strings.Repeat(j.indent, depth))
	}
}

func (j *jsonWriter) value(v any, depth int) {
	j.enter(depth)
	switch x := v.(type) {
	case nil:
		j.put("null")
	case bool:
		j.put(strconv.FormatBool(x))
	case int:
		j.put(strconv.Itoa(x))
	case float64:
		switch {
		case math.IsNaN(x):
			j.put("NaN")
		case math.IsInf(x, 1):
			j.put("Infinity")
		case math.IsInf(x, -1):
			j.put("-Infinity")
		default:
			j.put(floatText(x))
		}
	case string:
		j.put(j.quote(x))
	case markup:
		j.put(j.quote(string(x)))
	case *list:
		j.container("[", "]", len(x.items), depth, func(i int) { j.value(x.items[i], depth+1) })
	case *dict:
		keys := x.keys
		if j.sorted {
			keys = slices.Clone(keys)
			slices.SortStableFunc(keys, func(a, b any) int { return order(j.scope, a, b) })
		}
		j.container("{", "}", len(keys), depth, func(i int) {
			if s, ok := keys[i].(string); ok {
				j.put(j.quote(s))
			} else {
				j.put(`"`)
				j.value(keys[i], depth+1)
				j.put(`"`)
			}
			j.put(j.colon)
			j.value(x.values[keys[i]], depth+1)
		})
	default:
		fail("Object of type %s is not JSON serializable", typeName(v))
	}
}

func (j *jsonWriter) container(open, end string, n, depth int, member func(i int)) {
	j.put(open)
	for i := range n {
		if i > 0 {
			j.put(j.comma)
		}
		j.newLine(depth + 1)
		member(i)
	}
	if n > 0 {
		j.newLine(depth)
	}
	j.put(end)
}

func (j *jsonWriter) quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < 0x20 || j.ascii && r > 0x7E && r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		case j.ascii && r > 0x7E:
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// order compares for sorting.
func order(c *scope, a, b any) int {
	switch {
	case less(c, a, b):
		return -1
	case less(c, b, a):
		return 1
	}
	return 0
}
