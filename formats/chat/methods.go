package chat

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// method returns the method of a value, or nil.
func method(o any, name string) any {
	var f function
	switch x := o.(type) {
	case *dict:
		f = dictMethod(x, name)
	case *list:
		f = listMethod(x, name)
	case string:
		f = stringMethod(x, name)
	case markup:
		f = stringMethod(string(x), name)
	}
	if f == nil {
		return nil
	}
	return f
}

// refused is what the sandbox says to methods that change a value.
func refused(o any, name string) function {
	return func(*scope, args) any {
		fail("access to attribute %q of %s object is unsafe", name, typeName(o))
		return nil
	}
}

func dictMethod(d *dict, name string) function {
	switch name {
	case "items":
		return func(c *scope, _ args) any { return itemsOf(c, d) }
	case "keys":
		return func(c *scope, _ args) any { return newList(c, slices.Clone(d.keys)) }
	case "values":
		return func(c *scope, _ args) any {
			var out []any
			for _, k := range d.keys {
				out = append(out, d.values[k])
			}
			return newList(c, out)
		}
	case "get":
		return func(_ *scope, a args) any {
			if v, ok := d.get(a.need(0, "the key")); ok {
				return v
			}
			return a.get(1, "default", nil)
		}
	case "copy":
		return func(c *scope, _ args) any { return dictOf(c, args{[]any{d}, newDict()}) }
	case "update", "pop", "setdefault", "clear", "popitem":
		return refused(d, name)
	}
	return nil
}

func listMethod(l *list, name string) function {
	switch name {
	case "index":
		return func(c *scope, a args) any {
			want := a.need(0, "the item")
			for i, e := range l.items {
				if equal(c, e, want) {
					return i
				}
			}
			fail("%.64s is not in list", repr(c, want))
			return nil
		}
	case "count":
		return func(c *scope, a args) any {
			n := 0
			for _, e := range l.items {
				if equal(c, e, a.need(0, "the item")) {
					n++
				}
			}
			return n
		}
	case "append", "pop", "insert", "extend", "remove", "reverse", "sort", "clear":
		return refused(l, name)
	}
	return nil
}

// stringMethods are those of Python's str, by name.
var stringMethods = map[string]func(c *scope, s string, a args) any{
	"strip":        func(c *scope, s string, a args) any { return stripped(c, s, a, true, true) },
	"lstrip":       func(c *scope, s string, a args) any { return stripped(c, s, a, true, false) },
	"rstrip":       func(c *scope, s string, a args) any { return stripped(c, s, a, false, true) },
	"upper":        func(c *scope, s string, _ args) any { return made(c, strings.ToUpper(s)) },
	"lower":        func(c *scope, s string, _ args) any { return made(c, strings.ToLower(s)) },
	"title":        func(c *scope, s string, _ args) any { return made(c, title(s)) },
	"capitalize":   func(c *scope, s string, _ args) any { return made(c, capitalize(s)) },
	"startswith":   func(c *scope, s string, a args) any { return anyPart(c, a, s, strings.HasPrefix) },
	"endswith":     func(c *scope, s string, a args) any { return anyPart(c, a, s, strings.HasSuffix) },
	"removeprefix": func(c *scope, s string, a args) any { return strings.TrimPrefix(s, needText(a, 0)) },
	"removesuffix": func(c *scope, s string, a args) any { return strings.TrimSuffix(s, needText(a, 0)) },
	"replace": func(c *scope, s string, a args) any {
		n := -1
		if i, ok := integer(a.get(2, "count", nil)); ok {
			n = i
		}
		return replaceText(c, s, needText(a, 0), needText(a, 1), n)
	},
	"find":       func(_ *scope, s string, a args) any { return runeIndex(s, strings.Index(s, needText(a, 0))) },
	"rfind":      func(_ *scope, s string, a args) any { return runeIndex(s, strings.LastIndex(s, needText(a, 0))) },
	"index":      func(_ *scope, s string, a args) any { return mustFind(runeIndex(s, strings.Index(s, needText(a, 0)))) },
	"count":      func(_ *scope, s string, a args) any { return strings.Count(s, needText(a, 0)) },
	"join":       joinMethod,
	"splitlines": func(c *scope, s string, _ args) any { return textList(c, splitLines(s)) },
	"split":      splitMethod,
	"rsplit":     rsplitMethod,
	"isdigit":    func(_ *scope, s string, _ args) any { return all(s, unicode.IsDigit) },
	"isnumeric":  func(_ *scope, s string, _ args) any { return all(s, unicode.IsNumber) },
	"isdecimal":  func(_ *scope, s string, _ args) any { return all(s, unicode.IsDigit) },
	"isalpha":    func(_ *scope, s string, _ args) any { return all(s, unicode.IsLetter) },
	"isalnum": func(_ *scope, s string, _ args) any {
		return all(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	},
	"isspace": func(_ *scope, s string, _ args) any { return all(s, unicode.IsSpace) },
	"isupper": func(_ *scope, s string, _ args) any { return strings.ToUpper(s) == s && strings.ToLower(s) != s },
	"islower": func(_ *scope, s string, _ args) any { return strings.ToLower(s) == s && strings.ToUpper(s) != s },
	"format":  formatMethod,
}

func stringMethod(s, name string) function {
	m, ok := stringMethods[name]
	if !ok {
		return nil
	}
	return func(c *scope, a args) any {
		c.touch(len(s))
		return m(c, s, a)
	}
}

// needText returns an argument that must be a string.
func needText(a args, i int) string {
	s, ok := text(a.need(i, "a string"))
	if !ok {
		fail("a string is required, not %s", typeName(a.list[i]))
	}
	return s
}

func stripped(c *scope, s string, a args, left, right bool) string {
	f := unicode.IsSpace
	if len(a.list) > 0 && a.list[0] != nil {
		set := needText(a, 0)
		c.touch(len(set))
		f = func(r rune) bool { return strings.ContainsRune(set, r) }
		if len(set) > 1024 {
			fail("strip: more than 1024 characters")
		}
	}
	if left {
		s = strings.TrimLeftFunc(s, f)
	}
	if right {
		s = strings.TrimRightFunc(s, f)
	}
	return s
}

// anyPart asks about a string, or about each of a tuple.
func anyPart(c *scope, a args, s string, is func(s, part string) bool) bool {
	parts := []any{a.need(0, "a string")}
	if l, ok := parts[0].(*list); ok {
		parts = l.items
	}
	for _, p := range parts {
		c.tick()
		part, ok := text(p)
		if !ok {
			fail("a string is required, not %s", typeName(p))
		}
		if is(s, part) {
			return true
		}
	}
	return false
}

// runeIndex turns an index of bytes into one of characters.
func runeIndex(s string, i int) int {
	if i < 0 {
		return -1
	}
	return utf8.RuneCountInString(s[:i])
}

func mustFind(i int) int {
	if i < 0 {
		fail("substring not found")
	}
	return i
}

func all(s string, is func(rune) bool) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !is(r) }) < 0
}

func textList(c *scope, parts []string) *list {
	items := make([]any, len(parts))
	for i, p := range parts {
		items[i] = p
	}
	c.allocate(16 * len(items))
	return newList(c, items)
}

func splitLines(s string) []string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

func joinMethod(c *scope, s string, a args) any {
	w := &writer{scope: c}
	for i, e := range iterate(c, a.need(0, "the strings")) {
		part, ok := text(e)
		if !ok {
			fail("sequence item %d: expected str instance, %s found", i, typeName(e))
		}
		c.tick()
		if i > 0 {
			w.put(s)
		}
		w.put(part)
	}
	return w.String()
}

func splitMethod(c *scope, s string, a args) any {
	separator := a.get(0, "sep", nil)
	limit, ok := integer(a.get(1, "maxsplit", -1))
	if !ok || limit < 0 {
		limit = -1
	}
	if separator == nil {
		return textList(c, fields(s, limit))
	}
	part := needSeparator(separator)
	if limit >= 0 && limit < len(s) {
		return textList(c, strings.SplitN(s, part, limit+1))
	}
	return textList(c, strings.Split(s, part))
}

// fields splits at white space, limit times at most unless that is negative.
func fields(s string, limit int) []string {
	if limit < 0 {
		return strings.Fields(s)
	}
	var out []string
	s = strings.TrimLeftFunc(s, unicode.IsSpace)
	for ; s != "" && len(out) < limit; s = strings.TrimLeftFunc(s, unicode.IsSpace) {
		i := strings.IndexFunc(s, unicode.IsSpace)
		if i < 0 {
			i = len(s)
		}
		out = append(out, s[:i])
		s = s[i:]
	}
	if s != "" {
		out = append(out, s)
	}
	return out
}

func needSeparator(v any) string {
	s, ok := text(v)
	if !ok {
		fail("a string is required, not %s", typeName(v))
	}
	if s == "" {
		fail("empty separator")
	}
	return s
}

func rsplitMethod(c *scope, s string, a args) any {
	separator := needSeparator(a.get(0, "sep", " "))
	parts := strings.Split(s, separator)
	if k, ok := integer(a.get(1, "maxsplit", -1)); ok && k >= 0 && len(parts) > k+1 {
		h := len(parts) - k
		c.allocate(len(s))
		parts = append([]string{strings.Join(parts[:h], separator)}, parts[h:]...)
	}
	return textList(c, parts)
}

// formatMethod fills {} with the arguments in order.
func formatMethod(c *scope, s string, a args) any {
	w := &writer{scope: c}
	for i := 0; ; i++ {
		before, after, ok := strings.Cut(s, "{}")
		w.put(before)
		if !ok {
			return w.String()
		}
		w.put(str(c, a.need(i, "for {}")))
		s = after
	}
}
