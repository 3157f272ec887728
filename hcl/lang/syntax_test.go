package lang_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/lang"
)

// TestSyntax holds what is said of common slips, and that one slip is one
// finding.
func TestSyntax(t *testing.T) {
	rule := func(when string) string { return "layer \"x\" {\n  when = " + when + "\n}\n" }
	for _, c := range []struct{ text, at, want string }{
		{rule("layer.index = 3"), "2:22", "To compare, write ==."},
		{rule("layer.index === 3"), "2:24", "Expected the start of an expression"},
		{rule("a and b"), "2:12", `"And" is written &&.`},
		{rule("a or b"), "2:12", `"Or" is written ||.`},
		{rule("not a"), "2:14", `"Not" is written !.`},
		{rule("layer.index in [1]"), "2:22", "contains(LIST, VALUE)"},
		{rule("1 if a else 2"), "2:12", "CONDITION ? VALUE : OTHER"},
		{rule("a b = 2"), "2:12", "Begin a new line with b."},
		{rule("1, b = 2"), "2:11", "not separated by anything but line breaks"},
		{rule("'PRE'"), "2:10", "Single quotes are not valid"},
		{"source: \"x\"\n", "1:1", `source = "x"`},
		{"source\n", "1:1", "NAME = VALUE"},
		{"a = 1\na = 2\n", "2:1", "Remove one of the two"},
		{"a {\n}\n}\n", "3:1", "one too many"},
		{"a \"b\"\n{\n}\n", "1:6", "opening brace of a block stands on the line of its name"},
		{"a { b = 1 c = 2 }\n", "1:11", "a line of its own"},
		{"a {\n  b {\n", "2:5", "Add the missing }"},
		{"a = \"x\nb = 1\nc = \"y\"\n", "1:7", "multi-line"},
		{"a = \"\xff\"\n", "1:6", "UTF-8"},
	} {
		_, diags := lang.Parse("f", []byte(c.text))
		if len(diags) != 1 {
			t.Errorf("Parse(%q) = %d findings, want 1: %v", c.text, len(diags), diags)
			continue
		}
		d := diags[0]
		if at := fmt.Sprintf("%d:%d", d.Subject.Start.Line, d.Subject.Start.Column); at != c.at || !strings.Contains(d.Summary+" "+d.Detail, c.want) {
			t.Errorf("Parse(%q) = %s %s, want %s %s", c.text, at, d.Summary+": "+d.Detail, c.at, c.want)
		}
	}
	if body, diags := lang.Parse("f", []byte("\xef\xbb\xbfa = 1\r\n")); body == nil || diags != nil {
		t.Errorf("Parse of a file with a byte order mark = %v, %v", body, diags)
	}
}
