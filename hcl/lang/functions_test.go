package lang_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/llima-build/llima/hcl/lang"
)

func eval(t *testing.T, text string, files *lang.Files) (cty.Value, string) {
	t.Helper()
	expr, diags := hclsyntax.ParseExpression([]byte(text), "x.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	v, list := lang.Eval(expr, &hcl.EvalContext{Functions: lang.Functions(files)})
	if list.HasErrors() {
		return v, list.Error()
	}
	return v, ""
}

// TestParseBytes holds what is a size and what is not.
func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "17": 17, "1B": 1, "2 kB": 2000, "2KiB": 2048, "1.5GiB": 3 << 29, "16GiB": 16 << 30, " 3MB ": 3e6,
	} {
		if got, err := lang.ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "GiB", "16 Gib", "1e9", "999999999TiB", "1,5GB"} {
		if got, err := lang.ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
}

// TestFileFunctions holds that functions read below the root only, and that reads are recorded.
func TestFileFunctions(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("secret.txt", "secret")
	write("root/a.txt", "hello")
	write("root/sub/b.txt", "b")
	write("root/sub/deep/c.txt", "c")
	write("root/.hidden/d.txt", "d")
	write("root/binary", "\xff\xfe")
	if err := os.Symlink(filepath.Join(dir, "secret.txt"), filepath.Join(root, "link.txt")); err != nil {
		t.Skip(err)
	}
	files := &lang.Files{Root: root}
	for text, want := range map[string]string{
		`file("a.txt")`: `"hello"`, `file("sub/../a.txt")`: `"hello"`,
		`tostring(fileexists("a.txt"))`: `"true"`, `tostring(fileexists("none"))`: `"false"`, `tostring(fileexists("sub"))`: `"false"`,
		`join(",", fileset(".", "*.txt"))`: `"a.txt"`, `join(",", fileset("sub", "**/*.txt"))`: `"b.txt,deep/c.txt"`,
		`join(",", fileset(".", "**/c.txt"))`: `"sub/deep/c.txt"`, `join(",", fileset(".", "**"))`: `"a.txt,binary,sub/b.txt,sub/deep/c.txt"`,
	} {
		if v, problem := eval(t, text, files); problem != "" || `"`+v.AsString()+`"` != want {
			t.Errorf("%s = %#v %s, want %s", text, v, problem, want)
		}
	}
	for _, text := range []string{
		`file("../secret.txt")`, `file("link.txt")`, `file("sub")`, `file("binary")`, `file("none")`, `file("/etc/hostname")`,
		`fileset("..", "*")`, `fileset(".", "[")`, `fileset(".", "**/**/**/**")`, `fileexists("../secret.txt")`,
	} {
		v, problem := eval(t, text, files)
		if problem == "" || strings.Contains(problem, "secret\"\n") {
			t.Errorf("%s = %#v, want an error", text, v)
		}
	}
	want := []string{"**", "**/c.txt", "*.txt", "a.txt", "binary", "link.txt", "none", "sub", "sub/**/*.txt"}
	if got := files.Reads(); !slices.Equal(got, want) {
		t.Errorf("Reads() = %v, want %v", got, want)
	}
}

// TestBounds holds that short calls cannot ask for much memory.
func TestBounds(t *testing.T) {
	for _, text := range []string{
		`format("%9999d", 1)`, `format("%-01234.5f", 1)`, `format("%.9999f", 1)`, `indent(100000, "a\nb")`,
		`setproduct(range(1000), range(1000))`, `range(100000)`,
	} {
		if v, problem := eval(t, text, &lang.Files{}); problem == "" {
			t.Errorf("%s = %#v, want an error", text, v.Type())
		}
	}
}

// Short circuits and conditionals of the library drop errors of the side that
// does not decide.
func TestCheckSeesBothSides(t *testing.T) {
	for _, text := range []string{
		`false && nope`, `true || nope`, `nope && false`, `true ? 1 : nope`, `false ? nope : 1`,
		`false && (1 == "1")`, `true || 1 / 0 > 3`, `false && upper() == "x"`, `true || [for x in [1]: nope] == []`,
		`1 == "1"`, `true == "true"`, `"a" == ["a"]`, `1 / 0 > 3`, `5 % 0 == 0`, `{ a = 1, a = 2 } == {}`, `"1" + 1 == 2`,
		`"${nope}" == "x"`, `{ a = 1 }.b == 1`, `{ a = 1 }["b"] == 1`, `[1][3] == 1`, `!"true"`, `-"1" == 1`, `null > 1`, `"a" ? 1 : 2`,
	} {
		if v, problem := eval(t, text, &lang.Files{}); problem == "" {
			t.Errorf("%s = %#v, want an error", text, v)
		}
	}
	for _, text := range []string{
		`null == 1`, `true ? null : 1`, `try({ a = 1 }.b, 2) == 2`, `can(tonumber("x"))`, `[for x in [1, 2]: x * 2 if x > 1] == [4]`,
		`{ a = 1 }.a == 1`, `[{ a = 1 }][*].a == [1]`, `"a${1}" == "a1"`, `"a${true ? "b" : "c"}" == "ab"`, `-1 < 0 && !false`,
		`length([]) > 0 ? [][0] == 1 : true`, `length([]) > 0 && [][0] == 1`, `length([]) == 0 || [][0] == 1`,
		`{ a = 1 } == {} ? {}.b : 1`, `"auto" == "auto" ? 1 : "auto" * 2`,
		`{ for k in ["a"] : k => 1 }.a == 1`, `max([1, 2]...) == 2`, `jsondecode("{\"a\": 1}").a == 1`, `7 / 2 > 3`,
	} {
		if v, problem := eval(t, text, &lang.Files{}); problem != "" {
			t.Errorf("%s = %#v: %s", text, v, problem)
		}
	}
}
