package python

import (
	"math"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/llima-build/llima/hcl/lang"
)

// attribute returns x.name.
func attribute(x starlark.Value, name string) (starlark.Value, error) {
	switch v := x.(type) {
	case absent:
		return nil, absent{v.module, name}.use()
	case typing:
		return typing{name}, nil
	case *namespace:
		if m, ok := v.members[name]; ok {
			return m, nil
		}
		hint := ""
		if near := lang.Suggest(name, v.members.Keys()); near != "" {
			hint = ". Did you mean " + near + "?"
		}
		return nil, raise("AttributeError", "%s has no %s here%s", v.name, name, hint)
	case *starlark.Function:
		if name == "__name__" {
			return starlark.String(v.Name()), nil
		}
	case *starlark.Builtin:
		if name == "__name__" {
			return starlark.String(v.Name()), nil
		}
		if name == "fromkeys" && v.Name() == "dict" {
			return newBuiltin(name, fromKeys), nil
		}
	}
	if f, ok := methods[x.Type()+"."+name]; ok {
		return newBuiltin(name, func(th *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			return f(th, x, args, kwargs)
		}), nil
	}
	if h, ok := x.(starlark.HasAttrs); ok {
		if v, err := h.Attr(name); v != nil || err != nil {
			return v, err
		}
	}
	hint := ""
	if d, ok := x.(*starlark.Dict); ok {
		if _, found, _ := d.Get(starlark.String(name)); found {
			hint = `; its keys are written ["` + name + `"]`
		}
	}
	if h, ok := x.(starlark.HasAttrs); ok && hint == "" {
		if near := lang.Suggest(name, h.AttrNames()); near != "" {
			hint = ". Did you mean ." + near + "?"
		}
	}
	return nil, raise("AttributeError", "%s has no .%s%s", typeName(x), name, strings.TrimSuffix(hint, "."))
}

type method func(th *starlark.Thread, x starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error)

// methods are those that Starlark lacks or does otherwise, by type and name.
var methods = map[string]method{
	"string.format": formatMethod,
	"string.zfill": func(_ *starlark.Thread, x starlark.Value, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		s, sign := str(x), ""
		if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
			s, sign = s[1:], s[:1]
		}
		n, err := width(args)
		return starlark.String(spec{fill: "0", align: '=', width: n}.pad(sign, s, '=')), err
	},
	"string.ljust":  justify('<'),
	"string.rjust":  justify('>'),
	"string.center": justify('^'),
	"string.casefold": func(_ *starlark.Thread, x starlark.Value, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return starlark.String(strings.ToLower(str(x))), nil
	},
	"string.isnumeric": func(th *starlark.Thread, x starlark.Value, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		f, err := starlark.String(str(x)).Attr("isdigit")
		if err != nil {
			return nil, err
		}
		return starlark.Call(th, f, nil, nil)
	},
	"dict.copy": func(th *starlark.Thread, x starlark.Value, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return newDict(th, starlark.Tuple{x}, nil)
	},
	"dict.get": func(_ *starlark.Thread, x starlark.Value, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		d, ok := x.(*starlark.Dict)
		if !ok || len(args) == 0 || len(args) > 2 {
			return nil, raise("TypeError", "get takes a key and a default")
		}
		v, found, err := lookup(d, args[0])
		switch {
		case err != nil:
			return nil, unhashable(err)
		case found:
			return v, nil
		case len(args) == 2:
			return args[1], nil
		}
		return starlark.None, nil
	},
	"list.copy": func(_ *starlark.Thread, x starlark.Value, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		items, err := joined(starlark.Tuple{x})
		return starlark.NewList(items), err
	},
	"list.sort":    sortMethod,
	"list.reverse": reverseMethod,
	"list.count":   countMethod,
	"tuple.count":  countMethod,
	"set.copy": func(_ *starlark.Thread, x starlark.Value, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return newSet(starlark.Tuple{x})
	},
}

func width(args starlark.Tuple) (int, error) {
	n, err := starlark.AsInt32(one(args))
	if err != nil || n > maxWidth {
		return 0, raise("ValueError", "a width is a number up to %d", maxWidth)
	}
	return n, nil
}

func justify(align byte) method {
	return func(_ *starlark.Thread, x starlark.Value, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		n, err := width(args)
		if err != nil {
			return nil, err
		}
		fill := " "
		if len(args) > 1 {
			fill = str(args[1])
		}
		return starlark.String(spec{fill: fill, align: align, width: n}.pad("", str(x), align)), nil
	}
}

func fromKeys(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	if len(args) == 0 || len(args) > 2 {
		return nil, raise("TypeError", "fromkeys takes keys and a value")
	}
	var value starlark.Value = starlark.None
	if len(args) == 2 {
		value = args[1]
	}
	keys, err := joined(args[:1])
	if err != nil {
		return nil, err
	}
	d := starlark.NewDict(len(keys))
	for _, k := range keys {
		if err := setKey(d, k, value); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func sortMethod(th *starlark.Thread, x starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := sorted(th, append(starlark.Tuple{x}, args...), kwargs)
	if err != nil {
		return nil, err
	}
	return replaceAll(x, v)
}

// replaceAll gives a list the elements of another of the same length.
func replaceAll(x, from starlark.Value) (starlark.Value, error) {
	list, ok := x.(*starlark.List)
	sorted, also := from.(*starlark.List)
	if !ok || !also {
		return nil, raise("TypeError", "%s cannot be reordered", typeName(x))
	}
	for i, v := range slices.Collect(sorted.Elements()) {
		if err := list.SetIndex(i, v); err != nil {
			return nil, err
		}
	}
	return starlark.None, nil
}

func reverseMethod(_ *starlark.Thread, x starlark.Value, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	items, err := joined(starlark.Tuple{x})
	if err != nil {
		return nil, err
	}
	slices.Reverse(items)
	return replaceAll(x, starlark.NewList(items))
}

func countMethod(_ *starlark.Thread, x starlark.Value, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	items, err := joined(starlark.Tuple{x})
	if err != nil {
		return nil, err
	}
	n := 0
	for _, v := range items {
		same, err := equal(v, one(args), 0)
		if err != nil {
			return nil, err
		}
		if same {
			n++
		}
	}
	return starlark.MakeInt(n), nil
}

// formatMethod is str.format, with plain fields: {}, {0}, {name}, and what may
// follow them, !r and a format.
func formatMethod(_ *starlark.Thread, x starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	text := str(x)
	var b strings.Builder
	automatic := 0
	for i := 0; i < len(text); {
		if strings.HasPrefix(text[i:], "{{") || strings.HasPrefix(text[i:], "}}") {
			b.WriteByte(text[i])
			i += 2
			continue
		}
		if text[i] != '{' {
			b.WriteByte(text[i])
			i++
			continue
		}
		colon, end := fieldParts(text[i:])
		if end < 0 {
			return nil, raise("ValueError", "in %s a brace is not closed", repr(x))
		}
		name, format := text[i+1:i+end], ""
		if colon >= 0 {
			name, format = text[i+1:i+colon], text[i+colon+1:i+end]
		}
		name, conversion := cutConversion(name)
		v, err := fieldValue(name, args, kwargs, &automatic)
		if err != nil {
			return nil, err
		}
		if conversion == "r" || conversion == "a" {
			v = starlark.String(repr(v))
		}
		s, err := formatValue(v, format)
		if err != nil {
			return nil, err
		}
		b.WriteString(s)
		i += end + 1
	}
	return starlark.String(b.String()), nil
}

func fieldValue(name string, args starlark.Tuple, kwargs []starlark.Tuple, automatic *int) (starlark.Value, error) {
	key, rest, nested := strings.Cut(name, "[")
	var v starlark.Value
	switch n, isIndex := decimal(key); {
	case key == "":
		n = *automatic
		*automatic++
		if n < len(args) {
			v = args[n]
		}
	case isIndex && n < len(args):
		v = args[n]
	default:
		for _, kv := range kwargs {
			if str(kv[0]) == key {
				v = kv[1]
			}
		}
	}
	if v == nil {
		return nil, raise("IndexError", "no value for the field {%s}", name)
	}
	if nested {
		return element(v, starlark.String(strings.TrimSuffix(rest, "]")))
	}
	return v, nil
}

func decimal(s string) (int, bool) {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > maxElements {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, s != ""
}

// isClose is math.isclose with its usual tolerance.
func isClose(x, y starlark.Value) (starlark.Value, error) {
	a, ok := starlark.AsFloat(number(x))
	b, also := starlark.AsFloat(number(y))
	if !ok || !also {
		return nil, raise("TypeError", "isclose takes numbers")
	}
	return starlark.Bool(a == b || math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b))), nil
}

// dumps is json.dumps; indent alone of its options is known.
func dumps(_ *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var b strings.Builder
	_ = kwargs // they change how the text looks, which scripts only print
	if err := writeJSON(&b, one(args), 0); err != nil {
		return nil, err
	}
	return starlark.String(b.String()), nil
}

func writeJSON(b *strings.Builder, v starlark.Value, depth int) error {
	if depth > maxNesting {
		return raise("RecursionError", "values nest too deeply")
	}
	switch v := v.(type) {
	case starlark.NoneType:
		b.WriteString("null")
	case starlark.Bool:
		b.WriteString(strings.ToLower(v.String()))
	case starlark.String:
		b.WriteString(v.String())
	case starlark.Int, starlark.Float:
		b.WriteString(str(v))
	case *starlark.Dict:
		b.WriteByte('{')
		for i, item := range v.Items() {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(starlark.String(str(item[0])).String() + ": ")
			if err := writeJSON(b, item[1], depth+1); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case starlark.Indexable:
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteString(", ")
			}
			if err := writeJSON(b, v.Index(i), depth+1); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	default:
		return raise("TypeError", "%s cannot be written as JSON", typeName(v))
	}
	return nil
}
