package load

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
)

// locals evaluates local values in order of what they use.
type locals struct {
	l      *loader
	attrs  map[string]*hclsyntax.Attribute
	values map[string]cty.Value
	path   []string // being evaluated, outermost first
}

// readLocals fills l.base.
func (l *loader) readLocals() {
	s := &locals{l: l, attrs: map[string]*hclsyntax.Attribute{}, values: map[string]cty.Value{}}
	var names []string
	for _, b := range l.body.Blocks {
		if b.Type != "locals" {
			continue
		}
		for _, attr := range sortedAttributes(b.Body) {
			if first := s.attrs[attr.Name]; first != nil {
				l.report(diag.List{lang.Errorf(attr.NameRange, "Duplicate name", "There is a local %q already, on line %d.", attr.Name, first.SrcRange.Start.Line)})
				continue
			}
			s.attrs[attr.Name] = attr
			names = append(names, attr.Name)
		}
	}
	for _, name := range names {
		s.eval(name)
	}
	l.base = l.scope(nil, map[string]cty.Value{"var": object(l.variables), "local": object(s.values)})
}

// eval puts the value of a local into s.values, after those that it uses. A
// chain of locals is as deep as the file is long, which is bounded.
func (s *locals) eval(name string) {
	if _, done := s.values[name]; done {
		return
	}
	attr := s.attrs[name]
	if at := slices.Index(s.path, name); at >= 0 {
		s.l.report(diag.List{lang.Errorf(attr.NameRange, "Locals depend on each other",
			"%s: none of them can be computed first.", strings.Join(append(slices.Clone(s.path[at:]), name), " → "))})
		s.values[name] = cty.DynamicVal
		return
	}
	s.path = append(s.path, name)
	uses, complete := s.uses(attr.Expr)
	for _, used := range uses {
		s.eval(used)
	}
	s.path = s.path[:len(s.path)-1]
	if _, failed := s.values[name]; failed {
		return
	}
	visible := map[string]cty.Value{}
	if complete {
		for _, used := range uses {
			visible[used] = s.values[used]
		}
	} else { // all names, for the error that is to come
		for other := range s.attrs {
			visible[other] = cty.DynamicVal
		}
	}
	value, diags := lang.Eval(attr.Expr, s.l.scope(nil, map[string]cty.Value{"var": object(s.l.variables), "local": object(visible)}))
	s.l.report(diags)
	if diags.HasErrors() {
		value = cty.DynamicVal
	}
	s.values[name] = value
}

// uses returns the locals that an expression names, and whether these are all
// that it needs.
func (s *locals) uses(expr hclsyntax.Expression) (names []string, complete bool) {
	complete = true
	for _, t := range expr.Variables() {
		if t.RootName() != "local" {
			continue
		}
		name := ""
		if len(t) > 1 {
			switch step := t[1].(type) {
			case hcl.TraverseAttr:
				name = step.Name
			case hcl.TraverseIndex:
				if step.Key.Type() == cty.String {
					name = step.Key.AsString()
				}
			}
		}
		if s.attrs[name] == nil {
			complete = false
			continue
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, complete
}
