package main_test

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdFigure compares a number of a JSON document: figure FILE PATH WANT SHARE,
// where SHARE is how far it may be off. PATH is of keys and indices, with dots.
func cmdFigure(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: figure FILE PATH WANT SHARE")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	got, ok := figure(v, args[1])
	want, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	share, err := strconv.ParseFloat(args[3], 64)
	ts.Check(err)
	bound := share * math.Abs(want)
	if want == 0 {
		bound = share
	}
	if !ok || !(math.Abs(got-want) <= bound) {
		ts.Fatalf("%s: %s = %v, want %v ± %v", args[0], args[1], got, want, bound)
	}
}

// figure finds a number of a decoded document.
func figure(v any, path string) (float64, bool) {
	for key := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(x) {
				return 0, false
			}
			v = x[i]
		}
	}
	f, ok := v.(float64)
	return f, ok
}

// cmdSameFigures compares two documents of llima eval in all but clocks and
// names: samefigures A B.
func cmdSameFigures(ts *testscript.TestScript, _ bool, args []string) {
	var docs [2]map[string]any
	for i, name := range args {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(name)), &docs[i]))
		delete(docs[i], "time")
		delete(docs[i], "output")
	}
	if !reflect.DeepEqual(docs[0], docs[1]) || len(docs[0]) < 8 {
		ts.Fatalf("%s and %s differ:\n%v\n%v", args[0], args[1], docs[0], docs[1])
	}
}
