package format_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/hcl/format"
)

// TestSource holds the layout, each rule by a file before and after.
func TestSource(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"empty", "", ""},
		{"blank", " \n\n", ""},
		{"comment", "\n\n# x", "# x\n"},
		{"alignment", "model \"a\" {\nsource=\"x\"\n    context_length = 1024 # tokens\n  output=\"y\" # folder\n}", "model \"a\" {\n  source         = \"x\"\n  context_length = 1024 # tokens\n  output         = \"y\"  # folder\n}\n"},
		{"names", "model tuned {\n}\n", "model \"tuned\" {\n}\n"},
		{"edges", "policy \"p\" {\n\n\n  layer \"a\" {\n    compile=false\n\n  }\n \n}\n\n\n", "policy \"p\" {\n  layer \"a\" {\n    compile = false\n  }\n}\n"},
		{"hollow", "policy \"p\" {\n\n\n}\n", "policy \"p\" {\n}\n"},
		{"one line", "adapter \"a\" { path = \"x\" }\n", "adapter \"a\" { path = \"x\" }\n"},
		{"between", "a = 1\n\n\nb = 2\n", "a = 1\n\n\nb = 2\n"},
		{"template", "a = \"${ local.x }\"\nb = [\"${x}\", \"${x}y\"]\nc = { d = \"${1 + 2}\" }\n", "a = local.x\nb = [x, \"${x}y\"]\nc = { d = 1 + 2 }\n"},
		{"operand", "a = \"${1 + 2}\" * 3\n", "a = \"${1 + 2}\" * 3\n"},
		{"several lines", "a = \"${\n  x\n}\"\n", "a = \"${\n  x\n}\"\n"},
		{"heredoc", "a = <<EOT\n  as  it=is\n\n\nEOT\n", "a = <<EOT\n  as  it=is\n\n\nEOT\n"},
		{"operators", "a = 1+2*-3==4&&!true?f( 1,2 ):[ 1,2 ]\n", "a = 1 + 2 * -3 == 4 && !true ? f(1, 2) : [1, 2]\n"},
		{"other line ends", "b {\r\n\r\na=1\r\n\r\n}", "b {\r\n  a = 1\r\n}\r\n"},
		{"vars", "b=1\nlonger=2\n", "b      = 1\nlonger = 2\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, diags := format.Source("llima.hcl", []byte(c.before))
			if diags.HasErrors() || string(got) != c.after {
				t.Errorf("Source(%q) = %q, %v, want %q", c.before, got, diags, c.after)
			}
			again, _ := format.Source("llima.hcl", got)
			if !bytes.Equal(again, got) {
				t.Errorf("Source(%q) = %q, want it as it is", got, again)
			}
		})
	}
}

// TestSyntaxErrors holds that what cannot be read is not laid out.
func TestSyntaxErrors(t *testing.T) {
	for _, text := range []string{"model \"a\" {", "a = ", "a = \"${", "}", "\xff\xfe", strings.Repeat("[", 1000)} {
		if out, diags := format.Source("llima.hcl", []byte(text)); out != nil || !diags.HasErrors() {
			t.Errorf("Source(%.20q) = %q, %v, want errors only", text, out, diags)
		}
	}
}

// FuzzSource asks that layout is stable and changes nothing but layout.
func FuzzSource(f *testing.F) {
	files, err := filepath.Glob("../load/testdata/*/*.hcl")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(src))
	}
	f.Add("a = \"${b}\" # c\r\nd { /* e */\r\n\r\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		once, diags := format.Source("llima.hcl", []byte(text))
		if diags.HasErrors() {
			return
		}
		twice, diags := format.Source("llima.hcl", once)
		if diags.HasErrors() {
			t.Fatalf("Source(%q) = %q, which is not valid: %v", text, once, diags)
		}
		if a, b := meaning(t, []byte(text)), meaning(t, once); a != b {
			t.Errorf("Source(%q) = %q means\n%s\nnot\n%s", text, once, b, a)
		}
		third, _ := format.Source("llima.hcl", twice)
		if !bytes.Equal(third, twice) {
			t.Errorf("Source(%q) = %q, then %q: it does not come to rest", text, twice, third)
		}
	})
}
