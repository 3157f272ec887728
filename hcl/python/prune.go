package python

import "slices"

// prune leaves out what a script that is imported never runs: the block under
// __name__ == "__main__", what only type checkers read, and functions that
// nothing which runs refers to. They may hold anything.
func prune(body []*stmt, entry string) []*stmt {
	var out []*stmt
	for _, s := range body {
		if s.kind == stIf && onlyElsewhere(s.value) {
			out = append(out, prune(s.orelse, entry)...)
			continue
		}
		out = append(out, s)
	}
	used := map[string]bool{entry: true}
	functions := map[string][]*stmt{}
	for _, s := range out {
		if s.kind == stDef || s.kind == stClass {
			functions[s.text] = append(functions[s.text], s)
			for _, d := range s.decorators {
				names(d, used)
			}
			continue
		}
		s.walk(func(e *expr) { names(e, used) })
	}
	for done := map[string]bool{}; ; {
		more := false
		for name, list := range functions {
			if !used[name] || done[name] {
				continue
			}
			done[name], more = true, true
			for _, s := range list {
				s.walk(func(e *expr) { names(e, used) })
			}
		}
		if !more {
			break
		}
	}
	return slices.DeleteFunc(out, func(s *stmt) bool {
		return (s.kind == stDef || s.kind == stClass) && !used[s.text]
	})
}

// onlyElsewhere recognises __name__ == "__main__" and TYPE_CHECKING.
func onlyElsewhere(e *expr) bool {
	isName := func(e *expr, name string) bool { return (e.kind == exName || e.kind == exAttr) && e.text == name }
	if isName(e, "TYPE_CHECKING") {
		return true
	}
	if e.kind != exCompare || len(e.names) != 1 || e.names[0] != "==" {
		return false
	}
	x, y := e.args[0], e.args[1]
	if y.kind == exName {
		x, y = y, x
	}
	return isName(x, "__name__") && y.kind == exString && y.text == "__main__"
}

// walk visits the expressions of a statement and of its blocks.
func (s *stmt) walk(visit func(*expr)) {
	for _, e := range s.targets {
		visit(e)
	}
	if s.value != nil {
		visit(s.value)
	}
	for _, e := range s.decorators {
		visit(e)
	}
	for _, q := range s.params {
		if q.value != nil {
			visit(q.value)
		}
	}
	for _, inner := range slices.Concat(s.body, s.orelse) {
		inner.walk(visit)
	}
}

// names adds every name in an expression.
func names(e *expr, to map[string]bool) {
	if e == nil {
		return
	}
	if e.kind == exName {
		to[e.text] = true
	}
	for _, a := range e.args {
		names(a, to)
	}
	for _, c := range e.clauses {
		names(c.target, to)
		names(c.value, to)
	}
	for _, q := range e.params {
		names(q.value, to)
	}
}
