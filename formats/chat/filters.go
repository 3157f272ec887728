package chat

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// filter is what | names, test what is names.
type (
	filter func(c *scope, v any, a args) any
	test   func(c *scope, v any, a args) bool
)

// names are the filters and tests of a template.
type names struct {
	filters map[string]filter
	tests   map[string]test
}

func newNames() *names { return &names{filters: newFilters(), tests: newTests()} }

func newFilters() map[string]filter {
	return map[string]filter{
		"abs": filterAbs, "attr": filterAttr, "batch": filterBatch, "capitalize": onText(capitalize), "count": filterLength,
		"d": filterDefault, "default": filterDefault, "dictsort": filterDictSort,
		"e": filterEscape, "escape": filterEscape, "first": filterFirst, "float": filterFloat,
		"format":  func(c *scope, v any, a args) any { return percent(c, str(c, v), a.list) },
		"groupby": filterGroupBy, "indent": filterIndent, "int": filterInt, "items": filterItems,
		"join": filterJoin, "last": filterLast, "length": filterLength,
		"list":  func(c *scope, v any, _ args) any { return newList(c, slices.Clone(iterate(c, v))) },
		"lower": onText(strings.ToLower), "map": filterMap, "max": extreme(false), "min": extreme(true),
		"reject": choose(false, false), "rejectattr": choose(false, true), "replace": filterReplace,
		"reverse": filterReverse, "round": filterRound,
		"safe":   func(c *scope, v any, _ args) any { return markup(str(c, v)) },
		"select": choose(true, false), "selectattr": choose(true, true), "sort": filterSort,
		"string": func(c *scope, v any, _ args) any { return str(c, v) },
		"sum":    filterSum, "title": onText(titleWords), "tojson": filterToJSON, "trim": filterTrim,
		"unique": filterUnique, "upper": onText(strings.ToUpper), "wordcount": filterWordCount,
	}
}

// onText makes a filter of a function on strings.
func onText(f func(string) string) filter {
	return func(c *scope, v any, _ args) any {
		s := made(c, f(str(c, v)))
		if _, ok := v.(markup); ok {
			return markup(s)
		}
		return s
	}
}

func capitalize(s string) string {
	r := []rune(strings.ToLower(s))
	if len(r) > 0 {
		r[0] = unicode.ToUpper(r[0])
	}
	return string(r)
}

// titleWords is the filter title: what follows a blank, dash or bracket is
// in upper case.
func titleWords(s string) string {
	first := true
	return strings.Map(func(r rune) rune {
		up := first
		first = unicode.IsSpace(r) || strings.ContainsRune("-({[<", r)
		if up && !first {
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}, s)
}

// title is the method title: letters after anything but a letter are in upper
// case.
func title(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		first := !inWord
		inWord = unicode.IsLetter(r)
		if inWord && first {
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}, s)
}

func filterTrim(c *scope, v any, a args) any {
	s := str(c, v)
	if set := a.get(0, "chars", nil); set != nil {
		return made(c, strings.Trim(s, str(c, set)))
	}
	return made(c, strings.TrimFunc(s, unicode.IsSpace))
}

func filterEscape(c *scope, v any, _ args) any { return escaped(c, v) }

func filterLength(c *scope, v any, _ args) any {
	if s, ok := text(v); ok {
		return len([]rune(s))
	}
	switch x := v.(type) {
	case *list:
		return len(x.items)
	case *dict:
		return len(x.keys)
	case undefined:
		return 0
	}
	fail("object of type %s has no len()", typeName(v))
	return nil
}

func filterWordCount(c *scope, v any, _ args) any { return len(strings.Fields(str(c, v))) }

func filterFirst(c *scope, v any, _ args) any {
	if x := iterate(c, v); len(x) > 0 {
		return x[0]
	}
	return undefined{"first item"}
}

func filterLast(c *scope, v any, _ args) any {
	if x := iterate(c, v); len(x) > 0 {
		return x[len(x)-1]
	}
	return undefined{"last item"}
}

func filterAttr(c *scope, v any, a args) any { return item(c, v, str(c, a.need(0, "the attribute"))) }

func filterReverse(c *scope, v any, _ args) any {
	if s, ok := v.(string); ok {
		r := []rune(s)
		slices.Reverse(r)
		return made(c, string(r))
	}
	l := newList(c, slices.Clone(iterate(c, v)))
	slices.Reverse(l.items)
	return l
}

func filterJoin(c *scope, v any, a args) any {
	attribute := a.get(1, "attribute", nil)
	w := &writer{scope: c}
	separator := str(c, a.get(0, "d", ""))
	for i, x := range iterate(c, v) {
		c.tick()
		if attribute != nil {
			x = path(c, x, attribute)
		}
		if i > 0 {
			w.put(separator)
		}
		w.put(str(c, x))
	}
	return w.String()
}

func filterDefault(_ *scope, v any, a args) any {
	_, gone := v.(undefined)
	if gone || truth(a.get(1, "boolean", false)) && !truth(v) {
		return a.get(0, "default_value", "")
	}
	return v
}

func filterReplace(c *scope, v any, a args) any {
	n := -1
	if i, ok := integer(a.get(2, "count", nil)); ok {
		n = i
	}
	return replaceText(c, str(c, v), str(c, a.get(0, "old", "")), str(c, a.get(1, "new", "")), n)
}

// replaceText is strings.Replace, with its result bounded beforehand.
func replaceText(c *scope, s, from, to string, n int) string {
	c.touch(len(s))
	count := strings.Count(s, from)
	if n >= 0 {
		count = min(count, n)
	}
	if count > 0 && len(to) > maxOutputBytes/count {
		fail("a string is longer than %d bytes", maxOutputBytes)
	}
	c.allocate(len(s) + count*len(to))
	return made(c, strings.Replace(s, from, to, n))
}

func filterInt(_ *scope, v any, a args) any {
	if s, ok := text(v); ok {
		s = strings.TrimSpace(s)
		if i, err := strconv.Atoi(s); err == nil {
			return i
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) < 1<<63 {
			return int(f)
		}
	} else if f, ok := number(v); ok && math.Abs(f) < 1<<63 {
		if i, ok := integer(v); ok {
			return i
		}
		return int(f)
	}
	return a.get(0, "default", 0)
}

func filterFloat(c *scope, v any, a args) any {
	if f, ok := number(v); ok {
		return f
	}
	if f, err := strconv.ParseFloat(strings.TrimSpace(str(c, v)), 64); err == nil {
		return f
	}
	return a.get(0, "default", 0.0)
}

// needNumber returns a number, or fails.
func needNumber(v any) float64 {
	f, ok := number(v)
	if !ok {
		fail("a number is required, not %s", typeName(v))
	}
	return f
}

func filterAbs(_ *scope, v any, _ args) any {
	if i, ok := integer(v); ok {
		return max(i, -i)
	}
	return math.Abs(needNumber(v))
}

func filterRound(_ *scope, v any, a args) any {
	places, ok := integer(a.get(0, "precision", 0))
	if !ok || places < -20 || places > 20 {
		fail("round: precision must be a number from -20 to 20")
	}
	scale := math.Pow(10, float64(places))
	f := float64(needNumber(v) * scale)
	switch method := a.get(1, "method", "common"); method {
	case "common":
		f = math.RoundToEven(f)
	case "ceil":
		f = math.Ceil(f)
	case "floor":
		f = math.Floor(f)
	default:
		fail("round: method must be common, ceil or floor")
	}
	return f / scale
}

func filterSum(c *scope, v any, a args) any {
	var sum any = 0
	attribute := a.get(0, "attribute", nil)
	for _, x := range iterate(c, v) {
		c.tick()
		if attribute != nil {
			x = path(c, x, attribute)
		}
		sum = arithmetic(c, "+", sum, x)
	}
	return sum
}

// itemsOf lists the members of a dict as tuples.
func itemsOf(c *scope, d *dict) *list {
	out := make([]any, len(d.keys))
	for i, k := range d.keys {
		out[i] = &list{items: []any{k, d.values[k]}, tuple: true}
	}
	c.allocate(64 * len(out))
	return newList(c, out)
}

func filterItems(c *scope, v any, _ args) any {
	switch x := v.(type) {
	case *dict:
		return itemsOf(c, x)
	case undefined:
		return &list{}
	}
	fail("can only get item pairs from a mapping")
	return nil
}

// folded is what case-insensitive sorting compares.
func folded(v any) any {
	if s, ok := v.(string); ok {
		return strings.ToLower(s)
	}
	return v
}

func filterDictSort(c *scope, v any, a args) any {
	d, ok := v.(*dict)
	if !ok {
		fail("dictsort: want a mapping, not %s", typeName(v))
	}
	by := 0
	if str(c, a.get(1, "by", "key")) == "value" {
		by = 1
	}
	sensitive := truth(a.get(0, "case_sensitive", false))
	l := itemsOf(c, d)
	sortBy(c, l.items, truth(a.get(2, "reverse", false)), func(x any) any {
		k := x.(*list).items[by]
		if sensitive {
			return k
		}
		return folded(k)
	})
	return l
}

// sortBy sorts by a key that is computed once for each item.
func sortBy(c *scope, items []any, reverse bool, key func(any) any) {
	type keyed struct{ key, item any }
	rows := make([]keyed, len(items))
	for i, x := range items {
		c.tick()
		rows[i] = keyed{key(x), x}
		c.touch(sizeOf(rows[i].key))
	}
	slices.SortStableFunc(rows, func(a, b keyed) int {
		if reverse {
			a, b = b, a
		}
		return order(c, a.key, b.key)
	})
	for i, r := range rows {
		items[i] = r.item
	}
}

func filterSort(c *scope, v any, a args) any {
	l := newList(c, slices.Clone(iterate(c, v)))
	attribute := a.get(2, "attribute", nil)
	sensitive := truth(a.get(1, "case_sensitive", false))
	sortBy(c, l.items, truth(a.get(0, "reverse", false)), func(x any) any {
		if attribute != nil {
			x = path(c, x, attribute)
		}
		if sensitive {
			return x
		}
		return folded(x)
	})
	return l
}

func filterUnique(c *scope, v any, _ args) any {
	var keep, seen []any
	for _, x := range iterate(c, v) {
		k := folded(x)
		if !slices.ContainsFunc(seen, func(y any) bool { return equal(c, k, y) }) {
			keep, seen = append(keep, x), append(seen, k)
		}
	}
	return newList(c, keep)
}

func filterMap(c *scope, v any, a args) any {
	var out []any
	if !truth(v) {
		return newList(c, nil)
	}
	attribute, byAttribute := a.named.values["attribute"]
	for _, x := range iterate(c, v) {
		c.tick()
		if byAttribute {
			y := path(c, x, attribute)
			if _, gone := y.(undefined); gone {
				if d, ok := a.named.values["default"]; ok {
					y = d
				}
			}
			out = append(out, y)
			continue
		}
		name := str(c, a.need(0, "the filter"))
		f, ok := c.names.filters[name]
		if !ok {
			fail("no filter named %q", name)
		}
		c.touch(sizeOf(x))
		out = append(out, f(c, x, a.rest(1)))
	}
	return newList(c, out)
}

// choose makes select, reject and their kin: keep what a test, or truth, says.
func choose(keep, byAttribute bool) filter {
	return func(c *scope, v any, a args) any {
		var out []any
		if !truth(v) {
			return newList(c, nil)
		}
		for _, x := range iterate(c, v) {
			c.tick()
			y, rest := x, a
			if byAttribute {
				y, rest = path(c, x, a.need(0, "the attribute")), a.rest(1)
			}
			ok := truth(y)
			if len(rest.list) > 0 {
				name := str(c, rest.list[0])
				t, known := c.names.tests[name]
				if !known {
					fail("no test named %q", name)
				}
				ok = t(c, y, rest.rest(1))
			}
			if ok == keep {
				out = append(out, x)
			}
		}
		return newList(c, out)
	}
}

// extreme makes min and max.
func extreme(least bool) filter {
	return func(c *scope, v any, a args) any {
		var best any = undefined{"an item of nothing"}
		attribute := a.get(1, "attribute", nil)
		key := func(x any) any {
			if attribute != nil {
				x = path(c, x, attribute)
			}
			return folded(x)
		}
		for i, x := range iterate(c, v) {
			if i == 0 || least && less(c, key(x), key(best)) || !least && less(c, key(best), key(x)) {
				best = x
			}
		}
		return best
	}
}

func filterBatch(c *scope, v any, a args) any {
	n, ok := integer(a.need(0, "the size"))
	if !ok || n < 1 {
		fail("batch: want a size of 1 or more")
	}
	var out []any
	for part := range slices.Chunk(iterate(c, v), n) {
		part = slices.Clone(part)
		if fill := a.get(1, "fill_with", nil); fill != nil {
			for len(part) < min(n, maxRange) {
				part = append(part, fill)
			}
		}
		out = append(out, newList(c, part))
	}
	return newList(c, out)
}

func filterGroupBy(c *scope, v any, a args) any {
	attribute := a.get(0, "attribute", "")
	groups := newDict()
	for _, x := range iterate(c, v) {
		c.tick()
		k := path(c, x, attribute)
		g, ok := groups.get(k)
		if !ok {
			g = &list{}
			groups.set(k, g)
		}
		l := g.(*list)
		l.items = append(l.items, x)
	}
	l := itemsOf(c, groups)
	sortBy(c, l.items, false, func(x any) any { return folded(x.(*list).items[0]) })
	return l
}

// indentOf returns what a width or a string stands for as indentation.
func indentOf(v any, otherwise string) string {
	const widest = 64
	n, ok := integer(v)
	switch {
	case ok && n > widest:
		fail("an indent is wider than %d", widest)
	case ok:
		return strings.Repeat(" ", max(n, 0))
	}
	if s, ok := text(v); ok {
		if len(s) > widest {
			fail("an indent is wider than %d", widest)
		}
		return s
	}
	return otherwise
}

func filterIndent(c *scope, v any, a args) any {
	pad := indentOf(a.get(0, "width", 4), "    ")
	first, blank := truth(a.get(1, "first", false)), truth(a.get(2, "blank", false))
	w := &writer{scope: c}
	i := 0
	for line := range strings.SplitSeq(str(c, v), "\n") {
		if i > 0 {
			w.put("\n")
		}
		if (i > 0 || first) && (line != "" || blank) {
			w.put(pad)
		}
		w.put(line)
		i++
	}
	return w.String()
}

func filterToJSON(c *scope, v any, a args) any {
	j := jsonWriter{
		writer: writer{scope: c}, ascii: truth(a.get(0, "ensure_ascii", false)), sorted: truth(a.get(3, "sort_keys", false)),
		comma: ", ", colon: ": ",
	}
	if indent := a.get(1, "indent", nil); indent != nil {
		j.lines, j.comma, j.indent = true, ",", indentOf(indent, "")
	}
	if s, ok := a.get(2, "separators", nil).(*list); ok {
		if len(s.items) != 2 {
			fail("tojson: want two separators")
		}
		j.comma, j.colon = str(c, s.items[0]), str(c, s.items[1])
	}
	j.value(v, 0)
	return j.String()
}
