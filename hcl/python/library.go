package python

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"
)

// pythonFunctions are Python's builtins that Starlark lacks or does otherwise.
func pythonFunctions() map[string]function {
	return map[string]function{
		"abs": func(th *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			return starlark.Call(th, starlark.Universe["abs"], numbers(args), kwargs)
		},
		"all": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			items, err := joined(args)
			return starlark.Bool(!slices.ContainsFunc(items, func(v starlark.Value) bool { return !bool(v.Truth()) })), err
		},
		"any": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			items, err := joined(args)
			return starlark.Bool(slices.ContainsFunc(items, func(v starlark.Value) bool { return bool(v.Truth()) })), err
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
		"max":    extreme(">"),
		"min":    extreme("<"),
		"sorted": sorted,
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
		"zip":  zip,
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
	return newLazy("enumerate", starlark.Tuple{values}, func(i int, elements starlark.Tuple) starlark.Value {
		return starlark.Tuple{starlark.MakeInt(start + i), elements[0]}
	})
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

// sorted is sorted(values, key=None, reverse=False).
func sorted(th *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var values starlark.Value
	var key starlark.Value = starlark.None
	reverse := starlark.Bool(false)
	if err := starlark.UnpackArgs("sorted", args, kwargs, "iterable", &values, "key?", &key, "reverse?", &reverse); err != nil {
		return nil, err
	}
	items, err := joined(starlark.Tuple{values})
	if err != nil {
		return nil, err
	}
	keys, err := keysBy(th, key, items)
	if err != nil {
		return nil, err
	}
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	less := func(i, j int) bool {
		v, e := compare("<", keys[i], keys[j])
		if e != nil {
			err = e
			return false
		}
		return bool(v.Truth())
	}
	slices.SortStableFunc(order, func(i, j int) int {
		if reverse {
			i, j = j, i
		}
		switch {
		case less(i, j):
			return -1
		case less(j, i):
			return 1
		}
		return 0
	})
	out := make([]starlark.Value, len(items))
	for at, i := range order {
		out[at] = items[i]
	}
	return starlark.NewList(out), err
}

// keysBy returns what a function makes of each value; the values themselves
// for None.
func keysBy(th *starlark.Thread, key starlark.Value, items []starlark.Value) ([]starlark.Value, error) {
	if key == starlark.None {
		return items, nil
	}
	out := make([]starlark.Value, len(items))
	for i, v := range items {
		k, err := starlark.Call(th, key, starlark.Tuple{v}, nil)
		if err != nil {
			return nil, err
		}
		out[i] = k
	}
	return out, nil
}

// extreme is min or max, by the comparison that makes a value the better one.
func extreme(op string) function {
	return func(th *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var key, otherwise starlark.Value = starlark.None, nil
		for _, kv := range kwargs {
			switch str(kv[0]) {
			case "key":
				key = kv[1]
			case "default":
				otherwise = kv[1]
			default:
				return nil, raise("TypeError", "min and max take key and default, not %s", str(kv[0]))
			}
		}
		items := []starlark.Value(args)
		if len(args) == 1 {
			var err error
			if items, err = joined(args); err != nil {
				return nil, err
			}
		}
		if len(items) == 0 {
			if otherwise != nil {
				return otherwise, nil
			}
			return nil, raise("ValueError", "the smallest or largest of nothing")
		}
		keys, err := keysBy(th, key, items)
		best := 0
		for i := 1; i < len(items) && err == nil; i++ {
			var better starlark.Value
			if better, err = compare(op, keys[i], keys[best]); err == nil && bool(better.Truth()) {
				best = i
			}
		}
		return items[best], err
	}
}

func zip(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	return newLazy("zip", args, func(_ int, elements starlark.Tuple) starlark.Value { return elements })
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
