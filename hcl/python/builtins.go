package python

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
)

// function is the code of a builtin.
type function func(th *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error)

func newBuiltin(name string, f function) *starlark.Builtin {
	return starlark.NewBuiltin(name, func(th *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		return f(th, args, kwargs)
	})
}

// universe returns the names that every script sees.
func universe() starlark.StringDict {
	d := starlark.StringDict{"__name__": starlark.String("config"), "__file__": starlark.String("config.py")}
	for name, f := range operatorFunctions() {
		d[ours+name] = newBuiltin(name, f)
	}
	for name, f := range pythonFunctions() {
		d[name] = newBuiltin(name, f)
	}
	for _, name := range exceptions {
		d[name] = newBuiltin(name, func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			var texts []string
			for _, a := range args {
				texts = append(texts, str(a))
			}
			return exception{&pyError{name, strings.Join(texts, ", ")}}, nil
		})
	}
	for name, why := range refusedFunctions {
		d[name] = refusedFunction(name, why)
	}
	return d
}

func refusedFunction(name, why string) *starlark.Builtin {
	return newBuiltin(name, func(*starlark.Thread, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		return nil, raise("NameError", "%s cannot be used here. %s", name, why)
	})
}

// refusedFunctions exist in Python, and say why they do not here.
var refusedFunctions = map[string]string{
	"open": "Files are not read; write their content into the script as a list or a dict.", "input": "Nobody can answer while a model is built.",
	"eval": "Write the expression itself.", "exec": "Write the statements themselves.", "__import__": "Write import.",
	"globals": "Keep values in a dict.", "locals": "Keep values in a dict.", "vars": "Keep values in a dict.",
	"iter": "Loop over the values, or use a list.", "id": "Compare with ==.", "super": "There are no classes.", "fail": "Raise an exception.",
	"object": "There are no classes; use a dict.", "property": "There are no classes; use a function.", "exit": "Raise an exception.", "quit": "Raise an exception.",
}

// operatorFunctions are what the translator calls; scripts cannot spell them.
func operatorFunctions() map[string]function {
	out := map[string]function{
		"use": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if a, ok := args[0].(absent); ok {
				return nil, a.use()
			}
			return args[0], nil
		},
		"import": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return importName(str(args[0]), str(args[1]))
		},
		"sequence of": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			seq, ok := args[0].(starlark.Indexable)
			n, _ := starlark.AsInt32(args[1])
			return starlark.Bool(ok && !isString(args[0]) && seq.Len() == n), nil
		},
		"dict with": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			d, ok := args[0].(*starlark.Dict)
			if !ok || len(args) == 1 {
				return starlark.Bool(ok), nil
			}
			_, found, err := lookup(d, args[1])
			return starlark.Bool(found), unhashable(err)
		},
		"class": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			n := &namespace{"class " + str(args[0]), starlark.StringDict{}}
			for _, a := range args[1:] {
				if pair, ok := a.(starlark.Tuple); ok {
					n.members[str(pair[0])] = pair[1]
				}
			}
			return n, nil
		},
		"f": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			var b strings.Builder
			for _, a := range args {
				b.WriteString(str(a))
			}
			return starlark.String(b.String()), nil
		},
		"format field": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			v := args[0]
			switch str(args[1]) {
			case "r", "a":
				v = starlark.String(repr(v))
			case "s":
				v = starlark.String(str(v))
			}
			s, err := formatValue(v, str(args[2]))
			return starlark.String(s), err
		},
		"number": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if !isNumber(args[0]) {
				return nil, raise("TypeError", "a sign stands before numbers, not before %s", typeName(args[0]))
			}
			return number(args[0]), nil
		},
		"enter": enter,
		"iter": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return iterable(args[0])
		},
		"first of": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if list, ok := args[0].(*starlark.List); ok && list.Len() > 0 {
				return list.Index(0), nil
			}
			if len(args) > 1 {
				return args[1], nil
			}
			return nil, raise("StopIteration", "nothing is left, and there is no default: next((…), default)")
		},
		"{}": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return newSet(args)
		},
		"{*}": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return newSet(args)
		},
		"[*]": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			items, err := joined(args)
			return starlark.NewList(items), err
		},
		"(*)": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			items, err := joined(args)
			return starlark.Tuple(items), err
		},
		"{**}": newDict,
		"[]": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return element(args[0], args[1])
		},
		"[]=": setElement,
		"set": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return starlark.None, setAt(args[1], args[2], args[0])
		},
		"bound": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return number(args[0]), nil
		},
		"sliced": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if s, ok := args[0].(starlark.String); ok && !ascii(string(s)) {
				return nil, raise("ValueError", "%s: text is taken apart only where it is plain ASCII", repr(s))
			}
			return args[0], nil
		},
		"slice": func(*starlark.Thread, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			return nil, raise("TypeError", "several slices at once are for arrays, which are not here")
		},
		".": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return attribute(args[0], str(args[1]))
		},
		"del": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return starlark.None, deleteElement(args[0], args[1])
		},
		"raise": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			switch v := one(args).(type) {
			case exception:
				return nil, v.err
			case starlark.NoneType:
				return nil, raise("RuntimeError", "raise without an exception, where none is handled")
			case *starlark.Builtin:
				if slices.Contains(exceptions, v.Name()) {
					return nil, &pyError{v.Name(), ""}
				}
			}
			return nil, raise("TypeError", "what is raised is an exception: raise ValueError(\"…\")")
		},
		"assert": func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if len(args) > 0 {
				return nil, &pyError{"AssertionError", str(args[0])}
			}
			return nil, &pyError{"AssertionError", "this does not hold"}
		},
		"return": func(th *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if n, ok := args[0].(starlark.Int); ok {
				at, _ := n.Int64()
				th.SetLocal(returnKey, int(at))
			}
			return args[1], nil
		},
	}
	for op := range binaryTokens {
		out[op] = func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return binary(op, args[0], args[1])
		}
		out[op+"="] = func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return augment(op+"=", args[0], args[1])
		}
	}
	for _, op := range []string{"**", "**="} {
		out[op] = func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return binary("**", args[0], args[1])
		}
	}
	for _, op := range []string{"==", "!=", "<", "<=", ">", ">=", "in", "not in", "is", "is not"} {
		out[op] = func(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return compare(op, args[0], args[1])
		}
	}
	return out
}

// returnKey is where the thread keeps which return was the last.
const returnKey = "return"

// maxCalls is how deep functions call each other, as in Python.
const maxCalls = 500

func enter(th *starlark.Thread, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	if th.CallStackDepth() > maxCalls {
		return nil, raise("RecursionError", "functions call each other more than %d deep", maxCalls)
	}
	return starlark.True, nil
}

// iterable makes a string a list of characters; the rest can be looped over,
// or not.
func iterable(v starlark.Value) (starlark.Value, error) {
	switch v := v.(type) {
	case starlark.String:
		var out []starlark.Value
		for _, r := range string(v) {
			out = append(out, starlark.String(string(r)))
		}
		return starlark.NewList(out), nil
	case *lazy:
		if v.used {
			return nil, raise("ValueError", "the values of %s were taken already, and can be once only; keep them: list(%s(…))", v.name, v.name)
		}
		v.used = true
		return v, nil
	case starlark.Iterable:
		return v, nil
	}
	return nil, raise("TypeError", "%s is nothing to loop over", typeName(v))
}

// joined returns the elements of several collections.
func joined(args starlark.Tuple) ([]starlark.Value, error) {
	var out []starlark.Value
	for _, a := range args {
		it, err := iterable(a)
		if err != nil {
			return nil, err
		}
		if seq, ok := it.(starlark.Iterable); ok {
			for v := range starlark.Elements(seq) {
				if out = append(out, v); len(out) > maxElements {
					return nil, raise("OverflowError", "more than %d elements", maxElements)
				}
			}
		}
	}
	return out, nil
}

func newSet(args starlark.Tuple) (starlark.Value, error) {
	items, err := joined(args)
	if err != nil {
		return nil, err
	}
	s := starlark.NewSet(len(items))
	for _, v := range items {
		if known, err := contains(v, s); known || err != nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		if err := s.Insert(v); err != nil {
			return nil, unhashable(err)
		}
	}
	return s, nil
}

// newDict builds a dict of pairs and of other dicts.
func newDict(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	d := starlark.NewDict(len(args))
	for _, a := range args {
		switch v := a.(type) {
		case starlark.Tuple:
			if err := setKey(d, v[0], v[1]); err != nil {
				return nil, err
			}
		case *starlark.Dict:
			for _, item := range v.Items() {
				if err := setKey(d, item[0], item[1]); err != nil {
					return nil, err
				}
			}
		default:
			return nil, raise("TypeError", "** unpacks a dict, not %s", typeName(a))
		}
	}
	return d, nil
}

// setElement computes x[i] op= y.
func setElement(_ *starlark.Thread, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	old, err := element(args[0], args[1])
	if err != nil {
		return nil, err
	}
	v, err := augment(str(args[2]), old, args[3])
	if strings.HasPrefix(str(args[2]), "**") && err == nil {
		v, err = binary("**", old, args[3])
	}
	if err != nil {
		return nil, err
	}
	return starlark.None, setAt(args[0], args[1], v)
}

// setAt computes x[i] = v.
func setAt(x, i, v starlark.Value) error {
	switch x := x.(type) {
	case *starlark.Dict:
		return setKey(x, i, v)
	case *starlark.List:
		if _, err := element(x, i); err != nil {
			return err
		}
		n, _ := number(i).(starlark.Int)
		at, _ := n.Int64()
		if at < 0 {
			at += int64(x.Len())
		}
		return x.SetIndex(int(at), v)
	}
	return raise("TypeError", "elements of %s do not change", typeName(x))
}

func deleteElement(x, i starlark.Value) error {
	if _, err := element(x, i); err != nil {
		return err
	}
	d, ok := x.(*starlark.Dict)
	if !ok {
		return raise("TypeError", "del takes keys out of dicts; of a list use .pop(index)")
	}
	if twin, ok := twinOf(i); ok {
		if _, found, err := d.Get(i); !found && err == nil {
			i = twin
		}
	}
	_, _, err := d.Delete(i)
	return err
}

// roundHalfEven is round(x, digits).
func roundHalfEven(x starlark.Value, digits starlark.Value) (starlark.Value, error) {
	x = number(x)
	n := 0
	if digits != starlark.None {
		var err error
		if n, err = starlark.AsInt32(digits); err != nil {
			return nil, raise("TypeError", "round takes a whole number of digits")
		}
	}
	switch v := x.(type) {
	case starlark.Int:
		if n >= 0 {
			return v, nil
		}
		return nil, raise("ValueError", "round of a whole number to fewer digits is not done here")
	case starlark.Float:
		if digits == starlark.None {
			return starlark.NumberToInt(starlark.Float(math.RoundToEven(float64(v))))
		}
		if n < 0 || n > 15 {
			return nil, raise("ValueError", "round takes 0 to 15 digits")
		}
		text, err := spec{precision: n, verb: 'f'}.float(float64(v))
		if err != nil {
			return nil, err
		}
		f, err := strconv.ParseFloat(text, 64)
		return starlark.Float(f), err
	}
	return nil, raise("TypeError", "round takes a number, not %s", typeName(x))
}
