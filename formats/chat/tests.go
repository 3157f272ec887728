package chat

import (
	"strings"
)

func newTests() map[string]test {
	t := map[string]test{
		"defined":   func(_ *scope, v any, _ args) bool { return !isUndefined(v) },
		"undefined": func(_ *scope, v any, _ args) bool { return isUndefined(v) },
		"none":      func(_ *scope, v any, _ args) bool { return v == nil },
		"boolean":   isType[bool],
		"integer":   isType[int],
		"float":     isType[float64],
		"mapping":   isType[*dict],
		"number":    func(_ *scope, v any, _ args) bool { _, ok := number(v); return ok },
		"string":    func(_ *scope, v any, _ args) bool { _, ok := text(v); return ok },
		"sequence":  isIterable,
		"iterable":  isIterable,
		"true":      func(_ *scope, v any, _ args) bool { b, ok := v.(bool); return ok && b },
		"false":     func(_ *scope, v any, _ args) bool { b, ok := v.(bool); return ok && !b },
		"callable":  isCallable,
		"odd":       func(_ *scope, v any, _ args) bool { return modulo(v, 2) != 0 },
		"even":      func(_ *scope, v any, _ args) bool { return modulo(v, 2) == 0 },
		"divisibleby": func(_ *scope, v any, a args) bool {
			return modulo(v, a.need(0, "the divisor")) == 0
		},
		"lower":  func(c *scope, v any, _ args) bool { s := str(c, v); c.touch(len(s)); return strings.ToLower(s) == s },
		"upper":  func(c *scope, v any, _ args) bool { s := str(c, v); c.touch(len(s)); return strings.ToUpper(s) == s },
		"in":     func(c *scope, v any, a args) bool { return contains(c, v, a.need(0, "the container")) },
		"sameas": isSame,
		"filter": func(c *scope, v any, _ args) bool { _, ok := c.names.filters[str(c, v)]; return ok },
		"test":   func(c *scope, v any, _ args) bool { _, ok := c.names.tests[str(c, v)]; return ok },
	}
	for name, op := range map[string]string{
		"eq": "==", "equalto": "==", "==": "==", "ne": "!=", "!=": "!=", "lt": "<", "lessthan": "<", "<": "<",
		"gt": ">", "greaterthan": ">", ">": ">", "le": "<=", "<=": "<=", "ge": ">=", ">=": ">=",
	} {
		t[name] = func(c *scope, v any, a args) bool { return compare(c, op, v, a.need(0, "what to compare with")) }
	}
	return t
}

func isUndefined(v any) bool {
	_, ok := v.(undefined)
	return ok
}

func isType[T any](_ *scope, v any, _ args) bool {
	_, ok := v.(T)
	return ok
}

func isIterable(_ *scope, v any, _ args) bool {
	switch v.(type) {
	case *list, *dict, string, markup, undefined:
		return true
	}
	return false
}

func isCallable(_ *scope, v any, _ args) bool {
	switch x := v.(type) {
	case function:
		return true
	case *loop:
		return x.call != nil
	}
	return false
}

// isSame is identity for containers, equality of type and value for the rest.
func isSame(_ *scope, v any, a args) bool {
	w := a.need(0, "what to compare with")
	if _, ok := v.(function); ok {
		return false
	}
	if _, ok := w.(function); ok {
		return false
	}
	return v == w
}

func modulo(v, by any) int {
	i, ok1 := integer(v)
	j, ok2 := integer(by)
	if !ok1 || !ok2 {
		fail("an integer is required, not %s", typeName(v))
	}
	if j == 0 {
		fail("division by zero")
	}
	return i % j
}
