package python

import (
	stdmath "math"
	"slices"
	"strings"

	"go.starlark.net/lib/json"
	"go.starlark.net/lib/math"
	"go.starlark.net/starlark"
)

// pythonFunctions are Python's builtins that Starlark lacks or does otherwise.
func pythonFunctions() map[string]function {
	return map[string]function{
		"abs": func(th *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			return starlark.Call(th, starlark.Universe["abs"], numbers(args), kwargs)
		},
		"callable": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			_, ok := one(args).(starlark.Callable)
			return starlark.Bool(ok), nil
		},
		"divmod":    divmod,
		"enumerate": enumerate,
		"filter":    filter,
		"format": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			text := ""
			if len(args) > 1 {
				text = str(args[1])
			}
			s, err := formatValue(one(args), text)
			return starlark.String(s), err
		},
		"frozenset": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return newSet(args)
		},
		"getattr": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if len(args) < 2 {
				return nil, raise("TypeError", "getattr takes an object and a name")
			}
			v, err := attribute(args[0], str(args[1]))
			if err != nil && len(args) > 2 {
				return args[2], nil
			}
			return v, err
		},
		"hasattr": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if len(args) < 2 {
				return nil, raise("TypeError", "hasattr takes an object and a name")
			}
			_, err := attribute(args[0], str(args[1]))
			return starlark.Bool(err == nil), nil
		},
		"hash": func(*starlark.Thread, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			return nil, raise("NameError", "hash differs from run to run in Python; a script must not depend on it")
		},
		"float":      stripped("float"),
		"int":        stripped("int"),
		"isinstance": isinstance,
		"len": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			switch v := one(args).(type) {
			case starlark.String:
				return starlark.MakeInt(len([]rune(string(v)))), nil
			case starlark.Sequence:
				return starlark.MakeInt(v.Len()), nil
			}
			return nil, raise("TypeError", "%s has no length", typeName(one(args)))
		},
		"list": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			items, err := joined(args)
			return starlark.NewList(items), err
		},
		"map": mapFunction,
		"pow": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return powFunction(args)
		},
		"print": printFunction,
		"range": rangeFunction,
		"repr": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return starlark.String(repr(one(args))), nil
		},
		"reversed": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			items, err := joined(args)
			for i, j := 0, len(items)-1; i < j; i, j = i+1, j-1 {
				items[i], items[j] = items[j], items[i]
			}
			return starlark.NewList(items), err
		},
		"round": func(_ *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			var x starlark.Value
			var digits starlark.Value = starlark.None
			if err := starlark.UnpackArgs("round", args, kwargs, "number", &x, "ndigits?", &digits); err != nil {
				return nil, err
			}
			return roundHalfEven(x, digits)
		},
		"set": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return newSet(args)
		},
		"sorted": func(th *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			if len(args) == 1 {
				it, err := iterable(args[0])
				if err != nil {
					return nil, err
				}
				args = starlark.Tuple{it}
			}
			return starlark.Call(th, starlark.Universe["sorted"], args, kwargs)
		},
		"str": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if len(args) == 0 {
				return starlark.String(""), nil
			}
			return starlark.String(str(args[0])), nil
		},
		"sum": sum,
		"tuple": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			items, err := joined(args)
			return starlark.Tuple(items), err
		},
		"type": typeOf,
	}
}

// stripped is a conversion that allows blanks around the text of a number.
func stripped(name string) function {
	return func(th *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		args = slices.Clone(args)
		if s, ok := one(args).(starlark.String); ok {
			args[0] = starlark.String(strings.TrimSpace(string(s)))
		}
		v, err := starlark.Call(th, starlark.Universe[name], args, kwargs)
		if err != nil {
			return nil, raise("ValueError", "%s(%s) is no number", name, repr(one(args)))
		}
		return v, nil
	}
}

func one(args starlark.Tuple) starlark.Value {
	if len(args) == 0 {
		return starlark.None
	}
	return args[0]
}

// numbers makes integers of the bools among arguments.
func numbers(args starlark.Tuple) starlark.Tuple {
	out := make(starlark.Tuple, len(args))
	for i, a := range args {
		out[i] = number(a)
	}
	return out
}

func divmod(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	if len(args) != 2 {
		return nil, raise("TypeError", "divmod takes two numbers")
	}
	q, err := binary("//", args[0], args[1])
	if err != nil {
		return nil, err
	}
	r, err := binary("%", args[0], args[1])
	return starlark.Tuple{q, r}, err
}

func enumerate(_ *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var values starlark.Value
	start := 0
	if err := starlark.UnpackArgs("enumerate", args, kwargs, "iterable", &values, "start?", &start); err != nil {
		return nil, err
	}
	items, err := joined(starlark.Tuple{values})
	for i, v := range items {
		items[i] = starlark.Tuple{starlark.MakeInt(start + i), v}
	}
	return starlark.NewList(items), err
}

func filter(th *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	if len(args) != 2 {
		return nil, raise("TypeError", "filter takes a function and values")
	}
	items, err := joined(args[1:])
	if err != nil {
		return nil, err
	}
	var out []starlark.Value
	for _, v := range items {
		keep := v
		if args[0] != starlark.None {
			if keep, err = starlark.Call(th, args[0], starlark.Tuple{v}, nil); err != nil {
				return nil, err
			}
		}
		if keep.Truth() {
			out = append(out, v)
		}
	}
	return starlark.NewList(out), nil
}

func mapFunction(th *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	if len(args) < 2 {
		return nil, raise("TypeError", "map takes a function and values")
	}
	columns := make([][]starlark.Value, len(args)-1)
	rows := maxElements
	for i, a := range args[1:] {
		items, err := joined(starlark.Tuple{a})
		if err != nil {
			return nil, err
		}
		columns[i], rows = items, min(rows, len(items))
	}
	out := make([]starlark.Value, rows)
	for r := range rows {
		row := make(starlark.Tuple, len(columns))
		for i := range columns {
			row[i] = columns[i][r]
		}
		v, err := starlark.Call(th, args[0], row, nil)
		if err != nil {
			return nil, err
		}
		out[r] = v
	}
	return starlark.NewList(out), nil
}

func powFunction(args starlark.Tuple) (starlark.Value, error) {
	if len(args) != 2 {
		return nil, raise("TypeError", "pow takes two numbers here")
	}
	return binary("**", args[0], args[1])
}

// printFunction hands a line to whoever runs the script.
func printFunction(th *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	sep, end := " ", "\n"
	for _, kv := range kwargs {
		switch str(kv[0]) {
		case "sep":
			sep = str(kv[1])
		case "end":
			end = str(kv[1])
		case "file", "flush":
		default:
			return nil, raise("TypeError", "print takes no argument %s", str(kv[0]))
		}
	}
	texts := make([]string, len(args))
	for i, a := range args {
		texts[i] = str(a)
	}
	if th.Print != nil {
		th.Print(th, strings.Join(texts, sep)+end)
	}
	return starlark.None, nil
}

// rangeFunction is range, of at most maxElements numbers, so that a list of
// them cannot fill the memory in one step.
func rangeFunction(th *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := starlark.Call(th, starlark.Universe["range"], numbers(args), kwargs)
	if err != nil {
		return nil, err
	}
	if seq, ok := v.(starlark.Sequence); ok && seq.Len() > maxElements {
		return nil, raise("OverflowError", "a range has at most %d numbers here", maxElements)
	}
	return v, nil
}

func sum(_ *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var values starlark.Value
	var total starlark.Value = starlark.MakeInt(0)
	if err := starlark.UnpackArgs("sum", args, kwargs, "iterable", &values, "start?", &total); err != nil {
		return nil, err
	}
	items, err := joined(starlark.Tuple{values})
	if err != nil {
		return nil, err
	}
	for _, v := range items {
		if total, err = binary("+", total, v); err != nil {
			return nil, err
		}
	}
	return total, nil
}

// isinstance knows the builtin types.
func isinstance(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	if len(args) != 2 {
		return nil, raise("TypeError", "isinstance takes a value and a type")
	}
	types, ok := args[1].(starlark.Tuple)
	if !ok {
		types = starlark.Tuple{args[1]}
	}
	for _, ty := range types {
		b, ok := ty.(*starlark.Builtin)
		if !ok || !typeNames[b.Name()] {
			return nil, raise("TypeError", "isinstance knows int, float, str, bool, list, dict, tuple and set, not %s", repr(ty))
		}
		name := typeName(args[0])
		if name == b.Name() || name == "bool" && b.Name() == "int" || name == "set" && b.Name() == "frozenset" {
			return starlark.True, nil
		}
	}
	return starlark.False, nil
}

func typeOf(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	name := typeName(one(args))
	if v, ok := starlark.Universe[name]; ok && typeNames[name] {
		return v, nil // equal to the script's own, by name
	}
	return typing{name}, nil
}

// importName returns a module, or a name of it.
func importName(module, name string) (starlark.Value, error) {
	root, _, _ := strings.Cut(module, ".")
	switch root {
	case "typing", "typing_extensions", "__future__", "collections", "types":
		if root == "collections" && module != "collections.abc" {
			break
		}
		if name == "TYPE_CHECKING" {
			return starlark.False, nil
		}
		if name == "NamedTuple" || name == "TypedDict" || name == "cast" || name == "SimpleNamespace" {
			return absent{module, name}, nil
		}
		return typing{name}, nil
	}
	members, ok := modules()[module]
	if !ok {
		return absent{module, name}, nil
	}
	if name == "" {
		return &namespace{module, members}, nil
	}
	if v, ok := members[name]; ok {
		return v, nil
	}
	return absent{module, name}, nil
}

// namespace is a module that is here.
type namespace struct {
	name    string
	members starlark.StringDict
}

func (n *namespace) String() string        { return "<module '" + n.name + "'>" }
func (*namespace) Type() string            { return "module" }
func (n *namespace) Freeze()               {}
func (*namespace) Truth() starlark.Bool    { return true }
func (n *namespace) Hash() (uint32, error) { return starlark.String(n.name).Hash() }

// modules are those that scripts can import.
func modules() map[string]starlark.StringDict {
	nothing := func(*starlark.Thread, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		return starlark.None, nil
	}
	logger := &namespace{"logging", starlark.StringDict{}}
	for _, name := range []string{"debug", "info", "warning", "warn", "error", "critical", "exception", "log", "basicConfig", "setLevel", "addHandler"} {
		logger.members[name] = newBuiltin(name, nothing)
	}
	for i, name := range []string{"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"} {
		logger.members[name] = starlark.MakeInt(10 * (i + 1))
	}
	logger.members["getLogger"] = newBuiltin("getLogger", func(*starlark.Thread, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) { return logger, nil })
	identity := func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return one(args), nil
	}
	cache := newBuiltin("lru_cache", func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		if len(args) == 1 {
			if f, ok := args[0].(starlark.Callable); ok {
				return f, nil
			}
		}
		return newBuiltin("lru_cache", identity), nil
	})
	return map[string]starlark.StringDict{
		"math":      mathMembers(),
		"json":      {"dumps": newBuiltin("dumps", dumps), "loads": json.Module.Members["decode"]},
		"functools": {"lru_cache": cache, "cache": cache, "partial": newBuiltin("partial", partial), "reduce": newBuiltin("reduce", reduce)},
		"itertools": {"chain": newBuiltin("chain", func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			items, err := joined(args)
			return starlark.NewList(items), err
		}), "product": newBuiltin("product", product)},
		"logging":     logger.members,
		"collections": {"OrderedDict": starlark.Universe["dict"]},
		"sys":         {"stderr": typing{"stderr"}, "stdout": typing{"stdout"}, "maxsize": starlark.MakeInt64(1<<63 - 1)},
	}
}

// mathMembers is math with bools as numbers, and what Starlark's lacks.
func mathMembers() starlark.StringDict {
	out := starlark.StringDict{}
	for name, v := range math.Module.Members {
		out[name] = v
		if f, ok := v.(starlark.Callable); ok {
			out[name] = newBuiltin(name, func(th *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
				return starlark.Call(th, f, numbers(args), kwargs)
			})
		}
	}
	out["trunc"] = starlark.Universe["int"]
	out["inf"], out["nan"], out["tau"] = starlark.Float(stdmath.Inf(1)), starlark.Float(stdmath.NaN()), starlark.Float(2*stdmath.Pi)
	for name, f := range map[string]func(float64) float64{"log2": stdmath.Log2, "log10": stdmath.Log10, "log1p": stdmath.Log1p, "exp2": stdmath.Exp2} {
		out[name] = newBuiltin(name, func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			x, ok := starlark.AsFloat(number(one(args)))
			if !ok || len(args) != 1 {
				return nil, raise("TypeError", "%s takes one number", name)
			}
			if y := f(x); !stdmath.IsNaN(y) && !stdmath.IsInf(y, 0) {
				return starlark.Float(y), nil
			}
			return nil, raise("ValueError", "%s(%s) is not defined", name, repr(args[0]))
		})
	}
	out["prod"] = newBuiltin("prod", func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		items, err := joined(args)
		var total starlark.Value = starlark.MakeInt(1)
		for i := 0; i < len(items) && err == nil; i++ {
			total, err = binary("*", total, items[i])
		}
		return total, err
	})
	out["isclose"] = newBuiltin("isclose", func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		if len(args) != 2 {
			return nil, raise("TypeError", "isclose takes two numbers here")
		}
		return isClose(args[0], args[1])
	})
	return out
}

func partial(_ *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	f, ok := one(args).(starlark.Callable)
	if !ok {
		return nil, raise("TypeError", "partial takes a function first")
	}
	first := args[1:]
	return newBuiltin("partial", func(th *starlark.Thread, more starlark.Tuple, given []starlark.Tuple) (starlark.Value, error) {
		all := append(append(starlark.Tuple{}, first...), more...)
		merged := append([]starlark.Tuple{}, given...)
		for _, kv := range kwargs {
			if !hasKey(given, kv[0]) {
				merged = append(merged, kv)
			}
		}
		return starlark.Call(th, f, all, merged)
	}), nil
}

func hasKey(list []starlark.Tuple, key starlark.Value) bool {
	for _, kv := range list {
		if kv[0] == key {
			return true
		}
	}
	return false
}

func reduce(th *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	if len(args) < 2 {
		return nil, raise("TypeError", "reduce takes a function and values")
	}
	items, err := joined(args[1:2])
	if err != nil {
		return nil, err
	}
	if len(args) > 2 {
		items = append([]starlark.Value{args[2]}, items...)
	}
	if len(items) == 0 {
		return nil, raise("TypeError", "reduce of nothing, without a start")
	}
	total := items[0]
	for _, v := range items[1:] {
		if total, err = starlark.Call(th, args[0], starlark.Tuple{total, v}, nil); err != nil {
			return nil, err
		}
	}
	return total, nil
}

func product(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	rows := []starlark.Tuple{{}}
	for _, a := range args {
		items, err := joined(starlark.Tuple{a})
		if err != nil {
			return nil, err
		}
		if len(items)*len(rows) > maxElements {
			return nil, raise("OverflowError", "more than %d elements", maxElements)
		}
		var next []starlark.Tuple
		for _, row := range rows {
			for _, v := range items {
				next = append(next, append(append(starlark.Tuple{}, row...), v))
			}
		}
		rows = next
	}
	out := make([]starlark.Value, len(rows))
	for i, row := range rows {
		out[i] = row
	}
	return starlark.NewList(out), nil
}
