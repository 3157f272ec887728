// Package document decodes JSON that others wrote. Its errors say at which byte
// offset which key has what kind of value, and what kind is wanted, in words of
// JSON: they name no type of this program. It knows no document.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Decode is [json.Unmarshal] with such errors. v points to a value that is
// made of structs, maps, slices, strings, numbers and bools.
func Decode(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		if len(bytes.TrimSpace(data)) == 0 {
			return errors.New("offset 0: the file is empty, want a JSON document")
		}
		if strings.Contains(syntax.Error(), "unexpected end") {
			return fmt.Errorf("offset %d: the JSON ends too early", len(data))
		}
		return fmt.Errorf("offset %d: not JSON: %w", max(syntax.Offset-1, 0), err)
	}
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return typeError(data, typ)
	}
	return err
}

func typeError(data []byte, err *json.UnmarshalTypeError) error {
	start, end := span(data, int(err.Offset))
	what := err.Field
	if what == "" {
		what = "the document"
	}
	got := kinds[err.Value]
	if got == "" {
		digits := string(data[start:end])
		got = "the number " + digits[:min(len(digits), maxShown)]
		if err.Value != "number" && strings.Trim(digits, "-0123456789") == "" {
			return fmt.Errorf("offset %d: %s is %s, which is out of range", start, what, got)
		}
	}
	return fmt.Errorf("offset %d: %s is %s, want %s", start, what, got, wanted(err.Type))
}

// maxShown is how much of a value an error shows, in bytes.
const maxShown = 40

// kinds are JSON's kinds of values as encoding/json calls them.
var kinds = map[string]string{"string": "a string", "array": "a list", "object": "an object", "bool": "true or false"}

// wanted says in words what kind of value a Go type takes.
func wanted(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive // the rest stands for no JSON
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number, written without point or exponent"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	default:
		return "an object"
	}
}

// span finds the value that ends at, or, for a list or an object, begins
// before an offset that encoding/json reports.
func span(data []byte, offset int) (start, end int) {
	end = min(max(offset, 0), len(data))
	switch start = max(end-1, 0); {
	case end == 0 || data[start] == '[' || data[start] == '{':
		return start, end
	case data[start] == '"':
		for start--; start > 0; start-- {
			if data[start] == '"' && !escaped(data[:start]) {
				break
			}
		}
		return max(start, 0), end
	}
	for start > 0 && bytes.IndexByte([]byte("+-.0123456789abcdefghijklmnopqrstuvwxyzE"), data[start-1]) >= 0 {
		start--
	}
	return start, end
}

// escaped reports whether what follows a part of a string is escaped.
func escaped(before []byte) bool {
	return (len(before)-len(bytes.TrimRight(before, `\`)))%2 == 1
}
