package python

import (
	stdmath "math"
	"strings"

	"go.starlark.net/lib/json"
	"go.starlark.net/lib/math"
	"go.starlark.net/starlark"
)

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
		return &namespace{"module " + module, members}, nil
	}
	if v, ok := members[name]; ok {
		return v, nil
	}
	return absent{module, name}, nil
}

// namespace is a module that is here, or a class of constants.
type namespace struct {
	name    string
	members starlark.StringDict
}

func (n *namespace) String() string        { return "<" + n.name + ">" }
func (*namespace) Type() string            { return "module" }
func (n *namespace) Freeze()               { n.members.Freeze() }
func (*namespace) Truth() starlark.Bool    { return true }
func (n *namespace) Hash() (uint32, error) { return starlark.String(n.name).Hash() }

// modules are those that scripts can import.
func modules() map[string]starlark.StringDict {
	nothing := func(*starlark.Thread, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		return starlark.None, nil
	}
	logger := &namespace{"module logging", starlark.StringDict{}}
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
		"json":      {"load": refusedFunction("json.load", refusedFunctions["open"]), "dump": refusedFunction("json.dump", "Files are not written; use print."), "dumps": newBuiltin("dumps", dumps), "loads": json.Module.Members["decode"]},
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
