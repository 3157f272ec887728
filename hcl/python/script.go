package python

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/llima-build/llima/hcl/lang"
	"github.com/llima-build/llima/internal/diag"
)

// maxSteps bounds the instructions of Starlark that loading a script, or one
// call, may take; scripts as people write them take some hundreds. Only a fuzz
// test changes it.
var maxSteps uint64 = 1_000_000

// Script is a loaded script with one function that is called from outside.
type Script struct {
	Returns []diag.Range // the return statements of the function, in order
	Where   diag.Range   // the function

	ctx    context.Context
	file   string
	places []diag.Range
	fn     starlark.Callable
	print  func(text string)
}

// Item is an entry of a dict that goes in or comes out; keys that are no
// strings come out as repr writes them.
type Item struct {
	Key   string
	Value any
}

// Dict is a dict in its order.
type Dict []Item

// Other is a value that has no Go type here.
type Other struct{ Type, Text string }

// Endless is the summary of what is said of a script that takes too many steps.
const Endless = "The script does not end"

// Load reads a script and runs what stands outside of functions. entry is the
// function that [Script.Call] calls; print gets what the script prints, and
// may be nil. Once ctx ends the script does as well, then and in calls.
func Load(ctx context.Context, file, src, entry string, print func(text string)) (*Script, diag.List) {
	body, problem := parse(file, strings.TrimPrefix(src, "\ufeff"))
	if problem != nil {
		return nil, diag.List{*problem}
	}
	t := &translator{file: file, entry: entry, foreign: map[string]bool{}}
	for _, s := range body {
		s.findImports(t.foreign)
	}
	f := &syntax.File{Path: file, Options: &syntax.FileOptions{
		Set: true, While: true, TopLevelControl: true, GlobalReassign: true, Recursion: true,
	}}
	f.Stmts = t.statements(prune(body, entry))
	var functions []string
	for _, s := range body {
		if s.kind == stDef {
			functions = append(functions, s.text)
		}
	}
	if t.diags.HasErrors() {
		return nil, t.diags
	}
	s := &Script{Returns: t.returns, ctx: ctx, file: file, places: t.places, print: print}
	names := universe()
	program, err := starlark.FileProgram(f, names.Has)
	if err != nil {
		return nil, s.resolveErrors(err, f, names)
	}
	th, release := s.thread()
	globals, err := program.Init(th, names)
	release()
	if err != nil {
		return nil, diag.List{s.failure(err)}
	}
	globals.Freeze()
	return s.find(globals, entry, functions)
}

// findImports notes the names that imports define: each use of one is checked.
func (s *stmt) findImports(to map[string]bool) {
	for _, i := range s.imports {
		to[i.as] = true
	}
	for _, inner := range slices.Concat(s.body, s.orelse) {
		inner.findImports(to)
	}
}

// find takes the function out of the script's names; functions are what its
// top defines.
func (s *Script) find(globals starlark.StringDict, entry string, functions []string) (*Script, diag.List) {
	v, ok := globals[entry]
	if fn, callable := v.(starlark.Callable); callable {
		s.fn = fn
		s.Where = diag.Range{File: s.file, Start: diag.Pos{Line: 1, Column: 1}, End: diag.Pos{Line: 1, Column: 1}}
		if f, ok := fn.(*starlark.Function); ok {
			s.Where = s.place(f.Position())
		}
		return s, nil
	}
	d := diag.Diagnostic{
		Severity: diag.Error, Summary: "No function to call",
		Detail:  fmt.Sprintf("%s defines no function %s.", s.file, entry),
		Subject: &diag.Range{File: s.file, Start: diag.Pos{Line: 1, Column: 1}, End: diag.Pos{Line: 1, Column: 1}},
	}
	if ok {
		d.Detail = fmt.Sprintf("In %s the name %s stands for a value of type %s, not for a function.", s.file, entry, typeName(v))
	}
	if near := lang.Suggest(entry, functions); near != "" {
		d.Detail += fmt.Sprintf(" It defines %s.", near)
	}
	return nil, diag.List{d}
}

// thread returns a thread that ends with the context, until it is released.
func (s *Script) thread() (th *starlark.Thread, release func() bool) {
	th = &starlark.Thread{Name: s.file, Print: func(_ *starlark.Thread, text string) {
		if s.print != nil {
			s.print(text)
		}
	}}
	th.SetMaxExecutionSteps(maxSteps)
	return th, context.AfterFunc(s.ctx, func() { th.Cancel("interrupted") })
}

// Call calls the function with dicts, and returns what it returns and which
// return statement did it, -1 where that is not known.
func (s *Script) Call(args ...Dict) (value any, at int, problem *diag.Diagnostic) {
	in := make(starlark.Tuple, len(args))
	for i, a := range args {
		in[i] = toStarlark(a)
	}
	th, release := s.thread()
	defer release()
	v, err := starlark.Call(th, s.fn, in, nil)
	if err != nil {
		d := s.failure(err)
		return nil, -1, &d
	}
	at, ok := th.Local(returnKey).(int)
	if !ok {
		at = -1
	}
	return fromStarlark(v), at, nil
}

// place returns the range that a place of Starlark stands for.
func (s *Script) place(p syntax.Position) diag.Range {
	if i := int(p.Line) - 1; p.Filename() == s.file && i >= 0 && i < len(s.places) {
		return s.places[i]
	}
	return diag.Range{File: s.file, Start: diag.Pos{Line: 1, Column: 1}, End: diag.Pos{Line: 1, Column: 1}}
}

// failure turns an error of a running script into a diagnostic at the
// innermost place within the script.
func (s *Script) failure(err error) diag.Diagnostic {
	d := diag.Diagnostic{Severity: diag.Error, Summary: "The script failed"}
	at := s.Where
	if eval, ok := errors.AsType[*starlark.EvalError](err); ok {
		for i := range len(eval.CallStack) {
			if f := eval.CallStack.At(i); f.Pos.Filename() == s.file {
				at = s.place(f.Pos)
				break
			}
		}
	}
	exception, raised := errors.AsType[*pyError](err)
	text := err.Error()
	switch {
	case raised:
		text = sentence(exception.Error())
	case strings.Contains(text, "too many steps"):
		d.Summary = Endless
		text = fmt.Sprintf("After %d steps it still ran. A loop that never ends, or far too much work for a configuration?", maxSteps)
	case strings.Contains(text, "frozen"):
		text = "What stands at the top of the file cannot be changed by the function: it is asked about the parts in no particular order. Make a new value instead: .copy(), [*values], or {**table}."
	default:
		text = sentence(text)
	}
	d.Detail, d.Subject = text, &at
	return d
}

// sentence ends a text with a full stop.
func sentence(text string) string {
	if text = strings.TrimSpace(text); strings.HasSuffix(text, ".") || strings.HasSuffix(text, "?") || strings.HasSuffix(text, "!") {
		return text
	}
	return text + "."
}

// resolveErrors are names that nothing defines, and the like.
func (s *Script) resolveErrors(err error, f *syntax.File, names starlark.StringDict) diag.List {
	list, ok := errors.AsType[resolve.ErrorList](err)
	if !ok {
		return diag.List{s.failure(err)}
	}
	known := slices.Concat(slices.Collect(keysOf(names)), slices.Collect(keysOf(starlark.Universe)), defined(f.Stmts))
	var out diag.List
	for _, e := range list {
		at := s.place(e.Pos)
		d := diag.Diagnostic{Severity: diag.Error, Summary: "Not valid Python", Detail: sentence(e.Msg), Subject: &at}
		if name, ok := strings.CutPrefix(e.Msg, "undefined: "); ok {
			name, _, _ = strings.Cut(name, " (")
			d.Summary = "Unknown name"
			d.Detail = fmt.Sprintf("Nothing in this script is called %s.", name)
			if name == "true" || name == "false" {
				d.Detail += " Python writes " + strings.ToUpper(name[:1]) + name[1:] + "."
			} else if near := lang.Suggest(name, known); near != "" {
				d.Detail += " Did you mean " + near + "?"
			}
		}
		out = append(out, d)
	}
	return out
}

// keysOf yields the names that a script can spell.
func keysOf(d starlark.StringDict) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, name := range d.Keys() {
			if first := name[0]; first != '_' && (first|0x20 < 'a' || first|0x20 > 'z') {
				continue
			}
			if !yield(name) {
				return
			}
		}
	}
}

// defined lists the names that the top of a file defines.
func defined(list []syntax.Stmt) []string {
	var out []string
	for _, s := range list {
		switch s := s.(type) {
		case *syntax.DefStmt:
			out = append(out, s.Name.Name)
			for _, q := range s.Params {
				if id, ok := q.(*syntax.Ident); ok {
					out = append(out, id.Name)
				}
			}
			out = append(out, defined(s.Body)...)
		case *syntax.AssignStmt:
			if id, ok := s.LHS.(*syntax.Ident); ok {
				out = append(out, id.Name)
			}
		case *syntax.IfStmt:
			out = append(out, defined(slices.Concat(s.True, s.False))...)
		case *syntax.ForStmt:
			out = append(out, defined(s.Body)...)
		}
	}
	return out
}

// toStarlark converts what a caller passes.
func toStarlark(v any) starlark.Value {
	switch v := v.(type) {
	case Dict:
		d := starlark.NewDict(len(v))
		for _, item := range v {
			if err := d.SetKey(starlark.String(item.Key), toStarlark(item.Value)); err != nil {
				panic("llima: internal error: " + err.Error())
			}
		}
		return d
	case string:
		return starlark.String(v)
	case bool:
		return starlark.Bool(v)
	case int:
		return starlark.MakeInt(v)
	}
	return starlark.None
}

// fromStarlark converts a result: nil, bool, int64, string, Dict, or Other.
func fromStarlark(v starlark.Value) any {
	switch v := v.(type) {
	case starlark.NoneType:
		return nil
	case starlark.Bool:
		return bool(v)
	case starlark.String:
		return string(v)
	case starlark.Int:
		if n, ok := v.Int64(); ok {
			return n
		}
	case *starlark.Dict:
		out := Dict{}
		for _, item := range v.Items() {
			key, ok := item[0].(starlark.String)
			if !ok {
				key = starlark.String(repr(item[0]))
			}
			out = append(out, Item{string(key), fromStarlark(item[1])})
		}
		return out
	}
	return Other{typeName(v), repr(v)}
}
