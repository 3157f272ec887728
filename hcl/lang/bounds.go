package lang

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Limits of values, so that a short file cannot ask for more memory than
// there is.
const (
	maxElements  = 1 << 16
	maxTextBytes = 4 << 20
	maxWidth     = 999 // of format and indent
	maxJSONDepth = 100
)

// bounds are checks of arguments of functions whose results can be larger
// than what they are given.
var bounds = map[string]func(args []cty.Value) error{
	"concat":       checkConcat,
	"flatten":      checkFlatten,
	"format":       checkFormat,
	"formatlist":   checkFormat,
	"indent":       checkIndent,
	"jsondecode":   checkJSON,
	"join":         checkJoin,
	"regexall":     checkPieces,
	"regexreplace": checkRegexReplace,
	"replace":      checkReplace,
	"setproduct":   checkProduct,
	"split":        checkPieces,
}

// bounded runs check on the arguments of f before f itself.
func bounded(f function.Function, check func(args []cty.Value) error) function.Function {
	return function.New(&function.Spec{
		Description: f.Description(),
		Params:      f.Params(),
		VarParam:    f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			if err := check(args); err != nil {
				return cty.NilType, err
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) },
	})
}

// textOf returns a string argument that is known, else "".
func textOf(args []cty.Value, i int) string {
	if i >= len(args) || !args[i].IsKnown() || args[i].IsNull() || args[i].Type() != cty.String {
		return ""
	}
	return args[i].AsString()
}

// lengthOf returns how many elements a value that is known has.
func lengthOf(v cty.Value) int {
	if !v.IsKnown() || v.IsNull() || !v.CanIterateElements() {
		return 0
	}
	return v.LengthInt()
}

func limitText(size int) error {
	if size > maxTextBytes {
		return fmt.Errorf("the result has more than %d bytes of text", maxTextBytes)
	}
	return nil
}

func limitElements(n int) error {
	if n > maxElements {
		return fmt.Errorf("the result has more than %d elements", maxElements)
	}
	return nil
}

func checkConcat(args []cty.Value) error {
	n := 0
	for _, a := range args {
		n += lengthOf(a)
	}
	return limitElements(n)
}

func checkFlatten(args []cty.Value) error {
	n := 0
	var count func(v cty.Value)
	count = func(v cty.Value) {
		if n++; n > 2*maxElements || lengthOf(v) == 0 || v.Type().IsObjectType() || v.Type().IsMapType() {
			return
		}
		n--
		for _, e := range v.Elements() {
			count(e)
		}
	}
	for _, a := range args {
		count(a)
	}
	return limitElements(n)
}

var wideVerb = regexp.MustCompile(`%[^a-zA-Z%]*[0-9]{4}`)

// checkFormat refuses wide verbs, and verbs that repeat long text.
func checkFormat(args []cty.Value) error {
	format := textOf(args, 0)
	if verb := wideVerb.FindString(format); verb != "" {
		return function.NewArgErrorf(0, "the width in %q is above %d", verb, maxWidth)
	}
	longest, rows := maxWidth+1, 1
	for i := 1; i < len(args); i++ {
		longest = max(longest, textSize(args[i]))
		rows = max(rows, lengthOf(args[i]))
	}
	verbs := strings.Count(format, "%")
	if verbs == 0 || longest <= maxTextBytes/verbs && verbs*longest+len(format) <= 16*maxTextBytes/rows {
		return nil
	}
	return limitText(maxTextBytes + 1)
}

// textSize returns the bytes of text in a value.
func textSize(v cty.Value) int {
	size := 0
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
			size += len(v.AsString())
		}
		return size <= maxTextBytes, nil
	})
	return size
}

func checkIndent(args []cty.Value) error {
	if len(args) == 0 || !args[0].IsKnown() || args[0].IsNull() || args[0].Type() != cty.Number {
		return nil
	}
	if args[0].AsBigFloat().Cmp(big.NewFloat(maxWidth)) > 0 {
		return function.NewArgErrorf(0, "an indentation is at most %d spaces", maxWidth)
	}
	spaces, _ := args[0].AsBigFloat().Int64()
	text := textOf(args, 1)
	return limitText(len(text) + strings.Count(text, "\n")*int(spaces))
}

// checkJSON refuses what would exhaust the stack of the decoder.
func checkJSON(args []cty.Value) error {
	depth, quoted := 0, false
	text := textOf(args, 0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxJSONDepth {
				return function.NewArgErrorf(0, "brackets nest more than %d deep", maxJSONDepth)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}

func checkJoin(args []cty.Value) error {
	n, size := 0, 0
	for _, a := range args[min(1, len(args)):] {
		n += lengthOf(a)
		if size += textSize(a); size > maxTextBytes {
			break
		}
	}
	return limitText(size + max(0, n-1)*len(textOf(args, 0)))
}

// checkPieces is for split and regexall, which make a piece a byte at most.
func checkPieces(args []cty.Value) error {
	text, separator := textOf(args, 1), textOf(args, 0)
	if len(text) <= maxElements {
		return nil
	}
	if separator != "" && strings.Count(text, separator) < maxElements {
		return nil
	}
	return function.NewArgErrorf(1, "text of %d bytes could give more than %d pieces", len(text), maxElements)
}

func checkReplace(args []cty.Value) error {
	text, found, with := textOf(args, 0), textOf(args, 1), textOf(args, 2)
	n := len(text) + 1
	if found != "" {
		n = strings.Count(text, found)
	}
	return limitText(len(text) + n*max(0, len(with)-len(found)))
}

func checkRegexReplace(args []cty.Value) error {
	text, with := textOf(args, 0), textOf(args, 2)
	return limitText(len(text)*(1+strings.Count(with, "$")) + (len(text)+1)*len(with))
}

// checkProduct refuses products of more than maxElements elements.
func checkProduct(args []cty.Value) error {
	product := 1
	for _, a := range args {
		if product *= max(1, lengthOf(a)); product > maxElements {
			return fmt.Errorf("the product has more than %d elements", maxElements)
		}
	}
	return nil
}
