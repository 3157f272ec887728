package chat

import (
	"strings"
)

// signal is how a statement ends other than by running on.
type signal uint8

const (
	runOn signal = iota
	breakLoop
	continueLoop
)

// render is the state that all scopes of one render share.
type render struct {
	steps, work, calls int
	line               int // of the last step
}

// output collects text.
type output struct{ strings.Builder }

// scope holds the variables of a block.
type scope struct {
	vars    map[string]any
	parent  *scope
	out     *output
	signal  signal
	caller  any // macro of the call block around
	pending any // text that a filter block hands on
	render  *render
	names   *names
}

func (c *scope) child() *scope {
	return &scope{vars: map[string]any{}, parent: c, out: c.out, render: c.render, names: c.names}
}

func (c *scope) get(name string) any {
	if name == "caller" {
		for d := c; d != nil; d = d.parent {
			if d.caller != nil {
				return d.caller
			}
		}
	}
	for d := c; d != nil; d = d.parent {
		if v, ok := d.vars[name]; ok {
			return v
		}
	}
	return undefined{name}
}

func (c *scope) write(s string) {
	if c.out.Len()+len(s) > maxOutputBytes {
		fail("the text is longer than %d bytes", maxOutputBytes)
	}
	c.allocate(len(s))
	c.out.WriteString(s)
}

// step counts a statement, call or iteration.
func (c *scope) step(line int) {
	c.render.line = line
	c.tick()
}

func (c *scope) tick() {
	if c.render.steps++; c.render.steps > maxSteps {
		fail("more than %d steps", maxSteps)
	}
}

// touch counts bytes that are read, allocate bytes that are written.
func (c *scope) touch(n int) {
	if c.render.work += n; c.render.work > maxWork || n < 0 {
		fail("too much work on too long values")
	}
}

func (c *scope) allocate(n int) {
	if n > maxWork/8 || n < 0 {
		fail("too much work on too long values")
	}
	c.touch(8 * n)
}

// made counts a string that was made.
func made(c *scope, s string) string {
	if len(s) > maxOutputBytes {
		fail("a string is longer than %d bytes", maxOutputBytes)
	}
	c.allocate(len(s))
	return s
}

// newList counts a list that was made.
func newList(c *scope, items []any) *list {
	c.allocate(16 * len(items))
	return &list{items: items}
}

// enter and leave bound calls inside each other.
func (c *scope) enter() {
	if c.render.calls++; c.render.calls > maxCalls {
		fail("macro calls nested more than %d deep", maxCalls)
	}
}

func (c *scope) leave() { c.render.calls-- }

func run(c *scope, body []statement) {
	for _, s := range body {
		s(c)
		if c.signal != runOn {
			return
		}
	}
}

// inner runs a block in a scope of its own.
func (c *scope) inner(body []statement) {
	d := c.child()
	run(d, body)
	c.signal = d.signal
}

// capture runs a block and returns its text as f makes it from pending.
func (c *scope) capture(body []statement, f expression) any {
	d := c.child()
	d.out = &output{}
	run(d, body)
	e := c.child()
	e.pending = d.out.String()
	return f(e)
}

// forLoop is a for block.
type forLoop struct {
	line            int
	target          func(*scope, any)
	filter          expression // nil for none
	recursive       bool
	body, otherwise []statement
}

func (f *forLoop) run(c *scope, over any, depth int) {
	items := iterate(c, over)
	if f.filter != nil {
		var keep []any
		for _, x := range items {
			c.step(f.line)
			d := c.child()
			f.target(d, x)
			if truth(f.filter(d)) {
				keep = append(keep, x)
			}
		}
		items = keep
	}
	if len(items) == 0 {
		run(c, f.otherwise)
		return
	}
	state := &loop{items: items, depth: depth}
	if f.recursive {
		state.call = func(_ *scope, a args) any {
			c.enter()
			defer c.leave()
			d := c.child()
			d.out = &output{}
			f.run(d, a.need(0, "the items"), depth+1)
			return d.out.String()
		}
	}
	for i, x := range items {
		c.step(f.line)
		state.index = i
		d := c.child()
		d.vars["loop"] = state
		f.target(d, x)
		run(d, f.body)
		if d.signal == breakLoop {
			break
		}
	}
}

// loop is the variable of that name in a for block.
type loop struct {
	items   []any
	index   int
	depth   int
	changed any // arguments of the last call of changed
	call    function
}

func (l *loop) attribute(name string) (any, bool) {
	n := len(l.items)
	switch name {
	case "index":
		return l.index + 1, true
	case "index0":
		return l.index, true
	case "revindex":
		return n - l.index, true
	case "revindex0":
		return n - l.index - 1, true
	case "first":
		return l.index == 0, true
	case "last":
		return l.index == n-1, true
	case "length":
		return n, true
	case "previtem":
		return l.at(l.index - 1), true
	case "nextitem":
		return l.at(l.index + 1), true
	case "depth":
		return l.depth, true
	case "depth0":
		return l.depth - 1, true
	case "cycle":
		i := l.index
		return function(func(_ *scope, a args) any {
			a.need(0, "an item")
			return a.list[i%len(a.list)]
		}), true
	case "changed":
		return function(func(c *scope, a args) any {
			now := any(newList(c, a.list))
			differs := l.changed == nil || !equal(c, l.changed, now)
			l.changed = now
			return differs
		}), true
	}
	return nil, false
}

func (l *loop) at(i int) any {
	if i < 0 || i >= len(l.items) {
		return undefined{"loop item"}
	}
	return l.items[i]
}

// macro is a macro or the body of a call block.
type macro struct {
	name   string
	params []param
	body   []statement
}

type param struct {
	name  string
	value expression // nil for none
}

// bind returns the function that a macro is where it is defined.
func (m *macro) bind(c *scope) function {
	return func(from *scope, a args) any {
		c.enter()
		defer c.leave()
		d := c.child()
		d.out = &output{}
		for i, p := range m.params {
			v, given := a.named.values[p.name]
			switch {
			case i < len(a.list):
				v = a.list[i]
			case given:
			case p.value != nil:
				v = p.value(d)
			default:
				v = undefined{p.name}
			}
			d.vars[p.name] = v
		}
		extra := &list{tuple: true}
		if len(a.list) > len(m.params) {
			extra.items = a.list[len(m.params):]
		}
		d.vars["varargs"] = extra
		rest := newDict()
		for _, k := range a.named.keys {
			if !m.knows(k) {
				rest.set(k, a.named.values[k])
			}
		}
		d.vars["kwargs"] = rest
		if v, ok := a.named.values["caller"]; ok {
			d.caller = v
		} else if from.caller != nil && m.name != "caller" {
			d.caller = from.caller
		}
		run(d, m.body)
		return d.out.String()
	}
}

func (m *macro) knows(name any) bool {
	for _, p := range m.params {
		if p.name == name {
			return true
		}
	}
	return name == "caller"
}

func call(c *scope, f any, a args) any {
	switch g := f.(type) {
	case function:
		return g(c, a)
	case *loop:
		if g.call != nil {
			return g.call(c, a)
		}
	case undefined:
		fail("%q is undefined", g.what)
	}
	fail("%s object is not callable", typeName(f))
	return nil
}
