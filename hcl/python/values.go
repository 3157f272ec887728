package python

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/llima-build/llima/hcl/lang"
)

// typing is something that only annotations need: Dict, Optional and so on.
type typing struct{ name string }

func (t typing) String() string      { return "typing." + t.name }
func (typing) Type() string          { return "type" }
func (typing) Freeze()               {}
func (typing) Truth() starlark.Bool  { return true }
func (typing) Hash() (uint32, error) { return 0, nil }

// absent is a module, or a name of one, that a script cannot have. Importing
// it is harmless; using it is an error.
type absent struct{ module, name string }

func (a absent) String() string      { return a.module }
func (absent) Type() string          { return "module" }
func (absent) Freeze()               {}
func (absent) Truth() starlark.Bool  { return true }
func (absent) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable type: module") }

// advice says what to do without a module.
func (a absent) advice() string {
	root, _, _ := strings.Cut(a.module, ".")
	switch root {
	case "os", "sys", "pathlib", "io", "glob", "shutil", "argparse", "subprocess", "socket", "platform", "getpass":
		return "A script knows neither files nor environment nor command line, so that the same script always gives the same result. Write the value into the script."
	case "random", "time", "datetime", "uuid", "secrets":
		return "The same script must always give the same result."
	case "numpy", "torch", "pandas", "scipy", "jax", "tensorflow", "transformers", "safetensors", "yaml", "tomllib", "toml":
		return "Only plain Python runs here: write lists and dicts, and values that were computed elsewhere as numbers."
	case "re":
		return `Use the methods of strings: startswith, endswith, split, find, and "x" in text.`
	case "enum", "dataclasses", "abc":
		return "Keep constants in names or in a dict."
	case "copy":
		return "Use .copy(), or build a new list or dict."
	}
	if strings.HasPrefix(a.module, ".") || a.name != "" {
		return "Other scripts are not read: copy what is needed into this one."
	}
	return "These can be imported: math, json, functools, itertools, collections, operator, logging, and typing for annotations."
}

func (a absent) use() error {
	name := a.module
	if a.name != "" {
		name += "." + a.name
	}
	return raise("ImportError", "%s is not here. %s", name, a.advice())
}

// exception is an exception that was made and maybe raised.
type exception struct{ err *pyError }

func (e exception) String() string      { return fmt.Sprintf("%s(%s)", e.err.kind, quote(e.err.text)) }
func (e exception) Type() string        { return e.err.kind }
func (exception) Freeze()               {}
func (exception) Truth() starlark.Bool  { return true }
func (exception) Hash() (uint32, error) { return 0, nil }

// exceptions are the names of the exceptions that scripts raise.
var exceptions = []string{
	"ArithmeticError", "AssertionError", "AttributeError", "BaseException", "Exception", "ImportError", "IndexError", "KeyError",
	"LookupError", "NameError", "NotImplementedError", "OSError", "OverflowError", "RuntimeError", "StopIteration", "SystemExit",
	"TypeError", "ValueError", "ZeroDivisionError", "FileNotFoundError", "Warning", "UserWarning", "DeprecationWarning",
}

// typeNames are the builtins that are types as well.
var typeNames = map[string]bool{
	"int": true, "float": true, "str": true, "bool": true, "list": true, "dict": true, "tuple": true, "set": true, "frozenset": true,
}

// typeName returns Python's name for the type of a value.
func typeName(v starlark.Value) string {
	switch v := v.(type) {
	case starlark.String:
		return "str"
	case *starlark.Builtin:
		if typeNames[v.Name()] {
			return "type"
		}
		return "function"
	}
	return v.Type()
}

// keyHint says which keys a small dict has.
func keyHint(d *starlark.Dict, key starlark.Value) string {
	var keys, texts []string
	for _, k := range d.Keys() {
		s, ok := k.(starlark.String)
		if !ok || len(texts) > 16 {
			return ""
		}
		keys, texts = append(keys, string(s)), append(texts, quote(string(s)))
	}
	if len(keys) == 0 {
		return ""
	}
	hint := ". The dict has " + lang.Join(texts, "and")
	if s, ok := key.(starlark.String); ok {
		if near := lang.Suggest(string(s), keys); near != "" {
			hint += ". Did you mean " + quote(near) + "?"
		}
	}
	return strings.TrimSuffix(hint, ".")
}

// repr writes a value as Python would in a script.
func repr(v starlark.Value) string { return written(v, 0) }

// str writes a value as print does.
func str(v starlark.Value) string {
	switch v := v.(type) {
	case starlark.String:
		return string(v)
	case exception:
		return v.err.text
	}
	return repr(v)
}

func written(v starlark.Value, depth int) string {
	if depth > maxNesting {
		return "..."
	}
	list := func(items []starlark.Value) []string {
		out := make([]string, len(items))
		for i, x := range items {
			out[i] = written(x, depth+1)
		}
		return out
	}
	switch v := v.(type) {
	case starlark.String:
		return quote(string(v))
	case starlark.Tuple:
		if len(v) == 1 {
			return "(" + written(v[0], depth+1) + ",)"
		}
		return "(" + strings.Join(list(v), ", ") + ")"
	case *starlark.List:
		return "[" + strings.Join(list(slices.Collect(v.Elements())), ", ") + "]"
	case *starlark.Set:
		if v.Len() == 0 {
			return "set()"
		}
		return "{" + strings.Join(list(slices.Collect(v.Elements())), ", ") + "}"
	case *starlark.Dict:
		var out []string
		for _, item := range v.Items() {
			out = append(out, written(item[0], depth+1)+": "+written(item[1], depth+1))
		}
		return "{" + strings.Join(out, ", ") + "}"
	case *starlark.Builtin:
		if typeNames[v.Name()] {
			return "<class '" + v.Name() + "'>"
		}
		return "<function " + v.Name() + ">"
	case starlark.Float:
		return floatText(float64(v))
	}
	return v.String()
}

// quote writes a string in Python's quotes.
func quote(s string) string {
	q := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	var b strings.Builder
	b.WriteByte(q)
	for _, r := range s {
		switch {
		case r == rune(q) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte(q)
	return b.String()
}
