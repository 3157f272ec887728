package ir_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/modalix/ir"
)

// TestPassesAreInOrder checks the table's own constraints.
func TestPassesAreInOrder(t *testing.T) {
	var seen []string
	for _, p := range ir.Passes() {
		if slices.Contains(seen, p.Name) {
			t.Errorf("pass %s stands twice", p.Name)
		}
		for _, a := range p.After {
			if !slices.Contains(seen, a) {
				t.Errorf("pass %s stands before %s", p.Name, a)
			}
		}
		if len(p.After) > 0 && p.Reason == "" || p.Does == "" {
			t.Errorf("pass %s gives no reason", p.Name)
		}
		seen = append(seen, p.Name)
	}
}

// TestVerifyRefuses has one function for every rule.
func TestVerifyRefuses(t *testing.T) {
	f32 := func(rows, cols int) ir.Type { return ir.Type{DType: ir.F32, Rows: rows, Cols: cols} }
	in := func(f *ir.Func, name string, t ir.Type) *ir.Node {
		return f.Append(&ir.Node{Op: ir.Input, Name: name, Type: t})
	}
	for _, c := range []struct {
		name, want string
		build      func(f *ir.Func)
	}{
		{"shapes", "argument 1", func(f *ir.Func) {
			f.Append(&ir.Node{Op: ir.Add, Type: f32(2, 4), Args: []*ir.Node{in(f, "a", f32(2, 4)), in(f, "b", f32(2, 3))}})
		}},
		{"arity", "1 arguments", func(f *ir.Func) {
			f.Append(&ir.Node{Op: ir.Add, Type: f32(2, 4), Args: []*ir.Node{in(f, "a", f32(2, 4))}})
		}},
		{"order", "not defined before", func(f *ir.Func) {
			f.Append(&ir.Node{Op: ir.Sigmoid, Type: f32(2, 4), Args: []*ir.Node{{Op: ir.Input, Type: f32(2, 4)}}})
		}},
		{"name", "taken", func(f *ir.Func) { in(f, "a", f32(2, 4)); in(f, "a", f32(2, 4)) }},
		{"empty", "is empty", func(f *ir.Func) { in(f, "a", f32(0, 4)) }},
		{"use of an output", "not a value", func(f *ir.Func) {
			o := f.Append(&ir.Node{Op: ir.Output, Name: "x", Args: []*ir.Node{in(f, "a", f32(2, 4))}})
			f.Append(&ir.Node{Op: ir.Sigmoid, Type: f32(2, 4), Args: []*ir.Node{o}})
		}},
		{"weight", "weight \"w\" is [4,8]", func(f *ir.Func) {
			x := in(f, "a", ir.Type{DType: ir.BF16, Rows: 2, Cols: 4})
			f.Append(&ir.Node{Op: ir.Linear, Type: f32(2, 4), Args: []*ir.Node{x}, Weights: []*ir.Weight{{Name: "w", N: 4, K: 8, Bits: 16}}})
		}},
	} {
		f := &ir.Func{Name: "f"}
		c.build(f)
		if err := f.Verify(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Verify = %v, want an error with %q", c.name, err, c.want)
		}
	}
}
