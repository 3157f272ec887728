package python

import (
	"fmt"
	"math"
	"math/big"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// pyError is an exception: Python's name for it and what it says.
type pyError struct{ kind, text string }

// Error implements error.
func (e *pyError) Error() string {
	if e.text == "" {
		return e.kind
	}
	return e.kind + ": " + e.text
}

func raise(kind, format string, args ...any) error {
	return &pyError{kind, fmt.Sprintf(format, args...)}
}

// Limits of values, so that a script cannot fill the memory within its steps.
const (
	maxElements = 1 << 20 // of a string, list, tuple or dict that an operator makes
	maxBits     = 1 << 14 // of an integer
)

// number makes the integer of a bool, which it is in Python.
func number(v starlark.Value) starlark.Value {
	if b, ok := v.(starlark.Bool); ok {
		if b {
			return starlark.MakeInt(1)
		}
		return starlark.MakeInt(0)
	}
	return v
}

func isNumber(v starlark.Value) bool {
	switch v.(type) {
	case starlark.Bool, starlark.Int, starlark.Float:
		return true
	}
	return false
}

var binaryTokens = map[string]syntax.Token{
	"+": syntax.PLUS, "-": syntax.MINUS, "*": syntax.STAR, "/": syntax.SLASH, "//": syntax.SLASHSLASH, "%": syntax.PERCENT,
	"&": syntax.AMP, "|": syntax.PIPE, "^": syntax.CIRCUMFLEX, "<<": syntax.LTLT, ">>": syntax.GTGT,
}

// binary computes x op y as Python does.
func binary(op string, x, y starlark.Value) (starlark.Value, error) {
	if _, ok := x.(typing); ok && op == "|" {
		return x, nil
	}
	if a, ok := x.(starlark.Bool); ok {
		if b, ok := y.(starlark.Bool); ok {
			switch op {
			case "&":
				return a && b, nil
			case "|":
				return a || b, nil
			case "^":
				return starlark.Bool(a != b), nil
			}
		}
	}
	if s, ok := x.(starlark.String); ok && op == "%" {
		return percent(string(s), y)
	}
	if isNumber(x) && isNumber(y) || op == "*" {
		x, y = number(x), number(y)
	}
	if err := checkSize(op, x, y); err != nil {
		return nil, err
	}
	if op == "**" {
		return power(x, y)
	}
	if _, ok := x.(starlark.Float); (op == "//" || op == "%") && isNumber(x) && isNumber(y) {
		if _, also := y.(starlark.Float); ok || also {
			return floorDivide(op, x, y)
		}
	}
	v, err := starlark.Binary(binaryTokens[op], x, y)
	switch {
	case err == nil:
		return v, nil
	case strings.Contains(err.Error(), "by zero"):
		return nil, raise("ZeroDivisionError", "division by zero")
	case strings.HasPrefix(err.Error(), "unknown binary op"):
		if op == "+" && (isString(x) || isString(y)) {
			return nil, raise("TypeError", `%s + %s: write str(value), or an f-string: f"text {value}"`, typeName(x), typeName(y))
		}
		return nil, raise("TypeError", "%s %s %s is not defined", typeName(x), op, typeName(y))
	}
	return nil, err
}

func isString(v starlark.Value) bool { _, ok := v.(starlark.String); return ok }

// checkSize refuses results that would be too large.
func checkSize(op string, x, y starlark.Value) error {
	size := func(v starlark.Value) int64 {
		switch v := v.(type) {
		case starlark.String:
			return int64(len(v))
		case starlark.Sequence:
			return int64(v.Len())
		}
		return 0
	}
	bits := func(v starlark.Value) int64 {
		if i, ok := v.(starlark.Int); ok {
			return int64(i.BigInt().BitLen())
		}
		return 0
	}
	times := func(v starlark.Value) int64 {
		if i, ok := v.(starlark.Int); ok {
			if n, ok := i.Int64(); ok {
				return max(n, 0)
			}
			return math.MaxInt32
		}
		return 0
	}
	tooLarge := false
	switch op {
	case "+", "|":
		tooLarge = size(x)+size(y) > maxElements
	case "*":
		tooLarge = bits(x)+bits(y) > maxBits ||
			size(x) > 0 && times(y) > maxElements/size(x) || size(y) > 0 && times(x) > maxElements/size(y)
	case "**":
		tooLarge = bits(x) > 1 && times(y) > maxBits/bits(x)
	}
	if tooLarge {
		return raise("OverflowError", "the result of %s is larger than a configuration script needs: at most %d elements, or %d bits", op, maxElements, maxBits)
	}
	return nil
}

// floorDivide computes x // y or x % y of floats, as CPython does: the
// remainder is exact, and the quotient follows from it.
func floorDivide(op string, x, y starlark.Value) (starlark.Value, error) {
	a, ok := starlark.AsFloat(x)
	b, also := starlark.AsFloat(y)
	if !ok || !also {
		return nil, raise("OverflowError", "the number is too large for a float")
	}
	if b == 0 {
		return nil, raise("ZeroDivisionError", "division by zero")
	}
	mod := math.Mod(a, b)
	quotient := (a - mod) / b
	switch {
	case mod == 0:
		mod = math.Copysign(0, b)
	case (b < 0) != (mod < 0):
		mod += b
		quotient--
	}
	if op == "%" {
		return starlark.Float(mod), nil
	}
	if quotient == 0 {
		return starlark.Float(math.Copysign(0, a/b)), nil
	}
	floor := math.Floor(quotient)
	if quotient-floor > 0.5 {
		floor++
	}
	return starlark.Float(floor), nil
}

// power computes x ** y.
func power(x, y starlark.Value) (starlark.Value, error) {
	a, isInt := x.(starlark.Int)
	b, alsoInt := y.(starlark.Int)
	if isInt && alsoInt && b.Sign() >= 0 {
		n := a.BigInt()
		return starlark.MakeBigInt(n.Exp(n, b.BigInt(), nil)), nil
	}
	f, ok := starlark.AsFloat(x)
	g, also := starlark.AsFloat(y)
	switch {
	case !ok || !also:
		return nil, raise("TypeError", "%s ** %s is not defined", typeName(x), typeName(y))
	case f == 0 && g < 0:
		return nil, raise("ZeroDivisionError", "zero to a negative power")
	case f < 0 && g != math.Trunc(g):
		return nil, raise("ValueError", "a negative number to a fractional power is complex")
	}
	if g == math.Trunc(g) && math.Abs(g) <= 64 && f != 0 && !math.IsInf(f, 0) && !math.IsNaN(f) {
		return starlark.Float(wholePower(f, int(g))), nil // math.Pow can be off in the last place
	}
	return starlark.Float(math.Pow(f, g)), nil
}

// wholePower is f to a whole power, rounded once.
func wholePower(f float64, n int) float64 {
	const precision = 53 * 66
	result, base := big.NewFloat(1).SetPrec(precision), big.NewFloat(f).SetPrec(precision)
	for range max(n, -n) {
		result.Mul(result, base)
	}
	if n < 0 {
		result.Quo(big.NewFloat(1).SetPrec(precision), result)
	}
	out, _ := result.Float64()
	return out
}

// equal compares as Python does: a bool is a number, also within tuples,
// lists and dicts.
func equal(x, y starlark.Value, depth int) (bool, error) {
	if depth > maxNesting {
		return false, raise("RecursionError", "values nest too deeply to be compared")
	}
	if isNumber(x) && isNumber(y) {
		return starlark.Equal(number(x), number(y))
	}
	switch a := x.(type) {
	case *starlark.Builtin:
		b, ok := y.(*starlark.Builtin)
		return ok && a.Name() == b.Name(), nil
	case starlark.Indexable:
		b, ok := y.(starlark.Indexable)
		if !ok || isString(x) || isString(y) || x.Type() != y.Type() {
			break
		}
		if a.Len() != b.Len() {
			return false, nil
		}
		for i := range a.Len() {
			if same, err := equal(a.Index(i), b.Index(i), depth+1); !same || err != nil {
				return same, err
			}
		}
		return true, nil
	case *starlark.Dict:
		b, ok := y.(*starlark.Dict)
		if !ok || a.Len() != b.Len() {
			return false, nil
		}
		for _, item := range a.Items() {
			other, found, err := lookup(b, item[0])
			if !found || err != nil {
				return false, err
			}
			if same, err := equal(item[1], other, depth+1); !same || err != nil {
				return same, err
			}
		}
		return true, nil
	}
	return starlark.Equal(x, y)
}

// lookup finds a key in a dict; True and 1 are one key.
func lookup(d *starlark.Dict, key starlark.Value) (starlark.Value, bool, error) {
	v, found, err := d.Get(key)
	if found || err != nil {
		return v, found, err
	}
	if twin, ok := twinOf(key); ok {
		return d.Get(twin)
	}
	return nil, false, nil
}

// twinOf returns the number that a bool equals, or the bool that a number does.
func twinOf(key starlark.Value) (starlark.Value, bool) {
	if b, ok := key.(starlark.Bool); ok {
		return number(b), true
	}
	for _, b := range []starlark.Bool{true, false} {
		if same, err := starlark.Equal(number(b), key); isNumber(key) && same && err == nil {
			return b, true
		}
	}
	return nil, false
}

// setKey sets a key of a dict, which keeps the form that it had first.
func setKey(d *starlark.Dict, key, v starlark.Value) error {
	if twin, ok := twinOf(key); ok {
		if _, found, err := d.Get(twin); found && err == nil {
			key = twin
		}
	}
	return unhashable(d.SetKey(key, v))
}

var orderTokens = map[string]syntax.Token{"<": syntax.LT, "<=": syntax.LE, ">": syntax.GT, ">=": syntax.GE}

// compare computes a comparison.
func compare(op string, x, y starlark.Value) (starlark.Value, error) {
	switch op {
	case "==", "!=", "is", "is not":
		same, err := equal(x, y, 0)
		if op == "is" || op == "is not" { // None, True, False or a type: identity
			same = same && x.Type() == y.Type()
		}
		return starlark.Bool(same == (op == "==" || op == "is")), err
	case "in", "not in":
		found, err := contains(x, y)
		return starlark.Bool(found == (op == "in")), err
	}
	if isNumber(x) && isNumber(y) {
		x, y = number(x), number(y)
	}
	ok, err := starlark.Compare(orderTokens[op], x, y)
	if err != nil {
		return nil, raise("TypeError", "%s %s %s is not defined", typeName(x), op, typeName(y))
	}
	return starlark.Bool(ok), nil
}

func contains(x, y starlark.Value) (bool, error) {
	switch y := y.(type) {
	case starlark.String:
		s, ok := x.(starlark.String)
		if !ok {
			return false, raise("TypeError", "only a str can be in a str, not %s", typeName(x))
		}
		return strings.Contains(string(y), string(s)), nil
	case *starlark.Dict:
		_, found, err := lookup(y, x)
		return found, unhashable(err)
	case *starlark.Set:
		found, err := y.Has(x)
		if twin, ok := twinOf(x); ok && err == nil && !found {
			found, err = y.Has(twin)
		}
		return found, unhashable(err)
	case starlark.Iterable:
		for v := range starlark.Elements(y) {
			if same, err := equal(x, v, 0); same || err != nil {
				return same, err
			}
		}
		return false, nil
	}
	return false, raise("TypeError", "%s is no collection that something could be in", typeName(y))
}

func unhashable(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "unhashable") {
		return raise("TypeError", "%s", err.Error())
	}
	return err
}

// augment computes x op= y: lists, dicts and sets change in place.
func augment(op string, x, y starlark.Value) (starlark.Value, error) {
	op = strings.TrimSuffix(op, "=")
	if err := checkSize(op, x, y); err != nil {
		return nil, err
	}
	switch a := x.(type) {
	case *starlark.List:
		items, ok := y.(starlark.Iterable)
		if op != "+" || !ok {
			break
		}
		var all []starlark.Value
		for v := range starlark.Elements(items) {
			all = append(all, v)
		}
		for _, v := range all {
			if err := a.Append(v); err != nil {
				return nil, err
			}
		}
		return a, nil
	case *starlark.Dict:
		b, ok := y.(*starlark.Dict)
		if op != "|" || !ok {
			break
		}
		for _, item := range b.Items() {
			if err := setKey(a, item[0], item[1]); err != nil {
				return nil, err
			}
		}
		return a, nil
	}
	return binary(op, x, y)
}

// element returns x[i].
func element(x, i starlark.Value) (starlark.Value, error) {
	switch x := x.(type) {
	case *starlark.Dict:
		v, found, err := lookup(x, i)
		if err != nil {
			return nil, unhashable(err)
		}
		if !found {
			return nil, raise("KeyError", "%s%s", repr(i), keyHint(x, i))
		}
		return v, nil
	case typing:
		return x, nil
	case *starlark.Builtin: // list[int], in an alias of a type
		if typeNames[x.Name()] {
			return typing{x.Name()}, nil
		}
	case starlark.Indexable:
		n, ok := number(i).(starlark.Int)
		if !ok {
			return nil, raise("TypeError", "%s is indexed by whole numbers, not by %s", typeName(x), typeName(i))
		}
		at, exact := n.Int64()
		if at < 0 {
			at += int64(x.Len())
		}
		if !exact || at < 0 || at >= int64(x.Len()) {
			return nil, raise("IndexError", "index %s is out of range: the %s has %d elements", i, typeName(x), x.Len())
		}
		if s, ok := x.(starlark.String); ok && !ascii(string(s)) {
			return nil, raise("ValueError", "%s: text is taken apart only where it is plain ASCII", repr(s))
		}
		return x.Index(int(at)), nil
	}
	return nil, raise("TypeError", "%s has no elements", typeName(x))
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
